"""Workers that are gone together with their disk, and those that come back after all."""

from __future__ import annotations

import asyncio

import pytest
from budgets import a_budget, stored_counts, terms_of
from store import PATIENT_S, Machine, killed, make_hold, make_row, now_ms, stored_holds, stored_rows, until

from router.adapters.journal.adoption import BEAT, Adoption
from router.adapters.journal.journal import Journal
from router.adapters.journal.sweep import DEAD_MS, MARKS_MS, NOTE, Sweep
from router.adapters.ledger import ledger as redis_ledger
from router.adapters.ledger import settle as ledger_settle
from router.adapters.ledger.ledger import RedisLedger
from router.adapters.reports.spend import spend
from router.adapters.store.layout import PLATFORM_JOURNALS, PLATFORM_SWEEPER, read_held
from router.core.booking.corrections import AMOUNTS
from router.core.budgets.budget import NO_TERMS
from router.ports import StoreUnavailable

DIMS = ("search", "faq", "key-1", "u1", "default@1a2b3c", "cheap", "acme/large", "acme", "realtime", "chat")
HELD = "1000:{at}:w1\x1eday:1\x1fmonth:2\x1e" + "\x1f".join(DIMS)


@pytest.fixture(autouse=True)
def _durable_at_once(monkeypatch):
    monkeypatch.setattr(ledger_settle, "_KEPT_S", 0.05)


class Lost:
    """A worker on another machine: three attempts sent, one of them ended and booked, and nobody heard of it since."""

    def __init__(self, connection, root):
        self.connection = connection
        self.root = root
        self.journal = Journal(root, "w1")
        self.ledger = RedisLedger(connection, "w1", Machine(), journal=self.journal, flush_s=PATIENT_S)
        self.at = {}
        self.terms = NO_TERMS

    async def send(self, *attempts):
        for attempt in attempts:
            self.at[attempt] = await self.ledger.reserve(make_hold(attempt, terms=self.terms))
            self.ledger.sent(self.row(attempt, certainty="estimated", outcome="upstream_interrupted", cost_nano=900))

    def row(self, attempt, **changes):
        return make_row(attempt, at_ms=self.at[attempt], budgets=self.terms.names, **changes)

    async def end(self, attempt, **changes):
        self.ledger.settle(self.row(attempt, **changes))
        await self.ledger.flush()

    def die(self):
        killed(self.ledger, self.connection, self.journal)

    async def adopt(self):
        await asyncio.sleep(0.05)  # what is dead sends nothing, however long
        return await Adoption(self.root, self.connection, Machine()).adopt_all()


@pytest.fixture
async def lost(connection, tmp_path):
    lost = Lost(connection, tmp_path / "elsewhere")
    await lost.send("r1/1", "r2/1", "r3/1")
    await lost.end("r1/1")
    await silent(connection, DEAD_MS + 1_000)
    return lost


async def silent(connection, milliseconds, journal="w1"):
    await connection.call("HSET", PLATFORM_JOURNALS, journal, now_ms() - milliseconds)


async def swept(connection, here=lambda _: False):
    await connection.call("DEL", PLATFORM_SWEEPER)
    return await Sweep(connection, here).turn()


async def net(connection):
    """Attempt to the sum of its rows' costs; and the number of requests and their cost as the cubes have them."""
    found = {}
    for row in await stored_rows(connection):
        name = row.correction_of or row.attempt
        found[name] = found.get(name, 0) + row.cost_nano
    hour = now_ms() // 3_600_000
    (total,) = await spend(connection, "acme", hour - 1, hour + 1)
    return found, (total.requests, total.cost_nano)


async def test_what_a_lost_machine_held_is_booked_as_held(lost, connection):
    await connection.call("HSET", "cr:{acme}:holds", "r2/1", HELD.format(at=lost.at["r2/1"]))
    assert await swept(connection) == 2
    assert await stored_holds(connection) == {}
    rows = {row.attempt: row for row in await stored_rows(connection)}
    known = rows["r2/1"]
    assert (known.certainty, known.outcome, known.cost_nano, known.cost_pico) == (
        "estimated",
        "upstream_interrupted",
        1_000,
        1_000_000,
    )
    assert (known.team, known.app, known.model, known.provider, known.endpoint) == (*DIMS[:2], *DIMS[6:8], "chat")
    assert known.budgets == ("day:1", "month:2")
    assert known.at_ms == lost.at["r2/1"]
    assert (rows["r3/1"].cost_nano, rows["r3/1"].model) == (1_000, "")
    assert await swept(connection) == 0


