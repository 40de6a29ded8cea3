"""Requests that cannot be served: typed exceptions of the SDK, none of them tried again, none of them paid."""

from __future__ import annotations

import gzip
import io
import json

import httpx2
import openai
import pytest

HI = [{"role": "user", "content": "hi"}]


class Counted(httpx2.AsyncClient):
    """Counts what the SDK sends."""

    sent = 0

    async def send(self, *args, **kwargs):
        self.sent += 1
        return await super().send(*args, **kwargs)


async def refused(tenant, error, *, key=None, **body):
    """The exception that a call ends with, after one request only although two more were allowed."""
    async with Counted() as http, tenant.sdk(max_retries=2, http_client=http) as sdk:
        with pytest.raises(error) as caught:
            await (sdk.with_options(api_key=key) if key else sdk).chat.completions.create(
                **{"model": "auto", "messages": HI} | body
            )
    assert http.sent == 1
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert caught.value.request_id
    return caught.value


async def posted(web, tenant, body, path="/v1/chat/completions", method="POST", **headers):
    url = tenant.node.url + path
    async with web.request(method, url, data=body, headers=tenant.headers | headers) as response:
        return response, json.loads(await response.read())["error"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "one JSON object"),
        (b"{", "one JSON object"),
        (b"[1]", "one JSON object"),
        (b'{"model":"auto","messages":[]} x', "one JSON object"),
        (b'{"model":"auto","messages":[],"model":"gpt-4o"}', "more than once"),
        (b'{"model":"auto"}', "messages"),
        (b'{"messages":[]}', "model"),
        (b'{"model":7,"messages":[]}', "model: expected `str`"),
        (b'{"model":"auto","messages":"hi"}', "messages: expected `array`"),
        (b'{"model":"auto","messages":[{"content":"hi"}]}', "role"),
        (b'{"model":"auto","messages":[{"role":"user","content":7}]}', "content"),
        (b'{"model":"auto","messages":[],"n":0}', "between 1 and 128"),
        (b'{"model":"auto","messages":[],"max_tokens":0}', "at least 1"),
        (b'{"model":"auto","messages":[],"stream":"yes"}', "stream: expected `bool"),
        (b'{"model":"auto","messages":[{"role":"user","content":"\xff"}]}', "not valid"),
        (b'{"model":"auto","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"model":"auto","messages":[],"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}", "nested too deeply"),
    ],
)  # fmt: skip
async def test_a_body_that_cannot_be_read_is_400_and_says_why(web, tenant, body, words):
    response, error = await posted(web, tenant, body)
    assert (response.status, error["code"]) == (400, "invalid_request"), error
    assert words in error["message"]
    assert response.headers["x-should-retry"] == "false"


async def test_a_wrong_type_is_the_sdks_bad_request_and_names_the_field(tenant):
    error = await refused(tenant, openai.BadRequestError, extra_body={"n": "two"})
    assert (error.code, error.param, error.type) == ("invalid_request", "n", "invalid_request_error")


async def test_a_wrong_key_is_an_authentication_error(tenant):
    error = await refused(tenant, openai.AuthenticationError, key="cr-wrong")
    assert error.code == "invalid_api_key"
    assert "cr-wrong" not in str(error)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer "}, {"Authorization": "Basic eDp5"}])
async def test_a_missing_key_is_asked_for(web, node, headers):
    async with web.post(f"{node.base_url}/chat/completions", data=b"{}", headers=headers) as response:
        assert response.status == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert "Authorization: Bearer" in (await response.json())["error"]["message"]


async def test_an_unknown_model_is_not_found_and_its_near_miss_named(tenant):
    error = await refused(tenant, openai.NotFoundError, model="openai/gpt-4o-mni")
    assert (error.code, error.param) == ("unknown_model", "model")
    assert "did you mean openai/gpt-4o-mini" in str(error)


async def test_an_unknown_policy_is_not_found_and_its_near_miss_named(tenant):
    error = await refused(tenant, openai.NotFoundError, extra_headers={"x-costrouter-policy": "wach"})
    assert error.code == "unknown_policy"
    assert "did you mean watch?" in str(error)


async def test_a_model_outside_the_policy_is_a_permission_error(tenant):
    error = await refused(
        tenant, openai.PermissionDeniedError, model="openai/gpt-4o", extra_headers={"x-costrouter-policy": "narrow"}
    )
    assert error.code == "model_not_allowed"


async def test_no_feasible_model_leads_with_the_smallest_change(tenant):
    error = await refused(tenant, openai.UnprocessableEntityError, model="narrow")
    assert error.code == "no_feasible_model"
    assert error.body["message"].startswith("ttft 1 ms → ")
    assert "would admit openai/gpt-4o-mini ($" in error.body["message"]
    candidates = error.body["candidates"]
    assert {one["model"] for one in candidates} == {"openai/gpt-4o-mini@openai", "openai/gpt-4o-mini@azure"}
    assert all("above 1 ms" in one["reasons"][0] for one in candidates)
    await tenant.rows(0)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
        ("POST", "/chat/completions", 404),
        ("GET", "/v1/nothing", 404),
        ("GET", "/", 404),
        ("POST", "/v1//chat/completions", 404),
    ],
)
async def test_other_paths_and_methods_are_refused_in_words(web, tenant, method, path, status):
    response, error = await posted(web, tenant, None, path, method)
    assert response.status == status
    assert error["message"]
    assert response.headers["x-should-retry"] == "false"
    assert ("allow" in response.headers) == (status == 405)
    if path == "/chat/completions":
        assert "/v1/chat/completions" in error["message"]


async def test_a_body_over_the_limit_is_413_whatever_its_framing(web, tenant):
    async def chunks():
        for _ in range(10):
            yield b" " * 2**20

    for body, headers in (
        (io.BytesIO(b" " * (9 * 2**20)), {}),
        (chunks(), {}),
        (gzip.compress(b" " * (9 * 2**20)), {"content-encoding": "gzip"}),
    ):
        response, error = await posted(web, tenant, body, **headers)
        assert (response.status, error["code"]) == (413, "request_too_large")
        assert str(8 * 2**20) in error["message"]


async def test_a_compressed_body_is_read(web, tenant):
    body = gzip.compress(json.dumps({"model": "auto", "messages": HI}).encode())
    headers = tenant.headers | {"content-encoding": "gzip"}
    async with web.post(f"{tenant.node.base_url}/chat/completions", data=body, headers=headers) as response:
        assert response.status == 200
    await tenant.rows(1)


async def test_only_the_admin_makes_keys(web, tenant):
    response, error = await posted(web, tenant, b'{"name":"x"}', "/costrouter/v1/keys")
    assert (response.status, error["code"]) == (403, "not_allowed")


async def test_an_estimate_takes_no_larger_body_than_a_prompt(node, tenant, web):
    url = f"{node.url}/costrouter/v1/estimate"
    async with web.post(url, data=io.BytesIO(b" " * (9 * 2**20)), headers=tenant.headers) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (413, "request_too_large")
