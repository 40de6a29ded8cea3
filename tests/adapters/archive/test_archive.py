"""Rows on their way from the store to the archive: every one of them counted once, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
from collections import Counter
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import fs
from store import PATIENT_S, Machine, make_row, stored_rows

import router.adapters.archive.archiver as archive_module
from router.adapters.archive.archiver import archive_hour, archive_tenant, closed_hours
from router.adapters.archive.files import ArchiveFiles
from router.adapters.archive.finance_extra import ArchiveError
from router.adapters.archive.schema import ADDED
from router.adapters.ledger.ledger import RedisLedger
from router.adapters.ledger.rows import hour_state
from router.adapters.ledger.verify import verify
from router.adapters.reports.report import report
from router.adapters.store.layout import tenant_prefix
from router.core.booking.corrections import correction
from router.core.booking.report import GROUPS, SUMS, Question, sums_of, value_of

HOUR = 500_000
"""2027-01-15 08:00 UTC."""
NOW_MS = (HOUR + 100) * 3_600_000
SPAN = (HOUR - 24 * 60, HOUR + 24 * 60)


@pytest.fixture
def files(tmp_path):
    return ArchiveFiles(str(tmp_path / "archive"))


async def book(connection, rows):
    ledger = RedisLedger(connection, "w1", Machine(), flush_s=PATIENT_S)
    for row in rows:
        ledger.settle(row)
    await ledger.close()


async def archive(connection, files, tenant="acme", now_ms=NOW_MS):
    return [moved async for moved in archive_tenant(connection, files, tenant, now_ms, 48)]


def some_rows(count, seed=1, hours=3):
    draw = random.Random(seed)
    return [
        make_row(
            f"r{number}/1",
            at_ms=(HOUR + draw.randrange(hours)) * 3_600_000 + draw.randrange(3_600_000),
            team=draw.choice(("", "search", "support")),
            model=draw.choice(("a/x", "b/y")),
            certainty=draw.choice(("metered", "metered", "counted", "estimated")),
            tags=draw.choice(((), ("env=prod",), ("app=faq", "env=test"), ("env=prod", "env=two"))),
            user=draw.choice(("u1", "ü2", "")),
            unit=draw.choice(("", "ticket")),
            cost_nano=draw.randrange(10**12),
            cost_pico=draw.randrange(10**15),
            baseline_nano=draw.randrange(10**12),
            budgets=draw.choice(((), ("b1:2027-01", "b2:day"))),
        )
        for number in range(count)
    ]


def naive(rows, names):
    """Plain sums, by a reader's own idea of them."""
    found = {}
    for row in rows:
        sums = found.setdefault(tuple(value_of(name)(row) for name in names), Counter())
        sums.update(dict(zip(SUMS, sums_of(row), strict=True)))
    return {group: {name: sums[name] for name in SUMS} for group, sums in found.items()}


def shown(found):
    return {line.group: {name: getattr(line, name) for name in SUMS} for line in found.lines}


async def ask(connection, files, *names, filters=()):
    return await report(connection, files.root, Question(*SPAN, names, filters), ["acme"])


async def test_closed_hours_go_to_parquet_and_leave_the_store(connection, files):
    rows = some_rows(300)
    await book(connection, rows)
    moved = await archive(connection, files)
    assert [one.path for one in moved] == [f"tenant=acme/date=2027-01-15/hour=0{hour}.parquet" for hour in (8, 9)] + [
        "tenant=acme/date=2027-01-15/hour=10.parquet"
    ]
    assert sum(one.rows for one in moved) == 300
    assert sum(one.cost_nano for one in moved) == sum(row.cost_nano for row in rows)
    assert await stored_rows(connection) == []
    assert await connection.call("EXISTS", "cr:{acme}:rows:2027011508") == 0
    back = [row for path in files.listed("acme").values() for row in files.rows(path)]
    assert sorted(back, key=lambda row: row.attempt) == sorted(rows, key=lambda row: row.attempt)
    assert await archive(connection, files) == []


@pytest.mark.parametrize("name", [*GROUPS, "tag:env", "tag:none"])
async def test_a_report_is_the_same_before_between_and_after(connection, files, name):
    rows = some_rows(200)
    await book(connection, rows)
    wanted = naive(rows, (name,))
    assert shown(await ask(connection, files, name)) == wanted
    await archive_hour(connection, files, "acme", "2027011509")
    assert shown(await ask(connection, files, name)) == wanted
    await archive(connection, files)
    assert shown(await ask(connection, files, name)) == wanted


