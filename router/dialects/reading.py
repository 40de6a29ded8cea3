"""Reading a whole body for a translation: checked access to its parts, and notes of what not every target can express.

Belongs here: what readers of every dialect need. Does not belong here: any dialect's fields.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, Literal, NoReturn

import msgspec

from router.core.errors import RouterError
from router.core.wire import Wire
from router.dialects.json_object import TopLevel
from router.dialects.neutral import Media

_SHOWN: Final = 60
"""Characters of a name of the caller's that an error or a reason repeats."""


class Notes:
    """Features of a request that some target cannot express, each with words for the first place where it stands."""

    __slots__ = ("_words",)

    def __init__(self) -> None:
        self._words: dict[Wire, str] = {}

    def add(self, feature: Wire, words: str) -> None:
        """One more; the first words for a feature stay."""
        self._words.setdefault(feature, words)

    def others(self, feature: Wire, given: Mapping[str, Any], known: Collection[str], where: str = "") -> None:
        """A note for the first member that is none of those known and holds something."""
        for name, value in given.items():
            if name not in known and value is not None:
                self.add(feature, f"the field {where}{name[:_SHOWN]}")
                return

    @property
    def wire(self) -> Wire:
        """All features together."""
        found = Wire(0)
        for feature in self._words:
            found |= feature
        return found

    @property
    def notes(self) -> tuple[tuple[int, str], ...]:
        """By feature."""
        return tuple((feature.value, words) for feature, words in self._words.items())


def members(top: TopLevel) -> dict[str, Any]:
    """Every member of a body, to its last value.

    Raises:
        RouterError: ``invalid_request`` naming one that cannot be read: what routing passes over has not been looked at.
    """
    return {name: whole(name, value) for name, value in top.members.items()}


def whole(name: str, value: bytes | msgspec.Raw) -> Any:
    """One member of a body, to its last value. Raises as `members` does."""
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return wrong(name[:_SHOWN], "JSON in UTF-8, nested less deeply, with numbers of a size that can be read")


def wrong(where: str, wanted: str) -> NoReturn:
    """Raises ``invalid_request`` for a field that is not what it must be."""
    raise RouterError("invalid_request", f"{where} must be {wanted}.", param=where)


def an_object(given: object, where: str) -> dict[str, Any]:
    """An object, or a refusal that names the field."""
    return given if isinstance(given, dict) else wrong(where, "an object")


def a_list(given: object, where: str) -> list[Any]:
    """A list, or a refusal; nothing counts as an empty one."""
    if given is None:
        return []
    return given if isinstance(given, list) else wrong(where, "a list")


def a_text(given: object, where: str) -> str:
    """A text, or a refusal."""
    return given if isinstance(given, str) else wrong(where, "a text")


def optional_text(given: object, where: str) -> str:
    """A text, or "" for nothing."""
    return "" if given is None else a_text(given, where)


def json_text(given: object) -> str:
    """A value as JSON."""
    return msgspec.json.encode(given).decode()


def json_object(text: str) -> dict[str, Any] | None:
    """The object that a text of JSON holds; an empty text holds an empty one. None for anything else."""
    if not text.strip():
        return {}
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def media_at(kind: Literal["image", "file"], url: str, *, name: str = "", detail: str = "") -> Media:
    """What a URL points to, or holds itself (``data:image/png;base64,…``)."""
    head, comma, data = url.partition(",")
    if comma and head.startswith("data:") and head.endswith(";base64"):
        return Media(kind, mime=head[5:-7].partition(";")[0], data=data, name=name, detail=detail)
    return Media(kind, url=url, name=name, detail=detail)
