"""Requests, answers and streams through the neutral form: what both sides can express comes through unchanged."""

import itertools
import json

import msgspec
import pytest
from conversations import answers, conversations
from hypothesis import given, settings
from hypothesis import strategies as st
from options import decision

from router.core.errors import RouterError
from router.core.values import Usage
from router.core.wire import EXPRESSES
from router.dialects import signatures
from router.dialects.contract import Asked
from router.dialects.neutral import (
    Answer,
    Begun,
    Closed,
    Conversation,
    Ended,
    Opened,
    Piece,
    Signed,
    Text,
    Thought,
    ToolUse,
)
from router.dialects.ways import INBOUND, OUTBOUND, way

APIS = {"openai": "chat", "anthropic": "messages", "responses": "responses"}
EACH = pytest.mark.parametrize("dialect", APIS)
ACROSS = pytest.mark.parametrize(
    ("api", "dialect"),
    [(api, dialect) for native, api in APIS.items() for dialect in APIS if dialect != native],
)


def ordered(dialect, said, quirks=frozenset(), *, stream=False, max_output=700, **changes):
    """The body that a conversation becomes in a dialect."""
    request = msgspec.structs.replace(
        INBOUND["chat"].read(b'{"model":"m","messages":[]}', {}),
        conversation=said,
        stream=stream,
        max_output=max_output,
    )
    return OUTBOUND[dialect].order(request, decision(**changes), quirks)


def understood(dialect, body):
    """A body of a dialect as a conversation."""
    inbound = INBOUND[APIS[dialect]]
    return inbound.hearing.understood(inbound.read(body, {}))


def bare(said):
    """A conversation without what a reader notes beside it."""
    return msgspec.structs.replace(said, wire=Conversation().wire, notes=(), shows_thoughts=False)


@EACH
@settings(max_examples=20)
@given(data=st.data())
def test_a_conversation_comes_back_as_it_went(dialect, data):
    said = data.draw(conversations(messages=dialect == "anthropic", stops=dialect != "responses"))
    read = understood(dialect, ordered(dialect, said).body)
    assert bare(read) == said
    assert read.wire & ~EXPRESSES[dialect] == 0, "what it writes itself, it can express"


@pytest.mark.parametrize(("dialect", "other"), list(itertools.permutations(APIS, 2)))
@settings(max_examples=10)
@given(data=st.data())
def test_what_both_can_express_survives_the_way_through_the_other(dialect, other, data):
    said = data.draw(conversations(messages=False, stops="responses" not in (dialect, other)))
    # Anthropic keeps nothing of a form but its schema.
    said = said if "anthropic" not in (dialect, other) else msgspec.structs.replace(said, format=None)
    there = understood(dialect, ordered(dialect, said).body)
    across = understood(other, ordered(other, there).body)
    back = understood(dialect, ordered(dialect, across).body)
    assert bare(back) == bare(there) == said


def events_of(answer):
    """A whole answer as a stream's events, in pieces."""
    found = [Begun(answer.id, answer.model)]
    for at, block in enumerate(answer.blocks):
        if isinstance(block, ToolUse):
            found.append(Opened(at, "tool", block.id, block.name))
            said = block.arguments
        else:
            found.append(Opened(at, "thought" if isinstance(block, Thought) else "text"))
            said = block.text
        half = len(said) // 2
        found += [Piece(at, said[:half])] * bool(half) + [Piece(at, said[half:])]
        if isinstance(block, Thought) and block.signature:
            found.append(Signed(at, block.signature))
        found.append(Closed(at))
    return [*found, Ended(answer.finish, answer.stop_sequence)]


def summed(events):
    """A stream's events as a whole answer's blocks."""
    blocks = {}
    for event in events:
        if isinstance(event, Opened):
            blocks[event.at] = [event, "", ""]
        elif isinstance(event, Piece):
            blocks[event.at][1] += event.text
        elif isinstance(event, Signed):
            blocks[event.at][2] = event.signature
    found = []
    for opened, said, signature in blocks.values():
        if opened.kind == "tool":
            found.append(ToolUse(opened.id, opened.name, said))
        elif opened.kind == "hidden":
            found.append(Thought("", opened.id, hidden=True))
        else:
            found.append(Thought(said, signature) if opened.kind == "thought" else Text(said))
    return tuple(found)


