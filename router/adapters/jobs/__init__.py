"""What is kept of work that may wait: jobs, lines and parcels, their money, their payloads and files."""
