"""A multipart form as slices of the caller's own bytes: read what routing needs, change what it must (RFC 7578, RFC 2046).

Belongs here: cutting a form into parts and putting it together. A part that is not replaced stays the caller's bytes to the
letter. Does not belong here: what the parts of any API mean.
"""

from __future__ import annotations

import re
from typing import Final, NoReturn

import msgspec

from router.core.errors import RouterError

MOST_PARTS: Final = 256
MOST_HEAD: Final = 8_192
"""Bytes of one part's headers."""
_BOUNDARY: Final = re.compile(r';\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_NAME: Final = re.compile(rb';\s*name=(?:"((?:[^"\\\r\n]|\\.)*)"|([^\s;"]+))', re.IGNORECASE)
_FILE: Final = re.compile(rb";\s*filename\*?=", re.IGNORECASE)


class Part(msgspec.Struct, frozen=True):
    """One part: where its content lies in the body."""

    name: str
    is_file: bool
    start: int
    end: int


class Form:
    """The parts of a form.

    Args:
        body: as it arrived.
        content_type: the request's header.

    Raises:
        RouterError: ``invalid_request`` for anything but a whole multipart form.
    """

    __slots__ = ("_body", "_delimiter", "content_type", "parts")

    def __init__(self, body: bytes, content_type: str) -> None:
        kind = content_type.partition(";")[0].strip().lower()
        found = _BOUNDARY.search(content_type)
        if kind != "multipart/form-data" or found is None:
            _wrong(f"The body must be multipart/form-data with a boundary; its Content-Type is {content_type[:80]!r}.")
        self.content_type = content_type
        self._body = body
        self._delimiter = b"--" + (found[1] or found[2]).encode("latin-1", "replace")
        self.parts = self._cut()

    def text(self, name: str) -> str | None:
        """A part's content as text; None where there is no such part.

        Raises:
            RouterError: ``invalid_request``: it is there more than once, is a file, or not UTF-8.
        """
        found = [part for part in self.parts if part.name == name]
        if not found:
            return None
        if len(found) > 1:
            _wrong(f"The form's field {name!r} stands there more than once; send it once.", name)
        if found[0].is_file:
            _wrong(f"{name} must be a plain field of the form, not a file.", name)
        try:
            return self.content(found[0]).decode()
        except UnicodeDecodeError:
            _wrong(f"{name} must be text in UTF-8.", name)

    def files(self, *names: str) -> list[Part]:
        """The parts of these names that are files."""
        return [part for part in self.parts if part.is_file and part.name in names]

    def content(self, part: Part) -> bytes:
        """What a part holds."""
        return self._body[part.start : part.end]

    def edited(self, changes: dict[str, bytes]) -> bytes:
        """The form with these fields' contents replaced, or added; all else to the letter."""
        pieces: list[bytes] = []
        at = 0
        left = dict(changes)
        for part in self.parts:
            new = left.pop(part.name, None)
            if new is not None:
                pieces += (self._body[at : part.start], new)
                at = part.end
        added = [
            b'%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (self._delimiter, name.encode(), value)
            for name, value in left.items()
        ]
        return b"".join([*added, *pieces, self._body[at:]])

    def _cut(self) -> tuple[Part, ...]:
        body, delimiter = self._body, self._delimiter
        if not body.startswith(delimiter):
            _wrong("The form does not begin with its boundary.")
        parts: list[Part] = []
        at = len(delimiter)
        while body[at : at + 2] != b"--":
            if body[at : at + 2] != b"\r\n":
                _wrong("A boundary of the form is followed by neither a line's end nor two dashes.")
            if len(parts) >= MOST_PARTS:
                _wrong(f"The form has more than {MOST_PARTS} parts.")
            head_end = body.find(b"\r\n\r\n", at, at + MOST_HEAD)
            end = -1 if head_end < 0 else body.find(b"\r\n" + delimiter, head_end + 2)
            if end < 0:
                _wrong("The upload is not whole: the form ends within a part, before its last boundary.")
            parts.append(_part(body[at:head_end], head_end + 4, max(end, head_end + 4)))
            at = end + 2 + len(delimiter)
        return tuple(parts)


def without_boundary(body: bytes, content_type: str) -> bytes:
    """A form less its boundary, which clients draw anew for each try; other bodies as they are."""
    found = _BOUNDARY.search(content_type)
    return body if found is None else body.replace((found[1] or found[2]).encode("latin-1", "replace"), b"")


def _part(head: bytes, start: int, end: int) -> Part:
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.strip().lower() == b"content-disposition":
            name = _NAME.search(value)
            if name is not None:
                said = re.sub(rb"\\(.)", rb"\1", name[1]) if name[1] is not None else name[2]
                return Part(said.decode("utf-8", "replace"), _FILE.search(value) is not None, start, end)
    return _wrong("A part of the form has no Content-Disposition with a name.")


def _wrong(message: str, param: str | None = None) -> NoReturn:
    raise RouterError("invalid_request", message, param=param)
