"""Where a request stands in somebody's trace: the ``traceparent`` header (W3C Trace Context, level 1).

Belongs here: reading and writing it. Does not belong here: what is traced (adapters/fleet/traces.py).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

_FORM: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED: Final = 1


class TraceContext(msgspec.Struct, frozen=True):
    """A span of somebody's. Ids are numbers, none of them 0."""

    trace_id: int
    span_id: int
    sampled: bool


def read_traceparent(text: str) -> TraceContext | None:
    """None for what is not there or cannot be read: a bad header is as good as none, says the standard."""
    match = _FORM.fullmatch(text.strip())
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
        return None
    trace_id, span_id = int(match[2], 16), int(match[3], 16)
    return TraceContext(trace_id, span_id, bool(int(match[4], 16) & _SAMPLED)) if trace_id and span_id else None


def traceparent(context: TraceContext) -> str:
    """The header that says so."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.sampled):02x}"
