"""Training a dual encoder: examples, batches, losses, hard negatives, stages."""
