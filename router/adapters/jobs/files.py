"""Files of callers and of their batches: what is known of each, and their bytes in sealed frames.

Belongs here: records, reading and writing. Does not belong here: the endpoints (http/files.py), and what a batch makes of
them (broker/batches.py).

    cr:{tenant}:files       zset   file ids by creation
    cr:{tenant}:file:ID     string msgpack of the File
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

import msgspec

from router.adapters.jobs.vault import CHUNK
from router.adapters.store.layout import tenant_prefix

if TYPE_CHECKING:
    from router.adapters.jobs.store import JobStore
    from router.adapters.jobs.vault import Sealing, Vault
    from router.adapters.store.connection import StoreConnection

KEPT_MS: Final = 30 * 86_400_000
"""How long a file is kept, as OpenAI keeps input files of batches."""


class File(msgspec.Struct, frozen=True, array_like=True):
    """A file. Field order is the stored layout."""

    id: str
    tenant: str
    key: str
    name: str
    purpose: str
    size: int
    created_ms: int
    expires_ms: int
    blob: str


_pack: Final = msgspec.msgpack.Encoder().encode
_file: Final = msgspec.msgpack.Decoder(File).decode


class FileStore:
    """Files of all tenants. Methods raise `StoreUnavailable` and `BlobsUnavailable`."""

    def __init__(self, connection: StoreConnection, jobs: JobStore, vault: Vault) -> None:
        self._connection = connection
        self._jobs = jobs
        self._vault = vault

    async def writer(self, tenant: str) -> FileWriter:
        """Begin a file."""
        name = f"file-{secrets.token_hex(12)}"
        blob = f"{tenant_prefix(tenant)[4:-2]}/file/{name}"
        return FileWriter(name, await self._vault.writer(blob))

    async def keep(self, file: File) -> None:
        """From now on it is there."""
        prefix = tenant_prefix(file.tenant)
        await self._connection.call("SET", f"{prefix}file:{file.id}", _pack(file), "PXAT", file.expires_ms)
        await self._connection.call("ZADD", f"{prefix}files", file.created_ms, file.id)
        await self._jobs.expire(file.tenant, file.expires_ms, f"blob:{file.blob}")

    async def find(self, tenant: str, name: str) -> File | None:
        """A file by its id."""
        found = await self._connection.call("GET", f"{tenant_prefix(tenant)}file:{name}")
        return None if found is None else _file(found)

    async def listed(self, tenant: str, *, newest_first: bool = True) -> list[File]:
        """All files of a tenant."""
        prefix = tenant_prefix(tenant)
        ids = [name.decode() for name in await self._connection.call("ZRANGE", f"{prefix}files", 0, -1)]
        found = []
        for name in reversed(ids) if newest_first else ids:
            file = await self.find(tenant, name)
            if file is None:
                await self._connection.call("ZREM", f"{prefix}files", name)
            else:
                found.append(file)
        return found

    async def remove(self, file: File) -> None:
        """Remove a file, its bytes too."""
        prefix = tenant_prefix(file.tenant)
        await self._connection.call("DEL", f"{prefix}file:{file.id}")
        await self._connection.call("ZREM", f"{prefix}files", file.id)
        await self._vault.blobs.delete(file.blob)

    async def parts(self, blob: str) -> AsyncIterator[bytes]:
        """A file's bytes, part by part. Raises `BlobMissing`."""
        async for _, payload in self._vault.frames(blob):
            yield payload

    async def lines(self, blob: str) -> AsyncIterator[bytes]:
        """A file's lines, without their ends; empty ones too."""
        rest = b""
        async for part in self.parts(blob):
            *whole, rest = (rest + part).split(b"\n")
            for line in whole:
                yield line.rstrip(b"\r")
        if rest:
            yield rest.rstrip(b"\r")


class FileWriter:
    """A file under way."""

    def __init__(self, name: str, sealing: Sealing) -> None:
        self.id = name
        self.blob = sealing.name
        self.size = 0
        self._sealing = sealing
        self._waiting = bytearray()

    async def add(self, data: bytes) -> None:
        """Append."""
        self.size += len(data)
        self._waiting += data
        while len(self._waiting) >= CHUNK:
            part = bytes(self._waiting[:CHUNK])
            del self._waiting[:CHUNK]
            await self._sealing.add(part)

    async def __aenter__(self) -> FileWriter:  # noqa: PYI034 - nothing derives from it
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: object) -> None:
        if kind is None and self._waiting:
            await self._sealing.add(bytes(self._waiting))
        await self._sealing.__aexit__(kind, value, trace)
