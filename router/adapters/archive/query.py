"""Adding up archived rows with DuckDB.

Belongs here: a `Question` as SQL over Parquet files. Does not belong here: which files (report, ledger/rows.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import duckdb
from pyarrow import dataset

from router.adapters.archive.finance_extra import ArchiveError
from router.core.booking.report import ATTRIBUTED, HOUR_MS, SUMS, TAG, TIMES, Totals, wanted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.adapters.archive.files import ArchiveFiles

_ALL: Final = ", ".join(f"NULL::BIGINT AS {name}" for name in SUMS[1:])
"""Columns that older files may lack."""
_MEASURES: Final = ("count(*) FILTER (correction_of = '')", *(f"sum({name})" for name in SUMS[1:]))


def add_archive(totals: Totals, files: ArchiveFiles, paths: Sequence[str], threads: int = 2) -> None:
    """Add those rows of archived parts that the question asks about. Blocks; call it in a thread.

    Raises:
        ArchiveError: a file is missing or cannot be read.
    """
    if not paths:
        return
    question, values = totals.question, _Values()
    columns = [_expression(name, values) for name in totals.keys]
    conditions = [f"at_ms >= {question.since * HOUR_MS}", f"at_ms < {question.until * HOUR_MS}"]
    for name, allowed in wanted(question).items():
        conditions.append(f"{_expression(name, values)} IN (SELECT unnest({values.add(sorted(allowed))}))")
    places = ", ".join(str(number + 1) for number in range(len(columns)))
    # DuckDB's own way to S3 is an extension that it would download; pyarrow hands the columns over instead.
    source = f"read_parquet({values.add(list(paths))}, union_by_name = true)" if files.local else "archived"
    source = f"(SELECT * FROM {source} UNION ALL BY NAME SELECT {_ALL} WHERE false)"  # noqa: S608 - as below
    text = (
        f"SELECT {', '.join((*columns, *_MEASURES))} FROM {source} "  # noqa: S608 - names are checked, values are parameters
        f"WHERE {' AND '.join(conditions)} GROUP BY {places}"
    )
    try:
        with duckdb.connect(config={"threads": threads}) as session:
            if not files.local:
                parts = dataset.dataset(list(paths), filesystem=files.filesystem, format="parquet")
                session.register("archived", parts)
            found = session.execute(text, values.given).fetchall()
    except (duckdb.Error, OSError) as error:
        raise ArchiveError(f"the archive {files} cannot be read: {str(error).splitlines()[0]}") from None
    split = len(columns)
    for row in found:
        totals.add(tuple(row[:split]), [int(value or 0) for value in row[split:]])


class _Values:
    """The parameters of a statement, by the names that stand in it."""

    def __init__(self) -> None:
        self.given: dict[str, Any] = {}

    def add(self, value: Any) -> str:
        """The placeholder that stands for a value."""
        name = f"p{len(self.given)}"
        self.given[name] = value
        return f"${name}"


def _expression(name: str, values: _Values) -> str:
    if name in TIMES:
        return f"strftime(make_timestamp((at_ms - at_ms % {HOUR_MS}) * 1000), '{TIMES[name]}')"
    if name == ATTRIBUTED:
        return "CASE WHEN team = '' THEN '' ELSE '1' END"
    if name == "tag":
        return "array_to_string(list_sort(tags), ',')"
    if name.startswith(TAG):
        prefix = f"{name.removeprefix(TAG)}="
        first = f"list_filter(tags, lambda tag: starts_with(tag, {values.add(prefix)}))[1]"
        return f"coalesce(substr({first}, {len(prefix) + 1}), '')"
    return f'"{name}"'
