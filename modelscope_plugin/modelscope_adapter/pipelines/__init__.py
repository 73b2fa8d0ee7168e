"""ModelScope pipelines: sentence embedding and entity linking."""
