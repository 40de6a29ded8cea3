"""The composition root: one worker's objects, put together, started and stopped.

Belongs here: which adapter fills which port, and the worker's clockwork (the tick). Does not belong here: processes
(supervisor.py) and anything that decides or serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gc
import os
import secrets
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
import structlog
import uvloop

from router.adapters.encoders import Encoders, TiktokenCounter
from router.adapters.fleet import Fleet, Observations
from router.adapters.http_api import Api, Health
from router.adapters.http_server import HttpServer
from router.adapters.learning import Learning
from router.adapters.metrics import Metrics
from router.adapters.policy_files import PolicyFileError, load_policies, packaged_policies_dir
from router.adapters.redis_keys import RedisKeys
from router.adapters.redis_ledger import RedisLedger
from router.adapters.request_log import RequestLog, configure
from router.adapters.resp import RespConnection
from router.adapters.store_check import StoreUnfitError, check_store
from router.adapters.store_url import parse_store_url
from router.adapters.upstream import RawUpstream
from router.adapters.upstream_aiohttp import AiohttpUpstream
from router.attempt import Desk
from router.core.catalog import Provider
from router.core.names import Names
from router.core.snapshot import DEFAULT_POLICY, Snapshot, World, compile_snapshot
from router.core.values import Identity
from router.pipeline import Pipeline
from router.ports import Origin, ProviderLink, StoreUnavailable, Timeouts
from router.settings import Settings, SettingsError

TENANT: Final = "default"
TICK_S: Final = 1.0
DRAIN_S: Final = 25.0
"""How long requests under way may take to end after SIGTERM."""
LEAVE_S: Final = 5.0
BACKLOG: Final = 4096
_log = structlog.get_logger("router.app")


class Plan(msgspec.Struct):
    """What the supervisor worked out once and every worker is forked with."""

    settings: Settings
    store_url: str
    port: int
    world: World
    links: dict[str, ProviderLink]
    simulated: bool
    sim_socket: socket.socket | None
    catalog_dir: Path
    warnings: list[str]
    dev_key: str | None
    admin_key: str
    encoders: Encoders


class SystemClock:
    """The machine's time."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds; differences only."""
        return time.monotonic()


def prepare(settings: Settings, store_url: str, port: int) -> Plan:
    """Read everything that workers share: policies, keys, providers, encoders.

    Raises:
        SettingsError: something in it cannot work.
    """
    configure(settings.log_level)
    try:
        warnings = check_store(settings.redis_url) if settings.redis_url else []
    except StoreUnfitError as error:
        raise SettingsError(str(error)) from None
    directory = settings.policies or packaged_policies_dir()
    try:
        loaded = load_policies(directory)
    except PolicyFileError as error:
        raise SettingsError(f"the policies cannot be used:\n{error}") from None
    if not loaded.policies:
        raise SettingsError(f"{directory} has no policy; copy the packaged default.yaml there")
    policies = dict(loaded.policies)
    if DEFAULT_POLICY not in policies and len(policies) > 1:
        raise SettingsError(f"{directory} has several policies, so one must be called {DEFAULT_POLICY!r}")
    policies.setdefault(DEFAULT_POLICY, next(iter(policies.values())))
    real = [p for p in loaded.catalog.providers.values() if _reachable(p, settings)]
    simulated = settings.sim if settings.sim is not None else not real
    sim_socket = _sim_socket() if simulated else None
    offered = list(loaded.catalog.providers.values()) if simulated else real
    if not offered:
        names = ", ".join(sorted({p.key_env for p in loaded.catalog.providers.values() if p.key_env}))
        raise SettingsError(f"no provider has a key: set one of {names}, or leave COSTROUTER_SIM unset")
    encoders = Encoders()
    encoders.preload()
    return Plan(
        settings=settings,
        store_url=store_url,
        port=port,
        world=World(
            catalog=loaded.catalog,
            policies=policies,
            names=Names(loaded.catalog),
            offered=frozenset(provider.name for provider in offered),
        ),
        links={provider.name: _link(provider, settings, sim_socket) for provider in offered},
        simulated=simulated,
        sim_socket=sim_socket,
        catalog_dir=directory / "catalog",
        warnings=[*warnings, *map(str, loaded.warnings)],
        dev_key=_key(settings, "dev"),
        admin_key=_key(settings, "admin") or "",
        encoders=encoders,
    )


def run_worker(plan: Plan, number: int, ready: int) -> None:
    """Serve until SIGTERM. ``ready`` is a descriptor that gets one byte once requests are answered."""
    uvloop.run(_Worker(plan, number).serve(ready))


