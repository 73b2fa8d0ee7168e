"""Training a re-ranker: lists of candidates of the first step, losses, the run."""
