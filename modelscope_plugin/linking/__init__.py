"""Linking: finds mentions in texts, retrieves candidates and decides which mentions have no entity."""
