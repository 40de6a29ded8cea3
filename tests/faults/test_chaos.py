"""Everything breaks now and then, and callers hardly notice: what some healthy provider can serve is served, nothing is tried
beyond its bound, and the books are those of the simulators.
"""

from __future__ import annotations

import statistics
import time

import pytest
from books import budgeted, proven, worst_nano
from chaos import HI, Chaos
from node import Node, Tenant

ATTEMPTS = 3


def asked(model):
    return {"model": model, "messages": [{"role": "user", "content": HI}], "max_completion_tokens": 40}


def candidates(node, tenant):
    """Models that ``auto`` may be served by; a limit on latency is given up where nobody else can serve."""
    answer = node.http.post(f"{node.url}/costrouter/v1/estimate", json=asked("auto"), headers=tenant.headers).json()
    return sorted({one["model"] for one in answer["candidates"]})


async def stormy(folder, seconds, seed, *, workers, rate=None, **weather):
    with Node(folder, workers=workers, attempts=ATTEMPTS, breaker=True, store_wait_s=2, drain_s=5) as node:
        async with node.store() as store:
            tenant = Tenant(node, store)
            await budgeted(node, tenant)
            worst = worst_nano(node, tenant, [asked(model) for model in candidates(node, tenant)])
            chaos = Chaos(node, tenant, seed, **weather)
            capacity = await chaos.capacity(1.0 if rate else 3.0)
            seen = await chaos.run(seconds, rate or 0.6 * capacity)
            print(f"\ncapacity {capacity:.0f}/s, asked at {rate or 0.6 * capacity:.0f}/s for {seconds:.0f} s: {seen}")  # noqa: T201 - a soak's findings
            async with node.store() as again:  # the one from before may have been restarted
                tenant.store = again
                rows = await proven(node, tenant, worst=worst, bound_s=60)
        tries = {int(row.attempt.rpartition("/")[2]) for row in rows if not row.correction_of}
        assert max(tries) <= ATTEMPTS
        assert max(tries) > 1, "nothing was ever tried again, so nothing was shown"
        return seen


async def test_a_short_storm_is_hardly_noticed_and_booked_to_the_last_cent(tmp_path):
    seen = await stormy(tmp_path, 6, seed=3, workers=2, rate=20, restarts=False)
    assert seen.share >= 0.999, str(seen)
    assert seen.storms["worker"] == 1


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_a_long_storm_is_hardly_noticed_booked_to_the_last_cent_and_leaks_nothing(tmp_path, request):
    seconds = request.config.getoption("--chaos-seconds")
    seen = await stormy(tmp_path, seconds, seed=int(time.time()), workers=2)
    assert seen.share >= 0.999, str(seen)
    quarter = len(seen.memory) // 4
    early, late = (statistics.median(part) for part in (seen.memory[quarter : 2 * quarter], seen.memory[-quarter:]))
    assert late <= 1.15 * early, str(seen)
