"""The head of a plain request, read at a glance: what nearly every SDK sends, and nothing else.

Belongs here: telling whether bytes are the head of an ordinary POST, and what stands in it. Does not belong here: every
other form that HTTP allows (chunks, continuations, upgrades, folded or repeated fields, other versions): those get None,
and aiohttp's parser is asked, so there is one opinion about them.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

LONGEST_HEAD: Final = 16_384
"""Bytes. Longer ones are aiohttp's to refuse."""
_MOST_KNOWN: Final = 1_024
_HEAD: Final = re.compile(
    rb"POST (/[a-z0-9/_.-]{1,80}) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e]*\r\n)+)\r\n"
)
_LENGTH: Final = re.compile(r"0|[1-9][0-9]{0,8}")
_UNUSUAL: Final = frozenset({"transfer-encoding", "expect", "upgrade", "content-encoding", "trailer", "te"})
_KEEPS: Final = {"keep-alive": True, "close": False}


class Head(msgspec.Struct, frozen=True):
    """What the head of an ordinary POST says. Shared by requests that begin alike, so nothing in it may be changed."""

    path: str
    headers: dict[str, str]
    """By name in small letters; no name comes twice."""
    body_bytes: int
    keep_alive: bool
    size: int
    """Bytes of the head itself."""


class Heads:
    """Reads heads, and knows the last ones again: an SDK's differ in nothing but the length of the body."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, Head | None] = {}

    def read(self, data: bytes) -> Head | None:
        """The head that ``data`` begins with; None where it is not whole, or not an ordinary POST."""
        end = data.find(b"\r\n\r\n", 0, LONGEST_HEAD)
        if end < 0:
            return None
        text = data[: end + 4]
        try:
            return self._known[text]
        except KeyError:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            head = self._known[text] = _parsed(text)
            return head


def _parsed(text: bytes) -> Head | None:
    found = _HEAD.fullmatch(text)
    if found is None:
        return None
    headers: dict[str, str] = {}
    fields = found[2].decode("ascii").split("\r\n")[:-1]
    for field in fields:
        name, _, value = field.partition(":")
        headers[name.lower()] = value.strip(" \t")
    length = headers.get("content-length", "")
    keeps = _KEEPS.get(headers.get("connection", "keep-alive").lower())
    ordinary = (
        len(headers) == len(fields)
        and "host" in headers
        and keeps is not None
        and _LENGTH.fullmatch(length) is not None
        and _UNUSUAL.isdisjoint(headers)
    )
    if not ordinary or keeps is None:
        return None
    return Head(found[1].decode("ascii"), headers, int(length), keeps, len(text))