async def test_a_worker_that_was_only_away_corrects_what_was_booked_meanwhile(lost, connection):
    await swept(connection)
    await lost.send("r4/1")
    await lost.end("r2/1", cost_nano=700, cost_pico=700_000)
    await lost.end("r4/1", cost_nano=50)
    await lost.end("r3/1", outcome="released", cost_nano=0, cost_pico=0, prompt_tokens=0, completion_tokens=0)
    assert await net(connection) == ({"r1/1": 1_000, "r2/1": 700, "r3/1": 0, "r4/1": 50}, (4, 1_750))
    made = {row.attempt: row for row in await stored_rows(connection)}["r2/1!1"]
    assert (made.correction_of, made.certainty, made.cost_nano) == ("r2/1", "metered", -300)
    await lost.ledger.close()


async def test_what_still_runs_when_its_worker_comes_back_is_booked_once(lost, connection):
    await swept(connection)
    lost.ledger._reconnected()  # tells the store again of what runs
    await until(lambda: stored_holds(connection))
    await lost.end("r2/1", cost_nano=700)
    await lost.end("r3/1", outcome="released", cost_nano=0, cost_pico=0, prompt_tokens=0, completion_tokens=0)
    assert await net(connection) == ({"r1/1": 1_000, "r2/1": 700, "r3/1": 0}, (3, 1_700))
    assert await stored_holds(connection) == {}
    await lost.ledger.close()


async def test_what_was_swept_and_is_told_again_is_not_swept_twice(lost, connection):
    await swept(connection)
    lost.ledger._reconnected()
    await until(lambda: stored_holds(connection))
    await silent(connection, DEAD_MS + 1_000)
    await swept(connection)
    assert await stored_holds(connection) == {}
    assert await net(connection) == ({"r1/1": 1_000, "r2/1": 1_000, "r3/1": 1_000}, (3, 3_000))


async def test_what_was_never_sent_by_a_worker_that_ended_well_is_not_booked(lost, connection):
    await lost.end("r2/1")
    await lost.end("r3/1")
    await lost.ledger.reserve(make_hold("never-sent/1"))
    await lost.ledger.close()
    at = now_ms() - DEAD_MS - 1_000
    await connection.call("HSET", "cr:{acme}:holds", "never-sent/1", f"1000:{at}:w1")
    assert (await connection.call("HGET", PLATFORM_JOURNALS, "w1")).startswith(b"-")
    assert await swept(connection) == 1
    assert await stored_holds(connection) == {}
    assert (await net(connection))[0] == {"r1/1": 1_000, "r2/1": 1_000, "r3/1": 1_000}


async def test_a_worker_that_cannot_sign_off_leaves_its_journal(lost, connection, monkeypatch):
    await lost.end("r2/1")
    await lost.end("r3/1")
    script = connection.script

    async def silent_for(which, *arguments):
        if which is BEAT:
            raise StoreUnavailable("gone")
        return await script(which, *arguments)

    monkeypatch.setattr(connection, "script", silent_for)
    await lost.ledger.close()
    assert (lost.root / "w1").is_dir()


async def test_a_lost_journal_that_turns_up_is_booked_by_the_difference(lost, connection):
    lost.ledger._timer = None
    lane = lost.ledger._lane("acme")[1]
    lost.ledger.settle(lost.row("r2/1", cost_nano=700, cost_pico=700_000))
    lost.ledger._timer.cancel()
    lane.rows.clear()
    lost.die()
    await swept(connection)
    assert (await net(connection))[0] == {"r1/1": 1_000, "r2/1": 1_000, "r3/1": 1_000}
    assert await lost.adopt() == 1
    assert await net(connection) == ({"r1/1": 1_000, "r2/1": 700, "r3/1": 900}, (3, 2_600))
    sums = {}
    for row in await stored_rows(connection):
        if (row.correction_of or row.attempt) == "r2/1":
            sums = {name: sums.get(name, 0) + getattr(row, name) for name in AMOUNTS}
    truth = lost.row("r2/1", cost_nano=700, cost_pico=700_000)
    assert sums == {name: getattr(truth, name) for name in AMOUNTS}


async def test_an_adopted_journal_may_have_been_corrected_by_its_worker_before(lost, connection):
    await swept(connection)
    await lost.end("r2/1", cost_nano=700)
    lost.die()
    assert await lost.adopt() == 1
    assert await net(connection) == ({"r1/1": 1_000, "r2/1": 700, "r3/1": 900}, (3, 2_600))


async def test_a_sweep_that_its_worker_overtakes_books_nothing(lost, connection):
    sweep = Sweep(connection, lambda _: False)
    book = sweep._book

    async def overtaken(*arguments):
        await lost.end("r2/1", cost_nano=700)  # it finds the fence, takes it away, and settles
        return await book(*arguments)

    sweep._book = overtaken
    assert await sweep.turn() == 0
    await lost.end("r3/1")
    assert await net(connection) == ({"r1/1": 1_000, "r2/1": 700, "r3/1": 1_000}, (3, 2_700))
    lost.die()
    assert await lost.adopt() == 1
    assert (await net(connection))[1] == (3, 2_700)


