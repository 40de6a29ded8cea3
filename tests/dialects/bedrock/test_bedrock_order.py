"""Conversations as Converse requests, each checked with the service model that botocore has."""

import base64
import json

import botocore.session
import msgspec
import pytest
from botocore.validate import ParamValidator
from options import decision

from router.core.values import Needs
from router.core.wire import Wire, able
from router.dialects.neutral import Conversation, Format, Media, Text, Thought, Tool, ToolResult, ToolUse, Turn
from router.dialects.signatures import GEMINI
from router.dialects.ways import INBOUND, OUTBOUND

SCHEMA = '{"type":"object","properties":{"n":{"type":"integer"}}}'
HI = (Turn("user", (Text("Hi"),)),)
CLAUDE, NOVA, LLAMA = "global.anthropic.claude-x-v1:0", "amazon.nova-lite-v1:0", "meta.llama3-3-70b-instruct-v1:0"
EFFORT, BUDGET = (
    int(Needs.CHAT | Needs.REASONING_EFFORT),
    int(Needs.CHAT | Needs.THINKING_BUDGET | Needs.REASONING_EFFORT),
)


@pytest.fixture(scope="module")
def service():
    return botocore.session.get_session().get_service_model("bedrock-runtime")


def ordered(
    model=CLAUDE, *, stream=False, max_output=None, turns=HI, effort="", tier_word="", capabilities=EFFORT, **said
):
    request = msgspec.structs.replace(
        INBOUND["chat"].read(b'{"model":"m","messages":[]}', {}),
        conversation=Conversation(turns=turns, **said),
        stream=stream,
        max_output=max_output,
    )
    chosen = decision(upstream_model=model, effort=effort, tier_word=tier_word, capabilities=capabilities)
    return OUTBOUND["bedrock"].order(request, chosen, frozenset())


@pytest.fixture
def body(service):
    def made(model=CLAUDE, **asked):
        document = json.loads(ordered(model, **asked).body)
        shape = service.operation_model("Converse").input_shape
        report = ParamValidator().validate({"modelId": model, **with_bytes(document)}, shape)
        assert not report.has_errors(), report.generate_report()
        return document

    return made


def with_bytes(given):
    """As botocore has it before it writes base64."""
    if isinstance(given, list):
        return [with_bytes(one) for one in given]
    if not isinstance(given, dict):
        return given
    binary = ("bytes", "redactedContent")
    return {k: base64.b64decode(v) if k in binary and isinstance(v, str) else with_bytes(v) for k, v in given.items()}


@pytest.mark.parametrize(("stream", "verb"), [(False, "converse"), (True, "converse-stream")])
def test_where_it_goes(stream, verb):
    assert ordered(stream=stream).path == f"/model/global.anthropic.claude-x-v1%3A0/{verb}"


def test_a_plain_prompt_has_nothing_else(body):
    assert body() == {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}


def test_limits_sampling_and_stops(body):
    asked = body(system=(Text("Be brief."),), max_output=9, temperature=0.5, top_p=0.25, stops=("END",))
    assert asked["system"] == [{"text": "Be brief."}]
    assert asked["inferenceConfig"] == {"maxTokens": 9, "temperature": 0.5, "topP": 0.25, "stopSequences": ["END"]}
    assert asked["additionalModelResponseFieldPaths"] == ["/stop_sequence"]
    assert "additionalModelResponseFieldPaths" not in body(NOVA, stops=("END",))


def test_pictures_and_papers_go_within(body):
    media = (Media("image", mime="image/jpg", data="AAAA"), Media("file", mime="application/pdf", data="JVBE", name="My_plan  (2).pdf"))  # fmt: skip
    assert body(turns=(Turn("user", media),))["messages"][0]["content"] == [
        {"image": {"format": "jpeg", "source": {"bytes": "AAAA"}}},
        {"document": {"format": "pdf", "name": "My plan (2)", "source": {"bytes": "JVBE"}}},
        {"text": "(see the document)"},
    ]
    nameless = body(turns=(Turn("user", (Media("file", mime="application/pdf", data="JVBE"), Text("?"))),))
    assert nameless["messages"][0]["content"][0]["document"]["name"] == "document"


@pytest.mark.parametrize(
    ("choice", "said"),
    [("", None), ("auto", {"auto": {}}), ("required", {"any": {}}), ("tool", {"tool": {"name": "look"}})],
)
def test_tools_and_which_may_be_called(body, choice, said):
    tools = (Tool("look", "Looks.", SCHEMA, strict=True), Tool("wait"))
    config = body(tools=tools, choice=choice, tool_name="look")["toolConfig"]
    assert config.get("toolChoice") == said
    assert config["tools"] == [
        {
            "toolSpec": {
                "name": "look",
                "description": "Looks.",
                "inputSchema": {"json": json.loads(SCHEMA)},
                "strict": True,
            }
        },
        {"toolSpec": {"name": "wait", "inputSchema": {"json": {"type": "object", "properties": {}}}}},
    ]


