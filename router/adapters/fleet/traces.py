"""Spans of requests and of their attempts, under OpenTelemetry's names for GenAI, without its library.

Belongs here: which spans there are, their ids, times and attributes. Does not belong here: sending them (otlp.py).

One span a request, one an attempt below it. An attempt's id follows from its name, so that it can be told to the provider
before the attempt has ended. No span holds a prompt, an answer, a user, a tag or a key.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from router.core.money import usd
from router.core.trace_context import TraceContext, read_traceparent, traceparent

if TYPE_CHECKING:
    from router.core.values import Identity, Row
    from router.ports import UpstreamRequest

MOST_OPEN: Final = 20_000
"""Requests under way whose spans are kept; those that began first are forgotten first."""
_OPERATIONS: Final = {"chat": "chat", "embeddings": "embeddings"}
_FINE: Final = frozenset({"ok", "client_left", "outrun"})
_HALF: Final = 2**64


class Span(msgspec.Struct, frozen=True):
    """A span that is over. Times are nanoseconds since the epoch."""

    name: str
    context: TraceContext
    parent_id: int
    """0 for none."""
    server: bool
    """Whether it is of something that we did for a caller, or of what a provider did for us."""
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    error: str = ""
    """What went wrong, in a word; empty for nothing."""


class _Open:
    """A request under way."""

    __slots__ = ("answer", "context", "ended", "endpoint", "left", "parent_id", "start_ns", "starts")

    def __init__(self, context: TraceContext, parent_id: int, endpoint: str, start_ns: int) -> None:
        self.context = context
        self.parent_id = parent_id
        self.endpoint = endpoint
        self.start_ns = start_ns
        self.starts: dict[str, int] = {}
        """By attempt: when it began."""
        self.left = 0
        """Attempts that have not ended."""
        self.answer = ""
        """The attempt that its answer comes from."""
        self.ended = False


class Traces:
    """Implements `router.tracing.Tracer` and `router.ports.Listener`, and marks what is sent to providers.

    Args:
        ended: takes spans that are over.
        share: of the requests that nobody else traces, how many are, 0 to 1.
        context: ``off``, ``accept`` (a caller's trace goes on here), or ``pass`` (and on to providers).
        now_ns: the time, in nanoseconds since the epoch.
    """

    def __init__(
        self,
        ended: Callable[[Span], None],
        *,
        share: float = 1.0,
        context: str = "accept",
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._ended = ended
        self._below = int(share * _HALF)
        self._accepts = context != "off"
        self._passes = context == "pass"
        self._now_ns = now_ns
        self._open: dict[str, _Open] = {}

    def began(self, request_id: str, traceparent: str, endpoint: str) -> None:
        """A request is here."""
        parent = read_traceparent(traceparent) if traceparent and self._accepts else None
        if parent is None:
            trace_id = _number(f"trace {request_id}", 16)
            sampled = trace_id % _HALF < self._below
        else:
            trace_id, sampled = parent.trace_id, parent.sampled
        if len(self._open) >= MOST_OPEN:
            del self._open[next(iter(self._open))]
        context = TraceContext(trace_id, _number(request_id, 8), sampled)
        self._open[request_id] = _Open(context, parent.span_id if parent else 0, endpoint, self._now_ns())

    def sending(self, request_id: str, number: int, request: UpstreamRequest) -> UpstreamRequest:
        """An attempt is about to be sent: with its place in the trace, where that is passed on."""
        found = self._open.get(request_id)
        if found is None:
            return request
        name = f"{request_id}/{number}"
        if name not in found.starts:
            found.left += 1
            found.starts[name] = self._now_ns()
        if not self._passes:
            return request
        header = traceparent(TraceContext(found.context.trace_id, _number(name, 8), found.context.sampled))
        return msgspec.structs.replace(request, headers=(*request.headers, (b"traceparent", header.encode())))

    def failed(self, request_id: str, code: str) -> None:
        """A request got an error."""
        found = self._open.get(request_id)
        if found is not None:
            self._request(request_id, found, {}, error=code or "broken_off")

    def answered(self, request_id: str, attempt: str) -> None:
        """A request gets its answer; it is over with the attempt's row, which comes once the last byte is written."""
        found = self._open.get(request_id)
        if found is None:
            return
        if found.starts.get(attempt):
            found.answer = attempt
        else:
            self._request(request_id, found, {"costrouter.attempts": len(found.starts)})

    def on_row(self, row: Row, error: str | None) -> None:
        """An attempt has ended."""
        request_id = row.attempt.rpartition("/")[0]
        found = self._open.get(request_id)
        start_ns = None if found is None else found.starts.get(row.attempt)
        if found is None or start_ns is None:
            return
        found.starts[row.attempt] = 0
        found.left -= 1
        wrong = error or ("" if row.outcome in _FINE else row.outcome)
        if found.context.sampled and row.outcome != "released":
            self._ended(
                Span(
                    name=f"{_OPERATIONS.get(row.endpoint, row.endpoint)} {row.model}",
                    context=TraceContext(found.context.trace_id, _number(row.attempt, 8), sampled=True),
                    parent_id=found.context.span_id,
                    server=False,
                    start_ns=start_ns,
                    end_ns=self._now_ns(),
                    attributes=_of_attempt(row),
                    error=wrong,
                )
            )
        if found.answer == row.attempt:
            self._request(request_id, found, {"costrouter.attempts": len(found.starts)}, error=wrong, row=row)
        elif found.ended and not found.left:
            self._open.pop(request_id, None)

    def on_refusal(self, endpoint: str, code: str, identity: Identity | None) -> None:
        """Told as a request's failure."""

    def _request(
        self, request_id: str, found: _Open, attributes: dict[str, Any], *, error: str = "", row: Row | None = None
    ) -> None:
        if found.ended:
            return
        found.ended, found.answer = True, ""
        operation = _OPERATIONS.get(found.endpoint, found.endpoint)
        if row is not None:
            attributes |= {"gen_ai.response.model": row.model, "costrouter.policy": row.policy}
        if found.context.sampled:
            name = {"gen_ai.operation.name": operation, "costrouter.request_id": request_id}
            span = Span(
                name=operation,
                context=found.context,
                parent_id=found.parent_id,
                server=True,
                start_ns=found.start_ns,
                end_ns=self._now_ns(),
                attributes=name | attributes,
                error=error,
            )
            self._ended(span)
        if not found.left:
            self._open.pop(request_id, None)


def _of_attempt(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {
        "gen_ai.operation.name": _OPERATIONS.get(row.endpoint, row.endpoint),
        "gen_ai.provider.name": row.provider,
        "gen_ai.request.model": row.requested_model,
        "gen_ai.response.model": row.model,
        "gen_ai.usage.input_tokens": row.prompt_tokens,
        "gen_ai.usage.output_tokens": row.completion_tokens,
        "gen_ai.usage.cache_read.input_tokens": row.cached_tokens,
        "http.response.status_code": row.status,
        "costrouter.attempt": row.attempt,
        "costrouter.policy": row.policy,
        "costrouter.rule": row.rule,
        "costrouter.tier": row.tier,
        "costrouter.outcome": row.outcome,
        "costrouter.certainty": row.certainty,
        "costrouter.cost_usd": usd(row.cost_nano),
        "costrouter.baseline_cost_usd": usd(row.baseline_nano),
    }
    if row.ttft_ms:
        found["gen_ai.response.time_to_first_chunk"] = row.ttft_ms / 1000
    return found


def _number(text: str, size: int) -> int:
    """An id that follows from a text; never 0."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest()) or 1
