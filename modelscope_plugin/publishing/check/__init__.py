"""Checks an exported folder before it is uploaded."""
