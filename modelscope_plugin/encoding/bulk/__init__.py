"""Many texts to vectors, in shards that survive an interruption."""
