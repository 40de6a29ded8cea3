"""Who changed what, and when: a stream a tenant in the store.

Belongs here: writing and reading entries. Does not belong here: who may read them (http_audit.py), and the changes
themselves, which are written down *before* they are made: where the store fails in between, the log holds a change that
may not have come about, but no change is missing from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from router.adapters.store.layout import tenant_prefix

if TYPE_CHECKING:
    from router.adapters.store.connection import StoreConnection
    from router.core.values import Identity

KEPT: Final = 100_000
"""Entries a tenant that are kept, about: some 30 MB."""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One change."""

    at_ms: int
    """The store's time."""
    tenant: str
    who: str
    """The id of the key by which it was made."""
    name: str
    """That key's name then."""
    role: str
    action: str
    """Such as ``key.create``."""
    subject: str
    """The id of what was changed."""
    before: Any = None
    after: Any = None
    request_id: str = ""


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode


class Audit:
    """The log.

    Args:
        connection: to the store.
    """

    def __init__(self, connection: StoreConnection) -> None:
        self._connection = connection

    async def note(
        self,
        who: Identity,
        tenant: str,
        action: str,
        subject: str,
        *,
        before: Any = None,
        after: Any = None,
        request_id: str = "",
    ) -> None:
        """Write down a change that is about to be made. Never a secret in ``before`` and ``after``.

        Raises:
            StoreUnavailable: it may not be written down, so it must not be made.
        """
        entry = {"who": who.key, "name": who.name, "role": who.role, "action": action, "subject": subject}
        entry |= {"before": before, "after": after, "request_id": request_id}
        key = f"{tenant_prefix(tenant)}audit"
        await self._connection.call("XADD", key, "MAXLEN", "~", KEPT, "*", "e", _encode(entry))

    async def read(self, tenant: str, *, since_ms: int = 0, most: int = 100) -> list[Entry]:
        """The newest entries, newest first.

        Raises:
            StoreUnavailable: no answer.
        """
        key = f"{tenant_prefix(tenant)}audit"
        found = await self._connection.call("XREVRANGE", key, "+", since_ms, "COUNT", most)
        return [
            Entry(at_ms=int(identifier.partition(b"-")[0]), tenant=tenant, **_decode(fields[1]))
            for identifier, fields in found
        ]
