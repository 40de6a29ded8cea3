"""Simulated providers: an own process that plays every provider of the catalog over its real wire format.

For the demo, the tests and the benchmarks. Belongs here: what a provider does, and its own bill. Does not
belong here: anything the router decides or prices. The package imports nothing from router.core, dialects or
adapters, so that a mistake there cannot hide behind the same mistake here.
"""
