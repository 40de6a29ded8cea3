"""The body that creates a Message Batch, read as it arrives: one request after the other, however many there are.

Belongs here: cutting ``{"requests": [{…}, …]}`` into its elements from pieces of bytes, and what of one must hold before a
batch is taken in. Does not belong here: what is in a request (anthropic/request.py), and where it is put.

Sources: the types of the official SDK (anthropic 2.12); platform.claude.com, Message Batches: limits and custom ids.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Final

import msgspec

from router.core.errors import RouterError

MOST_REQUESTS: Final = 100_000
MOST_BYTES: Final = 256_000_000
MOST_ELEMENT: Final = 32 << 20
"""Bytes of one request: Anthropic's limit for a call of its own."""
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_TOKEN: Final = re.compile(rb'"|[{}\[\]]')
_TEXT: Final = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*', re.DOTALL)
_OPENING: Final = b"{["
_BETWEEN: Final = b" \t\r\n,"


class _Request(msgspec.Struct):
    custom_id: str
    params: msgspec.Raw


_REQUEST: Final = msgspec.json.Decoder(_Request)


class Requests:
    """Reads one body.

    Its JSON is read no further than to find where elements begin and end; each element is decoded wholly when it is there.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0
        """Up to where the buffer has been looked through."""
        self._depth = 0
        self._text_from = -1
        """Where the text begins that the look is within; -1 outside of texts."""
        self._key = b""
        self._within = False
        self._start = 0
        """Where what has not been given yet begins."""
        self._seen: set[bytes] = set()
        self._done = False

    @property
    def count(self) -> int:
        """Requests so far."""
        return len(self._seen)

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Requests that are whole now, each as one line without its end.

        Raises:
            RouterError: ``invalid_request`` or ``request_too_large``, naming the place.
        """
        self._buffer += piece
        while (element := self._next()) is not None:
            yield self._checked(element)
        if self._within and self._depth > 2:
            if len(self._buffer) - self._start > MOST_ELEMENT:
                raise RouterError("request_too_large", f"requests.{self.count}: at most {MOST_ELEMENT} bytes.")
            self._drop(self._start)
        elif self._text_from < 0:
            self._drop(self._at)

    def end(self) -> int:
        """How many requests there were.

        Raises:
            RouterError: ``invalid_request``: the body is not whole, or holds none.
        """
        if self._depth or self._text_from >= 0:
            raise RouterError("invalid_request", "The body ends in the middle of its JSON.")
        if not self._done or not self._seen:
            message = 'requests: send {"requests": [{"custom_id": …, "params": {…}}, …]} with at least one of them.'
            raise RouterError("invalid_request", message, param="requests")
        return self.count

    def _next(self) -> bytes | None:
        buffer = self._buffer
        while True:
            if self._text_from >= 0:
                found = _TEXT.match(buffer, self._at)
                self._at = self._at if found is None else found.end()
                if self._at >= len(buffer) or buffer[self._at] != 0x22:
                    return None  # the text goes on in the next piece
                self._key = bytes(buffer[self._text_from : self._at]) if self._depth == 1 else b""
                self._at += 1
                self._text_from = -1
            token = _TOKEN.search(buffer, self._at)
            if self._within and self._depth == 2:
                self._nothing_but_commas(bytes(buffer[self._at : token.start() if token else len(buffer)]))
            if token is None:
                self._at = len(buffer)
                return None
            self._at = token.end()
            element = self._taken(buffer[token.start()])
            if element is not None:
                return element

    def _taken(self, sign: int) -> bytes | None:
        """One sign of structure; an element where it ends one."""
        if sign == 0x22:
            if self._within and self._depth == 2:
                self._nothing_but_commas(b'"')
            self._text_from = self._at
            return None
        if sign in _OPENING:
            self._opened(sign)
            return None
        return self._closed()

    def _opened(self, sign: int) -> None:
        if not self._depth and sign != 0x7B:
            raise RouterError("invalid_request", "The body must be a JSON object.")
        if self._depth == 1 and sign == 0x5B and self._key == b"requests":
            if self._done:
                raise RouterError("invalid_request", "requests stands twice in the body.", param="requests")
            self._within = True
        elif self._within and self._depth == 2:
            if sign != 0x7B:
                self._nothing_but_commas(b"[")
            self._start = self._at - 1
        self._depth += 1

    def _closed(self) -> bytes | None:
        self._depth -= 1
        if self._depth < 0:
            raise RouterError("invalid_request", "The body is not one JSON object.")
        if self._within and self._depth == 2:
            return bytes(self._buffer[self._start : self._at])
        if self._within and self._depth == 1:
            self._within, self._done = False, True
        return None

    def _nothing_but_commas(self, between: bytes) -> None:
        if between.strip(_BETWEEN):
            where = f"requests.{self.count}"
            raise RouterError("invalid_request", f"{where}: must be an object with custom_id and params.", param=where)

    def _drop(self, upto: int) -> None:
        del self._buffer[:upto]
        self._at -= upto
        self._start -= upto
        if self._text_from >= 0:
            self._text_from -= upto

    def _checked(self, element: bytes) -> bytes:
        where = f"requests.{self.count}"
        try:
            found = _REQUEST.decode(element)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RouterError("invalid_request", f"{where}: {error}", param=where) from None
        name = found.custom_id
        if not _NAME.fullmatch(name):
            message = f"{where}.custom_id: must be 1 to 64 letters, digits, hyphens or underscores, not {name[:80]!r}."
            raise RouterError("invalid_request", message, param=f"{where}.custom_id")
        if not bytes(found.params).startswith(b"{"):
            message = f"{where}.params: must be a Messages request, a JSON object."
            raise RouterError("invalid_request", message, param=f"{where}.params")
        mark = hashlib.blake2b(name.encode(), digest_size=12).digest()
        if mark in self._seen:
            message = f"{where}.custom_id: {name} has been used before; give each request its own."
            raise RouterError("invalid_request", message, param=f"{where}.custom_id")
        if self.count >= MOST_REQUESTS:
            raise RouterError("request_too_large", f"A batch has at most {MOST_REQUESTS} requests.")
        self._seen.add(mark)
        # JSON's texts hold no line breaks, so only white space is at stake.
        return element.replace(b"\n", b" ").replace(b"\r", b" ")


def params_of(line: bytes) -> tuple[str, bytes]:
    """The custom id and the Messages request of a line that `Requests` has given."""
    found = _REQUEST.decode(line)
    return found.custom_id, bytes(found.params)
