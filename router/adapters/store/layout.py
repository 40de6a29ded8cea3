r"""How the store is laid out: key names, the spend cube's dimensions and measures, and rows as bytes.

Belongs here: names and encodings that a writer and a reader must agree on. Does not belong here: any call to
the store (ledger/ledger.py, spend, keys/keys.py do that), and the Lua scripts, which get every key handed in.

    cr:{tenant}:holds              hash    attempt → amount_nano:admitted_ms:journal, and more (`Held`)
    cr:{tenant}:budget:ID:START    hash    s spent, h held, in nano-dollars, of a budget's period that began then
                                           (minutes since the epoch, UTC)
    cr:{tenant}:budget:ID~         hash    of a rolling budget: bucket → spent, s their sum, h held, o the oldest bucket
    cr:{tenant}:budgets            hash    budget id → JSON of its definition
    cr:{tenant}:limits             hash    limit id → JSON of its definition
    cr:{tenant}:budget:LIMIT~      hash    of a limit on a rate: bucket → counted, s their sum, o the oldest bucket
    cr:{tenant}:budget:LIMIT:0     hash    of a limit on attempts at a time: h how many there are
    cr:{@}:budgets                 hash    tenant → version of its budgets (a random text); "" → of them all
    cr:{tenant}:applied            hash    journal → number of its last settled row, "~" behind it once it was swept;
                                           journal+ → that of its adopted estimates; journal~ → its sweeps
    cr:{tenant}:swept:JOURNAL      hash    attempt → its hold's admitted_ms:msgpack of the Row that was booked when its
                                           worker was lost
    cr:{tenant}:hours              zset    YYYYMMDDHH with rows, scored by itself
    cr:{tenant}:rows:YYYYMMDDHH    stream  one entry a row, field r = msgpack of Row, by hour of admission (UTC)
    cr:{tenant}:cube:YYYYMMDDHH    hash    measure, separator, dimension tuple → running sum
    cr:{tenant}:packed:YYYYMMDDHH  string  an archived hour's cube, packed (cubes); what comes later is in the cube
    cr:{tenant}:archive            hash    YYYYMMDDHH → what of that hour lies in the archive (ledger/rows.py)
    cr:{@}:tenants                 set     every tenant that ever had a row
    cr:{@}:journals                hash    journal → the store's time in ms when somebody last looked after it, or "-" and
                                           the time when nothing was left in it
    cr:{@}:sweeper                 string  there while some worker's turn to sweep lasts
    cr:{@}:keys                    hash    of each secret its digest's first bytes → msgpack of its record (keys/keys.py)
    cr:{@}:changes                 stream  one entry a change of keys, budgets or limits: its kind → what (changes)
    cr:{tenant}:audit              stream  one entry a change, field e = JSON (audit)

Everything of a tenant shares one hash tag, so that one script may touch all of it in a cluster.
"""

from __future__ import annotations

import time
from typing import Final
from urllib.parse import quote

import msgspec

from router.core.booking.report import CUBE
from router.core.budgets.budget import BUCKETS, LENGTHS_MS, Term
from router.core.budgets.limits import AT_ONCE, PER_MS, RATE, Limit, is_limit
from router.core.budgets.limits import BUCKETS as LIMIT_BUCKETS
from router.core.meters import UNIT_SUMS
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
    "s": "cache_saved_nano",
    "u": "would_save_nano",
}
"""Letter in a cube field to the row's attribute that it sums."""

UNIT_MEASURES: Final = dict(zip("lmakq", UNIT_SUMS, strict=True))
"""The same for what a row's units come to; only rows with units have such fields."""

REQUESTS: Final = "n"
"""Letter of the cube field that counts rows, corrections apart."""

PLATFORM_KEYS: Final = "cr:{@}:keys"
PLATFORM_TENANTS: Final = "cr:{@}:tenants"
PLATFORM_BUDGETS: Final = "cr:{@}:budgets"
JOBS_JOURNAL: Final = "jobs"
"""In place of a worker: what is held for work that waits belongs to no worker, and is swept by none."""

