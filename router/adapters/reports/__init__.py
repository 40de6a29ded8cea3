"""Spend for people: questions answered from cubes, rows and archive, and shown."""
