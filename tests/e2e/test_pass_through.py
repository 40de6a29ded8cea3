"""What a provider receives of a caller's request, and a caller of the provider's answer: to the byte."""

from __future__ import annotations

import json

from recorder import EVENTS, JSON, Given

STRANGE = (
    b'{ "messages" : [ {"role":"user","content":"h\\u00e9 \\ud83d\\ude00 \\/","name":"x"} ],"tomorrow":{"a":[1.50,1e3,-0,null]},'
    b'\t"n":2,"model" : "rec/model","temperature":0.10,"logprobs":true,"top_logprobs":2,'
    b'"response_format":{"type":"json_schema","json_schema":{"name":"s","schema":{"type":"object" ,"b":1,"a":2}}},\n'
    b'"tools":[ {"type":"function","function":{"name":"f","strict":true,"parameters":{}}} ], "seed":12345678901234567890 }'
)


async def post(web, caller, body, path="/chat/completions", **headers):
    async with web.post(f"{caller.node.base_url}{path}", data=body, headers=caller.headers | headers) as response:
        return response.status, response.headers, await response.read()


def members(body):
    """Each top-level member as it stands in the body, by a parser that keeps the text of values."""
    text, found = body.decode(), {}
    decoder = json.JSONDecoder()
    at = text.index("{") + 1
    while True:
        at += len(text[at:]) - len(text[at:].lstrip(" \t\r\n,"))
        if text[at] == "}":
            return found
        key, at = decoder.raw_decode(text, at)
        at = text.index(":", at) + 1
        at += len(text[at:]) - len(text[at:].lstrip())
        _, end = decoder.raw_decode(text, at)
        found[key], at = text[at:end], end


async def test_every_field_but_the_model_is_the_callers_to_the_byte(web, caller, upstream):
    status, _, _ = await post(web, caller, STRANGE)
    (received,) = upstream.received
    sent, got = members(STRANGE), members(received.body)
    assert status == 200
    assert got.pop("model") == '"the-rec-model"'
    assert sent.pop("model") == '"rec/model"'
    assert got == sent
    assert list(got) == list(sent)
    assert received.path == "/v1/chat/completions"


async def test_a_stream_asks_for_usage_and_keeps_the_other_options(web, caller, upstream):
    upstream.answer = lambda _: Given(200, EVENTS, [b"data: [DONE]\n\n"])
    asked = {"model": "rec/model", "messages": [], "stream": True}
    await post(web, caller, json.dumps(asked | {"stream_options": {"include_obfuscation": False, "new": 1}}).encode())
    await post(web, caller, json.dumps(asked).encode())
    first, second = upstream.received
    assert first.json["stream_options"] == {"include_obfuscation": False, "new": 1, "include_usage": True}
    assert second.json["stream_options"] == {"include_usage": True}


async def test_our_metadata_stays_here_and_the_callers_goes_on(web, caller, upstream):
    asked = {"model": "rec/model", "messages": []}
    await post(web, caller, json.dumps(asked | {"metadata": {"costrouter.tags": "a=b", "mine": "1"}}).encode())
    await post(web, caller, json.dumps(asked | {"metadata": {"costrouter.tags": "a=b"}}).encode())
    first, second = upstream.received
    assert first.json["metadata"] == {"mine": "1"}
    assert "metadata" not in second.json
    assert {row.tags for row in await caller.rows(2)} == {("a=b",)}


async def test_a_provider_sees_its_own_key_and_none_of_the_callers_headers(web, caller, upstream):
    body = b'{"model":"rec/model","messages":[]}'
    await post(web, caller, body, **{"x-forwarded-for": "1.2.3.4", "cookie": "a=b", "x-costrouter-tags": "a=b"})
    (received,) = upstream.received
    assert received.headers["authorization"] == "Bearer sk-provider-secret"
    assert caller.key not in str(received)
    assert set(received.headers) <= {
        "host",
        "authorization",
        "content-type",
        "content-length",
        "accept-encoding",
        "user-agent",
        "accept",
        "connection",
    }


async def test_the_answers_body_arrives_to_the_byte_and_its_headers_do_not(web, caller, upstream):
    odd = b'{ "choices":[{"message":{"content":"Hi"}}],\n "future":1.50, "usage":{"prompt_tokens":3,"completion_tokens":1}}'
    upstream.answer = lambda _: Given(200, JSON | {"set-cookie": "a=b", "x-secret": "s", "server": "them"}, [odd])
    _, headers, body = await post(web, caller, b'{"model":"rec/model","messages":[]}')
    assert body == odd
    assert not {"set-cookie", "x-secret"} & {name.lower() for name in headers}
    assert headers.get("server") != "them"


async def test_a_streams_events_arrive_to_the_byte(web, caller, upstream):
    events = [
        b": a comment\n\n",
        b'event: x\ndata: {"choices":[{"delta":{"content":"H"}}],  "odd": 1.50}\n\n',
        b'data: {"choices":[{"delta":{"content":"\\"usage\\": {"},"finish_reason":"stop"}]}\n\n',
    ]
    end = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\ndata: [DONE]\n\n'
    upstream.answer = lambda _: Given(200, EVENTS, [*events, end])
    _, _, body = await post(web, caller, b'{"model":"rec/model","messages":[],"stream":true}')
    row = await caller.row()
    assert body.startswith(b"".join(events))
    assert body.endswith(b"data: [DONE]\n\n")
    assert (row.certainty, row.prompt_tokens, row.completion_tokens, row.cost_nano) == ("metered", 3, 2, 7_000)


async def test_a_stream_in_single_bytes_is_the_same(web, caller, upstream):
    text = b'data: {"choices":[{"delta":{"content":"H\xc3\xa9"},"finish_reason":"stop"}]}\r\n\r\n'
    end = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\r\n\r\ndata: [DONE]\r\n\r\n'
    upstream.answer = lambda _: Given(200, EVENTS, [bytes([byte]) for byte in text + end])
    _, _, body = await post(web, caller, b'{"model":"rec/model","messages":[],"stream":true}')
    assert body.startswith(text)
    assert (await caller.row()).cost_nano == 7_000


async def test_embeddings_go_to_their_own_path(web, caller, upstream):
    upstream.answer = lambda _: Given(200, JSON, [b'{"data":[],"usage":{"prompt_tokens":3,"total_tokens":3}}'])
    status, _, _ = await post(web, caller, b'{"model":"rec/model","input":"a","future":1}', "/embeddings")
    (received,) = upstream.received
    assert (status, received.path) == (200, "/v1/embeddings")
    assert received.json == {"model": "the-rec-model", "input": "a", "future": 1}
    assert (await caller.row()).cost_nano == 3_000