async def test_filters_hold_over_every_source(connection, files):
    rows = some_rows(200)
    await book(connection, rows)
    filters = (("team", "search"), ("team", ""), ("tag:env", "prod"), ("day", "2027-01-15"))
    wanted = naive([r for r in rows if r.team != "support" and "env=prod" in r.tags], ("model", "team"))
    assert shown(await ask(connection, files, "model", "team", filters=filters)) == wanted
    await archive(connection, files)
    assert shown(await ask(connection, files, "model", "team", filters=filters)) == wanted
    assert (await ask(connection, files, filters=(("tag:env", "it's"),))).lines == ()


async def test_hours_that_are_young_or_have_open_holds_stay(connection, files):
    await book(connection, some_rows(50, hours=4))
    await connection.call("HSET", "cr:{acme}:holds", "x/1", f"5:{(HOUR + 1) * 3_600_000 + 7}:w1\x1eb\x1ed")
    now_ms = (HOUR + 2 + 48) * 3_600_000
    assert await closed_hours(connection, "acme", now_ms, 48) == ["2027011508"]
    assert await closed_hours(connection, "acme", now_ms + 3_600_000, 48) == ["2027011508", "2027011510"]


async def test_what_is_booked_later_becomes_a_further_part(connection, files):
    rows = some_rows(100)
    await book(connection, rows)
    await archive(connection, files)
    (first, *_) = rows
    correction = make_row("r0/1!1", **{
        name: getattr(first, name) for name in ("at_ms", "team", "model", "certainty", "tags", "user", "unit")
    }, cost_nano=-first.cost_nano, cost_pico=-first.cost_pico, baseline_nano=0, prompt_tokens=-1, completion_tokens=0,
        correction_of="r0/1")  # fmt: skip
    await book(connection, [correction])
    wanted = naive([*rows, correction], ("user", "team"))
    assert shown(await ask(connection, files, "user", "team")) == wanted
    (moved,) = await archive(connection, files)
    assert moved.part == 2
    assert moved.path.endswith("-2.parquet")
    assert shown(await ask(connection, files, "user", "team")) == wanted
    assert shown(await ask(connection, files, "team")) == naive([*rows, correction], ("team",))
    assert (await ask(connection, files)).total.requests == 100


class Killed(BaseException):
    """The process is gone."""


