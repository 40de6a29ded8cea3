"""Tiers whose answers come later: their names and kinds.

Belongs here: telling a provider's batch from a completion window, and how long a window is. Does not belong here: what they
cost (the catalog), how long they take (deadlines.py), and tiers that are answered at once (deciding/variants.py).

A completion window is a tier of its own for each length that is sold: ``window-2h``, ``window-8h``. A policy admits them all
by one word, ``window``.
"""

from __future__ import annotations

from typing import Final, Literal

Kind = Literal["batch", "window"]
BATCH: Final = "batch"
WINDOW: Final = "window"
IDLE: Final = "idle"
"""What is left of a machine of one's own: in real time, behind everybody who waits for their answer. It is no tier of the
catalog: any model with ``self_hosted`` bids by it while its machine has room.
"""
_BEFORE_HOURS: Final = "window-"


def kind_of(tier: str) -> Kind | None:
    """How a tier is sold whose answers come later; None for what is answered at once."""
    if tier == BATCH:
        return "batch"
    return "window" if tier.startswith(_BEFORE_HOURS) else None


def hours_of(tier: str) -> int:
    """The length of a window, in hours, at least 1."""
    return int(tier.removeprefix(_BEFORE_HOURS).removesuffix("h"))


def word_of(tier: str) -> str:
    """A policy's word for a tier."""
    return kind_of(tier) or tier
