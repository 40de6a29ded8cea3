"""Verification finds what does not agree, and says where."""

from __future__ import annotations

from pathlib import Path

import pytest
from store import PATIENT_S, Machine, make_row

from router.adapters.archive.archiver import archive_hour
from router.adapters.archive.files import ArchiveFiles
from router.adapters.ledger.cubes import pack_cube, read_cube
from router.adapters.ledger.ledger import RedisLedger
from router.adapters.ledger.verify import verify
from router.adapters.store.layout import encode_row
from router.core.values import Row

HOUR = 500_000
ROWS = [
    make_row(f"r{number}/1", at_ms=(HOUR + number % 3) * 3_600_000, cost_nano=1_000 + number, team="ab"[number % 2])
    for number in range(60)
]


@pytest.fixture
def files(tmp_path):
    return ArchiveFiles(str(tmp_path / "archive"))


@pytest.fixture
async def booked(connection, files):
    """Three hours of rows, the first of them archived."""
    await book(connection, ROWS)
    assert await archive_hour(connection, files, "acme", "2027011508")


async def book(connection, rows):
    ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)
    for row in rows:
        ledger.settle(row)
    await ledger.close()


def content_of(path):
    return Path(path).read_bytes()


def overwrite(path, content):
    Path(path).write_bytes(content)


async def verified(connection, files, **more):
    return [hour async for hour in verify(connection, files, "acme", HOUR - 9, HOUR + 9, **more)]


async def difference(connection, files, **more):
    found = [hour for hour in await verified(connection, files, **more) if hour.difference]
    assert len(found) == 1, found
    return found[0].hour, found[0].difference


async def test_a_sound_ledger_agrees_before_and_after_corrections(connection, files, booked):
    found = await verified(connection, files)
    assert [(hour.hour, hour.rows, hour.difference) for hour in found] == [
        ("2027011508", 20, ""), ("2027011509", 20, ""), ("2027011510", 20, ""),
    ]  # fmt: skip
    assert sum(hour.cost_nano for hour in found) == sum(row.cost_nano for row in ROWS)
    await book(connection, [make_row("r0/1!1", at_ms=HOUR * 3_600_000, correction_of="r0/1", cost_nano=-5, team="a")])
    assert [hour.rows for hour in await verified(connection, files) if not hour.difference] == [21, 20, 20]
    await archive_hour(connection, files, "acme", "2027011508")
    assert [hour.rows for hour in await verified(connection, files) if not hour.difference] == [21, 20, 20]


async def test_a_row_that_the_stream_lost_is_missed(connection, files, booked):
    stream = "cr:{acme}:rows:2027011509"
    ((entry, _), *_) = await connection.call("XRANGE", stream, "-", "+")
    await connection.call("XDEL", stream, entry)
    hour, said = await difference(connection, files)
    assert hour == "2027011509"
    assert said.startswith("cost_nano of team b, app faq, key key-1")
    cost = sum(row.cost_nano for row in ROWS[1::6])
    assert said.endswith(f"rows {cost - 1_001:,}, the cube {cost:,}")


async def test_a_cube_that_counts_too_much_is_named_to_the_unit(connection, files, booked):
    cells = await connection.call("HKEYS", "cr:{acme}:cube:2027011509")
    wrong = [cell for cell in cells if cell.startswith(b"o\x1fa")]
    await connection.call("HINCRBY", "cr:{acme}:cube:2027011509", wrong[0], 7)
    hour, said = await difference(connection, files)
    assert hour == "2027011509"
    assert "completion_tokens of team a" in said
    assert "rows 200, the cube 207" in said


async def test_a_packed_cube_that_counts_too_little_is_found(connection, files, booked):
    key = "cr:{acme}:packed:2027011508"
    sums = read_cube([], await connection.call("GET", key))
    next(iter(sums.values()))[0] -= 1
    await connection.call("SET", key, pack_cube(sums))
    hour, said = await difference(connection, files)
    assert hour == "2027011508"
    assert said.endswith("rows 10, the cube 9")
    assert await connection.call("EXISTS", "cr:{acme}:cube:2027011508") == 0


async def test_a_row_booked_twice_is_named(connection, files, booked):
    await connection.call("XADD", "cr:{acme}:rows:2027011508", "*", "r", encode_row(ROWS[0]))
    hour, said = await difference(connection, files)
    assert hour == "2027011508"
    assert said.startswith("attempt r0/1 is booked twice, the second time in the stream at ")


async def test_a_wrong_bit_anywhere_in_a_file_is_found_or_changes_nothing(connection, files, booked):
    path = Path(files.path("acme", "2027011508", 1))
    content = content_of(path)
    rows = list(files.rows(str(path)))
    found = 0
    for at in range(0, len(content), len(content) // 80):
        broken = bytearray(content)
        broken[at] ^= 1 << at % 8
        overwrite(path, broken)
        hour = (await verified(connection, files))[0]
        if hour.difference:
            assert "tenant=acme/date=2027-01-15/hour=08.parquet" in hour.difference
            found += 1
        else:
            assert list(files.rows(str(path))) == rows, at
    assert found > 40


async def test_a_missing_a_foreign_and_a_swapped_file_are_found(connection, files, booked):
    path = Path(files.path("acme", "2027011508", 1))
    whole = content_of(path)
    files.remove(str(path))
    assert "is missing in the archive" in (await difference(connection, files))[1]
    overwrite(path, whole)
    foreign = path.with_name("hour=03.parquet")
    overwrite(foreign, whole)
    assert await difference(connection, files) == (
        "2027011503",
        "tenant=acme/date=2027-01-15/hour=03.parquet lies in the archive, and the store knows nothing of it",
    )
    files.remove(str(foreign))
    await archive_hour(connection, files, "acme", "2027011509")
    path.with_name("hour=09.parquet").replace(path)
    overwrite(path.with_name("hour=09.parquet"), whole)
    said = [hour.difference for hour in await verified(connection, files)]
    assert said[0].startswith("archived cost_nano")
    assert said[1].startswith("archived cost_nano")


async def test_an_archive_that_cannot_be_read_is_a_difference_only_where_it_is_needed(connection, booked):
    assert await difference(connection, None) == ("2027011508", "rows lie in the archive, which cannot be read here")


class Journal:
    """A journal with these rows, and whether each is booked by its mark."""

    def __init__(self, *noted: tuple[Row, bool]) -> None:
        self._noted = noted

    def rows(self, tenant):
        return self._noted


async def test_a_journals_rows_are_there_or_wait(connection, files, booked):
    waits = make_row("w1/1", at_ms=HOUR * 3_600_000)
    found = await verified(connection, files, journal=Journal((ROWS[0], True), (ROWS[1], True), (waits, False)))
    assert [(hour.waiting, hour.difference) for hour in found] == [(1, ""), (0, ""), (0, "")]
    hour, said = await difference(connection, files, journal=Journal((waits, True)))
    assert hour == "2027011508"
    assert said.startswith("attempt w1/1 (1,000 nano-dollars) is booked by the journal's mark, and is neither")
