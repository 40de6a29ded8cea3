from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys

import pytest
from store import make_row

from router.adapters.journal.frames import ENDED, RELEASED, SENT, frame, read_frames
from router.adapters.journal.journal import Journal, lock, read_journal
from router.adapters.store.layout import encode_row
from router.ports import JournalUnavailable


def packed(attempt, **changes):
    return encode_row(make_row(attempt, **changes))


def frames(count):
    return [frame(number, ENDED, packed(f"r{number}/1", user="u" * number)) for number in range(1, count + 1)]


def names(records):
    return [record.row.attempt for record in records]


def segments(journal):
    return sorted(path.name for path in journal.folder.glob("*.wal"))


def told(journal):
    """(kind, attempt) of what a reader finds, and the bytes it cannot read."""
    records, damaged = read_journal(journal.folder)
    return [(record.kind, record.row.attempt) for record in records], damaged


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path, "w1", segment_bytes=8_192)
    yield journal
    journal.close(remove=True)


# Frames.


def test_a_tail_torn_at_any_byte_costs_the_last_record_only():
    whole = frames(3)
    kept, last = b"".join(whole[:2]), whole[2]
    # Zeros at its end are what an unwritten file holds: a tail without them has lost nothing.
    for cut in range(len(last.rstrip(b"\0"))):
        records, damaged = read_frames(kept + last[:cut] + bytes(50))
        assert names(records) == ["r1/1", "r2/1"]
        assert damaged <= cut
    assert read_frames(kept + last + bytes(50)) == (read_frames(kept + last)[0], 0)


def test_a_bit_turned_anywhere_costs_one_record_and_is_told():
    whole = frames(3)
    data = b"".join(whole)
    for at in range(len(whole[0]), len(whole[0]) + len(whole[1])):
        spoilt = bytearray(data)
        spoilt[at] ^= 1 << at % 8
        records, damaged = read_frames(bytes(spoilt))
        assert names(records) == ["r1/1", "r3/1"]
        assert damaged == len(whole[1])


def test_noise_is_no_record():
    draw = random.Random(3)
    for _ in range(200):
        noise = draw.randbytes(draw.randrange(100))
        assert read_frames(noise) == ([], len(noise.rstrip(b"\0")))


# Writing.


def test_what_was_written_is_read_back(journal):
    journal.sent("r1/1", packed("r1/1", certainty="estimated"))
    journal.ended("r1/1", packed("r1/1"), released=False)
    journal.sent("r2/1", packed("r2/1"))
    journal.ended("r2/1", packed("r2/1", outcome="released"), released=True)
    records, damaged = read_journal(journal.folder)
    assert damaged == 0
    assert [(record.number, record.kind) for record in records] == [(1, SENT), (2, ENDED), (3, SENT), (4, RELEASED)]
    assert records[1].row == make_row("r1/1")


def test_what_was_never_announced_needs_no_record_of_its_release(journal):
    assert journal.ended("r1/1", packed("r1/1", outcome="released"), released=True) == (1, None)
    assert told(journal) == ([], 0)


def test_a_killed_writer_loses_nothing_that_it_was_told_is_written(tmp_path):
    code = """
import sys, pathlib
from router.adapters.journal.journal import Journal
journal = Journal(pathlib.Path(sys.argv[1]), "w1", segment_bytes=20_000)
row = bytes.fromhex(sys.argv[2])
for number in range(10**9):
    journal.sent(str(number), row)
    print(number, flush=True)
"""
    row = packed("r1/1")
    writer = subprocess.Popen([sys.executable, "-c", code, tmp_path, row.hex()], stdout=subprocess.PIPE, text=True)
    for _ in range(300):
        said = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    said = max([said, *map(int, writer.communicate()[0].split())])
    records, damaged = read_journal(tmp_path / "w1")
    assert damaged == 0
    assert [record.number for record in records][: said + 1] == list(range(1, said + 2))


