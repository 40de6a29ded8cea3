"""The head of an upstream's response: bounds on it, its names, and what of it cannot be trusted.

Belongs here: pure checks of header lines. Does not belong here: the connection that they came on (connection.py).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_HEAD: Final = 64 * 1024
MAX_FIELDS: Final = 128
"""Bounds on a response's head, interim responses and trailers included: bytes, and header lines."""

OVERSIZE: Final = f"a head over {MAX_HEAD} bytes"


@lru_cache(maxsize=1024)
def header_name(raw: bytes) -> str:
    """The name in lower case."""
    return raw.decode("ascii").lower()


def head_flaw(status: int, headers: Mapping[str, str], fields: int, size: int) -> str:
    """What is wrong with a head of so many lines and bytes; the empty text if nothing is."""
    coding = headers.get("transfer-encoding")
    if fields > MAX_FIELDS:
        return f"more than {MAX_FIELDS} header lines"
    if size > MAX_HEAD and sum(len(key) + len(text) + 4 for key, text in headers.items()) > MAX_HEAD:
        return OVERSIZE
    if coding is not None and coding.lower() != "chunked":
        return "a transfer-encoding other than chunked"
    if status < 100:
        return "a status below 100"
    return "status 101 without having been asked to switch protocols" if status == 101 else ""


def promised_idle(keep_alive: str) -> float:
    """Seconds that an idle connection may be used for, one less than ``Keep-Alive: timeout=N`` promises."""
    for part in keep_alive.split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "timeout" and value.isdecimal() and len(value) < 10:
            return int(value) - 1
    return math.inf
