"""`costrouter ledger`: look after the rows themselves. One file of this folder a longer subcommand.

Belongs here: options and words. Does not belong here: what is done (`router.adapters.archive.archiver`, `ledger/verify.py`, …).
"""

from __future__ import annotations

import os
import sys
import time

import click

from router.adapters.archive.finance_extra import has_finance
from router.adapters.http.spend import MOST_HOURS, span
from router.adapters.journal.rows import noted_rows
from router.adapters.ledger.verify import Checked, verify
from router.adapters.reports.report import open_archive
from router.adapters.reports.spend import tenants
from router.adapters.store.connection import StoreConnection
from router.cli.ledger_reprice import reprice
from router.cli.ledger_tail import tail
from router.cli.store import with_store
from router.core.catalog.catalog import did_you_mean
from router.core.money import usd
from router.settings import Settings


@click.group()
def ledger() -> None:
    """Archive, verify, follow and correct the ledger's rows."""


ledger.add_command(reprice)
ledger.add_command(tail)


@ledger.command()
@click.option("--nice", is_flag=True, hidden=True, help="Give way to the server.")
@click.option("--quiet", is_flag=True, help="Say nothing unless something was moved.")
@click.option("--after", type=click.IntRange(1), help="Hours after which an hour is closed; COSTROUTER_ARCHIVE_AFTER.")
def archive(after: int | None, *, quiet: bool, nice: bool) -> None:
    """Move the rows of closed hours to Parquet, verify them, and free the store's memory."""
    if nice:
        os.nice(10)

    async def work(connection: StoreConnection, settings: Settings) -> None:
        files = await open_archive(settings.archive_place)
        from router.adapters.archive.archiver import archive_tenant  # noqa: PLC0415 - an optional part

        parts = rows = nano = 0
        for tenant in await tenants(connection):
            now_ms = time.time_ns() // 1_000_000
            async for moved in archive_tenant(connection, files, tenant, now_ms, after or settings.archive_after):
                parts, rows, nano = parts + 1, rows + moved.rows, nano + moved.cost_nano
                click.echo(f"{moved.path}  {moved.rows:,} rows  ${usd(moved.cost_nano)}")
        if parts or not quiet:
            click.echo(f"archived {rows:,} rows in {parts:,} files, ${usd(nano)}, to {files}")

    with_store(work)


@ledger.command(name="verify")
@click.option("--tenant", help="One tenant; every one by default.")
@click.option("--since", help=f"UTC month, day or hour; {MOST_HOURS // 24} days back by default.")
@click.option("--until", help="UTC month, day or hour; not included.")
def verify_command(tenant: str | None, since: str | None, until: str | None) -> None:
    """Prove that journal, stream, cube and archive agree; exits with 1 and names the first difference if not."""

    async def work(connection: StoreConnection, settings: Settings) -> tuple[list[Checked], Checked | None]:
        now_hour = int(time.time()) // 3600
        first, last = span(since, until, now_hour) if since else (0, span(None, until, now_hour)[1])
        files = await open_archive(settings.archive_place) if has_finance() else None
        journal = await noted_rows(connection, settings.data_dir / "journal")
        names = {*await tenants(connection), *journal.tenants, *(files.tenants() if files is not None else ())}
        if tenant is not None and tenant not in names:
            raise click.ClickException(f"nothing was ever booked for tenant {tenant!r}{did_you_mean(tenant, names)}")
        checked: list[Checked] = []
        for name in sorted(names) if tenant is None else [tenant]:
            async for hour in verify(connection, files, name, first, last, journal=journal):
                if hour.difference:
                    return checked, hour
                checked.append(hour)
        return checked, None

    checked, wrong = with_store(work)
    if wrong is not None:
        click.echo(f"DIFFERENCE in hour {wrong.hour} (UTC) of tenant {wrong.tenant}: {wrong.difference}")
        sys.exit(1)
    rows, nano = sum(hour.rows for hour in checked), sum(hour.cost_nano for hour in checked)
    waiting = sum(hour.waiting for hour in checked)
    waits = f"; {waiting:,} rows wait in the journal" if waiting else ""
    click.echo(f"{len(checked):,} hours, {rows:,} rows, ${usd(nano)}: journal, stream, cube and archive agree{waits}")
