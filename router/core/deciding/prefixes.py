"""What a provider's cache of prompts makes of the cost of one: what is read from it, what is written, and whether that pays.

Belongs here: arithmetic over what is known of a prompt's beginning. Does not belong here: knowing it
(`router.core.statistics.warmth`), and asking for breakpoints in a wire format (the dialects).

Writing pays where reading it again is likely enough (docs/prompt-caches.md; w and r as multiples of the fresh rate):

    chance of another use  >  (w - 1) / (1 - r)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from router.core.deciding.choices import Option, Prefix
    from router.core.values import Rates

PPM: Final = 1_000_000


def warm_tokens(option: Option, prefix: Prefix, prompt: int) -> int:
    """Tokens that the option's provider should have of a prompt of so many, as it meters; 0 for less than it keeps."""
    share = prefix.warm.get(option.entry, 0)
    return share * prompt // PPM if _kept(option, prefix, share) else 0


def added_cost(option: Option, prefix: Prefix, prompt: int, rates: Rates) -> int:
    """What the cache adds to the fresh prompt's cost, in pico-dollars: below 0 where more is read than writing costs.

    Args:
        option: where the prompt may go.
        prefix: what is known of it.
        prompt: its tokens there.
        rates: for a prompt of that size.
    """
    cache = option.cache
    if cache is None:
        return 0
    read = warm_tokens(option, prefix, prompt) * cache.hit_ppm // PPM
    added = read * (rates.cached_input - rates.input)
    if rates.cache_write != rates.input:
        share = written_ppm(option, prefix, rates)
        if _kept(option, prefix, share):
            added += max(share * prompt // PPM - read, 0) * (rates.cache_write - rates.input)
    return added


def written_ppm(option: Option, prefix: Prefix, rates: Rates) -> int:
    """How much of a prompt is put into the cache: all of it, as far as breakpoints go, or nothing."""
    cache = option.cache
    if cache is None:
        return 0
    if prefix.marked:
        return PPM
    keeps = breakpoints(option, prefix, rates)
    if not keeps:
        return 0 if cache.asked else PPM
    return PPM if keeps == "all" else prefix.head_ppm if keeps == "head" else 0


def _kept(option: Option, prefix: Prefix, share: int) -> bool:
    """Whether that share of the prompt is enough to be kept there. Judged by what its tokens were taken for at first, so
    that a count of them changes no choice that was certain.
    """
    cache = option.cache
    return cache is not None and share > 0 and share * prefix.tokens // PPM * option.ratio_ppm // PPM >= cache.least


def breakpoints(option: Option, prefix: Prefix, rates: Rates) -> Literal["", "none", "head", "all"]:
    """Up to where breakpoints pay that the caller has not set; "" where the provider keeps what it keeps."""
    cache = option.cache
    if cache is None or prefix.marked or prefix.left or not (cache.asked or cache.chosen):
        return ""
    if cache.chosen and (
        rates.cache_write <= rates.input or prefix.warm.get(option.entry) or not _kept(option, prefix, PPM)
    ):
        # Writing costs nothing, something is there to be read, or it is too short: the provider's own way is the best.
        return ""
    if pays(prefix.late_ppm if cache.late else prefix.again_ppm, rates):
        return "all"
    if pays(prefix.head_late_ppm if cache.late else prefix.head_again_ppm, rates):
        return "head"
    return "none" if cache.chosen else ""


def pays(again_ppm: int, rates: Rates) -> bool:
    """Whether writing to the cache is expected to cost less than what is then read from it saves.

    Args:
        again_ppm: how likely it is to be read, in parts per million.
        rates: what writing and reading cost.
    """
    return again_ppm * (rates.input - rates.cached_input) > PPM * (rates.cache_write - rates.input)