STEPS = {
    "after begin": ("_write", "before"),
    "after the file has its name": ("_write", "after"),
    "before the commit": ("_compare", "after"),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("late", [False, True])
async def test_a_crash_at_any_step_loses_nothing_and_doubles_nothing(connection, files, monkeypatch, step, late):
    rows = some_rows(100, hours=1)
    await book(connection, rows)
    name, when = STEPS[step]
    real = getattr(archive_module, name)

    async def dying(*args):
        if when == "after":
            await real(*args)
        raise Killed

    monkeypatch.setattr(archive_module, name, dying)
    with pytest.raises(Killed):
        await archive_hour(connection, files, "acme", "2027011508")
    monkeypatch.setattr(archive_module, name, real)
    if late:
        rows.append(make_row("late/1", at_ms=HOUR * 3_600_000))
        await book(connection, rows[-1:])
    assert shown(await ask(connection, files, "user")) == naive(rows, ("user",))
    assert [one.rows for one in await archive(connection, files)] == [100]
    assert shown(await ask(connection, files, "user")) == naive(rows, ("user",))
    assert [one.rows for one in await archive(connection, files)] == ([1] if late else [])
    assert shown(await ask(connection, files, "user")) == naive(rows, ("user",))


async def test_a_file_left_half_written_is_never_taken_for_a_part(connection, files):
    rows = some_rows(20, hours=1)
    await book(connection, rows)
    folder = Path(files.path("acme", "2027011508", 1)).parent
    folder.mkdir(parents=True)
    (folder / ".hour=08.parquet.abc.tmp").write_bytes(b"PAR1 half")
    await archive(connection, files)
    assert set(files.listed("acme")) == {("2027011508", 1)}
    assert shown(await ask(connection, files, "unit")) == naive(rows, ("unit",))


async def test_archivers_at_once_write_each_row_once(connection, files):
    rows = some_rows(400)
    await book(connection, rows)
    moved = await asyncio.gather(*[archive(connection, files) for _ in range(4)])
    assert sum(one.rows for some in moved for one in some) == 400
    await book(connection, [make_row("late/1", at_ms=HOUR * 3_600_000)])
    await asyncio.gather(*[archive(connection, files) for _ in range(4)])
    back = Counter(row.attempt for path in files.listed("acme").values() for row in files.rows(path))
    assert len(back) == 401
    assert set(back.values()) == {1}


async def test_reports_while_hours_move_are_never_wrong(connection, files):
    rows = some_rows(600, hours=6)
    await book(connection, rows)
    wanted = naive(rows, ("user",))
    moving = asyncio.ensure_future(archive(connection, files))
    asked = 0
    while not moving.done():
        assert shown(await ask(connection, files, "user")) == wanted
        asked += 1
    assert asked
    assert len(await moving) == 6


async def test_a_late_writer_gives_up(connection, files):
    rows = some_rows(100, hours=1)
    await book(connection, rows)
    real = archive_module.stream_rows

    async def slow(*args):
        # Somebody else is done with the part before this one has read its rows.
        archive_module.stream_rows = real
        assert await archive_hour(connection, files, "acme", "2027011508") is not None
        async for entries in real(*args):
            yield entries

    archive_module.stream_rows = slow
    try:
        assert await archive_hour(connection, files, "acme", "2027011508") is None
    finally:
        archive_module.stream_rows = real
    assert shown(await ask(connection, files, "user")) == naive(rows, ("user",))


async def test_rows_that_the_cube_does_not_know_stay_in_the_store(connection, files):
    rows = some_rows(50, hours=1)
    await book(connection, rows)
    cube = await connection.call("HKEYS", "cr:{acme}:cube:2027011508")
    cost = next(field for field in cube if field.startswith(b"c\x1f"))
    await connection.call("HINCRBY", "cr:{acme}:cube:2027011508", cost, 1)
    with pytest.raises(ArchiveError, match="nothing was taken out of the store"):
        await archive(connection, files)
    assert len(await stored_rows(connection)) == 50


async def test_a_file_that_holds_more_is_not_written_over(connection, files):
    await book(connection, some_rows(50, hours=1))
    await archive(connection, files)
    await connection.call("FLUSHALL")
    await book(connection, some_rows(20, hours=1))
    with pytest.raises(ArchiveError, match="rows that the store knows nothing of"):
        await archive(connection, files)
    assert files.content(files.path("acme", "2027011508", 1)).rows == 50


async def test_old_cubes_go_and_reports_read_rows_instead(connection, files):
    rows = some_rows(100)
    await book(connection, rows)
    far = NOW_MS + 401 * 24 * 3_600_000
    await archive(connection, files, now_ms=far)
    assert await connection.call("EXISTS", "cr:{acme}:cube:2027011508", "cr:{acme}:packed:2027011508") == 0
    assert shown(await ask(connection, files, "team")) == naive(rows, ("team",))
    late = make_row("late/1", at_ms=HOUR * 3_600_000)
    await book(connection, [late])
    assert shown(await ask(connection, files, "team", "month")) == naive([*rows, late], ("team", "month"))
    assert (await hour_state(connection, "acme", "2027011508")).dropped


async def test_a_tenant_of_any_name_has_a_folder_of_its_own(connection, files):
    for tenant in ("", "../up", "a/b", "ü", "%"):
        await book(connection, [make_row("r1/1", tenant=tenant)])
        assert len(await archive(connection, files, tenant)) == 1
    assert files.tenants() == sorted(("", "../up", "a/b", "ü", "%"))
    assert {info.base_name for info in files.filesystem.get_file_info(fs.FileSelector(files.root))} == {
        "tenant=%", "tenant=..%2Fup", "tenant=a%2Fb", "tenant=%C3%BC", "tenant=%25",
    }  # fmt: skip


async def test_row_groups_keep_memory_bounded(connection, files, monkeypatch):
    monkeypatch.setattr(archive_module, "GROUP_ROWS", 500)
    await book(connection, some_rows(1800, hours=1))
    (moved,) = await archive(connection, files)
    with pq.ParquetFile(files.path("acme", moved.hour, 1)) as file:
        assert file.num_row_groups == 4
        assert (file.schema_arrow.metadata or file.metadata.metadata)[b"costrouter.schema"] == b"3"


texts = st.sampled_from(("", "a", "b", "ünï", "it's", 'say "x"'))
row_facts = st.fixed_dictionaries(
    {
        "at_ms": st.integers(HOUR * 3_600_000 - 10, (HOUR + 2) * 3_600_000)
        | st.sampled_from([1_801_439_999_999, 1_801_440_000_000]),  # the end of January 2027
        "team": texts,
        "user": texts,
        "unit": texts,
        "model": st.sampled_from(("a/x", "b/y")),
        "certainty": st.sampled_from(("metered", "counted", "estimated")),
        "tags": st.lists(st.sampled_from(("env=a", "env=", "env=b", "x=1")), unique=True, max_size=3).map(
            lambda tags: tuple(sorted(tags))
        ),
        "cost_nano": st.integers(-(2**53), 2**53),
        "baseline_nano": st.integers(0, 2**53),
        "prompt_tokens": st.integers(-1000, 2**40),
        "correction_of": st.sampled_from(("", "", "r0/1")),
    }
)
names = st.lists(st.sampled_from((*GROUPS, "tag:env", "tag:x")), max_size=3, unique=True)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(facts=st.lists(row_facts, max_size=12), names=names, split=st.booleans())
async def test_cubes_rows_and_archive_tell_the_naive_sums(connection, tmp_path, facts, names, split):
    await connection.call("FLUSHALL")
    files = ArchiveFiles(tempfile.mkdtemp(dir=tmp_path))
    rows = [make_row(f"r{number}/1", **one) for number, one in enumerate(facts)]
    wanted = naive(rows, names)
    await book(connection, rows[: len(rows) // 2] if split else rows)
    if split:
        await archive(connection, files)
        await book(connection, rows[len(rows) // 2 :])
    assert shown(await ask(connection, files, *names)) == wanted
    by_rows = await ask(connection, files, *names, "user")
    assert by_rows.total.cost_nano == sum(row.cost_nano for row in rows)
    await archive(connection, files)
    assert shown(await ask(connection, files, *names)) == wanted
    far = NOW_MS + 401 * 24 * 3_600_000
    await archive(connection, files, now_ms=far)
    prefix = tenant_prefix("acme")
    assert not await connection.call("EXISTS", f"{prefix}cube:2027011508", f"{prefix}packed:2027011508")
    assert shown(await ask(connection, files, *names)) == wanted


@pytest.mark.parametrize("version", [1, 2])
async def test_parts_that_an_earlier_version_wrote_are_read_with_what_they_have(connection, files, version):
    rows = some_rows(40, hours=1)
    await book(connection, rows)
    (moved,) = await archive(connection, files)
    path = files.path("acme", moved.hour, 1)
    with pq.ParquetFile(path) as file:
        table, metadata = file.read(), file.metadata.metadata
    newer = [name for added, names in ADDED.items() if added > version for name in names]
    old = table.drop_columns(newer)
    with pq.ParquetWriter(path, old.schema, write_page_checksum=True) as writer:
        writer.write_table(old)
        said = json.loads(metadata[b"costrouter.content"])
        said["sums"] = {name: amount for name, amount in said["sums"].items() if name not in newer}
        writer.add_key_value_metadata({"costrouter.schema": str(version), "costrouter.content": json.dumps(said)})
    assert shown(await ask(connection, files, "user")) == naive(rows, ("user",))
    assert [hour.difference async for hour in verify(connection, files, "acme", HOUR, HOUR + 1)] == [""]
    assert len(list(files.rows(path))) == 40
    assert all(row.would_save_nano == 0 and row.units == () for row in files.rows(path))


async def test_units_are_summed_alike_wherever_their_rows_lie(connection, files):
    drawn = (("audio.input_minute", 61_500), ("tool.web_search", 2)), (("image.output_each/hd/1024x1024", 3),), ()
    rows = [msgspec.structs.replace(row, units=drawn[number % 3]) for number, row in enumerate(some_rows(90))]
    corrected = correction(msgspec.structs.replace(rows[0], units=(("tool.web_search", 1),)), rows[0])
    await book(connection, [*rows, corrected])
    wanted = naive([*rows, corrected], ("team",))
    assert sum(sums["tool_calls"] for sums in wanted.values()) == 2 * 30 - 1
    assert shown(await ask(connection, files, "team")) == wanted
    assert [one.difference async for one in verify(connection, files, "acme", HOUR, HOUR + 3)] == ["", "", ""]
    await archive(connection, files)
    assert shown(await ask(connection, files, "team")) == wanted
    by_rows = await ask(connection, files, "user")
    assert (by_rows.total.images, by_rows.total.audio_ms) == (90, 30 * 61_500 - 61_500)
    assert [one.difference async for one in verify(connection, files, "acme", HOUR, HOUR + 3)] == ["", "", ""]
    back = [row for path in files.listed("acme").values() for row in files.rows(path)]
    assert sorted(row.units for row in back) == sorted(row.units for row in [*rows, corrected])
