"""How well answers' lengths are predicted before the call, on a recorded trace.

    python benchmarks/predictors.py TRACE [TRACE...]

A trace is Azure's CSV (TIMESTAMP,ContextTokens,GeneratedTokens) or Mooncake's JSONL (timestamp ms, input_length,
output_length), plain or .gz. Requests are replayed in time; each is predicted by what the product's own statistics knew at
the last tick, one second before at most, and then told to them as a row. Figures are of all requests after the first
500: bias of the summed means, error of a single one, and how many answers were no longer than what is held (its p90).
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from router.adapters.fleet.statistics import Observations
from router.adapters.policies.files import load_policies, packaged_policies_dir
from router.core.deciding.decide import Option
from router.core.deciding.options import base_option
from router.core.deciding.variants import Summaries
from router.core.pricing import REALTIME, price_at
from router.core.statistics.length import Asker, lengthened, scale_ppm
from router.core.statistics.series import seen, size_of
from router.core.values import Row

WARM_UP = 500
TICK_MS = 1_000


class Request(NamedTuple):
    """One request of a trace."""

    at_ms: int
    prompt: int
    output: int
    blocks: tuple[int, ...] = ()
    """Ids of the prompt's 512-token prefix blocks, where the trace has them."""


def read_trace(path: Path) -> list[Request]:
    """A trace in the order of time."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        found = list(_azure(lines) if ".csv" in path.suffixes else map(_mooncake, lines))
    start = min(request.at_ms for request in found)
    return sorted(request._replace(at_ms=request.at_ms - start) for request in found)


def _azure(lines: Iterator[str]) -> Iterator[Request]:
    for row in csv.DictReader(lines):
        at = dt.datetime.fromisoformat(row["TIMESTAMP"][:26]).replace(tzinfo=dt.UTC)
        yield Request(int(at.timestamp() * 1000), int(row["ContextTokens"]), int(row["GeneratedTokens"]))


def _mooncake(line: str) -> Request:
    row = json.loads(line)
    return Request(row["timestamp"], row["input_length"], row["output_length"], tuple(row["hash_ids"]))


def replay(requests: list[Request]) -> list[tuple[int, int, int]]:
    """(true, mean, p90) of each request after the first `WARM_UP`."""
    option, row = _model()
    observations = Observations()
    found, tick, start = [], 0, 1_800_000_000_000
    summary = observations.summary
    cache: dict[int, tuple[int, int]] = {}
    for number, request in enumerate(requests):
        now = start + request.at_ms
        if now >= tick:
            observations.take(now)
            observations.told()
            observations.refresh(now)
            tick, cache = now + TICK_MS, {}
        size = size_of(request.prompt)
        if size not in cache:
            base = option(summary)
            asker = Asker("app", "chat", size)
            scale = scale_ppm([base], asker, summary)
            here = base if scale is None else lengthened(base, asker, scale, summary)
            cache[size] = here.output_mean, here.output_p90
        if number >= WARM_UP:
            found.append((request.output, *cache[size]))
        told = msgspec.structs.replace(row, prompt_tokens=request.prompt, completion_tokens=request.output)
        for series, value in seen(told):
            observations.add(series, value)
    return found


def blank_row() -> Row:
    """A row of a chat that was answered whole; what is measured is filled in."""
    names = Row.__struct_fields__
    numbers = {n: 0 for n in names if n.endswith(("_ms", "_tokens", "_pico", "_nano")) or n == "status"}
    told = {"tags": (), "budgets": (), "choices": 1, "max_output": 0, "tier": REALTIME, "outcome": "ok",
            "certainty": "metered", "app": "app", "task": "chat"}  # fmt: skip  # a record
    return Row(**{**dict.fromkeys(names, ""), **numbers, **told})


def _model() -> tuple[Callable[[Summaries], Option], Row]:
    catalog = load_policies(packaged_policies_dir()).catalog
    model = next(model for model in catalog.by_id("openai/gpt-4o") if catalog.providers[model.provider].spoken)
    price = price_at(model, dt.datetime.now(dt.UTC))
    if price is None:
        raise SystemExit(f"{model.name} has no price today; name another in this file")
    provider = catalog.providers[model.provider]
    row = msgspec.structs.replace(blank_row(), model=model.id, provider=model.provider)
    return lambda summary: base_option(model, provider, {REALTIME: price}, summary), row


def main() -> None:
    """Print a line a trace."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("traces", nargs="+", type=Path)
    print(f"{'trace':<32} {'requests':>8} {'mean':>6} {'bias':>7} {'MAE':>6} {'p90 covers':>10}")
    for path in parser.parse_args().traces:
        found = replay(read_trace(path))
        true = sum(row[0] for row in found)
        bias = sum(row[1] for row in found) / true - 1
        error = sum(abs(row[0] - row[1]) for row in found) / len(found)
        covered = sum(row[0] <= row[2] for row in found) / len(found)
        print(f"{path.name:<32} {len(found):>8} {true / len(found):>6.0f} {bias:>+7.1%} {error:>6.0f} {covered:>10.1%}")


if __name__ == "__main__":
    main()
