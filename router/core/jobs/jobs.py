"""Jobs, their lines and the parcels they travel in: states, events, and the one table of what follows from what.

Belongs here: frozen facts and the state machine of a parcel (a batch at a provider) and of a line. Does not belong
here: performing an action (adapters/broker/broker.py), keeping a state (adapters/jobs/store.py), the clock (deadlines.py).

A *job* is what a caller handed in: one request that may wait, or a file of them. A *line* is one request of it. A
*parcel* is a batch at one provider, of lines of one tenant, model and tier. Each try of a line is an attempt of its
own, ``job/line/n``, with one row.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from router.core.values import Price

ParcelState = Literal[
    "staged",  # its lines are bound to it; nothing is known at the provider
    "uploaded",  # the provider has its file
    "unsure",  # a creation may have been sent, and nobody knows what came of it
    "submitted",  # the provider has taken it, under an id
    "cancelling",  # it was asked to stop
    "ended",  # it will change no more at the provider
    "booked",  # every line's row is in the ledger
    "gone",  # nothing is left at the provider; what remains is ours
]
Event = Literal[
    "uploaded",
    "created",
    "found",
    "not_found",
    "unknown",  # no answer, or one that says nothing
    "unsent",  # it never left: the provider knows nothing of it
    "refused",  # the provider will not take it: as it is, or now
    "full",  # no room in its quota of tokens that may wait
    "running",
    "over",  # completed, expired, cancelled or failed: results are to be had, or there are none
    "lost",  # the provider does not know it any more
    "wanted_no_more",  # by the caller, or because what waits must be given up
    "stopped",  # the provider confirms that it is cancelling
    "booked",
    "not_ours",  # its results are of requests that nobody knows: another batch was taken for it
    "deleted",
]
Action = Literal[
    "upload", "create", "look", "poll", "cancel", "book", "delete", "forget", "nothing",
]  # fmt: skip  # one a line would hide that they are few

TABLE: Final[dict[tuple[ParcelState, Event], tuple[ParcelState, Action]]] = {
    # Before the provider knows of it. What may have been uploaded in vain is deleted with the parcel.
    ("staged", "uploaded"): ("uploaded", "create"),
    ("staged", "unknown"): ("staged", "upload"),
    ("staged", "refused"): ("ended", "book"),
    ("staged", "wanted_no_more"): ("ended", "book"),
    ("uploaded", "wanted_no_more"): ("ended", "book"),
    # Written down before the creation is sent, so that one whose answer is lost is looked for before it is repeated.
    ("unsure", "created"): ("submitted", "poll"),
    ("unsure", "found"): ("submitted", "poll"),
    ("unsure", "not_found"): ("uploaded", "create"),
    ("unsure", "unknown"): ("unsure", "look"),
    ("unsure", "full"): ("uploaded", "create"),
    ("unsure", "unsent"): ("uploaded", "create"),
    # Where nobody could find it again: what it may cost is booked, and nothing is created a second time.
    ("unsure", "lost"): ("ended", "book"),
    ("unsure", "refused"): ("ended", "book"),
    ("unsure", "wanted_no_more"): ("unsure", "look"),
    # At the provider.
    ("submitted", "running"): ("submitted", "poll"),
    ("submitted", "unknown"): ("submitted", "poll"),
    ("submitted", "over"): ("ended", "book"),
    ("submitted", "full"): ("uploaded", "create"),
    ("submitted", "lost"): ("ended", "book"),
    ("submitted", "wanted_no_more"): ("submitted", "cancel"),
    ("submitted", "stopped"): ("cancelling", "poll"),
    ("cancelling", "running"): ("cancelling", "poll"),
    ("cancelling", "unknown"): ("cancelling", "poll"),
    ("cancelling", "stopped"): ("cancelling", "poll"),
    ("cancelling", "wanted_no_more"): ("cancelling", "cancel"),
    ("cancelling", "over"): ("ended", "book"),
    ("cancelling", "full"): ("ended", "book"),
    ("cancelling", "lost"): ("ended", "book"),
    # Over: rows first, then what lies at the provider goes.
    ("ended", "unknown"): ("ended", "book"),
    ("ended", "wanted_no_more"): ("ended", "book"),
    ("ended", "booked"): ("booked", "delete"),
    ("ended", "not_ours"): ("unsure", "look"),
    ("booked", "deleted"): ("gone", "forget"),
    ("booked", "unknown"): ("booked", "delete"),
    ("booked", "wanted_no_more"): ("booked", "delete"),
}
"""What follows when something happens to a parcel. A pair that is not here cannot happen, and changes nothing."""

RESUME: Final[dict[ParcelState, Action]] = {
    "staged": "upload",
    "uploaded": "create",
    "unsure": "look",
    "submitted": "poll",
    "cancelling": "poll",
    "ended": "book",
    "booked": "delete",
    "gone": "forget",
}
"""What is done next with a parcel that is taken up in this state, whoever had it before."""


def follow(state: ParcelState, event: Event) -> tuple[ParcelState, Action]:
    """The next state, and what is to be done; the same state and ``nothing`` where the event cannot matter."""
    return TABLE.get((state, event), (state, "nothing"))


UNFOUND: Final = "unfound"
"""How a parcel ended whose creation was not answered, at a provider that does not tell what was created."""

LineFate = Literal["succeeded", "refused", "failed", "expired", "cancelled", "missing"]
"""What a provider says of a line: an answer; an answer that no repetition will mend (4xx); one that it may (5xx, 429);
not done in time; not done because it was told to stop; nothing at all."""
Next = Literal["deliver", "again", "fail", "drop"]
"""Give the answer; try again, faster where time is short; tell the failure; say that it was cancelled."""

MOST_TRIES: Final = 4
"""Attempts of a line, all tiers together."""
_FATES: Final[dict[LineFate, Next]] = {
    "succeeded": "deliver",
    "refused": "deliver",
    "failed": "again",
    "expired": "again",
    "cancelled": "again",
    "missing": "again",
}


def after(fate: LineFate, tries: int, *, unwanted: bool) -> Next:
    """What becomes of a line once a try has ended.

    Args:
        fate: of that try.
        tries: how many there have been, this one included.
        unwanted: whether the caller has cancelled the job.
    """
    follows = _FATES[fate]
    if follows != "again":
        return follows
    if unwanted:
        return "drop"
    return "again" if tries < MOST_TRIES else "fail"


def fate_of(status: int) -> LineFate:
    """What the status of a line's answer means."""
    if status == 200:
        return "succeeded"
    return "failed" if status in (408, 429) or status >= 500 else "refused"


