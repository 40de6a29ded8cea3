import json

import msgspec
import pytest
from options import tokens

from router.core.tokens import exactly
from router.core.values import Needs
from router.core.wire import NATIVE, Wire
from router.dialects.described import counted, facts_of, wholly
from router.dialects.neutral import Conversation, Text, Turn
from router.dialects.openai.chat import read_chat, read_embeddings
from router.dialects.orders import NONE, Orders
from router.dialects.ways import INBOUND


def words(text):
    return len(text.split())


def described(endpoint, orders=NONE, **fields):
    read = {"chat": read_chat, "embeddings": read_embeddings}[endpoint]
    request = read(json.dumps({"model": "m", **fields}).encode())
    return facts_of(endpoint, f"/{endpoint}", request, orders, count_now=words), request


def test_a_chat_is_described():
    seen, request = described(
        "chat",
        Orders(task="code", max_cost_pico=7),
        messages=[{"role": "user", "content": "one two"}],
        max_tokens=5,
        n=2,
        stream=True,
    )
    assert (seen.endpoint, seen.path, seen.asked_model, seen.task) == ("chat", "/chat", "m", "code")
    assert (seen.tokens, seen.messages, seen.fixed_tokens) == (tokens(2), 1, 3)
    assert (seen.max_output, seen.choices, seen.stream, seen.max_cost_pico) == (5, 2, True, 7)
    assert (seen.inputs, seen.largest, seen.text_bytes) == (1, None, request.text_bytes)
    assert seen.needs == Needs.CHAT | Needs.MULTIPLE_CHOICES


@pytest.mark.parametrize(
    ("given", "total", "inputs", "largest"),
    [
        ("a b c", 3, 1, None),
        (["a b c", "d"], 4, 2, 3),
        ([[1, 2], [3]], 3, 2, 2),
        (["a b c", [1, 2]], 5, 2, 3),
        (["a", [1, 2]], 3, 2, 2),
    ],
)
def test_inputs_of_embeddings_are_told_apart(given, total, inputs, largest):
    seen, _ = described("embeddings", input=given)
    assert (seen.tokens, seen.inputs) == (tokens(total), inputs)
    assert seen.largest == (None if largest is None else exactly(largest))


def test_many_inputs_are_guessed_and_then_counted():
    texts = ["one two three " * 500, "four " * 1_000, "five"]
    seen, request = described("embeddings", input=texts)
    assert not seen.tokens.exact
    assert seen.largest.low <= 1_500 <= seen.largest.high
    true = counted(seen, request, [words(text) for text in texts])
    assert (true.tokens, true.largest) == (exactly(2_501), exactly(1_500))


def test_a_count_includes_what_came_as_numbers():
    seen, request = described("embeddings", input=["a b", [1, 2, 3]])
    true = counted(seen, request, [2])
    assert (true.tokens, true.largest) == (exactly(5), exactly(3))
    alone, request = described("embeddings", input="a b")
    assert counted(alone, request, [2]).largest is None


def test_what_it_is_for_is_told_only_where_that_matters_and_the_caller_does_not_say():
    def task(orders=NONE, endpoint="chat", *, tasks=True, **fields):
        read = {"chat": read_chat, "embeddings": read_embeddings}[endpoint]
        request = read(json.dumps({"model": "m", **fields}).encode())
        return facts_of(endpoint, "/x", request, orders, count_now=words, tasks=tasks).task

    code = [{"role": "user", "content": "Write a Python function."}]
    assert task(messages=code) == "code"
    assert task(messages=code, tasks=False) == "chat"
    assert task(Orders(task="maths"), messages=code) == "maths"
    assert task(endpoint="embeddings", input="Write a Python function.") == "chat"
    schema = {"type": "json_schema", "json_schema": {"name": "python", "schema": {}}}
    assert task(messages=[{"role": "user", "content": "Hello"}], response_format=schema) == "extraction"


def test_a_chat_that_is_read_wholly_says_what_not_every_dialect_can_express():
    seen, request = described("chat", messages=[{"role": "user", "content": "Hi"}], seed=7)
    read, facts = wholly(INBOUND["chat"], request, seen)
    assert read.conversation == Conversation(
        turns=(Turn("user", (Text("Hi"),)),), seed=7, wire=Wire.SEED, notes=((Wire.SEED, "seed"),)
    )
    assert facts == msgspec.structs.replace(
        seen, needs=Needs.CHAT | Wire.SEED, notes=((Wire.SEED, "seed"),), native=NATIVE["openai"]
    )
    again, same = wholly(INBOUND["chat"], read, seen)
    assert again is read, "it is read wholly once"
    assert same is seen


def test_embeddings_are_never_read_wholly():
    seen, request = described("embeddings", input="Hi")
    assert wholly(INBOUND["embeddings"], request, seen) == (request, seen)
