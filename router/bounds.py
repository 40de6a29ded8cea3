"""How often a request may be tried, and how long one exchange with a provider may take.

Belongs here: which of several bounds holds, worked out once. Part of the pipeline's layer. Does not belong here: keeping
them (the upstream client), and what is left of a request's time (forward.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from router.core.forwarding.forwarding import completed
from router.ports import Timeouts

if TYPE_CHECKING:
    from router.core.forwarding.forwarding import Forwarding
    from router.ports import ProviderLink

_MOST_KNOWN: Final = 1_024
PATIENCE_S: Final = 900.0
"""How long a tier may take whose provider answers when it has room (OpenAI's guide to flex: 15 minutes)."""


def merged(timeouts: Timeouts, bounds: Forwarding, *, stream: bool, waits: bool) -> Timeouts:
    """The time that an exchange may take: the policy's bounds before the provider's own ``timeouts``.

    Args:
        timeouts: the provider's.
        bounds: the policy's.
        stream: whether it is a stream whose first part is waited for.
        waits: whether the tier is one whose provider answers when it has room.
    """
    if waits:
        patient = max(timeouts.total, PATIENCE_S)
        timeouts = msgspec.structs.replace(timeouts, first_byte=patient, total=patient)

    def seconds(ms: int | None, own: float) -> float:
        return own if ms is None else ms / 1000

    total = seconds(bounds.total_ms, timeouts.total)
    first_byte = min(seconds(bounds.first_byte_ms, timeouts.first_byte), total)
    return Timeouts(
        connect=seconds(bounds.connect_ms, timeouts.connect),
        # The head of a plain answer comes when the whole of it has been written.
        first_byte=first_byte if stream else total,
        between_chunks=seconds(bounds.between_chunks_ms, timeouts.between_chunks),
        total=total,
    )


class Bounds:
    """The bounds of every policy and provider, each put together once.

    Args:
        own: for policies that state none of their own.
    """

    __slots__ = ("_own", "_policies", "_timeouts")

    def __init__(self, own: Forwarding) -> None:
        self._own = own
        self._policies: dict[Forwarding, Forwarding] = {}
        self._timeouts: dict[tuple[str, int, bool, bool], tuple[Forwarding, Timeouts]] = {}

    def of(self, stated: Forwarding | None) -> Forwarding:
        """A policy's bounds, always the same object for the same."""
        if stated is None:
            return self._own
        found = self._policies.get(stated)
        if found is None:
            if len(self._policies) >= _MOST_KNOWN:
                self._policies.clear()
            found = self._policies[stated] = completed(stated, self._own)
        return found

    def timeouts(self, link: ProviderLink, bounds: Forwarding, *, stream: bool, waits: bool) -> Timeouts:
        """The time that an exchange may take; ``bounds`` come from `of`. The rest as for `merged`."""
        key = (link.name, id(bounds), stream, waits)
        known = self._timeouts.get(key)
        if known is None:
            if len(self._timeouts) >= _MOST_KNOWN:
                self._timeouts.clear()
            # With the bounds themselves, so that their id is not another's one day.
            known = self._timeouts[key] = (bounds, merged(link.timeouts, bounds, stream=stream, waits=waits))
        return known[1]
