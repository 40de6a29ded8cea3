import asyncio
import datetime as dt
import hashlib
import hmac
import json

import pytest
from aiohttp import web
from budgets import a_budget
from store import PATIENT_S, Machine, make_row, now_ms, until

from router.adapters.fleet.budget_alerts import BudgetAlerts, alerts_by
from router.adapters.fleet.webhook import AddressRefusedError, Webhook, check_address
from router.adapters.ledger.budgets import RedisBudgets
from router.adapters.ledger.ledger import RedisLedger
from router.core.budgets.budget import term_at


class Receiver:
    """Takes messages; answers with the next of ``statuses``, then 200."""

    def __init__(self):
        self.statuses = []
        self.heard = []

    async def start(self):
        app = web.Application()
        app.router.add_post("/hook", self._take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/hook"

    async def stop(self):
        await self._runner.cleanup()

    async def _take(self, request):
        self.heard.append((await request.read(), request.headers))
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"location": self.url} if status == 302 else {})


@pytest.fixture
async def receiver():
    receiver = Receiver()
    await receiver.start()
    yield receiver
    await receiver.stop()


class Fleet:
    """Two workers with one webhook each."""

    def __init__(self, connection, receiver):
        self.connection = connection
        self.receiver = receiver
        self.workers = []

    async def start(self, *budgets):
        for number in (1, 2):
            book = RedisBudgets(self.connection)
            ledger = RedisLedger(self.connection, f"w{number}", Machine(), flush_s=PATIENT_S)
            webhook = Webhook(self.receiver.url, "s3cret", private=True, pauses_s=(0.01, 0.01))
            alerts = BudgetAlerts(self.connection, book, f"w{number}", webhook.tell, now_ms)
            ledger.on_spent = alerts.spent
            self.workers.append((book, ledger, alerts))
        for budget in budgets:
            await self.workers[0][0].put(budget)
        await self.workers[1][0].refresh()

    async def spend(self, worker, name, cost_nano, attempt):
        ledger = self.workers[worker][1]
        ledger.settle(make_row(attempt, cost_nano=cost_nano, budgets=(name,)))
        await ledger.flush()
        await until(lambda: not self.workers[worker][2]._telling)

    async def stop(self):
        for _, ledger, alerts in self.workers:
            await ledger.close()
            await alerts.close()

    @property
    def told(self):
        return [
            (json.loads(body)["percent"], json.loads(body)["budget"]["spent_usd"]) for body, _ in self.receiver.heard
        ]


@pytest.fixture
async def fleet(connection, receiver):
    fleet = Fleet(connection, receiver)
    yield fleet
    await fleet.stop()


def name_of(budget):
    return term_at(budget, dt.UTC, now_ms()).name


async def test_each_threshold_is_told_once_whoever_reaches_it(fleet):
    budget = a_budget(1_000, period="day", alerts=(50, 100), scope=[("team", "search")])
    await fleet.start(budget)
    name = name_of(budget)
    for worker, cost in ((0, 499), (1, 1), (0, 100), (1, 100), (0, 300), (1, 50)):
        await fleet.spend(worker, name, cost, f"r{worker}-{cost}/1")
    assert fleet.told == [(50, "0.000000500"), (100, "0.000001000")]
    body = json.loads(fleet.receiver.heard[0][0])
    assert body["text"].startswith("50 % of the budget of team=search are spent: $0.000000500 of $0.000001000 per day.")
    assert (body["object"], body["period"]) == ("costrouter.alert", name)


async def test_the_next_period_is_told_anew_and_a_past_one_is_not(fleet):
    budget = a_budget(1_000, period="month", alerts=(50,))
    await fleet.start(budget)
    past = term_at(budget, dt.UTC, now_ms() - 40 * 86_400_000).name
    await fleet.spend(0, past, 900, "r1/1")
    assert fleet.told == []
    await fleet.spend(0, name_of(budget), 900, "r2/1")
    assert fleet.told == [(50, "0.000000900")]


async def test_a_message_is_signed(fleet):
    budget = a_budget(1_000, alerts=(1,))
    await fleet.start(budget)
    await fleet.spend(0, name_of(budget), 900, "r1/1")
    ((body, headers),) = fleet.receiver.heard
    at, digest = (part.partition("=")[2] for part in headers["x-costrouter-signature"].split(","))
    assert digest == hmac.new(b"s3cret", at.encode() + b"." + body, hashlib.sha256).hexdigest()


