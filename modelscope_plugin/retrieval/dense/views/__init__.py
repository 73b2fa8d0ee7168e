"""Several vectors of one entity, its views (Ma et al. 2021, MuVER)."""
