"""`costrouter report`: spend by anything that is booked, over the live ledger and the archive alike."""

from __future__ import annotations

import time

import click
import msgspec

from router.adapters.http.spend import question, span
from router.adapters.journal.rows import NotedRows, noted_rows
from router.adapters.reports.format import FORMATS, as_csv, as_table, json_text
from router.adapters.reports.report import report as answer
from router.adapters.store.connection import StoreConnection
from router.cli.store import with_store
from router.core.booking.report import GROUPS, HOUR_MS, MOST_LINES, Question, Report
from router.core.money import usd
from router.settings import Settings


@click.command(epilog=f"Groups: {', '.join(GROUPS)}, tag:NAME.")
@click.option("--by", default="team,model", show_default=True, help="Groups, separated by commas.")
@click.option("--since", help="UTC month, day or hour, such as 2026-11; the last 31 days by default.")
@click.option("--until", help="UTC month, day or hour; not included.")
@click.option("--tenant", help="One tenant; every one by default.")
@click.option("--where", multiple=True, metavar="GROUP=VALUE", help="Only this; may be repeated.")
@click.option("--limit", type=click.IntRange(1, MOST_LINES), default=MOST_LINES, help="Most lines; the rest is one.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
def report(  # noqa: PLR0917 - click hands options over by name
    by: str,
    since: str | None,
    until: str | None,
    tenant: str | None,
    where: tuple[str, ...],
    limit: int,
    form: str,
) -> None:
    """Show what was spent, on what, and how certain the figures are."""

    async def work(connection: StoreConnection, settings: Settings) -> Report:
        journal = await noted_rows(connection, settings.data_dir / "journal")
        wanted = asked(by, since, until, where, limit)
        found = await answer(connection, settings.archive_place, wanted, only(tenant))
        return msgspec.structs.replace(found, notes=(*found.notes, *waiting(journal, wanted, tenant)))

    found = with_store(work)
    if form == "json":
        click.echo(json_text(found, tenant="*" if tenant is None else tenant))
    elif form == "csv":
        click.echo(as_csv(found), nl=False)
        for note in found.notes:
            click.echo(f"note: {note}", err=True)
    else:
        click.echo(as_table(found, "every tenant" if tenant is None else f"tenant {tenant}"), nl=False)


def waiting(journal: NotedRows, wanted: Question, tenant: str | None) -> list[str]:
    """What a journal on this machine's disk has that is not booked yet, in a sentence; nothing if there is none."""
    rows = [
        row
        for name in (journal.tenants if tenant is None else [tenant])
        for row, booked in journal.rows(name)
        if not booked and row.outcome != "released" and wanted.since <= row.at_ms // HOUR_MS < wanted.until
    ]
    if not rows:
        return []
    cost = usd(sum(row.cost_nano for row in rows))
    many = "1 row waits" if len(rows) == 1 else f"{len(rows):,} rows wait"
    return [f"{many} in the journals on this disk (${cost}) and are not counted here yet; a running server books them"]


def asked(by: str, since: str | None, until: str | None, where: tuple[str, ...], limit: int = MOST_LINES) -> Question:
    """The options as a question.

    Raises:
        RouterError: a group or a time that is none.
        click.BadParameter: a filter without a value.
    """
    filters = []
    for text in where:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} must be GROUP=VALUE, such as team=search", param_hint="--where")
        filters.append((name, value))
    first, last = span(since, until, int(time.time()) // 3600)
    groups = tuple(name.strip() for name in by.split(",") if name.strip())
    return question(first, last, groups, tuple(filters), limit)


def only(tenant: str | None) -> list[str] | None:
    """The tenants to read; None for all."""
    return None if tenant is None else [tenant]
