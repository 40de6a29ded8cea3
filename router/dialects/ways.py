"""Which dialects are spoken, and how a request of one is put to a provider of another: the tables.

Belongs here: what a dialect must give (`Inbound`, `Outbound`), the tables of them, and the `Way` from each API of ours to
each dialect of a provider's. Does not belong here: any format. docs/dialects.md says how to add one.

Same dialect on both sides: the way passes bytes on, and a scanner picks out what matters for money. Else the request is
read wholly into a `Conversation`, written anew, and the answer comes back through the neutral form as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Final, Protocol

import msgspec

from router.core.decide import Decision
from router.core.errors import RouterError
from router.core.values import Endpoint, Usage
from router.dialects import openai_errors
from router.dialects.neutral import Order
from router.dialects.openai_chat import pass_chat, pass_embeddings, read_chat, read_embeddings
from router.dialects.openai_stream import StreamScanner, answered_text, is_answer, said_so_far, streamed_text
from router.dialects.openai_usage import usage_of
from router.dialects.request import Request

Cost = Callable[[Usage], str | None]
"""Text of an attempt's cost in dollars for these meters; None for meters that cannot be believed."""
Passing = Callable[[Request, Decision, frozenset[str]], Order]
"""What goes on of a request in the provider's own dialect: its request, the decision, the provider's quirks."""


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


class Inbound(msgspec.Struct, frozen=True):
    """An API of ours: how callers speak."""

    api: str
    endpoint: Endpoint
    path: str
    """As rules of policies see it, and as providers of the same dialect are called."""
    native: str
    """The provider's dialect into which it need not be translated."""
    read: Callable[[bytes, Mapping[str, str]], Request]
    """A body and the caller's headers to what routing needs. Raises RouterError ``invalid_request``."""
    passed: Passing
    error_body: Callable[[RouterError], bytes]
    error_event: Callable[[RouterError], bytes]


class Outbound(msgspec.Struct, frozen=True):
    """A dialect of providers: how they are spoken to."""

    dialect: str
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
    scanner: Callable[[bool, Cost], Scanner]
    """For a stream that is passed on: whether its caller wants the meters, and the cost's text."""


class Way(msgspec.Struct, frozen=True):
    """From one API of ours to one dialect of providers, and back."""

    inbound: Inbound
    outbound: Outbound
    order: Callable[[Request, Decision, frozenset[str]], Order]
    scanner: Callable[[Request, Cost], Scanner]


INBOUND: Final[dict[str, Inbound]] = {
    found.api: found
    for found in (
        Inbound(
            api="chat",
            endpoint="chat",
            path="/chat/completions",
            native="openai",
            read=read_chat,
            passed=pass_chat,
            error_body=openai_errors.error_body,
            error_event=openai_errors.error_event,
        ),
        Inbound(
            api="embeddings",
            endpoint="embeddings",
            path="/embeddings",
            native="openai",
            read=read_embeddings,
            passed=pass_embeddings,
            error_body=openai_errors.error_body,
            error_event=openai_errors.error_event,
        ),
    )
}
"""Our APIs by name."""

OUTBOUND: Final[dict[str, Outbound]] = {
    found.dialect: found
    for found in (
        Outbound(
            dialect="openai",
            usage_of=usage_of,
            is_answer=is_answer,
            answered_text=answered_text,
            streamed_text=streamed_text,
            said_so_far=said_so_far,
            scanner=lambda wants_usage, cost: StreamScanner(wants_usage=wants_usage, cost=cost),
        ),
    )
}
"""Providers' dialects by the catalog's names: those of `router.core.wire.EXPRESSES`."""


@cache
def way(api: str, dialects: tuple[str, ...]) -> Way:
    """From one of our APIs to a provider that speaks these dialects."""
    inbound = INBOUND[api]
    outbound = OUTBOUND[inbound.native if inbound.native in dialects else dialects[0]]
    make = outbound.scanner
    return Way(inbound, outbound, inbound.passed, lambda request, cost: make(request.wants_usage, cost))
