"""Which series of statistics there are, what a row says to each, and how they age.

Belongs here: names of series, from fine to coarse. Does not belong here: histograms (`stats`), what is made of the
figures (`length`, `latency`), sharing them (`router.adapters.fleet.statistics`).

    ttft, tpot, total    microseconds (a token); by model, provider, way and size of the prompt
    output               tokens of an answer; by model, provider, way, and below that by app and task, and size
    ruled                microseconds to the first token; by policy and rule
    wasted               0 or a million for a paid try that came to nothing; by model, provider and way
    cached               parts per million of a warm prefix that the provider read from its cache; likewise

The hot path counts in the finest series alone; coarser ones are summed once a tick.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from router.core.deciding.variants import way
from router.core.pricing import CACHED
from router.core.statistics.stats import Life, Series

if TYPE_CHECKING:
    from router.core.values import Row

EDGES: Final = (512, 2_048, 8_192, 32_768)
"""Prompt tokens at which the next size begins."""
SIZES: Final = len(EDGES) + 1
MILLION: Final = 1_000_000

_LIVES: Final = {
    "ttft": Life(watched=True),
    "tpot": Life(watched=True),
    "total": Life(watched=True),
    "output": Life(slice_ms=600_000, half_life_ms=3_600_000),
    "ruled": Life(slice_ms=120_000, half_life_ms=1_200_000),
    "wasted": Life(slice_ms=120_000, half_life_ms=1_200_000),
    "cached": Life(slice_ms=120_000, half_life_ms=1_200_000),
}
"""Speed changes in minutes, and at once; what applications ask for in hours."""
_TTFT, _TPOT, _TOTAL = (tuple(f"{name}/{size}" for size in range(SIZES)) for name in ("ttft", "tpot", "total"))
_WHOLE: Final = frozenset({"ok", "outrun"})
"""What was outrun and read to its meters took the time that it took: leaving it out would make the slow look fast."""
_WASTED: Final = frozenset({"upstream_error", "upstream_interrupted"})


def size_of(prompt_tokens: int) -> int:
    """The size class of a prompt, 0 to `SIZES` - 1."""
    return bisect_right(EDGES, prompt_tokens)


def life_of(series: Series) -> Life:
    """How a series ages."""
    return _LIVES[series[0].partition("/")[0]]


def lengths_of(app: str, task: str, size: int | None = None) -> str:
    """The name of the series of answers' lengths of an application's task, in all sizes or one."""
    return f"output/{'' if size is None else size}/{app}/{task}"


def lived_of(policy: str, rule: str) -> Series:
    """The series of first tokens of a rule's answers, whichever model gave them."""
    return ("ruled", policy, rule, "ttft")


def seen(row: Row) -> list[tuple[Series, int]]:
    """What an attempt that has ended tells, as values of the finest series. What was kept teaches nothing."""
    if row.tier == CACHED:
        return []
    where = (row.model, row.provider, way(row.tier, row.effort) if row.effort else row.tier)
    size = bisect_right(EDGES, row.prompt_tokens)
    found: list[tuple[Series, int]] = []
    if row.ttft_ms:
        found.append(((_TTFT[size], *where), row.ttft_ms * 1000))
        found.append((lived_of(row.policy.partition("@")[0], row.rule), row.ttft_ms * 1000))
    if row.cost_pico:
        found.append((("wasted", *where), MILLION if row.outcome in _WASTED else 0))
    if row.outcome not in _WHOLE or row.certainty != "metered":
        return found
    if row.warm_tokens:
        share = min(row.cached_tokens * MILLION // row.warm_tokens, MILLION)
        found.append((("cached", *where), share))
    length = row.completion_tokens // row.choices
    # How long the model would have talked is not told by an answer that its limit cut short; what the application gets, is.
    cut = row.max_output and length * 10 >= row.max_output * 9
    found.append(((f"{'cut' if cut else 'output'}/{size}/{row.app}/{row.task}", *where), length))
    if row.ttft_ms:
        if row.completion_tokens > 1:
            taken = (row.total_ms - row.ttft_ms) * 1000 // (row.completion_tokens - 1)
            found.append(((_TPOT[size], *where), taken))
    elif row.completion_tokens:
        found.append(((_TOTAL[size], *where), row.total_ms * 1000))
    return found


@lru_cache(maxsize=65_536)
def wholes(series: Series) -> tuple[Series, ...]:
    """The series that a value of a finest one counts in, itself among them where it is kept."""
    metric, *where = series
    name, _, rest = metric.partition("/")
    if not rest:
        return (series,)
    if name in {"ttft", "tpot", "total"}:
        return (series, (name, where[0], where[1], where[2]))
    _, _, who = rest.partition("/")
    own = (f"output/{rest}", where[0], where[1], where[2]), (f"output//{who}", where[0], where[1], where[2])
    return own if name == "cut" else (*own, ("output", where[0], where[1], where[2]))
