"""Limits on money and on rates, and what is held under them."""
