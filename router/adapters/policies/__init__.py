"""Policies, catalogs and their tests as files: read, watched, kept in force."""
