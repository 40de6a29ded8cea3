"""Who does the work that may wait: from lines on a queue to answers, by provider batches or in real time."""
