import base64
import json
import struct

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from options import option, price

from router.core.deciding.decide import Decision
from router.core.errors import RouterError
from router.core.images import Image
from router.core.values import Needs
from router.dialects.openai.chat import USER_CHARS, outgoing, pass_chat, pass_embeddings, read_chat, read_embeddings

NO_QUIRKS = frozenset()
SAY_HI = [{"role": "user", "content": "Hi"}]
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + struct.pack(">II", 320, 200) + b"\x08\x02\x00\x00\x00"
PICTURE = "data:image/png;base64," + base64.b64encode(PNG).decode()
TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}


def a_body(**fields):
    return json.dumps({"model": "auto", "messages": SAY_HI, **fields}).encode()


def chat(**fields):
    return read_chat(a_body(**fields))


def embeddings(**fields):
    return read_embeddings(json.dumps({"model": "embed", "input": "Hi", **fields}).encode())


def sent(request, *quirks, model="large-1"):
    return json.loads(outgoing(request, model, frozenset(quirks)))


def parts(*content):
    return {"messages": [{"role": "user", "content": list(content)}]}


def refused(read, body):
    with pytest.raises(RouterError) as caught:
        read(body)
    assert (caught.value.code, caught.value.status) == ("invalid_request", 400)
    return caught.value.param, caught.value.message


# -- what is read


def test_a_plain_request_needs_nothing_but_chat():
    request = chat()
    assert (request.model, request.needs, request.stream, request.wants_usage) == ("auto", Needs.CHAT, False, False)
    assert (request.max_output, request.choices, request.user, request.own) == (None, 1, "", {})
    assert (request.shape.texts, request.shape.messages, request.shape.tools) == (("Hi",), 1, 0)


@pytest.mark.parametrize(
    ("fields", "needs"),
    [
        ({"tools": [TOOL]}, Needs.TOOLS),
        ({"functions": [TOOL["function"]]}, Needs.TOOLS),
        ({"tools": []}, 0),
        ({"response_format": {"type": "json_object"}}, Needs.JSON_OBJECT),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, Needs.JSON_SCHEMA),
        ({"response_format": {"type": "text"}}, 0),
        ({"logprobs": True, "top_logprobs": 2}, Needs.LOGPROBS),
        ({"logprobs": False}, 0),
        ({"reasoning_effort": "low"}, Needs.REASONING_EFFORT),
        ({"n": 2}, Needs.MULTIPLE_CHOICES),
        ({"n": 1}, 0),
        ({"modalities": ["text", "audio"]}, Needs.AUDIO_OUT),
        ({"modalities": ["text"]}, 0),
        ({"web_search_options": {}}, Needs.WEB_SEARCH),
        ({"prediction": {"type": "content", "content": "x"}}, Needs.PREDICTION),
        ({"temperature": 0}, Needs.SAMPLING),
        ({"top_p": 0.5}, Needs.SAMPLING),
        ({"presence_penalty": 0.1}, Needs.SAMPLING),
        ({"frequency_penalty": -1}, Needs.SAMPLING),
        ({"temperature": 1.0, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0.0}, 0),
        (parts({"type": "image_url", "image_url": {"url": PICTURE}}), Needs.VISION),
        (parts({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}), Needs.AUDIO_IN),
        (parts({"type": "file", "file": {"file_id": "f"}}), Needs.FILES),
        (parts({"type": "text", "text": "x"}, {"type": "invented_tomorrow"}), 0),
        ({"temperature": None, "n": None, "tools": None, "logprobs": None, "response_format": None, "seed": 7}, 0),
    ],
)
def test_what_a_request_asks_of_a_model(fields, needs):
    assert chat(**fields).needs == Needs.CHAT | needs


def test_needs_are_a_plain_integer():
    """Arithmetic on enum flags would cost a microsecond for every option of every request."""
    everything = chat(tools=[TOOL], n=2, temperature=0, **parts({"type": "image_url", "image_url": PICTURE}))
    assert type(everything.needs) is int
    assert type(embeddings().needs) is int


def test_streams_and_usage():
    assert chat(stream=True).stream
    assert not chat(stream=None).stream
    assert chat(stream=True, stream_options={"include_usage": True}).wants_usage
    for options in ({"include_usage": False}, {"include_usage": None}, {}, None):
        assert not chat(stream=True, stream_options=options).wants_usage


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({"max_tokens": 5}, 5),
        ({"max_completion_tokens": 6}, 6),
        ({"max_tokens": 5, "max_completion_tokens": 6}, 6),
        ({"max_tokens": 5, "max_completion_tokens": None}, 5),
        ({"max_tokens": None}, None),
        ({"max_tokens": 10**30}, 10**30),
    ],
)
def test_the_newer_name_of_the_limit_wins(fields, limit):
    assert chat(**fields).max_output == limit


