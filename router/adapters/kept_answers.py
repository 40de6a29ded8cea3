"""Answers that are given again: claimed, sealed, kept for their time in the store.

Belongs here: the entries in the store, their encryption and their bound. Does not belong here: which answers may be given
again, and to whom (`router.once`, `router.caching`).

    cr:{tenant}:answer:DIGEST    hash    f digest of the request, o who is at it, u until when; or a the sealed answer
    cr:{tenant}:answers          zset    SIZE:KEY of each kept answer, by its end
    cr:{tenant}:answers:bytes    string  the sum of their sizes

Responses that others may go on from lie beside them, as ``response`` and ``responses``. Names are digests keyed with the node's secret, and answers are sealed with it (AES-256-GCM, bound to their name), so the
store's file and its replicas tell nothing of keys, prompts and answers.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from router.adapters.store.layout import tenant_prefix
from router.adapters.store.patient import Patient
from router.adapters.store.resp import Script
from router.ports import Claim

if TYPE_CHECKING:
    from router.adapters.store.connection import StoreConnection

CLAIM: Final = Script("claim")
KEEP: Final = Script("keep")
UNCLAIM: Final = Script("unclaim")
MOST_ANSWER: Final = 4 << 20
"""Bytes of one answer, packed. A longer one is not kept."""
_NONCE: Final = 12


class KeptAnswers:
    """Implements `router.ports.AnswerStore`.

    Args:
        connection: to the store; not the one of the hot path, as answers may be long.
        secret: any text; every node that shares the store needs the same, or opens nothing of the others'.
        most_bytes: of one tenant's answers together.
        kind: names the entries, where others than answers are kept, with a bound of their own.
        wait_s: how long `claim` waits for a store that is away, in seconds.
    """

    def __init__(
        self, connection: StoreConnection, secret: str, most_bytes: int, kind: str = "answer", *, wait_s: float = 0.0
    ) -> None:
        self._connection = connection
        self._patient = Patient(connection, wait_s)
        self._kind = kind
        self._most = most_bytes
        self._cipher = AESGCM(hashlib.sha256(b"costrouter answers\0" + secret.encode()).digest())
        self._mac = hashlib.sha256(b"costrouter answer names\0" + secret.encode()).digest()

    def digest(self, *parts: bytes) -> str:
        """Names what these parts stand for, and tells nothing of them. Different parts never run together."""
        found = hmac.new(self._mac, digestmod=hashlib.sha256)
        for part in parts:
            found.update(len(part).to_bytes(8, "big"))
            found.update(part)
        return found.hexdigest()

    async def claim(self, tenant: str, name: str, request: str, token: str, lease_ms: int) -> Claim:
        """Claim a name, or hear what has become of it. Raises `StoreUnavailable`."""
        key = self._entry(tenant, name)
        state, *sealed = await self._patient.script(CLAIM, [key], [request, token, lease_ms])
        return Claim(state.decode(), self._opened(key, sealed[0]) if sealed else None)

    async def keep(self, tenant: str, name: str, token: str, answer: bytes | None, kept_s: float) -> bool:
        """Keep an answer; one that is too long, or None, leaves only the mark that the request was answered.

        Returns False if the claim has gone to somebody else meanwhile. Raises `StoreUnavailable`.
        """
        key, prefix = self._entry(tenant, name), tenant_prefix(tenant)
        sealed = b"" if answer is None or len(answer) > MOST_ANSWER else self._sealed(key, answer)
        keys = [key, f"{prefix}{self._kind}s", f"{prefix}{self._kind}s:bytes"]
        return bool(await self._connection.script(KEEP, keys, [token, sealed, round(kept_s * 1000), self._most]))

    async def release(self, tenant: str, name: str, token: str) -> None:
        """Give a claim up. Raises `StoreUnavailable`; it then ends by itself."""
        await self._connection.script(UNCLAIM, [self._entry(tenant, name)], [token])

    async def find(self, tenant: str, name: str) -> bytes | None:
        """An answer that was kept, or None. Raises `StoreUnavailable`."""
        key = self._entry(tenant, name)
        sealed = await self._connection.call("HGET", key, "a")
        return None if sealed is None else self._opened(key, sealed)

    async def put(self, tenant: str, name: str, answer: bytes, kept_s: float) -> None:
        """Keep an answer that nobody has claimed, in place of an older one; not one that is too long.

        Raises `StoreUnavailable`.
        """
        if len(answer) <= MOST_ANSWER:
            await self.keep(tenant, name, "", answer, kept_s)

    def _entry(self, tenant: str, name: str) -> str:
        return f"{tenant_prefix(tenant)}{self._kind}:{name}"

    def _sealed(self, key: str, answer: bytes) -> bytes:
        nonce = os.urandom(_NONCE)
        return nonce + self._cipher.encrypt(nonce, answer, key.encode())

    def _opened(self, key: str, sealed: bytes) -> bytes | None:
        if len(sealed) <= _NONCE:
            return None
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], key.encode())
        except InvalidTag:
            return None  # another node's secret, or damage: as good as not kept
