"""How many tokens a prompt has: certain bounds, safe cuts, an estimate, and what templates add.

Belongs here: arithmetic over texts, with the counting function handed in. Does not belong here: the encoder and
its threads (`router.adapters.counting.encoders`), image formulas (`router.core.images`), which model has which ratio.

What is said of bytes and cuts holds for o200k_base and cl100k_base: both split a text by a pattern, then merge
the bytes of each piece into tokens.
"""

from __future__ import annotations

import math
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec

from router.core.images import Image
from router.core.values import TokenRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from router.core.density import Density

LONGEST_TOKEN: Final = 128
"""Bytes of the longest token in either encoding (a test looks)."""
EXACT_BYTES: Final = 4096
"""At most this much text is counted exactly on the spot, unless it is prose; of more than that, windows are sampled."""
GLANCE_BYTES: Final = 400
"""Prose of at least this much is judged by a glance first; less of it is counted as fast."""
GLANCES: Final = 3
GLANCE_CHARS: Final = 64
PROSE_TOKENS: Final = 12
PROSE_CHARS: Final = 54
"""What is known of prose before the glance, as if so many tokens had been seen in so many characters (4.5 a token)."""
GLANCE_LOW: Final = 750
GLANCE_HIGH: Final = 1400
"""The likely range after a glance, in thousandths of what is expected (benchmarks/counting.py: 97 % held the truth)."""
LOOKUP_CHARS: Final = 32_768
MISSED_CHARS: Final = 8192
"""Known counts are asked for texts up to the first size, until the second amount was asked for in vain."""
WINDOWS: Final = 16
WINDOW_CHARS: Final = 48
"""Many small windows: at equal cost they judged mixed text four times better than 3 of 1 KB (benchmarks/counting.py)."""
LIKELY_ERRORS: Final = 2.0
LIKELY_SHARE: Final = 0.04
"""The likely range: so many standard errors and such a share of the expectation to either side; ≥ 97 % held the truth."""
SLICE_CHARS: Final = 65_536
"""Most characters given to the encoder at once: a run of about a million blanks makes it panic."""
CUT_SEARCH: Final = 1024
"""Characters before a slice's end in which a safe cut is looked for."""

REPLY_TOKENS: Final = 3
TOOLS_TOKENS: Final = 12
TOOL_TOKENS: Final = 8
"""What opens the reply, closes the tool list and frames a tool, beside its schema's text.

Source: OpenAI Cookbook, "How to count tokens with tiktoken" (2024: 3, 12, 7 or 10 a function by model).
"""
AUDIO_CLIP_TOKENS: Final = 1920
"""A clip whose length nobody said: one minute at 32 tokens a second (Google, "Understand and count tokens", 2026)."""

_find_cut: Final = re.compile(
    r"[^\W_][ \n\r\t.,;:!?()\[\]{}<>\"/=+*\-\u2026\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f]|[A-Za-z][0-9]|[0-9][A-Za-z]"
).search


class PromptShape(msgspec.Struct, frozen=True):
    """Everything in a request that costs prompt tokens. Holds prompt text: not for logs."""

    texts: tuple[str, ...]
    """Each message's or part's text, and each tool's schema as JSON."""
    messages: int
    tools: int = 0
    images: tuple[Image, ...] = ()
    audio_clips: int = 0


def byte_length(text: str) -> int:
    """Bytes of UTF-8 that the encoder sees: a lone surrogate becomes U+FFFD, a pair of them one character."""
    if text.isascii():
        return len(text)
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return len(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode())


