"""What a dialect must give: to our callers (`Inbound`) and to providers (`Outbound`).

Belongs here: the contracts. Does not belong here: any format, and the tables (ways.py). docs/dialects.md tells how to add
a dialect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from router.core.deciding.decide import Decision
from router.core.errors import RouterError
from router.core.values import Endpoint, Usage
from router.dialects.neutral import Answer, Conversation, Event, Order
from router.dialects.request import Request

Cost = Callable[[Usage], str | None]
"""Text of an attempt's cost in dollars for these meters; None for meters that cannot be believed."""
Ordering = Callable[[Request, Decision, frozenset[str]], Order]
"""What is sent upstream for a request: the decision, and the provider's quirks as the catalog spells them."""


class Scanner(Protocol):
    """Reads an upstream's stream, gives what the caller gets of it.

    ``usage``: the last meters that were reported. ``answered``: part of an answer has come by. ``finished``: the answer
    is whole. ``done``: the stream has said that it ends. ``failed``: it holds an error (its data: ``error``) instead.
    ``last``: what ends a whole stream, after the comment with the cost.
    """

    usage: Usage | None
    answered: bool
    finished: bool
    done: bool
    failed: bool
    error: bytes
    last: bytes

    def feed(self, chunk: bytes) -> bytes:
        """Bytes as they came, to those that may go on now. Raises ValueError for what cannot be read any more."""

    def ending(self) -> bytes:
        """What was held back until the meters were known; goes before the comment with the cost."""


class Reader(Protocol):
    """Reads an upstream's stream into the neutral form, event by event."""

    usage: Usage | None
    done: bool
    failed: bool
    error: bytes

    def feed(self, chunk: bytes) -> Sequence[Event]:
        """What bytes say, as they came. Raises ValueError for what cannot be read."""


class Writer(Protocol):
    """Writes a stream in a caller's dialect from the neutral form. ``last`` is what ends it; `ending` may change that."""

    last: bytes

    def write(self, events: Iterable[Event]) -> bytes:
        """These events, in order."""

    def ending(self, usage: Usage | None, cost: str | None) -> bytes:
        """What comes after the last event of the answer, once all is known."""


def nothing_passes(request: Request, cost: Cost) -> Scanner:  # noqa: ARG001 - the shape of a scanner's maker
    """The scanner of a dialect that no API of ours speaks.

    Raises:
        TypeError: always.
    """
    raise TypeError("no API of ours speaks this dialect, so no stream of it is passed on as it is")


class Asked(msgspec.Struct, frozen=True):
    """What a writer may need beside the answer."""

    request: Request
    expected_prompt: int
    """Tokens of the prompt, before any meters."""
    at_s: int
    """Seconds since the epoch."""
    answer_id: str = ""
    """Names the answer; "" where it goes by the provider's own id."""
    kept: bool = False
    """Whether the answer can be asked for again."""
    spare_id: str = ""
    """What an answer is called whose provider gives it no id."""
    spare_model: str = ""
    """What wrote it, where its provider does not say."""


class Hearing(msgspec.Struct, frozen=True):
    """How requests of an API of ours are put into other dialects, and answers come back."""

    understood: Callable[[Request], Conversation]
    """The whole request, with what not every dialect can express noted in it. Raises RouterError ``invalid_request``."""
    write_answer: Callable[[Answer, Asked], bytes]
    """A whole answer in the caller's dialect."""
    writer: Callable[[Asked], Writer]


class Inbound(msgspec.Struct, frozen=True):
    """An API of ours: how callers speak."""

    api: str
    endpoint: Endpoint
    path: str
    """As rules of policies see it; under `root`."""
    native: str
    """The provider's dialect into which it need not be translated."""
    read: Callable[[bytes, Mapping[str, str]], Request]
    """A body and the caller's headers to what routing needs. Raises RouterError ``invalid_request``."""
    passed: Ordering
    """For a provider that speaks the same: the body goes on to the letter."""
    error_body: Callable[[RouterError], bytes]
    error_event: Callable[[RouterError], bytes]
    id_header: str = ""
    """Where its SDKs look for a request's id, beside ``x-request-id``."""
    id_prefix: str = ""
    """Begins the ids of its answers, where they are named by us; "" where they go by the provider's own ids."""
    hearing: Hearing | None = None
    """None where requests are never translated."""
    outbound: Outbound | None = None
    """How its answers are read, where not as its native dialect's."""
    root: str = "/v1"


class Outbound(msgspec.Struct, frozen=True):
    """A dialect of providers: how they are spoken to, and what they answer."""

    dialect: str
    credentials: Callable[[str], tuple[tuple[bytes, bytes], ...]]
    """Headers that carry a key."""
    usage_of: Callable[[bytes], Usage | None]
    """The meters of a plain answer; None where it has none that can be believed."""
    is_answer: Callable[[bytes], bool]
    """Whether a plain body with status 200 is an answer at all."""
    answered_text: Callable[[bytes], list[str]]
    """All that a plain answer says: what must be counted when it has no meters."""
    streamed_text: Callable[[bytes], list[str]]
    """The same of a stream so far."""
    said_so_far: Callable[[bytes], str]
    """About the same at a tenth of the cost: for watching a stream grow, never for what is booked."""
    scanner: Callable[[Request, Cost], Scanner]
    """For a stream that is passed on as it is."""
    stream_type: str
    """The content type by which a stream is known."""
    order: Ordering
    """A request whose ``conversation`` is known, written anew."""
    read_answer: Callable[[bytes], Answer]
    """A plain answer in neutral form. Raises ValueError for what is none."""
    reader: Callable[[], Reader]
    tier_header: str = ""
    """Where an answer tells the tier that was served, if its meters do not; empty where it does not."""
