"""The check of a folder before anything is uploaded."""
