"""Exports a model as a folder to publish."""
