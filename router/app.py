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
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog
import uvloop

from router.adapters.archive.task import keep_archived
from router.adapters.clock import SystemClock
from router.adapters.counting.encoders import TiktokenCounter
from router.adapters.fleet.budget_alerts import alerts_by
from router.adapters.fleet.decisions import StoreDecisions
from router.adapters.fleet.gathered import Gathered
from router.adapters.fleet.learning import Learning
from router.adapters.fleet.metrics import Metrics, TimeLimits, limits_in, machines_told, ways_told
from router.adapters.fleet.otlp import Otlp, to
from router.adapters.fleet.request_log import RequestLog
from router.adapters.fleet.statistics import Fleet, Observations
from router.adapters.fleet.traces import Traces
from router.adapters.fleet.warmth import SharedWarmth
from router.adapters.fleet.webhook import Webhook
from router.adapters.http.admin import HOME, OPERATOR
from router.adapters.http.api import Api, Health
from router.adapters.http.budgets import BudgetApi
from router.adapters.http.decisions import DecisionApi
from router.adapters.http.doors import CLOSE_S, Doors
from router.adapters.http.keys import KeyApi
from router.adapters.http.limits import LimitApi
from router.adapters.http.policies import PolicyApi
from router.adapters.http.responses import ResponsesApi
from router.adapters.http.server import Handler, HttpServer
from router.adapters.http.transfer import TransferApi
from router.adapters.journal.journal import KEPT_S, Journal
from router.adapters.journal.upkeep import Upkeep
from router.adapters.keys.audit import Audit
from router.adapters.keys.keys import RedisKeys
from router.adapters.ledger.budgets import RedisBudgets
from router.adapters.ledger.ledger import FLUSH_S, RedisLedger
from router.adapters.policies.store import PolicySet
from router.adapters.policies.watch import PolicyWatch
from router.adapters.store.changes import WAIT_S, Changes
from router.adapters.store.connection import StoreConnection, connection_to
from router.adapters.store.resp import TIMEOUT_S
from router.adapters.store.url import parse_store_url
from router.adapters.upstream.behind_proxy import AiohttpUpstream
from router.adapters.upstream.breakers import Breakers
from router.adapters.upstream.client import RawUpstream
from router.adapters.upstream.credentials import Credentials
from router.core.deciding.snapshot import Snapshot, compile_snapshot
from router.core.forwarding.forwarding import Forwarding
from router.core.values import Identity
from router.desk import Desk
from router.exchange import Exchange
from router.forward import Forwarder
from router.pipeline import Pipeline
from router.plan import DEV, Plan, brought_keys, own_links, renewed_links, world_of
from router.ports import Clock, StoreUnavailable, Upstream
from router.prefixes import Prefixes
from router.processes import BACKLOG, beat_on
from router.settings import Settings
from router.tracing import Traced
from router.yard import blob_secret, give_again, job_parts

TICK_S: Final = 1.0
REPLACED: Final = signal.SIGUSR1
"""Tells a worker that another has taken its place."""
LEAVE_S: Final = 5.0
"""How long streams whose callers have gone may take to end."""
TELL_S: Final = 2.0
"""How long the fleet's last exchange may take."""
AFTER_DRAIN_S: Final = CLOSE_S + LEAVE_S + FLUSH_S + TELL_S
"""All that stopping may take beyond the requests under way; the supervisor waits longer than both together."""
BOUNDS_S: Final = (TIMEOUT_S, 5.0, WAIT_S, 5.0, 10.0, 10.0)
"""On a call over each of a worker's connections to the store: the hot path's, everything else's, those that wait for
changes, for its disk, for news of jobs and for their ends."""
FAILED_TICKS: Final = 3
"""Ticks in a row that must fail before /readyz speaks of it."""
_log = structlog.get_logger("router.app")


def run_worker(plan: Plan, number: int, ready: int, door: socket.socket) -> None:
    """Serve until SIGTERM, or until `REPLACED`, after which what is there is answered.

    Args:
        plan: what to serve.
        number: the worker's place.
        ready: a descriptor that gets one byte once requests are answered, and one a second from then on.
        door: a listening socket to accept from.
    """
    uvloop.run(_Worker(plan, number, door).serve(ready))


