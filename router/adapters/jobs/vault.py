"""Payloads on their way to rest: sealed in frames, so that each can be read by itself and none can be put elsewhere.

Belongs here: encryption and framing over a `Blobs`. Does not belong here: where blobs lie (blobs_directory, blobs_s3), and
how long they are kept (store.py).

    frame = length of what follows (4 bytes) | nonce (12) | AES-256-GCM of the payload, its tag (16) last

What is authenticated besides is the blob's name and the frame's offset, so frames cannot be exchanged.
"""

from __future__ import annotations

import hashlib
import os
import struct
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from router.ports import BlobMissing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from router.ports import Blobs, BlobWriter

Place = tuple[str, int, int]
"""Blob, offset, length: one frame."""
_HEAD: Final = struct.Struct(">I")
_NONCE: Final = 12
_OVERHEAD: Final = _HEAD.size + _NONCE + 16
CHUNK: Final = 1 << 20
"""Most bytes of a file in one frame, and what is read ahead where frames follow each other."""


class Vault:
    """Seals and opens.

    Args:
        blobs: where sealed frames lie.
        secret: any text; whoever has it can open everything, so every node of a fleet needs the same.
    """

    def __init__(self, blobs: Blobs, secret: str) -> None:
        self.blobs = blobs
        self._key = AESGCM(hashlib.sha256(b"costrouter vault\0" + secret.encode()).digest())

    def seal(self, name: str, offset: int, payload: bytes) -> bytes:
        """One frame."""
        nonce = os.urandom(_NONCE)
        sealed = self._key.encrypt(nonce, payload, _bound(name, offset))
        return _HEAD.pack(_NONCE + len(sealed)) + nonce + sealed

    def open(self, name: str, offset: int, frame: bytes) -> bytes:
        """A frame's payload.

        Raises:
            BlobMissing: it is none of ours, or not whole.
        """
        if len(frame) < _OVERHEAD or _HEAD.unpack_from(frame)[0] != len(frame) - _HEAD.size:
            raise BlobMissing(f"{name} is damaged at {offset}")
        nonce = frame[_HEAD.size : _HEAD.size + _NONCE]
        try:
            return self._key.decrypt(nonce, frame[_HEAD.size + _NONCE :], _bound(name, offset))
        except InvalidTag:
            raise BlobMissing(f"{name} at {offset} was not sealed with this key") from None

    async def put(self, name: str, payload: bytes) -> Place:
        """A blob of one frame."""
        async with await self.writer(name) as writing:
            return await writing.add(payload)

    async def writer(self, name: str) -> Sealing:
        """A blob that grows frame by frame; it is there once it is closed well."""
        return Sealing(self, name, await self.blobs.writer(name))

    async def get(self, place: Place) -> bytes:
        """One frame's payload.

        Raises:
            BlobMissing: it is not there (any more), or damaged.
        """
        name, offset, length = place
        return self.open(name, offset, await self.blobs.read(name, offset, length))

    async def frames(self, name: str, offset: int = 0) -> AsyncIterator[tuple[Place, bytes]]:
        """Every frame from an offset on, with where it lies.

        Raises:
            BlobMissing: as `get`.
        """
        buffer = b""
        while True:
            if len(buffer) < _HEAD.size or len(buffer) < _HEAD.size + _HEAD.unpack_from(buffer)[0]:
                wanted = max(CHUNK, _HEAD.size + _HEAD.unpack_from(buffer)[0]) if len(buffer) >= _HEAD.size else CHUNK
                more = await self.blobs.read(name, offset + len(buffer), wanted)
                if not more:
                    if buffer:
                        raise BlobMissing(f"{name} ends in the middle of a frame")
                    return
                buffer += more
                continue
            length = _HEAD.size + _HEAD.unpack_from(buffer)[0]
            yield (name, offset, length), self.open(name, offset, buffer[:length])
            offset += length
            buffer = buffer[length:]


class Sealing:
    """A blob under way; a context manager that keeps it when its block ends well, and drops it otherwise."""

    def __init__(self, vault: Vault, name: str, writer: BlobWriter) -> None:
        self._vault = vault
        self._writer = writer
        self.name = name
        self.size = 0

    async def add(self, payload: bytes) -> Place:
        """Append a frame."""
        frame = self._vault.seal(self.name, self.size, payload)
        place = (self.name, self.size, len(frame))
        self.size += len(frame)
        await self._writer.write(frame)
        return place

    async def __aenter__(self) -> Sealing:  # noqa: PYI034 - nothing derives from it
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        await (self._writer.keep() if kind is None else self._writer.drop())


def _bound(name: str, offset: int) -> bytes:
    return f"{name}:{offset}".encode()
