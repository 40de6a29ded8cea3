"""In which order things go out when a store, or a node of a cluster, comes back while a batch is under way.

What the store has is asked first; then all that it lacks goes out in the order of its numbers: from memory, and what
memory no longer has from the journal.
"""

from __future__ import annotations

import asyncio

import pytest
from store import Machine, make_row, now_ms, until

from router.adapters.journal.adoption import BEAT
from router.adapters.journal.journal import Journal
from router.adapters.ledger import settle as ledger_settle
from router.adapters.ledger.ledger import RedisLedger
from router.adapters.ledger.settle import UNFENCE
from router.adapters.store.layout import swept_note
from router.ports import StoreUnavailable

ASKED = "?"


class ByHand:
    """A connection whose replies the test gives; knows the numbers of the batches it was sent, and when it was asked."""

    up = True

    def __init__(self):
        self.on_connect = []
        self.sent = []
        self.args = []
        self.replies = []

    def call(self, *command):
        reply = asyncio.get_running_loop().create_future()
        if command[0] == "WAITAOF":
            reply.set_result([1, 0])
        return reply

    def script(self, script, keys, args):
        if script is BEAT:
            return self.call("WAITAOF")
        self.sent.append(ASKED if script is UNFENCE else int(args[1].partition(":")[0]))
        self.args.append(args)
        self.replies.append(asyncio.get_running_loop().create_future())
        return self.replies[-1]

    async def take(self, *, fresh=1):
        """The latest batch is booked."""
        self.replies[-1].set_result([now_ms(), fresh])
        await asyncio.sleep(0)

    async def tell(self, mark, *swept):
        """Answers what was asked last: the mark, and what was swept."""
        assert self.sent[-1] == ASKED
        notes = [part for row in swept for part in (row.attempt.encode(), swept_note(row))]
        self.replies[-1].set_result([str(mark).encode(), *notes])
        await asyncio.sleep(0)

    def come_back(self):
        for callback in self.on_connect:
            callback()


@pytest.fixture
async def store():
    return ByHand()


@pytest.fixture
async def ledger(store):
    return RedisLedger(store, "w1", Machine(), flush_s=5)


def batch(ledger, number):
    ledger.settle(make_row(f"r{number}/1"))
    return asyncio.ensure_future(ledger.flush())


async def booked(store, ledger, *numbers):
    for number in numbers:
        flushed = batch(ledger, number)
        await asyncio.sleep(0)
        await store.take()
        await flushed


async def two_booked_one_flying(store, ledger):
    await booked(store, ledger, 1, 2)
    flushed = batch(ledger, 3)
    await asyncio.sleep(0)
    store.come_back()
    return flushed


async def test_what_flies_lands_first_then_the_store_is_asked_what_it_lacks(store, ledger):
    flushed = await two_booked_one_flying(store, ledger)
    assert store.sent == [1, 2, 3]
    await store.take()
    await store.tell(3)
    assert store.sent == [1, 2, 3, ASKED]
    await flushed
    assert ledger.waiting == 0
    await ledger.close()


async def test_what_flies_and_fails_comes_again_behind_what_the_store_has_lost(store, ledger):
    flushed = await two_booked_one_flying(store, ledger)
    store.replies[-1].set_exception(StoreUnavailable("lost"))
    await until(lambda: len(store.sent) == 4)
    await store.tell(1)
    assert ledger.waiting == 2
    assert store.args[-1][1] == "2:3"
    await store.take()
    assert store.sent == [1, 2, 3, ASKED, 2]
    await flushed
    await ledger.close()


async def test_a_second_return_while_the_store_is_asked_asks_once_more(store, ledger):
    await booked(store, ledger, 1, 2)
    store.come_back()
    store.come_back()
    assert store.sent[2:] == [ASKED]
    await store.tell(2)
    assert store.sent[2:] == [ASKED, ASKED]
    await store.tell(0)
    assert store.args[-1][1] == "1:2"
    await store.take()
    await ledger.flush()
    await ledger.close()


