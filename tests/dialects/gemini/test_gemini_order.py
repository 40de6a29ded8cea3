"""Conversations as generateContent requests, each one checked with the types of Google's own SDK."""

import json

import msgspec
import pytest
from google.genai import types
from options import decision

from router.core.values import Needs
from router.dialects.gemini.order import UNCHECKED
from router.dialects.neutral import Conversation, Format, Media, Text, Thought, Tool, ToolResult, ToolUse, Turn
from router.dialects.signatures import GEMINI, UNSIGNED
from router.dialects.ways import INBOUND, OUTBOUND

SCHEMA = '{"type":"object","properties":{"n":{"type":"integer"}}}'
HI = (Turn("user", (Text("Hi"),)),)
THINKS = int(Needs.CHAT | Needs.REASONING_EFFORT)
OLD, NEW, PRO = "gemini-2.5-flash", "gemini-3.8-flash", "gemini-3.1-pro-preview"


class Config(types.GenerationConfig):
    """As the SDK has it; its types refuse what they do not know."""


def ordered(
    dialect="gemini",
    *,
    stream=False,
    max_output=None,
    model=NEW,
    turns=HI,
    effort="",
    tier_word="",
    capabilities=THINKS,
    **said,
):
    request = msgspec.structs.replace(
        INBOUND["chat"].read(b'{"model":"m","messages":[]}', {}),
        conversation=Conversation(turns=turns, **said),
        stream=stream,
        max_output=max_output,
    )
    chosen = decision(upstream_model=model, effort=effort, tier_word=tier_word, capabilities=capabilities)
    return OUTBOUND[dialect].order(request, chosen, frozenset())


def body(**asked):
    document = json.loads(ordered(**asked).body)
    for content in document["contents"]:
        types.Content.model_validate(content)
    if "systemInstruction" in document:
        types.Content.model_validate(document["systemInstruction"])
    for tool in document.get("tools", ()):
        types.Tool.model_validate(tool)
    if "toolConfig" in document:
        types.ToolConfig.model_validate(document["toolConfig"])
    Config.model_validate(document.get("generationConfig", {}))
    return document


def config(**asked):
    return body(**asked).get("generationConfig", {})


@pytest.mark.parametrize(
    ("dialect", "stream", "path"),
    [
        ("gemini", False, "/models/gemini-3.8-flash:generateContent"),
        ("gemini", True, "/models/gemini-3.8-flash:streamGenerateContent?alt=sse"),
        ("vertex", False, "/publishers/google/models/gemini-3.8-flash:generateContent"),
        ("vertex", True, "/publishers/google/models/gemini-3.8-flash:streamGenerateContent?alt=sse"),
    ],
)
def test_where_it_goes(dialect, stream, path):
    assert ordered(dialect, stream=stream).path == path


def test_a_model_s_name_stays_within_its_place_in_the_path():
    assert ordered(model="../x?y=1#z").path == "/models/..%2Fx%3Fy%3D1%23z:generateContent"


def test_a_plain_prompt_has_nothing_else():
    assert body() == {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}


def test_instructions_stand_apart():
    assert body(system=(Text("Be brief."), Text("Be kind.")))["systemInstruction"] == {
        "parts": [{"text": "Be brief."}, {"text": "Be kind."}]
    }


def test_pictures_and_papers_go_within():
    media = (
        Media("image", mime="image/png", data="AAAA"),
        Media("file", mime="application/pdf", data="JVBE", name="a"),
    )
    assert body(turns=(Turn("user", (*media, Text("?"))),))["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBE"}},
        {"text": "?"},
    ]


def test_sampling_limits_and_stops():
    asked = {"temperature": 1.5, "top_p": 0.5, "top_k": 40, "presence_penalty": 0.5, "frequency_penalty": 1, "seed": 7}
    assert config(**asked, stops=("END",), max_output=9) == {
        "maxOutputTokens": 9, "temperature": 1.5, "topP": 0.5, "topK": 40, "presencePenalty": 0.5, "frequencyPenalty": 1,
        "seed": 7, "stopSequences": ["END"],
    }  # fmt: skip