async def test_a_sweep_that_its_worker_overtakes_earlier_notes_nothing_either(lost, connection, monkeypatch):
    script = connection.script
    names = []

    async def noting(*arguments):
        await lost.end("r2/1", cost_nano=700)
        return await script(NOTE, *arguments)

    def overtaken(which, *arguments):
        names.append(which)
        return noting(*arguments) if which is NOTE else script(which, *arguments)

    monkeypatch.setattr(connection, "script", overtaken)
    assert await swept(connection) == 0
    assert NOTE in names
    assert await connection.call("EXISTS", "cr:{acme}:swept:w1") == 0
    lost.ledger._reconnected()
    await lost.end("r3/1")
    assert await net(connection) == ({"r1/1": 1_000, "r2/1": 700, "r3/1": 1_000}, (3, 2_700))
    await lost.ledger.close()


# A worker that was only away, and holds that it never sent.

NOTHING = {
    "outcome": "released",
    "status": 0,
    "cost_nano": 0,
    "cost_pico": 0,
    "prompt_tokens": 0,
    "completion_tokens": 0,
}


@pytest.fixture
async def away(lost, connection):
    """It has two holds besides, that were never sent; all four were swept while it was away."""
    for attempt in ("never/1", "later/1"):
        lost.at[attempt] = await lost.ledger.reserve(make_hold(attempt))
    await silent(connection, DEAD_MS + 1_000)
    assert await swept(connection) == 4
    return lost


async def test_what_was_never_sent_is_taken_back_by_its_worker(away, connection):
    away.ledger.settle(away.row("never/1", **NOTHING))
    away.ledger.sent(away.row("later/1", certainty="estimated"))
    for attempt in ("r2/1", "r3/1", "later/1"):
        await away.end(attempt)
    costs = {"r1/1": 1_000, "r2/1": 1_000, "r3/1": 1_000, "never/1": 0, "later/1": 1_000}
    assert await net(connection) == (costs, (5, 4_000))
    made = {row.attempt: row for row in await stored_rows(connection)}["never/1!1"]
    assert [getattr(made, name) for name in AMOUNTS] == [
        -getattr(row, name) for row in await stored_rows(connection) if row.attempt == "never/1" for name in AMOUNTS
    ]
    await away.ledger.close()


async def test_a_reservation_that_its_caller_gave_up_is_taken_back_when_the_worker_is_there_again(
    away, connection, monkeypatch
):
    monkeypatch.setattr(redis_ledger, "_LATE_S", 0.1)
    away.ledger._free_later(away.ledger._lane("acme")[1], [make_hold("never/1", not_after_ms=0)])
    away.ledger._reconnected()  # the sweep is known before the hold is freed
    await until(lambda: away.ledger._lane("acme")[1]._swept)
    assert "never/1" in away.ledger._held
    await until(lambda: "never/1" not in away.ledger._held)
    for attempt in ("r2/1", "r3/1", "later/1"):
        await away.end(attempt)
    assert (await net(connection))[1] == (5, 4_000)
    await away.ledger.close()


async def test_a_reservation_that_was_given_up_before_the_sweep_was_known_is_taken_back(away, connection):
    away.ledger._held.pop("never/1")
    away.ledger._reconnected()

    async def nothing_left():
        return (await net(connection))[0]["never/1"] == 0

    await until(nothing_left)
    away.ledger._reconnected()
    for attempt in ("r2/1", "r3/1", "later/1"):
        await away.end(attempt)
    assert (await net(connection))[1] == (5, 4_000)
    await away.ledger.close()


async def test_what_its_worker_has_taken_back_or_corrected_is_left_alone_by_who_adopts_it(away, connection):
    away.ledger.settle(away.row("never/1", **NOTHING))
    away.ledger.sent(away.row("later/1", certainty="estimated", cost_nano=900))
    await away.end("r2/1", cost_nano=700)
    away.die()
    for path in away.journal.folder.glob("*.wal"):
        path.unlink()  # as they are once the store has had all of it for long enough
    assert await away.adopt() == 1
    assert (await net(connection))[0] == {"r1/1": 1_000, "r2/1": 700, "r3/1": 0, "never/1": 0, "later/1": 0}
    assert await connection.call("EXISTS", "cr:{acme}:swept:w1") == 0


async def test_a_store_that_loses_sweep_and_correction_is_told_the_truth_again(away, connection):
    await away.end("r2/1", cost_nano=700)
    await connection.call("FLUSHALL")
    away.ledger._reconnected()
    for attempt in ("r3/1", "later/1"):
        await away.end(attempt)
    found, _ = await net(connection)
    assert found["r2/1"] == 700
    await away.ledger.close()


