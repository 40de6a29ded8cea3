"""What workers tell each other, the platform and its people: statistics, metrics, log, decisions, alerts."""
