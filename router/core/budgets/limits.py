"""Limits on rates and on attempts at a time: what they count, and what an attempt adds to them.

Belongs here: definitions, names of counters, and how the store is told. Does not belong here: counters (the store's
scripts), definitions in the store (ledger/budgets.py), what a refusal says (`limit_words`).

A rate is counted in 60 buckets: the bucket under way and the last 60 whole ones count, so it holds for any stretch of the
period's length. Requests count when they are admitted, tokens as what is expected then, and as what was metered once it
is known. An attempt counts against a limit on attempts at a time as long as money is held for it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final, Literal

import msgspec

if TYPE_CHECKING:
    from router.core.values import Hold, Row

Kind = Literal["requests", "tokens", "concurrency"]
Per = Literal["minute", "hour", "day"]

PER_MS: Final[Mapping[str, int]] = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
BUCKETS: Final = 60
KINDS: Final = ("requests", "tokens", "concurrency")
MOST: Final = 2**53 - 1
RATE: Final = -2
AT_ONCE: Final = -3
"""In a bucket's place, they tell the script what it counts."""


class Limit(msgspec.Struct, frozen=True):
    """One limit. The same scope, kind and period have the same `limit_id`, whatever its number is."""

    id: str
    tenant: str
    scope: tuple[tuple[str, str], ...]
    """As of a budget, in the order of its fields."""
    kind: Kind
    limit: int
    """0 to 2^53 - 1."""
    per: Per = "minute"
    """Of a rate; without meaning for attempts at a time."""
    set_by: Literal["operator", "tenant"] = "tenant"
    """What the node's operator has set, only they can change."""

    @property
    def name(self) -> str:
        """Its counter, as the store names it."""
        return f"{self.id}:0" if self.kind == "concurrency" else f"{self.id}~"

    @property
    def bucket_ms(self) -> int:
        """How long a bucket is."""
        return PER_MS[self.per] // BUCKETS


def limit_id(tenant: str, scope: Iterable[tuple[str, str]], kind: str, per: str) -> str:
    """Names a limit by what it counts: ``l``, the kind's letter, ``-``, ten letters and digits."""
    said = msgspec.json.encode([tenant, sorted(scope), kind, "" if kind == "concurrency" else per])
    return f"l{kind[0]}-{base64.b32encode(hashlib.sha256(said).digest()[:7])[:10].decode().lower()}"


def is_limit(name: str) -> bool:
    """Whether a counter's name is a limit's, not a budget's."""
    return name[:1] == "l" and name[2:3] == "-"


def counted(hold: Hold | None, at_ms: int) -> tuple[str, ...]:
    """What an attempt has added to rates, for its row: ``id~bucket`` of requests, ``id~bucket:tokens`` of tokens.

    Args:
        hold: as it was granted.
        at_ms: its admission, in the store's time.
    """
    if hold is None or not hold.terms.limits:
        return ()
    found = []
    for limit in hold.terms.limits:
        if limit.kind != "concurrency" and limit.id not in hold.terms.counted:
            name = f"{limit.id}~{at_ms // limit.bucket_ms}"
            found.append(name if limit.kind == "requests" else f"{name}:{hold.tokens}")
    return tuple(found)


def corrections(row: Row) -> Iterable[tuple[str, int]]:
    """What an ended attempt changes in the rates that counted it: tokens to what was metered; all of it to nothing
    where it was never sent.
    """
    used = row.prompt_tokens + row.completion_tokens
    for entry in row.limits:
        name, _, tokens = entry.partition(":")
        if tokens:
            yield name, used - int(tokens)
        elif row.outcome == "released":
            yield name, -1
