"""`costrouter report`: spend by anything that is booked, over the live ledger and the archive alike."""

from __future__ import annotations

import time

import click

from router.adapters.http_spend import question, span
from router.adapters.report import report as answer
from router.adapters.report_format import FORMATS, as_csv, as_table, json_text
from router.adapters.store_connection import StoreConnection
from router.cli.store import with_store
from router.core.report import GROUPS, Question, Report
from router.settings import Settings


@click.command(epilog=f"Groups: {', '.join(GROUPS)}, tag:NAME.")
@click.option("--by", default="team,model", show_default=True, help="Groups, separated by commas.")
@click.option("--since", help="UTC month, day or hour, such as 2026-11; the last 31 days by default.")
@click.option("--until", help="UTC month, day or hour; not included.")
@click.option("--tenant", help="One tenant; every one by default.")
@click.option("--where", multiple=True, metavar="GROUP=VALUE", help="Only this; may be repeated.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True)
def report(  # noqa: PLR0917 - click hands options over by name
    by: str, since: str | None, until: str | None, tenant: str | None, where: tuple[str, ...], form: str
) -> None:
    """Show what was spent, on what, and how certain the figures are."""

    async def work(connection: StoreConnection, settings: Settings) -> Report:
        return await answer(connection, settings.archive_place, asked(by, since, until, where), only(tenant))

    found = with_store(work)
    if form == "json":
        click.echo(json_text(found, tenant="*" if tenant is None else tenant))
    elif form == "csv":
        click.echo(as_csv(found), nl=False)
    else:
        click.echo(as_table(found, "every tenant" if tenant is None else f"tenant {tenant}"), nl=False)


def asked(by: str, since: str | None, until: str | None, where: tuple[str, ...]) -> Question:
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
    return question(first, last, groups, tuple(filters))


def only(tenant: str | None) -> list[str] | None:
    """The tenants to read; None for all."""
    return None if tenant is None else [tenant]
