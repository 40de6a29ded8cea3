"""What every test may use: the store's fixtures, and uvloop for async tests; and no test fails because its machine is busy."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["store", "store_modes", "uvloop_factory"]

# `make test` tries fewer examples of each property than `make check`, which asks for the other profile.
settings.register_profile("thorough", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("everyday", settings.get_profile("thorough"), max_examples=25)
settings.load_profile("everyday")


def pytest_addoption(parser):
    parser.addoption("--chaos-seconds", type=float, default=600.0, help="how long the soak's storm lasts")
    parser.addoption("--fuzz-seconds", type=float, default=600.0, help="how long the soak spoils bodies and streams")
