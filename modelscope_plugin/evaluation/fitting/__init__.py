"""Fits the weights of fusion and the NIL rule on labelled mentions."""
