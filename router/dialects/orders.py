"""What a caller asks of the router itself: `x-costrouter-*` headers, or the same names in the body's metadata.

Belongs here: reading and checking these orders; they mean the same in every dialect. Does not belong here: acting
on them. A header wins over metadata.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from router.core.errors import RouterError
from router.core.money import parse_usd
from router.core.units import milli

PREFIX: Final = "x-costrouter-"
MAX_TAGS: Final = 8
_TAG: Final = re.compile(r"[A-Za-z0-9_.-]{1,32}=[A-Za-z0-9_.:/@ -]{1,64}")
_WORD: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class Orders(msgspec.Struct, frozen=True):
    """What the caller asked of us. Everything is optional."""

    policy: str | None = None
    max_cost_pico: int | None = None
    quality_milli: int | None = None
    tags: tuple[str, ...] = ()
    unit: str = ""
    task: str | None = None
    session: str = ""
    explain: bool = False


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
            found[field] = read(value)
        except ValueError as error:
            raise RouterError("invalid_request", f"{name}: {error}", param=name) from None
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


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("write true or false")
    return text.lower() == "true"


_READERS: Final[dict[str, tuple[str, Callable[[str], object]]]] = {
    PREFIX + "policy": ("policy", _word),
    PREFIX + "max-cost-usd": ("max_cost_pico", parse_usd),
    PREFIX + "quality": ("quality_milli", milli),
    PREFIX + "tags": ("tags", _tags),
    PREFIX + "unit": ("unit", _word),
    PREFIX + "task": ("task", _word),
    PREFIX + "session": ("session", _word),
    PREFIX + "explain": ("explain", _flag),
}
