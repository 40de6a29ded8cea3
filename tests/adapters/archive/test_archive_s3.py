"""The archive in an S3-compatible store, spoken to over a socket."""

from __future__ import annotations

import pytest
from s3_server import S3Server
from store import PATIENT_S, Machine, make_row

from router.adapters.archive.archiver import archive_hour
from router.adapters.archive.files import ArchiveFiles
from router.adapters.archive.finance_extra import ArchiveError
from router.adapters.ledger.ledger import RedisLedger
from router.adapters.ledger.verify import verify
from router.adapters.reports.report import report
from router.core.booking.report import Question

HOUR = 500_000
NAME = "ledger/rows/tenant=acme/date=2027-01-15/hour=08.parquet"


@pytest.fixture
def s3():
    with S3Server() as server:
        yield server


async def book(connection, *attempts, **changes):
    ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)
    for attempt in attempts:
        ledger.settle(make_row(attempt, at_ms=HOUR * 3_600_000, **changes))
    await ledger.close()


async def verified(connection, files):
    return [hour.difference async for hour in verify(connection, files, "acme", HOUR, HOUR + 1)]


async def test_hours_are_written_read_verified_and_reported(connection, s3):
    await book(connection, *(f"r{number}/1" for number in range(200)), tags=("env=test",))
    files = ArchiveFiles(s3.url)
    moved = await archive_hour(connection, files, "acme", "2027011508")
    assert (moved.rows, moved.path) == (200, NAME.removeprefix("ledger/rows/"))
    await book(connection, "late/1")
    await archive_hour(connection, files, "acme", "2027011508")
    assert {name for name in s3.objects if not name.endswith("/")} == {NAME, NAME.replace("08.", "08-2.")}
    assert await verified(connection, files) == [""]
    found = await report(connection, s3.url, Question(HOUR, HOUR + 1, ("tag:env",)), ["acme"])
    assert {line.group: (line.requests, line.cost_nano) for line in found.lines} == {
        ("test",): (200, 200_000),
        ("prod",): (1, 1_000),
    }
    assert files.tenants() == ["acme"]


async def test_a_broken_object_is_found(connection, s3):
    await book(connection, *(f"r{number}/1" for number in range(50)))
    files = ArchiveFiles(s3.url)
    await archive_hour(connection, files, "acme", "2027011508")
    content = bytearray(s3.objects[NAME])
    content[100] ^= 4  # among the first page's data
    s3.objects[NAME] = bytes(content)
    (said,) = await verified(connection, files)
    assert "hour=08.parquet" in said
    del s3.objects[NAME]
    (said,) = await verified(connection, files)
    assert "is missing" in said


async def test_a_store_that_refuses_loses_nothing_and_no_secret_is_told(connection, s3):
    await book(connection, "r1/1")
    files = ArchiveFiles(s3.url)
    s3.failing = "PUT"
    with pytest.raises(ArchiveError) as refused:
        await archive_hour(connection, files, "acme", "2027011508")
    assert "s3://ledger/rows" in str(refused.value)
    assert "secret" not in str(refused.value)
    s3.failing = ""
    assert (await archive_hour(connection, files, "acme", "2027011508")).rows == 1


def test_a_place_that_cannot_be_understood_is_refused_without_its_secret():
    with pytest.raises(ArchiveError) as refused:
        ArchiveFiles("ftp://user:secret@host/x")
    assert "secret" not in str(refused.value)
