"""A broker's parts, and what keeps answers, put together for one process. Part of the composition root.

Belongs here: which adapter fills which part of a broker. Does not belong here: the worker around it (app.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from router.adapters.broker.batches import Batches
from router.adapters.broker.broker import Broker
from router.adapters.broker.ends import Ends
from router.adapters.broker.planner import Planner
from router.adapters.broker.rota import Rota
from router.adapters.broker.yard import Yard
from router.adapters.http.background import Background
from router.adapters.http.batches import BatchesApi
from router.adapters.http.defer import Deferral
from router.adapters.http.files import FilesApi
from router.adapters.http.jobs import JobsApi
from router.adapters.http.message_batches import MessageBatchesApi
from router.adapters.jobs.batch_api import batch_apis
from router.adapters.jobs.blobs_directory import DirectoryBlobs
from router.adapters.jobs.blobs_s3 import S3Blobs, bucket_of
from router.adapters.jobs.durable import Durable
from router.adapters.jobs.files import FileStore
from router.adapters.jobs.ledger import JobLedger
from router.adapters.jobs.news import Endings
from router.adapters.jobs.store import LEASE_MS, JobStore
from router.adapters.jobs.vault import Vault
from router.adapters.jobs.waits import JobWaits
from router.adapters.kept_answers import KeptAnswers
from router.adapters.keys.key_files import kept_key
from router.caching import Caching
from router.memory import Memory
from router.once import Once

if TYPE_CHECKING:
    from collections.abc import Coroutine, MutableMapping, Sequence
    from typing import Any

    from router.adapters.http.server import Handler
    from router.adapters.store.connection import StoreConnection
    from router.desk import Desk
    from router.pipeline import Pipeline
    from router.plan import Plan
    from router.ports import Upstream
    from router.settings import Settings


@dataclass
class JobParts:
    """What looks after jobs in one process."""

    yard: Yard
    broker: Broker
    background: Background
    """Responses that are made in the background."""
    table: dict[tuple[str, str], Handler]
    """Endpoints, for the server's table."""
    serves: bool = True
    """Whether the broker runs here."""

    @property
    def clockwork(self) -> list[Coroutine[Any, Any, None]]:
        """What is to be run beside serving."""
        return [self.broker.run()] if self.serves else []


def job_parts(
    plan: Plan,
    name: str,
    *,
    connection: StoreConnection,
    waiting: Sequence[StoreConnection],
    pipeline: Pipeline,
    desk: Desk,
    upstream: Upstream,
    totals: MutableMapping[str, int],
) -> JobParts:
    """Put together; the pipeline knows from now on what may wait, and nothing runs yet.

    Args:
        plan: the supervisor's.
        name: of this process.
        connection: to the store; not the one of the hot path.
        waiting: three more, each used for one thing: waiting for the store's disk, for news of jobs, for their ends.
        pipeline: answers what is answered at once.
        desk: the pipeline's ports.
        upstream: for providers' batch APIs.
        totals: for /metrics.
    """
    settings = plan.settings
    writing, listening, ending = waiting
    pace = settings.sim_batch_speed if plan.simulated else 1.0
    ledger = JobLedger(connection, desk.clock)
    known = JobWaits(connection, pace)
    apis = batch_apis(plan.links, upstream)
    planner = Planner(msgspec.structs.replace(desk, ledger=ledger, listeners=()), ledger, plan.links, apis, known)
    yard = Yard(
        name=name,
        durable=Durable(writing),
        store=JobStore(connection, name, lease_ms=round(LEASE_MS / min(pace, 10))),
        ledger=ledger,
        vault=_vault(settings),
        planner=planner,
        pipeline=pipeline,
        apis=apis,
        links=plan.links,
        known=known,
        clock=desk.clock,
        listeners=desk.listeners,
        totals=totals,
    )
    secret = settings.alert_secret.get_secret_value() if settings.alert_secret else ""
    files = FileStore(connection, yard.store, yard.vault)
    ends = Ends(yard, secret=secret, private=settings.alert_private, batches=Batches(yard, files).turn)
    broker = Broker(yard, ends, Rota(listening, pace))
    here = broker if settings.broker else None
    background = Background(yard, Endings(ending))
    pipeline.deferral = Deferral(yard, here, background, hold_ms=round(settings.hold_s * 1000))
    table = JobsApi(pipeline, yard).table() | FilesApi(pipeline, yard, files).table()
    table |= BatchesApi(pipeline, yard, files, here).table() | MessageBatchesApi(pipeline, yard, files, here).table()
    return JobParts(yard, broker, background, table, settings.broker)


def give_again(plan: Plan, pipeline: Pipeline, desk: Desk, reader: StoreConnection, background: Background) -> Memory:
    """Have answers kept: by the policy's cache, for idempotency keys, and to be gone on from."""
    settings = plan.settings
    answers = KeptAnswers(reader, blob_secret(settings), settings.answers_mb << 20)
    pipeline.caching = Caching(answers, desk)
    claimed = KeptAnswers(reader, blob_secret(settings), settings.answers_mb << 20, wait_s=settings.store_wait_s)
    pipeline.once = Once(pipeline, claimed, settings.idempotency_hours * 3600)
    kept = KeptAnswers(reader, blob_secret(settings), settings.responses_mb << 20, "response")
    memory = pipeline.memory = Memory(kept, desk.ways, settings.responses_days * 86_400)
    memory.later = background
    return memory


def blob_secret(settings: Settings) -> str:
    """What is kept of prompts and answers is sealed with: as set, or drawn once for this machine."""
    given = settings.blob_secret
    return given.get_secret_value() if given else kept_key(settings.data_dir, "blobs")


def _vault(settings: Settings) -> Vault:
    secret = blob_secret(settings)
    place = settings.blobs_place
    if place.startswith("s3://"):
        return Vault(S3Blobs(bucket_of(place, settings.environment)), secret)
    return Vault(DirectoryBlobs(Path(place.removeprefix("file://"))), secret)