def test_calls_and_their_results(body):
    turns = (
        *HI,
        Turn("assistant", (ToolUse("call:1", "look", '{"at":"sky"}'), ToolUse("b", "wait", ""))),
        Turn("user", (ToolResult("call:1", (Text("rain"), Media("image", mime="image/png", data="AAAA"))), ToolResult("b", (), failed=True))),
    )  # fmt: skip  # one turn a line
    _, called, results = body(turns=turns)["messages"]
    assert called["content"] == [
        {"toolUse": {"toolUseId": "call_1", "name": "look", "input": {"at": "sky"}}},
        {"toolUse": {"toolUseId": "b", "name": "wait", "input": {}}},
    ]
    assert results["content"] == [
        {"toolResult": {"toolUseId": "call_1", "content": [{"text": "rain"}, {"image": {"format": "png", "source": {"bytes": "AAAA"}}}]}},
        {"toolResult": {"toolUseId": "b", "content": [], "status": "error"}},
    ]  # fmt: skip  # one result a line


def test_ids_of_others_are_made_to_fit():
    long = "call_" + "x" * 90 + "1"
    turns = (Turn("assistant", (ToolUse(long, "look", "{}"), ToolUse("", "look", "{}"))),)
    ids = [block["toolUse"]["toolUseId"] for block in json.loads(ordered(turns=turns).body)["messages"][0]["content"]]
    assert ids == [long[-64:], "_"]


@pytest.mark.parametrize(
    ("model", "thought", "said"),
    [
        (CLAUDE, Thought("Hm", "sig"), {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "sig"}}}),
        (CLAUDE, Thought("", "c2ln", hidden=True), {"reasoningContent": {"redactedContent": "c2ln"}}),
        (CLAUDE, Thought("Hm"), None),
        (CLAUDE, Thought("Hm", GEMINI + "c2ln"), None),
        (NOVA, Thought("Hm", "sig"), None),
    ],
)
def test_thoughts_go_back_to_claude(body, model, thought, said):
    turns = (*HI, Turn("assistant", (thought, Text("Hi"))), *HI)
    assert body(model, turns=turns)["messages"][1]["content"] == [*([said] if said else []), {"text": "Hi"}]
    nothing = body(model, turns=(*HI, Turn("assistant", (Thought("Hm"), Text(""))), *HI))
    assert [message["role"] for message in nothing["messages"]] == ["user", "user"]


def test_only_claude_is_asked_to_believe_what_anthropic_signed():
    claude, other = (able(Needs.CHAT, "bedrock", author=author) for author in ("anthropic", "amazon"))
    assert claude & Wire.SIGNED_THOUGHT
    assert other & Wire.TOOL_MEDIA
    assert not other & Wire.SIGNED_THOUGHT


def test_breakpoints_are_written_for_models_that_have_them(body):
    said = {
        "system": (Text("Long.", "1h"),),
        "turns": (Turn("user", (Text("Hi", "5m"),)),),
        "tools": (Tool("look", schema=SCHEMA, kept="5m"),),
    }
    short, hour = {"cachePoint": {"type": "default"}}, {"cachePoint": {"type": "default", "ttl": "1h"}}
    for model in (CLAUDE, NOVA):
        asked = body(model, **said)
        assert (asked["system"][1], asked["messages"][0]["content"][1], asked["toolConfig"]["tools"][1]) == (
            hour,
            short,
            short,
        )
    assert b"cachePoint" not in ordered(LLAMA, **said).body


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ((CLAUDE, EFFORT, {"effort": "minimal"}), ({"type": "adaptive"}, "low")),
        ((CLAUDE, BUDGET, {"effort": "medium"}), ({"type": "enabled", "budget_tokens": 4096}, None)),
        ((CLAUDE, BUDGET, {"effort": "none"}), ({"type": "disabled"}, None)),
        ((LLAMA, EFFORT, {"effort": "none"}), (None, "low")),
        ((LLAMA, EFFORT, {"effort": "high"}), (None, "high")),
        ((LLAMA, EFFORT, {}), (None, None)),
    ],
)
def test_how_hard_to_think(service, asked, wanted):
    model, capabilities, said = asked
    request = msgspec.structs.replace(
        INBOUND["chat"].read(b'{"model":"m","messages":[]}', {}), conversation=Conversation(turns=HI, **said)
    )
    chosen = decision(upstream_model=model, capabilities=capabilities)
    document = json.loads(OUTBOUND["bedrock"].order(request, chosen, frozenset()).body)
    thinking = document.get("additionalModelRequestFields", {}).get("thinking")
    assert (thinking, document.get("outputConfig", {}).get("effort")) == wanted
    report = ParamValidator().validate({"modelId": model, **document}, service.operation_model("Converse").input_shape)
    assert not report.has_errors()


def test_structured_output_and_a_tier(body):
    asked = body(format=Format(schema=SCHEMA, name="count", description="Counts."), tier_word="flex")
    schema = {"schema": SCHEMA, "name": "count", "description": "Counts."}
    assert asked["outputConfig"] == {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}
    assert asked["serviceTier"] == {"type": "flex"}
    bare = body(format=Format(schema=SCHEMA))["outputConfig"]["textFormat"]["structure"]
    assert bare == {"jsonSchema": {"schema": SCHEMA}}


def test_keys():
    assert OUTBOUND["bedrock"].credentials("k") == ((b"authorization", b"Bearer k"),)
