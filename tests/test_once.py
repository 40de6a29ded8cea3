"""Idempotency keys over fakes: what happens where the store or the caller is not there."""

from __future__ import annotations

import asyncio

import pytest
from fakes import FakeResponse
from wired import EVENTS, SECRET, Wired, answer, asked, ends, says

from router import once as once_module
from router.core.errors import RouterError
from router.forward import Call
from router.kept import KeptReply, packed
from router.once import Once
from router.ports import Claim, StoreUnavailable


class Answers:
    """An answer store in memory, of one tenant; ``down`` names what does not work."""

    def __init__(self):
        self.kept = {}
        self.claims = {}
        self.down = set()

    def digest(self, *parts):
        return repr(parts)

    def _ask(self, what):
        if what in self.down:
            raise StoreUnavailable("gone")

    async def claim(self, tenant, name, request, token, lease_ms):
        self._ask("claim")
        if name in self.kept:
            return Claim("done", self.kept[name])
        mine = self.claims.setdefault(name, token) == token
        return Claim("mine" if mine else "running")

    async def keep(self, tenant, name, token, answer, kept_s):
        self._ask("keep")
        self.kept[name] = answer
        return True

    async def release(self, tenant, name, token):
        self._ask("release")
        self.claims.pop(name, None)

    async def find(self, tenant, name):
        self._ask("find")
        return self.kept.get(name)

    async def put(self, tenant, name, answer, kept_s):
        self._ask("put")
        self.kept[name] = answer


class Keyed(Wired):
    """A pipeline whose requests all have the same key."""

    def __init__(self, *script):
        super().__init__(*script)
        self.answers = Answers()
        self.once = Once(self.pipeline, self.answers, 60)
        self.number = 0

    async def ask(self, *, gone=lambda: False, **fields):
        async def read():
            return asked(**fields)

        self.number += 1
        call = Call(
            api="chat",
            headers={"authorization": f"Bearer {SECRET}"},
            read=read,
            request_id=f"r{self.number}",
            gone=gone,
        )
        return await self.once.serve(call, "key-1")


async def test_without_the_store_nothing_is_sent_as_it_could_be_the_second_time():
    case = Keyed(FakeResponse([answer()]))
    case.answers.down = {"claim"}
    with pytest.raises(RouterError) as caught:
        await case.ask()
    assert (caught.value.code, caught.value.retryable) == ("store_unavailable", True)
    assert case.ledger.rows == []


async def test_an_answer_that_cannot_be_kept_is_given_all_the_same():
    case = Keyed(FakeResponse([answer()]))
    case.answers.down = {"keep"}
    assert (await case.ask()).body == answer()


async def test_a_failure_is_told_although_the_key_cannot_be_given_up():
    case = Keyed(FakeResponse([b"{}"], status=400))
    case.answers.down = {"release"}
    with pytest.raises(RouterError):
        await case.ask()


@pytest.mark.parametrize("kept", [None, b"of another version"])
async def test_an_answer_that_is_not_here_is_a_conflict_and_not_served_twice(kept):
    case = Keyed(FakeResponse([answer()]))
    await case.ask()
    (name,) = case.answers.kept
    case.answers.kept[name] = kept
    with pytest.raises(RouterError) as caught:
        await case.ask()
    assert (caught.value.code, caught.value.status) == ("idempotency_answer_not_kept", 409)
    assert len(case.ledger.rows) == 1


async def test_who_waits_is_let_go_when_it_leaves_or_has_waited_long_enough(monkeypatch):
    case = Keyed()
    case.answers.claims = dict.fromkeys([case.answers.digest(b"once", b"k1", b"key-1")], "other")
    with pytest.raises(ConnectionResetError):
        await case.ask(gone=lambda: True)
    monkeypatch.setattr(once_module, "WAIT_S", 0.01)
    with pytest.raises(RouterError) as caught:
        await case.ask()
    assert (caught.value.code, caught.value.retry_after_s) == ("idempotency_conflict", 5)


async def test_a_promise_of_an_answer_is_given_again_as_one():
    case = Keyed()
    kept = KeptReply("r0", [("location", "/jobs/1"), ("x-request-id", "j1")], b"{}", 0, 0, "", "", 202)
    case.answers.kept = {case.answers.digest(b"once", b"k1", b"key-1"): packed(kept)}
    reply = await case.ask()
    assert reply.status == 202
    assert ("location", "/jobs/1") in reply.headers
    assert [value for name, value in reply.headers if name == "x-request-id"] == ["r1"]


async def test_a_stream_that_breaks_off_gives_its_key_up():
    case = Keyed(FakeResponse([says("Hel")], headers=EVENTS), FakeResponse([says("Hello."), ends()], headers=EVENTS))
    reply = await case.ask(stream=True)
    while await reply.stream.next_part():
        pass
    assert (case.answers.kept, case.answers.claims) == ({}, {})
    reply = await case.ask(stream=True)
    text = reply.body
    while part := await reply.stream.next_part():
        text += part
    assert reply.stream.whole
    assert (await case.ask(stream=True)).body == text


async def test_a_claim_is_renewed_while_its_request_runs(monkeypatch):
    monkeypatch.setattr(once_module, "RENEW_S", 0.01)
    case = Keyed(FakeResponse([says("Hello."), ends()], headers=EVENTS))
    reply = await case.ask(stream=True)
    case.answers.claims.clear()
    await asyncio.sleep(0.05)
    assert list(case.answers.claims.values()) == ["r1"]
    while await reply.stream.next_part():
        pass
    case.answers.claims.clear()
    await asyncio.sleep(0.05)
    assert case.answers.claims == {}
