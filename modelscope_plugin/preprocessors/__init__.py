"""Text to tokens: the mention-centred window and the entity text."""