UNIT: Final = "\x1e"
_DAY_MS: Final = 86_400_000
KEPT_MS: Final = {
    "minute": 7 * _DAY_MS,
    "hour": 35 * _DAY_MS,
    "day": 100 * _DAY_MS,
    "week": 400 * _DAY_MS,
    "month": 400 * _DAY_MS,
}
"""How long a budget period's counter is kept after its end: late rows and corrections still find it."""
LONGEST_MS: Final = _DAY_MS
"""Longer than any attempt runs: a counter is not made anew under one that holds money in it."""
PLATFORM_JOURNALS: Final = "cr:{@}:journals"
PLATFORM_SWEEPER: Final = "cr:{@}:sweeper"


HELD_DIMENSIONS: Final = (
    "team",
    "app",
    "key",
    "user",
    "policy",
    "rule",
    "model",
    "provider",
    "tier",
    "endpoint",
)
"""What a hold says of its attempt's row, in this order, so that it can be booked where machine and disk are lost."""
_PART: Final = "\x1e"


class Held(msgspec.Struct, frozen=True):
    """A hold as it lies in the store: ``amount:at:journal``, budget periods, `HELD_DIMENSIONS`.

    Parts are divided by 0x1e, their items by 0x1f; the last two parts may be missing, others may follow.
    """

    amount_nano: int
    at_ms: int
    journal: str
    budgets: tuple[str, ...] = ()
    dimensions: tuple[str, ...] = ()


def read_held(text: str) -> Held:
    """A hold's value.

    Raises:
        ValueError: it begins with anything but ``amount:at:journal``.
    """
    head, budgets, dimensions, *_ = (*text.split(_PART), "", "")
    amount, at_ms, journal = head.split(":", 2)
    return Held(
        int(amount),
        int(at_ms),
        journal,
        # Limits on attempts at a time are held like money, and are none.
        tuple(name for name in budgets.split(SEPARATOR) if not is_limit(name)) if budgets else (),
        tuple(dimensions.split(SEPARATOR)) if dimensions else (),
    )


def swept_note(row: Row) -> bytes:
    """What is noted of a hold before it is swept: the hold's time, and the row to book."""
    return b"%d:" % row.at_ms + encode_row(row)


def read_note(note: bytes) -> Row:
    """The row of a `swept_note`."""
    return decode_row(note.partition(b":")[2])


def tenant_prefix(tenant: str) -> str:
    """``cr:{tenant}:``, one to one. Ids are checked upstream; whatever comes is still one tag and no other key.

    Anything but letters, digits and ``_.-~`` is percent-encoded, so braces cannot end the tag, and the platform's
    ``{@}`` cannot be met. An empty id becomes ``%``: an empty tag would be no tag.
    """
    return f"cr:{{{quote(tenant, safe='', errors='surrogatepass') or '%'}}}:"


def budget_key(prefix: str, name: str) -> str:
    """The counter of a budget period; that of a rolling budget holds all its buckets."""
    return f"{prefix}budget:{name.partition('~')[0]}~" if "~" in name else f"{prefix}budget:{name}"


def term_args(term: Term | Limit) -> tuple[str | int, ...]:
    """What the reserve script is told of a period, or of a limit."""
    if isinstance(term, Limit):
        if term.kind == "concurrency":
            return (term.name, term.limit, 0, 0, AT_ONCE, 0, 0)
        return (term.name, term.limit, term.bucket_ms, 0, RATE, LIMIT_BUCKETS, 2 * PER_MS[term.per])
    kept = 0
    if term.bucket >= 0:
        kept = 2 * LENGTHS_MS[term.budget.period] + LONGEST_MS
    elif term.budget.period != "total":
        kept = term.until_ms - term.from_ms + KEPT_MS[term.budget.period]
    return (term.name, term.budget.limit_nano, term.from_ms, term.until_ms, term.bucket, BUCKETS, kept)


def dims_text(dims: tuple[str, ...]) -> bytes:
    """An attempt's dimensions as a hold keeps them."""
    text = SEPARATOR.join(dims)
    if UNIT in text or text.count(SEPARATOR) != max(len(dims) - 1, 0):
        text = SEPARATOR.join(value.replace(SEPARATOR, " ").replace(UNIT, " ") for value in dims)
    return text.encode("utf-8", "replace")


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