async def test_a_receiver_that_fails_is_tried_again(fleet):
    budget = a_budget(1_000, alerts=(1,))
    await fleet.start(budget)
    fleet.receiver.statuses = [500, 302]
    await fleet.spend(0, name_of(budget), 900, "r1/1")
    assert len(fleet.receiver.heard) == 3


async def test_an_alert_that_nobody_took_is_claimed_again_by_another_worker(fleet):
    budget = a_budget(1_000, alerts=(1,))
    await fleet.start(budget)
    fleet.receiver.statuses = [500, 500, 500]
    await fleet.spend(0, name_of(budget), 900, "r1/1")
    await fleet.spend(1, name_of(budget), 1, "r2/1")
    assert len(fleet.receiver.heard) == 4
    await fleet.spend(0, name_of(budget), 1, "r3/1")
    assert len(fleet.receiver.heard) == 4


async def test_slack_gets_words_alone(receiver):
    assert await Webhook(receiver.url, shape="slack", private=True).tell({"text": "80 % spent", "percent": 80})
    ((body, headers),) = receiver.heard
    assert json.loads(body) == {"text": "80 % spent"}
    assert "x-costrouter-signature" not in headers


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_private_addresses_are_refused_unless_allowed(receiver, host):
    url = receiver.url.replace("127.0.0.1", host)
    assert not await Webhook(url, pauses_s=()).send(b"{}")
    assert receiver.heard == []
    assert await Webhook(url, pauses_s=(), private=True).send(b"{}")


@pytest.mark.parametrize(
    "address",
    ["10.0.0.1", "169.254.169.254", "192.168.1.1", "100.64.0.1", "0.0.0.0", "::1", "fe80::1%eth0", "fd00::1", "::ffff:10.0.0.1",
     "224.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1", "::", "fec0::1"],
)  # fmt: skip  # one a line would be a column of addresses
def test_only_public_addresses_pass(address):
    with pytest.raises(AddressRefusedError):
        check_address(address, private=False)
    check_address(address, private=True)
    check_address("8.8.8.8", private=False)


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://hooks.example:99999/T0/SECRET", f"http://{'a' * 70}.example/SECRET"]
)
async def test_a_url_that_cannot_be_called_is_not_told_to_the_log(url, caplog, capsys):
    assert not await Webhook(url, pauses_s=()).send(b"{}")
    assert "SECRET" not in caplog.text + "".join(capsys.readouterr())


async def test_without_a_webhook_there_are_no_alerts(connection):
    assert alerts_by(None, connection, RedisBudgets(connection), "w1", now_ms) is None


async def test_definitions_reach_other_workers(connection):
    mine, theirs = RedisBudgets(connection), RedisBudgets(connection)
    keeping = asyncio.ensure_future(theirs.keep_fresh())
    dims = ("", "", "", "", "", "", ())
    budget = a_budget()
    await mine.put(budget)
    await until(lambda: theirs.terms("acme", dims, now_ms()).names, 1)
    await mine.remove("acme", budget.id)
    await until(lambda: not theirs.terms("acme", dims, now_ms()).names, 1)
    assert not keeping.done()
    keeping.cancel()


async def test_a_budget_whose_time_zone_is_not_known_here_holds_all_the_same(connection):
    book = RedisBudgets(connection)
    far = a_budget(scope=[("team", "search")], period="day", zone="Mars/Olympus_Mons")
    await book.put(far)
    (term,) = book.terms("acme", ("search", "", "", "", "", "", ()), now_ms()).terms
    assert (term.budget.id, term.budget.limit_nano, term.budget.zone) == (far.id, far.limit_nano, "UTC")


async def test_a_change_that_a_failover_lost_is_not_taken_for_the_next_one(connection):
    mine, theirs = RedisBudgets(connection), RedisBudgets(connection)
    lost, kept = a_budget(), a_budget(scope=[("team", "search")])
    dims = ("search", "", "", "", "", "", ())
    await mine.put(lost)
    await theirs.refresh()
    await connection.call("FLUSHALL")  # as of before it
    await mine.put(kept)
    await theirs.refresh()
    assert [term.budget.id for term in theirs.terms("acme", dims, now_ms()).terms] == [kept.id]


async def test_a_definition_that_cannot_be_read_is_left_out_and_the_others_hold(connection):
    book = RedisBudgets(connection)
    await connection.call("HSET", "cr:{acme}:budgets", "x", b"{", "y", b'{"id": 5}')
    await book.put(a_budget())
    assert [budget.id for budget in await book.of_tenant("acme")] == [a_budget().id]
