"""`costrouter limits`: how many requests, tokens and attempts at a time there may be."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import click
from rich.table import Table

from router.cli.client import ask, of_tenant, tenant_option
from router.cli.output import console

_PATH = "/costrouter/v1/limits"


@click.group(invoke_without_command=True)
@click.pass_context
def limits(context: click.Context) -> None:
    """List limits on rates and attempts at a time, set one, or remove one."""
    if context.invoked_subcommand is None:
        _show(ask("GET", _PATH)["data"])


@limits.command("list")
@tenant_option
def list_(tenant: str | None) -> None:
    """List limits with what they count now."""
    _show(ask("GET", of_tenant(_PATH, tenant))["data"])


@limits.command("set")
@tenant_option
@click.option("--team")
@click.option("--app")
@click.option("--key", help="A key's id.")
@click.option("--user", help="As the request's `user` says.")
@click.option("--model", help="Such as openai/gpt-4o-mini.")
@click.option("--provider")
@click.option("--tag", help="Such as env=prod.")
@click.option("--requests", type=int, help="Requests that may be admitted in a period.")
@click.option("--tokens", type=int, help="Tokens, prompts and answers together.")
@click.option("--concurrency", type=int, help="Attempts that may run at a time.")
@click.option("--per", type=click.Choice(["minute", "hour", "day"]), help="Of requests and tokens. [default: minute]")
def set_(
    *, requests: int | None, tokens: int | None, concurrency: int | None, per: str | None, **given: str | None
) -> None:
    """Set limits. The same scope and period again changes them, and keeps what was counted."""
    wanted = {"requests": requests, "tokens": tokens, "concurrency": concurrency}
    asked = {kind: number for kind, number in wanted.items() if number is not None}
    if not asked:
        raise click.UsageError("give --requests, --tokens or --concurrency")
    scope = {name: value for name, value in given.items() if value is not None}
    made = []
    for kind, number in asked.items():
        body = {"scope": scope, "kind": kind, "limit": number}
        if per is not None and kind != "concurrency":
            body["per"] = per
        made.append(ask("POST", _PATH, json.dumps(body).encode()))
    _show(made)


@limits.command("remove")
@click.argument("limit")
@tenant_option
def remove(limit: str, tenant: str | None) -> None:
    """Remove a limit by its id."""
    ask("DELETE", of_tenant(f"{_PATH}/{quote(limit, safe='')}", tenant))
    click.echo(f"removed {limit}")


def _show(found: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("id", "scope", "what"):
        table.add_column(name)
    for name in ("limit", "now", "left"):
        table.add_column(name, justify="right")
    for one in found:
        scope = ", ".join(f"{name}={value}" for name, value in one["scope"].items()) or f"tenant={one['tenant']}"
        kind = "at a time" if one["per"] is None else f"{one['kind']} per {one['per']}"
        table.add_row(one["id"], scope, kind, *(f"{one[name]:,}" for name in ("limit", "current", "remaining")))
    console().print(table)
