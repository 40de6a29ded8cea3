"""`costrouter explain`: where a request would go, and why."""

from __future__ import annotations

from typing import IO

import click
from rich.table import Table

from router.cli.client import ask
from router.cli.output import console


@click.command()
@click.argument("body", type=click.File("rb"))
@click.option("--policy", help="Policy to decide by, instead of the bound one.")
def explain(body: IO[bytes], policy: str | None) -> None:
    """Say where the request in BODY (a JSON file, - for stdin) would go now, at what cost, and why not elsewhere."""
    headers = {"x-costrouter-policy": policy} if policy else {}
    found = ask("POST", "/costrouter/v1/estimate", body.read(), headers)
    out = console()
    exact = "" if found["prompt_tokens_exact"] else "~"
    out.print(f"{found['policy']} > {found['rule']}   snapshot {found['snapshot']}")
    out.print(f"in {exact}{found['prompt_tokens']:,} tok   out ~{found['output_tokens'] or 0:,}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title, side in (
        ("", "left"),
        ("model", "left"),
        ("provider", "left"),
        ("$ expected", "right"),
        ("ttft p95", "right"),
        ("", "left"),
    ):
        # A name cut short could not be pasted into a policy; the remarks may take a second line instead.
        table.add_column(title, justify="right" if side == "right" else "left", no_wrap=bool(title))
    cheapest = next((c for c in found["candidates"] if c["chosen"]), None)
    for candidate in found["candidates"]:
        mark, remark = ("✓", "CHOSEN") if candidate["chosen"] else ("", "")
        if not candidate["feasible"]:
            mark, remark = "✗", "; ".join(candidate["reasons"])
        elif cheapest and not candidate["chosen"] and float(cheapest["estimated_cost_usd"]):
            more = float(candidate["estimated_cost_usd"]) / float(cheapest["estimated_cost_usd"]) - 1
            remark = f"+{more:.0%}"
        table.add_row(
            mark,
            candidate["model"],
            candidate["provider"],
            candidate["estimated_cost_usd"],
            f"{candidate['ttft_p95_ms']:,} ms ({candidate['latency']})",
            remark,
        )
    out.print(table)
    baseline = found["baseline"]
    if baseline:
        out.print(f"= {baseline['model']}  {baseline['estimated_cost_usd']}  baseline")