def asked(*, wants_usage=True, answer_id=""):
    request = INBOUND["chat"].read(b'{"model":"m","messages":[]}', {})
    return Asked(msgspec.structs.replace(request, wants_usage=wants_usage), 100, 1_700_000_000, answer_id)


def streamed(dialect, answer, cost=None):
    """An answer as the bytes of a stream."""
    writer = INBOUND[APIS[dialect]].hearing.writer(asked())
    said = writer.write(events_of(answer)) + writer.ending(answer.usage, cost)
    return said + writer.last


def read_stream(dialect, chunks):
    reader = OUTBOUND[dialect].reader()
    return [event for chunk in chunks for event in reader.feed(chunk)], reader


def unsigned(dialect, blocks):
    """Blocks as they look where nobody signs."""
    placed = signatures.UNSIGNED if dialect == "anthropic" else ""
    return tuple(
        msgspec.structs.replace(block, signature=block.signature or placed) if isinstance(block, Thought) else block
        for block in blocks
    )


@EACH
@settings(max_examples=20)
@given(data=st.data())
def test_a_plain_answer_comes_back_as_it_went(dialect, data):
    answer = data.draw(answers(signed=dialect == "anthropic"))
    body = INBOUND[APIS[dialect]].hearing.write_answer(answer, asked())
    outbound = OUTBOUND[dialect]
    read = outbound.read_answer(body)
    assert read.blocks == unsigned(dialect, answer.blocks)
    assert (read.id, read.model, read.finish) == (answer.id, answer.model, answer.finish)
    assert meters(read.usage) == meters(answer.usage, hour=dialect == "anthropic")
    assert outbound.is_answer(body)
    texts = [block.text for block in answer.blocks if isinstance(block, Text)]
    assert all(text in "".join(outbound.answered_text(body)) for text in texts)


def meters(usage, *, hour=True):
    """Without the tier; and without what OpenAI's shape does not tell."""
    gone = {"tier": ""} if hour else {"tier": "", "cache_write_1h_tokens": 0}
    return msgspec.structs.replace(usage, **gone)


@EACH
@settings(max_examples=20)
@given(data=st.data())
def test_summed_deltas_are_the_plain_answer_wherever_the_bytes_are_cut(dialect, data):
    answer = data.draw(answers(signed=dialect == "anthropic"))
    stream = streamed(dialect, answer)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    whole, _ = read_stream(dialect, [stream])
    events, reader = read_stream(dialect, chunks)
    assert events == whole
    assert summed(events) == unsigned(dialect, answer.blocks)
    assert events[-1] == Ended(answer.finish)
    assert reader.done
    assert not reader.failed
    assert meters(reader.usage) == meters(answer.usage, hour=dialect == "anthropic")
    told = OUTBOUND[dialect].streamed_text(stream)
    assert all(block.text in told for block in answer.blocks if isinstance(block, Text))


@ACROSS
@pytest.mark.parametrize("shows", [False, True])
@settings(max_examples=10)
@given(data=st.data())
def test_a_translated_stream_says_what_the_translated_plain_answer_says(api, dialect, shows, data):
    answer = data.draw(answers(signed=dialect == "anthropic"))
    request = msgspec.structs.replace(
        INBOUND["chat"].read(b'{"model":"m","messages":[]}', {}),
        conversation=Conversation(shows_thoughts=shows),
        wants_usage=True,
    )
    found = way(api, (dialect,))
    native = INBOUND[api].native
    question = Asked(request, 100, 1_700_000_000)
    plain = found.answer(INBOUND[APIS[dialect]].hearing.write_answer(answer, asked()), question)
    scanner = found.scanner(question, lambda _: "0.5")
    stream = scanner.feed(streamed(dialect, answer))
    assert (scanner.answered, scanner.finished, scanner.done, scanner.failed) == (True, True, True, False)
    stream += scanner.ending() + scanner.last
    assert b'"cost_usd":"0.5"' in stream
    assert not scanner.feed(b"data: {}\n\n"), "nothing follows the end"
    events, reader = read_stream(native, [stream])
    read = OUTBOUND[native].read_answer(plain)
    assert summed(events) == read.blocks
    assert any(isinstance(block, Thought) for block in read.blocks) == (
        shows and any(isinstance(block, Thought) for block in answer.blocks)
    )
    assert meters(reader.usage, hour=False) == meters(read.usage, hour=False) == meters(answer.usage, hour=False)


