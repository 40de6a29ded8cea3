"""What a caller asks of the router itself: `x-costrouter-*` headers, or the same names in the body's metadata.

Belongs here: reading and checking these orders; they mean the same in every dialect. Does not belong here: acting
on them. A header wins over metadata; a name that is none is refused, since an order misspelt is an order ignored.

What is due when is known only once the store's time is (`due_ms`).
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Final, NoReturn

import msgspec

from router.core.errors import RouterError
from router.core.money import parse_usd
from router.core.units import milli, milliseconds

PREFIX: Final = "x-costrouter-"
_LENGTH: Final = len(PREFIX)
MAX_TAGS: Final = 8
_TAG: Final = re.compile(r"[A-Za-z0-9_.-]{1,32}=[A-Za-z0-9_.:/@ -]{1,64}")
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_USER: Final = re.compile(r"[^\x00-\x1f\x7f]{1,128}")
_WORD: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class Orders(msgspec.Struct, frozen=True):
    """What the caller asked of us. Everything is optional."""

    policy: str | None = None
    max_cost_pico: int | None = None
    quality_milli: int | None = None
    tags: tuple[str, ...] = ()
    unit: str = ""
    session: str = ""
    """Requests of one session are treated alike."""
    task: str | None = None
    deadline: str = ""
    """When the answer must be there: a duration from now, or RFC 3339."""
    claims: tuple[tuple[str, str], ...] = ()
    """(``user``, ``team`` or ``app``, value): on whose behalf it is sent, if the key delegates that."""
    provider: str = ""
    """Whose own key the request brings along."""
    explain: bool = False
    """Whether the answer is to carry the decision's explanation."""


NONE: Final = Orders()


def read_orders(headers: Mapping[str, str], metadata: Mapping[str, str]) -> Orders:
    """Orders from headers (any case-insensitive mapping) and metadata.

    Raises:
        RouterError: ``invalid_request`` naming the header and the form that would be right.
    """
    given = dict(metadata)
    for name, value in headers.items():
        if len(name) > _LENGTH and (lower := name.lower()).startswith(PREFIX) and value:
            given[lower[_LENGTH:]] = value
    return _read(given) if given else NONE


def _read(given: Mapping[str, str]) -> Orders:
    found: dict[str, Any] = {}
    claims = []
    for word, value in given.items():
        name = PREFIX + word
        field, read = _READERS.get(word) or _unknown(name)
        if not value:
            continue
        try:
            order = read(value)
        except ValueError as error:
            raise RouterError("invalid_request", f"{name}: {error}", param=name) from None
        if field == "claims":
            claims.append((word, order))
        elif field:
            found[field] = order
    if claims:
        found["claims"] = tuple(sorted(claims))
    return Orders(**found) if found else NONE


def _unknown(name: str) -> NoReturn:
    near = get_close_matches(name.removeprefix(PREFIX), _READERS, n=1, cutoff=0.6)
    hint = f"did you mean {PREFIX}{near[0]}?" if near else f"there are {', '.join(PREFIX + word for word in _READERS)}."
    raise RouterError("invalid_request", f"{name[:80]} is not a header of the router's; {hint}", param=name[:80])


def _tags(text: str) -> tuple[str, ...]:
    tags = tuple(sorted({tag.strip() for tag in text.split(",")}))
    if len(tags) > MAX_TAGS or not all(_TAG.fullmatch(tag) for tag in tags):
        raise ValueError(f"write up to {MAX_TAGS} tags as name=value, separated by commas")
    return tags


def _word(text: str) -> str:
    if _WORD.fullmatch(text) is None:
        raise ValueError("write up to 64 letters, digits, and any of _ . : -")
    return text


def _user(text: str) -> str:
    if _USER.fullmatch(text) is None:
        raise ValueError("write up to 128 printable characters")
    return text


def _label(text: str) -> str:
    if _LABEL.fullmatch(text) is None:
        raise ValueError("write up to 64 small letters, digits, and any of _ . -")
    return text


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError("write true or false")
    return text.lower() == "true"


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


def due_ms(text: str, now_ms: int) -> int:
    """When a deadline as it was ordered falls due, in ms since the epoch."""
    if _TIME.fullmatch(text) is None:
        return now_ms + milliseconds(text)
    return round(dt.datetime.fromisoformat(text.upper()).timestamp() * 1000)


_READERS: Final[dict[str, tuple[str, Callable[[str], object]]]] = {
    "policy": ("policy", _word),
    "max-cost-usd": ("max_cost_pico", parse_usd),
    "quality": ("quality_milli", milli),
    "tags": ("tags", _tags),
    "unit": ("unit", _word),
    "task": ("task", _word),
    "user": ("claims", _user),
    "team": ("claims", _label),
    "app": ("claims", _label),
    "deadline": ("deadline", _deadline),
    "webhook": ("", str),
    "session": ("session", _word),
    "explain": ("explain", _truth),
    "provider": ("provider", _label),
}
