"""Work that may wait: its states, and which way is on time for the least."""
