"""`costrouter audit`: who changed what, and when."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import click
from rich.table import Table

from router.cli.client import ask
from router.cli.output import console


@click.command()
@click.option("--tenant", help="Another tenant than the key's own.")
@click.option("--since", help="Such as 7d, or 2026-11-01T00:00:00Z.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with everything before and after.")
def audit(tenant: str | None, since: str | None, limit: int, *, as_json: bool) -> None:
    """Show changes of keys, budgets and limits, the newest first."""
    query = {"limit": limit, "tenant": tenant, "since": since}
    path = f"/costrouter/v1/audit?{urlencode({k: v for k, v in query.items() if v is not None})}"
    entries = ask("GET", path)["data"]
    if as_json:
        for entry in entries:
            click.echo(json.dumps(entry))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("at", "who", "role", "action", "subject", "change"):
        table.add_column(name)
    for entry in entries:
        who = f"{entry['name']} ({entry['who']})" if entry["name"] else entry["who"]
        table.add_row(entry["at"], who, entry["role"], entry["action"], entry["subject"], _change(entry))
    console().print(table)


def _change(entry: dict[str, Any]) -> str:
    before, after = entry.get("before") or {}, entry.get("after") or {}
    if before and not after:
        return ""
    changed = {
        name: value for name, value in after.items() if before.get(name) != value and value not in ("", None, [])
    }
    return ", ".join(
        f"{name} {json.dumps(before[name])} → {json.dumps(value)}"
        if before.get(name)
        else f"{name} {json.dumps(value)}"
        for name, value in changed.items()
        if name != "object"
    )
