"""What OpenAI is told to keep of a prompt, where nobody else has spoken of it."""

import json

import msgspec
import pytest
from options import decision

from router.dialects.neutral import Conversation, Media, Text, Turn
from router.dialects.openai.chat import pass_chat, read_chat
from router.dialects.openai.order import order
from router.dialects.responses.order import order as responses_order
from router.dialects.responses.request import pass_responses, read_responses

KEEPS = {keeps: msgspec.structs.replace(decision(), keeps=keeps) for keeps in ("", "none", "head", "all")}
EXPLICIT = {"mode": "explicit"}
SYSTEM, HI = {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}
MARKED = {"type": "text", "text": "Be brief.", "prompt_cache_breakpoint": EXPLICIT}
BRIEF = (Text("Be brief."),)
PICTURE = {"type": "image_url", "image_url": {"url": "https://x/a.png"}}


def passed(keeps, *messages):
    body = json.dumps({"model": "m", "messages": messages or [SYSTEM, HI]}).encode()
    return json.loads(pass_chat(read_chat(body), KEEPS[keeps], frozenset()).body)


@pytest.mark.parametrize("keeps", ["", "all"])
def test_all_is_kept_by_itself(keeps):
    assert passed(keeps).keys() == {"model", "messages"}


def test_nothing_is_kept_where_that_is_told():
    found = passed("none")
    assert (found["prompt_cache_options"], found["messages"]) == (EXPLICIT, [SYSTEM, HI])


@pytest.mark.parametrize("content", ["Be brief.", [{"type": "text", "text": "Be brief."}]])
def test_what_conversations_share_is_kept_up_to_the_end_of_the_first_message(content):
    found = passed("head", {"role": "system", "content": content}, HI)
    assert (found["prompt_cache_options"], found["messages"]) == (EXPLICIT, [SYSTEM | {"content": [MARKED]}, HI])


@pytest.mark.parametrize("content", ["", [], None, [{"type": "text", "text": "See"}, PICTURE]])
def test_what_can_have_no_breakpoint_is_left_as_it_is(content):
    said = {"role": "user", "content": content}
    assert passed("head", said) == {"model": "large", "messages": [said]}


@pytest.mark.parametrize("hidden", [b'"\xff"', b"1e99999"])
def test_messages_that_cannot_be_read_to_their_last_value_are_left_as_they_are(hidden):
    messages = b'[{"role":"system","content":"Be brief.","x":' + hidden + b"}]"
    body = b'{"model":"m","messages":' + messages + b"}"
    assert (
        pass_chat(read_chat(body), KEEPS["head"], frozenset()).body == b'{"model":"large","messages":' + messages + b"}"
    )


def test_no_messages_have_no_first_one():
    assert passed("head", *[]) | {} == passed("head")
    body = b'{"model":"m","messages":[]}'
    assert json.loads(pass_chat(read_chat(body), KEEPS["head"], frozenset()).body) == {"model": "large", "messages": []}


def test_signatures_of_others_go_and_the_breakpoint_comes():
    call = {
        "id": "a",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
        "extra_content": {"google": {}},
    }
    found = passed("head", SYSTEM, {"role": "assistant", "content": None, "tool_calls": [call]})
    assert found["messages"][0]["content"] == [MARKED]
    assert "extra_content" not in found["messages"][1]["tool_calls"][0]


def written(keeps, *turns, system=BRIEF, to=order):
    request = read_chat(b'{"model":"m","messages":[]}')
    said = Conversation(system=system, turns=turns or (Turn("user", (Text("Hi"),)),))
    return json.loads(to(msgspec.structs.replace(request, conversation=said), KEEPS[keeps], frozenset()).body)


def test_it_is_the_same_in_what_is_written_for_callers_of_other_apis():
    plain = written("")
    assert written("all") == plain
    assert written("none") == plain | {"prompt_cache_options": EXPLICIT}
    assert written("head") == plain | {
        "prompt_cache_options": EXPLICIT, "messages": [SYSTEM | {"content": [MARKED]}, HI],
    }  # fmt: skip
    seen = Turn("user", (Text("See"), Media("image", url="https://x/a.png")))
    assert written("head", seen, system=()) == written("", seen, system=())


def test_responses_are_told_only_to_keep_nothing():
    body = b'{"model":"m","input":"Hi","instructions":"Be brief."}'
    for keeps, told in (("none", EXPLICIT), ("head", None), ("all", None)):
        passed_on = json.loads(pass_responses(read_responses(body, {}), KEEPS[keeps], frozenset()).body)
        anew = written(keeps, to=responses_order)
        assert [found.get("prompt_cache_options") for found in (passed_on, anew)] == [told, told]
