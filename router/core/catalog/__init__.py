"""Providers, models and prices: what a catalog may say, and what that becomes."""
