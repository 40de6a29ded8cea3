"""What the journals on this machine's disk still hold, for `costrouter ledger verify`.

Belongs here: reading journals that may be in use, and asking the store how far each is booked. Does not belong here:
comparing (ledger/verify.py), and settling what is left (adoption).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from router.adapters.journal.frames import ENDED
from router.adapters.journal.journal import read_journal
from router.adapters.ledger.settle import SWEEPS
from router.adapters.store.layout import tenant_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from router.adapters.store.connection import StoreConnection
    from router.core.values import Row


class NotedRows:
    """Rows by tenant, each with whether the store's mark says that it has been booked. Implements `JournalRows`."""

    def __init__(self, noted: dict[str, list[tuple[Row, bool]]]) -> None:
        self._noted = noted

    @property
    def tenants(self) -> set[str]:
        """Every tenant with a row."""
        return set(self._noted)

    def rows(self, tenant: str) -> Iterable[tuple[Row, bool]]:
        """A tenant's rows."""
        return self._noted.get(tenant, ())


async def noted_rows(connection: StoreConnection, root: Path) -> NotedRows:
    """The ends of attempts that the journals below a folder hold, those of running workers among them.

    Raises:
        StoreUnavailable: no answer.
        OSError: a journal cannot be read.
    """
    noted: dict[str, list[tuple[Row, bool]]] = defaultdict(list)
    for folder in await asyncio.to_thread(_folders, root):
        records, _ = await asyncio.to_thread(read_journal, folder)
        # The marks are read after the rows and before the ledger: what they say is booked must be found there.
        marks: dict[str, int] = {}
        for record in records:
            if record.kind != ENDED:
                continue
            tenant = record.row.tenant
            if tenant not in marks:
                marks[tenant] = await _mark(connection, tenant, folder.name)
            noted[tenant].append((record.row, record.number <= marks[tenant]))
    return NotedRows(noted)


def _folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


async def _mark(connection: StoreConnection, tenant: str, journal: str) -> int:
    mark = await connection.call("HGET", f"{tenant_prefix(tenant)}applied", journal)
    return 0 if mark is None else int(mark.decode().removesuffix(SWEEPS))
