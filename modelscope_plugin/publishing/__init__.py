"""Publishing: one folder that ModelScope, this package and sentence-transformers can open, and its model card."""
