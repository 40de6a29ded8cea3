"""`costrouter spend`: totals from the ledger."""

from __future__ import annotations

from urllib.parse import urlencode

import click
from rich.table import Table

from router.cli.client import ask
from router.cli.output import console


@click.command()
@click.option("--by", default="key,model", show_default=True, help="Dimensions, separated by commas.")
@click.option("--since", help="UTC day or hour, such as 2026-11-23.")
@click.option("--until", help="UTC day or hour; not included.")
def spend(by: str, since: str | None, until: str | None) -> None:
    """Show what was spent, exactly as the ledger has it."""
    query = {"group_by": by} | ({"since": since} if since else {}) | ({"until": until} if until else {})
    found = ask("GET", f"/costrouter/v1/spend?{urlencode(query)}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    groups = found["group_by"]
    for name in groups:
        table.add_column(name)
    for name in ("requests", "prompt", "completion", "cost $", "baseline $"):
        table.add_column(name, justify="right")
    for row in found["data"]:
        figures = [f"{row[name]:,}" for name in ("requests", "prompt_tokens", "completion_tokens")]
        table.add_row(*[str(row[name]) for name in groups], *figures, row["cost_usd"], row["baseline_cost_usd"])
    total = found["total"]
    table.add_row(
        *["TOTAL", *[""] * (len(groups) - 1)],
        f"{total['requests']:,}",
        "",
        "",
        total["cost_usd"],
        total["baseline_cost_usd"],
    )
    console().print(table)
