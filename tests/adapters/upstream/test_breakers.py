"""Ways to providers that open, are probed and close, in one worker and in several."""

from __future__ import annotations

import asyncio
import time

import pytest
from fakes import FakeClock

from router.adapters.upstream.breakers import Breakers
from router.core.errors import RouterError
from router.core.forwarding.breaker import Rules
from router.ports import Origin, ProviderLink, StoreUnavailable

HOST = Origin("https", "api.example", 443)
ONE = ProviderLink("acme", HOST, (), key="A")
TWO = ProviderLink("acme", HOST, (), key="B", weight=3)
FAULT = RouterError("upstream_unavailable", "no capacity")
GONE = RouterError("upstream_unreachable", "refused")


class Worker:
    def __init__(self, clock, connection=None, links=(ONE,), draw=lambda: 0.5, **options):
        self.breakers = Breakers(
            {"acme": links, "beta": (ProviderLink("beta", HOST, ()),)},
            clock,
            connection=connection,
            draw=draw,
            **options,
        )
        self.changes = 0
        self.breakers.on_change = self.changed

    def changed(self):
        self.changes += 1

    def link(self, model="m", tokens=10):
        return self.breakers.link("acme", model, tokens)

    def fails(self, times=1, error=FAULT, link=ONE, model="m"):
        for _ in range(times):
            self.breakers.ended(link, model, "upstream_error", error)

    def serves(self, times=1, link=ONE, model="m"):
        for _ in range(times):
            self.breakers.ended(link, model, "ok", None)

    async def tick(self):
        await self.breakers.exchange()