async def test_a_sweep_that_was_cut_short_is_done_again(lost, connection):
    sweep = Sweep(connection, lambda _: False)

    async def dies(*_):
        raise StoreUnavailable("gone")

    sweep._book = dies
    with pytest.raises(StoreUnavailable, match="gone"):
        await sweep.turn()
    assert await swept(connection) == 2
    assert (await net(connection))[1] == (3, 3_000)


async def test_the_living_and_what_is_on_this_disk_are_left_alone(lost, connection):
    assert await swept(connection, here=lambda journal: journal == "w1") == 0
    await connection.script(BEAT, [PLATFORM_JOURNALS], ["", "w1"])
    assert await swept(connection) == 0
    assert len(await stored_holds(connection)) == 2
    await connection.call("HDEL", PLATFORM_JOURNALS, "w1")
    assert await swept(connection) == 0, "a young hold of a worker that has not been heard of yet"


async def test_one_worker_of_the_fleet_has_its_turn_at_a_time(lost, connection):
    assert await swept(connection) == 2
    await lost.send("r5/1")
    await silent(connection, DEAD_MS + 1_000)
    assert await Sweep(connection, lambda _: False).turn() == 0
    assert await swept(connection) == 1


async def test_a_hold_that_arrived_after_its_journal_was_closed_was_never_sent(lost, connection):
    await connection.call("HSET", PLATFORM_JOURNALS, "w1", -now_ms())
    assert await swept(connection) == 0
    at = now_ms() - DEAD_MS - 1_000
    await connection.call("HSET", "cr:{acme}:holds", "r2/1", HELD.format(at=at), "r3/1", f"1:{at}:w1")
    assert await swept(connection) == 2
    assert await stored_holds(connection) == {}
    assert [row.attempt for row in await stored_rows(connection)] == ["r1/1"]


async def test_marks_of_closed_journals_go_after_a_day(lost, connection):
    await swept(connection)
    assert await connection.call("HGET", "cr:{acme}:applied", "w1") == b"4~"
    await connection.call("HSET", PLATFORM_JOURNALS, "w1", -(now_ms() - MARKS_MS + 60_000))
    await swept(connection)
    assert await connection.call("EXISTS", "cr:{acme}:applied", "cr:{acme}:swept:w1") == 2
    await connection.call("HSET", PLATFORM_JOURNALS, "w1", -(now_ms() - MARKS_MS - 60_000))
    await swept(connection)
    assert await connection.call("EXISTS", "cr:{acme}:applied", "cr:{acme}:swept:w1", PLATFORM_JOURNALS) == 0


def test_a_hold_may_say_less_or_more():
    assert read_held("5:7:w1").dimensions == ()
    assert read_held("5:7:a:b").journal == "a:b"
    held = read_held("5:7:w1\x1e\x1ea\x1fb\x1e1\x1f2")
    assert (held.amount_nano, held.at_ms, held.budgets, held.dimensions) == (5, 7, (), ("a", "b"))
    with pytest.raises(ValueError, match="not enough values"):
        read_held("5")


@pytest.mark.parametrize("first_swept", [True, False])
async def test_budgets_are_charged_once_by_what_is_swept_adopted_and_corrected(connection, tmp_path, first_swept):
    lost = Lost(connection, tmp_path / "elsewhere")
    lost.terms = terms_of(a_budget(), a_budget(period="hour", rolling=True), at_ms=now_ms())
    await lost.send("r1/1", "r2/1", "r3/1")
    await lost.end("r1/1")

    async def counted():
        (found,) = {await stored_counts(connection, name) for name in lost.terms.names}
        return found

    assert await counted() == (1_000, 2_000)
    if first_swept:
        await silent(connection, DEAD_MS + 1_000)
        assert await swept(connection) == 2
        assert await counted() == (3_000, 0)
    lost.ledger.settle(lost.row("r2/1", cost_nano=700, cost_pico=700_000))
    lost.die()
    assert await lost.adopt() == 1
    assert await counted() == (2_600, 0)
    assert await net(connection) == ({"r1/1": 1_000, "r2/1": 700, "r3/1": 900}, (3, 2_600))


async def test_what_was_swept_and_turns_out_never_to_have_been_sent_costs_nothing(connection, tmp_path):
    lost = Lost(connection, tmp_path / "elsewhere")
    lost.terms = terms_of(a_budget(), at_ms=now_ms())
    await lost.send("r1/1")
    await lost.ledger.reserve(make_hold("r2/1", terms=lost.terms))
    await silent(connection, DEAD_MS + 1_000)
    assert await swept(connection) == 2
    lost.die()
    assert await lost.adopt() == 1
    assert await net(connection) == ({"r1/1": 900, "r2/1": 0}, (2, 900))
    assert await stored_counts(connection, lost.terms.names[0]) == (900, 0)
