"""What every test may use: the store's fixtures, and uvloop for async tests; and no test fails because its machine is busy."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["store", "store_modes", "uvloop_factory"]

settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


def pytest_addoption(parser):
    parser.addoption("--chaos-seconds", type=float, default=600.0, help="how long the soak's storm lasts")
    parser.addoption("--fuzz-seconds", type=float, default=600.0, help="how long the soak spoils bodies and streams")
