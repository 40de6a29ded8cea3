"""Bodies, answers, streams and meters that chance has spoilt: each is read, or refused in words; none hangs, none escapes.

A few hundred by a fixed seed every day; ten minutes by the clock's seed in a soak (``--fuzz-seconds``).
"""

import contextlib
import copy
import json
import random
import time
from pathlib import Path

import msgspec
import pytest
from options import decision

from router.core.errors import RouterError
from router.core.values import Usage
from router.core.wire import EXPRESSES
from router.dialects.bedrock.frames import frame
from router.dialects.cacheable import same_request
from router.dialects.contract import Asked
from router.dialects.neutral import Answer, Begun, Closed, Conversation, Ended, Opened, Piece, Text, Thought, ToolUse
from router.dialects.openai.errors import provider_error, reported_error
from router.dialects.responses.memory import input_of
from router.dialects.ways import INBOUND, OUTBOUND, way

FIXTURES = Path(__file__).parents[1] / "fixtures"
TOOL = {"type": "object", "properties": {"place": {"type": "string"}}}
BODIES = {
    "chat": {
        "model": "m", "stream": True, "max_completion_tokens": 9, "temperature": 0.5, "stop": ["END"], "seed": 7, "user": "u",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]},
            {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "look", "arguments": "{}"}, "extra_content": {"google": {"thought_signature": "c2ln"}}}]},
            {"role": "tool", "tool_call_id": "a", "content": "rain"},
        ],
        "tools": [{"type": "function", "function": {"name": "look", "parameters": TOOL, "strict": True}}],
        "tool_choice": {"type": "function", "function": {"name": "look"}}, "reasoning_effort": "low", "stream_options": {"include_usage": True},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": TOOL}}, "metadata": {"costrouter.tags": "a=b"},
    },
    "messages": {
        "model": "m", "max_tokens": 9, "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}}]},
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm", "signature": "costrouter.gemini.c2ln"}, {"type": "tool_use", "id": "a", "name": "look", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "rain"}], "is_error": True}]},
        ],
        "tools": [{"name": "look", "input_schema": TOOL}], "tool_choice": {"type": "any", "disable_parallel_tool_use": True}, "top_k": 4,
        "thinking": {"type": "enabled", "budget_tokens": 2048}, "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": TOOL}},
        "stop_sequences": ["END"], "metadata": {"user_id": "u"},
    },
    "responses": {
        "model": "m", "instructions": "Be brief.", "stream": True, "max_output_tokens": 99, "reasoning": {"effort": "low", "summary": "auto"},
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
            {"type": "function_call", "call_id": "a", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": "rain"},
        ],
        "tools": [{"type": "function", "name": "look", "parameters": TOOL}], "text": {"format": {"type": "json_schema", "name": "n", "schema": TOOL}},
    },
    "embeddings": {"model": "m", "input": ["Hi", "you"]},
}  # fmt: skip  # a line a field would fill pages
METERS = Usage(100, 50, 10, 5, 20)
BLOCKS = (Thought("Hm", "sig"), Text('Hi "you" \\ \u00e9'), ToolUse("a", "look", '{"place":"x"}'))
ODD = (
    None,
    True,
    -1,
    10**30,
    1.5e300,
    "",
    "\ud800",
    "x" * 50,
    [],
    {},
    [[]],
    {"type": "text"},
    "data:image/png;base64,",
    "\u2028",
)
SHARDS = (
    b'"',
    b"\\",
    b"{",
    b"[",
    b"]",
    b"}",
    b"\n\n",
    b"\r",
    b"data: ",
    b"null",
    b"1e999",
    b"\xff",
    b"\x00",
    b'"usage":',
    b"[DONE]",
)


