import base64
import json
import struct

import msgspec
import pytest
from options import decision

from router.core.deciding.choices import Work
from router.core.errors import RouterError
from router.core.images import Image
from router.core.values import Needs
from router.core.wire import Wire
from router.dialects.anthropic.request import pass_messages, read_messages
from router.dialects.signatures import UNSIGNED

SAY_HI = [{"role": "user", "content": "Hi"}]
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + struct.pack(">II", 320, 200) + b"\x08\x02\x00\x00\x00"
PICTURE = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(PNG).decode()}
TOOL = {"name": "find", "input_schema": {"type": "object"}}
CHAT = Needs.CHAT.value


def a_body(**fields):
    return json.dumps({"model": "auto", "max_tokens": 50, "messages": SAY_HI, **fields}).encode()


def read(headers=None, **fields):
    return read_messages(a_body(**fields), headers or {})


def says(*blocks):
    return {"messages": [{"role": "user", "content": list(blocks)}]}


def refused(headers=None, **fields):
    with pytest.raises(RouterError) as caught:
        read(headers, **fields)
    assert (caught.value.code, caught.value.status) == ("invalid_request", 400)
    return caught.value.param, caught.value.message


def passed(headers=None, *, clamped_to=None, fields=None, **changes):
    """(path, body, headers) as they go to a provider of the same dialect."""
    request = read(headers, **(fields or {}))
    if clamped_to is not None:
        request = msgspec.structs.replace(request, max_output=clamped_to, clamped=True)
    order = pass_messages(request, decision(**changes), frozenset())
    return order.path, json.loads(order.body), order.headers


# -- what is read


def test_a_plain_request_needs_nothing_but_chat():
    request = read()
    assert (request.model, request.needs, request.stream, request.max_output) == ("auto", CHAT, False, 50)
    assert (request.shape.texts, request.shape.messages, request.shape.tools) == (("Hi",), 1, 0)
    assert (request.user, request.own, request.strange, request.text_bytes) == ("", {}, False, len(a_body()))


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({"tools": [TOOL]}, Needs.TOOLS),
        ({"tools": []}, 0),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, Needs.TOOLS),
        ({"tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}]}, Needs.TOOLS),
        ({"temperature": 0.5}, Needs.SAMPLING),
        ({"top_p": 0.5}, Needs.SAMPLING),
        ({"top_k": 5}, Needs.SAMPLING),
        ({"temperature": 1, "top_p": 1.0, "top_k": None}, 0),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, Needs.THINKING_BUDGET),
        ({"thinking": {"type": "adaptive"}}, 0),
        ({"output_config": {"effort": "low"}}, Needs.REASONING_EFFORT.value | Wire.EFFORT.value),
        ({"output_config": {"format": {"type": "json_schema", "schema": {}}}}, Needs.JSON_SCHEMA),
        ({"output_config": {}}, 0),
        (says({"type": "image", "source": PICTURE}), Needs.VISION),
        (says({"type": "document", "source": {"type": "base64", "data": "AA=="}}), Needs.FILES),
        (says({"type": "document", "source": {"type": "text", "data": "page"}}), 0),
    ],
)
def test_each_field_needs_its_capability(fields, needs):
    assert read(**fields).needs == CHAT | int(needs)


