"""The HTTP server and its endpoints. Together with the broker, the only adapters that may call the pipeline."""
