"""Providers: how they are reached, with which keys, and whether they may be called now."""
