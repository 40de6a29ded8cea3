"""Choosing an option, and saying why."""
