"""A conversation as a Responses request: what the properties of test_translation do not reach."""

import json

import msgspec
import pytest
from options import decision

from router.dialects.neutral import Conversation, Format, Media, Text, Thought, Tool, ToolResult, ToolUse, Turn
from router.dialects.responses.order import order
from router.dialects.responses.request import read_responses

HI = Turn("user", (Text("Hi"),))


def sent(said, *, stream=False, max_output=None, **changes):
    request = read_responses(b'{"model":"m","input":"x"}', {})
    request = msgspec.structs.replace(request, conversation=said, stream=stream, max_output=max_output)
    found = order(request, decision(**changes), frozenset())
    assert (found.path, found.headers) == ("/responses", ())
    return json.loads(found.body)


def test_nothing_is_stored_for_whoever_did_not_ask():
    assert sent(Conversation(turns=(HI,))) == {
        "model": "large", "store": False, "input": [{"type": "message", "role": "user", "content": "Hi"}],
    }  # fmt: skip
    assert sent(None)["input"] == []


def test_what_a_model_thought_before_is_left_out():
    items = sent(Conversation(turns=(HI, Turn("assistant", (Thought("hm"), Text("Yes?"))))))["input"]
    assert items[1] == {"type": "message", "role": "assistant", "content": "Yes?"}


def test_everything_else_is_said_where_it_was_asked_for():
    said = Conversation(
        turns=(HI,), shows_thoughts=True, verbosity="low", user="u", cache_key="k", tools=(Tool("f"),), effort="low"
    )
    body = sent(said, stream=True, max_output=50, tier_word="flex", effort="high")
    assert body["reasoning"] == {"effort": "high", "summary": "auto"}
    assert (body["text"], body["user"], body["prompt_cache_key"]) == ({"verbosity": "low"}, "u", "k")
    assert (body["service_tier"], body["stream"], body["max_output_tokens"]) == ("flex", True, 50)
    assert body["tools"] == [
        {"type": "function", "name": "f", "strict": False, "parameters": {"type": "object", "properties": {}}}
    ]
    assert sent(Conversation(turns=(HI,), format=Format()))["text"] == {"format": {"type": "json_object"}}
    named = sent(Conversation(turns=(HI,), format=Format(schema="{}")))["text"]["format"]
    assert named == {"type": "json_schema", "name": "answer", "schema": {}, "strict": True}


@pytest.mark.parametrize(
    ("block", "output"),
    [
        (ToolResult("t", (Text("x"),)), "x"),
        (ToolResult("t", ()), ""),
        (ToolResult("t", (Text("x"),), failed=True), "Error: x"),
        (
            ToolResult("t", (Text("x"), Text("y"))),
            [{"type": "input_text", "text": "x"}, {"type": "input_text", "text": "y"}],
        ),
        (
            ToolResult("t", (Media("image", url="https://x"),), failed=True),
            [
                {"type": "input_text", "text": "Error:"},
                {"type": "input_image", "image_url": "https://x", "detail": "auto"},
            ],
        ),
    ],
)
def test_what_a_tool_gave_back(block, output):
    call = Turn("assistant", (ToolUse("t", "f", ""),))
    items = sent(Conversation(turns=(HI, call, Turn("user", (block, Text("So?"))))))["input"]
    assert items[1] == {"type": "function_call", "call_id": "t", "name": "f", "arguments": "{}"}
    assert items[2] == {"type": "function_call_output", "call_id": "t", "output": output}
    assert items[3]["content"] == "So?"


@pytest.mark.parametrize(
    ("media", "part"),
    [
        (
            Media("audio", "audio/wav", "UklG"),
            {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
        ),
        (Media("file", url="https://x"), {"type": "input_file", "file_url": "https://x"}),
        (
            Media("file", "application/pdf", "JV"),
            {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,JV"},
        ),
        (
            Media("image", "image/png", "iV", detail="low"),
            {"type": "input_image", "image_url": "data:image/png;base64,iV", "detail": "low"},
        ),
    ],
)
def test_media(media, part):
    (item,) = sent(Conversation(turns=(Turn("user", (media,)),)))["input"]
    assert item["content"] == [part]
