"""When a provider wants to be asked again, in whichever header it says so.

Belongs here: reading Retry-After in its forms, and the dialects' reset times. Does not belong here: how long we then
wait (`forwarding`).

    retry-after-ms, x-ms-retry-after-ms     milliseconds (OpenAI and Azure)
    retry-after                             seconds, whole or not, or an HTTP date (RFC 9110, 10.2.3)
"""

from __future__ import annotations

import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_DAY_MS: Final = 86_400_000
_IN_MS: Final = ("retry-after-ms", "x-ms-retry-after-ms")
_NUMBER: Final = re.compile(r"\d{1,12}(?:\.\d{0,9})?", re.ASCII)
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|us|h|m|s)", re.ASCII)
_UNITS: Final = {"us": 0.001, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}


def retry_after_ms(headers: Mapping[str, str], now_ms: int) -> int | None:
    """What a response asks for, in ms from now; None where it asks for nothing that could be meant.

    Args:
        headers: by lower-case names.
        now_ms: the machine's time in ms since the epoch, for dates.
    """
    for name in _IN_MS:
        found = _number(headers.get(name))
        if found is not None:
            return _sane(found)
    said = headers.get("retry-after")
    if not said:
        return None
    seconds = _number(said)
    if seconds is not None:
        return _sane(seconds * 1000)
    try:
        date = parsedate_to_datetime(said)
    except ValueError:
        return None
    return _sane(max(date.timestamp() * 1000 - now_ms, 0))


def duration_ms(text: str) -> int | None:
    """A duration such as ``6m0s``, ``1.5s`` or ``30ms``, or bare seconds, in ms rounded up; None for anything else."""
    seconds = _number(text)
    if seconds is not None:
        return _ceil(seconds * 1000)
    parts = _PART.findall(text)
    if not parts or "".join(value + unit for value, unit in parts) != text:
        return None
    return _ceil(sum(float(value) * _UNITS[unit] for value, unit in parts))


def _number(text: str | None) -> float | None:
    text = (text or "").strip()
    return float(text) if _NUMBER.fullmatch(text) else None


def _sane(ms: float) -> int | None:
    """Whole ms; None beyond a day: nobody waits for that, and it is mostly an error in units."""
    return _ceil(ms) if ms <= _DAY_MS else None


def _ceil(ms: float) -> int:
    return -int(-ms // 1)
