"""The upload to the ModelScope hub."""