def test_segments_roll_and_go_once_the_store_has_all_of_them(journal):
    written = []
    for number in range(100):
        journal.sent(f"r{number}/1", packed(f"r{number}/1"))
        written.append(journal.ended(f"r{number}/1", packed(f"r{number}/1"), released=False)[1])
    assert len(segments(journal)) == 5
    assert len(told(journal)[0]) == 200
    journal.forget(written[:50])
    assert 100 <= len(told(journal)[0]) < 150
    journal.forget(written[50:])
    assert len(segments(journal)) == 1


@pytest.fixture
def kept(tmp_path):
    """A journal that keeps what the store has for a minute; and its clock."""
    clock = [0.0]
    journal = Journal(tmp_path, "kept", segment_bytes=8_192, kept_s=60, monotonic=lambda: clock[0])
    yield journal, clock
    journal.close(remove=True)


def ended_and_forgotten(journal, count):
    for number in range(count):
        journal.sent(f"r{number}/1", packed(f"r{number}/1"))
        journal.forget([journal.ended(f"r{number}/1", packed(f"r{number}/1"), released=False)[1]])


def test_what_a_replica_may_lack_is_kept_for_its_time_and_can_be_read(kept):
    journal, clock = kept
    ended_and_forgotten(journal, 100)
    assert len(segments(journal)) == 5
    found = [record for _, records in journal.ends()() for record in records]
    assert names(found) == [f"r{number}/1" for number in range(100)]
    assert {record.kind for record in found} == {ENDED}
    clock[0] = 59.0
    journal.forget([])
    assert len(segments(journal)) == 5
    read = journal.ends()
    clock[0] = 61.0
    journal.forget([])
    assert len(segments(journal)) == 1
    assert len(read()) == 1, "those that went meanwhile are left out"


def test_no_more_is_kept_than_a_bound(kept):
    ended_and_forgotten(kept[0], 500)
    assert len(segments(kept[0])) == 16