class _Worker:
    def __init__(self, plan: Plan, number: int, door: socket.socket) -> None:
        self._plan = plan
        self._door = door
        self._name = f"w{number}-{secrets.token_hex(3)}"
        self._clock = SystemClock()
        self._observations = Observations()
        self._metrics = Metrics(self._limits_of)
        self._prefixes = Prefixes(blob_secret(plan.settings), self._clock)
        self._log = RequestLog(sys.stderr.fileno(), self._name)
        self._listener = Gathered((self._log, self._metrics, Learning(self._observations, lambda: self._world.catalog)))
        self._health = Health(reasons=[*plan.warnings, *plan.policies.reasons])
        self._world = plan.world
        self._snapshots = 0
        self._compiled = (-1, -1)
        self._last = plan.snapshot
        self._closed: dict[tuple[str, str], str] = {}
        self._otlp: Otlp | None = None
        self._traces: Traces | None = None
        self._connected: Callable[[], int] = lambda: 0

    async def serve(self, ready: int) -> None:
        loop = asyncio.get_running_loop()
        stop, replaced = _heard(loop, signal.SIGTERM), _heard(loop, REPLACED)
        plan, clock, journals = self._plan, self._clock, self._plan.settings.data_dir / "journal"
        # Long replies (spend, totals) must not hold up reservations, nor waits (for the disk, for news) either of them.
        connections = [connection_to(parse_store_url(plan.store_url), timeout_s=bound_s) for bound_s in BOUNDS_S]
        await asyncio.gather(*(found.start() for found in connections))
        connection, reader, hearing, *waiting = connections
        journal = self._journal(journals)
        ledger = RedisLedger(connection, self._name, clock, journal=journal, wait_s=plan.settings.store_wait_s)
        upkeep = Upkeep(reader, journal, journals, clock, tidy=ledger.tidy, sync_s=plan.settings.journal_sync_s)
        fleet = Fleet(reader, self._name, self._observations, SharedWarmth(reader, self._name, self._prefixes.memory))
        budgets = RedisBudgets(reader, plan.built_in_budgets)
        await asyncio.gather(upkeep.beat(), fleet.catch_up(clock.now_ms()), budgets.refresh())
        alerts = alerts_by(_webhook(plan.settings), reader, budgets, self._name, ledger.store_ms)
        ledger.on_spent = None if alerts is None else alerts.spent
        keys = RedisKeys(connection, clock, self._static_keys(), wait_s=plan.settings.store_wait_s)
        changes = _changes(reader, keys, budgets)
        executor = ThreadPoolExecutor(1, thread_name_prefix="count")
        upstream = AiohttpUpstream(proxy) if (proxy := plan.settings.upstream_proxy) else RawUpstream()
        counter = TiktokenCounter(plan.encoders.get(), executor=executor)
        decisions = StoreDecisions(reader, plan.settings.decisions_mb * 1024 * 1024)
        breakers = Breakers(plan.keyed_links, clock, connection=reader, on=plan.settings.breaker)
        credentials = Credentials(upstream, clock, breakers, partial(renewed_links, plan))
        desk = Desk(
            ledger, counter, clock, (self._listener, self._prefixes, *self._tracing()), budgets, breakers, decisions
        )
        pipeline = self._pipeline(keys, upstream, desk, breakers)
        watch, _ = await asyncio.gather(self._watching(pipeline), credentials.begin(plan.settings.environment))
        jobs = job_parts(
            plan,
            self._name,
            connection=reader,
            waiting=waiting,
            pipeline=pipeline,
            desk=desk,
            upstream=upstream,
            totals=self._metrics.totals,
        )
        api = Api(
            pipeline=pipeline,
            reader=reader,
            fleet=fleet,
            gauges=lambda: (
                self._gauges(ledger, journal)
                | ways_told(breakers.shut(), breakers.states())
                | machines_told(self._observations.loads)
                | {
                    "costrouter_lines_taken": jobs.broker.depth,
                    "costrouter_lines_queued": jobs.broker.queued,
                    "costrouter_oldest_line_seconds": jobs.broker.oldest_s,
                    "costrouter_requests_queued": pipeline.queued,
                    "costrouter_policy_set": watch.current.number,
                    "costrouter_policy_faults": len(watch.current.faults),
                }
            ),
            health=self._health,
            started=clock.now_ms() // 1000,
            max_body=plan.settings.max_body,
            archive=plan.settings.archive_place,
        )
        memory = give_again(plan, pipeline, desk, reader, jobs.background)
        table = (
            api.table()
            | jobs.table
            | _admin_table(pipeline, keys, budgets, ledger.store_ms, audit=Audit(reader), clock=clock)
            | DecisionApi(pipeline, decisions).table()
            | ResponsesApi(pipeline, memory, upstream, jobs.background).table()
            | PolicyApi(pipeline, lambda: watch.current).table()
        )
        server = HttpServer(pipeline, table, max_body=plan.settings.max_body, serves=plan.settings.serves)
        handlers = server.protocol_factory()
        self._connected = lambda: len(handlers.connections)
        listening = await loop.create_server(handlers, sock=self._door, backlog=BACKLOG)
        _serving(ready)
        clockwork = (
            beat_on(ready),
            *jobs.clockwork,
            self._tick(pipeline, fleet, journal, watch),
            watch.run(),
            budgets.keep_fresh(),
            changes.hear(hearing),
            decisions.run(),
            breakers.keep_exchanging(),
            credentials.keep(plan.settings.provider_keys),
            *self._archiving(reader),
        )
        running = [loop.create_task(work) for work in clockwork]
        looking_after = loop.create_task(upkeep.run())
        doors = Doors(server, handlers, listening, self._health.go_down)
        await doors.closed(stop, replaced, linger_s=plan.settings.linger_s, drain_s=plan.settings.drain_s)
        await pipeline.close(LEAVE_S)
        for task in running:
            task.cancel()
        if alerts is not None:
            await alerts.close()
        await upkeep.end(looking_after)
        self._listener.flush()
        await self._settle_all(ledger, fleet)
        self._log.flush()
        await upstream.close()
        await asyncio.gather(*(found.close() for found in connections))
        executor.shutdown(cancel_futures=True)

    async def _tick(self, pipeline: Pipeline, fleet: Fleet, journal: Journal, watch: PolicyWatch) -> None:
        failed = 0
        while True:
            await asyncio.sleep(TICK_S)
            self._listener.flush()
            fault = await self._exchange(fleet)
            failed = failed + 1 if fault else 0
            faults = (fault if failed >= FAILED_TICKS else "", journal.fault)
            self._health.reasons = [*self._plan.warnings, *watch.current.reasons, *filter(None, faults)]
            try:
                if (self._observations.version, self._clock.now_ms() // 60_000) != self._compiled:
                    pipeline.snapshot = self._snapshot()
            except Exception as error:  # noqa: BLE001 - the last snapshot serves on; the next tick tries again
                _log.exception("snapshot_failed", kind=type(error).__name__)
            self._log.flush()

    def _archiving(self, reader: StoreConnection) -> list[Coroutine[Any, Any, None]]:
        settings, url = self._plan.settings, self._plan.store_url
        to = (settings.environment, settings.archive_after)
        return [keep_archived(reader, self._name, url, *to)] if settings.archives else []

    def _limits_of(self, policy: str, rule: str) -> TimeLimits:
        return limits_in(self._last.world.policies.values(), policy, rule)

    def _gauges(self, ledger: RedisLedger, journal: Journal) -> dict[str, int]:
        return {
            "costrouter_rows_waiting": ledger.waiting,
            "costrouter_journal_failing": int(bool(journal.fault)),
            "costrouter_connections": self._connected(),
            "costrouter_degraded": int(bool(self._health.reasons or self._health.down)),
        }

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

    def _pipeline(self, keys: RedisKeys, upstream: Upstream, desk: Desk, breakers: Breakers) -> Pipeline:
        settings = self._plan.settings
        bounds = Forwarding(attempts=settings.attempts, within_ms=round(settings.retry_within_s * 1000))
        forwarder = Forwarder(desk, Exchange(upstream, self._clock, desk.ways), bounds=bounds)
        parts: dict[str, Any] = {"keys": keys, "desk": desk, "forwarder": forwarder, "snapshot": self._snapshot()}
        pipeline = Pipeline(**parts) if self._traces is None else Traced(**parts, tracer=self._traces)
        pipeline.own_keys = brought_keys(self._world.catalog, self._plan.own_links)
        pipeline.prefixes = self._prefixes
        breakers.on_change = lambda: self._shut(pipeline, breakers)
        return pipeline

    def _tracing(self) -> tuple[Traces, ...]:
        settings = self._plan.settings
        if not settings.traces:
            return ()
        self._otlp = to(settings.traces, self._name)
        self._traces = Traces(self._otlp.ended, share=settings.traces_share, context=settings.traces_context)
        return (self._traces,)

    async def _watching(self, pipeline: Pipeline) -> PolicyWatch:
        plan = self._plan

        def takes(found: PolicySet) -> None:
            self._world = world_of(found.loaded, plan.links)
            ways = own_links(found.loaded.catalog, plan.settings, plan.sim_port, plan.settings.environment)
            pipeline.own_keys = brought_keys(found.loaded.catalog, ways)
            pipeline.snapshot = self._snapshot()
            self._health.reasons = [*plan.warnings, *found.reasons]

        watch = PolicyWatch(plan.policy_store, plan.policies, takes)
        # A worker that takes another's place was forked with what was in force when the node started.
        await watch.look()
        return watch

    def _snapshot(self) -> Snapshot:
        self._snapshots += 1
        self._compiled = (self._observations.version, self._clock.now_ms() // 60_000)
        now = dt.datetime.fromtimestamp(self._clock.now_ms() / 1000, dt.UTC)
        name, seen = f"{self._name}-{self._snapshots}", self._observations.summary
        self._last = compile_snapshot(name, self._world, now, seen, self._last)
        # Its plans are not compiled yet, so it costs nothing to say at once what may not be called.
        return self._last.shutting(name, self._closed) if self._closed else self._last

    def _shut(self, pipeline: Pipeline, breakers: Breakers) -> None:
        """Something has opened or closed: decide by that from now on."""
        closed = breakers.shut()
        if closed.keys() != self._closed.keys():
            self._closed = closed
            self._snapshots += 1
            pipeline.snapshot = pipeline.snapshot.shutting(f"{self._name}-{self._snapshots}", closed)

    async def _settle_all(self, ledger: RedisLedger, fleet: Fleet) -> None:
        try:
            await ledger.close()
        except StoreUnavailable as error:
            _log.error("rows_left", waiting=ledger.waiting, reason=str(error))
        with contextlib.suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(TELL_S):
                await fleet.exchange(self._clock.now_ms(), self._metrics.totals)
        if self._otlp is not None:
            await asyncio.to_thread(self._otlp.close)

    def _static_keys(self) -> dict[str, Identity]:
        plan = self._plan
        keys = {plan.admin_key: Identity(tenant=HOME, key=OPERATOR, name="administrator", role="admin")}
        if plan.dev_key:
            keys[plan.dev_key] = Identity(tenant=HOME, key=DEV, name="development")
        return keys

    def _journal(self, root: Path) -> Journal:
        # The store of our own has no replica that could take over.
        kept_s = 0 if self._plan.settings.redis_url is None else KEPT_S
        return Journal(root, f"{self._name}{secrets.token_hex(4)}", kept_s=kept_s)


def _admin_table(
    pipeline: Pipeline, keys: RedisKeys, book: RedisBudgets, store_ms: Callable[[], int], *, audit: Audit, clock: Clock
) -> dict[tuple[str, str], Handler]:
    """Keys, budgets and limits, and all of them at once."""
    budgets = BudgetApi(pipeline, book, store_ms, audit)
    limits = LimitApi(pipeline, budgets, book, store_ms, audit)
    moving = TransferApi(pipeline, keys, budgets, limits, audit)
    return budgets.table() | limits.table() | KeyApi(pipeline, keys, audit, clock.now_ms).table() | moving.table()


def _changes(reader: StoreConnection, keys: RedisKeys, budgets: RedisBudgets) -> Changes:
    """What tells other workers of changes, and hands theirs on."""
    changes = Changes(reader)
    keys.tell, budgets.tell = partial(changes.tell, "key"), partial(changes.tell, "budgets")
    changes.on = {"key": keys.changed, "budgets": lambda _: budgets.refresh()}
    return changes


def _webhook(settings: Settings) -> Webhook | None:
    if settings.alert_url is None:
        return None
    secret = settings.alert_secret.get_secret_value() if settings.alert_secret else ""
    return Webhook(settings.alert_url, secret, shape=settings.alert_format, private=settings.alert_private)


def _heard(loop: asyncio.AbstractEventLoop, number: signal.Signals) -> asyncio.Event:
    event = asyncio.Event()
    loop.add_signal_handler(number, event.set)
    return event


def _serving(ready: int) -> None:
    """Say so. What start-up has made stays; from now on only what requests leave is looked through for garbage."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    os.write(ready, b"1")
