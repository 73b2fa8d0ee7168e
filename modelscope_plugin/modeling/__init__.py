"""The dual encoder: checkpoints, tokenizer, window, pooling, one or two towers."""