@pytest.fixture
def clock():
    return FakeClock(time.time_ns() // 1_000_000)


def test_five_faults_in_a_row_shut_a_way_and_no_other(clock):
    worker = Worker(clock)
    worker.fails(4)
    assert worker.link() is ONE
    worker.fails()
    assert worker.link() is None
    assert worker.link("other") is ONE
    assert worker.breakers.link("beta", "m", 10) is not None
    assert worker.changes == 1
    ((where, why),) = worker.breakers.shut().items()
    assert where == ("acme", "m")
    assert why.startswith(
        "circuit breaker is open (5 faults in a row, the last: upstream_unavailable); probed again in 2"
    )
    assert worker.breakers.wait_ms("acme", "m") == 2_000
    assert worker.breakers.wait_ms("acme", "other") is None


def test_a_success_in_between_begins_the_row_anew(clock):
    worker = Worker(clock)
    worker.fails(4)
    worker.serves()
    worker.fails(4)
    assert worker.link() is ONE


@pytest.mark.parametrize("code", ["invalid_request", "journal_unavailable"])
def test_what_is_not_the_providers_fault_shuts_nothing(clock, code):
    worker = Worker(clock)
    worker.fails(50, RouterError(code, "no"))
    assert worker.link() is ONE


def test_a_caller_who_leaves_says_nothing_of_a_provider(clock):
    worker = Worker(clock)
    worker.fails(4)
    worker.breakers.ended(ONE, "m", "client_left", None)
    worker.fails()
    assert worker.link() is None


async def test_after_its_time_one_probe_goes_and_its_success_closes(clock):
    worker = Worker(clock)
    worker.fails(5)
    await worker.tick()
    clock.advance(1.9)
    await worker.tick()
    assert worker.link() is None
    clock.advance(0.1)
    await worker.tick()
    assert worker.breakers.shut() == {}
    probe = worker.link()
    assert probe is ONE
    assert worker.breakers.probing(probe, "m")
    assert worker.link() is None, "one at a time"
    worker.serves()
    assert worker.link() is ONE
    assert not worker.breakers.probing(ONE, "m")
    worker.fails()
    assert worker.link() is ONE, "what was counted before does not count any more"


async def test_a_probe_that_fails_shuts_it_for_longer(clock):
    worker = Worker(clock)
    worker.fails(5)
    clock.advance(2)
    await worker.tick()
    assert worker.link() is ONE
    worker.fails()
    assert worker.link() is None
    assert worker.breakers.wait_ms("acme", "m") == 4_000


def test_a_rate_limit_shuts_a_way_for_as_long_as_it_said(clock):
    worker = Worker(clock)
    worker.fails(1, RouterError("rate_limited", "slow down", retry_after_s=3))
    assert worker.link() is None
    clock.advance(3)
    assert worker.link() is ONE


async def test_a_limit_that_is_over_is_forgotten(clock):
    worker = Worker(clock)
    worker.fails(1, RouterError("rate_limited", "slow down", retry_after_s=3))
    clock.advance(3)
    await worker.tick()
    assert worker.breakers.states() == {}


@pytest.mark.parametrize("code", ["upstream_billing", "upstream_refused_credentials"])
def test_an_account_without_credit_is_shut_for_every_model(clock, code):
    worker = Worker(clock)
    worker.fails(1, RouterError(code, "no"))
    assert worker.link() is None
    assert worker.link("other") is None
    assert list(worker.breakers.shut()) == [("acme", "")]
    assert worker.breakers.wait_ms("acme", "other") == 60_000


def test_another_key_serves_while_one_is_shut(clock):
    worker = Worker(clock, links=(ONE, TWO))
    worker.fails(5)
    assert worker.link() is TWO
    assert worker.breakers.shut() == {}
    worker.fails(5, link=TWO)
    assert worker.link() is None
    assert list(worker.breakers.shut()) == [("acme", "m")]


def test_keys_share_the_calls_by_weight(clock):
    draws = iter([0.0, 0.24, 0.25, 0.99, 0.1, 0.9])
    worker = Worker(clock, links=(ONE, TWO), draw=lambda: next(draws))
    assert [worker.link() for _ in range(4)] == [ONE, ONE, TWO, TWO]
    worker.breakers.answered(ONE, "x", {"x-ratelimit-remaining-requests": "5", "x-ratelimit-reset-requests": "9s"})
    assert [worker.link() for _ in range(2)] == [ONE, TWO]


def test_a_rate_that_runs_out_is_not_chosen_before_it_refuses(clock):
    worker = Worker(clock)
    left = {
        "x-ratelimit-remaining-requests": "2",
        "x-ratelimit-reset-requests": "5s",
        "x-ratelimit-remaining-tokens": "100",
        "x-ratelimit-reset-tokens": "1s",
    }
    worker.breakers.answered(ONE, "m", left)
    assert worker.link(tokens=101) is None
    assert worker.link(tokens=60) is ONE
    assert worker.link(tokens=60) is None
    clock.advance(1)
    assert worker.link(tokens=60) is ONE
    assert worker.link(tokens=1) is None
    assert worker.breakers.wait_ms("acme", "m") == 4_000
    clock.advance(4)
    assert worker.link(tokens=60) is ONE


def test_switched_off_nothing_is_ever_shut(clock):
    worker = Worker(clock, on=False)
    worker.fails(50)
    worker.breakers.answered(ONE, "m", {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "5s"})
    assert worker.link() is ONE


def test_keys_are_replaced_while_it_runs(clock):
    worker = Worker(clock)
    worker.breakers.replace_links({"acme": (TWO,)})
    assert worker.link() is TWO


async def test_without_a_store_the_share_is_counted_here(clock):
    worker = Worker(clock, rules=Rules(in_a_row=1_000))
    for _ in range(10):
        worker.serves()
        worker.fails()
        await worker.tick()
    assert worker.link() is ONE
    for _ in range(10):
        worker.serves()
        worker.fails()
    worker.fails(10)
    assert worker.link() is None


# -- several workers


async def test_what_one_worker_opens_the_others_leave_alone(connection, clock):
    one, two = Worker(clock, connection), Worker(clock, connection)
    one.fails(5)
    await one.tick()
    await two.tick()
    assert two.link() is None
    assert two.changes == 1
    assert list(two.breakers.shut()) == [("acme", "m")]


async def test_faults_of_the_whole_fleet_count_together(connection, clock):
    rules = Rules(in_a_row=1_000)
    workers = [Worker(clock, connection, rules=rules) for _ in range(4)]
    for worker in workers:
        worker.serves(2)
        worker.fails(3)
        await worker.tick()
    assert all(worker.link() is ONE for worker in workers)
    for worker in workers:
        await worker.tick()
    workers[0].fails()
    assert workers[0].link() is None


async def test_one_probe_for_the_whole_fleet(connection, clock):
    draws = iter(range(1_000))
    workers = [Worker(clock, connection, draw=lambda: next(draws) / 1_000) for _ in range(4)]
    workers[0].fails(5)
    await workers[0].tick()
    for worker in workers:
        await worker.tick()
    clock.advance(3)
    await asyncio.gather(*(worker.tick() for worker in workers))
    for worker in workers:
        await worker.tick()
    assert [worker.link() for worker in workers].count(ONE) == 1
    for worker in workers:
        await worker.tick()
    assert [worker.link() for worker in workers].count(ONE) == 0
    workers[1].serves()
    # Its worker's success closes it for all.
    await workers[1].tick()
    for worker in workers:
        await worker.tick()
    assert all(worker.link() is ONE for worker in workers)


async def test_a_claim_is_kept_while_its_probe_is_under_way_and_lapses_with_its_worker(connection, clock):
    dead, living = (Worker(clock, connection, draw=iter([draw] * 99).__next__) for draw in (0.0, 0.5))
    dead.fails(5)
    await dead.tick()
    await living.tick()
    clock.advance(2.1)
    await dead.tick()
    assert dead.link() is ONE, "its probe sets out"
    for _ in range(4):
        clock.advance(1)
        await dead.tick()
        await living.tick()
        assert living.link() is None
        assert living.breakers.wait_ms("acme", "m") <= 1_000, "what the probe finds is known soon"
    clock.advance(4)  # beyond what it has claimed last, by the store's time; it is heard of no more
    await living.tick()
    assert living.link() is ONE


async def test_a_store_that_is_away_takes_no_counts_and_every_worker_goes_by_its_own(clock):
    class Away:
        async def script(self, *_):
            raise StoreUnavailable("away")

    worker = Worker(clock, Away())
    worker.fails(5)
    with pytest.raises(StoreUnavailable):
        await worker.tick()
    assert worker.link() is None
    clock.advance(2)
    with pytest.raises(StoreUnavailable):
        await worker.tick()
    assert worker.link() is ONE, "a probe of its own"
    assert worker.link() is None


BROUGHT = ProviderLink("acme", HOST, (), key="brought", brought=True)


@pytest.mark.parametrize("code", ["upstream_refused_credentials", "upstream_billing", "rate_limited"])
def test_a_key_that_a_caller_has_brought_shuts_nothing_by_what_is_wrong_with_it(clock, code):
    worker = Worker(clock)
    worker.fails(30, RouterError(code, "no"), link=BROUGHT)
    assert worker.breakers.open(BROUGHT, "m")
    assert worker.link() is ONE


def test_a_model_that_fails_is_left_alone_by_callers_keys_as_well_and_tried_again(clock):
    worker = Worker(clock)
    worker.fails(5, link=BROUGHT)
    assert not worker.breakers.open(BROUGHT, "m")
    assert worker.breakers.open(BROUGHT, "other")
    assert worker.link() is ONE, "what they saw says nothing of our key"


async def test_the_probe_of_callers_keys_is_taken_once(clock):
    worker = Worker(clock)
    worker.fails(5, link=BROUGHT)
    clock.advance(3)
    await worker.tick()
    assert worker.breakers.open(BROUGHT, "m")
    assert worker.breakers.probing(BROUGHT, "m")
    assert not worker.breakers.open(BROUGHT, "m")


def test_what_a_provider_says_of_a_callers_rate_is_not_ours(clock):
    worker = Worker(clock)
    reset = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "60s"}
    worker.breakers.answered(BROUGHT, "m", reset)
    assert worker.breakers.open(BROUGHT, "m")


def test_a_way_is_failing_from_the_second_fault_in_a_row_until_it_answers(clock):
    worker = Worker(clock)
    worker.fails(1)
    assert not worker.breakers.failing(ONE, "m")
    worker.fails(1)
    assert worker.breakers.failing(ONE, "m")
    assert not worker.breakers.failing(ONE, "other")
    worker.serves(1)
    assert not worker.breakers.failing(ONE, "m")


async def test_what_fails_for_others_is_failing_here_as_well(clock, connection):
    mine, others = Worker(clock, connection), Worker(clock, connection)
    others.fails(2)
    others.serves(1, model="other")
    await others.tick()
    await mine.tick()
    assert mine.breakers.failing(ONE, "m")
    assert not mine.breakers.failing(ONE, "other")
    others.serves(3)
    await others.tick()
    await mine.tick()
    assert not mine.breakers.failing(ONE, "m"), "it answers more often than not"
