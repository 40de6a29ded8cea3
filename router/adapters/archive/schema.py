"""Ledger rows as columns: the archive's schema, version by version.

Belongs here: columns, and rows to and from them. Does not belong here: files (files.py). Importing this module
needs pyarrow (`finance_extra` says so in words).

The columns are the row's fields under their names, in their order, after ``id``, the row's id in the stream; then what its
units add up to, so that reports need not look into them. A new field of `Row` is a new column and a new version; what
older files lack reads as the field's default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from router.core.meters import UNIT_SUMS, unit_sums
from router.core.values import Row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SCHEMA_VERSION: Final = 3
ADDED: Final = {2: ("warm_tokens", "cache_saved_nano", "would_save_nano"), 3: ("units", *UNIT_SUMS)}
"""By version: the columns that are new in it."""
ID: Final = "id"
_LISTS: Final = frozenset(("tags", "budgets", "limits"))
_UNITS: Final = "units"
_NUMBERS: Final = frozenset(field.name for field in msgspec.structs.fields(Row) if field.type in (int, "int"))
NAMES: Final = tuple(field.name for field in msgspec.structs.fields(Row))
AMOUNTS: Final = (
    *(name for name in NAMES if name in _NUMBERS and name.endswith(("_tokens", "_nano", "_pico"))),
    *UNIT_SUMS,
)
"""Columns whose sums a part's metadata holds, and which are compared after every write."""


def _type(name: str) -> pa.DataType:
    if name in _LISTS:
        return pa.list_(pa.string())
    if name == _UNITS:
        return pa.map_(pa.string(), pa.int64())
    return pa.int64() if name in _NUMBERS else pa.string()


SCHEMA: Final = pa.schema(
    [
        pa.field(ID, pa.string()),
        *(pa.field(name, _type(name)) for name in NAMES),
        *(pa.field(name, pa.int64()) for name in UNIT_SUMS),
    ]
)


def schema_of(version: int) -> pa.Schema:
    """The columns of a version."""
    later = {name for added, names in ADDED.items() if added > version for name in names}
    return pa.schema([field for field in SCHEMA if field.name not in later])


def to_batch(entries: Sequence[tuple[str, Row]]) -> pa.RecordBatch:
    """Rows with their ids, as columns."""
    rows = [(entry, *msgspec.structs.astuple(row), *unit_sums(row.units)) for entry, row in entries]
    columns = zip(*rows, strict=True)
    return pa.record_batch(
        [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


def to_rows(batch: pa.RecordBatch | pa.Table) -> Iterator[Row]:
    """Columns as rows."""
    columns = {name: batch.column(name).to_pylist() for name in NAMES if name in batch.schema.names}
    names = list(columns)
    for values in zip(*columns.values(), strict=True):
        facts: dict[str, Any] = dict(zip(names, values, strict=True))
        for name in _LISTS & facts.keys():
            facts[name] = tuple(facts[name])
        facts[_UNITS] = tuple(facts.get(_UNITS, ()))
        yield Row(**facts)


def amounts(batch: pa.RecordBatch | pa.Table) -> dict[str, int]:
    """The exact sum of each of `AMOUNTS`."""
    return {name: pc.sum(batch.column(name)).as_py() or 0 for name in AMOUNTS if name in batch.schema.names}
