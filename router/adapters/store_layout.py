"""How the store is laid out: key names, the spend cube's dimensions and measures, and rows as bytes.

Belongs here: names and encodings that a writer and a reader must agree on. Does not belong here: any call to
the store (redis_ledger, spend, redis_keys do that), and the Lua scripts, which get every key handed in.

    cr:{tenant}:holds              hash    attempt → amount_nano:admitted_ms:worker
    cr:{tenant}:applied            hash    journal → last settled sequence number
    cr:{tenant}:hours              zset    YYYYMMDDHH with rows, scored by itself
    cr:{tenant}:rows:YYYYMMDDHH    stream  one entry a row, field r = msgpack of Row, by hour of admission (UTC)
    cr:{tenant}:cube:YYYYMMDDHH    hash    measure, separator, dimension tuple → running sum
    cr:{tenant}:packed:YYYYMMDDHH  string  an archived hour's cube, packed (cubes); what comes later is in the cube
    cr:{tenant}:archive            hash    YYYYMMDDHH → what of that hour lies in the archive (ledger_rows)
    cr:{@}:tenants                 set     every tenant that ever had a row
    cr:{@}:keys                    hash    key id → msgpack of its record

Everything of a tenant shares one hash tag, so that one script may touch all of it in a cluster.
"""

from __future__ import annotations

import time
from typing import Final
from urllib.parse import quote

import msgspec

from router.core.report import CUBE
from router.core.values import Row

HOUR_MS: Final = 3_600_000
SEPARATOR: Final = "\x1f"
INT64: Final = 2**63 - 1

DIMENSIONS: Final = CUBE
"""What spend can be grouped by without reading rows. Each comes from a key, a policy or the catalog, so that an
hour has a bounded number of tuples. What a caller writes freely (user, tags, unit, requested model) stays in the rows."""

MEASURES: Final = {
    "c": "cost_nano",
    "b": "baseline_nano",
    "p": "prompt_tokens",
    "r": "cached_tokens",
    "w": "cache_write_tokens",
    "o": "completion_tokens",
    "t": "reasoning_tokens",
}
"""Letter in a cube field to the row's attribute that it sums."""

REQUESTS: Final = "n"
"""Letter of the cube field that counts rows, corrections apart."""

PLATFORM_KEYS: Final = "cr:{@}:keys"
PLATFORM_TENANTS: Final = "cr:{@}:tenants"


def tenant_prefix(tenant: str) -> str:
    """``cr:{tenant}:``, one to one. Ids are checked upstream; whatever comes is still one tag and no other key.

    Anything but letters, digits and ``_.-~`` is percent-encoded, so braces cannot end the tag, and the platform's
    ``{@}`` cannot be met. An empty id becomes ``%``: an empty tag would be no tag.
    """
    return f"cr:{{{quote(tenant, safe='', errors='surrogatepass') or '%'}}}:"


def hour_of(at_ms: int) -> str:
    """The UTC hour of a time in ms since the epoch, as YYYYMMDDHH."""
    return time.strftime("%Y%m%d%H", time.gmtime(at_ms // 1000))


encode_row: Final = msgspec.msgpack.Encoder().encode
"""A row as stored.

Raises:
    UnicodeEncodeError: a text holds a lone surrogate (a header that was not UTF-8).
    OverflowError: a number is beyond 64 bits.
"""

decode_row: Final = msgspec.msgpack.Decoder(Row).decode


def storable(row: Row) -> Row:
    """The nearest row that `encode_row` takes: bad characters replaced, numbers held to 64 bits."""
    return msgspec.structs.replace(
        row, **{name: _storable(value) for name, value in msgspec.structs.asdict(row).items()}
    )


def _storable(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, tuple):
        return tuple(_storable(item) for item in value)
    if isinstance(value, int):
        return max(-INT64, min(INT64, value))
    return value
