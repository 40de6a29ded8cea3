"""`costrouter explain`: where a request would go, or where one went, and why.

Belongs here: telling ids from files, and the table. Does not belong here: deciding and explaining (the server does,
`router.core.deciding.explanation`).
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.table import Table

from router.cli.client import ask
from router.cli.output import console

if TYPE_CHECKING:
    from rich.console import Console

_ID: Final = re.compile(r"req_[0-9a-f]{12,}")
_COLUMNS: Final = (("", "left"), ("model", "left"), ("$ expected", "right"), ("likely", "left"), ("quality", "left"),
                   ("ttft p95", "right"), ("price of", "left"), ("", "left"))  # fmt: skip  # titles with their sides
_FLIPS: Final = 6
_MINUTES: Final = 600
"""From so many seconds on, minutes are told."""
_WARM: Final = 3
_REJECTED: Final = 10
"""Rejected candidates that are shown unless all are asked for."""


@click.command()
@click.argument("what")
@click.option("--policy", help="Policy to decide by, instead of the bound one (files only).")
@click.option("--team", help="Decide as for this team (files only).")
@click.option("--app", help="Decide as for this application (files only).")
@click.option("--deadline", help="When the answer is needed, such as 4h: every tier bids (files only).")
@click.option("--json", "as_json", is_flag=True, help="JSON, one line a request, instead of tables.")
@click.option("--sources", is_flag=True, help="Also what each figure rests on.")
@click.option("--all", "everything", is_flag=True, help="Every rejected candidate, not only the cheapest.")
def explain(
    what: str,
    policy: str | None,
    team: str | None,
    app: str | None,
    deadline: str | None,
    *,
    as_json: bool,
    sources: bool,
    everything: bool,
) -> None:
    """Say why WHAT went, or would go, where it does, at what cost, and why not elsewhere.

    WHAT is a request's id (x-costrouter-request-id of its answer), a JSON file with a request's body, a .jsonl file with
    one body a line (also as lines of a batch), or - for standard input.
    """
    given = {"policy": policy, "team": team, "app": app, "deadline": deadline}
    headers = {f"x-costrouter-{name}": value for name, value in given.items() if value}
    if _ID.fullmatch(what):
        if headers:
            raise click.ClickException(
                "--policy, --team, --app and --deadline are for files: what was decided is told as it was"
            )
        found = [ask("GET", f"/costrouter/v1/decisions/{what}")]
    else:
        found = [ask("POST", "/costrouter/v1/estimate", body, headers) for body in _bodies(what)]
    out = console()
    for number, one in enumerate(found):
        if as_json:
            click.echo(json.dumps(one))
        else:
            if number:
                out.print()
            left_out = 0 if everything else _shorten(one)
            _show(out, one, left_out, sources=sources)


def _bodies(what: str) -> list[bytes]:
    """The bodies of a file: one, or one a line."""
    try:
        data = sys.stdin.buffer.read() if what == "-" else Path(what).read_bytes()
    except OSError as error:
        hint = "; ids begin with req_ and have 20 hexadecimal digits" if what.startswith("req_") else ""
        raise click.ClickException(f"{what} cannot be read: {error.strerror}{hint}") from None
    lines = [line for line in data.splitlines() if line.strip()]
    if what != "-" and Path(what).suffix != ".jsonl":
        return [data]
    try:
        several = [json.loads(line) for line in lines]
    except ValueError:
        # One document over several lines, or none at all: the server says which.
        return [data]
    return [json.dumps(_unwrapped(one)).encode() for one in several] or [data]


def _unwrapped(line: Any) -> Any:
    """A batch's line has the body of its request inside."""
    return line["body"] if isinstance(line, dict) and "body" in line and "messages" not in line else line


def _shorten(found: dict[str, Any]) -> int:
    """Keep of the rejected candidates the cheapest that can do what is asked at all; how many were left out."""
    candidates = found["candidates"]
    rejected = [one for one in candidates if not one["feasible"]]
    able = [one for one in rejected if not any(reason.startswith("cannot do") for reason in one["reasons"])]
    shown = (able or rejected)[:_REJECTED]
    found["candidates"] = [one for one in candidates if one["feasible"]] + shown
    return len(candidates) - len(found["candidates"])


def _show(out: Console, found: dict[str, Any], left_out: int, *, sources: bool) -> None:
    chosen = found["chosen"]
    said = f"   {found['id']}  {found['at']}" if "id" in found else ""
    out.print(f"{found['policy']} > {found['rule']}   snapshot {found['snapshot']}{said}")
    low, high = found["prompt_tokens_likely"]
    exact = "" if found["prompt_tokens_exact"] else f" (likely {low:,}-{high:,})"
    answer = f"out ~{found['output_tokens']:,}, p90 {found['output_tokens_p90']:,}" if chosen else ""
    warm = ", ".join(f"{one['tokens']:,} warm at {one['provider']}" for one in found["warm"][:_WARM])
    exact = f"{exact} ({warm})" if warm else exact
    out.print(f"task {found['task']}   in {found['prompt_tokens']:,} tok{exact}   {answer}{_limits(found['limits'])}")
    if chosen and chosen["relaxed"]:
        out.print(f"given up: {chosen['relaxed']}")
    if found.get("budget_exhausted"):
        out.print("a budget had no room: the policy's model for that was tried")
    if found.get("refusal"):
        out.print(f"REFUSED  {found['refusal']}")
    out.print()
    out.print(_table(found))
    if left_out:
        out.print(f"{left_out} more rejected; --all shows them")
    if sources:
        _show_sources(out, found)
    if found.get("deferred"):
        _show_bids(out, found["deferred"])
    _show_otherwise(out, found)


