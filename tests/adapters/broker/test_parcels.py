"""A parcel's turns: one action after the other, each written down before the next, whatever the provider answers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from store import now_ms

from router.adapters.broker.parcels import Parcels
from router.adapters.jobs.batch_calls import BatchTrouble
from router.core.jobs.deadlines import prior_of, waits
from router.core.jobs.jobs import UNFOUND, Parcel
from router.dialects.batch_files import Remote

HOUR = 3_600_000


class Api:
    """A provider's API that answers as it is told; ``script`` is by method what comes, in turn."""

    files = named = True
    most_lines = 9

    def __init__(self, *, found_again=True, **script):
        self.found_again = found_again
        self.asked = []
        self._script = {name: list(answers) for name, answers in script.items()}

    def packed(self, lines, _endpoint):
        return b"".join(body for _, body in lines)

    def __getattr__(self, name):
        async def answered(*_):
            self.asked.append(name)
            answer = self._script[name].pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return answered


class Yard:
    """A yard of one parcel: what is written down of it, and when to come again."""

    pace = 1.0

    def __init__(self, api, *, disk=True):
        self.store = self.durable = self.known = self.vault = self
        self._api, self._disk = api, disk
        self.written, self.left, self.booked, self.learned = [], [], [], []

    def api(self, _provider, _tier):
        return self._api

    def now_ms(self):
        return now_ms()

    def of_ended(self, _provider, tier):
        return waits(prior_of(tier))

    def count(self, *_):
        pass

    async def tell(self, _provider, _tier, took_ms, _now, *, over=True):
        self.learned.append((over, took_ms // 1000))

    async def confirmed(self, _tenant):
        return self._disk

    async def unwanted(self, _parcel):
        return False

    async def manifest(self, _parcel):
        return [SimpleNamespace(payload=("blob", 0, 2), job="job_1", number=0, attempt=1)]

    async def frames(self, _blob):
        yield ("blob", 0, 2), b"{}"

    async def extend(self, _tenant, _leased, _now, record):
        self.written.append(record)
        return True

    async def give_back(self, _tenant, _leased, due_ms, record=None, *, forget=False):
        self.left.append((record, due_ms, forget))
        return True

    async def forget_parcel(self, _parcel):
        pass


async def turned(api, state="staged", *, tier="batch", disk=True, books="booked", **fields):
    """What a turn has left of a parcel, and the yard."""
    yard = Yard(api, disk=disk)
    parcels = Parcels(yard)

    async def book(_api, parcel):
        yard.booked.append(parcel)
        return books, parcel

    parcels._actions["book"] = book
    parcels._booking = SimpleNamespace(book=book)
    at = now_ms()
    parcel = Parcel(
        **{
            "id": "pcl-1",
            "tenant": "acme",
            "provider": "acme",
            "entry": "acme/large@acme",
            "tier": tier,
            "endpoint": "chat",
            "state": state,
            "created_ms": at,
            "deadline_ms": at + 24 * HOUR,
            "lines": 1,
            **fields,
        }
    )
    await parcels.turn(SimpleNamespace(member="p:pcl-1", until="1"), parcel)
    ((record, due_ms, _),) = yard.left
    return record, due_ms, yard


def begun(event="created", **fields):
    return Remote("batch_1", event, "", **fields)


async def test_from_its_lines_to_the_provider_each_step_is_written_down_first():
    api = Api(upload=["file_1"], create=[begun()], poll=[begun("running")])
    record, due_ms, yard = await turned(api)
    assert api.asked == ["upload", "create", "poll"]
    assert [one.state for one in yard.written] == ["uploaded", "unsure", "submitted", "submitted"]
    assert (record.state, record.remote, record.file) == ("submitted", "batch_1", "file_1")
    assert due_ms > now_ms()


async def test_nothing_is_begun_that_the_store_s_disk_might_forget():
    api = Api()
    record, due_ms, yard = await turned(api, "uploaded", file="file_1", disk=False)
    assert api.asked == []
    assert [one.state for one in yard.written] == ["unsure"]
    assert record.state == "uploaded", "nothing has been sent, so nothing is in doubt"
    assert due_ms > now_ms()


@pytest.mark.parametrize(
    ("trouble", "state"),
    [
        (BatchTrouble("unsent", "refused"), "uploaded"),
        (BatchTrouble("full", "no room", 429), "uploaded"),
        (BatchTrouble("unknown", "slow down", 429), "uploaded"),
        (BatchTrouble("unknown", "reset"), "unsure"),
        (BatchTrouble("unknown", "broken", 500), "unsure"),
    ],
)
async def test_a_creation_is_repeated_where_nothing_can_have_begun_and_looked_for_where_it_may(trouble, state):
    script = {"create": [trouble], "look": [BatchTrouble("unknown", "silent")]}
    record, due_ms, _ = await turned(Api(**script), "uploaded", file="file_1")
    assert (record.state, record.pauses > 0) == (state, True)
    assert due_ms > now_ms(), "not at once"


async def test_one_in_doubt_is_found_or_begun_anew():
    found = Api(look=[begun("running")], poll=[begun("running")])
    assert (await turned(found, "unsure"))[0].state == "submitted"
    anew = Api(look=[None], create=[begun()], poll=[begun("running")])
    assert (await turned(anew, "unsure"))[0].state == "submitted"
    assert anew.asked == ["look", "create", "poll"]


async def test_one_in_doubt_that_nobody_can_find_is_booked_and_not_begun_anew():
    api = Api(found_again=False, look=[BatchTrouble("lost", "not listed")], delete=[None])
    _, _, yard = await turned(api, "unsure", tier="window-8h")
    assert api.asked == ["look", "delete"]
    assert [parcel.outcome for parcel in yard.booked] == [UNFOUND]


async def test_what_is_over_is_booked_and_then_removed():
    over = Remote("batch_1", "over", "completed", ("out",))
    api = Api(poll=[over], delete=[BatchTrouble("unknown", "later")])
    record, _, yard = await turned(api, "submitted", remote="batch_1", sent_ms=now_ms())
    assert [parcel.outputs for parcel in yard.booked] == [("out",)]
    assert record.state == "booked"
    _, due_ms, yard = await turned(Api(delete=[None]), "booked", remote="batch_1")
    assert (due_ms, yard.left[0][2]) == (None, True)


@pytest.mark.parametrize("state", ["submitted", "cancelling"])
async def test_what_the_provider_does_not_know_any_more_has_ended(state):
    api = Api(poll=[BatchTrouble("lost", "gone", 404)], delete=[None])
    _, _, yard = await turned(api, state, remote="batch_1")
    assert len(yard.booked) == 1


async def test_what_comes_too_late_is_called_off_and_looked_at_until_it_has_stopped():
    api = Api(cancel=[begun("stopped")])
    record, _, _ = await turned(api, "submitted", remote="batch_1", sent_ms=now_ms(), deadline_ms=now_ms() + 1_000)
    assert api.asked == ["cancel"]
    assert (record.state, record.unwanted) == ("cancelling", "deadline")


@pytest.mark.parametrize(("outcome", "learned"), [("completed", [(True, 60)]), ("failed", []), ("cancelled", [])])
async def test_how_long_it_took_is_learned_where_it_came_to_its_end(outcome, learned):
    api = Api(poll=[Remote("batch_1", "over", outcome)], delete=[None])
    _, _, yard = await turned(api, "submitted", remote="batch_1", sent_ms=now_ms() - 60_000)
    assert yard.learned == learned


@pytest.mark.parametrize("state", ["submitted", "cancelling"])
async def test_and_that_it_was_not_over_yet_where_it_was_called_off(state):
    over = Remote("batch_1", "over", "cancelled")
    api = Api(cancel=[over], poll=[over], delete=[None])
    at = now_ms()
    times = {"created_ms": at - 60_000, "sent_ms": at - 60_000, "deadline_ms": at + 40_000, "run_ms": 15_000}
    late = {"unwanted": "deadline"} if state == "cancelling" else {}
    _, _, yard = await turned(api, state, remote="batch_1", **times, **late)
    assert yard.learned == [(False, 60)]


async def test_without_a_key_what_was_begun_is_booked_without_its_results():
    _, _, yard = await turned(None, "submitted", remote="batch_1")
    assert [(parcel.remote, parcel.outcome) for parcel in yard.booked] == [("batch_1", "")]
    _, _, yard = await turned(None, "unsure")
    assert [parcel.outcome for parcel in yard.booked] == [UNFOUND], "it may have been begun"
    _, _, yard = await turned(None, "uploaded")
    assert [parcel.outcome for parcel in yard.booked] == [""], "nothing was begun"
