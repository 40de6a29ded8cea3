"""A real store for tests: one embedded server for the session, emptied for each test; and rows and holds to put in.

Belongs here: fixtures and readers that several test files use. Registered by conftest (``pytest_plugins``).
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from router.adapters.journal.journal import Numbers
from router.adapters.store.embedded import EmbeddedStore
from router.adapters.store.layout import decode_row, tenant_prefix
from router.adapters.store.resp import RespConnection
from router.adapters.store.url import StoreAddress
from router.core.values import Hold, Row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

PATIENT_S = 10.0
"""A call timeout for tests that are not about timeouts: the machine may pause for longer than 250 ms."""


ONE_HOLD = ("w", 0, 0, "a/1", 5, 5, 2**50, 0, 0, "", 0)
"""The arguments of `reserve` for one attempt that no budget governs."""


@pytest.fixture(scope="session")
def store_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    store = EmbeddedStore(tmp_path_factory.mktemp("store"))
    yield store.start()
    store.stop()


@pytest.fixture
async def connection(store_socket: Path) -> AsyncIterator[RespConnection]:
    """Connected to an empty store."""
    connection = await connect(store_socket)
    await connection.call("FLUSHALL")
    yield connection
    await connection.close()


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[EmbeddedStore]:
    """A store that the test may kill, freeze and configure."""
    store = EmbeddedStore(tmp_path)
    store.start()
    yield store
    if store.pid:
        kill(store)
    store.stop()


async def connect(path: Path, *, timeout_s: float = PATIENT_S) -> RespConnection:
    connection = RespConnection(StoreAddress(path=str(path)), timeout_s=timeout_s)
    await connection.start()
    return connection


class Machine:
    """The machine's clock."""

    def now_ms(self) -> int:
        return now_ms()

    def monotonic(self) -> float:
        return time.monotonic()


async def until(condition: Callable[[], Any], bound_s: float = 10.0) -> None:
    """Return once ``condition``, plain or async, is true."""
    end = time.monotonic() + bound_s
    while True:
        met = condition()
        if inspect.isawaitable(met):
            met = await met
        if met:
            return
        assert time.monotonic() < end, "it did not come true in time"
        await asyncio.sleep(0.005)


@contextlib.contextmanager
def frozen(store: EmbeddedStore) -> Iterator[None]:
    assert store.pid
    os.kill(store.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(store.pid, signal.SIGCONT)


def kill(store: EmbeddedStore) -> None:
    assert store.pid
    os.kill(store.pid, signal.SIGKILL)
    while store.pid:
        time.sleep(0.001)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def make_hold(attempt: str = "r1/1", **changes: Any) -> Hold:
    facts = {"tenant": "acme", "amount_nano": 1_000, "not_after_ms": now_ms() + 60_000}
    return Hold(attempt=attempt, **{**facts, **changes})


def make_row(attempt: str = "r1/1", **changes: Any) -> Row:
    facts = {
        "at_ms": 1_800_000_000_000,
        "tenant": "acme",
        "team": "search",
        "app": "faq",
        "key": "key-1",
        "user": "u1",
        "tags": ("env=prod",),
        "endpoint": "chat",
        "policy": "default@1a2b3c",
        "rule": "cheap",
        "requested_model": "auto",
        "model": "deepseek/deepseek-flash",
        "provider": "deepseek",
        "tier": "realtime",
        "outcome": "ok",
        "status": 200,
        "certainty": "metered",
        "prompt_tokens": 100,
        "cached_tokens": 0,
        "cache_write_tokens": 0,
        "completion_tokens": 20,
        "reasoning_tokens": 0,
        "price_version": "p1",
        "cost_pico": 1_000_000,
        "cost_nano": 1_000,
        "estimated_nano": 1_200,
        "baseline_nano": 3_000,
        "runner_up_nano": 1_500,
        "ttft_ms": 80,
        "total_ms": 400,
        "snapshot": "s1",
    }
    return Row(attempt=attempt, **{**facts, **changes})


async def stored_rows(connection: RespConnection, tenant: str = "acme") -> list[Row]:
    """Every row of a tenant, in the order of its streams."""
    prefix = tenant_prefix(tenant)
    rows = []
    for hour in await connection.call("ZRANGE", f"{prefix}hours", 0, -1):
        entries = await connection.call("XRANGE", f"{prefix}rows:{hour.decode()}", "-", "+")
        rows += [decode_row(fields[1]) for _, fields in entries]
    return rows


async def stored_holds(connection: RespConnection, tenant: str = "acme") -> dict[str, str]:
    """Attempt to ``amount:at:worker``."""
    flat = await connection.call("HGETALL", f"{tenant_prefix(tenant)}holds")
    return {flat[i].decode(): flat[i + 1].decode() for i in range(0, len(flat), 2)}


async def script_calls(connection: RespConnection) -> int:
    """Script calls since the last ``CONFIG RESETSTAT``."""
    stats = (await connection.call("INFO", "commandstats")).decode()
    lines = [line for line in stats.splitlines() if line.startswith(("cmdstat_evalsha:", "cmdstat_eval:"))]
    return sum(int(line.partition("calls=")[2].partition(",")[0]) for line in lines)


def killed(ledger, connection, journal) -> None:
    """A worker's ledger in this process, from here on as after kill -9: nothing leaves it any more."""
    connection.on_connect.remove(ledger._reconnected)
    for timer in (ledger._timer, *ledger._later):
        if timer is not None:
            timer.cancel()
    for _, lane in ledger._lanes.values():
        lane.stop()
        lane.rows, lane.ends, lane.due, lane._journal = [], [], False, Numbers("dead")
    journal.close(remove=False)
