"""What a broker puts in order between jobs."""

from __future__ import annotations

from types import SimpleNamespace

from jobs import a_job, handed_in
from store import Machine, make_hold, stored_holds

from router.adapters.broker import ends as broker_ends
from router.adapters.broker.ends import Ends
from router.adapters.jobs.ledger import JobLedger
from router.adapters.jobs.store import JobStore


async def test_what_is_held_for_a_job_that_was_never_stored_goes_back_once_it_is_old(connection, monkeypatch):
    store, ledger = JobStore(connection, "b1"), JobLedger(connection, Machine())
    yard = SimpleNamespace(store=store, ledger=ledger, now_ms=Machine().now_ms)
    await handed_in(store, a_job("job_known"))
    for attempt in ("job_known/0/1", "job_lost/0/1"):
        await ledger.reserve(make_hold(attempt))

    await Ends(yard).tidy("acme")
    assert set(await stored_holds(connection, "acme")) == {"job_known/0/1", "job_lost/0/1"}

    monkeypatch.setattr(broker_ends, "STRAY_MS", -1_000)
    await Ends(yard).tidy("acme")
    assert set(await stored_holds(connection, "acme")) == {"job_known/0/1"}