def answers():
    """Dialect to good answers, plain and streamed."""
    asked = Asked(INBOUND["chat"].read(b'{"model":"m","messages":[]}', {}), 100, 7)
    events = [Begun("r", "m")]
    for at, block in enumerate(BLOCKS):
        kind = {Thought: "thought", Text: "text", ToolUse: "tool"}[type(block)]
        events += [Opened(at, kind, *([block.id, block.name] if kind == "tool" else [])), Piece(at, block.arguments if kind == "tool" else block.text), Closed(at)]  # fmt: skip
    events.append(Ended("tools"))
    found = {}
    for api in ("chat", "messages", "responses"):
        inbound = INBOUND[api]
        writer = inbound.hearing.writer(asked)
        plain = inbound.hearing.write_answer(Answer("r", "m", BLOCKS, "tools", usage=METERS), asked)
        found[inbound.native] = [plain, writer.write(events) + writer.ending(METERS, "0.5") + writer.last]
    google = {
        "candidates": [{"content": {"parts": [{"text": "Hm", "thought": True}, {"functionCall": {"name": "look", "args": {"a": 1}}, "thoughtSignature": "c2ln"}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 4, "thoughtsTokenCount": 3, "totalTokenCount": 16}, "responseId": "r",
    }  # fmt: skip  # one answer
    data = json.dumps(google).encode()
    found["gemini"] = found["vertex"] = [data, b"data: " + data.replace(b'"STOP"', b'""') + b"\r\n\r\ndata: " + data + b"\r\n\r\n"]  # fmt: skip
    usage = {"inputTokens": 9, "outputTokens": 4, "totalTokens": 13, "cacheDetails": [{"ttl": "1h", "inputTokens": 2}]}
    content = [{"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "s"}}}, {"text": "Hi"}, {"toolUse": {"toolUseId": "a", "name": "look", "input": {}}}]  # fmt: skip
    plain = json.dumps({"output": {"message": {"content": content}}, "stopReason": "tool_use", "usage": usage}).encode()
    told = [
        ("messageStart", {"role": "assistant"}), ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "Hm"}}}),
        ("contentBlockStop", {"contentBlockIndex": 0}), ("contentBlockStart", {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "a", "name": "look"}}}),
        ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"toolUse": {"input": "{}"}}}), ("contentBlockStop", {"contentBlockIndex": 1}),
        ("messageStop", {"stopReason": "tool_use"}), ("metadata", {"usage": usage}),
    ]  # fmt: skip  # one stream
    found["bedrock"] = [plain, told]
    found["openai"] += [
        path.read_bytes() for path in sorted((FIXTURES / "openai").glob("*.*s*")) if path.suffix != ".yaml"
    ]
    return found


GOOD = answers()


def places(document, path=()):
    """Every place in a document."""
    yield path
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for name, value in items:
        yield from places(value, (*path, name))


def spoilt(draw, document):
    """A document with some of its values replaced, repeated or gone."""
    document = json.loads(json.dumps(document))
    for _ in range(draw.randint(1, 3)):
        path = draw.choice([path for path in places(document) if path] or [()])
        if not path:
            return copy.deepcopy(draw.choice(ODD))
        parent = document
        for name in path[:-1]:
            parent = parent[name]
        odd = copy.deepcopy(draw.choice(ODD))
        if draw.random() < 0.2:
            for _ in range(draw.choice((3, 300))):
                odd = [odd]
        if draw.random() < 0.2:
            del parent[path[-1]]
        else:
            parent[path[-1]] = odd
    return document


def gnawed(draw, data):
    """Bytes with some of them changed."""
    data = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(data) + 1)
        kind = draw.randrange(4)
        if kind == 0:
            data[at:at] = draw.choice(SHARDS)
        elif kind == 1:
            del data[at : at + draw.randint(1, 30)]
        elif kind == 2 and data:
            data[at % len(data)] ^= 1 << draw.randrange(8)
        else:
            end = draw.randrange(len(data) + 1)
            data[at:at] = data[min(at, end) : max(at, end)][:400]
    return bytes(data)


def written(document):
    """As JSON; lone surrogates stay escapes."""
    return json.dumps(document).encode()


def a_body_is_refused_in_words_or_can_be_sent(api, body):
    inbound = INBOUND[api]
    try:
        request = inbound.read(body, {})
        plain, told = decision(), decision(effort="low")
        for chosen in (
            plain,
            *(msgspec.structs.replace(told, keeps=keeps, cache_key="k") for keeps in ("head", "all")),
        ):
            inbound.passed(request, chosen, frozenset())
        same_request(request)
        if api == "responses":
            input_of(request.top)
        if inbound.hearing is None:
            return
        said = inbound.hearing.understood(request)
    except RouterError as error:
        if error.code == "internal_error":
            raise
        return
    request = msgspec.structs.replace(request, conversation=said)
    for dialect, outbound in OUTBOUND.items():
        if said.wire & ~EXPRESSES[dialect] == 0:
            json.loads(outbound.order(request, decision(), frozenset()).body)


def an_answer_is_read_or_unreadable(dialect, body):
    outbound = OUTBOUND[dialect]
    outbound.usage_of(body)
    outbound.is_answer(body)
    outbound.answered_text(body)
    provider_error(400, body, "7", provider="p", model="m")
    reported_error(body, provider="p")
    try:
        outbound.read_answer(body)
    except ValueError:
        return


