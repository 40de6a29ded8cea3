"""A JSON object's top level as slices of the caller's own bytes: read what routing needs, change what it must.

Belongs here: cutting and putting together. Nothing is parsed below the top level, and a value that is not replaced
stays the caller's bytes to the letter. Repeated keys are refused, because two parsers may disagree on which counts.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from router.core.errors import RouterError

_TOP: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_KEY: Final = re.compile(rb'[ \t\r\n]*"[^"\\]*(?:\\.[^"\\]*)*"[ \t\r\n]*:[ \t\r\n]*')
_AFTER_VALUE: Final = re.compile(rb"[ \t\r\n]*[,}]")
_START: Final = re.compile(rb"[ \t\r\n]*\{")


class TopLevel:
    """The members of a JSON object, each value as raw bytes.

    Args:
        body: the request body as it arrived.

    Raises:
        RouterError: ``invalid_request`` for anything but one JSON object without repeated keys.
    """

    __slots__ = ("members",)

    def __init__(self, body: bytes) -> None:
        try:
            members = _TOP.decode(body)
        except RecursionError:
            raise RouterError("invalid_request", "The body is nested too deeply to be read.") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RouterError("invalid_request", f"The body must be one JSON object: {error}") from None
        self.members: dict[str, msgspec.Raw] = members
        # Quotes, colon and comma of each member: a body of just that length has no white space, and no second value.
        length = 1
        for key, value in members.items():
            length += len(key) + len(value) + 4
        if length != len(body) and members and _has_repeated_key(body, members):
            raise RouterError("invalid_request", "A key of the body stands there more than once; send each key once.")

    def get(self, key: str) -> bytes | None:
        """A member's value as it stands in the body, or None."""
        value = self.members.get(key)
        return None if value is None else bytes(value)

    def edited(self, changes: dict[str, bytes | None]) -> bytes:
        """The object with these members' values replaced, added, or (None) left out; all else to the letter."""
        merged: dict[str, bytes | msgspec.Raw | None] = {**self.members, **changes}
        pieces: list[bytes | msgspec.Raw] = []
        for key, value in merged.items():
            if value is not None:
                pieces += (b",", msgspec.json.encode(key), b":", value)
        pieces[:1] = [b"{"]
        pieces.append(b"}")
        return b"".join(pieces)


def _has_repeated_key(body: bytes, members: dict[str, msgspec.Raw]) -> bool:
    """Walk the members in order. The decoder keeps a repeated key's last value at its first place, so the walk
    meets other bytes there, or has members left over at the end.
    """
    start = _START.match(body)
    position = start.end() if start else 0
    for value in members.values():
        key = _KEY.match(body, position)
        begin = key.end() if key else position
        after = _AFTER_VALUE.match(body, begin + len(value)) if body.startswith(bytes(value), begin) else None
        if after is None:
            return True
        position = after.end()
    return body[position - 1 : position] != b"}"
