"""How fast an option will answer, and how many paid tries an answer takes.

Belongs here: which observed figures an option takes for prompts of a size. Does not belong here: counting (`stats`),
noticing that a provider has changed (`stats.Shift`), limits (`judge`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from router.core.deciding.variants import ENOUGH, way
from router.core.statistics.series import MILLION

if TYPE_CHECKING:
    from router.core.deciding.decide import Option
    from router.core.deciding.variants import Summaries
    from router.core.statistics.stats import Summary

MOST_TRIES: Final = 4 * MILLION
"""In parts per million: what fails more often than three times of four is the breaker's business."""


_Options = Mapping[str, "Option"]
_Further = Mapping[str, tuple["Option", ...]]


def sized(options: _Options, further: _Further, size: int, summary: Summaries) -> tuple[_Options, _Further] | None:
    """All options as they serve prompts of one size, by entry; None where nothing is known of that size."""
    here = {name: at_size(option, size, summary) for name, option in options.items()}
    ways = {name: tuple(at_size(option, size, summary) for option in found) for name, found in further.items()}
    same = all(option is options[name] for name, option in here.items()) and all(
        one is other for name, found in ways.items() for one, other in zip(found, further[name], strict=True)
    )
    return None if same else (here, ways)


def at_size(option: Option, size: int, summary: Summaries) -> Option:
    """The option as it serves prompts of one size; unchanged where too few of them were seen."""
    if not option.live and option.total is None:
        return option
    where = (option.model, option.provider, way(option.tier, option.effort))
    ttft, tpot = summary((f"ttft/{size}", *where)), summary((f"tpot/{size}", *where))
    total = summary((f"total/{size}", *where))
    if ttft is not None and ttft.n >= ENOUGH:
        tpot = tpot if tpot is not None and tpot.n >= ENOUGH else option.tpot
        option = msgspec.structs.replace(option, ttft=ttft, tpot=tpot, live=True)
    if total is not None and total.n >= ENOUGH:
        option = msgspec.structs.replace(option, total=total)
    return option


def tries_ppm(wasted: Summary | None) -> int:
    """Expected paid tries an answer, in parts per million: 1 / (1 - share of tries that are paid and come to nothing).

    The share is taken to be 0 as long as `ENOUGH` tries say otherwise no louder than that many good ones.
    """
    if wasted is None:
        return MILLION
    share = wasted.mean * wasted.n // (wasted.n + ENOUGH)
    return min(MILLION * MILLION // max(MILLION - share, 1), MOST_TRIES)
