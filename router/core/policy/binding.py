"""Which policy governs a request: by tenant, team, app, key and user, never by the order of files.

Belongs here: finding the one policy whose ``bind`` takes a request, and binds that overlap. Does not belong here: the
rules of the policy found (`policy`), and who may name which policy (`snapshot`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from router.core.policy.policy import Bind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.core.policy.policy import Policy
    from router.core.values import Identity

FIELDS: Final = ("tenant", "team", "app", "key", "user")
MOST_KNOWN: Final = 8_192

Who = tuple[str, str, str, str, str]
"""Tenant, team, app, key, user."""


def who(identity: Identity, user: str = "") -> Who:
    """The request's own, as binds name them."""
    return identity.tenant, identity.team, identity.app, identity.key, user


def takes(bind: Bind, asker: Who) -> bool:
    """Whether a bind names such a request."""
    lists = (bind.tenant, bind.team, bind.app, bind.key, bind.user)
    return all(not names or own in names for names, own in zip(lists, asker, strict=True))


def overlap(first: Bind, second: Bind) -> bool:
    """Whether some request would fall under both without naming either."""
    if first.named or second.named:
        return False
    pairs = ((getattr(first, field), getattr(second, field)) for field in FIELDS)
    return all(not one or not other or set(one) & set(other) for one, other in pairs)


class Binds:
    """All binds of a set of policies, compiled: a request that was seen before costs one look-up.

    Args:
        policies: whose binds do not overlap.
    """

    __slots__ = ("_binds", "_by_user", "_known", "_open")

    def __init__(self, policies: Iterable[Policy] = ()) -> None:
        self._binds = tuple((p.bind, p.name) for p in policies if p.bind is not None and p.serves and not p.bind.named)
        self._by_user = any(bind.user for bind, _ in self._binds)
        self._open = not self._binds
        self._known: dict[Who, str | None] = {}

    def governing(self, identity: Identity, user: str) -> str | None:
        """The policy that governs a request of which nothing is known but who asks; None when none is bound to it."""
        if self._open:
            return None
        # Users are many, and mostly nobody asks for them.
        asker = (identity.tenant, identity.team, identity.app, identity.key, user if self._by_user else "")
        try:
            return self._known[asker]
        except KeyError:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            found = self._known[asker] = next((name for bind, name in self._binds if takes(bind, asker)), None)
            return found


class Clash(msgspec.Struct, frozen=True):
    """Two policies whose binds overlap, by their names."""

    first: str
    second: str


def clashes(policies: Iterable[Policy]) -> list[Clash]:
    """Every pair of overlapping binds. Only those that name no team, or the same one, are compared."""
    bound = [policy for policy in policies if policy.bind is not None and policy.serves and not policy.bind.named]
    by_team: dict[str, list[Policy]] = {}
    anywhere: list[Policy] = []
    found: dict[tuple[str, str], Clash] = {}
    for index, policy in enumerate(bound):
        bind = policy.bind or Bind()
        near = [*anywhere, *(other for team in bind.team for other in by_team.get(team, ()))]
        for other in near if bind.team else bound[:index]:
            if other.bind is not None and overlap(other.bind, bind):
                found[other.name, policy.name] = Clash(other.name, policy.name)
        for team in bind.team:
            by_team.setdefault(team, []).append(policy)
        if not bind.team:
            anywhere.append(policy)
    return list(found.values())
