"""Which of several keys of a provider is used next.

Belongs here: the draw by their weights. Does not belong here: which of them may be used at all (breakers.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.ports import ProviderLink


def drawn(keys: Sequence[ProviderLink], draw: float) -> ProviderLink:
    """A key, as often as its weight says.

    Args:
        keys: at least one.
        draw: a random number, 0 ≤ draw < 1.
    """
    mark = draw * sum(key.weight for key in keys)
    for key in keys:
        mark -= key.weight
        if mark < 0:
            return key
    return keys[-1]