def test_all_text_counts_wherever_it_stands():
    call = {"id": "t", "type": "function", "function": {"name": "find", "arguments": '{"q":1}'}}
    request = chat(
        tools=[TOOL],
        functions=[{"name": "old"}],
        response_format={"type": "json_schema", "json_schema": {"name": "é"}},
        messages=[
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "Look:"}, {"type": "image_url", "image_url": {"url": "x"}}],
            },
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "assistant", "function_call": {"name": "old"}},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "tool", "tool_call_id": "t", "content": "42"},
        ],
    )
    *texts, schema = request.shape.texts
    assert texts == [
        "Be brief.",
        "Look:",
        json.dumps([call], separators=(",", ":")),
        '{"name":"old"}',
        "No.",
        "42",
        json.dumps(TOOL, separators=(",", ":")),
        '{"name":"old"}',
    ]
    assert json.loads(schema)["json_schema"] == {"name": "é"}
    assert (request.shape.messages, request.shape.tools) == (6, 2)


def test_images_count_by_their_size():
    request = chat(
        **parts(
            {"type": "image_url", "image_url": {"url": PICTURE, "detail": "low"}},
            {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "super"}},
            {"type": "image_url", "image_url": PICTURE},
        )
    )
    assert request.shape.images == (Image(320, 200, "low"), Image(), Image(320, 200))


def test_text_beside_an_image_does_not_hide_it():
    request = chat(**parts({"type": "image_url", "text": "x", "image_url": {"url": PICTURE}}))
    assert (request.shape.texts, request.shape.images) == (("x",), (Image(320, 200),))


def test_audio_clips_are_numbered():
    clip = {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}
    assert chat(**parts(clip, clip)).shape.audio_clips == 2


@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ({}, True),
        (parts({"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": PICTURE}}), True),
        (parts({"type": "file", "file": {"file_id": "f"}}), False),
        (parts({"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}}), False),
        ({"web_search_options": {}}, False),
    ],
)
def test_a_body_bounds_its_prompt_unless_it_points_elsewhere(fields, known):
    body = a_body(**fields)
    assert read_chat(body).text_bytes == (len(body) if known else None)


def test_a_long_user_is_cut_for_the_ledger_and_sent_whole():
    request = chat(user="u" * 1000)
    assert request.user == "u" * USER_CHARS
    assert sent(request)["user"] == "u" * 1000
    assert embeddings(user="u" * 1000).user == "u" * USER_CHARS


# -- what is refused


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"model": 5}, "model", "model: expected `str`, got `int`."),
        ({"messages": "Hi"}, "messages", "messages: expected `array`, got `str`."),
        ({"messages": [{"content": "x"}]}, "messages[0]", "messages[0]: object missing required field `role`."),
        (
            {"messages": [{"role": "user", "content": 5}]},
            "messages[0].content",
            "expected `str | array | null`, got `int`.",
        ),
        (parts(5), "messages[0].content[0]", "expected `object`, got `int`."),
        ({"n": "2"}, "n", "n: expected `int | null`, got `str`."),
        ({"n": 0}, "n", "n must be between 1 and 128, not 0."),
        ({"n": 129}, "n", "n must be between 1 and 128, not 129."),
        ({"max_tokens": 0}, "max_tokens", "max_tokens must be at least 1, not 0."),
        ({"max_completion_tokens": -1}, "max_completion_tokens", "max_completion_tokens must be at least 1, not -1."),
        ({"max_tokens": 1.5}, "max_tokens", "max_tokens: expected `int | null`, got `float`."),
        ({"temperature": "hot"}, "temperature", "temperature: expected `float | null`, got `str`."),
        ({"stream": 1}, "stream", "stream: expected `bool | null`, got `int`."),
        ({"metadata": []}, "metadata", "metadata: expected `object | null`, got `array`."),
        ({"metadata": {"costrouter.policy": 5}}, "metadata.costrouter.policy", "must be a string"),
        (parts({"type": "image_url"}), "messages.content", "image_url must be an object with a url."),
        (parts({"type": "image_url", "image_url": {"url": 5}}), "messages.content", "image_url must be an object"),
    ],
)
def test_a_wrong_field_is_named_with_what_it_must_hold(fields, param, message):
    found, said = refused(read_chat, a_body(**fields))
    assert found == param
    assert message in said


