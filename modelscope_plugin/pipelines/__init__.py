"""What users call: sentence embedding and entity linking."""