def test_nothing_is_told_before_an_event_is_whole():
    request = INBOUND["messages"].read(b'{"model":"m","max_tokens":9,"messages":[]}', {})
    scanner = way("messages", ("openai",)).scanner(Asked(request, 100, 1_700_000_000), lambda _: None)
    stream = streamed("openai", Answer("c", "m", (Text("A"),), "stop"))
    assert scanner.feed(stream[:20]) == b""
    assert (scanner.answered, scanner.finished, scanner.done) == (False, False, False)
    assert b'"text":"A"' in scanner.feed(stream[20:])
    assert (scanner.answered, scanner.finished, scanner.done) == (True, True, True)


def test_blocks_are_numbered_anew_where_thoughts_are_not_shown():
    request = INBOUND["messages"].read(b'{"model":"m","max_tokens":9,"messages":[]}', {})
    scanner = way("messages", ("openai",)).scanner(Asked(request, 100, 1_700_000_000), lambda _: None)
    blocks = (Thought("Hm"), Text("Hi"), ToolUse("t", "find", "{}"))
    stream = scanner.feed(streamed("openai", Answer("c", "m", blocks, "tools")))
    events, _ = read_stream("anthropic", [stream + scanner.ending() + scanner.last])
    assert [event for event in events if isinstance(event, Opened)] == [
        Opened(0, "text"),
        Opened(1, "tool", "t", "find"),
    ]
    assert summed(events) == blocks[1:]


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.text(max_size=5)
    | st.sampled_from(["text", "tool", "user", "image"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "role",
                    "content",
                    "text",
                    "source",
                    "url",
                    "function",
                    "name",
                    "id",
                    "input",
                    "data",
                    "tool_calls",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
FIELDS = {
    "chat": [
        "messages", "tools", "tool_choice", "response_format", "stop", "temperature", "top_p", "seed", "reasoning_effort",
        "verbosity", "parallel_tool_calls", "logit_bias", "n", "prompt_cache_key", "safety_identifier", "else",
    ],
    "messages": [
        "messages", "system", "tools", "tool_choice", "thinking", "output_config", "stop_sequences", "temperature", "top_k",
        "metadata", "cache_control", "else",
    ],
    "responses": [
        "input", "instructions", "tools", "tool_choice", "text", "temperature", "top_p", "reasoning", "include", "metadata",
        "parallel_tool_calls", "truncation", "previous_response_id", "else",
    ],
}  # fmt: skip


@pytest.mark.parametrize("api", FIELDS)
@settings(max_examples=20)
@given(data=st.data())
def test_any_body_is_understood_or_refused_in_words(api, data):
    given_fields = data.draw(st.dictionaries(st.sampled_from(FIELDS[api]), ANYTHING, max_size=6))
    usual = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}], "input": "Hi"}
    body = json.dumps(usual | given_fields)
    inbound = INBOUND[api]
    try:
        request = inbound.read(body.encode(), {})
        said = inbound.hearing.understood(request)
    except RouterError as error:
        refused, said = error.code, None
    else:
        refused = ""
    assert refused != "internal_error"
    for dialect, outbound in OUTBOUND.items():
        if said is not None and said.wire & ~EXPRESSES[dialect] == 0:
            asked_for = msgspec.structs.replace(request, conversation=said)
            body = json.loads(outbound.order(asked_for, decision(), frozenset()).body)
            assert next((body[name] for name in ("messages", "input", "contents") if name in body), None) is not None


@EACH
@settings(max_examples=20)
@given(document=ANYTHING)
def test_any_answer_is_read_or_refused_as_unreadable(dialect, document):
    outbound = OUTBOUND[dialect]
    body = json.dumps(document).encode()
    assert isinstance(outbound.usage_of(body), Usage | None)
    assert isinstance(outbound.is_answer(body), bool)
    assert isinstance(outbound.answered_text(body), list)
    for call in (lambda: outbound.read_answer(body), lambda: outbound.reader().feed(b"data: " + body + b"\n\n")):
        try:
            call()
        except ValueError:
            continue


@EACH
@settings(max_examples=20)
@given(data=st.binary(max_size=60))
def test_any_bytes_of_a_stream_do_no_harm(dialect, data):
    outbound = OUTBOUND[dialect]
    assert isinstance(outbound.streamed_text(data), list)
    assert isinstance(outbound.said_so_far(data), str)
    scanner = outbound.scanner(INBOUND["chat"].read(b'{"model":"m","messages":[]}', {}), lambda _: None)
    assert isinstance(scanner.feed(data), bytes)