@pytest.mark.parametrize(
    ("block", "texts"),
    [
        ({"type": "text", "text": "Hi"}, ("Hi",)),
        ({"type": "image", "source": PICTURE}, ()),
        ({"type": "document", "source": {"type": "text", "data": "page"}}, ("page",)),
        ({"type": "document", "source": {"type": "url", "url": "https://x"}}, ()),
        ({"type": "tool_use", "id": "t", "name": "find", "input": {"q": 1}}, ('{"q":1}',)),
        ({"type": "tool_result", "tool_use_id": "t", "content": "found"}, ("found",)),
        ({"type": "tool_result", "tool_use_id": "t"}, ()),
        (
            {"type": "tool_result", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            ("a", "b"),
        ),
        ({"type": "thinking", "thinking": "hm", "signature": "s"}, ("hm",)),
        ({"type": "redacted_thinking", "data": "xyz"}, ("xyz",)),
        ({"type": "thinking"}, ("",)),
        ({"type": "search_result", "content": [{"a": 1}]}, ('[{"a":1}]',)),
        ({}, ()),
    ],
)
def test_the_texts_of_each_kind_of_block_are_counted(block, texts):
    assert read(**says(block)).shape.texts == texts


def test_system_tools_and_the_answers_form_are_counted_too():
    form = {"type": "json_schema", "schema": {}}
    request = read(system=[{"type": "text", "text": "Be kind."}], tools=[{"name": "f"}], output_config={"format": form})
    assert request.shape.texts == ("Be kind.", "Hi", '{"name":"f"}', '{"type":"json_schema","schema":{}}')
    assert request.shape.tools == 1


@pytest.mark.parametrize(
    ("source", "image"),
    [
        (PICTURE, Image(320, 200)),
        ({"type": "base64", "media_type": "image/png", "data": "AAAA"}, Image(0, 0)),
        ({"type": "url", "url": "https://x/y.png"}, Image(0, 0)),
        (None, Image(0, 0)),
    ],
)
def test_an_images_size_is_read_where_it_stands_in_the_body(source, image):
    assert read(**says({"type": "image", "source": source})).shape.images == (image,)


@pytest.mark.parametrize(
    ("block", "whole"),
    [
        ({"type": "image", "source": PICTURE}, True),
        ({"type": "image", "source": {"type": "url", "url": "https://x"}}, False),
        ({"type": "image", "source": {"type": "file", "file_id": "f"}}, False),
        ({"type": "image"}, True),
        ({"type": "document", "source": {"type": "text", "data": "page"}}, True),
        ({"type": "document", "source": {"type": "base64", "data": "AA=="}}, False),
        ({"type": "document"}, False),
        ({"type": "search_result", "content": []}, False),
        ({"type": "tool_result", "content": [{"type": "image", "source": {"type": "url"}}]}, False),
    ],
)
def test_the_bodys_size_bounds_the_prompt_only_where_all_of_it_stands_there(block, whole):
    fields = says(block)
    assert read(**fields).text_bytes == (len(a_body(**fields)) if whole else None)


def test_the_bodys_size_bounds_nothing_where_the_web_is_searched():
    assert read(tools=[{"type": "web_search_20250305", "name": "web_search"}]).text_bytes is None


@pytest.mark.parametrize(("signature", "unsigned"), [(UNSIGNED, True), ("signed", False)])
def test_thoughts_that_nobody_signed_are_noticed(signature, unsigned):
    thought = {"type": "thinking", "thinking": "hm", "signature": signature}
    assert read(**says(thought)).strange is unsigned


@pytest.mark.parametrize(
    ("metadata", "user", "own"),
    [
        ({"user_id": "u" * 200}, "u" * 128, {}),
        ({"user_id": 7}, "", {}),
        ({"user_id": "u", "costrouter.policy": "cheap"}, "u", {"policy": "cheap"}),
        (None, "", {}),
    ],
)
def test_metadata_names_the_user_and_speaks_to_us(metadata, user, own):
    request = read(metadata=metadata)
    assert (request.user, request.own) == (user, own)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, ((b"anthropic-version", b"2023-06-01"),)),
        ({"anthropic-version": "2026-10-21"}, ((b"anthropic-version", b"2026-10-21"),)),
        (
            {"anthropic-beta": "a-1, b_2.x"},
            ((b"anthropic-version", b"2023-06-01"), (b"anthropic-beta", b"a-1, b_2.x")),
        ),
    ],
)
def test_the_bodys_version_and_betas_go_with_it(headers, found):
    assert read(headers).passed == found
    assert passed(headers)[2] == found


# -- what is refused


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        (
            {"max_tokens": 0},
            "max_tokens",
            "max_tokens must be at least 1, not 0: a prompt is never sent only to be cached here.",
        ),
        (
            {"service_tier": "priority"},
            "service_tier",
            "service_tier must be auto or standard_only, or left out: others have no price here.",
        ),
        ({"speed": "fast"}, "speed", "speed must be standard, or left out: others have no price here."),
        (
            {"inference_geo": "us"},
            "inference_geo",
            "inference_geo must be global, or left out: others have no price here.",
        ),
        (
            {"tools": [TOOL, {"type": "code_execution_20250825"}]},
            "tools",
            "The tool 'code_execution_20250825' runs at Anthropic for a fee that is not known here.",
        ),
        (
            says({"type": "tool_result", "content": 5}),
            "messages.content.content",
            "messages.content.content must be a text or a list of blocks.",
        ),
        ({"metadata": {"costrouter.policy": 1}}, "metadata.costrouter.policy", None),
        ({"max_tokens": "many"}, "max_tokens", "max_tokens: expected `int`, got `str`."),
    ],
)
def test_what_cannot_be_read_or_priced_is_refused_by_name(fields, param, message):
    found, said = refused(**fields)
    assert found == param
    assert said == (message or 'metadata.costrouter.policy must be a string, such as "auto".')