JobStatus = Literal["queued", "in_progress", "completed", "failed", "cancelled", "expired"]
LINE_DONE: Final = frozenset({"succeeded", "failed", "cancelled", "expired"})
"""States in which a line stays; ``queued`` and ``bound`` (to a parcel, or to a run) are the others."""


class Line(msgspec.Struct, frozen=True, array_like=True):
    """One request of a job. Field order is the stored layout: new fields go to the end with a default."""

    state: str
    """``queued``, ``bound``, or one of `LINE_DONE`."""
    tries: int
    """Attempts begun."""
    bound: str
    """The parcel or run that it travels in; "" for none."""
    payload: tuple[str, int, int]
    """Where the request's body lies: blob, offset, length; an empty name for the store itself."""
    custom_id: str = ""
    avoid: str = ""
    """A tier that has failed it; "" for none."""
    status: int = 0
    """Of the answer; 0 while there is none."""
    result: tuple[str, int, int] = ("", 0, 0)
    """Where the answer lies."""
    error: str = ""
    """Why there is no answer, as a code."""
    ended_ms: int = 0
    waits_ms: int = 0
    """No try begins before this."""


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What came of a line, as it is kept."""

    status: int
    headers: dict[str, str]
    """What a caller is told in headers: model, provider, tier, cost."""
    body: bytes


class Job(msgspec.Struct, frozen=True, array_like=True):
    """What a caller handed in. Field order is the stored layout."""

    id: str
    tenant: str
    key: str
    created_ms: int
    deadline_ms: int
    promised_ms: int
    """When it was expected to be done, at its start."""
    endpoint: str
    kind: str
    """``request``, ``batch`` or ``messages_batch``."""
    headers: dict[str, str]
    """The caller's orders, by header name; credentials and the deadline are not among them."""
    identity: bytes
    """Who calls, encoded."""
    keep_ms: int
    """How long results are kept after the end."""
    webhook: str = ""
    given: dict[str, str] = {}
    """What a batch's creator said, to be said again: file, window, metadata as JSON."""
    cap_nano: int = 0
    """A batch's own limit; 0 for none."""


