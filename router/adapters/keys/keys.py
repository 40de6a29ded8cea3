"""API keys: who is behind a secret. Fixed keys from the settings first, then those created in the store.

Belongs here: creating, finding, rotating, changing and revoking keys. Does not belong here: who may do so (http/keys.py),
and the header that carries the secret.

A secret has 256 random bits, so its SHA-256 needs neither salt nor stretching. Plain secrets are kept nowhere: in
memory, too, they are looked up by digest, and because a caller cannot choose a digest, the time of a dictionary
lookup tells nothing about a secret. The store's field is the first 64 bits of a secret's digest; the whole digest is
compared in constant time. A key's id is the field of its first secret, and stays when the secret is rotated.

Workers are told at once that a key has changed (store/changes.py), and each asks again before a second is over all the
same: a message can be lost, a clock cannot.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from router.adapters.store.layout import PLATFORM_KEYS
from router.adapters.store.patient import Patient
from router.adapters.store.resp import Script
from router.core.access.rights import Role
from router.core.values import Identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from router.adapters.store.connection import StoreConnection
    from router.ports import Clock

SECRET_PREFIX: Final = "cr-"  # noqa: S105  # how secrets begin, not one
KNOWN_FOR_S: Final = 0.8
"""How long an answer of the store is believed, in seconds: a revoked key is refused everywhere within a second."""
MOST_KNOWN: Final = 10_000


class KeyRecord(msgspec.Struct, frozen=True, array_like=True):
    """A secret of a created key as stored. Field order is the layout: new fields go to the end with a default."""

    digest: bytes
    identity: Identity
    created_ms: int
    expires_ms: int = 0
    """When it ends, in ms since the epoch; 0 for never."""


class Key(msgspec.Struct, frozen=True):
    """A created key with its secrets, the current one first; others are left from a rotation."""

    records: tuple[KeyRecord, ...]

    @property
    def current(self) -> KeyRecord:
        """Its newest secret."""
        return self.records[0]

    @property
    def identity(self) -> Identity:
        """Who it is."""
        return self.records[0].identity


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(KeyRecord).decode
_Change = tuple[KeyRecord | None, KeyRecord | None]
"""A record before and after."""


class RedisKeys:
    """Implements `router.ports.Keys`.

    Args:
        connection: to the store.
        clock: ages what is remembered, and ends what expires.
        static: secret to identity, known without the store (development and admin keys).
        wait_s: how long `identify` waits for a store that is away, in seconds.
    """

    def __init__(
        self,
        connection: StoreConnection,
        clock: Clock,
        static: Mapping[str, Identity] | None = None,
        *,
        wait_s: float = 0.0,
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._static = {_digest(secret): identity for secret, identity in (static or {}).items()}
        self._known: dict[bytes, tuple[Identity | None, float]] = {}
        self._asked = Patient(connection, wait_s)
        self._swap = Script("swap_fields")
        self._changes = 0
        """Told so far: what was asked before the last of them is not believed."""
        self.tell: Callable[[str], None] | None = None
        """Tells every worker which secret, by its field, is no longer what it was."""

    async def identify(self, secret: str) -> Identity | None:
        """None when the key is unknown or has expired.

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
        asked_at, changes = self._clock.monotonic(), self._changes
        reply = await self._asked("HGET", PLATFORM_KEYS, _key_id(digest))
        identity, lasts_s = None, KNOWN_FOR_S
        if reply is not None:
            record = _decode(reply)
            left_ms = record.expires_ms - self._clock.now_ms() if record.expires_ms else 1
            if hmac.compare_digest(record.digest, digest) and left_ms > 0:
                identity = record.identity
                lasts_s = min(lasts_s, left_ms / 1000) if record.expires_ms else lasts_s
        if changes == self._changes:
            self._remember(digest, identity, asked_at + lasts_s)
        return identity

    def changed(self, field: str) -> None:
        """A secret is no longer what it was: ask again. ``field`` is its name in the store."""
        self._changes += 1
        for digest in [digest for digest in self._known if _key_id(digest) == field]:
            del self._known[digest]

    async def create(
        self,
        name: str,
        tenant: str,
        team: str = "",
        app: str = "",
        role: Role = "app",
        *,
        delegates: tuple[str, ...] = (),
        expires_ms: int = 0,
    ) -> tuple[str, Identity]:
        """A new key: its secret, shown this once, and its identity.

        Raises:
            StoreUnavailable: no answer; the key may or may not exist, and nobody knows its secret.
        """
        while True:
            secret, digest = _drawn()
            identity = Identity(
                tenant=tenant, key=_key_id(digest), name=name, team=team, app=app, role=role, delegates=delegates
            )
            # Two keys share an id once in 2^64; the second one is drawn again.
            if await self._changed([(None, KeyRecord(digest, identity, self._clock.now_ms(), expires_ms))]):
                return secret, identity

    async def rotate(self, key: str, grace_ms: int) -> tuple[str, Identity] | None:
        """A new secret for a key; those that it has end after the grace, in ms. None when there is no such key.

        Raises:
            StoreUnavailable: no answer; it may or may not have been rotated.
        """
        while (found := await self.find(key)) is not None:
            now_ms = self._clock.now_ms()
            secret, digest = _drawn()
            new = KeyRecord(digest, found.identity, max(now_ms, found.current.created_ms + 1), found.current.expires_ms)
            ending = [(old, _ending(old, now_ms + grace_ms)) for old in found.records]
            if await self._changed([(None, new), *ending]):
                self._forget(found)
                return secret, found.identity
        return None

    async def change(self, key: str, identity: Identity, expires_ms: int | None = None) -> bool:
        """Give a key other facts (its id stays), and another end; None leaves that as it is. False when there is none.

        Raises:
            StoreUnavailable: no answer; it may or may not have been changed.
        """
        while (found := await self.find(key)) is not None:
            changes: list[_Change] = []
            for at, old in enumerate(found.records):
                end = old.expires_ms if expires_ms is None or at else expires_ms
                new = msgspec.structs.replace(old, identity=msgspec.structs.replace(identity, key=key), expires_ms=end)
                changes.append((old, new if expires_ms in (None, 0) else _ending(new, expires_ms or 0)))
            if await self._changed(changes):
                self._forget(found)
                return True
        return False

    async def revoke(self, key: str) -> bool:
        """End a created key by its id, all its secrets; False when there is none. Refused everywhere within a second.

        Raises:
            StoreUnavailable: no answer; ask again.
        """
        gone = False
        while (found := await self.find(key)) is not None:
            gone = await self._changed([(record, None) for record in found.records]) or gone
            self._forget(found)
        return gone

    async def put(self, key: Key) -> None:
        """Store a key as it stands, in place of one with its id.

        Raises:
            StoreUnavailable: no answer; it may or may not be stored.
            ValueError: one of its secrets is another key's.
        """
        while True:
            found = await self.find(key.identity.key)
            before = {_key_id(record.digest): record for record in (found.records if found else ())}
            after = {_key_id(record.digest): record for record in key.records}
            if await self._changed([(before.get(name), after.get(name)) for name in {**before, **after}]):
                self._forget(key)
                return
            taken = [name for name in after.keys() - before.keys() if await self._stored(name) is not None]
            if taken:
                raise ValueError(f"a secret of {key.identity.key} is that of another key")

    async def find(self, key: str) -> Key | None:
        """A created key by its id; None when there is none.

        Raises:
            StoreUnavailable: no answer.
        """
        return next((found for found in await self.created() if found.identity.key == key), None)

    async def created(self) -> list[Key]:
        """Every created key, oldest first.

        Raises:
            StoreUnavailable: no answer.
        """
        by_id: dict[str, list[KeyRecord]] = {}
        for value in await self._connection.call("HVALS", PLATFORM_KEYS):
            record = _decode(value)
            by_id.setdefault(record.identity.key, []).append(record)
        keys = [Key(tuple(sorted(records, key=lambda r: -r.created_ms))) for records in by_id.values()]
        return sorted(keys, key=lambda key: (key.records[-1].created_ms, key.identity.key))

    async def clear(self) -> int:
        """Take what a rotation left, and is over, out of the store; how many secrets that were.

        Raises:
            StoreUnavailable: no answer.
        """
        now_ms = self._clock.now_ms()
        old = [r for key in await self.created() for r in key.records[1:] if 0 < r.expires_ms <= now_ms]
        return sum([await self._changed([(record, None)]) for record in old])

    async def _stored(self, field: str) -> bytes | None:
        reply: bytes | None = await self._connection.call("HGET", PLATFORM_KEYS, field)
        return reply

    async def _changed(self, changes: Iterable[_Change]) -> bool:
        args: list[bytes | str] = []
        for before, after in changes:
            record = before or after
            if record is not None:
                args += [_key_id(record.digest), _encode(before) if before else b"", _encode(after) if after else b""]
        done = bool(await self._connection.script(self._swap, [PLATFORM_KEYS], args))
        if done and self.tell is not None:
            for field in args[::3]:
                self.tell(str(field))
        return done

    def _forget(self, key: Key) -> None:
        for record in key.records:
            self._known.pop(record.digest, None)

    def _remember(self, digest: bytes, identity: Identity | None, until: float) -> None:
        # Out and in again, so that the dictionary's order is that of age, and a flood of junk evicts the oldest.
        self._known.pop(digest, None)
        if len(self._known) >= MOST_KNOWN:
            del self._known[next(iter(self._known))]
        self._known[digest] = (identity, until)


def _ending(record: KeyRecord, at_ms: int) -> KeyRecord:
    """The record, ending then, unless it ends before."""
    end = min(record.expires_ms, at_ms) if record.expires_ms else at_ms
    return msgspec.structs.replace(record, expires_ms=end)


def _drawn() -> tuple[str, bytes]:
    secret = SECRET_PREFIX + secrets.token_urlsafe(32)
    return secret, _digest(secret)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


def _key_id(digest: bytes) -> str:
    return f"key-{digest[:8].hex()}"
