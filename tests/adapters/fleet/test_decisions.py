import asyncio

import msgspec
import pytest
from options import facts, option, plan
from store import until

from router.adapters.fleet import decisions as module
from router.adapters.fleet.decisions import PREFIX, WAITING, StoreDecisions
from router.core.deciding.decision_log import Made
from router.ports import StoreUnavailable

SERVER = "req_0123456789ab"
MADE = Made(
    id=f"{SERVER}00000001",
    at_ms=1_800_000_000_000,
    tenant="acme",
    key="k1",
    team="",
    app="",
    snapshot="w1-1",
    facts=facts(),
    plan=plan(option()),
    baseline=None,
    option=option(),
    expected_pico=7,
)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """What is not there is given up at once, except where waiting is what is tested."""
    monkeypatch.setattr(module, "AWAITED_S", 0)


def numbered(number, server=SERVER):
    return msgspec.structs.replace(MADE, id=f"{server}{number:08x}", expected_pico=number)


async def test_what_was_decided_is_found_by_any_worker(connection):
    mine, theirs = StoreDecisions(connection, 2**20), StoreDecisions(connection, 2**20)
    mine.made(MADE)
    assert await mine.find(MADE.id) == MADE
    assert await theirs.find(MADE.id) is None
    await mine.flush()
    assert await theirs.find(MADE.id) == MADE
    assert await mine.find(MADE.id) == MADE
    assert 0 < await connection.call("TTL", PREFIX + SERVER) <= 7 * 24 * 3600


async def test_one_that_another_worker_has_yet_to_write_is_awaited(connection, monkeypatch):
    monkeypatch.setattr(module, "AWAITED_S", 60)
    mine, theirs = StoreDecisions(connection, 2**20), StoreDecisions(connection, 2**20)
    mine.made(MADE)
    finding = asyncio.ensure_future(theirs.find(MADE.id))
    await asyncio.sleep(2 * module.ASKED_EVERY_S)
    assert not finding.done()
    await mine.flush()
    assert await finding == MADE


async def test_one_that_its_worker_has_gone_past_is_not_awaited(connection, monkeypatch):
    monkeypatch.setattr(module, "AWAITED_S", 60)
    log = StoreDecisions(connection, 2**20)
    log.made(numbered(7))
    await log.flush()
    async with asyncio.timeout(10):
        assert await log.find(MADE.id) is None


async def test_one_of_many_is_found_whatever_their_order(connection):
    log = StoreDecisions(connection, 2**20)
    for batch in ((3, 1, 600), (2,), tuple(range(4, 600))):
        for number in batch:
            log.made(numbered(number))
        await log.flush()
    for number in (1, 2, 3, 4, 599, 600):
        assert (await log.find(f"{SERVER}{number:08x}")).expected_pico == number
    assert await log.find(f"{SERVER}{601:08x}") is None


@pytest.mark.parametrize("name", ["", "req_1", "req_zzzzzzzzzzzz00000001", f"{SERVER}00000001/1", "*"])
async def test_what_is_no_requests_id_names_no_decision(connection, name):
    log = StoreDecisions(connection, 2**20)
    log.made(msgspec.structs.replace(MADE, id="job_1"))
    await log.flush()
    assert await log.find(name) is None


async def test_each_server_has_a_log_of_its_own(connection):
    log = StoreDecisions(connection, 2**20)
    other = "req_ba9876543210"
    log.made(numbered(9))
    log.made(numbered(2, other))
    await log.flush()
    assert (await log.find(f"{other}00000002")).expected_pico == 2
    assert await log.find(f"{SERVER}00000002") is None


async def test_it_stays_within_its_bounds(connection, monkeypatch):
    monkeypatch.setattr(module, "TRIM_EVERY", 1)
    log = StoreDecisions(connection, 60_000)
    # A turn is one block; each has options of its own, as after each tick.
    for turn in range(400):
        made = plan(*(option(f"acme/m{turn}-{number}") for number in range(10)))
        log.made(msgspec.structs.replace(numbered(turn + 1), plan=made))
        await log.flush()
    taken = await connection.call("MEMORY", "USAGE", PREFIX + SERVER)
    assert taken < 90_000
    assert await log.find(f"{SERVER}00000001") is None
    assert (await log.find(f"{SERVER}{400:08x}")).expected_pico == 400


async def test_too_many_at_once_are_left_out_and_counted(connection):
    log = StoreDecisions(connection, 2**20)
    for number in range(WAITING + 3):
        log.made(numbered(number))
    assert log.left_out == 3
    assert await log.find(f"{SERVER}{WAITING:08x}") is None


async def test_where_none_are_to_be_kept_none_are(connection):
    log = StoreDecisions(connection, 0)
    log.made(MADE)
    await log.flush()
    assert log.left_out == 1
    assert await connection.call("EXISTS", PREFIX + SERVER) == 0


async def test_a_store_that_is_away_costs_the_log_and_nothing_else(monkeypatch):
    class Away:
        def call(self, *_):
            raise StoreUnavailable("away")

    monkeypatch.setattr(module, "EVERY_S", 0.001)
    log = StoreDecisions(Away(), 2**20)
    log.made(MADE)
    running = asyncio.ensure_future(log.run())
    await until(lambda: log.left_out)
    running.cancel()
    assert log.left_out == 1
    with pytest.raises(StoreUnavailable):
        await log.find(MADE.id)
