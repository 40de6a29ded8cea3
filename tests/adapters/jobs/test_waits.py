"""How long work takes that waits, as all brokers together have seen it."""

from __future__ import annotations

from router.adapters.jobs.waits import GIVEN_UP, KEY, JobWaits
from router.core.jobs.deadlines import KEPT_SLICES, PRIORS, SLICE_MS, waits

HOUR = 3_600_000
AT = 1_800_000_000_000


async def test_what_one_has_seen_the_others_go_by(connection):
    one, other = JobWaits(connection, 1.0), JobWaits(connection, 1.0)
    assert other.of("acme", "batch") == waits(PRIORS["batch"])
    for _ in range(20):
        await one.tell("acme", "batch", 3 * HOUR, AT)
    await other.refresh(AT)
    assert other.of("acme", "batch").done_ppm(HOUR) < 300_000
    assert other.of("acme", "window-8h").done_ppm(HOUR) == other.of("other", "window-8h").done_ppm(HOUR)
    assert other.of("other", "batch") == waits(PRIORS["batch"])


async def test_what_was_called_off_counts_as_longer_and_what_is_old_goes(connection):
    known = JobWaits(connection, 1.0)
    for _ in range(20):
        await known.tell("acme", "batch", HOUR, AT, over=False)
    await known.refresh(AT)
    assert known.of("acme", "batch").done_ppm(HOUR) < 300_000
    assert known.of_ended("acme", "batch") == waits(PRIORS["batch"]), "what waits is not given up for that"
    await known.tell("acme", "batch", HOUR, AT)
    await known.refresh(AT + (KEPT_SLICES + 1) * SLICE_MS)
    assert known.of("acme", "batch") == waits(PRIORS["batch"])
    assert [await connection.call("HLEN", key) for key in (KEY, GIVEN_UP)] == [0, 0]
