"""Vectors in memory or memory-mapped, searched by FAISS."""