def test_structured_output_by_a_schema_or_any():
    json_only = {"responseMimeType": "application/json"}
    assert config(format=Format(schema=SCHEMA)) == json_only | {"responseJsonSchema": json.loads(SCHEMA)}
    assert config(format=Format()) == json_only


@pytest.mark.parametrize(
    ("tool", "declared"),
    [
        (Tool("look", "Looks.", SCHEMA), {"name": "look", "description": "Looks.", "parametersJsonSchema": json.loads(SCHEMA)}),
        (Tool("wait"), {"name": "wait"}),
        (Tool("wait", schema='{"type":"object","properties":{},"additionalProperties":false}'), {"name": "wait"}),
        (Tool("any", schema='{"$ref":"#/$defs/a","$defs":{"a":{}}}'), {"name": "any", "parametersJsonSchema": {"$ref": "#/$defs/a", "$defs": {"a": {}}}}),
    ],
)  # fmt: skip  # one row a line
def test_tools(tool, declared):
    assert body(tools=(tool,))["tools"] == [{"functionDeclarations": [declared]}]


@pytest.mark.parametrize(
    ("choice", "strict", "said"),
    [
        ("", False, {"mode": "AUTO"}),
        ("auto", False, {"mode": "AUTO"}),
        ("auto", True, {"mode": "VALIDATED"}),
        ("required", True, {"mode": "ANY"}),
        ("none", False, {"mode": "NONE"}),
        ("tool", False, {"mode": "ANY", "allowedFunctionNames": ["look"]}),
    ],
)
def test_which_tools_may_be_called(choice, strict, said):
    asked = body(tools=(Tool("look", schema=SCHEMA, strict=strict),), choice=choice, tool_name="look")
    assert asked["toolConfig"] == {"functionCallingConfig": said}


def test_calls_and_their_results_say_the_tool_s_name():
    turns = (
        *HI,
        Turn("assistant", (Text("Let me see."), ToolUse("a", "look", '{"at":"sky"}', signature=GEMINI + "c2ln"), ToolUse("b", "wait", ""))),
        Turn("user", (ToolResult("a", (Text("rain"), Text("y"))), ToolResult("b", (), failed=True), ToolResult("c", ()), Text("And?"))),
    )  # fmt: skip  # one turn a line
    _, called, results = body(turns=turns)["contents"]
    assert called == {
        "role": "model",
        "parts": [
            {"text": "Let me see."},
            {"functionCall": {"id": "a", "name": "look", "args": {"at": "sky"}}, "thoughtSignature": "c2ln"},
            {"functionCall": {"id": "b", "name": "wait", "args": {}}},
        ],
    }
    assert results["parts"] == [
        {"functionResponse": {"id": "a", "name": "look", "response": {"output": "rainy"}}},
        {"functionResponse": {"id": "b", "name": "wait", "response": {"error": ""}}},
        {"functionResponse": {"id": "c", "name": "c", "response": {"output": ""}}},
        {"text": "And?"},
    ]


@pytest.mark.parametrize(
    ("blocks", "signatures"),
    [
        # A thought's signature goes back with the call that it led to, …
        ((Thought("Hm", GEMINI + "c2ln"), ToolUse("a", "look", "{}"), ToolUse("b", "look", "{}")), ["c2ln", None]),
        ((Thought("Hm", GEMINI + "c2ln"), ToolUse("a", "look", "{}", signature=GEMINI + "b3du")), ["b3du"]),
        # … with the words, or what came last.
        ((Thought("Hm", GEMINI + "c2ln"), Text("Hi")), ["c2ln"]),
        ((Text("Hi"), Thought("", GEMINI + "c2ln")), ["c2ln"]),
        # Nobody else's is given back.
        ((Thought("Hm", UNSIGNED), Text("Hi")), [None]),
        ((Thought("Hm"), ToolUse("a", "look", "{}")), [UNCHECKED]),
        ((ToolUse("a", "look", "{}"), ToolUse("b", "look", "{}")), [UNCHECKED, None]),
    ],
)
def test_signatures_go_back(blocks, signatures):
    (said,) = [content for content in body(turns=(*HI, Turn("assistant", blocks), *HI))["contents"] if content["role"] == "model"]  # fmt: skip
    assert [part.get("thoughtSignature") for part in said["parts"]] == signatures


