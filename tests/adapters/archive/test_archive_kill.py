"""An archiver killed by SIGKILL at each step: the next one brings it to the same end."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter

import pytest
from store import PATIENT_S, Machine, make_row

from router.adapters.archive.archiver import archive_hour
from router.adapters.archive.files import ArchiveFiles
from router.adapters.ledger.ledger import RedisLedger
from router.adapters.ledger.verify import verify

HOUR = 500_000
DYING = """
import asyncio, os, signal, sys
import router.adapters.archive.archiver as archive
from router.adapters.archive.files import ArchiveFiles, PartWriter
from router.adapters.store.resp import RespConnection
from router.adapters.store.url import StoreAddress

step, socket, place = sys.argv[1:]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

async def die_later(*_):
    die()

if step == "begun":
    archive._write = die_later
elif step == "file half written":
    archive.GROUP_ROWS = 1
    real = PartWriter.write
    written = []
    def write(self, batches):
        real(self, batches)
        written.append(batches)
        if len(written) == 2:
            die()
    PartWriter.write = write
elif step == "file written, not named":
    ArchiveFiles.checked = die
elif step == "file named, not committed":
    archive._compare = die_later

async def run():
    connection = RespConnection(StoreAddress(path=socket), timeout_s=30)
    await connection.start()
    moved = await archive.archive_hour(connection, ArchiveFiles(place), "acme", "2027011508")
    if step == "committed, not told":
        die()

asyncio.run(run())
"""


@pytest.mark.parametrize(
    "step",
    ["begun", "file half written", "file written, not named", "file named, not committed", "committed, not told"],
)
async def test_no_row_is_lost_or_doubled(connection, store_socket, tmp_path, step):
    ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)
    for number in range(1200):
        ledger.settle(make_row(f"r{number}/1", at_ms=HOUR * 3_600_000))
    await ledger.close()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", DYING, step, str(store_socket), str(tmp_path))
    assert await process.wait() == -signal.SIGKILL
    files = ArchiveFiles(str(tmp_path))
    moved = await archive_hour(connection, files, "acme", "2027011508")
    assert moved is None if step == "committed, not told" else moved.rows == 1200
    back = Counter(row.attempt for path in files.listed("acme").values() for row in files.rows(path))
    assert len(back) == 1200
    assert set(back.values()) == {1}
    assert await connection.call("EXISTS", "cr:{acme}:rows:2027011508") == 0
    assert [hour.difference async for hour in verify(connection, files, "acme", HOUR, HOUR + 1)] == [""]
