"""The dual encoder: checkpoints, pooling, one or two towers."""
