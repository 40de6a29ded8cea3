"""Rows that a store has lost and memory no longer has, read back from the worker's own journal.

Belongs here: reading a living journal, once for all tenants that ask at the same time. Does not belong here: the files
(journal), and who asks (ledger/settle.py, once a connection is there again).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from functools import partial
from typing import TYPE_CHECKING, Final

import structlog

from router.adapters.journal.journal import Journal, Numbers, Segment
from router.adapters.ledger.batch import Entry, packed_row
from router.adapters.store.layout import tenant_prefix

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.adapters.journal.frames import Record

_log: Final = structlog.get_logger(__name__)


class ReadBack:
    """One worker's. Made and used on one event loop.

    Args:
        journal: one that keeps nothing on disk gives nothing back.
    """

    def __init__(self, journal: Numbers) -> None:
        self._journal = journal
        self._reading: asyncio.Task[dict[str, list[Entry]]] | None = None

    def entries(self, prefix: str, above: int) -> asyncio.Future[list[Entry]]:
        """A tenant's rows above a number, as far as the journal still has them. Does not fail. Each counts as pending.

        Args:
            prefix: of the tenant's keys.
            above: the last number that the store has.
        """
        loop = asyncio.get_running_loop()
        result: asyncio.Future[list[Entry]] = loop.create_future()
        if not isinstance(self._journal, Journal):
            result.set_result([])
            return result
        if self._reading is None or self._reading.done():
            self._reading = loop.create_task(asyncio.to_thread(_by_prefix, self._journal.ends()))
        self._reading.add_done_callback(partial(_hand_over, result, prefix, above, self._journal.name))
        return result


def _by_prefix(read: Callable[[], list[tuple[Segment, list[Record]]]]) -> dict[str, list[Entry]]:
    found: defaultdict[str, list[Entry]] = defaultdict(list)
    for segment, records in read():
        for record in records:
            found[record.row.tenant].append((record.number, *packed_row(record.row), segment))
    return {tenant_prefix(tenant): entries for tenant, entries in found.items()}


def _hand_over(
    result: asyncio.Future[list[Entry]],
    prefix: str,
    above: int,
    journal: str,
    reading: asyncio.Task[dict[str, list[Entry]]],
) -> None:
    if result.done():
        return
    if reading.cancelled() or (failure := reading.exception()) is not None:
        _log.error("journal_not_read_back", journal=journal, reason="" if reading.cancelled() else str(failure))
        result.set_result([])
        return
    entries = [entry for entry in reading.result().get(prefix, ()) if entry[0] > above]
    for entry in entries:
        if entry[3] is not None:
            entry[3].pending += 1
    _log.warning("rows_read_back", journal=journal, keys=prefix, rows=len(entries), above=above)
    result.set_result(entries)
