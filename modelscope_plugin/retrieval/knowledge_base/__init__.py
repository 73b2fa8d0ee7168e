"""Entities by row and by id, on disk or in memory."""
