"""The listener that tells other listeners, a handful of rows at a time.

Belongs here: gathering. Does not belong here: what each of them does with a row.

A row's log line, counters and figures to learn from cost several times as much between two requests, where neither code
nor tables are in the processor's caches, as in one go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.core.values import Identity, Row
    from router.ports import Listener

MOST: Final = 32
"""Rows after which they are told at once: more would hold up the requests that come meanwhile."""


class Gathered:
    """Tells listeners of rows when `MOST` have come, or at `flush`, which is called once a tick and at the end; of refusals
    at once.
    """

    def __init__(self, listeners: Sequence[Listener]) -> None:
        self._listeners = tuple(listeners)
        self._rows: list[tuple[Row, str | None]] = []

    def on_row(self, row: Row, error: str | None) -> None:
        """Keep a row to be told."""
        self._rows.append((row, error))
        if len(self._rows) >= MOST:
            self.flush()

    def on_refusal(self, endpoint: str, code: str, identity: Identity | None) -> None:
        """Tell of a refusal."""
        for listener in self._listeners:
            listener.on_refusal(endpoint, code, identity)

    def flush(self) -> None:
        """Tell all that was kept, each listener in turn."""
        rows, self._rows = self._rows, []
        for listener in self._listeners:
            tell = listener.on_row
            for row, error in rows:
                tell(row, error)
