"""API keys: who is behind a secret, those that a node makes for itself, and who changed what."""
