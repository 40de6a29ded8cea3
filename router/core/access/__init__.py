"""Who may do what, and say what of themselves."""
