"""Hedging: when a second attempt sets out beside one that is slow, and how many requests may have one.

Belongs here: a policy's rule, the delay that it means for one attempt, and the share. Does not belong here: running the two
(router/hedging.py), and what follows an attempt that has failed (forwarding.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from router.core.deciding.choices import Option

BURST: Final = 10
"""Second attempts that may be saved up while nothing is slow."""


class Hedge(msgspec.Struct, frozen=True):
    """A policy's ``hedge``: one of ``after_ms`` and ``percentile`` is set."""

    after_ms: int = 0
    """A fixed time, in ms."""
    percentile: int = 0
    """That of what the candidate usually takes: to its first token for streams, to the whole answer otherwise."""
    share_milli: int = 100
    """Of a thousand requests, how many may have a second attempt beside the first."""


def delay_ms(hedge: Hedge, option: Option, *, stream: bool, output_tokens: int) -> int:
    """How long an attempt may take before another one sets out, in ms, at least 1.

    Args:
        hedge: the policy's rule.
        option: what is tried.
        stream: whether its first token is waited for, or the whole answer.
        output_tokens: expected, where nobody has seen how long whole answers take.
    """
    if hedge.after_ms:
        return hedge.after_ms
    if stream:
        wanted = option.ttft.at(hedge.percentile)
    elif option.total is not None:
        wanted = option.total.at(hedge.percentile)
    else:
        wanted = option.ttft.at(hedge.percentile) + output_tokens * option.tpot.at(hedge.percentile)
    return max(wanted // 1000, 1)


class Shares:
    """What is left of each rule's share: each request adds to it, each second attempt takes one. Begins with one."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left: dict[Hedge, int] = {}

    def asked(self, hedge: Hedge) -> None:
        """A request has come under this rule."""
        self._left[hedge] = min(self._left.get(hedge, 1000) + hedge.share_milli, BURST * 1000)

    def taken(self, hedge: Hedge) -> bool:
        """Take a second attempt; False where the share is used up."""
        left = self._left.get(hedge, 1000)
        if left < 1000:
            return False
        self._left[hedge] = left - 1000
        return True
