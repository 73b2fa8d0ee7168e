"""Texts to entities: mentions are found, candidates retrieved and ranked, NIL is decided."""
