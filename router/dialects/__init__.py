"""Wire formats: bytes in, core values out, and back. One file a dialect; no I/O."""
