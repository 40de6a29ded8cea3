"""How people write a policy's values: floors, shares, spans, hours, modes; text to plain figures.

Belongs here: reading one value. Does not belong here: which key takes which (`schema.py`), durations and latency
limits (`units`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

from router.core.catalog.catalog import did_you_mean
from router.core.policy.conditions import EVERY_DAY, Span
from router.core.policy.policy import CONFIDENCES, Floor
from router.core.units import milli, milliseconds

_RELATIVE: Final = re.compile(r"(\S+)\s+of\s+reference")
_COMPARED: Final = re.compile(r"(>=|<=|>|<)\s*(\S.*)")
_COUNT: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kM]?)", re.ASCII)
_FULLNESS: Final = re.compile(r"(\d{1,4}(?:\.\d)?)\s*%", re.ASCII)
_SPAN_OF_DAY: Final = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})", re.ASCII)
_LONGEST_CACHE_MS: Final = 30 * 86_400_000
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def floor(text: str) -> Floor:
    """A least quality: ``0.60``, ``>= 95% of reference``. Raises ValueError."""
    value = text.strip().removeprefix(">=").strip()
    match = _RELATIVE.fullmatch(value)
    return Floor(milli=milli(match[1] if match else value), relative=match is not None)


def confidence(text: str) -> int:
    """One of `CONFIDENCES`, in thousandths. Raises ValueError."""
    found = milli(text)
    if found not in CONFIDENCES:
        raise ValueError(f"{text!r} is not one of {', '.join(f'{known // 10}%' for known in CONFIDENCES)}")
    return found


def likelihood(text: str) -> int:
    """A share above 0, in thousandths. Raises ValueError."""
    found = milli(text)
    if not found:
        raise ValueError(f"{text!r} asks for nothing; leave the key out")
    return found


def instead(text: str) -> str | None:
    """``refuse`` (None), or the model of ``use MODEL``. Raises ValueError."""
    words = text.split()
    if words == ["refuse"]:
        return None
    if len(words) != 2 or words[0] != "use":
        raise ValueError(
            f"{text!r} must be `refuse`, or `use` and the id of a model, such as `use deepseek/deepseek-flash`"
        )
    return words[1]


def mode(text: str) -> tuple[str, int]:
    """(mode, its share in thousandths): ``observe``, ``live``, ``canary 10%``. Raises ValueError."""
    words = text.split()
    if words in (["observe"], ["live"]):
        return words[0], 0
    if len(words) == 2 and words[0] == "canary":
        return "canary", likelihood(words[1])
    hint = did_you_mean(words[0] if words else "", ("observe", "canary", "live"))
    raise ValueError(f"{text!r} is none of observe, canary 10%, live{hint}")


def handling(*known: str) -> Callable[[str], tuple[str, int]]:
    """A reader of ``without_data``: (word, 0) of the known ones, or (``probe``, its share in thousandths)."""

    def read(text: str) -> tuple[str, int]:
        words = text.split()
        if " ".join(words) in known:
            return " ".join(words), 0
        if len(words) == 2 and words[0] == "probe":
            return "probe", likelihood(words[1])
        raise ValueError(f"{text!r} is none of {', '.join(known)}, probe 2%{did_you_mean(text, known)}")

    return read


def _count(text: str) -> int:
    match = _COUNT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a count; write 4000, 100k or 1M")
    value = Decimal(match[1]) * {"": 1, "k": 1000, "M": 1_000_000}[match[2]]
    if value != value.to_integral_value():
        raise ValueError(f"{text!r} is not a whole number")
    return int(value)


def _fullness(text: str) -> int:
    match = _FULLNESS.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a share of a budget; write 80%")
    whole, _, tenth = match[1].partition(".")
    return int(whole) * 10 + int(tenth or "0")


def _span(read: Callable[[str], int], example: str) -> Callable[[Sequence[str]], Span]:
    """A reader of one or more comparisons that must all hold."""

    def reader(texts: Sequence[str]) -> Span:
        low, high = 0, None
        for text in texts:
            match = _COMPARED.fullmatch(text.strip())
            if match is None:
                raise ValueError(f"{text!r} is not a comparison; write one such as {example!r}")
            value = read(match[2].strip())
            if match[1][0] == ">":
                low = max(low, value + (match[1] == ">"))
            else:
                bound = value + (match[1] == "<=")
                high = bound if high is None else min(high, bound)
        return Span(low, high)

    return reader


deadlines: Final = _span(milliseconds, ">= 1h")
"""Comparisons of the time left, in milliseconds."""
counts: Final = _span(_count, "> 100k")
"""Comparisons of tokens."""
fullness: Final = _span(_fullness, ">= 80%")
"""Comparisons of what is used of a budget, in thousandths."""


def cache_ttl(text: str) -> int:
    """How long answers are kept, in milliseconds. Raises ValueError."""
    found = milliseconds(text)
    if not 1_000 <= found <= _LONGEST_CACHE_MS:
        raise ValueError(f"{text!r} must lie between 1s and 30d")
    return found


def days(texts: Sequence[str]) -> int:
    """Days of the week as bits, Monday first: ``[mon-fri, sun]``. Raises ValueError."""
    found = 0
    for text in texts:
        first, _, last = (part.strip().lower() for part in text.partition("-"))
        for name in filter(None, (first, last)):
            if name not in _DAYS:
                raise ValueError(f"{text!r} is no day; write {', '.join(_DAYS)}, or mon-fri")
        start = _DAYS.index(first)
        length = (_DAYS.index(last) - start) % 7 + 1 if last else 1
        for day in range(start, start + length):
            found |= 1 << day % 7
    return found or EVERY_DAY


def span_of_day(text: str) -> tuple[int, int]:
    """(start, end) in minutes of ``22:00-06:00``, which may run past midnight. Raises ValueError."""
    match = _SPAN_OF_DAY.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no span of a day; write one such as 09:00-17:30, or 22:00-06:00")
    start, end = (int(match[n]) * 60 + int(match[n + 1]) for n in (1, 3))
    if max(int(match[2]), int(match[4])) > 59 or start > 1439 or end > 1440:
        raise ValueError(f"{text!r} names a time that no day has")
    if start == end:
        raise ValueError(f"{text!r} is empty; a whole day is 00:00-24:00")
    return start, end
