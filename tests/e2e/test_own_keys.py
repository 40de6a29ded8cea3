"""Callers who bring a provider's own key: where it goes, where it does not, and what is kept of it."""

from __future__ import annotations

import hashlib
import json

import openai
import pytest
from node import bearer
from recorder import says
from store import stored_rows, until

HI = [{"role": "user", "content": "hi"}]


@pytest.fixture
def secret(request):
    """A key of the provider ``own``, one a test."""
    return f"sk-own-{hashlib.sha256(request.node.name.encode()).hexdigest()}"


def id_of(secret):
    return f"own-{hashlib.sha256(secret.encode()).hexdigest()[:16]}"


def ask(node, secret, model="auto", **headers):
    body = {"model": model, "messages": HI}
    return node.http.post(f"{node.base_url}/chat/completions", json=body, headers=bearer(secret) | headers)


async def rows_of(node, secret):
    async with node.store() as store:

        async def booked():
            return any(row.key == id_of(secret) for row in await stored_rows(store, "own-keys"))

        await until(booked, 10)
        return [row for row in await stored_rows(store, "own-keys") if row.key == id_of(secret)]


async def test_it_travels_on_and_only_its_hash_is_kept(recorded_node, upstream, secret):
    async with openai.AsyncOpenAI(base_url=recorded_node.base_url, api_key=secret, max_retries=0) as sdk:
        answer = await sdk.chat.completions.create(model="auto", messages=HI)
    assert answer.choices[0].message.content == "Hello."
    (received,) = upstream.received
    assert (received.headers["authorization"], received.json["model"]) == (f"Bearer {secret}", "the-own-model")
    (row,) = await rows_of(recorded_node, secret)
    assert (row.tenant, row.provider, row.certainty, row.cost_nano) == ("own-keys", "own", "metered", 13_000)
    report = recorded_node.spend(tenant="own-keys", group_by="key")
    assert id_of(secret) in json.dumps(report)
    files = [path for path in recorded_node.folder.rglob("*") if path.is_file()]
    assert any("journal" in path.parts for path in files)
    assert [path for path in files if secret.encode() in path.read_bytes()] == []


async def test_a_key_that_the_provider_refuses_is_a_401_in_our_words_and_no_row(recorded_node, upstream, secret):
    upstream.answer = says(401, {"error": {"message": f"Incorrect API key provided: {secret}"}})
    answer = ask(recorded_node, secret)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert answer.json()["error"]["message"] == "own does not accept this key."
    async with recorded_node.store() as store:
        assert [row for row in await stored_rows(store, "own-keys") if row.key == id_of(secret)] == []


def test_it_is_never_mixed_with_other_providers(recorded_node, upstream, secret):
    """Neither does it go to another provider, nor a key of ours to the one that it is for."""
    for model in ("rec/model", "dead/model"):
        answer = ask(recorded_node, secret, model)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_model")
    ours = ask(recorded_node, recorded_node.key, "own/model")
    assert (ours.status_code, ours.json()["error"]["code"]) == (404, "unknown_model")
    assert upstream.received == []
    listed = recorded_node.http.get(f"{recorded_node.base_url}/models", headers=bearer(secret)).json()["data"]
    assert [model["id"] for model in listed if "/" in model["id"]] == ["own/model"]


def test_a_key_of_ours_that_nobody_knows_does_not_travel(recorded_node, upstream):
    for secret in (f"cr-{'x' * 43}", f"{recorded_node.admin_key}x"):
        for headers in ({}, {"x-costrouter-provider": "own"}):
            answer = ask(recorded_node, secret, **headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert upstream.received == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/costrouter/v1/spend"),
        ("GET", "/costrouter/v1/budgets"),
        ("GET", "/costrouter/v1/keys"),
        ("GET", "/costrouter/v1/policies"),
        ("GET", "/costrouter/v1/jobs"),
        ("POST", "/costrouter/v1/estimate"),
        ("POST", "/v1/files"),
        ("POST", "/v1/batches"),
    ],
)
def test_it_opens_prompts_and_nothing_else(recorded_node, secret, method, path):
    answer = recorded_node.http.request(method, f"{recorded_node.url}{path}", headers=bearer(secret))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_allowed")


def test_it_is_budgeted_by_its_hash(recorded_node, upstream, secret):
    scope = {"tenant": "own-keys", "key": id_of(secret)}
    answer = recorded_node.http.post(
        f"{recorded_node.url}/costrouter/v1/budgets",
        json={"scope": scope, "limit_usd": "0.000000001", "period": "day", "hard": True},
        headers=bearer(recorded_node.admin_key),
    )
    assert answer.status_code == 201, answer.text

    def refused():
        return ask(recorded_node, secret).status_code == 402

    assert any(refused() for _ in range(400)), "a budget holds within a second"
    other = ask(recorded_node, f"{secret}-other")
    assert other.status_code == 200
