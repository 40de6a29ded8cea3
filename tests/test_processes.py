"""Signs of life as a supervisor looks at them."""

import asyncio
import contextlib
import os

import pytest
from store import until

from router.processes import LOOK_S, Pulse, beat_on


@pytest.fixture
def pipe():
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    yield Pulse(reader, 100.0), writer
    for close in (lambda: os.close(reader), lambda: os.close(writer)):
        with contextlib.suppress(OSError):
            close()


def test_silence_adds_up_look_by_look_and_ends_with_a_sign(pipe):
    pulse, writer = pipe
    assert [pulse.silent_s(now) for now in (100.5, 101.0, 101.5)] == [0.5, 1.0, 1.5]
    assert not pulse.begun
    os.write(writer, b"111")
    assert [pulse.silent_s(now) for now in (102.0, 102.5)] == [0.0, 0.5]
    assert pulse.begun


def test_where_the_supervisor_stood_still_as_well_nobody_hangs(pipe):
    pulse, _ = pipe
    assert pulse.silent_s(10_000.0) == LOOK_S


def test_a_worker_that_has_ended_gives_no_sign(pipe):
    pulse, writer = pipe
    os.close(writer)
    assert pulse.silent_s(100.5) == 0.5


async def test_a_loop_that_turns_gives_signs_whoever_looks(pipe):
    pulse, writer = pipe
    beating = asyncio.ensure_future(beat_on(writer))
    await until(lambda: not pulse.silent_s(100.5))
    pulse.close()  # the supervisor is gone: the loop goes on all the same
    done, _ = await asyncio.wait([beating], timeout=0.6)
    assert not done
    beating.cancel()
