"""Recall over a whole knowledge base."""
