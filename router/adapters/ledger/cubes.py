"""The spend cube as a store keeps it: cells of an open hour, packed sums of an archived one.

Belongs here: both forms, and from one to the other. Does not belong here: calls to the store (rows.py, spend).

A cell is a hash field, "measure, separator, dimensions", with its sum. Packed, all measures of one tuple of dimensions
share a record, and the whole is compressed: some 3 KB for what takes 100 KB as cells, and read ten times as fast.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

import msgspec

from router.adapters.store.layout import MEASURES, REQUESTS, SEPARATOR, UNIT_MEASURES
from router.core.booking.report import SUMS

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMN: Final = {REQUESTS: 0} | {letter: SUMS.index(name) for letter, name in (MEASURES | UNIT_MEASURES).items()}
"""Letter of a measure to its place in `SUMS`."""
COST: Final = SUMS.index("cost_nano")

Sums = dict[str, list[int]]
"""A cube: the dimensions' text to sums in the order of `SUMS`."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(dict[str, list[int]]).decode


def read_cube(cells: Sequence[bytes], packed: bytes) -> Sums:
    """What both forms of an hour's cube sum up to; cells are fields and values, in turns."""
    sums = _decode(zlib.decompress(packed)) if packed else {}
    for known in sums.values():
        # Packed by an earlier version, which knew fewer measures.
        known.extend([0] * (len(SUMS) - len(known)))
    for at in range(0, len(cells), 2):
        letter, _, dimensions = cells[at].decode().partition(SEPARATOR)
        have = sums.get(dimensions)
        if have is None:
            have = sums[dimensions] = [0] * len(SUMS)
        have[COLUMN[letter]] += int(cells[at + 1])
    return sums


def pack_cube(sums: Sums) -> bytes:
    """The packed form."""
    return zlib.compress(_encode(sums))
