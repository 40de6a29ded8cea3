"""Budgets as administrators set them and applications meet them, on a whole node."""

from __future__ import annotations

import asyncio
import random
import time

import openai
import pytest
from node import Node, Tenant, bearer
from store import until
from store_modes import connected

MODEL = "openai/gpt-4o-mini"
ASKED = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}], "max_completion_tokens": 50}


def admin(node, method, path="", **facts):
    return node.http.request(method, f"{node.url}/costrouter/v1/budgets{path}", headers=bearer(node.admin_key), **facts)


def set_budget(node, tenant, limit_usd, *, period="day", settle_s=1.0, **facts):
    body = {
        "scope": {"tenant": tenant.name, **facts.pop("scope", {})},
        "limit_usd": limit_usd,
        "period": period,
        **facts,
    }
    answer = admin(node, "POST", json=body)
    assert answer.status_code == 201, answer.text
    time.sleep(settle_s)  # by then every worker goes by it
    return answer.json()


def listed(node, tenant):
    answer = admin(node, "GET", params={"tenant": tenant.name})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def worst_usd(node, tenant, asked):
    answer = node.http.post(f"{node.url}/costrouter/v1/estimate", json=asked, headers=tenant.headers)
    return answer.json()["chosen"]["worst_case_usd"]


async def test_a_budget_that_is_used_up_refuses_with_all_its_figures(node, tenant, sdk):
    budget = set_budget(node, tenant, "0.000001")
    assert (budget["scope"], budget["hard"], budget["spent_usd"]) == ({}, True, "0.000000000")
    with pytest.raises(openai.APIStatusError) as caught:
        await sdk.chat.completions.create(**ASKED)
    response, error = caught.value.response, caught.value.body
    assert (caught.value.status_code, error["code"], error["type"]) == (402, "budget_exceeded", "budget_error")
    assert response.headers["x-should-retry"] == "false"
    assert "retry-after" not in response.headers
    told = error["budget"]
    assert (told["id"], told["limit_usd"], told["held_usd"]) == (budget["id"], "0.000001000", "0.000000000")
    assert told["resets_at"].endswith("T00:00:00Z")
    assert told["needed_usd"] == worst_usd(node, tenant, ASKED)
    assert f"tenant={tenant.name}" in error["message"]
    assert node.bill() == []
    assert await tenant.holds() == {}


async def test_what_is_spent_is_exactly_what_the_rows_say(node, tenant, sdk):
    day = set_budget(node, tenant, "1", settle_s=0)
    model = set_budget(node, tenant, "1", scope={"model": MODEL}, period="month", time_zone="Europe/Berlin", settle_s=0)
    other = set_budget(node, tenant, "1", scope={"model": "openai/gpt-4o"})
    await asyncio.gather(*(sdk.chat.completions.create(**ASKED) for _ in range(20)))
    rows = await tenant.rows(20)
    assert {row.budgets for row in rows} != {()}
    spent = f"{sum(row.cost_nano for row in rows) / 1e9:.9f}"
    found = {budget["id"]: (budget["spent_usd"], budget["held_usd"]) for budget in listed(node, tenant)}
    nothing = "0.000000000"
    assert found == {day["id"]: (spent, nothing), model["id"]: (spent, nothing), other["id"]: (nothing, nothing)}


async def test_a_budget_is_changed_by_setting_it_again_and_removed_by_its_id(node, tenant, sdk):
    first = set_budget(node, tenant, "0.000001")
    with pytest.raises(openai.APIStatusError):
        await sdk.chat.completions.create(**ASKED)
    again = set_budget(node, tenant, "2.50", hard=False)
    assert (again["id"], again["limit_usd"], again["hard"]) == (first["id"], "2.500000000", False)
    await sdk.chat.completions.create(**ASKED)
    set_budget(node, tenant, "0.000001")
    path = f"/{first['id']}"
    assert admin(node, "DELETE", path, params={"tenant": tenant.name}).json()["deleted"]
    assert admin(node, "DELETE", path, params={"tenant": tenant.name}).status_code == 404
    await until(lambda: listed(node, tenant) == [])
    await asyncio.sleep(1)
    await sdk.chat.completions.create(**ASKED)


