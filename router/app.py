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

import msgspec
import structlog
import uvloop
from aiohttp import web

from router.adapters.encoders import Encoders, TiktokenCounter
from router.adapters.fleet import Fleet, Observations
from router.adapters.http_api import HOME, OPERATOR, Api, Health
from router.adapters.http_server import HttpServer
from router.adapters.key_files import KeyFileError, kept_key
from router.adapters.learning import Learning
from router.adapters.metrics import Metrics
from router.adapters.policy_files import PolicyFileError, load_policies, packaged_policies_dir
from router.adapters.providers import ProviderError, needed, reachable, real_link, simulated_link
from router.adapters.redis_keys import RedisKeys
from router.adapters.redis_ledger import FLUSH_S, RedisLedger
from router.adapters.request_log import RequestLog, configure
from router.adapters.resp import RespConnection
from router.adapters.store_check import StoreUnfitError, check_store
from router.adapters.store_url import parse_store_url
from router.adapters.upstream import RawUpstream
from router.adapters.upstream_aiohttp import AiohttpUpstream
from router.attempt import Desk
from router.core.catalog import Provider
from router.core.decide import Facts, decide
from router.core.errors import RouterError
from router.core.explain import refusal
from router.core.names import AUTO, Names
from router.core.snapshot import DEFAULT_POLICY, Snapshot, Wish, World, compile_snapshot
from router.core.tokens import exactly
from router.core.values import Identity, Needs
from router.pipeline import PATHS, Pipeline
from router.ports import ProviderLink, StoreUnavailable
from router.settings import Settings, SettingsError

