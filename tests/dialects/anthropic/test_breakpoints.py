import json

import msgspec
import pytest
from options import decision

from router.dialects.anthropic.breakpoints import CONTROL, in_body
from router.dialects.anthropic.order import order
from router.dialects.anthropic.request import pass_messages, read_messages
from router.dialects.neutral import Conversation, Text, Tool, Turn

KEEPS = {keeps: msgspec.structs.replace(decision(), keeps=keeps) for keeps in ("", "head", "all")}
SAID = [{"role": "user", "content": "Hi"}]


def passed(keeps, **fields):
    body = {"model": "auto", "max_tokens": 9, "messages": SAID, **fields}
    return json.loads(pass_messages(read_messages(json.dumps(body).encode(), {}), KEEPS[keeps], frozenset()).body)


def marked(text):
    return [{"type": "text", "text": text, "cache_control": CONTROL}]


@pytest.mark.parametrize("system", ["Be brief.", [{"type": "text", "text": "Be brief."}]])
def test_what_conversations_share_is_kept_behind_the_system_prompt(system):
    found = passed("head", system=system, tools=[{"name": "a", "input_schema": {}}])
    assert found["system"] == marked("Be brief.")
    assert "cache_control" not in found
    assert found["tools"] == [{"name": "a", "input_schema": {}}]


def test_a_conversation_that_goes_on_is_kept_to_its_end_as_well():
    found = passed("all", system="Be brief.")
    assert (found["cache_control"], found["system"]) == (CONTROL, marked("Be brief."))
    assert found["messages"] == SAID


def test_without_a_system_prompt_it_is_the_last_tool():
    tools = [{"name": name, "input_schema": {}} for name in "ab"]
    assert passed("head", tools=tools)["tools"] == [tools[0], {**tools[1], "cache_control": CONTROL}]


@pytest.mark.parametrize("fields", [{}, {"system": ""}, {"system": []}, {"system": None}, {"tools": []}])
def test_where_there_is_neither_only_the_end_can_be_kept(fields):
    assert passed("head", **fields) == passed("", **fields) | {}
    assert passed("all", **fields)["cache_control"] == CONTROL


def test_an_empty_text_cannot_be_kept_behind():
    empty = [{"type": "text", "text": ""}]
    assert passed("head", system=empty)["system"] == empty


def test_where_nothing_pays_the_body_goes_on_to_the_letter():
    body = b'{"model":"auto","max_tokens":9, "system":"x","messages":[{"role":"user","content":"Hi"}]}'
    sent = pass_messages(read_messages(body, {}), KEEPS[""], frozenset()).body
    assert b"cache_control" not in sent
    assert b'"system":"x"' in sent


def test_a_body_that_is_written_anew_is_kept_in_the_same_places():
    said = Conversation(system=(Text("Be brief."),), turns=(Turn("user", (Text("Hi"),)),), tools=(Tool("a"),))
    request = read_messages(json.dumps({"model": "auto", "max_tokens": 9, "messages": SAID}).encode(), {})
    found = {
        keeps: json.loads(order(msgspec.structs.replace(request, conversation=said), KEEPS[keeps], frozenset()).body)
        for keeps in KEEPS
    }
    assert found["all"]["cache_control"] == CONTROL
    assert found["all"]["system"] == found["head"]["system"] == marked("Be brief.")
    assert found[""]["system"] == "Be brief."
    tools = {"tools": [{"name": "a"}]}
    in_body(tools, KEEPS["head"])
    assert tools == {"tools": [{"name": "a", "cache_control": CONTROL}]}
    nothing = {}
    in_body(nothing, KEEPS["head"])
    assert nothing == {}


def test_a_body_written_anew_without_a_system_prompt_is_kept_behind_its_last_tool():
    body = {"tools": [{"name": "a"}, {"name": "b"}]}
    in_body(body, KEEPS["head"])
    assert body == {"tools": [{"name": "a"}, {"name": "b", "cache_control": CONTROL}]}


@pytest.mark.parametrize("hidden", [b'"\xff"', b"1e99999"])
def test_a_body_that_cannot_be_read_to_its_last_value_is_left_as_it_is(hidden):
    system = b'[{"type":"text","text":"Be brief.","x":' + hidden + b"}]"
    body = b'{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"Hi"}],"system":' + system + b"}"
    assert system in pass_messages(read_messages(body, {}), KEEPS["head"], frozenset()).body
