"""costrouter: a reverse proxy that sends every prompt to the cheapest model that meets the policy.

The package's layout and its import law stand in docs/architecture.md; a request is read in pipeline.py.
"""

__version__ = "0.1.0"
