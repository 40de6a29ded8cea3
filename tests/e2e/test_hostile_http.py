"""What attackers send as HTTP: smuggled headers, split requests, bombs, slow bodies. docs/security.md lists these tests."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import zlib
from pathlib import Path

import pytest
from node import bearer

BODY = json.dumps(
    {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
).encode()
SECOND = b"GET /costrouter/v1/keys HTTP/1.1\r\nHost: x\r\n\r\n"
"""A request that somebody in front of us may not have seen."""


async def exchanged(node, text):
    """All that comes back until the connection is closed, or nothing more comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(node.url.rpartition(":")[2]))
    found = b""
    try:
        writer.write(text)
        async with asyncio.timeout(5) as patience:
            while part := await reader.read(65536):
                found += part
                patience.reschedule(asyncio.get_running_loop().time() + 0.7)
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return found


def statuses(text):
    return [int(number) for number in re.findall(rb"HTTP/1\.[01] (\d{3})", text)]


def post(tenant, *fields, body=BODY, length=True):
    lines = ["POST /v1/chat/completions HTTP/1.1", "Host: x", f"Authorization: Bearer {tenant.key}", *fields]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    "fields",
    [
        ["Transfer-Encoding: chunked"],
        ["Transfer-Encoding : chunked"],
        ["Transfer-Encoding: xchunked"],
        ["Transfer-Encoding: chunked, identity"],
        ["Transfer-Encoding:\x0bchunked"],
        ["Content-Length: 5"],
        ["Content-Length: +5"],
        ["Content-Length: 0x10"],
        ["Content-Length: 5, 5"],
        ["Content-Length : 3"],
        ["Content-Length: -1"],
        ["Content-Length: 1_0"],
        ["X-Folded: a\r\n b: c"],
        ["X-Nul: a\x00b"],
        ["X-Bare: a\rb"],
        ["X Space: a"],
        [": a"],
    ],
    ids=repr,
)
async def test_a_smuggled_header_is_refused_and_the_connection_closed(node, tenant, fields):
    """Two lengths, odd encodings, folded or broken lines: whoever stands before us may read them otherwise."""
    given = await exchanged(node, post(tenant, *fields) + SECOND)
    assert len(statuses(given)) == 1, given
    assert 400 <= statuses(given)[0] < 500
    assert b"Traceback" not in given
    await tenant.rows(0)


async def test_a_chunked_body_cannot_hide_a_second_request(node, tenant):
    chunked = b'%x;ext="\r\n"\r\n%b\r\n0\r\n\r\n' % (len(BODY), BODY)
    given = await exchanged(node, post(tenant, "Transfer-Encoding: chunked", body=chunked, length=False) + SECOND)
    assert set(statuses(given)) <= {400, 401}, given
    await tenant.rows(0)


async def test_a_chunk_size_that_is_no_number_is_refused(node, tenant):
    for size in (b"0x5", b"-5", b"5 5", b"", b"g"):
        body = size + b"\r\nhello\r\n0\r\n\r\n"
        given = await exchanged(node, post(tenant, "Transfer-Encoding: chunked", body=body, length=False) + SECOND)
        assert len(statuses(given)) <= 1
        assert b" 200 " not in given.partition(b"\r\n")[0]
    await tenant.rows(0)


@pytest.mark.parametrize("field", ["model", "user", "policy header", "tags header"])
async def test_a_line_break_in_a_value_splits_no_response(node, tenant, field):
    """What a caller sends comes back in headers (policy, model): never with a line break in it."""
    planted = "x\r\nSet-Cookie: a=b\r\n\r\nHTTP/1.1 200 OK"
    body = json.loads(BODY)
    headers = dict(tenant.headers)
    if field in body or field == "user":
        body[field] = planted
    else:
        body["metadata"] = {f"costrouter.{field.split()[0]}": planted}
    answer = node.http.post(f"{node.base_url}/chat/completions", json=body, headers=headers)
    assert "set-cookie" not in answer.headers
    assert answer.status_code == (200 if field == "user" else 404 if field == "model" else 400)


async def test_a_header_name_or_value_with_a_line_break_ends_the_request(node, tenant):
    given = await exchanged(node, post(tenant, "x-costrouter-policy: default\nSet-Cookie: a=b"))
    assert b"set-cookie" not in given.lower()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_compressed_bomb_is_refused_before_it_unfolds(node, tenant, encoding):
    """300 MB of zeros in 300 KB: no worker holds more than the limit of a body (8 MB here)."""
    pack = zlib.compressobj(9, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
    bomb = b"".join(pack.compress(bytes(2**20)) for _ in range(300)) + pack.flush()
    before = {pid: resident(pid) for pid in node.worker_pids()}
    answers = await asyncio.gather(
        *(
            exchanged(node, post(tenant, f"Content-Encoding: {encoding}", "Connection: close", body=bomb))
            for _ in range(4)
        )
    )
    # Closing on a caller who still sends may take the answer with it.
    assert {status for answer in answers for status in statuses(answer)} == {413}
    assert max(resident(pid) - before[pid] for pid in before) < 100 * 2**20
    await tenant.rows(0)


def resident(pid):
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


async def test_a_bomb_in_a_bomb_stays_shut(node, tenant):
    answer = await exchanged(node, post(tenant, "Content-Encoding: gzip", body=gzip.compress(gzip.compress(BODY))))
    assert statuses(answer) == [400]
    answer = await exchanged(
        node, post(tenant, "Content-Encoding: gzip, gzip", body=gzip.compress(gzip.compress(BODY)))
    )
    assert statuses(answer)[0] in (400, 415)
    await tenant.rows(0)


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'{"model":"auto","messages":' + b"[" * 100_000,
        b'{"model":"auto","model":"openai/gpt-5.2-pro","messages":[{"role":"user","content":"x"}]}',
    ],
    ids=["arrays", "objects", "messages", "a key twice"],
)
async def test_a_body_that_two_parsers_would_read_differently_or_not_at_all_is_refused(node, tenant, body):
    assert statuses(await exchanged(node, post(tenant, body=body))) == [400]
    await tenant.rows(0)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1@evil.example", "", "x/../y", "a" * 5000],
    ids=lambda host: host[:20],
)
async def test_the_host_header_decides_nothing(recorded_node, caller, upstream, host):
    """No virtual hosts, no links made of it, and the provider never sees it."""
    body = json.dumps({"model": "rec/model", "messages": [{"role": "user", "content": "hi"}]}).encode()
    text = post(
        caller, "X-Forwarded-Host: evil.example", "Forwarded: host=evil.example", "Connection: close", body=body
    )
    given = await exchanged(recorded_node, text.replace(b"Host: x", b"Host: " + host.encode()))
    assert b"evil" not in given
    for request in upstream.received:
        assert "evil" not in json.dumps(dict(request.headers))