def _show_otherwise(out: Console, found: dict[str, Any]) -> None:
    """What would change the choice, and what would cost less."""
    flips = found["would_flip"][:_FLIPS]
    if flips:
        out.print("\nWould flip if:")
        for flip in flips:
            out.print(f"  {flip['if']} → {_name(flip['then']) if flip['then'] else 'nothing is left'}")
    if found["could_be_cheaper"]:
        out.print("\nCould be cheaper:")
        for saving in found["could_be_cheaper"]:
            cost = _short(saving["estimated_cost_usd"])
            out.print(f"  {saving['if']} → {_name(saving['then'])} ${cost} ({saving['percent']:+.0f} %)")


def _show_bids(out: Console, deferred: dict[str, Any]) -> None:
    """What each tier would do by the deadline."""
    hours, seconds = divmod(deferred["deadline_s"], 3600)
    out.print(f"\nBids, for an answer within {hours} h {seconds // 60} min:")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("", "bid", "$ expected", "if on time", "nine in ten within", "on time"):
        table.add_column(title, justify="left" if title in ("", "bid") else "right", no_wrap=True)
    for bid in deferred["bids"]:
        chosen = all(bid[name] == deferred[name] for name in ("model", "provider", "tier", "effort", "promised_s"))
        table.add_row(
            "✓" if chosen else "",
            _name(bid) + ("" if bid["gpu_percent"] is None else f" (GPU {bid['gpu_percent']} %)"),
            _short(bid["estimated_cost_usd"]),
            _short(bid["own_cost_usd"]),
            f"{bid['promised_s'] // 60:,} min" if bid["promised_s"] >= _MINUTES else f"{bid['promised_s']} s",
            bid["on_time"],
        )
    out.print(table)


def _limits(limits: dict[str, Any]) -> str:
    told = [f"quality ≥ {limits['quality']} at {limits['confidence']:.0%}"] if limits["quality"] else []
    told += [
        f"{name} p{limits[name]['percentile']} ≤ {limits[name]['ms']:,} ms"
        + (f" (judged at p{limits[name]['judged_at']} now)" if "judged_at" in limits[name] else "")
        for name in ("ttft", "tpot", "total")
        if name in limits
    ]
    if limits["max_cost_usd"]:
        told.append(f"≤ ${_short(limits['max_cost_usd'])}")
    return f"   limits: {', '.join(told)}" if told else ""


def _table(found: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, side in _COLUMNS:
        # A name cut short could not be pasted into a policy; the remarks may take a second line instead.
        table.add_column(title, justify="right" if side == "right" else "left", no_wrap=bool(title))
    for candidate in found["candidates"]:
        low, high = map(_short, candidate["estimated_cost_usd_likely"])
        table.add_row(
            "✓" if candidate["chosen"] else "" if candidate["feasible"] else "✗",
            _name(candidate),
            _short(candidate["estimated_cost_usd"]),
            f"{low}-{high}",
            _quality(candidate["quality"]),
            f"{candidate['ttft_p95_ms']:,} ms ({candidate['latency']})",
            candidate["price"].get("checked", ""),
            _remark(candidate),
        )
    baseline = found["baseline"]
    if baseline:
        saved = f"saves ${_short(baseline['saves_usd'])} ({baseline['saves_percent']:.0f} %)"
        table.add_row("=", baseline["model"], _short(baseline["estimated_cost_usd"]), "", "baseline", "", "", saved)
    return table


def _remark(candidate: dict[str, Any]) -> str:
    if candidate["chosen"]:
        return "CHOSEN"
    if candidate["reasons"]:
        return "; ".join(candidate["reasons"])
    return "" if candidate["percent"] is None else f"{candidate['percent']:+.0f} %"


def _quality(quality: dict[str, Any] | None) -> str:
    if quality is None:
        return "unknown"
    bound = quality["lower_bound"].removeprefix("0")
    if "estimate" not in quality:
        return f"lb {bound}"
    n = f" n={quality['n']:,}" if quality["n"] else ""
    return f"lb {bound} ({quality['estimate'].removeprefix('0')} ± {quality['sd'].removeprefix('0')}{n})"


def _show_sources(out: Console, found: dict[str, Any]) -> None:
    out.print("\nSources:")
    for candidate in found["candidates"]:
        price, quality = candidate["price"], candidate["quality"] or {}
        out.print(f"  {candidate['name']}")
        out.print(f"    price    {price['version']}: {price.get('source', 'no longer in the catalog')}")
        if quality:
            out.print(f"    quality  {quality['source']}{', ' + quality['date'] if 'date' in quality else ''}")
        out.print(f"    latency  {candidate['latency_source']}")


def _name(option: dict[str, Any]) -> str:
    tier = "" if option["tier"] == "realtime" else f" {option['tier']}"
    effort = f" effort {option['effort']}" if option["effort"] else ""
    return f"{option['model']} @{option['provider']}{tier}{effort}"


def _short(usd: str) -> str:
    """Six decimals are enough to compare by; less than that in full."""
    return usd[:-3] if usd.endswith("000") or float(usd) >= 0.001 else usd
