"""The nearest entities by their vectors."""
