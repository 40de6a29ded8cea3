"""Blobs as files of a local directory, for one machine (or a file system that all machines share).

Belongs here: names to paths, whole or not at all. Does not belong here: what is in them (vault).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
from pathlib import Path
from typing import Final

from router.ports import BlobMissing

_NAME: Final = re.compile(r"[A-Za-z0-9_.~%=-]+(/[A-Za-z0-9_.~%=-]+)*")
_BUFFER: Final = 1 << 18


class DirectoryBlobs:
    """Implements `router.ports.Blobs`. Directories get mode 0700, files 0600.

    Args:
        folder: made when first written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def writer(self, name: str) -> _Writer:
        """Begin a blob."""
        return _Writer(self._path(name))

    async def read(self, name: str, offset: int, length: int) -> bytes:
        """Up to so many bytes from an offset on; none beyond the end.

        Raises:
            BlobMissing: there is no such blob.
        """
        return await asyncio.to_thread(self._read, name, offset, length)

    def _read(self, name: str, offset: int, length: int) -> bytes:
        try:
            with self._path(name).open("rb") as file:
                file.seek(offset)
                return file.read(length)
        except (FileNotFoundError, NotADirectoryError):
            raise BlobMissing(f"{name} is not here (any more)") from None

    async def delete(self, name: str) -> None:
        """Remove a blob, if it is there."""
        path = self._path(name)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            await asyncio.to_thread(path.unlink)

    def _path(self, name: str) -> Path:
        if _NAME.fullmatch(name) is None or any(set(part) == {"."} for part in name.split("/")):
            raise BlobMissing(f"{name!r} is no blob's name")
        return self._folder / name


class _Writer:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._aside = path.with_name(f"{path.name}.{secrets.token_hex(6)}.part")
        self._waiting: list[bytes] = []
        self._size = 0
        self._descriptor = -1

    async def write(self, data: bytes) -> None:
        """Append; small pieces gather."""
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= _BUFFER:
            await asyncio.to_thread(self._flush)

    async def keep(self) -> None:
        """Give it its name; from now on it is there, and outlives the machine's loss of power."""
        await asyncio.to_thread(self._keep)

    async def drop(self) -> None:
        """Forget it."""
        await asyncio.to_thread(self._drop)

    def _flush(self) -> None:
        if self._descriptor < 0:
            _make(self._path.parent)
            self._descriptor = os.open(self._aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        data = b"".join(self._waiting)
        self._waiting, self._size = [], 0
        while data:
            data = data[os.write(self._descriptor, data) :]

    def _keep(self) -> None:
        self._flush()
        os.fsync(self._descriptor)
        self._close()
        self._aside.replace(self._path)

    def _drop(self) -> None:
        self._close()
        self._aside.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _make(folder: Path) -> None:
    # pathlib gives parents the usual mode, whatever the last one gets.
    for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
