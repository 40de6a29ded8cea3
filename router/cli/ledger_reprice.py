"""`costrouter ledger reprice`: what rows would cost at the catalog's prices, and the corrections that book it."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections import defaultdict
from typing import Final

import click

from router.adapters.archive.finance_extra import has_finance
from router.adapters.http.spend import span
from router.adapters.ledger.reprice import apply, hour_rows, repriced, repricing
from router.adapters.ledger.rows import hours_with_rows
from router.adapters.reports.report import open_archive
from router.adapters.reports.spend import tenants
from router.adapters.store.connection import StoreConnection
from router.cli.store import settings_or_fail, with_store
from router.core.catalog.catalog import Catalog, did_you_mean
from router.core.money import usd
from router.core.values import Row
from router.settings import Settings

FLUSH_S: Final = 60.0


@click.command()
@click.option("--from", "since", required=True, help="UTC month, day or hour, such as 2026-11-01.")
@click.option("--to", "until", required=True, help="UTC month, day or hour; not included.")
@click.option("--model", "models", multiple=True, help="author/name or author/name@provider; every model by default.")
@click.option("--tenant", help="One tenant; every one by default.")
@click.option("--apply", "book", is_flag=True, help="Book the corrections; without it they are only shown.")
def reprice(since: str, until: str, models: tuple[str, ...], tenant: str | None, *, book: bool) -> None:
    """Price rows anew by the catalog, as of their admission, and book the difference after a wrong price."""
    catalog = _catalog(settings_or_fail())
    known = {name for model in catalog.models for name in (model.id, model.name)}
    for model in models:
        if model not in known:
            raise click.ClickException(f"the catalog has no model {model}{did_you_mean(model, known)}")
    table = _Table()

    async def work(connection: StoreConnection, settings: Settings) -> None:
        from router.adapters.clock import SystemClock  # noqa: PLC0415 - as above
        from router.adapters.ledger.ledger import RedisLedger  # noqa: PLC0415 - other commands should not load it

        files = await open_archive(settings.archive_place) if has_finance() else None
        first, last = span(since, until, int(time.time()) // 3600)
        ledger = RedisLedger(connection, f"reprice-{secrets.token_hex(4)}", SystemClock(), flush_s=FLUSH_S)
        try:
            for name in await tenants(connection) if tenant is None else [tenant]:
                async with repricing(connection, name) if book else contextlib.nullcontext(_nothing) as still:
                    for hour in await hours_with_rows(connection, name, first, last):
                        rows = await hour_rows(connection, files, name, hour, lambda row: _wanted(row, models))
                        changes, unpriced = repriced(rows, catalog)
                        table.add(rows, [(change.row, change.booked_nano, change.booked_at) for change in changes])
                        table.unpriced += [f"{one.attempt}: {one.why}" for one in unpriced]
                        if book and changes:
                            await apply(ledger, changes, still)
        finally:
            await ledger.close()

    with_store(work)
    click.echo(table.text(book=book), nl=False)


async def _nothing() -> None:
    pass


def _wanted(row: Row, models: tuple[str, ...]) -> bool:
    return not models or row.model in models or f"{row.model}@{row.provider}" in models


def _catalog(settings: Settings) -> Catalog:
    from router.adapters.policies.files import load_policies, packaged_policies_dir  # noqa: PLC0415 - as above
    from router.adapters.policies.yaml_document import PolicyFileError  # noqa: PLC0415 - as above

    try:
        return load_policies(settings.policies or packaged_policies_dir()).catalog
    except PolicyFileError as error:
        raise click.ClickException(f"the catalog cannot be used:\n{error}") from None


class _Table:
    """What changes, by model and price version."""

    def __init__(self) -> None:
        self._lines: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
        self._rows = 0
        self.unpriced: list[str] = []

    def add(self, rows: list[Row], changes: list[tuple[Row, int, str]]) -> None:
        self._rows += sum(not row.correction_of for row in rows)
        for row, booked, version in changes:
            line = self._lines[f"{row.model}@{row.provider}", version, row.price_version]
            line[0] += 1
            line[1] += booked
            line[2] += row.cost_nano

    def text(self, *, book: bool) -> str:
        heads = ["model", "booked at", "right is", "attempts", "booked $", "right $", "difference $"]
        body = [
            [*names, f"{count:,}", usd(booked), usd(booked + more), _signed(more)]
            for names, (count, booked, more) in sorted(self._lines.items())
        ]
        count, booked, more = (sum(line[place] for line in self._lines.values()) for place in range(3))
        body.append(["TOTAL", "", "", f"{count:,}", usd(booked), usd(booked + more), _signed(more)])
        widths = [max(len(row[column]) for row in (heads, *body)) for column in range(len(heads))]
        lines = [
            "  ".join(
                cell.ljust(width) if column < 3 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in (heads, *body)
        ]
        lines.append(
            f"{self._rows:,} attempts looked at, {self._rows - count - len(self.unpriced):,} of them rightly priced"
        )
        if self.unpriced:
            lines.append(f"{len(self.unpriced):,} left alone, the first: {self.unpriced[0]}")
        if count:
            lines.append(f"{count:,} corrections booked" if book else "nothing was booked; add --apply to book it")
        return "\n".join(lines) + "\n"


def _signed(nano: int) -> str:
    return f"{'+' if nano > 0 else ''}{usd(nano)}"
