"""The log: structlog for events, and one JSON line for each attempt or refusal.

Belongs here: how lines look and are written. Lines of requests are gathered for a moment and written in one go,
because a write a request would cost more than its routing. Never a prompt, an answer or a key in any of them.
"""

from __future__ import annotations

import logging
import operator
import os
import select
import stat
import sys
import time
from typing import TYPE_CHECKING, Final

import msgspec
import orjson
import structlog

from router.core.values import Row

if TYPE_CHECKING:
    from router.core.values import Identity

GATHERED: Final = 512
"""Lines after which the log is written at once."""
_NOT_LOGGED: Final = ("user", "tags", "unit")
"""Written freely by callers, so they may name people."""
_encode: Final = msgspec.json.Encoder().encode
_FIELDS: Final = [name for name in Row.__struct_fields__ if name not in _NOT_LOGGED]
_fields_of: Final = operator.attrgetter(*_FIELDS)
_Line: Final = msgspec.defstruct("_Line", ["event", "worker", "error", *_FIELDS], frozen=True)


def configure(level: str) -> None:
    """Set structlog up: JSON lines on stderr, from ``level`` up. Call before workers fork."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    logging.root.handlers[:] = [_Foreign()]


class _Foreign(logging.Handler):
    """What libraries log through the standard module: a line of ours, without arguments and exception texts, which may
    hold what a caller sent.
    """

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0] if record.exc_info else None
        log = structlog.get_logger(record.name)
        log.log(record.levelno, "library", message=str(record.msg)[:200], kind=kind.__name__ if kind else None)


class RequestLog:
    """A listener that writes a line an attempt. `flush` is called once a tick and at the end. It never waits: what a
    pipe without a reader cannot take is dropped.

    Args:
        descriptor: where lines go.
        worker: named in every line.
    """

    def __init__(self, descriptor: int, worker: str) -> None:
        self._descriptor = descriptor
        self._worker = worker
        self._lines: list[bytes] = []
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._ready = select.poll()
        self._ready.register(descriptor, select.POLLOUT)

    def on_row(self, row: Row, error: str | None) -> None:
        """A line with the row's figures."""
        self._put(_Line("attempt", self._worker, error, *_fields_of(row)))

    def on_refusal(self, endpoint: str, code: str, identity: Identity | None) -> None:
        """A line for a request that led to no attempt."""
        at_ms, key = time.time_ns() // 1_000_000, identity.key if identity else ""
        self._put(
            {
                "event": "refused",
                "worker": self._worker,
                "error": code,
                "at_ms": at_ms,
                "endpoint": endpoint,
                "key": key,
            }
        )

    def flush(self) -> None:
        """Write what was gathered. A reader that is too slow or gone costs lines, never requests."""
        lines, self._lines = self._lines, []
        text = b"\n".join(lines) + b"\n" if lines else b""
        while text:
            cut = len(text) if self._is_file else text.rfind(b"\n", 0, select.PIPE_BUF) + 1 or len(text)
            try:
                # A pipe is shared with others, so it cannot be made non-blocking; this much it takes if it polls well.
                if not self._is_file and not self._ready.poll(0):
                    return
                os.write(self._descriptor, text[:cut])
            except OSError:
                return
            text = text[cut:]

    def _put(self, line: object) -> None:
        self._lines.append(_encode(line))
        if len(self._lines) >= GATHERED:
            self.flush()
