"""What the pipeline needs of the outside world, as small contracts. Each has one shipped fake in tests/fakes.py.

Belongs here: Protocols, and the exceptions that cross them. Does not belong here: any implementation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

import msgspec

if TYPE_CHECKING:
    from router.core.budgets.budget import Dims, Term, Terms
    from router.core.budgets.limits import Limit
    from router.core.deciding.decision_log import Made
    from router.core.errors import RouterError
    from router.core.values import Hold, Identity, Outcome, Row

UpstreamFault = Literal["connect", "tls", "timeout", "reset", "protocol", "too_large"]


class Timeouts(msgspec.Struct, frozen=True):
    """Bounds on one upstream exchange, in seconds."""

    connect: float = 5.0
    first_byte: float = 120.0
    between_chunks: float = 60.0
    total: float = 600.0


class Origin(msgspec.Struct, frozen=True):
    """Where an upstream listens. ``base_path`` has no trailing slash."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    base_path: str = ""


class UpstreamRequest(msgspec.Struct, frozen=True):
    """One exchange to perform. ``path`` is appended to the origin's base path; header names are lower-case."""

    origin: Origin
    method: str
    path: str
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    timeouts: Timeouts


class UpstreamFailure(Exception):  # noqa: N818 - the fault lies elsewhere; errors are ours
    """An exchange that broke. Says where, so that the pipeline knows whether money may have been spent.

    Args:
        fault: the kind of break.
        message: for the log and the caller; names host and bound, never a header or a body.
        sent: True when request bytes may have reached the upstream, so that it may bill.
    """

    def __init__(self, fault: UpstreamFault, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.sent = sent


class UpstreamResponse(Protocol):
    """A response whose head has arrived. Exactly one of `read`, or `chunk` until it gives ``b""``, consumes it."""

    status: int
    headers: dict[str, str]
    """Lower-case names; repeated names joined with ``", "``."""

    async def read(self, limit: int) -> bytes:
        """The whole body, decoded. Raises `UpstreamFailure` (``too_large`` over ``limit`` bytes)."""

    async def chunk(self) -> bytes:
        """The next bytes as they arrive, ``b""`` at a clean end. Raises `UpstreamFailure`."""

    def gather(self) -> None:
        """From now on, what arrives within milliseconds of each other may be given as one chunk."""

    def close(self) -> None:
        """Give the connection back if the body was consumed, else drop it. Safe to call twice."""


class PartStream(Protocol):
    """What a reply goes on with."""

    @property
    def whole(self) -> bool:
        """Whether it has come to its own end: nothing is missing, and no error stands in it."""

    async def next_part(self) -> bytes:
        """The next bytes; b"" at the end."""

    async def abandon(self) -> None:
        """The caller has gone."""

    def cut(self, error: RouterError) -> bytes | None:
        """Last words to a caller who gets no more; None where there is no place for any. `abandon` follows."""


class Upstream(Protocol):
    """Sends one request and returns once the response's head is here."""

    async def send(self, request: UpstreamRequest) -> UpstreamResponse:
        """Raises `UpstreamFailure`. A stale kept-alive connection is retried only before bytes went out."""

    async def close(self) -> None:
        """Drop every connection."""


class StoreUnavailable(Exception):  # noqa: N818 - as above
    """The store did not answer in time, or refused. The caller gets 503 and a Retry-After."""


class PeriodOver(Exception):  # noqa: N818 - as above
    """A reservation named a budget period that does not hold in the store's time; nothing is held, and it may name another.

    Args:
        now_ms: the store's time.
    """

    def __init__(self, now_ms: int) -> None:
        super().__init__(f"at {now_ms} another budget period holds")
        self.now_ms = now_ms


class BudgetExceeded(Exception):  # noqa: N818 - as above
    """A budget has no room for a reservation; nothing is held.

    Args:
        term: the budget and its period.
        spent_nano: spent in that period.
        held_nano: held in it for attempts under way.
        amount_nano: what was asked for.
    """

    def __init__(self, term: Term, spent_nano: int, held_nano: int, amount_nano: int) -> None:
        super().__init__(f"the budget {term.budget.id} has no room for {amount_nano} nano-dollars")
        self.term = term
        self.spent_nano = spent_nano
        self.held_nano = held_nano
        self.amount_nano = amount_nano


class LimitReached(Exception):  # noqa: N818 - as above
    """A limit on rates or attempts at a time has no room for a reservation; nothing is held and nothing counted.

    Args:
        limit: which.
        current: what it counts now.
        amount: what was asked for.
        wait_ms: until there is room, as far as can be told.
    """

    def __init__(self, limit: Limit, current: int, amount: int, wait_ms: int) -> None:
        super().__init__(f"the limit {limit.id} has no room for {amount} more")
        self.limit = limit
        self.current = current
        self.amount = amount
        self.wait_ms = wait_ms


class NotHeld(Exception):  # noqa: N818 - as above
    """An attempt that should grow is not held (any more)."""


class JournalUnavailable(Exception):  # noqa: N818 - as above
    """What is about to be sent cannot be written down (a full disk, mostly), so it must not be sent."""


class Ledger(Protocol):
    """Holds and rows. One hold and one row per attempt."""

    def reserve(self, hold: Hold) -> asyncio.Future[int]:
        """Set the amount aside; the future gives the store's time in ms since the epoch. The call is on its way at once.

        A future that is cancelled before its result is there leaves no hold behind. Raises, now or when awaited, `StoreUnavailable` after 250 ms, and when ``not_after_ms`` has passed.
        The future raises `LimitReached` or `BudgetExceeded` where a limit or budget has no room, `PeriodOver` where a period of theirs is over, `NotHeld` where nothing is held that should grow.
        """

    def store_ms(self) -> int:
        """The store's time in ms since the epoch, as far as its last answer tells; for ``not_after_ms``."""

    def counted(self, limit: Limit) -> int:
        """What a limit counts, as far as the last reservation under it tells."""

    def sent(self, row: Row) -> None:
        """Write down that the attempt is about to be sent, so that it is booked whatever becomes of this process.

        ``row`` is booked as it stands if the process dies before `settle`: an estimate. Raises `JournalUnavailable`: the attempt must not be sent. Called after the reservation, before the first byte goes upstream.
        """

    def settle(self, row: Row) -> None:
        """Queue the row; its hold is freed in the same atomic step. Never blocks, never raises."""

    async def flush(self) -> None:
        """Return once every queued row is in the store. Raises `StoreUnavailable`."""


class Decisions(Protocol):
    """Keeps what was decided, so that it can be explained."""

    def made(self, made: Made) -> None:
        """Keep a decision. Never blocks, never raises; what is too much is left out."""

    async def find(self, request_id: str) -> Made | None:
        """A decision by its request's id; None when it is not kept. Raises `StoreUnavailable`."""


USAGE_MS: Final = 1_000
"""How old what is told of a budget's use may be."""


class BudgetBook(Protocol):
    """Which budgets an attempt falls under, without asking the store."""

    def terms(self, tenant: str, dims: Dims, now_ms: int) -> Terms:
        """The budgets and their periods at an instant of the store's time."""

    async def used_milli(self, tenant: str, dims: Dims, now_ms: int) -> int:
        """What is spent and held of the fullest of them, in thousandths of its limit; at most `USAGE_MS` old."""


class Keys(Protocol):
    """Who is behind an API key."""

    async def identify(self, secret: str) -> Identity | None:
        """None when the key is unknown. Raises `StoreUnavailable`."""


class TextCounter(Protocol):
    """Counts tokens in the reference encoding without holding up the loop."""

    def count_now(self, text: str) -> int:
        """Exact tokens of a short text, on the calling thread."""

    def known(self, text: str) -> int | None:
        """The count of a text that was counted before, or None, without counting."""

    async def count(self, texts: Sequence[str]) -> list[int]:
        """Exact tokens of each text, long ones in a thread, in slices."""


class ProviderLink(msgspec.Struct, frozen=True):
    """How to reach one provider: what of its configuration the pipeline needs."""

    name: str
    origin: Origin
    headers: tuple[tuple[bytes, bytes], ...]
    """Sent with every call, credentials included. Never logged."""
    key: str = ""
    """Names the key among the provider's; never the secret."""
    weight: int = 1
    """Its share of the calls, beside the provider's other keys."""
    dialects: tuple[str, ...] = ("openai",)
    """What it speaks; requests in other dialects are put into the first."""
    quirks: frozenset[str] = frozenset()
    bills_after_disconnect: bool = True
    timeouts: Timeouts = Timeouts()
    brought: bool = False
    """Whether the key is the caller's own: what becomes of it says nothing of ours."""
    names: Mapping[str, str] = {}
    finish: Callable[[UpstreamRequest, str], UpstreamRequest] | None = None
    """The account's own names for models, by the catalog's; and the last hand on a request to a model of that name."""


OwnKeys = Callable[[str, str], "tuple[Identity, ProviderLink] | None"]
"""Who brings a provider's own key (a secret, a provider if one is named), and the way there; None for what is no such key. Raises
RouterError ``invalid_api_key`` where none would take it, or several would."""


class Ways(Protocol):
    """Which of a provider's keys may be used for a model now, and what came of using them."""

    def link(self, provider: str, model: str, tokens: int) -> ProviderLink | None:
        """The key to use for a request of so many tokens; None where none may be used now."""

    def named(self, provider: str, key: str) -> ProviderLink | None:
        """A key by its name; None where it is not in use (any more)."""

    def open(self, link: ProviderLink, model: str) -> bool:
        """Whether a key that a caller has brought may be used for a model now."""

    def probing(self, link: ProviderLink, model: str) -> bool:
        """Whether what goes this way tries out whether it works again."""

    def failing(self, link: ProviderLink, model: str) -> bool:
        """Whether more than one attempt in a row has failed that way, or half of the fleet's."""

    def wait_ms(self, provider: str, model: str) -> int | None:
        """In how many ms a way to the model is worth another try; None where none is shut."""

    def answered(self, link: ProviderLink, model: str, headers: Mapping[str, str]) -> None:
        """The head of an answer is here."""

    def ended(self, link: ProviderLink, model: str, outcome: Outcome, error: RouterError | None) -> None:
        """An attempt has ended."""


class Listener(Protocol):
    """Hears what happened; logs, counts, learns. Must not block and must not raise."""

    def on_row(self, row: Row, error: str | None) -> None:
        """An attempt ended, ``released`` ones among them. ``error`` is the code that its caller saw, if any."""

    def on_refusal(self, endpoint: str, code: str, identity: Identity | None) -> None:
        """A request ended before any attempt was made."""


class Clock(Protocol):
    """Time, so that tests can own it."""

    def now_ms(self) -> int:
        """Milliseconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds; differences only."""


class Claim(msgspec.Struct, frozen=True):
    """What has become of a name that was claimed."""

    state: str
    """``mine``; ``running``: somebody else is at it; ``other``: it belongs to another request; ``done``."""
    answer: bytes | None = None
    """Of one that is done; None where the answer was not kept."""


class AnswerStore(Protocol):
    """Answers that may be given again, by name. Sealed, and kept for their time."""

    def digest(self, *parts: bytes) -> str:
        """Names what these parts stand for, and tells nothing of them."""

    async def claim(self, tenant: str, name: str, request: str, token: str, lease_ms: int) -> Claim:
        """Claim a name for a request, or renew the claim with this token. Raises `StoreUnavailable`."""

    async def keep(self, tenant: str, name: str, token: str, answer: bytes | None, kept_s: float) -> bool:
        """End a claim with an answer, or None where none is kept. False: it is not one's own. Raises `StoreUnavailable`."""

    async def release(self, tenant: str, name: str, token: str) -> None:
        """Give a claim up. Raises `StoreUnavailable`."""

    async def find(self, tenant: str, name: str) -> bytes | None:
        """An answer that is kept. Raises `StoreUnavailable`."""

    async def put(self, tenant: str, name: str, answer: bytes, kept_s: float) -> None:
        """Keep an answer without a claim. Raises `StoreUnavailable`."""


class BlobMissing(Exception):  # noqa: N818 - as above
    """A blob is not there (any more), or is not what was put there."""


class BlobsUnavailable(Exception):  # noqa: N818 - as above
    """Where blobs lie does not answer."""


class BlobWriter(Protocol):
    """A blob under way."""

    async def write(self, data: bytes) -> None:
        """Append. Raises `BlobsUnavailable`."""

    async def keep(self) -> None:
        """From now on it is there, whole and for good. Raises `BlobsUnavailable`."""

    async def drop(self) -> None:
        """Forget it."""


class Blobs(Protocol):
    """Large payloads, by name: letters, digits and ``_.~%=-``, in parts divided by slashes. Bytes in, the same bytes out."""

    async def writer(self, name: str) -> BlobWriter:
        """Begin a blob; one of the same name is replaced once the new one is kept."""

    async def read(self, name: str, offset: int, length: int) -> bytes:
        """Up to so many bytes from an offset on; none beyond the end. Raises `BlobMissing`, `BlobsUnavailable`."""

    async def delete(self, name: str) -> None:
        """Remove a blob, if it is there. Raises `BlobsUnavailable`."""


class Deferral(Protocol):
    """Who takes requests that may wait. Calls, considered requests and replies are the pipeline's."""

    async def take(self, call: Any, identity: Identity, seen: Any, body: bytes) -> Any:
        """An answer, or a promise of one; None for what is best answered at once. Raises `RouterError`."""

    def estimate(self, seen: Any) -> dict[str, Any] | None:
        """What would be done with a request that states a deadline. Raises `RouterError`."""

    def hint(self, seen: Any) -> str:
        """What a deadline would save a request that states none, in a few words; "" for nothing."""