@pytest.mark.parametrize("tier", ["scale", "batch", ""])
def test_a_tier_without_a_price_is_refused(tier):
    param, message = refused(read_chat, a_body(service_tier=tier))
    assert (param, message[:44]) == ("service_tier", "service_tier must be auto, default, flex, pr")


@pytest.mark.parametrize(
    ("word", "order"),
    [
        (None, ""),
        ("auto", ""),
        ("default", "realtime"),
        ("flex", "flex"),
        ("priority", "priority"),
        ("fast", "priority"),
    ],
)
def test_a_tier_that_is_ordered_is_read_in_our_words(word, order):
    assert chat(service_tier=word).tier == order


def test_what_was_chosen_is_asked_for_in_the_providers_words():
    body = outgoing(chat(service_tier="fast"), "m", frozenset(), tier="priority", effort="low")
    assert (json.loads(body)["service_tier"], json.loads(body)["reasoning_effort"]) == ("priority", "low")
    untouched = json.loads(outgoing(chat(reasoning_effort="high"), "m", frozenset()))
    assert untouched["reasoning_effort"] == "high"
    assert "service_tier" not in untouched


@pytest.mark.parametrize("tier", ["auto", "default", None])
def test_the_usual_tier_goes_on_as_it_came(tier):
    assert sent(chat(service_tier=tier))["service_tier"] == tier


def test_stream_options_are_checked_before_anything_is_sent():
    body = a_body(stream=True, stream_options={"?": 1}).replace(b"?", b"\xff")
    assert refused(read_chat, body)[1].startswith("The body is not valid JSON")
    param, message = refused(read_chat, a_body(stream=True, stream_options={"include_usage": 1}))
    assert (param, message) == ("stream_options.include_usage", "stream_options.include_usage must be true or false.")


def test_a_field_that_is_missing_is_named():
    assert refused(read_chat, b"{}") == (None, "The body: object missing required field `messages`.")
    assert refused(read_chat, b'{"messages":[]}') == ("model", "model is missing; `auto` lets the policy choose.")
    assert refused(read_embeddings, b'{"model":"x"}') == (None, "The body: object missing required field `input`.")


def test_text_that_is_not_utf8_is_refused_where_it_is_read():
    param, message = refused(read_chat, a_body(messages=[{"role": "user", "content": "?"}]).replace(b"?", b"\xff"))
    assert (param, message[:26]) == (None, "The body is not valid JSON")


def test_text_that_is_not_utf8_passes_where_it_is_not_read():
    body = a_body(response_format={"type": "json_schema", "json_schema": "?"}, seed="?").replace(b"?", b"\xff")
    request = read_chat(body)
    assert "\ufffd" in request.shape.texts[-1]
    assert outgoing(request, "x", NO_QUIRKS).count(b"\xff") == 2


@pytest.mark.parametrize("depth", [400, 900, 990, 100_000])
@pytest.mark.parametrize("field", ["tools", "metadata", "seed"])
def test_nesting_is_read_or_refused(field, depth):
    inside = b"[" * depth + b"]" * depth if field != "metadata" else b'{"a":' * depth + b"1" + b"}" * depth
    body = a_body()[:-1] + b', "' + field.encode() + b'": ' + inside + b"}"
    try:
        request = read_chat(body)
    except RouterError as error:
        message = error.message
    else:
        assert outgoing(request, "x", NO_QUIRKS)
        message = "nested too deeply" if depth < 1000 else ""
    assert "nested too deeply" in message


@given(
    st.dictionaries(
        st.sampled_from(
            ("model", "messages", "n", "tools", "metadata", "response_format", "stream_options", "input", "x")
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers(-3, 10**25) | st.floats() | st.text(max_size=3),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(
                    st.sampled_from(("role", "content", "type", "text", "image_url", "costrouter.a")), inner
                )
            ),
            max_leaves=6,
        ),
    ).map(lambda fields: json.dumps({"model": "m", "messages": SAY_HI, "input": "x", **fields}).encode())
    | st.binary(max_size=20),
    st.sampled_from((read_chat, read_embeddings)),
)
@example(b'{"model":"m","messages":[],"tools":[1e999]}', read_chat)
@example(b'{"model":"\\ud800","messages":[]}', read_chat)
def test_any_body_is_read_or_refused(body, read):
    try:
        request = read(body)
    except RouterError as error:
        status = error.status
    else:
        status = 400
        assert json.loads(outgoing(request, "x", frozenset({"no_stream_options", "max_tokens_name"})))["model"] == "x"
    assert status == 400


