"""Re-ranking: mention and candidate are read together."""