async def test_a_minute_that_is_used_up_says_when_to_come_back(node, tenant, sdk):
    set_budget(node, tenant, "0.000001", period="minute")
    with pytest.raises(openai.APIStatusError) as caught:
        await sdk.chat.completions.create(**ASKED)
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"limit_usd": "1", "period": "day", "scope": {"model": "gpt-4o-mni"}}, "did you mean"),
        ({"limit_usd": "1", "period": "day", "scope": {"provider": "opnai"}}, "did you mean"),
        (
            {"limit_usd": "1", "period": "day", "time_zone": "Mars/Olympus"},
            "time_zone: 'Mars/Olympus' is no time zone of",
        ),
        ({"limit_usd": "1", "period": "day", "time_zone": "europe/berlin"}, "did you mean Europe/Berlin?"),
        ({"limit_usd": "1", "period": "day", "time_zone": "New York"}, "did you mean America/New_York?"),
        ({"limit_usd": "1", "period": "day", "time_zone": "Europe/Brelin"}, "or Europe/Berlin or"),
        (
            {"limit_usd": 1.5, "period": "day"},
            'limit_usd: put the amount in quotes, such as "1.5"; a number may not be',
        ),
        ({"limit": "1", "period": "day", "limit_usd": "1"}, "limit: unknown key 'limit'; did you mean limit_usd?"),
        (
            {"scope": {"taem": "x"}, "limit_usd": "1", "period": "day"},
            "scope.taem: unknown key 'taem'; did you mean team?",
        ),
        (
            {"limit_usd": "1", "period": "dya"},
            "'dya' is not one of minute, hour, day, week, month, total; did you mean day?",
        ),
        ({"limit_usd": "1", "period": "total", "rolling": True}, "rolling: a total"),
        ({"limit_usd": "9007199.254740992", "period": "day"}, "must be less than"),
        ({"limit_usd": "0.0000000001", "period": "day"}, "finer than a nano-dollar"),
        ({"limit_usd": "-1", "period": "day"}, "non-negative"),
        ({"limit_usd": 1.5, "period": "day"}, "limit_usd"),
        ({"limit_usd": "1", "period": "year"}, "period"),
        ({"limit_usd": "1", "period": "day", "alerts": ["most of it"]}, "percentages"),
        ({"limit_usd": "1", "period": "day", "scope": {"tag": "prod"}}, "scope.tag"),
        ({"limit_usd": "1", "period": "day", "scope": {"teem": "x"}}, "scope.teem"),
    ],
)
def test_a_budget_that_could_not_work_is_refused_in_words(node, body, said):
    answer = admin(node, "POST", json=body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


async def test_budgets_are_for_administrators(node, tenant):
    for method in ("GET", "POST"):
        answer = node.http.request(method, f"{node.url}/costrouter/v1/budgets", headers=tenant.headers)
        assert answer.status_code == 403


def test_generated_keys_may_spend_five_dollars_a_day(node):
    found = {budget["id"]: budget for budget in admin(node, "GET").json()["data"]}
    built_in = {name: found[name] for name in ("generated-admin", "generated-dev")}
    assert [budget["scope"] for budget in built_in.values()] == [{"key": "admin"}, {"key": "dev"}]
    for name, budget in built_in.items():
        told = (budget["limit_usd"], budget["period"], budget["hard"], budget["built_in"])
        assert told == ("5.000000000", "day", True, True)
        assert admin(node, "DELETE", f"/{name}").status_code == 403


def test_the_command_line_sets_lists_and_removes(node):
    told = node.run("budgets", "set", "--team", "cli-team", "--limit", "1.50", "--period", "week", "--statistical")
    assert told.returncode == 0, told.stderr
    assert "team=cli-team" in told.stdout
    (name,) = [b["id"] for b in admin(node, "GET").json()["data"] if b["scope"] == {"team": "cli-team"}]
    for command in (("budgets",), ("budgets", "list")):
        listing = node.run(*command).stdout
        assert name in listing
        assert "generated-dev" in listing
    assert node.run("budgets", "remove", name).returncode == 0
    assert name not in node.run("budgets").stdout


def test_a_tenants_administrator_cannot_change_what_the_operator_set_for_it(node, tenant):
    boss = bearer(node.new_key(tenant=tenant.name, role="admin"))
    set_budget(node, tenant, "5", settle_s=0)
    body = {"scope": {"tenant": tenant.name}, "limit_usd": "500", "period": "day"}
    url = f"{node.url}/costrouter/v1/budgets"
    for answer in (
        node.http.post(url, json=body, headers=boss),
        node.http.delete(f"{url}/{listed(node, tenant)[0]['id']}", headers=boss),
        node.http.post(f"{node.url}/costrouter/v1/import", json={"version": 1, "budgets": [body]}, headers=boss),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_allowed"), answer.text
        assert "The node's operator set this budget" in answer.json()["error"]["message"]
    assert [(one["limit_usd"], one["set_by"]) for one in listed(node, tenant)] == [("5.000000000", "operator")]
    own = node.http.post(url, json=body | {"period": "hour"}, headers=boss).json()
    assert own["set_by"] == "tenant"
    assert node.http.delete(f"{url}/{own['id']}", headers=boss).status_code == 200


def test_a_scope_that_would_count_more_than_was_meant_is_refused(node):
    told = node.run("budgets", "set", "--tag", "a=1", "--tag", "b=2", "--limit", "1", "--period", "day")
    assert (told.returncode, "may be given once" in told.stderr) == (2, True)
    answer = admin(node, "POST", json={"scope": {"team": None}, "limit_usd": "1", "period": "day"})
    assert (answer.status_code, "team is null" in answer.json()["error"]["message"]) == (400, True)


# -- the race


SCOPES = [
    {},
    {"model": MODEL},
    {"tag": "race=on", "provider": "openai"},
]


async def race(node, tenant, callers, scope):
    """How many of so many callers at once pass a budget that has room for one."""
    asked = ASKED | {"metadata": {"costrouter.tags": "race=on"}}
    set_budget(node, tenant, worst_usd(node, tenant, asked), scope=dict(scope), period="total", settle_s=0)
    await asyncio.sleep(1)
    # A refusal is final; what a store has no time for on a busy machine is asked again.
    clients = [tenant.sdk(max_retries=2) for _ in range(8)]
    answers = await asyncio.gather(
        *(clients[number % 8].chat.completions.create(**asked) for number in range(callers)), return_exceptions=True
    )
    for client in clients:
        await client.close()
    refused = [answer for answer in answers if isinstance(answer, BaseException)]
    assert {getattr(answer, "status_code", answer) for answer in refused} == {402}
    await tenant.rows(1)
    return callers - len(refused)


async def races(node, callers, delay_ms, opened=None):
    """One race for each of the scopes, at the same time; ``opened`` gives a connection to another store than the node's own."""
    node.faults({"provider": "openai", "kind": "slow_first_byte", "delay_ms": delay_ms})
    async with opened() if opened else node.store() as store:
        tenants = [Tenant(node, store) for _ in SCOPES]
        return await asyncio.gather(
            *(race(node, tenant, callers, scope) for tenant, scope in zip(tenants, SCOPES, strict=True))
        )


async def test_of_a_hundred_callers_one_passes_where_there_is_room_for_one(node):
    assert await races(node, 100, 2_000) == [1, 1, 1]
    assert len(node.bill()) == 3


@pytest.mark.soak
async def test_on_a_cluster_one_passes_too(tmp_path, store_of):
    cluster = store_of("cluster")
    cluster.flush()
    with Node(tmp_path, workers=4, REDIS_URL=cluster.url) as node:
        for seed in range(50):
            delay_ms = random.Random(seed).choice((0, 300, 2_000))
            assert await races(node, 100, delay_ms, lambda: connected(cluster)) == [1, 1, 1], seed


@pytest.mark.soak
async def test_fifty_races_over_four_workers_have_one_winner_each(tmp_path):
    with Node(tmp_path, workers=4) as node:
        for seed in range(50):
            draw = random.Random(seed)
            assert await races(node, draw.randint(60, 120), draw.choice((0, 300, 2_000))) == [1, 1, 1], seed
