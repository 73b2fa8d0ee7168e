"""Several vectors of one entity, its views."""
