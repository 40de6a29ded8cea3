"""`costrouter batch`: what a file of requests would cost, sending it, watching it, and its results.

Belongs here: the words of the command line. Does not belong here: routing (the server does it line by line).
"""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from router.cli.client import NoServer, ask, download
from router.cli.output import console

_OVER = ("completed", "failed", "cancelled", "expired")
_window = click.option("--window", default="24h", show_default=True, help="When it must be done: 90m, 24h, 3d.")


@click.group()
def batch() -> None:
    """Batches of requests: estimate, submit, watch, fetch."""


@batch.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_window
@click.option(
    "--sample", default=200, show_default=True, type=click.IntRange(1), help="Lines to look at, evenly spread."
)
def estimate(file: Path, window: str, sample: int) -> None:
    """Tell what a file would cost, by tier and provider, before anything is sent."""
    lines = [line for line in file.read_bytes().splitlines() if line.strip()]
    if not lines:
        raise click.ClickException(f"{file} has no lines")
    step = max(1, len(lines) // sample)
    looked_at = lines[::step]
    sums: dict[tuple[str, str, str], list[Decimal]] = {}
    faults: Counter[str] = Counter()
    tokens, at_once, promised = 0, Decimal(0), 0
    for line in looked_at:
        try:
            body = json.dumps(json.loads(line)["body"]).encode()
            found = ask("POST", "/costrouter/v1/estimate", body, {"x-costrouter-deadline": window})
        except (ValueError, KeyError, TypeError):
            faults["not a line of a batch"] += 1
            continue
        except NoServer:
            raise
        except click.ClickException as error:
            faults[error.message[:100]] += 1
            continue
        chosen = found.get("deferred") or found["chosen"]
        if chosen is None:
            faults["nothing feasible"] += 1
            continue
        tokens += found["prompt_tokens"]
        at_once += Decimal((found["chosen"] or chosen)["estimated_cost_usd"])
        promised = max(promised, chosen.get("promised_s", 0))
        place = (chosen["tier"], chosen["provider"], chosen["model"])
        sums.setdefault(place, []).append(Decimal(chosen["estimated_cost_usd"]))
    _tell(sums, len(lines), len(looked_at), tokens, at_once, promised, faults)


def _tell(  # noqa: PLR0917 - what was found out, as it is told
    sums: dict[tuple[str, str, str], list[Decimal]],
    lines: int,
    looked_at: int,
    tokens: int,
    at_once: Decimal,
    promised: int,
    faults: Counter[str],
) -> None:
    scale = Decimal(lines) / looked_at
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("tier", "provider", "model"):
        table.add_column(name)
    for name in ("lines", "expected $"):
        table.add_column(name, justify="right")
    total = Decimal(0)
    for (tier, provider, model), costs in sorted(sums.items()):
        total += sum(costs)
        table.add_row(tier, provider, model, f"{round(len(costs) * scale):,}", f"{sum(costs) * scale:.6f}")
    table.add_row("TOTAL", "", "", f"{lines:,}", f"{total * scale:.6f}")
    out = console()
    out.print(table)
    how = "every line" if looked_at == lines else f"{looked_at:,} of {lines:,} lines"
    out.print(f"{round(tokens * scale):,} prompt tokens; judged by {how}; in real time $ {at_once * scale:.6f}", end="")
    out.print(f" (saves {100 * (1 - total / at_once):.0f} %)" if at_once else "")
    if promised:
        out.print(f"likely done within {promised // 60} min, nine times in ten")
    for words, count in faults.most_common():
        out.print(f"[red]{count} lines cannot run[/]: {words}")


@batch.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_window
@click.option("--endpoint", default="/v1/chat/completions", show_default=True)
@click.option("--budget", help="US dollars that it may cost at most.")
@click.option("--watch/--no-watch", "watching", default=False, help="Stay until it is done.")
def submit(file: Path, window: str, endpoint: str, budget: str | None, watching: bool) -> None:  # noqa: FBT001 - click passes it by name
    """Send a file of requests."""
    uploaded = ask("POST", "/v1/files", *_form(file))
    asked: dict[str, Any] = {"input_file_id": uploaded["id"], "endpoint": endpoint, "completion_window": window}
    if budget:
        asked["metadata"] = {"costrouter.budget_usd": budget}
    made = ask("POST", "/v1/batches", json.dumps(asked).encode())
    click.echo(made["id"])
    if watching:
        _watch(made["id"])


@batch.command()
@click.argument("batch_id")
def watch(batch_id: str) -> None:
    """Follow a batch until its end."""
    _watch(batch_id)


@batch.command()
@click.argument("batch_id")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Where the answers go; BATCH.jsonl.")
def fetch(batch_id: str, output: Path | None) -> None:
    """Fetch a batch's answers, and its errors beside them."""
    found = ask("GET", f"/v1/batches/{batch_id}")
    if found["status"] not in _OVER:
        raise click.ClickException(f"{batch_id} is {found['status']}; `costrouter batch watch {batch_id}` waits for it")
    target = output or Path(f"{batch_id}.jsonl")
    for file, path in (
        (found["output_file_id"], target),
        (found["error_file_id"], target.with_suffix(".errors.jsonl")),
    ):
        if file:
            click.echo(f"{path}: {download(f'/v1/files/{file}/content', path):,} bytes")


def _watch(batch_id: str) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("$ {task.fields[cost]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console()) as progress:
        task = progress.add_task("queued", total=None, cost="0")
        while True:
            found = ask("GET", f"/v1/batches/{batch_id}")
            counts = found["request_counts"]
            done = counts["completed"] + counts["failed"]
            progress.update(
                task,
                description=found["status"],
                total=counts["total"] or None,
                completed=done,
                cost=found["cost_usd"],
            )
            if found["status"] in _OVER:
                break
            time.sleep(0.5)
    if found["error_file_id"]:
        click.echo(f"{counts['failed']:,} lines have no answer: `costrouter batch fetch {batch_id}` tells why")


def _form(file: Path) -> tuple[bytes, dict[str, str]]:
    boundary = f"costrouter-{secrets.token_hex(12)}"
    head = (
        f'--{boundary}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="{file.name.replace(chr(34), "_")}"\r\n'
        "content-type: application/jsonl\r\n\r\n"
    )
    body = head.encode() + file.read_bytes() + f"\r\n--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}
