"""Training a dual encoder for entity retrieval."""