def bounds(byte_length: int) -> tuple[int, int]:
    """Certain bounds on the tokens of a text: ``ceil(bytes / 128)`` and ``bytes``.

    A token stands for 1 to 128 bytes. Both ends are met, by runs of 128 blanks and by CJK of plane 2.
    """
    return -(-byte_length // LONGEST_TOKEN), byte_length


def exactly(tokens: int) -> TokenRange:
    """The range of a count that is known."""
    return TokenRange(tokens, tokens, tokens, tokens, tokens)


def shifted(tokens: TokenRange, more: int) -> TokenRange:
    """The range with tokens added that are known for certain."""
    return TokenRange(
        tokens.low + more,
        tokens.likely_low + more,
        tokens.expected + more,
        tokens.likely_high + more,
        tokens.high + more,
    )


def safe_cut(text: str, start: int, stop: int) -> int | None:
    """The first ``start < place <= stop`` where cutting keeps the count: tokens(left) + tokens(right) = tokens(whole).

    That is after a letter or digit which a blank, common punctuation, or the other of letter and digit follows.
    No alternative of the patterns joins the two, so a piece ends there in the whole text as in the left part, and
    the patterns never look behind. Anywhere else a cut can change the count either way, since merges go by rank
    and not by best fit. Apostrophes are left out for ``'s``; marks and rarer signs because Python and the encoder
    may know different versions of Unicode.
    """
    while found := _find_cut(text, start, stop + 1):
        start = found.end() - 1
        if text[start - 1].isascii() or text[start - 1].isalpha():
            return start
    return None


def slices(text: str) -> Iterator[str]:
    """The text in pieces of at most `SLICE_CHARS`, cut safely where there is a place in the last `CUT_SEARCH`.

    Only text without any such place (a run of one letter, of blanks, of signs) is cut regardless: there the sum of
    the pieces' counts may differ from the whole by a token or so per cut.
    """
    start = 0
    while len(text) - start > SLICE_CHARS:
        stop = start + SLICE_CHARS
        cut = safe_cut(text, stop - CUT_SEARCH, stop) or stop
        yield text[start:cut]
        start = cut
    yield text[start:]


def estimate(
    texts: Sequence[str],
    count_now: Callable[[str], int],
    known: Callable[[str], int | None] | None = None,
    *,
    glances: bool = False,
    density: Density | None = None,
) -> TokenRange:
    """Tokens of all texts together, in bounded time: exact when little is uncounted, else judged by windows.

    Texts are taken as separate, as chat templates keep them; tokens that a template adds are not included.
    ``low`` and ``high`` are certain (counted texts and safely cut windows exactly, the rest by `bounds`). The likely
    range comes from how the windows differ; text made to deceive the windows escapes it, but not the certain range.

    Args:
        texts: the prompt's texts.
        count_now: exact tokens of a text; called for `EXACT_BYTES` of text, or for 16 windows of 48 to 144 characters.
        known: the count of a text that was counted before, or None without counting.
        glances: whether up to `EXACT_BYTES`, too, prose is judged, by three small windows; else all of it is counted.
        density: of prose from the same place; then only some of it is looked at for its windows.
    """
    size = 0
    for text in texts:
        size += len(text) if text.isascii() else byte_length(text)
    if size <= EXACT_BYTES:
        if size < GLANCE_BYTES or not glances:
            return exactly(sum(count_now(text) for text in texts if text))
        return _glanced(texts, count_now, density)
    counted, rest = _look_up(texts, known)
    if len(rest) < len(texts):
        size = sum(map(byte_length, rest))
    if size <= EXACT_BYTES:
        return exactly(counted + sum(map(count_now, rest)))
    return _sampled(rest, size, count_now, counted)


def fixed_overhead(shape: PromptShape) -> int:
    """Template tokens that do not depend on the model: the reply's opening, tool frames, audio of unknown length."""
    tools = TOOLS_TOKENS + shape.tools * TOOL_TOKENS if shape.tools else 0
    return REPLY_TOKENS + tools + shape.audio_clips * AUDIO_CLIP_TOKENS


def _look_up(texts: Sequence[str], known: Callable[[str], int | None] | None) -> tuple[int, list[str]]:
    """(sum of the known counts, the texts without one, none empty). A growing chat misses only at its end."""
    counted = missed = 0
    rest = []
    for text in texts:
        if not text:
            continue
        tokens = known(text) if known and missed < MISSED_CHARS and len(text) <= LOOKUP_CHARS else None
        if tokens is None:
            missed += len(text)
            rest.append(text)
        else:
            counted += tokens
    return counted, rest


def _glanced(texts: Sequence[str], count_now: Callable[[str], int], density: Density | None) -> TokenRange:
    """Short texts: what reads like prose by its density, or by three small windows; the rest counted."""
    counted = low = expected = high = 0
    for text in texts:
        size = len(text)
        if size < GLANCE_BYTES or not _reads_like_prose(text):
            counted += count_now(text) if text else 0
            continue
        tokens = None if density is None else density.judge(size)
        if tokens is None:
            tokens = _looked_at(text, size, count_now)
            if density is not None:
                density.learn(size, tokens)
        low += -(-size // LONGEST_TOKEN)
        expected += tokens
        high += size
    likely = max(low, expected * GLANCE_LOW // 1000), min(high, -(-expected * GLANCE_HIGH // 1000))
    judged = TokenRange(low, likely[0], min(expected, high), likely[1], high)
    return shifted(judged, counted) if counted else judged


def _looked_at(text: str, size: int, count_now: Callable[[str], int]) -> int:
    """What three small windows of a prose text let expect of it."""
    seen = ""
    for number in range(GLANCES):
        place = (2 * number + 1) * size // (2 * GLANCES) - GLANCE_CHARS // 2
        # From blank to blank, so that what stands together here is counted as where it came from.
        seen += text[text.find(" ", place) : text.rfind(" ", place, place + GLANCE_CHARS)]
    return -(-size * (PROSE_TOKENS + count_now(seen)) // (PROSE_CHARS + len(seen)))


def _reads_like_prose(text: str) -> bool:
    """Words of common length between single blanks, in ASCII: there a token has 4 to 5 characters, nearly always."""
    return text.isascii() and 4 * (blanks := text.count(" ")) <= len(text) <= 9 * blanks


def _sampled(texts: Sequence[str], size: int, count_now: Callable[[str], int], counted: int) -> TokenRange:
    """Judges ``size`` bytes of text by windows at the middles of equal stretches, and adds what is ``counted``."""
    chars = sum(map(len, texts))
    densities = []
    sure_tokens = sure_bytes = 0
    for window, safe in _windows(texts, chars):
        tokens = count_now(window)
        densities.append(tokens / len(window))
        if safe:
            sure_tokens += tokens
            sure_bytes += byte_length(window)
    number = len(densities)  # at least 2: more than 1,024 characters, of which a window uses 144 at most
    expected = round(chars * sum(densities) / number)
    # Neighbours' differences: a prompt that changes kind once or twice is not taken for a wild one.
    squares = sum((a - b) ** 2 for a, b in pairwise(densities))
    error = math.sqrt(squares / (2 * number * (number - 1))) * chars
    margin = math.ceil(LIKELY_ERRORS * error + LIKELY_SHARE * expected)
    low, high = bounds(size - sure_bytes)
    low += sure_tokens
    high += sure_tokens
    expected = min(max(expected, low), high)
    judged = TokenRange(low, max(low, expected - margin), expected, min(high, expected + margin), high)
    return shifted(judged, counted) if counted else judged


def _windows(texts: Sequence[str], chars: int) -> Iterator[tuple[str, bool]]:
    """(window, whether both its cuts are safe): at most `WINDOWS`, spread over all texts, none overlapping another.

    The same texts always give the same windows. A text shorter than a window is taken whole.
    """
    remaining = iter(texts)
    text, begin, used = next(remaining), 0, 0
    for number in range(WINDOWS):
        place = (2 * number + 1) * chars // (2 * WINDOWS) - WINDOW_CHARS // 2
        while place >= begin + len(text):
            begin += len(text)
            text, used = next(remaining), 0
        start = max(used, min(place - begin, len(text) - WINDOW_CHARS))
        if start < len(text):
            start, opened = _cut_near(text, start)
            used, closed = _cut_near(text, start + WINDOW_CHARS)
            yield text[start:used], opened and closed


def _cut_near(text: str, place: int) -> tuple[int, bool]:
    """(a safe cut at or soon after the place, True), or (the place itself, False)."""
    if place == 0 or place >= len(text):
        return min(place, len(text)), True
    cut = safe_cut(text, place, place + WINDOW_CHARS)
    return (place, False) if cut is None else (cut, True)
