"""Stores of every kind, each started once a session when first asked for, and a connection to each of them.

Belongs here: the fixtures of the suites that run over every kind. Does not belong here: the servers (store_servers).
Registered by conftest (``pytest_plugins``).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

import pytest
import redis
from store import PATIENT_S
from store_servers import Cluster, SentinelSet, Single, Store, Tls

from router.adapters.store.connection import StoreConnection, connection_to
from router.adapters.store.embedded import EmbeddedStore
from router.adapters.store.url import parse_store_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

MODES = ("embedded", "tcp", "tls", "sentinel", "cluster")
_KINDS = {"tcp": Single, "tls": Tls, "sentinel": SentinelSet, "cluster": Cluster}


class Embedded(Store):
    """The one that comes along."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._store = EmbeddedStore(folder)
        self.nodes = []

    def __enter__(self) -> Self:
        self.path = self._store.start()
        self.url = f"unix://{self.path}"
        return self

    def __exit__(self, *_: object) -> None:
        self._store.stop()

    def flush(self) -> None:
        self.ask_all("FLUSHALL")

    def ask_all(self, *words: str) -> None:
        with redis.Redis(unix_socket_path=str(self.path)) as client:
            client.execute_command(*words)


class Elsewhere:
    """Another URL."""

    def __init__(self, url: str) -> None:
        self.url = url


@pytest.fixture(scope="session")
def store_of(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Store]]:
    """The session's store of a kind, as it was left."""
    started: dict[str, Store] = {}
    with contextlib.ExitStack() as stack:

        def start(mode: str) -> Store:
            if mode not in started:
                folder = tmp_path_factory.mktemp("stores") / mode
                started[mode] = stack.enter_context({"embedded": Embedded, **_KINDS}[mode](folder))
            return started[mode]

        yield start


@pytest.fixture(params=MODES)
def any_store(request: pytest.FixtureRequest, store_of: Callable[[str], Store]) -> Store:
    """An empty store of each kind."""
    store = store_of(request.param)
    store.flush()
    return store


@pytest.fixture
async def any_connection(any_store: Store) -> AsyncIterator[StoreConnection]:
    """Connected to an empty store of each kind."""
    async with connected(any_store) as connection:
        yield connection


@contextlib.asynccontextmanager
async def connected(
    store: Store, *, timeout_s: float = PATIENT_S, wait_s: float = PATIENT_S
) -> AsyncIterator[StoreConnection]:
    connection = connection_to(parse_store_url(store.url), timeout_s=timeout_s)
    try:
        await connection.start(wait_s)
        yield connection
    finally:
        await connection.close()