def test_what_is_only_kept_makes_room_on_a_full_disk(kept, monkeypatch):
    journal, _ = kept
    ended_and_forgotten(journal, 100)
    allocate = os.posix_fallocate

    def room_for_three(descriptor, offset, size):
        if len(segments(journal)) > 3:
            raise OSError(28, "No space left on device")
        allocate(descriptor, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", room_for_three)
    ended_and_forgotten(journal, 30)
    assert journal.fault == ""
    assert len(segments(journal)) == 3


def test_a_long_stream_keeps_its_record_and_no_old_segment(journal):
    journal.sent("long/1", packed("long/1"))
    for number in range(200):
        journal.sent(f"r{number}/1", packed(f"r{number}/1"))
        journal.forget([journal.ended(f"r{number}/1", packed(f"r{number}/1"), released=False)[1]])
    assert len(segments(journal)) <= 4
    assert (SENT, "long/1") in told(journal)[0]
    segment = journal.ended("long/1", packed("long/1"), released=False)[1]
    journal.forget([segment])
    assert (ENDED, "long/1") in told(journal)[0]


def test_no_end_goes_before_the_beginning_that_it_answers(journal):
    journal.sent("long/1", packed("long/1"))
    draw = random.Random(5)
    waiting = []
    for number in range(400):
        journal.sent(f"r{number}/1", packed(f"r{number}/1"))
        waiting.append(journal.ended(f"r{number}/1", packed(f"r{number}/1"), released=False)[1])
        while len(waiting) > 20:
            journal.forget([waiting.pop(draw.randrange(len(waiting)))])
        if number % 40 == 0:
            found = told(journal)[0]
            ended = {attempt for kind, attempt in found if kind == ENDED}
            assert {attempt for kind, attempt in found if kind == SENT} - ended == {"long/1"}


# Trouble.


def test_a_full_disk_refuses_before_sending_and_takes_every_end(tmp_path):
    journal = Journal(tmp_path, "w1", segment_bytes=8_192)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    journal.sent("r0/1", packed("r0/1"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_192, old[1]))
    try:
        sent = ["r0/1"]
        journal._bytes = 10_000  # the next segment is more than this disk has

        def fill():
            for number in range(1, 100):
                journal.sent(f"r{number}/1", packed(f"r{number}/1"))
                sent.append(f"r{number}/1")

        with pytest.raises(JournalUnavailable, match=r"cannot be written: File too large"):
            fill()
        assert len(sent) > 5
        assert "File too large" in journal.fault
        for attempt in sent:
            assert journal.ended(attempt, packed(attempt, total_ms=2**40), released=False)[1] is not None
        assert [attempt for kind, attempt in told(journal)[0] if kind == ENDED] == sent
        assert len(segments(journal)) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    journal.sent("r100/1", packed("r100/1"))
    assert journal.fault == ""
    journal.close(remove=True)


def test_an_end_that_cannot_be_written_is_written_later(journal, monkeypatch):
    journal.sent("r1/1", packed("r1/1"))
    write = os.pwrite

    def broken(descriptor, data, at):
        return write(descriptor, data[:10], at)  # torn, as by a disk that is full in the middle

    monkeypatch.setattr(os, "pwrite", broken)
    number, segment = journal.ended("r1/1", packed("r1/1"), released=False)
    assert (number, journal.fault != "") == (2, True)
    with pytest.raises(JournalUnavailable):
        journal.sent("r2/1", packed("r2/1"))
    monkeypatch.setattr(os, "pwrite", write)
    assert told(journal)[0] == [(SENT, "r1/1")]
    journal.sent("r3/1", packed("r3/1"))
    assert sorted(told(journal)[0]) == [(SENT, "r1/1"), (SENT, "r3/1"), (ENDED, "r1/1")]
    assert told(journal)[1] == 0
    assert journal.fault == ""
    journal.forget([segment])


def test_what_was_written_is_synced_even_if_its_segment_has_been_closed_since(journal, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    journal.syncing()()
    assert synced == []
    journal.sent("r1/1", packed("r1/1"))
    written = os.fstat(journal._segments[-1].descriptor).st_ino
    sync = journal.syncing()
    for number in range(100):
        journal.forget([journal.ended(f"x{number}/1", packed("x/1"), released=False)[1]])
    sync()
    assert journal._segments[-1].descriptor < 0 or os.fstat(journal._segments[-1].descriptor).st_ino != written
    assert synced == [written]


def test_a_journal_is_locked_before_it_can_be_seen_and_free_when_its_worker_is_dead(tmp_path):
    journal = Journal(tmp_path, "w1")
    with pytest.raises(BlockingIOError):
        lock(journal.folder)
    journal.sent("r1/1", packed("r1/1"))
    journal.close(remove=True)
    assert journal.folder.exists(), "an attempt that runs is not forgotten"
    os.close(lock(journal.folder))


@pytest.mark.parametrize("forgotten_first", [True, False])
def test_an_end_that_is_written_late_in_another_segment_keeps_none_for_ever(tmp_path, monkeypatch, forgotten_first):
    def full(*_):
        raise OSError(28, "No space left on device")

    journal = Journal(tmp_path, "w1", segment_bytes=2_000)
    journal.sent("r1/1", packed("r1/1"))
    with monkeypatch.context() as disk:
        disk.setattr(os, "posix_fallocate", full)
        _, segment = journal.ended("r1/1", packed("r1/1", user="u" * 3_000), released=False)
        assert journal.fault
    if forgotten_first:
        journal.forget([segment])
    journal.sent("r2/1", packed("r2/1"))
    assert (ENDED, "r1/1") in told(journal)[0]
    if not forgotten_first:
        journal.forget([segment])
    journal.forget([journal.ended("r2/1", packed("r2/1"), released=False)[1]])
    for number in range(20):
        journal.sent(f"q{number}/1", packed(f"q{number}/1"))
        journal.forget([journal.ended(f"q{number}/1", packed(f"q{number}/1"), released=False)[1]])
    assert len(segments(journal)) == 1
    journal.close(remove=True)