# -- embeddings


@pytest.mark.parametrize(
    ("given", "texts", "ready"),
    [
        ("Hi", ("Hi",), 0),
        (["a", "b"], ("a", "b"), 0),
        ([1, 2, 3], (), 3),
        ([[1, 2], [3]], (), 3),
        ([[]], (), 0),
    ],
)
def test_embeddings_of_text_and_of_tokens(given, texts, ready):
    request = embeddings(input=given)
    assert (request.shape.texts, request.ready_tokens) == (texts, ready)
    assert (request.needs, request.max_output, request.shape.messages) == (Needs.EMBEDDINGS, 0, 0)


@pytest.mark.parametrize(
    ("given", "inputs", "longest"),
    [("Hi", 1, 0), (["a", "b"], 2, 0), ([1, 2, 3], 1, 3), ([[1, 2], [3]], 2, 2), (["a", [1, 2]], 2, 2)],
)
def test_inputs_are_embedded_apart(given, inputs, longest):
    request = embeddings(input=given)
    assert (request.inputs, request.longest_ready) == (inputs, longest)


@pytest.mark.parametrize("given", ["", []])
def test_nothing_cannot_be_embedded(given):
    param, message = refused(read_embeddings, json.dumps({"model": "m", "input": given}).encode())
    assert (param, message) == ("input", "input must not be empty.")


def test_an_embeddings_request_goes_on_as_it_came():
    request = embeddings(dimensions=8, encoding_format="base64", metadata={"costrouter.tags": "a=1"})
    assert request.own == {"tags": "a=1"}
    assert sent(request, "max_tokens_name", "no_stream_options") == {
        "model": "large-1",
        "input": "Hi",
        "dimensions": 8,
        "encoding_format": "base64",
    }


# -- what goes on


def test_what_is_not_ours_goes_on_to_the_letter():
    body = (
        b' { "model" : "auto", "messages":[ {"role":"user","content":"\\u0048i"} ],  "price":1.10, "later":{"x": 1e2} }'
    )
    passed = outgoing(read_chat(body), "large-1", NO_QUIRKS)
    assert passed == (
        b'{"model":"large-1","messages":[ {"role":"user","content":"\\u0048i"} ],"price":1.10,"later":{"x": 1e2}}'
    )


def test_usage_is_always_asked_for_in_streams():
    assert sent(chat(stream=True))["stream_options"] == {"include_usage": True}
    assert sent(chat(stream=True, stream_options=None))["stream_options"] == {"include_usage": True}
    kept = {"include_usage": True, "include_obfuscation": False}
    assert sent(chat(stream=True, stream_options={"include_obfuscation": False}))["stream_options"] == kept
    assert sent(chat(stream=True, stream_options=kept | {"include_usage": False}))["stream_options"] == kept
    assert sent(chat(stream=True, stream_options=kept))["stream_options"] == kept
    assert "stream_options" not in sent(chat())


def test_where_the_provider_refuses_stream_options_they_are_left_out():
    for fields in ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}, {}):
        assert "stream_options" not in sent(chat(**fields), "no_stream_options")


@pytest.mark.parametrize(
    ("quirk", "wanted", "other"),
    [
        ("max_tokens_name", "max_tokens", "max_completion_tokens"),
        ("max_completion_tokens_name", "max_completion_tokens", "max_tokens"),
    ],
)
def test_the_limit_goes_by_the_name_that_the_provider_knows(quirk, wanted, other):
    def limits(**fields):
        request = chat(**fields)
        found = {name: value for name, value in sent(request, quirk).items() if "max" in name}
        assert found.get(wanted) == request.max_output
        return found

    assert limits(**{other: 7}) == {wanted: 7}
    assert limits(**{wanted: 7}) == {wanted: 7}
    assert limits(**{other: None}) == {}
    assert limits(**{other: 7, wanted: None}) == {wanted: 7}
    assert limits(**{other: None, wanted: 7}) == {wanted: 7}
    # The limit that the hold was made for, whichever that was.
    assert limits(max_completion_tokens=7, max_tokens=9) == {wanted: 7}


def test_without_a_quirk_limits_go_on_as_they_came():
    both = {"max_completion_tokens": 7, "max_tokens": 9}
    assert {name: value for name, value in sent(chat(**both)).items() if "max" in name} == both