async def test_a_store_that_does_not_answer_is_asked_again_before_anything_is_sent(store, ledger):
    await booked(store, ledger, 1)
    store.come_back()
    store.replies[-1].set_exception(StoreUnavailable("lost"))
    flushed = batch(ledger, 2)
    await until(lambda: len(store.sent) == 3)
    assert store.sent == [1, ASKED, ASKED]
    await store.tell(1)
    await store.take()
    await flushed
    await ledger.close()


async def test_an_idle_tenant_of_whom_the_store_never_heard_is_not_asked_for(store, ledger):
    ledger._lane("acme")
    store.come_back()
    assert store.sent == []
    await ledger.close()


# From the journal.


@pytest.fixture
async def written(store, tmp_path, monkeypatch):
    """A ledger whose memory forgets at once what its journal keeps."""
    monkeypatch.setattr(ledger_settle, "_KEPT_S", 0.0)
    journal = Journal(tmp_path, "w1", kept_s=60.0)
    ledger = RedisLedger(store, "w1", Machine(), journal=journal, flush_s=5)
    yield ledger
    await ledger.close()


async def test_what_memory_no_longer_has_is_read_back_above_the_mark(store, written):
    await booked(store, written, 1, 2, 3)
    await until(lambda: not written._lane("acme")[1]._booked)
    store.come_back()
    await store.tell(1)
    flushed = batch(written, 4)
    await until(lambda: len(store.sent) == 5)
    assert store.args[-1][1] == "2:4", "the row that memory has as well goes out once"
    assert written.waiting == 3
    await store.take()
    await flushed


async def test_of_two_tenants_each_is_given_its_own(store, written):
    await booked(store, written, 1)
    written.settle(make_row("r2/1", tenant="other"))
    flushed = asyncio.ensure_future(written.flush())
    await asyncio.sleep(0)
    await store.take()
    await flushed
    await until(lambda: not any(lane._booked for _, lane in written._lanes.values()))
    store.come_back()
    for reply in store.replies[-2:]:
        reply.set_result([b"0"])
    await until(lambda: len(store.sent) == 6)
    assert sorted(args[1] for args in store.args[-2:]) == ["1:1", "2:2"]
    for reply in store.replies[-2:]:
        reply.set_result([now_ms(), 1])
    await written.flush()


async def test_a_segment_that_is_read_back_stays_until_its_rows_are_booked_again(store, written):
    await booked(store, written, 1)
    lane = written._lane("acme")[1]
    await until(lambda: not lane._booked)
    (segment,) = [found for found in written._journal._segments if found.size]
    assert segment.pending == 0
    store.come_back()
    await store.tell(0)
    await until(lambda: len(store.sent) == 3)
    assert segment.pending == 1
    await store.take()
    await until(lambda: not lane._booked)
    assert segment.pending == 0


async def test_a_journal_that_cannot_be_read_back_is_told_and_nothing_hangs(store, written, monkeypatch, capfd):
    await booked(store, written, 1)
    await until(lambda: not written._lane("acme")[1]._booked)

    def broken():
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(written._journal, "ends", lambda: broken)
    store.come_back()
    await store.tell(0)
    flushed = batch(written, 2)
    await until(lambda: len(store.sent) == 3)
    await store.take()
    await flushed
    assert "journal_not_read_back" in capfd.readouterr().out


# Swept, and never sent.


async def test_what_was_swept_and_ends_without_a_row_is_corrected_to_nothing(store, ledger):
    await booked(store, ledger, 1)
    store.come_back()
    await store.tell(1, make_row("gone/1", outcome="upstream_interrupted", certainty="estimated", cost_nano=900))
    assert store.sent == [1, ASKED, 2]
    assert store.args[-1][-1] == "gone/1"
    assert store.args[-1][2:4] == [1, "gone/1"]
    await store.take()
    await ledger.flush()
    await ledger.close()
