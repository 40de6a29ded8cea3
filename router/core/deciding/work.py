"""What an order beside text comes to at a model: images, sound, characters, documents, calls of tools, as its price meters
them.

Belongs here: from `Work` to meters, likely ones and the most there can be. Does not belong here: what is chosen by that
(decide.py), reading orders (dialects/), and what meters cost (`router.core.pricing`).

Rates and limits come from the catalog: a model whose price has a rate for a minute of sound is metered in minutes, one
that has none in tokens. docs/endpoints.md tells the rules to users.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from router.core.meters import CHARACTERS, IMAGES, SEARCH, SOUND_IN, units_of, unpriced
from router.core.values import Usage

if TYPE_CHECKING:
    from router.core.deciding.choices import Option, Work

LIKELY_CALLS: Final = 1
MOST_CALLS: Final = 10
"""Of a tool that the provider runs, where the request sets no bound: what money is held for."""
SECOND_MS: Final = 1_000
"""What is sold by the minute is billed to the second, up."""
SOUND_MS_A_TOKEN: Final = 100
"""OpenAI's audio models hear ten tokens a second (its guide to realtime costs)."""
PICTURE_TOKENS: Final = 500
MOST_PICTURE_TOKENS: Final = 6_500
"""Of an image that comes in; with high fidelity up to 6,240 beside the tiles (OpenAI, image generation guide)."""
SPEECH_MILLI: Final = 1_400
"""Tokens of sound for a thousand characters: 20.8 a second (a minute of gpt-4o-mini-tts at $12 a million is 1.5 cents), and
fifteen characters are spoken in one."""
MOST_SPEECH_TOKENS: Final = 20
"""For a character, beside `SPEECH_PAUSE`: a second each."""
SPEECH_PAUSE: Final = 250
DOCUMENTS_A_SEARCH: Final = 100
CHUNK_TOKENS: Final = 500
"""A longer document counts as several (Cohere, pricing)."""
BYTES_A_TOKEN: Final = 4


def expected(option: Option, work: Work, prompt: int, output: int) -> Usage:
    """The meters that are likely.

    Args:
        option: what is called.
        work: what is ordered.
        prompt: tokens of the texts.
        output: tokens of all answers together, by what the model's answers are like.
    """
    return _taken(option, work, prompt, output, most=False)


def most(option: Option, work: Work, prompt: int, output: int) -> Usage:
    """The most that will be metered; arguments as for `expected`, at their upper ends."""
    return _taken(option, work, prompt, output, most=True)


def lacks_price(option: Option, work: Work) -> tuple[str, ...]:
    """The meters of an order that have no price at this option: it must not be called for that."""
    return unpriced(option.price.bands, expected(option, work, 0, 0).units)


def as_priced(option: Option, work: Work | None, usage: Usage) -> Usage:
    """A provider's meters by the names that the price has for them: images of the quality and size that were ordered."""
    if work is None or not work.images or not usage.units:
        return usage
    meter = _image_meter(option, work)
    amounts = {meter if name == IMAGES else name: amount for name, amount in usage.units}
    return msgspec.structs.replace(usage, units=units_of(amounts))


def is_known(option: Option, work: Work) -> bool:
    """Whether all that is charged for is known before the answer: what a provider does not tell need not be guessed."""
    rates, band = option.price.bands[0].units, option.price.bands[0].rates
    if work.sound_ms:
        return SOUND_IN in rates and work.sound_read
    if work.characters:
        return CHARACTERS in rates
    if work.images:
        return "image.output" not in rates
    return not (band.input or band.output or SEARCH in rates)


def _taken(option: Option, work: Work, prompt: int, output: int, *, most: bool) -> Usage:
    rates = option.price.bands[0].units
    amounts = {meter: calls if most else likely for meter, likely, calls in work.tools}
    if work.images:
        amounts[_image_meter(option, work)] = work.images
        if "image.output" in rates:
            amounts["image.output"] = output
    if work.pictures:
        seen = work.pictures * (MOST_PICTURE_TOKENS if most else PICTURE_TOKENS)
        prompt += seen
        amounts["image.input"] = seen
    sound_ms = work.sound_most_ms if most else work.sound_ms
    if sound_ms and SOUND_IN in rates:
        amounts[SOUND_IN] = -(-sound_ms // SECOND_MS) * SECOND_MS
    elif sound_ms:
        heard = min(-(-sound_ms // SOUND_MS_A_TOKEN), option.context_window)
        prompt = min(prompt + heard, option.context_window) if most else prompt + heard
        amounts["audio.input"] = heard
    if work.characters and CHARACTERS in rates:
        amounts[CHARACTERS] = work.characters
    elif work.characters:
        bound = SPEECH_PAUSE + MOST_SPEECH_TOKENS * work.characters
        output = min(bound if most else -(-SPEECH_MILLI * work.characters // 1000), option.max_output)
        amounts["audio.output"] = output
    if work.documents and SEARCH in rates:
        documents = work.documents + (prompt * 2 if most else prompt) // CHUNK_TOKENS
        amounts[SEARCH] = -(-documents // DOCUMENTS_A_SEARCH)
    elif work.documents:
        prompt += work.repeated if most else work.repeated // BYTES_A_TOKEN
    return Usage(prompt, output, units=units_of(amounts))


def _image_meter(option: Option, work: Work) -> str:
    """Where each quality and size has its price: that of what was ordered, or what is made where nothing was, which the
    catalog lists first.
    """
    kinds = [meter for meter in option.price.bands[0].units if meter.startswith(f"{IMAGES}/")]
    if not kinds:
        return IMAGES
    _, quality, size = kinds[0].split("/")
    return f"{IMAGES}/{work.quality or quality}/{work.size or size}"
