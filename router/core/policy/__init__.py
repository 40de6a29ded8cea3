"""Policies: what one may say, what that becomes, and which one governs a request."""
