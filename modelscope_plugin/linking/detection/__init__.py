"""Detectors, which find the mentions in texts."""
