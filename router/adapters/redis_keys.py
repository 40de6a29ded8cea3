"""API keys: who is behind a secret. Fixed keys from the settings first, then those created in the store.

Belongs here: creating, finding and revoking keys. Does not belong here: who may do so, and the header that carries
the secret.

A secret has 256 random bits, so its SHA-256 needs neither salt nor stretching. Plain secrets are kept nowhere: in
memory, too, they are looked up by digest, and because a caller cannot choose a digest, the time of a dictionary
lookup tells nothing about a secret. The store's field is a key's id, the digest's first 64 bits; the whole digest is
compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from router.adapters.store_layout import PLATFORM_KEYS
from router.core.values import Identity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.adapters.store_connection import StoreConnection
    from router.ports import Clock

SECRET_PREFIX: Final = "cr-"  # noqa: S105  # how secrets begin, not one
KNOWN_FOR_S: Final = 1.0
"""How long an answer of the store is believed, in seconds: a revoked key is refused everywhere within this time."""
MOST_KNOWN: Final = 10_000


class KeyRecord(msgspec.Struct, frozen=True, array_like=True):
    """A created key as stored. Field order is the layout: new fields go to the end with a default."""

    digest: bytes
    identity: Identity
    created_ms: int


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(KeyRecord).decode


class RedisKeys:
    """Implements `router.ports.Keys`.

    Args:
        connection: to the store.
        clock: ages what is remembered.
        static: secret to identity, known without the store (development and admin keys).
    """

    def __init__(self, connection: StoreConnection, clock: Clock, static: Mapping[str, Identity] | None = None) -> None:
        self._connection = connection
        self._clock = clock
        self._static = {_digest(secret): identity for secret, identity in (static or {}).items()}
        self._known: dict[bytes, tuple[Identity | None, float]] = {}

    async def identify(self, secret: str) -> Identity | None:
        """None when the key is unknown.

        Raises:
            StoreUnavailable: the key is none of the fixed ones, and the store does not answer.
        """
        digest = _digest(secret)
        fixed = self._static.get(digest)
        if fixed is not None:
            return fixed
        known = self._known.get(digest)
        if known is not None and known[1] > self._clock.monotonic():
            return known[0]
        asked_at = self._clock.monotonic()
        reply = await self._connection.call("HGET", PLATFORM_KEYS, _key_id(digest))
        identity = None
        if reply is not None:
            record = _decode(reply)
            if hmac.compare_digest(record.digest, digest):
                identity = record.identity
        self._remember(digest, identity, asked_at + KNOWN_FOR_S)
        return identity

    async def create(
        self, name: str, tenant: str, team: str = "", app: str = "", role: Literal["app", "admin"] = "app"
    ) -> tuple[str, Identity]:
        """A new key: its secret, shown this once, and its identity.

        Raises:
            StoreUnavailable: no answer; the key may or may not exist, and nobody knows its secret.
        """
        while True:
            secret = SECRET_PREFIX + secrets.token_urlsafe(32)
            digest = _digest(secret)
            identity = Identity(tenant=tenant, key=_key_id(digest), name=name, team=team, app=app, role=role)
            record = _encode(KeyRecord(digest, identity, self._clock.now_ms()))
            # Two keys share an id once in 2^64; the second one is drawn again.
            if await self._connection.call("HSETNX", PLATFORM_KEYS, identity.key, record):
                return secret, identity

    async def revoke(self, key: str) -> bool:
        """End a created key by its id; False when there is none. Refused everywhere within `KNOWN_FOR_S`.

        Raises:
            StoreUnavailable: no answer; ask again.
        """
        self._known = {digest: entry for digest, entry in self._known.items() if _key_id(digest) != key}
        return bool(await self._connection.call("HDEL", PLATFORM_KEYS, key))

    async def record(self, key: str) -> KeyRecord | None:
        """A created key by its id; None when there is none.

        Raises:
            StoreUnavailable: no answer.
        """
        reply = await self._connection.call("HGET", PLATFORM_KEYS, key)
        return None if reply is None else _decode(reply)

    async def created(self) -> list[KeyRecord]:
        """Every created key, oldest first.

        Raises:
            StoreUnavailable: no answer.
        """
        records = [_decode(value) for value in await self._connection.call("HVALS", PLATFORM_KEYS)]
        return sorted(records, key=lambda record: (record.created_ms, record.identity.key))

    def _remember(self, digest: bytes, identity: Identity | None, until: float) -> None:
        # Out and in again, so that the dictionary's order is that of age, and a flood of junk evicts the oldest.
        self._known.pop(digest, None)
        if len(self._known) >= MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[digest] = (identity, until)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _key_id(digest: bytes) -> str:
    return f"key-{digest[:8].hex()}"
