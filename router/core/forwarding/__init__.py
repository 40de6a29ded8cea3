"""What follows from a failed attempt, and when a provider is left alone."""
