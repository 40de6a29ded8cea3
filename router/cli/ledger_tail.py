"""`costrouter ledger tail`: the newest rows, and those that come."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import Final

import click
import msgspec

from router.adapters.ledger.rows import hours_with_rows, stream_rows
from router.adapters.reports.format import UNATTRIBUTED
from router.adapters.reports.spend import tenants
from router.adapters.store.connection import StoreConnection
from router.cli.store import with_store
from router.core.money import usd
from router.core.values import Row
from router.settings import Settings

POLL_S: Final = 0.5
HOURS: Final = 3
"""Streams of this many hours are followed: what was admitted before then and settles now is a correction."""


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with rows as they are booked, until interrupted.")
@click.option("-n", "--number", type=click.IntRange(0), default=10, show_default=True, help="Rows to begin with.")
@click.option("--tenant", help="One tenant; every one by default.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, every field.")
def tail(number: int, tenant: str | None, *, follow: bool, as_json: bool) -> None:
    """Show the rows that were booked last in the last hours."""

    async def work(connection: StoreConnection, _: Settings) -> None:
        reader = _Reader(connection, tenant)
        newest: deque[tuple[str, Row]] = deque(maxlen=number)
        newest.extend(await reader.new())
        while True:
            for _entry, row in newest:
                click.echo(msgspec.json.encode(msgspec.structs.asdict(row)) if as_json else line(row))
            if not follow:
                return
            await asyncio.sleep(POLL_S)
            newest = deque(await reader.new())

    with contextlib.suppress(KeyboardInterrupt):
        with_store(work)


def line(row: Row) -> str:
    """A row on one line: when, who, what, how much, how certain."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(row.at_ms // 1000))
    who = "/".join(part for part in (row.tenant, row.team or UNATTRIBUTED, row.app) if part)
    tokens = f"{row.prompt_tokens:,} in {row.completion_tokens:,} out"
    what = f"corrects {row.correction_of}" if row.correction_of else row.outcome
    return f"{at}  {who}  {row.model}@{row.provider}  {tokens}  ${usd(row.cost_nano)}  {row.certainty}  {what}  {row.attempt}"


class _Reader:
    """Gives each row once."""

    def __init__(self, connection: StoreConnection, tenant: str | None) -> None:
        self._connection = connection
        self._tenant = tenant
        self._seen: dict[tuple[str, str], str] = {}

    async def new(self) -> list[tuple[str, Row]]:
        """Rows with their ids that were booked since the last call, in the order of booking."""
        now_hour = int(time.time()) // 3600
        found: list[tuple[str, Row]] = []
        for tenant in [self._tenant] if self._tenant is not None else await tenants(self._connection):
            for hour in await hours_with_rows(self._connection, tenant, now_hour - HOURS, now_hour + 2):
                after = self._seen.get((tenant, hour), "-")
                async for entries in stream_rows(self._connection, tenant, hour, after=after):
                    self._seen[tenant, hour] = entries[-1][0]
                    found += entries
        found.sort(key=lambda entry: tuple(map(int, entry[0].split("-"))))
        return found
