"""Bodies that create a Message Batch, cut into requests as they arrive."""

from __future__ import annotations

import json

import pytest

from router.core.errors import RouterError
from router.dialects import batch_requests
from router.dialects.batch_requests import Requests, params_of

ODD = {"text": 'a "quoted" {brace} [bracket] \\ and a back\\slash\\', "list": [{"deep": [1, {}]}], "é": "\u2028"}


def entry(name="a", **params):
    return {"custom_id": name, "params": params}


def read(body, size=1 << 20):
    reader = Requests()
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [line for at in range(0, len(body), size) for line in reader.feed(body[at : at + size])]
    assert reader.end() == len(lines) == reader.count
    return [params_of(line) for line in lines]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 10_000])
def test_requests_are_the_same_however_the_body_is_cut(size):
    body = {
        "first": {"requests": ["not these"]},
        "requests": [entry("a", **ODD), entry("b"), entry("c-3_X", deep=[[[]]])],
        "last": "}]",
    }
    for text in (json.dumps(body), json.dumps(body, indent=2, ensure_ascii=False)):
        found = read(text.encode(), size)
        assert [name for name, _ in found] == ["a", "b", "c-3_X"]
        assert [json.loads(params) for _, params in found] == [ODD, {}, {"deep": [[[]]]}]
        assert not any(b"\n" in params for _, params in found)


def test_little_is_kept_of_a_long_body():
    reader = Requests()
    list(reader.feed(b'{"requests":['))
    for number in range(1_000):
        (line,) = reader.feed(json.dumps(entry(f"q{number}", text="x" * 500)).encode() + b",\n ")
        assert params_of(line)[0] == f"q{number}"
    assert len(reader._buffer) < 10


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "requests"),
        (b"[]", "JSON object"),
        (b"}", "one JSON object"),
        (b'{"requests": []}', "at least one"),
        (b'{"other": [{"custom_id": "a", "params": {}}]}', "at least one"),
        (b'{"requests": {"custom_id": "a"}}', "at least one"),
        (b'{"requests": [{"custom_id": "a", "params": {}}', "in the middle"),
        (b'{"requests": [{"custom_id": "a', "in the middle"),
        (b'{"requests": [3]}', r"requests\.0: must be an object"),
        (b'{"requests": ["a"]}', r"requests\.0: must be an object"),
        (b'{"requests": [[]]}', r"requests\.0: must be an object"),
        (b'{"requests": [{"custom_id": "a", "params": {}}, null]}', r"requests\.1: must be an object"),
        (b'{"requests": [{"custom_id": "a"}]}', r"requests\.0: .*params"),
        (b'{"requests": [{"custom_id": "a", "params": {},}]}', r"requests\.0: "),
        (b'{"requests": [{"custom_id": "a", "params": []}]}', r"requests\.0\.params"),
        (b'{"requests": [{"custom_id": "a b", "params": {}}]}', r"requests\.0\.custom_id"),
        (json.dumps({"requests": [entry("a"), entry("a")]}).encode(), r"requests\.1\.custom_id: a has been used"),
        (b'{"requests": [{"custom_id": "a", "params": {}}], "requests": []}', "twice"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_place(body, words):
    with pytest.raises(RouterError, match=words) as refused:
        read(body)
    assert refused.value.code == "invalid_request"


def test_there_may_be_too_many_or_too_much(monkeypatch):
    monkeypatch.setattr(batch_requests, "MOST_REQUESTS", 1)
    with pytest.raises(RouterError, match="at most 1 requests") as refused:
        read({"requests": [entry("a"), entry("b")]})
    assert refused.value.status == 413
    monkeypatch.setattr(batch_requests, "MOST_ELEMENT", 100)
    with pytest.raises(RouterError, match=r"requests\.0: at most 100 bytes"):
        read({"requests": [entry("a", text="x" * 500)]}, 50)
