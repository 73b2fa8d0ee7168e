"""A model as a folder to publish."""