@pytest.mark.parametrize("fields", [{"service_tier": "auto"}, {"service_tier": "standard_only"}, {"speed": "standard"}])
def test_what_costs_the_same_passes(fields):
    assert passed(fields=fields)[1] == {**json.loads(a_body(**fields)), "model": "large"}


@pytest.mark.parametrize(
    ("header", "value", "message"),
    [
        ("anthropic-version", "latest", "anthropic-version must be a date, such as 2023-06-01."),
        ("anthropic-beta", "a\r\nx: y", "anthropic-beta must be names of betas, separated by commas."),
        ("anthropic-beta", "a" * 2001, "anthropic-beta must be names of betas, separated by commas."),
    ],
)
def test_headers_that_are_none_are_refused(header, value, message):
    assert refused({header: value}) == (header, message)


# -- how it goes on


def test_a_request_passes_to_the_letter_but_for_its_model():
    body = b'{ "model":"auto","messages" : [{"role":"user","content":"H\\u0069"}],"max_tokens":5,"new_field":1.10}'
    order = pass_messages(read_messages(body, {}), decision(), frozenset())
    assert order.path == "/messages"
    assert order.body == (
        b'{"model":"large","messages":[{"role":"user","content":"H\\u0069"}],"max_tokens":5,"new_field":1.10}'
    )


@pytest.mark.parametrize(
    ("metadata", "left"),
    [
        ({"costrouter.policy": "cheap", "user_id": "u"}, {"metadata": {"user_id": "u"}}),
        ({"costrouter.policy": "cheap"}, {}),
    ],
)
def test_our_metadata_stays_here(metadata, left):
    body = passed(fields={"metadata": metadata})[1]
    assert body == {**json.loads(a_body()), "model": "large", **left}


def test_a_limit_of_ours_takes_the_place_of_the_callers():
    assert passed(clamped_to=20)[1] == {"model": "large", "max_tokens": 20, "messages": SAY_HI}


def test_the_tier_that_was_chosen_is_ordered():
    assert passed(tier_word="standard_only")[1]["service_tier"] == "standard_only"


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {"effort": "high"}),
        ({"output_config": None}, {"effort": "high"}),
        ({"output_config": {"effort": "low"}}, {"effort": "high"}),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": {}}}},
            {"format": {"type": "json_schema", "schema": {}}, "effort": "high"},
        ),
    ],
)
def test_the_effort_that_was_chosen_takes_the_place_of_the_callers(given, sent):
    assert passed(fields=given, effort="high")[1]["output_config"] == sent


def test_thoughts_that_nobody_signed_stay_here():
    foreign = {"type": "thinking", "thinking": "hm", "signature": UNSIGNED}
    own = {"type": "thinking", "thinking": "hm", "signature": "signed"}
    said = {"type": "text", "text": "Hi"}
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [foreign]},
        {"role": "assistant", "content": [foreign, own, said]},
        {"role": "user", "content": []},
    ]
    assert passed(fields={"messages": messages})[1]["messages"] == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [own, said]},
        {"role": "user", "content": []},
    ]


SEARCH = {"type": "web_search_20250305", "name": "web_search"}


@pytest.mark.parametrize(
    ("tools", "work"),
    [
        ([], None),
        ([{"type": "web_fetch_20250910", "name": "web_fetch"}], None),
        ([SEARCH], Work(tools=(("tool.web_search", 1, 10),))),
        ([SEARCH | {"max_uses": 3}], Work(tools=(("tool.web_search", 1, 3),))),
        ([SEARCH | {"max_uses": 0}], Work(tools=(("tool.web_search", 0, 0),))),
        ([SEARCH | {"max_uses": "3"}], Work(tools=(("tool.web_search", 1, 10),))),
    ],
)
def test_searches_that_are_allowed_are_paid_for(tools, work):
    assert read(tools=tools).work == work
