"""Limits as administrators set them and SDK users meet them, exact over several workers."""

from __future__ import annotations

import asyncio

import openai
import pytest
from node import Node, Tenant, bearer

HI = [{"role": "user", "content": "hi"}]
MODEL = "openai/gpt-4o-mini"


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    with Node(tmp_path_factory.mktemp("limits"), workers=4) as node:
        yield node


@pytest.fixture
async def caller(wide):
    wide.reset()
    async with wide.store() as store:
        yield Tenant(wide, store)


async def limited(node, tenant, kind, number, **scope):
    answer = node.http.post(
        f"{node.url}/costrouter/v1/limits",
        json={"scope": {"tenant": tenant.name, **scope}, "kind": kind, "limit": number},
        headers=bearer(node.admin_key),
    )
    assert answer.status_code == 201, answer.text
    await asyncio.sleep(0.6)  # by then every worker goes by it
    return answer.json()


async def ask(tenant, **fields):
    async with tenant.sdk() as sdk:
        return await sdk.chat.completions.with_raw_response.create(**{"model": MODEL, "messages": HI, **fields})


async def refused(tenant, **fields):
    with pytest.raises(openai.RateLimitError) as caught:
        await ask(tenant, **fields)
    return caught.value


async def crowd(tenant, count):
    """(answered, refused) of so many callers at once."""
    done = await asyncio.gather(*(ask(tenant) for _ in range(count)), return_exceptions=True)
    assert all(isinstance(one, openai.RateLimitError) for one in done if isinstance(one, Exception)), done
    answered = sum(not isinstance(one, Exception) for one in done)
    return answered, count - answered


async def test_a_hundred_callers_at_four_workers_get_exactly_what_the_limit_allows(wide, caller):
    await limited(wide, caller, "requests", 37)
    assert await crowd(caller, 100) == (37, 63)
    await caller.rows(37)


async def test_a_refusal_says_which_limit_and_when_and_consumes_nothing(wide, caller):
    await limited(wide, caller, "requests", 1, team="search")
    key = wide.new_key(tenant=caller.name, team="search")
    caller.key, caller.headers = key, bearer(key)
    headers = (await ask(caller)).headers
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("1", "0")
    for _ in range(3):
        error = await refused(caller)
        assert error.code == "rate_limited"
        assert "team=search, 1 requests per minute, is reached" in error.message
        assert 1 <= int(error.response.headers["retry-after"]) <= 62
        assert error.response.headers["x-should-retry"] == "true"
        assert error.body["limit"]["current"] == 1
    await caller.rows(1)


async def test_tokens_are_limited_by_what_is_expected_and_then_by_what_was_used(wide, caller):
    await limited(wide, caller, "tokens", 3_000)
    answer = await ask(caller, max_completion_tokens=1_000)
    used = answer.parse().usage.total_tokens
    (row,) = await caller.rows(1)
    (state,) = wide.http.get(
        f"{wide.url}/costrouter/v1/limits", params={"tenant": caller.name}, headers=bearer(wide.admin_key)
    ).json()["data"]
    assert (state["kind"], state["current"], state["remaining"]) == ("tokens", used, 3_000 - used)
    assert row.limits


async def test_a_request_larger_than_its_limit_is_told_so_once(wide, caller):
    await limited(wide, caller, "tokens", 20)
    error = await refused(caller, messages=[{"role": "user", "content": "word " * 100}])
    assert error.response.headers["x-should-retry"] == "false"
    assert "is less than the" in error.message


async def test_attempts_at_a_time_are_limited_and_freed_however_they_end(wide, caller):
    await limited(wide, caller, "concurrency", 3)
    wide.faults({"kind": "slow_first_byte", "delay_ms": 500})
    assert await crowd(caller, 20) == (3, 17)
    await caller.rows(3)
    wide.reset()
    assert (await ask(caller)).parse().choices
    wide.faults({"kind": "status", "status": 503})
    for _ in range(5):
        with pytest.raises(openai.InternalServerError):
            await ask(caller)
        await asyncio.sleep(0.05)
    wide.reset()
    assert (await ask(caller)).parse().choices


async def test_the_command_line_sets_lists_and_removes_limits(wide, caller):
    made = wide.run("limits", "set", "--tenant", caller.name, "--requests", "5", "--concurrency", "2", "--per", "hour")
    assert made.returncode == 0, made.stderr
    assert "requests per hour" in made.stdout
    assert "at a time" in made.stdout
    listed = wide.run("limits", "list", "--tenant", caller.name)
    names = [line.split()[0] for line in listed.stdout.splitlines()[1:]]
    assert len(names) == 2
    for name in names:
        assert wide.run("limits", "remove", name, "--tenant", caller.name).returncode == 0
    assert wide.run("limits", "remove", names[0], "--tenant", caller.name).returncode != 0
    assert wide.run("limits", "set", "--tenant", caller.name).returncode != 0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"kind": "requests", "limit": -1}, "limit"),
        ({"kind": "bytes", "limit": 1}, "kind"),
        ({"kind": "concurrency", "limit": 1, "per": "day"}, "no period"),
        ({"kind": "requests", "limit": 1, "scope": {"model": "openai/gpt-4o-minni"}}, "did you mean"),
        ({"kind": "requests", "limit": 1, "scope": {"team": None}}, "null"),
    ],
)
async def test_a_limit_that_would_protect_nobody_is_refused_in_words(wide, body, said):
    answer = wide.http.post(f"{wide.url}/costrouter/v1/limits", json=body, headers=bearer(wide.admin_key))
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


async def test_an_application_may_not_set_limits(wide, caller):
    answer = wide.http.post(
        f"{wide.url}/costrouter/v1/limits", json={"kind": "requests", "limit": 1}, headers=caller.headers
    )
    assert answer.status_code == 403
