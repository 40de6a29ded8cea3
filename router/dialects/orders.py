"""What a caller asks of the router itself: `x-costrouter-*` headers, or the same names in the body's metadata.

Belongs here: reading and checking these orders; they mean the same in every dialect. Does not belong here: acting
on them. A header wins over metadata.

``x-costrouter-deadline`` is checked for its form only: until requests can be put off, every one is served at once, and
so before any deadline.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from router.core.errors import RouterError
from router.core.money import parse_usd
from router.core.units import milli, milliseconds

PREFIX: Final = "x-costrouter-"
MAX_TAGS: Final = 8
_TAG: Final = re.compile(r"[A-Za-z0-9_.-]{1,32}=[A-Za-z0-9_.:/@ -]{1,64}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_WORD: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class Orders(msgspec.Struct, frozen=True):
    """What the caller asked of us. Everything is optional."""

    policy: str | None = None
    max_cost_pico: int | None = None
    quality_milli: int | None = None
    tags: tuple[str, ...] = ()
    unit: str = ""
    task: str | None = None


NONE: Final = Orders()


def read_orders(headers: Mapping[str, str], metadata: Mapping[str, str]) -> Orders:
    """Orders from headers (any case-insensitive mapping) and metadata.

    Raises:
        RouterError: ``invalid_request`` naming the header and the form that would be right.
    """
    found: dict[str, Any] = {}
    for name, (field, read) in _READERS.items():
        value = headers.get(name) or (metadata and metadata.get(name.removeprefix(PREFIX)))
        if not value:
            continue
        try:
            order = read(value)
        except ValueError as error:
            raise RouterError("invalid_request", f"{name}: {error}", param=name) from None
        if field:
            found[field] = order
    return Orders(**found) if found else NONE


def _tags(text: str) -> tuple[str, ...]:
    tags = tuple(sorted({tag.strip() for tag in text.split(",")}))
    if len(tags) > MAX_TAGS or not all(_TAG.fullmatch(tag) for tag in tags):
        raise ValueError(f"write up to {MAX_TAGS} tags as name=value, separated by commas")
    return tags


def _word(text: str) -> str:
    if _WORD.fullmatch(text) is None:
        raise ValueError("write up to 64 letters, digits, and any of _ . : -")
    return text


def _deadline(text: str) -> str:
    """RFC 3339, or a duration from now."""
    try:
        if _TIME.fullmatch(text) is None:
            milliseconds(text)
        else:
            dt.datetime.fromisoformat(text.upper())
    except ValueError:
        raise ValueError("write a duration such as 4h, or a time such as 2026-11-23T18:00:00Z") from None
    return text


_READERS: Final[dict[str, tuple[str, Callable[[str], object]]]] = {
    PREFIX + "policy": ("policy", _word),
    PREFIX + "max-cost-usd": ("max_cost_pico", parse_usd),
    PREFIX + "quality": ("quality_milli", milli),
    PREFIX + "tags": ("tags", _tags),
    PREFIX + "unit": ("unit", _word),
    PREFIX + "task": ("task", _word),
    PREFIX + "deadline": ("", _deadline),
}
