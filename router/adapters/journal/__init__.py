"""A worker's write-ahead log, and what is done with it when its worker does not come back."""