TICK_S: Final = 1.0
DRAIN_POLL_S: Final = 0.02
CANCEL_S: Final = 1.0
"""How long requests may take to end once they are told to. aiohttp's shutdown waits this long twice."""
LEAVE_S: Final = 5.0
"""How long streams whose callers have gone may take to end."""
TELL_S: Final = 2.0
"""How long the fleet's last exchange may take."""
AFTER_DRAIN_S: Final = 2 * CANCEL_S + LEAVE_S + FLUSH_S + TELL_S
"""All that stopping may take beyond the requests under way; the supervisor waits longer than both together."""
FAILED_TICKS: Final = 3
"""Ticks in a row that must fail before /readyz speaks of it."""
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
    example: str
    """A model name that serves, for the banner."""
    dev_key: str
    """Empty for none."""
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
    real = [p for p in loaded.catalog.providers.values() if reachable(p, settings.environment)]
    simulated = settings.sim if settings.sim is not None else not real
    sim_socket = _sim_socket() if simulated else None
    offered = [p for p in loaded.catalog.providers.values() if p.spoken] if simulated else real
    if not offered:
        names = ", ".join(sorted({needed(p) for p in loaded.catalog.providers.values() if p.spoken} - {""}))
        raise SettingsError(f"no provider can be called: set one of {names}, or leave COSTROUTER_SIM unset")
    world = World(
        catalog=loaded.catalog,
        policies=policies,
        names=Names(loaded.catalog),
        offered=frozenset(provider.name for provider in offered),
    )
    links = _links(offered, settings, sim_socket)
    dev_key, admin_key = _keys(settings)
    example, why = _example(world)
    encoders = Encoders()
    encoders.preload()
    return Plan(
        settings=settings,
        store_url=store_url,
        port=port,
        world=world,
        links=links,
        simulated=simulated,
        sim_socket=sim_socket,
        catalog_dir=directory / "catalog",
        warnings=[*warnings, *map(str, loaded.warnings), *([why] if why else [])],
        example=example,
        dev_key=dev_key,
        admin_key=admin_key,
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
        self._health = Health(reasons=plan.warnings)
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
        max_body = plan.settings.max_body_mb * 1024 * 1024
        api = Api(
            pipeline=pipeline,
            keys=keys,
            reader=reader,
            fleet=fleet,
            gauges=lambda: {"costrouter_rows_waiting": ledger.waiting},
            health=self._health,
            started=clock.now_ms() // 1000,
            max_body=max_body,
        )
        server = HttpServer(pipeline, api.table(), max_body=max_body)
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
        await _drain(handlers, plan.settings.drain_s)
        await pipeline.close(LEAVE_S)
        ticking.cancel()
        await self._settle_all(ledger, fleet)
        self._log.flush()
        await upstream.close()
        await asyncio.gather(connection.close(), reader.close())
        executor.shutdown(cancel_futures=True)

    async def _tick(self, pipeline: Pipeline, fleet: Fleet) -> None:
        failed = 0
        while True:
            await asyncio.sleep(TICK_S)
            fault = await self._exchange(fleet)
            failed = failed + 1 if fault else 0
            self._health.reasons = [*self._plan.warnings, *([fault] if failed >= FAILED_TICKS else [])]
            try:
                if (self._observations.version, self._clock.now_ms() // 60_000) != self._compiled:
                    pipeline.snapshot = self._snapshot()
            except Exception as error:  # noqa: BLE001 - the last snapshot serves on; the next tick tries again
                _log.exception("snapshot_failed", kind=type(error).__name__)
            self._log.flush()

    async def _exchange(self, fleet: Fleet) -> str:
        """Why it failed, for people; the empty text if it did not."""
        try:
            await fleet.exchange(self._clock.now_ms(), self._metrics.totals)
        except StoreUnavailable as error:
            _log.warning("tick_without_store", reason=str(error))
            return "statistics are not exchanged, as the store does not answer"
        except Exception as error:  # noqa: BLE001 - the clockwork must go on; the next tick tries again
            _log.exception("tick_failed", kind=type(error).__name__)
            return f"statistics are not exchanged ({type(error).__name__}); the log says why"
        return ""

    def _snapshot(self) -> Snapshot:
        self._snapshots += 1
        self._compiled = (self._observations.version, self._clock.now_ms() // 60_000)
        now = dt.datetime.fromtimestamp(self._clock.now_ms() / 1000, dt.UTC)
        return compile_snapshot(f"{self._name}-{self._snapshots}", self._plan.world, now, self._observations.summary)

    async def _settle_all(self, ledger: RedisLedger, fleet: Fleet) -> None:
        try:
            await ledger.close()
        except StoreUnavailable as error:
            _log.error("rows_left", waiting=ledger.waiting, reason=str(error))
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(TELL_S):
                await fleet.exchange(self._clock.now_ms(), self._metrics.totals)

    def _static_keys(self) -> dict[str, Identity]:
        plan = self._plan
        keys = {plan.admin_key: Identity(tenant=HOME, key=OPERATOR, name="administrator", role="admin")}
        if plan.dev_key:
            keys[plan.dev_key] = Identity(tenant=HOME, key="dev", name="development")
        return keys

    def _socket(self) -> socket.socket:
        host = self._plan.settings.host
        place = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        place.bind((host, self._plan.port))
        return place


async def _drain(handlers: web.Server, bound_s: float) -> None:
    """Let requests under way end; cancel those that have not after ``bound_s`` seconds."""
    handlers.pre_shutdown()
    loop = asyncio.get_running_loop()
    bound = loop.time() + bound_s
    # aiohttp's own shutdown waits as long once more after that, and has no public word for a connection that is busy.
    while loop.time() < bound and any(c._request_in_progress for c in handlers.connections):  # noqa: ASYNC110, SLF001 - as said
        await asyncio.sleep(DRAIN_POLL_S)
    await handlers.shutdown(CANCEL_S)
    # Cancelled handlers hand their streams to the pipeline, once it is their turn.
    await asyncio.sleep(DRAIN_POLL_S)


def _sim_socket() -> socket.socket:
    place = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    place.bind(("127.0.0.1", 0))
    place.listen(BACKLOG)
    return place


def _given_key(settings: Settings, kind: str) -> str:
    """A key from the settings, or one that only this machine can use; the empty text where there may be none."""
    given = settings.dev_key if kind == "dev" else settings.admin_key
    if given is not None:
        return given.get_secret_value()
    return kept_key(settings.data_dir, kind) if settings.loopback else ""


def _keys(settings: Settings) -> tuple[str, str]:
    try:
        dev, admin = _given_key(settings, "dev"), _given_key(settings, "admin")
    except KeyFileError as error:
        raise SettingsError(str(error)) from None
    if not admin:
        raise SettingsError(f"{settings.host} can be reached from outside: set COSTROUTER_ADMIN_KEY")
    if dev == admin:
        raise SettingsError("COSTROUTER_DEV_KEY and COSTROUTER_ADMIN_KEY must differ: they have different rights")
    return dev, admin


def _links(offered: list[Provider], settings: Settings, sim_socket: socket.socket | None) -> dict[str, ProviderLink]:
    if sim_socket is not None:
        port = sim_socket.getsockname()[1]
        return {provider.name: simulated_link(provider, port) for provider in offered}
    try:
        return {provider.name: real_link(provider, settings.environment) for provider in offered}
    except ProviderError as error:
        raise SettingsError(str(error)) from None


def _example(world: World) -> tuple[str, str]:
    """(a model name that a small prompt can be sent to, why it is not ``auto``)."""
    snapshot = compile_snapshot("start", world, dt.datetime.now(dt.UTC), lambda _: None)
    why = _obstacle(snapshot, AUTO)
    if not why:
        return AUTO, ""
    names = [name for option in snapshot.offered for name in (option.model, option.entry)]
    served = next((name for name in names if not _obstacle(snapshot, name)), AUTO)
    return served, f"`auto` cannot serve a plain chat here. {why}"


def _obstacle(snapshot: Snapshot, model: str) -> str:
    facts = Facts(endpoint="chat", needs=int(Needs.CHAT), tokens=exactly(10), asked_model=model, path=PATHS["chat"])
    try:
        route = snapshot.route(facts, Wish())
    except RouterError as error:
        return error.message
    return "" if decide(route.plan, facts, route.baseline) else refusal(route.plan, facts).message
