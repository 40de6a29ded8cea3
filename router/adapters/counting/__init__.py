"""Token counts: the encodings, and prose word by word."""
