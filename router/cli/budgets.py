"""`costrouter budgets`: what may be spent, and how much of it is left."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import click
from rich.table import Table

from router.cli.client import ask, of_tenant, tenant_option
from router.cli.output import console

_PATH = "/costrouter/v1/budgets"


def _one(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> str | None:  # noqa: ARG001 - click's shape
    if len(given) > 1:
        raise click.BadParameter(f"may be given once: a budget has one {option.name}, and all that it names must hold")
    return given[0] if given else None


@click.group(invoke_without_command=True)
@click.pass_context
def budgets(context: click.Context) -> None:
    """List budgets, set one, or remove one."""
    if context.invoked_subcommand is None:
        _show(ask("GET", _PATH)["data"])


@budgets.command("list")
@tenant_option
def list_(tenant: str | None) -> None:
    """List budgets with what is spent, held and left."""
    _show(ask("GET", of_tenant(_PATH, tenant))["data"])


@budgets.command("set")
@tenant_option
@click.option("--team", multiple=True, callback=_one)
@click.option("--app", multiple=True, callback=_one)
@click.option("--key", help="A key's id.", multiple=True, callback=_one)
@click.option("--user", help="As the request's `user` says.", multiple=True, callback=_one)
@click.option("--model", help="Such as openai/gpt-4o-mini.", multiple=True, callback=_one)
@click.option("--provider", multiple=True, callback=_one)
@click.option("--tag", help="Such as env=prod.", multiple=True, callback=_one)
@click.option("--limit", "limit_usd", required=True, help="US dollars, such as 1.50.")
@click.option("--period", type=click.Choice(["minute", "hour", "day", "week", "month", "total"]), required=True)
@click.option("--rolling", is_flag=True, help="Count the last so many hours instead of a calendar's.")
@click.option("--time-zone", default="UTC", show_default=True)
@click.option("--statistical", is_flag=True, help="Hold what is likely instead of the worst case.")
@click.option(
    "--stop",
    is_flag=True,
    help="Stop running streams that no longer fit. Saves money where a provider stops billing then.",
)
@click.option("--alert", "alerts", multiple=True, help="A percentage of the limit, such as 80%.")
def set_(*, statistical: bool, stop: bool, alerts: tuple[str, ...], **given: Any) -> None:
    """Set a budget. The same scope and period again changes it, and keeps what was counted."""
    plain = {name: given.pop(name) for name in ("limit_usd", "period", "rolling", "time_zone")}
    body = {
        "scope": {name: value for name, value in given.items() if value is not None},
        **plain,
        "hard": not statistical,
        "running_streams": "stop" if stop else "finish",
        "alerts": alerts,
    }
    _show([ask("POST", _PATH, json.dumps(body).encode())])


@budgets.command("remove")
@click.argument("budget")
@tenant_option
def remove(budget: str, tenant: str | None) -> None:
    """Remove a budget by its id."""
    ask("DELETE", of_tenant(f"{_PATH}/{quote(budget, safe='')}", tenant))
    click.echo(f"removed {budget}")


def _show(found: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("id", "scope", "period", "mode"):
        table.add_column(name)
    for name in ("limit $", "spent $", "held $", "left $"):
        table.add_column(name, justify="right")
    table.add_column("resets at")
    for one in found:
        scope = ", ".join(f"{name}={value}" for name, value in one["scope"].items()) or f"tenant={one['tenant']}"
        period = ("rolling " if one["rolling"] else "") + one["period"]
        zone = "" if one["time_zone"] == "UTC" else f" ({one['time_zone']})"
        mode = ("hard" if one["hard"] else "statistical") + (" (built in)" if one["built_in"] else "")
        figures = [one[name] for name in ("limit_usd", "spent_usd", "held_usd", "remaining_usd")]
        table.add_row(one["id"], scope, period + zone, mode, *figures, one["resets_at"] or "")
    console().print(table)
