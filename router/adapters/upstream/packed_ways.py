"""Ways, their states and what came of them, as the store holds them.

Belongs here: names of fields and bytes of values. Does not belong here: when they are read or written (breakers.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from router.core.forwarding.breaker import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from router.core.forwarding.breaker import Way

_SEP: Final = "\x1f"
_NONE: Final = (0, 0)
pack: Final = msgspec.msgpack.Encoder().encode
"""A `State` as bytes."""
unpack: Final = msgspec.msgpack.Decoder(State).decode
"""And back."""


def field_of(way: Way, *more: str) -> str:
    """A way, and what else is to be told apart, as the name of a field."""
    return _SEP.join((*way, *more))


def way_of(field: bytes) -> Way:
    """The way that a field's name stands for."""
    provider, model, key = field.decode().split(_SEP)
    return (provider, model, key)


def outcomes(slices: Iterable[Sequence[bytes]]) -> dict[Way, tuple[int, int]]:
    """(well, faulty) attempts by way, from hashes as a call gives them: names and values in turn."""
    found: dict[Way, tuple[int, int]] = {}
    for flat in slices:
        for field, value in zip(flat[::2], flat[1::2], strict=True):
            provider, model, key, kind = field.decode().split(_SEP)
            ok, faults = found.get((provider, model, key), _NONE)
            count = int(value)
            found[provider, model, key] = (ok + count, faults) if kind == "o" else (ok, faults + count)
    return found


def aged(fleet: Mapping[Way, tuple[int, int]], fresh: Mapping[Way, list[int]]) -> dict[Way, tuple[int, int]]:
    """Counts by halves, as time passes, and what was counted since."""
    found = {way: (ok // 2, faults // 2) for way, (ok, faults) in fleet.items() if ok + faults > 1}
    for way, (ok, faults) in fresh.items():
        had = found.get(way, (0, 0))
        found[way] = (had[0] + ok, had[1] + faults)
    return found
