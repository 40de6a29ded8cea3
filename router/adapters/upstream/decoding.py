"""Undoes Content-Encoding gzip and deflate, a bounded step at a time.

Belongs here: compressed bytes in, plain bytes out. Does not belong here: who reads them, and limits on the sum.
"""

from __future__ import annotations

import zlib
from typing import Final

STEP: Final = 128 * 1024
"""Most bytes that one `Decoder.step` gives, so that a small piece of input cannot fill the memory."""

_GZIP: Final = 16 + zlib.MAX_WBITS
_ZLIB: Final = zlib.MAX_WBITS
_RAW: Final = -zlib.MAX_WBITS
_ZLIB_METHOD: Final = 8
"""Low four bits of a zlib stream's first byte (RFC 1950 §2.2)."""


class Decoder:
    """One body. Push input when nothing is `pending`, then step until nothing is."""

    __slots__ = ("_full", "_gzip", "_input", "_stream")

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._stream: zlib._Decompress | None = None
        self._input = b""
        self._full = False

    @property
    def pending(self) -> bool:
        """True while `step` may give more without new input."""
        return self._full or bool(self._input)

    @property
    def finished(self) -> bool:
        """True when the input seen so far is a whole number of compressed members (none is a whole number too)."""
        return self._stream is None and not self._input

    def push(self, data: bytes) -> None:
        """Add input."""
        self._input += data

    def step(self) -> bytes:
        """Up to `STEP` decoded bytes; ``b""`` when more input is needed.

        Raises:
            zlib.error: the input is not what the header said.
        """
        stream = self._stream
        if stream is None:
            stream = self._stream = zlib.decompressobj(self._window())
        data = stream.decompress(self._input, STEP)
        self._input = stream.unconsumed_tail
        self._full = len(data) == STEP
        if stream.eof:
            self._input, self._stream, self._full = stream.unused_data, None, False
        return data

    def _window(self) -> int:
        if self._gzip:
            return _GZIP
        # "deflate" means zlib (RFC 9110 §8.4.1.2); some servers send the raw stream instead.
        return _ZLIB if self._input[0] & 0x0F == _ZLIB_METHOD else _RAW


def take_decoder(headers: dict[str, str]) -> Decoder | None:
    """A decoder for the body that these headers describe, or None when it can be passed on as it is.

    With a decoder the headers ``content-encoding`` and ``content-length`` are removed: they no longer hold. Codings
    that nobody asked for here (br, zstd, several at once) are left alone, header included.
    """
    coding = headers.get("content-encoding")
    if coding is None or (name := coding.lower()) not in ("gzip", "x-gzip", "deflate"):
        return None
    del headers["content-encoding"]
    headers.pop("content-length", None)
    return Decoder(gzip=name != "deflate")
