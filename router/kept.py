"""An answer as it is kept to be given again, and a stream that is written down while it is passed on.

Belongs here: the form of what is kept. Part of the pipeline's layer. Does not belong here: when it is given again (once,
caching), and how it is sealed and stored (`router.adapters.kept_answers`).
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

import msgspec

from router.attempt import Headers

if TYPE_CHECKING:
    from router.ports import PartStream

DRAIN_S: Final = 600.0
"""How long the rest of a stream is read whose caller has gone, so that whoever asks again is given all of it."""
MOST_BYTES: Final = 16 << 20
"""What of a stream is written down; of a longer one nothing is kept."""
_OWN: Final = frozenset({"x-request-id", "x-costrouter-request-id", "x-costrouter-cost-usd"})
"""Headers that say of an answer what is another when it is given again."""
_LEVEL: Final = 1


class KeptReply(msgspec.Struct, frozen=True, array_like=True):
    """An answer. Field order is the layout: new fields go to the end with a default."""

    request_id: str
    headers: Headers
    body: bytes
    """Of a stream, all of it."""
    cost_nano: int
    baseline_nano: int
    model: str
    provider: str
    status: int = 200
    """Of HTTP; 202 is the promise of an answer."""


_decode: Final = msgspec.msgpack.Decoder(KeptReply).decode


def packed(reply: KeptReply) -> bytes:
    """As bytes, compressed."""
    return zlib.compress(msgspec.msgpack.encode(reply), _LEVEL)


def unpacked(data: bytes) -> KeptReply | None:
    """What `packed` made; None of anything else, such as an older version's."""
    try:
        return _decode(zlib.decompress(data))
    except (zlib.error, msgspec.DecodeError):
        return None


def headers_again(
    kept: KeptReply, request_id: str, *more: tuple[str, str], without: frozenset[str] = frozenset()
) -> Headers:
    """The headers of an answer that is given again: it costs nothing, and says whose it was first."""
    return [
        ("x-request-id", request_id),
        ("x-costrouter-request-id", request_id),
        ("x-costrouter-cost-usd", "0.000000000"),
        *more,
        ("x-costrouter-original-request-id", kept.request_id),
        *((name, value) for name, value in kept.headers if name not in _OWN and name not in without),
    ]


Done = Callable[["bytes | None"], Awaitable[None]]
"""Told all of a whole answer, or None of one that is not."""


class WrittenDown:
    """A stream on its way to its caller, of which all is kept. Stands in for an `AnswerStream`.

    Args:
        stream: what is passed on.
        first: the part that has been given already.
        reads_on: whether it is read to its end although its caller has gone.
        done: called once, before the caller is told of the end.
    """

    def __init__(self, stream: PartStream, first: bytes, done: Done, *, reads_on: bool) -> None:
        self._stream = stream
        self._parts = [first]
        self._size = len(first)
        self._done: Done | None = done
        self._reads_on = reads_on

    @property
    def whole(self) -> bool:
        """As `AnswerStream.whole`."""
        return self._stream.whole

    async def next_part(self) -> bytes:
        """As `AnswerStream.next_part`."""
        part = await self._stream.next_part()
        if part:
            self._size += len(part)
            if self._size <= MOST_BYTES:
                self._parts.append(part)
            return part
        await self._finish()
        return b""

    async def abandon(self) -> None:
        """The caller has gone."""
        try:
            if self._reads_on:
                async with asyncio.timeout(DRAIN_S):
                    while await self.next_part():
                        pass
        except (TimeoutError, asyncio.CancelledError):
            pass  # the stream itself books what has come
        finally:
            await self._stream.abandon()
            await self._finish()

    async def _finish(self) -> None:
        done, self._done = self._done, None
        if done is not None:
            whole = self.whole and self._size <= MOST_BYTES
            await done(b"".join(self._parts) if whole else None)
            self._parts.clear()
