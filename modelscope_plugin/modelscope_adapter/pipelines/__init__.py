"""The ModelScope pipelines for sentence embedding and entity linking."""
