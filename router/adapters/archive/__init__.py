"""Closed hours as Parquet: moved out of the store, looked after, and read again."""