class Parcel(msgspec.Struct, frozen=True, array_like=True):
    """A batch at a provider. Field order is the stored layout."""

    id: str
    tenant: str
    provider: str
    entry: str
    tier: str
    endpoint: str
    state: str
    created_ms: int
    deadline_ms: int
    """The earliest of its lines'."""
    lines: int
    tokens: int = 0
    file: str = ""
    """The provider's id of the input, once that is known."""
    remote: str = ""
    """The provider's id of the batch, once that is known."""
    sent_ms: int = 0
    outcome: str = ""
    """How it ended at the provider."""
    outputs: tuple[str, ...] = ()
    """The provider's ids of its results."""
    unwanted: str = ""
    """Why it was given up: ``cancelled`` by the caller, ``deadline``."""
    pauses: int = 0
    """Failures in a row."""
    done: int = 0
    note: str = ""
    """The last failure, in words."""
    model: str = ""
    """The provider's name for it."""
    run_ms: int = 0
    """What an answer in real time takes at its slowest; 0 where that is not known."""
    strangers: tuple[str, ...] = ()
    """Batches that were taken for it and were not."""


class Manifest(msgspec.Struct, frozen=True, array_like=True):
    """What a parcel knows of one of its lines."""

    job: str
    number: int
    attempt: int
    row: bytes
    price: Price
    baseline: Price | None
    payload: tuple[str, int, int]
    """Where the request lies as it goes to the provider."""
    instant: Price | None = None
    """What it would pay at once, in real time."""
    shows_thoughts: bool = False
    """Whether its caller wants to see what a model thought, where the answer is put into another dialect."""


def attempt_name(job: str, number: int, attempt: int) -> str:
    """``job/line/n``."""
    return f"{job}/{number}/{attempt}"


def custom_id(job: str, number: int, attempt: int) -> str:
    """The id under which a line travels: the provider gives it back. At most 64 of ``[A-Za-z0-9_-]``."""
    return f"{job}-{number}-{attempt}"


FIRST_PAUSE_MS: Final = 1_000
LAST_PAUSE_MS: Final = 120_000


def pause_ms(pauses: int) -> int:
    """How long to wait after so many failures in a row, in milliseconds."""
    return min(FIRST_PAUSE_MS << min(pauses, 10), LAST_PAUSE_MS)


MOST_FREE_TRIES: Final = 64
"""Attempts of a line in real time, where those that failed cost nothing."""
_FREE: Final = frozenset({"rate_limited", "upstream_error", "upstream_unavailable", "upstream_unreachable"})
"""Failures for which nobody bills: an outage is sat out, as long as there is time."""


def again_ms(code: str, tries: int, left_ms: int, told_ms: int | None) -> int | None:
    """How long to wait before a line is tried again in real time; None where there is no use in it.

    Args:
        code: of a failure that another try may mend.
        tries: how many there have been.
        left_ms: until the deadline.
        told_ms: how long the provider asks to wait; None where it does not say.
    """
    free = code in _FREE
    if tries >= (MOST_FREE_TRIES if free else MOST_TRIES):
        return None
    pause = pause_ms(tries) if told_ms is None else told_ms
    if free and told_ms is None:
        pause = min(pause, max(left_ms // 4, FIRST_PAUSE_MS // 2))  # the last tries are not given away
    return pause if pause < left_ms else None


LAST_POLL_MS: Final[dict[str, int]] = {"batch": LAST_PAUSE_MS, "window": 5 * LAST_PAUSE_MS}
"""By kind of tier, how rarely it is asked for at last: a window holds one request each, so there are many to ask for."""


def poll_ms(waited_ms: int, left_ms: int, pace: float, kind: str = "batch") -> int:
    """When to ask again for something that has taken so long: often at first, never rarer than `LAST_POLL_MS` says, and
    soon where the end of the wait is near. Milliseconds, at least 50.
    """
    usual = max(waited_ms // 12, 2_000 / max(pace / 4, 1))
    return max(50, round(min(usual, LAST_POLL_MS[kind], max(left_ms, 0) / 4 + 50)))
