"""Recall over a whole knowledge base, NIL, pictures of both."""
