"""``timeouts``, ``retry``, ``queue`` and ``hedge`` in a policy file: what a platform engineer may write, and what it becomes.

Does not belong here: what the bounds mean (`forwarding`), the rest of a policy file (`schema.py`).
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from pydantic import Field, WithJsonSchema

from router.core.forwarding.forwarding import Forwarding, Queueing
from router.core.forwarding.hedging import Hedge
from router.core.schema import Strict, written
from router.core.statistics.stats import PERCENTILES
from router.core.units import milli, milliseconds

_DURATION: Final = WithJsonSchema(
    {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|h|d)$", "examples": ["800ms", "30s"]}
)
_AFTER: Final = WithJsonSchema(
    {"type": "string", "pattern": r"^(p(50|75|90|95|99)|\d+(\.\d+)?\s*(ms|s|m))$", "examples": ["p95", "800ms"]}
)
_SHARE: Final = WithJsonSchema({"type": ["string", "number"], "pattern": r"^\d+(\.\d+)?\s*%?$", "examples": ["10%"]})


def _hedge_after(text: str) -> Hedge:
    """A percentile that statistics keep (``p95``), or a duration."""
    if not text.startswith("p"):
        return Hedge(after_ms=milliseconds(text))
    if text not in {f"p{kept}" for kept in PERCENTILES}:
        kept = ", ".join(f"p{kept}" for kept in PERCENTILES)
        raise ValueError(f"{text!r} is not kept by the statistics; write one of {kept}, or a duration such as 800ms")
    return Hedge(percentile=int(text[1:]))


Time = Annotated[int, written(milliseconds), _DURATION]


class TimeoutsSchema(Strict):
    """``timeouts``: bounds on one request; what is left out is the provider's own."""

    connect: Time | None = None
    first_byte: Time | None = None
    """Until a stream begins."""
    between_chunks: Time | None = None
    total: Time | None = None
    """All attempts together."""


class RetrySchema(Strict):
    """``retry``: what follows a failed attempt; what is left out is the settings'."""

    attempts: Annotated[int, Field(ge=1, le=10)] | None = None
    """Most attempts, the first among them."""
    same: Annotated[int, Field(ge=0, le=9)] = 1
    """How often the candidate that failed is tried again while another one could serve."""
    within: Time | None = None
    """No attempt but the first begins later than this."""
    backoff: Time = 250
    backoff_most: Time = 8_000


class QueueSchema(Strict):
    """``queue``: waiting for room under a limit, instead of an instant 429."""

    wait: Time
    depth: Annotated[int, Field(ge=1, le=10_000)] = 100
    priority: Annotated[str, Field(pattern=r"^tag/[A-Za-z0-9_.-]{1,32}$")] | None = None
    """The tag whose value (high, normal, low, or a whole number) orders the line."""


class HedgeSchema(Strict):
    """``hedge``: a second attempt at the next candidate beside one that is slow; the first answer wins."""

    after: Annotated[Hedge, written(_hedge_after), _AFTER]
    most: Annotated[int, written(milli), _SHARE] = 100
    """Of all requests, how many may have one."""


def forwarding_of(
    timeouts: TimeoutsSchema | None, retry: RetrySchema | None, queue: QueueSchema | None, hedge: HedgeSchema | None
) -> Forwarding | None:
    """A policy's bounds; None where it states none. An unstated bound of the settings is 0."""
    if timeouts is None and retry is None and queue is None and hedge is None:
        return None
    times, again = timeouts or TimeoutsSchema(), retry or RetrySchema()
    return Forwarding(
        attempts=again.attempts or 0,
        same=again.same,
        within_ms=again.within or 0,
        backoff_ms=again.backoff,
        backoff_most_ms=again.backoff_most,
        connect_ms=times.connect,
        first_byte_ms=times.first_byte,
        between_chunks_ms=times.between_chunks,
        total_ms=times.total,
        queue=None if queue is None else Queueing(queue.wait, queue.depth, (queue.priority or "").removeprefix("tag/")),
        hedge=None if hedge is None else msgspec.structs.replace(hedge.after, share_milli=hedge.most),
    )