async def test_an_absolute_target_goes_nowhere_else(node, tenant):
    text = post(tenant, "Connection: close").replace(b"POST /v1", b"POST http://evil.example/v1")
    given = await exchanged(node, text)
    assert statuses(given)[0] in (200, 400, 404)
    given = await exchanged(node, b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n")
    assert statuses(given)[0] >= 400
    given = await exchanged(
        node, b"GET /healthz HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n"
    )
    assert b" 101 " not in given


@pytest.mark.parametrize("name", ["base_url", "api_base", "api_key", "url", "endpoint", "proxy", "extra_headers"])
async def test_a_body_cannot_say_where_a_prompt_goes_or_with_which_key(recorded_node, caller, upstream, name):
    """Such fields are no fields of ours: they go on as they came, to the provider that the catalog names."""
    body = {"model": "rec/model", "messages": [{"role": "user", "content": "hi"}], name: "http://evil.example/v1"}
    answer = recorded_node.http.post(
        f"{recorded_node.base_url}/chat/completions",
        json=body,
        headers=caller.headers | {f"x-{name}": "http://evil.example"},
    )
    assert len(upstream.received) == 1, answer.text
    (request,) = upstream.received
    headers = {key.lower(): value for key, value in dict(request.headers).items()}
    assert headers["authorization"] == "Bearer sk-provider-secret"
    assert "evil" not in json.dumps(headers)
    assert caller.key not in json.dumps(headers)


async def test_a_header_of_ours_that_does_not_exist_is_refused(node, tenant):
    for name in ("base-url", "tenant", "provider-key", "role", "key"):
        answer = node.http.post(
            f"{node.base_url}/chat/completions", content=BODY, headers=tenant.headers | {f"x-costrouter-{name}": "x"}
        )
        assert answer.status_code == 400, name
    await tenant.rows(0)


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "openai/../../../admin",
        "openai/gpt-4o-mini/../../v1/files",
        "openai/gpt-4o-mini?api-version=1",
        "openai/gpt-4o-mini#x",
        "openai%2f..%2fgpt-4o-mini",
        "openai\\gpt-4o-mini",
        "http://evil.example/gpt",
        "openai/gpt-4o-mini\u0000",
        "\u202eopenai/gpt-4o-mini",
        "-rf /",
        "{{7*7}}",
        "",
        "a" * 100_000,
    ],
    ids=lambda name: repr(name[:30]),
)
async def test_a_model_name_with_a_path_in_it_reaches_no_provider(node, tenant, name):
    answer = node.http.post(
        f"{node.base_url}/chat/completions", json=json.loads(BODY) | {"model": name}, headers=tenant.headers
    )
    assert answer.status_code in (400, 404), answer.text
    assert len(answer.content) < 3000
    assert node.bill() == []
    await tenant.rows(0)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/../costrouter/v1/keys",
        "/v1/models/../../costrouter/v1/keys",
        "/v1/models/..%2f..%2fcostrouter%2fv1%2fkeys",
        "//costrouter/v1/keys",
        "/costrouter/v1/keys/",
        "/costrouter/v1/keys;x=1",
        "/costrouter/v1/%6beys",
        "/costrouter/v1/keys%00",
        "/.env",
        "/v1/files/../../../../etc/passwd",
    ],
)
async def test_a_path_with_tricks_in_it_is_no_other_path(node, tenant, path):
    given = await exchanged(
        node,
        f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {node.admin_key}\r\nConnection: close\r\n\r\n".encode(),
    )
    assert statuses(given)[0] in (400, 404, 405), given
    assert b"costrouter.key" not in given


@pytest.mark.parametrize(
    "key",
    [
        "' OR 1=1 --",
        "1; DROP TABLE keys",
        "$(reboot)",
        "`id`",
        "; cat /etc/passwd",
        "*",
        "cr:{@}:keys",
        "key-0000000000000000",
        "{{config}}",
        "../admin.key",
        "a" * 8000,
        "\xff\xfe",
        "%00",
        "cr-\r",
    ],
    ids=lambda key: repr(key[:20]),
)
async def test_a_key_shaped_like_sql_shell_or_a_store_key_is_an_unknown_key(node, key):
    for field in (f"Authorization: Bearer {key}", f"x-api-key: {key}"):
        text = f"GET /costrouter/v1/keys HTTP/1.1\r\nHost: x\r\n{field}\r\nConnection: close\r\n\r\n"
        given = await exchanged(node, text.encode("latin-1"))
        assert statuses(given)[0] in (400, 401), given
        assert key not in given.decode("latin-1") or len(key) <= 4
    assert node.http.get(f"{node.url}/readyz", headers=bearer("x")).status_code == 200
