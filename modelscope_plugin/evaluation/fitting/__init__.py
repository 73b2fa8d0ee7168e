"""Weights that are fitted on labelled mentions."""
