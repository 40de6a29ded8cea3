from __future__ import annotations

import pytest
from store import until

from router.adapters import kept_answers
from router.adapters.kept_answers import KeptAnswers
from router.ports import Claim

LEASE = 60_000


@pytest.fixture
async def answers(connection):
    return KeptAnswers(connection, "secret", 1 << 20)


async def test_a_name_is_claimed_by_one_request_until_it_is_answered(answers):
    assert await answers.claim("acme", "n", "r", "one", LEASE) == Claim("mine")
    assert await answers.claim("acme", "n", "r", "two", LEASE) == Claim("running")
    assert await answers.claim("acme", "n", "other", "two", LEASE) == Claim("other")
    assert await answers.claim("acme", "n", "r", "one", LEASE) == Claim("mine")
    assert await answers.claim("beta", "n", "r", "two", LEASE) == Claim("mine")
    assert await answers.keep("acme", "n", "one", b"said", 60)
    assert await answers.claim("acme", "n", "r", "two", LEASE) == Claim("done", b"said")
    assert await answers.claim("acme", "n", "other", "two", LEASE) == Claim("other")


async def test_a_claim_that_is_given_up_or_not_renewed_is_free(answers, connection):
    await answers.claim("acme", "n", "r", "one", LEASE)
    await answers.release("acme", "n", "somebody else")
    assert await answers.claim("acme", "n", "r", "two", LEASE) == Claim("running")
    await answers.release("acme", "n", "one")
    assert await answers.claim("acme", "n", "other", "two", 20) == Claim("mine")
    await until(lambda: is_mine(answers))
    assert not await answers.keep("acme", "n", "two", b"late", 60), "somebody else is at it by now"
    assert await answers.claim("acme", "n", "r", "four", LEASE) == Claim("running")


async def is_mine(answers):
    return await answers.claim("acme", "n", "r", "three", LEASE) == Claim("mine")


async def test_what_is_too_long_or_sealed_by_others_is_done_and_not_here(answers, connection, monkeypatch):
    monkeypatch.setattr(kept_answers, "MOST_ANSWER", 10)
    await answers.claim("acme", "n", "r", "one", LEASE)
    await answers.keep("acme", "n", "one", b"x" * 11, 60)
    assert await answers.claim("acme", "n", "r", "two", LEASE) == Claim("done", None)
    await answers.put("acme", "m", b"said", 60)
    assert await answers.find("acme", "m") == b"said"
    assert await KeptAnswers(connection, "another secret", 1 << 20).find("acme", "m") is None
    await connection.call("HSET", "cr:{acme}:answer:k", "a", await connection.call("HGET", "cr:{acme}:answer:m", "a"))
    assert await answers.find("acme", "k") is None, "an answer is bound to its name"
    assert await answers.find("acme", "none") is None


async def test_a_tenants_answers_have_a_bound_and_those_that_end_first_go_first(connection):
    answers = KeptAnswers(connection, "secret", 10_000)
    for number in range(20):
        await answers.put("acme", f"n{number}", b"x" * 700, 60 + number)
    await answers.put("beta", "n", b"x" * 700, 60)
    kept = [number for number in range(20) if await answers.find("acme", f"n{number}")]
    assert kept == list(range(11, 20))
    assert await answers.find("beta", "n")
    (sum_,) = [int(await connection.call("GET", "cr:{acme}:answers:bytes"))]
    sizes = [int(member.partition(b":")[0]) for member in await connection.call("ZRANGE", "cr:{acme}:answers", 0, -1)]
    assert sum_ == sum(sizes) <= 10_000
    for _ in range(3):
        await answers.put("acme", "n19", b"y" * 100, 60)
    assert int(await connection.call("GET", "cr:{acme}:answers:bytes")) < sum_


async def test_what_has_had_its_time_no_longer_counts(connection):
    answers = KeptAnswers(connection, "secret", 1 << 20)
    for number in range(5):
        await answers.put("acme", f"n{number}", b"x" * 700, 0.01)

    async def gone():
        return not await answers.find("acme", "n4")

    await until(gone)
    await answers.put("acme", "n5", b"x" * 700, 60)
    assert await connection.call("ZCARD", "cr:{acme}:answers") == 1
    assert 1_000 < int(await connection.call("GET", "cr:{acme}:answers:bytes")) < 1_100


async def test_parts_of_a_name_never_run_together(answers, connection):
    assert answers.digest(b"ab", b"c") != answers.digest(b"a", b"bc")
    assert answers.digest(b"ab") == answers.digest(b"ab") != KeptAnswers(connection, "other", 1).digest(b"ab")
