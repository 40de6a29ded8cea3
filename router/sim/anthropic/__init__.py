"""Anthropic's Messages API, simulated: its checks, its caches, its answers and streams."""