@pytest.mark.parametrize(
    ("read", "passed", "path", "more"),
    [
        (chat, pass_chat, "/chat/completions", {"service_tier": "flex", "reasoning_effort": "high"}),
        (embeddings, pass_embeddings, "/embeddings", {}),
    ],
)
def test_a_request_goes_to_the_place_of_its_kind(read, passed, path, more):
    chosen = option(price=price(), upstream_model="large-1", tier_word="flex", effort="high")
    decision = Decision(
        option=chosen, policy="p@1", rule="r", relaxed="", prompt_tokens=1, output_tokens=1, expected_pico=1, hold_pico=1,
        baseline=None, baseline_pico=0, runner_up_pico=0, certain=True,
    )  # fmt: skip
    request = read()
    order = passed(request, decision, NO_QUIRKS)
    assert (order.path, order.headers) == (path, ())
    assert json.loads(order.body) == {**sent(request), **more}


@pytest.mark.parametrize(
    ("fields", "quirks", "limits"),
    [
        ({}, (), {"max_completion_tokens": 3}),
        ({}, ("max_tokens_name",), {"max_tokens": 3}),
        ({"max_tokens": 5}, (), {"max_tokens": 3}),
        ({"max_tokens": 5, "max_completion_tokens": 6}, (), {"max_tokens": 3}),
        ({"max_completion_tokens": 6}, (), {"max_completion_tokens": 3}),
    ],
)
def test_a_limit_of_ours_takes_the_callers_place(fields, quirks, limits):
    request = msgspec.structs.replace(chat(**fields), max_output=3, clamped=True)
    assert {name: value for name, value in sent(request, *quirks).items() if "max" in name} == limits


def test_our_metadata_stays_here():
    request = chat(metadata={"costrouter.policy": "night", "ticket": "7", "costrouter.tags": "a=1"})
    assert request.own == {"policy": "night", "tags": "a=1"}
    assert sent(request)["metadata"] == {"ticket": "7"}
    assert "metadata" not in sent(chat(metadata={"costrouter.policy": "night"}))
    assert sent(chat(metadata={"ticket": "7"}))["metadata"] == {"ticket": "7"}
    assert sent(chat(metadata=None))["metadata"] is None


def test_the_callers_request_is_not_changed_by_sending_it():
    request = chat(stream=True, max_tokens=5)
    assert sent(request, "max_completion_tokens_name") != sent(request)
    assert sent(request, model="other") == {
        "model": "other",
        "messages": SAY_HI,
        "stream": True,
        "max_tokens": 5,
        "stream_options": {"include_usage": True},
    }


# -- several models


def test_several_models_are_read_in_the_callers_order_and_leave_the_body():
    request = chat(model="a/one", models=["b/two", "a/one", "c/three"], route="fallback", seed=7)
    assert (request.model, request.models) == ("a/one", ("a/one", "b/two", "c/three"))
    assert sent(request) == {"model": "large-1", "messages": SAY_HI, "seed": 7}


def test_without_a_model_of_its_own_the_first_of_the_list_is_asked_for():
    request = read_chat(json.dumps({"models": ["b/two", "c/three"], "messages": SAY_HI}).encode())
    assert (request.model, request.models) == ("b/two", ("b/two", "c/three"))
    assert sent(request)["model"] == "large-1"


def test_auto_beside_a_list_is_a_choice_among_them_and_no_member():
    request = chat(models=["b/two", "c/three"])
    assert (request.model, request.models) == ("auto", ("b/two", "c/three"))


@pytest.mark.parametrize("models", [[], ["m"] * 17])
def test_a_list_of_models_is_neither_empty_nor_endless(models):
    assert refused(read_chat, a_body(models=models)) == ("models", "models must name 1 to 16 models.")


def test_a_list_of_models_has_names():
    assert refused(read_chat, a_body(models=["a", 1]))[0] == "models[1]"


def test_a_key_for_the_cache_is_sent_where_the_caller_has_none():
    made = Decision(
        option=option(), policy="p@1", rule="r", relaxed="", prompt_tokens=1, output_tokens=1, expected_pico=1,
        hold_pico=1, baseline=None, baseline_pico=0, runner_up_pico=0, certain=True, cache_key="cr-12",
    )  # fmt: skip  # a record
    body = b'{"model":"auto","messages":[]'
    for more, key in ((b"}", "cr-12"), (b',"prompt_cache_key":"mine"}', "mine")):
        sent = json.loads(pass_chat(read_chat(body + more), made, frozenset()).body)
        assert sent["prompt_cache_key"] == key
    plain = msgspec.structs.replace(made, cache_key="")
    assert "prompt_cache_key" not in json.loads(pass_chat(read_chat(body + b"}"), plain, frozenset()).body)
