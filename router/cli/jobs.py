"""`costrouter jobs`: what waits, and how far it is."""

from __future__ import annotations

import time
from typing import Any

import click
from rich.live import Live
from rich.table import Table

from router.cli.client import ask
from router.cli.output import console

_PATH = "/costrouter/v1/jobs"


@click.group(invoke_without_command=True)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 100))
@click.option("--watch", is_flag=True, help="Look again each second, until Ctrl-C.")
@click.pass_context
def jobs(context: click.Context, limit: int, watch: bool) -> None:  # noqa: FBT001 - click passes it by name
    """List jobs, the newest first; show or cancel one."""
    if context.invoked_subcommand is not None:
        return
    if not watch:
        console().print(_table(_asked(limit)))
        return
    with Live(_table(_asked(limit)), console=console(), auto_refresh=False) as live:
        while True:
            time.sleep(1)
            live.update(_table(_asked(limit)), refresh=True)


@jobs.command("show")
@click.argument("job")
def show(job: str) -> None:
    """Show one job, its answer too."""
    console().print_json(data=ask("GET", f"{_PATH}/{job}"))


@jobs.command("cancel")
@click.argument("job")
def cancel(job: str) -> None:
    """Call a job off; what is done of it is kept."""
    click.echo(f"{job}: {ask('POST', f'{_PATH}/{job}/cancel')['status']}")


def _asked(limit: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask("GET", f"{_PATH}?limit={limit}")["data"]
    return found


def _table(found: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("id", "kind", "status"):
        table.add_column(name)
    for name in ("lines", "done", "failed", "cost $", "age", "due in", "late"):
        table.add_column(name, justify="right")
    now = time.time()
    for job in found:
        lines = job["lines"]
        done = sum(lines[state] for state in ("succeeded", "failed", "cancelled"))
        over = job["ended_at"] is not None
        table.add_row(
            job["id"],
            job["kind"],
            job["status"],
            f"{lines['total']:,}",
            f"{done:,}",
            f"{lines['failed']:,}",
            job["cost_usd"],
            _span((job["ended_at"] if over else now) - job["created_at"]),
            "" if over else _span(job["deadline_at"] - now),
            "" if job["late_s"] is None else _span(job["late_s"]),
        )
    return table


def _span(seconds: float) -> str:
    sign, whole = ("-", -seconds) if seconds < 0 else ("", seconds)
    hours, rest = divmod(round(whole), 3600)
    minutes, left = divmod(rest, 60)
    return f"{sign}{hours}h{minutes:02}m" if hours else f"{sign}{minutes}m{left:02}s" if minutes else f"{sign}{left}s"
