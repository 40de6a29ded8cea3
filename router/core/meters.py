"""Meters beside tokens: calls of tools, images, sound, characters, searches; and tokens that have rates of their own.

Belongs here: what each is called, in what it is counted, what it costs at a price's rates, and which sums of a report it
adds to. Does not belong here: who reads them from an answer (dialects/), and token prices (pricing.py).

A meter has the name of its price in the lists (`router.core.catalog.price_list`):

    tool.<name>                          calls of a tool that the provider runs
    image.output_each[/quality/size]     images; the latter where a model has a price for each kind
    audio.input_minute, …output_minute   milliseconds; the price is one of a minute
    audio.characters                     characters that are spoken
    search                               Cohere's search units
    audio.input, image.output, …         tokens: a part of the prompt's or the answer's, with a rate of its own
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from router.core.catalog.catalog import PriceRow
    from router.core.values import Band, Rates, Units

MINUTE_MS: Final = 60_000
SEARCH: Final = "search"
WEB_SEARCH: Final = "tool.web_search"
FILE_SEARCH: Final = "tool.file_search"
CODE_INTERPRETER: Final = "tool.code_interpreter"
"""Containers: one serves all calls of an answer."""
CHARACTERS: Final = "audio.characters"
SOUND_IN: Final = "audio.input_minute"
IMAGES: Final = "image.output_each"
PARTS: Final = {
    f"{kind}.{direction}": direction for kind in ("audio", "image") for direction in ("input", "cached_input", "output")
}
"""Meters of tokens, each with the rate that those tokens would pay as text. ``input`` are those that are not cached."""
UNIT_SUMS: Final = ("tool_calls", "images", "audio_ms", "characters", "searches")
"""What of units is added up in reports, in the order of every list of such sums."""
NO_SUMS: Final = (0,) * len(UNIT_SUMS)
_PLACES: Final = {SOUND_IN: 2, "audio.output_minute": 2, CHARACTERS: 3, SEARCH: 4}
_BY_HEAD: Final = {"tool": 0, IMAGES: 1}


def units_of(amounts: Mapping[str, int]) -> Units:
    """Amounts by meter in their one form: those that are not zero, in order of names."""
    return tuple(sorted((meter, amount) for meter, amount in amounts.items() if amount))


def added(*several: Units) -> Units:
    """The sum of units; negative amounts, as corrections have them, count as such."""
    sums: dict[str, int] = {}
    for meter, amount in (pair for units in several for pair in units):
        sums[meter] = sums.get(meter, 0) + amount
    return units_of(sums)


def less(units: Units, others: Units) -> Units:
    """The signed difference."""
    return added(units, tuple((meter, -amount) for meter, amount in others))


def unit_sums(units: Units) -> tuple[int, ...]:
    """What these units add to each of `UNIT_SUMS`. Parts of tokens add nothing: they are in the tokens' sums."""
    if not units:
        return NO_SUMS
    sums = list(NO_SUMS)
    for meter, amount in units:
        place = _PLACES.get(meter)
        if place is None:
            place = _BY_HEAD.get(meter.partition("/")[0] if meter.startswith(IMAGES) else meter.partition(".")[0])
        if place is not None:
            sums[place] += amount
    return tuple(sums)


def unit_rates(row: PriceRow, factor_ppm: int, tier_ppm: int) -> dict[str, int]:
    """A price row's rates by meter, in pico-dollars.

    Args:
        row: of the catalog.
        factor_ppm: the region's factor, in parts per million.
        tier_ppm: the tier's. Neither changes a fee for a tool's call or a search: those are the same everywhere.
    """
    found = {f"tool.{name}": rate for name, rate in row.tools.items()}
    if row.search is not None:
        found[SEARCH] = row.search
    for kind, prices in (("audio", row.audio), ("image", row.images)):
        for name, rate in prices.items():
            found[f"{kind}.{name}"] = -(-rate * factor_ppm * tier_ppm // 10**12)
    if "image.output" in found and not any(meter.startswith(IMAGES) for meter in found):
        found[IMAGES] = 0  # they are paid for in tokens, and counted all the same
    return found


def units_pico(band: Band, units: Units) -> int:
    """What units cost at a band's rates, in pico-dollars, beside what their tokens cost as text.

    A meter without a rate costs nothing here; `unpriced` tells.
    """
    rates, total = band.units, 0
    for meter, amount in units:
        rate = rates.get(meter)
        if rate is None or amount < 0:
            continue
        if meter in PARTS:
            total += amount * (rate - text_rate(band.rates, meter))
        elif meter.endswith("_minute"):
            total += -(-amount * rate // MINUTE_MS)
        else:
            total += amount * rate
    return total


def text_rate(rates: Rates, meter: str) -> int:
    """What a token of one of `PARTS` would cost as text."""
    direction = PARTS[meter]
    return rates.input if direction == "input" else rates.output if direction == "output" else rates.cached_input


def unpriced(bands: Iterable[Band], units: Units) -> tuple[str, ...]:
    """The meters among these that have no rate in some band. Parts of tokens always have the text's."""
    known = list(bands)
    return tuple(meter for meter, _ in units if meter not in PARTS and any(meter not in band.units for band in known))
