"""`costrouter keys`: who may call, and for whom."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any
from urllib.parse import quote

import click
from rich.table import Table

from router.cli.client import ask
from router.cli.output import console
from router.core.access.rights import ROLES

_PATH = "/costrouter/v1/keys"


@click.group(invoke_without_command=True)
@click.pass_context
def keys(context: click.Context) -> None:
    """List keys, make, change, rotate or revoke one."""
    if context.invoked_subcommand is None:
        _show(ask("GET", _PATH)["data"])


@keys.command("list")
def list_() -> None:
    """List keys by id. No secret is ever shown again."""
    _show(ask("GET", _PATH)["data"])


_delegate = click.option(
    "--delegate",
    "delegates",
    multiple=True,
    help="What callers may set by header: user, team, app, or one value such as team=search. Again for more.",
)


@keys.command("create")
@click.argument("name")
@click.option("--team", default="")
@click.option("--app", default="")
@click.option("--tenant", help="Another tenant than the key's own.")
@click.option("--role", type=click.Choice(list(ROLES)), default="app", show_default=True)
@click.option("--expires", default="", help="Such as 30d, or 2026-12-31T00:00:00Z.")
@_delegate
def create(name: str, tenant: str | None, **facts: Any) -> None:
    """Make a key and print its secret, this once."""
    body = {"name": name, **facts} | ({"tenant": tenant} if tenant else {})
    _secret(ask("POST", _PATH, json.dumps(body).encode()))


@keys.command("change")
@click.argument("key")
@click.option("--name")
@click.option("--team")
@click.option("--app")
@click.option("--expires", help="Such as 30d, 2026-12-31T00:00:00Z, or never.")
@_delegate
@click.option("--delegate-nothing", is_flag=True)
def change(key: str, delegates: tuple[str, ...], *, delegate_nothing: bool, **facts: str | None) -> None:
    """Change a key by its id. Its secret stays."""
    body: dict[str, Any] = {name: value for name, value in facts.items() if value is not None}
    if delegates or delegate_nothing:
        body["delegates"] = delegates
    if not body:
        raise click.UsageError("say what is to be changed")
    _show([ask("PATCH", f"{_PATH}/{quote(key, safe='')}", json.dumps(body).encode())])


@keys.command("expire")
@click.argument("key")
@click.argument("when")
def expire(key: str, when: str) -> None:
    """Let a key end, in so long (30d) or at a time (2026-12-31T00:00:00Z); `never` takes that back."""
    _show([ask("PATCH", f"{_PATH}/{quote(key, safe='')}", json.dumps({"expires": when}).encode())])


@keys.command("rotate")
@click.argument("key")
@click.option(
    "--grace", default="24h", show_default=True, help="How long the old secret goes on working; 0 for not at all."
)
def rotate(key: str, grace: str) -> None:
    """Give a key a new secret and print it, this once. Its id, team, budgets and spend stay."""
    made = ask("POST", f"{_PATH}/{quote(key, safe='')}/rotate", json.dumps({"grace": grace}).encode())
    _secret(made)
    click.echo(f"the old secret works until {made['old_secret_until']}", err=True)


@keys.command("revoke")
@click.argument("key")
def revoke(key: str) -> None:
    """End a key by its id. It is refused everywhere within a second."""
    ask("DELETE", f"{_PATH}/{quote(key, safe='')}")
    click.echo(f"revoked {key}")


def _secret(made: dict[str, Any]) -> None:
    click.echo(f"{made['id']} ({made['name']}); the secret is shown this once:", err=True)
    click.echo(made["key"])


def _show(found: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("id", "name", "tenant", "team", "app", "role", "delegates", "created", "status", "expires"):
        table.add_column(name)
    for one in found:
        created = dt.datetime.fromtimestamp(one["created"], dt.UTC).date().isoformat()
        status = one["status"]
        if one["old_secret_until"]:
            status += f" (old secret until {one['old_secret_until']})"
        facts = [one[name] for name in ("id", "name", "tenant", "team", "app", "role")]
        table.add_row(*facts, ", ".join(one["delegates"]), created, status, one["expires"] or "")
    console().print(table)
