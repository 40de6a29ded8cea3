"""What every test may use: the store's fixtures, and uvloop for async tests."""

pytest_plugins = ["store", "store_modes", "uvloop_factory"]
