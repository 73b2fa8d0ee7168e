"""Where the mentions of a text come from."""