def a_stream_is_read_or_unreadable(draw, dialect, stream):
    outbound = OUTBOUND[dialect]
    outbound.streamed_text(stream)
    outbound.said_so_far(stream)
    cuts = sorted(draw.randrange(len(stream) + 1) for _ in range(draw.randint(0, 5)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    request = INBOUND["chat"].read(b'{"model":"m","messages":[]}', {})
    request = msgspec.structs.replace(request, conversation=Conversation(shows_thoughts=draw.random() < 0.5))
    asked = Asked(request, 100, 7, "resp_1")
    for api, inbound in INBOUND.items():
        if inbound.hearing is None:
            continue
        scanner = way(api, (dialect,)).scanner(asked, lambda _: "0.5")
        try:
            for chunk in chunks:
                scanner.feed(chunk)
        except ValueError:
            continue
        scanner.ending()


def once(draw):
    """One thing that chance has spoilt."""
    kind = draw.randrange(3)
    if kind == 0:
        api = draw.choice(tuple(BODIES))
        body = written(spoilt(draw, BODIES[api]))
        a_body_is_refused_in_words_or_can_be_sent(api, body if draw.random() < 0.7 else gnawed(draw, body))
        return
    dialect = draw.choice(tuple(OUTBOUND))
    good = draw.choice(GOOD[dialect])
    if isinstance(good, list):
        stream = b"".join(frame({":message-type": "event", ":event-type": name}, written(spoilt(draw, said) if draw.random() < 0.3 else said)) for name, said in good)  # fmt: skip
        a_stream_is_read_or_unreadable(draw, dialect, stream if draw.random() < 0.7 else gnawed(draw, stream))
    elif good.startswith(b"{"):
        body = written(spoilt(draw, json.loads(good)))
        an_answer_is_read_or_unreadable(dialect, body if draw.random() < 0.7 else gnawed(draw, body))
    else:
        events = good.split(b"\n\n")
        at = draw.randrange(len(events))
        head, sign, data = events[at].partition(b"data: ")
        with contextlib.suppress(json.JSONDecodeError):
            events[at] = head + sign + written(spoilt(draw, json.loads(data)))
        stream = b"\n\n".join(events)
        a_stream_is_read_or_unreadable(draw, dialect, stream if draw.random() < 0.5 else gnawed(draw, stream))


@pytest.mark.parametrize("seed", range(4))
def test_what_chance_has_spoilt_is_read_or_refused(seed):
    draw = random.Random(seed)
    for _ in range(250):
        once(draw)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_ten_minutes_of_what_chance_has_spoilt(request):
    seed = int(time.time())
    draw, tries = random.Random(seed), 0
    end = time.monotonic() + request.config.getoption("--fuzz-seconds")
    while time.monotonic() < end:
        state = draw.getstate()
        try:
            once(draw)
        except BaseException:
            print(f"\nseed {seed}, try {tries}: random.Random().setstate({str(state)[:60]}…)")  # noqa: T201 - to find it again
            raise
        tries += 1
    assert tries
    print(f"\n{tries} tries, seed {seed}")  # noqa: T201 - a soak's findings


MUCH = 150_000
LONG = {
    "one line without an end": b'data: {"a":"' + b"x" * MUCH,
    "quotes": b'data: {"text":"' + b'\\"' * (MUCH // 2) + b'"}\n\n',
    "backslashes": b'data: {"content":"' + b"\\\\" * (MUCH // 2) + b'"}\n\n',
    "empty lines": b"\n" * MUCH,
    "carriage returns": b"\r" * MUCH,
    "events of nothing": b"data: {}\n\n" * (MUCH // 10),
    "words that tell": b'data: {"usage":null,"error":null}\n\n' * (MUCH // 36),
    "brackets": b"data: " + b"[" * MUCH + b"\n\n",
}


@pytest.mark.parametrize("name", LONG)
@pytest.mark.timeout(60)
def test_what_is_long_takes_as_long_as_it_is_long(name):
    # Whatever took the square of its length would be at it for hours.
    for dialect in OUTBOUND:
        for api, inbound in INBOUND.items():
            if inbound.hearing is None or (dialect != inbound.native and api != "chat"):
                continue
            request = INBOUND["chat"].read(b'{"model":"m","messages":[]}', {})
            scanner = way(api, (dialect,)).scanner(Asked(request, 100, 7, "resp_1"), lambda _: None)
            stream = LONG[name]
            try:
                for start in range(0, len(stream), 1_000):
                    scanner.feed(stream[start : start + 1_000])
            except ValueError:
                pass
            OUTBOUND[dialect].said_so_far(stream)
            OUTBOUND[dialect].streamed_text(stream)