class _Worker:
    def __init__(self, plan: Plan, number: int) -> None:
        self._plan = plan
        self._name = f"w{number}-{secrets.token_hex(3)}"
        self._clock = SystemClock()
        self._observations = Observations()
        self._metrics = Metrics()
        self._log = RequestLog(sys.stderr.fileno(), self._name)
        self._health = Health()
        self._snapshots = 0
        self._compiled = (-1, -1)

    async def serve(self, ready: int) -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        plan, clock = self._plan, self._clock
        address = parse_store_url(plan.store_url)
        connection = RespConnection(address)
        # Long replies (spend, totals) must not hold up reservations, so they have a connection of their own.
        reader = RespConnection(address, timeout_s=5.0)
        await asyncio.gather(connection.start(), reader.start())
        ledger = RedisLedger(connection, self._name, clock)
        fleet = Fleet(reader, self._name, self._observations)
        await fleet.catch_up(clock.now_ms())
        keys = RedisKeys(connection, clock, self._static_keys())
        executor = ThreadPoolExecutor(1, thread_name_prefix="count")
        proxy = plan.settings.upstream_proxy
        upstream = AiohttpUpstream(proxy) if proxy else RawUpstream()
        listeners = (self._log, self._metrics, Learning(self._observations))
        pipeline = Pipeline(
            keys=keys,
            upstream=upstream,
            desk=Desk(ledger, TiktokenCounter(plan.encoders.get(), executor=executor), clock, listeners),
            links=plan.links,
            snapshot=self._snapshot(),
        )
        api = Api(
            pipeline=pipeline,
            keys=keys,
            reader=reader,
            fleet=fleet,
            gauges=lambda: {"costrouter_rows_waiting": ledger.waiting},
            health=self._health,
            started=clock.now_ms() // 1000,
        )
        server = HttpServer(pipeline, api.table(), max_body=plan.settings.max_body_mb * 1024 * 1024)
        handlers = server.protocol_factory()
        listening = await loop.create_server(handlers, sock=self._socket(), backlog=BACKLOG)
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        os.write(ready, b"1")
        os.close(ready)
        ticking = loop.create_task(self._tick(pipeline, fleet))
        await stop.wait()
        listening.close()
        self._health.down = "shutting down"
        handlers.pre_shutdown()
        await handlers.shutdown(DRAIN_S)
        await pipeline.close(LEAVE_S)
        ticking.cancel()
        await self._settle_all(ledger, fleet)
        self._log.flush()
        await upstream.close()
        await asyncio.gather(connection.close(), reader.close())
        executor.shutdown(cancel_futures=True)

    async def _tick(self, pipeline: Pipeline, fleet: Fleet) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await fleet.exchange(self._clock.now_ms(), self._metrics.totals)
            except StoreUnavailable as error:
                _log.warning("tick_without_store", reason=str(error))
            except Exception as error:  # noqa: BLE001 - the clockwork must go on; the next tick tries again
                _log.exception("tick_failed", kind=type(error).__name__)
            minute = self._clock.now_ms() // 60_000
            if (self._observations.version, minute) != self._compiled:
                pipeline.snapshot = self._snapshot()
            self._log.flush()

    def _snapshot(self) -> Snapshot:
        self._snapshots += 1
        self._compiled = (self._observations.version, self._clock.now_ms() // 60_000)
        now = dt.datetime.fromtimestamp(self._clock.now_ms() / 1000, dt.UTC)
        return compile_snapshot(f"{self._name}-{self._snapshots}", self._plan.world, now, self._observations.summary)

    async def _settle_all(self, ledger: RedisLedger, fleet: Fleet) -> None:
        try:
            await ledger.close()
            await fleet.exchange(self._clock.now_ms(), self._metrics.totals)
        except StoreUnavailable as error:
            _log.error("rows_left", waiting=ledger.waiting, reason=str(error))

    def _static_keys(self) -> dict[str, Identity]:
        plan = self._plan
        keys = {plan.admin_key: Identity(tenant=TENANT, key="admin", name="administrator", role="admin")}
        if plan.dev_key:
            keys[plan.dev_key] = Identity(tenant=TENANT, key="dev", name="development")
        return keys

    def _socket(self) -> socket.socket:
        host = self._plan.settings.host
        place = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        place.bind((host, self._plan.port))
        return place


def _reachable(provider: Provider, settings: Settings) -> bool:
    needed = [name for name in (provider.key_env, provider.base_url_env) if name]
    return bool(needed or provider.base_url) and all(settings.environment.get(name) for name in needed)


def _link(provider: Provider, settings: Settings, sim_socket: socket.socket | None) -> ProviderLink:
    if sim_socket is not None:
        base, key = f"http://127.0.0.1:{sim_socket.getsockname()[1]}/{provider.name}/v1", "simulated"
    else:
        base = provider.base_url or settings.environment[provider.base_url_env]
        key = settings.environment.get(provider.key_env, "") if provider.key_env else ""
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"the base URL of {provider.name} must be http(s)://host[:port]/path")
    headers = [(b"content-type", b"application/json")]
    if key:
        headers.append((b"authorization", f"Bearer {key}".encode()))
    return ProviderLink(
        name=provider.name,
        origin=Origin(
            scheme="https" if parts.scheme == "https" else "http",
            host=parts.hostname,
            port=parts.port or (443 if parts.scheme == "https" else 80),
            base_path=parts.path.rstrip("/"),
        ),
        headers=tuple(headers),
        quirks=provider.quirks,
        bills_after_disconnect=provider.bills_after_disconnect,
        timeouts=Timeouts(**provider.timeouts),
    )


def _sim_socket() -> socket.socket:
    place = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    place.bind(("127.0.0.1", 0))
    place.listen(BACKLOG)
    return place


def _key(settings: Settings, kind: str) -> str | None:
    """A key from the settings, or one generated once and kept in the data directory for use on this machine only."""
    given = settings.dev_key if kind == "dev" else settings.admin_key
    if given is not None:
        return given.get_secret_value()
    if not settings.loopback:
        if kind == "dev":
            return None
        raise SettingsError(f"{settings.host} can be reached from outside: set COSTROUTER_ADMIN_KEY")
    path = settings.data_dir / f"{kind}.key"
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        key = f"cr-{kind}-{secrets.token_urlsafe(24)}"
        file.write(key + "\n")
    return key