def test_models_before_the_third_generation_ask_for_no_signature():
    said = body(model=OLD, turns=(*HI, Turn("assistant", (ToolUse("a", "look", "{}"),)), *HI))["contents"][1]
    assert "thoughtSignature" not in said["parts"][0]


def test_a_turn_of_which_nothing_is_left_is_left_out_but_the_user_s_is_not():
    turns = (Turn("user", (Text(""),)), Turn("assistant", (Thought("Hm", GEMINI + "c2ln"),)), *HI)
    assert body(turns=turns)["contents"] == [
        {"role": "user", "parts": [{"text": ""}]},
        {"role": "user", "parts": [{"text": "Hi"}]},
    ]


@pytest.mark.parametrize(
    ("model", "asked", "thinking"),
    [
        (NEW, {"effort": "none"}, {"thinkingLevel": "MINIMAL"}),
        (NEW, {"effort": "low"}, {"thinkingLevel": "LOW"}),
        (NEW, {"effort": "max"}, {"thinkingLevel": "HIGH"}),
        (PRO, {"effort": "minimal"}, {"thinkingLevel": "LOW"}),
        (NEW, {"effort": "medium", "thinking_budget": 5000}, {"thinkingLevel": "MEDIUM"}),
        (NEW, {"shows_thoughts": True}, {"includeThoughts": True}),
        (OLD, {"effort": "none"}, {"thinkingBudget": 0}),
        ("gemini-2.5-pro", {"effort": "none"}, {"thinkingBudget": 128}),
        (OLD, {"effort": "medium", "shows_thoughts": True}, {"thinkingBudget": 4096, "includeThoughts": True}),
        (OLD, {"effort": "medium", "thinking_budget": 5000}, {"thinkingBudget": 5000}),
        (OLD, {"effort": "max"}, {"thinkingBudget": 24_576}),
    ],
)
def test_how_hard_to_think(model, asked, thinking):
    assert config_of(model, asked) == thinking


def config_of(model, asked, chosen=""):
    said = {name: value for name, value in asked.items() if name != "effort"}
    request = msgspec.structs.replace(
        INBOUND["chat"].read(b'{"model":"m","messages":[]}', {}),
        conversation=Conversation(turns=HI, effort=asked.get("effort", ""), **said),
    )
    option = decision(upstream_model=model, capabilities=THINKS, effort=chosen)
    document = json.loads(OUTBOUND["gemini"].order(request, option, frozenset()).body)
    return document.get("generationConfig", {}).get("thinkingConfig")


def test_an_effort_that_was_chosen_here_takes_the_place_of_the_caller_s():
    assert config_of(OLD, {"effort": "high", "thinking_budget": 20_000}, "low") == {"thinkingBudget": 1024}


def test_a_model_that_cannot_think_is_not_told_how():
    assert config(capabilities=int(Needs.CHAT), shows_thoughts=True) == {}


def test_a_tier_is_asked_for_by_its_word():
    assert body(tier_word="flex")["serviceTier"] == "flex"


def test_keys():
    assert OUTBOUND["gemini"].credentials("k") == ((b"x-goog-api-key", b"k"),)
    assert OUTBOUND["vertex"].credentials("t") == ((b"authorization", b"Bearer t"),)


def test_nothing_is_passed_on_as_it_is():
    with pytest.raises(TypeError, match="no API of ours speaks this dialect"):
        OUTBOUND["gemini"].scanner(None, None)
