"""Endpoints beside chat: what is read of a request, what goes on, and what an answer is. Meters are in the golden table."""

import base64
import json

import msgspec
import pytest
from options import decision, price

from router.core.deciding.choices import Work
from router.core.errors import RouterError
from router.core.names import AUTO
from router.core.values import SERVED, Band, Price, Rates
from router.dialects.endpoints.passing import in_form
from router.dialects.endpoints.speech import MOST_CHARACTERS, SoundScanner
from router.dialects.ways import INBOUND, way

KIND = {"content-type": "multipart/form-data; boundary=xyz"}


def form(*files, **fields):
    parts = [
        f'--xyz\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    ]
    parts += [
        f'--xyz\r\nContent-Disposition: form-data; name="{name}"; filename="a"\r\n\r\n{"x" * 80}\r\n' for name in files
    ]
    return "".join(parts).encode() + b"--xyz--\r\n"


def read(api, *files, **fields):
    given = form(*files, **fields) if files else json.dumps(fields).encode()
    return INBOUND[api].read(given, KIND if files else {})


def sent(api, request, quirks=(), **changes):
    return INBOUND[api].passed(request, decision(**changes), frozenset(quirks))


def test_what_is_to_be_judged_is_read():
    seen = read(
        "moderations", model="m", input=["a", {"type": "text", "text": "b"}, {"type": "image_url", "image_url": {}}]
    )
    assert (seen.model, seen.shape.texts, seen.needs) == ("m", ("a", "b", ""), SERVED["moderation"])
    assert (seen.work, seen.inputs) == (Work(pictures=1), 3)
    assert read("moderations", input="a").model == AUTO


def test_what_is_to_be_painted_is_read():
    seen = read(
        "images", model="m", prompt="a fox", n=3, size="1024x1536", quality="high", stream=True, user="u",
        metadata={"costrouter.policy": "p", "mine": "1"},
    )  # fmt: skip
    assert seen.work == Work(images=3, quality="high", size="1024x1536")
    assert (seen.choices, seen.stream, seen.user, seen.own) == (3, True, "u", {"policy": "p"})
    assert json.loads(sent("images", seen).body)["metadata"] == {"mine": "1"}
    assert read("images", prompt="a fox", size="auto", quality="").work == Work(images=1)


def test_what_is_to_be_painted_anew_is_read_from_a_form():
    seen = read(
        "image-edits", "image[]", "image[]", "mask", prompt="a fox", n="2", quality="low", stream="true", user="u"
    )
    assert seen.work == Work(images=2, quality="low", pictures=3)
    assert (seen.stream, seen.user, seen.needs, seen.model) == (True, "u", SERVED["image_edits"], AUTO)
    assert read("image-variations", "image").shape.texts == ("",)


def test_a_recording_is_read():
    seen = read("transcriptions", "file", model="whisper-1", prompt="Hi", stream="true")
    assert (seen.model, seen.shape.texts, seen.stream) == ("whisper-1", ("Hi",), True)
    assert seen.work == Work(sound_ms=10, sound_most_ms=80)
    assert read("translations", "file").needs == SERVED["translation"]


def test_what_is_to_be_spoken_is_read():
    seen = read("speech", model="m", input="Grüße", voice="alloy", instructions="slowly", response_format="wav")
    assert (seen.work, seen.shape.texts, seen.sound, seen.stream) == (
        Work(characters=5),
        ("Grüße", "slowly"),
        "audio/wav",
        True,
    )
    assert read("speech", input="a").sound == "audio/mpeg"
    assert read("speech", input="a", response_format="new").sound == "application/octet-stream"
    assert read("speech", input="a", stream_format="sse").sound == ""


def test_what_is_to_be_ranked_is_read():
    seen = read("rerank", model="m", query="abc", documents=["one", {"text": "two"}, "three"])
    assert seen.shape.texts == ("abc", "one", '{"text":"two"}', "three")
    assert (seen.work, seen.inputs) == (Work(documents=3, repeated=6), 4)


WRONG = [
    ("moderations", (), {"input": ""}, "input"),
    ("moderations", (), {"input": 5}, "input"),
    ("images", (), {"prompt": ""}, "prompt"),
    ("images", (), {"prompt": "a", "n": 0}, "n"),
    ("images", (), {"prompt": "a", "n": 11}, "n"),
    ("images", (), {"prompt": "a", "size": "big"}, "size"),
    ("images", (), {"prompt": "a", "quality": "HD!"}, "quality"),
    ("image-edits", ("other",), {}, "image"),
    ("image-edits", ("image",), {"n": "many"}, "n"),
    ("transcriptions", ("other",), {}, "file"),
    ("transcriptions", ("file", "file"), {}, "file"),
    ("speech", (), {"input": ""}, "input"),
    ("speech", (), {"input": "a" * (MOST_CHARACTERS + 1)}, "input"),
    ("speech", (), {"input": "a", "stream_format": "wav"}, "stream_format"),
    ("rerank", (), {"query": "a", "documents": []}, "documents"),
    ("rerank", (), {"query": "", "documents": ["a"]}, "query"),
]  # fmt: skip


@pytest.mark.parametrize(("api", "files", "fields", "param"), WRONG)
def test_what_cannot_be_is_refused_by_its_field(api, files, fields, param):
    with pytest.raises(RouterError) as refused:
        read(api, *files, **fields)
    assert (refused.value.code, refused.value.param) == ("invalid_request", param)


def test_bodies_go_on_with_the_providers_name_for_the_model():
    order = sent("moderations", read("moderations", model="auto", input="a", mine=1))
    assert (order.path, json.loads(order.body)) == ("/moderations", {"model": "large", "input": "a", "mine": 1})
    order = sent("transcriptions", read("transcriptions", "file", model="auto", language="en"))
    assert (order.path, order.headers) == ("/audio/transcriptions", ((b"content-type", KIND["content-type"].encode()),))
    assert order.body == form("file", model="large", language="en")
    with pytest.raises(TypeError, match="without a form"):
        in_form(read("moderations", input="a"), "/x", "m")


def test_a_rerankers_version_stands_in_its_path_where_its_address_has_none():
    seen = read("rerank", query="a", documents=["b"])
    assert sent("rerank", seen).path == "/rerank"
    assert sent("rerank", seen, ["versioned_rerank"]).path == "/v1/rerank"
    assert sent("rerank-2", seen, ["versioned_rerank"]).path == "/v2/rerank"
    assert INBOUND["rerank-2"].root == "/v2"


def by_character():
    return Price("v", (Band(0, Rates(0, 0, 0, 0), units={"audio.characters": 15}),))


def test_events_are_asked_for_where_they_alone_tell_meters():
    plain, events = read("speech", input="a"), read("speech", input="a", stream_format="sse")
    assert json.loads(sent("speech", plain, price=price()).body)["stream_format"] == "sse"
    assert "stream_format" not in json.loads(sent("speech", plain, price=by_character()).body)
    assert json.loads(sent("speech", events, price=by_character()).body)["stream_format"] == "sse"


def event(**said):
    return b"data: " + json.dumps(said).encode() + b"\n\n"


def delta(sound):
    return event(type="speech.audio.delta", audio=base64.b64encode(sound).decode())


def test_sound_comes_out_of_events_however_they_are_cut():
    stream = (
        delta(b"abc")
        + event(type="other")
        + delta(b"\0\1")
        + event(type="speech.audio.done", usage={"input_tokens": 1, "output_tokens": 2})
    )
    for size in (1, 7, len(stream)):
        scanner = SoundScanner()
        heard = b"".join(scanner.feed(stream[at : at + size]) for at in range(0, len(stream), size))
        assert (heard, scanner.finished, scanner.answered) == (b"abc\0\1", True, True)
        assert (scanner.usage.prompt_tokens, scanner.usage.units) == (1, (("audio.output", 2),))


def test_sound_that_is_no_events_passes():
    scanner = SoundScanner()
    assert (scanner.feed(b"ID3data: x"), scanner.feed(b"\xff")) == (b"ID3data: x", b"\xff")
    assert (scanner.finished, scanner.usage) == (True, None)


def test_an_event_without_sound_cannot_be_read():
    with pytest.raises(ValueError, match="holds no sound"):
        SoundScanner().feed(event(type="speech.audio.delta", audio="!"))


def test_an_error_within_a_stream_is_kept_back():
    found = way("transcriptions", ("openai",))
    assert found.outbound is INBOUND["transcriptions"].outbound
    scanner = found.outbound.scanner(read("transcriptions", "file"), lambda _: None)
    told = event(type="transcript.text.delta", delta="a")
    assert scanner.feed(told + event(type="error", error={"message": "broke"})) == told
    assert (scanner.failed, b"broke" in scanner.error, scanner.finished) == (True, True, False)
    scanner = found.outbound.scanner(read("transcriptions", "file"), lambda _: None)
    assert scanner.feed(b'data: "usage"\n\n') == b'data: "usage"\n\n'
    assert found.outbound.said_so_far(b"x") == ""
    assert found.outbound.streamed_text(b"x") == found.outbound.answered_text(b"x") == []


ANSWERS = [
    ("images", b'{"data":[]}', True),
    ("images", b'{"error":{}}', False),
    ("images", b"<html>", False),
    ("transcriptions", b'{"text":""}', True),
    ("transcriptions", b'{"error":{}}', False),
    ("transcriptions", b"word\n", True),
    ("transcriptions", b"", True),
    ("transcriptions", b"<html>", False),
    ("transcriptions", b"\xff", False),
    ("speech", b"{}", False),
]


@pytest.mark.parametrize(("api", "body", "found"), ANSWERS)
def test_an_answer_is_told_from_anything_else(api, body, found):
    assert INBOUND[api].outbound.is_answer(body) is found


NO_METERS = [
    ("moderations", {"results": []}),
    ("images", [1]),
    ("images", {"data": []}),
    ("images", {"data": [{}], "usage": {"input_tokens": -1}}),
    ("images", {"type": "image_generation.partial_image", "b64_json": "a"}),
    ("transcriptions", [1]),
    ("transcriptions", {"text": "a"}),
    ("transcriptions", {"text": "a", "duration": "long"}),
    ("transcriptions", {"usage": {"type": "tokens", "input_tokens": "1"}}),
    ("transcriptions", {"usage": {"type": "duration", "seconds": -1}}),
    ("transcriptions", {"usage": {"type": "duration"}}),
    ("speech", {"type": "speech.audio.delta"}),
    ("speech", {"usage": {"input_tokens": 1}}),
    ("rerank", [1]),
    ("rerank", {"results": []}),
    ("rerank", {"results": [], "usage": {"total_tokens": "1"}}),
    ("rerank", {"results": [], "meta": {"billed_units": None}}),
]


@pytest.mark.parametrize(("api", "said"), NO_METERS)
def test_what_tells_no_meters_has_none(api, said):
    assert INBOUND[api].outbound.usage_of(msgspec.json.encode(said)) is None
