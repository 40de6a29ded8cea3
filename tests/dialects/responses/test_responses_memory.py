"""What of a response is remembered, and a request that goes on from it."""

import json

import pytest

from router.core.errors import RouterError
from router.dialects.json_object import TopLevel
from router.dialects.responses.memory import ends, gone_on, id_of, input_of, whole_response

DONE = b'event: response.completed\ndata: {"type":"response.completed","response":{"id":"r","output":[]}}\n\n'


@pytest.mark.parametrize(
    ("body", "streamed", "found"),
    [
        (b'{"id":"r"}', False, "r"),
        (b'{"id":5}', False, ""),
        (b"[", False, ""),
        (b': x\n\ndata: [\n\ndata: {"type":"response.created","response":{"id":"r"}}\n\n', True, "r"),
        (b'data: {"type":"response.created","response":{}}\n\n', True, ""),
        (b"", True, ""),
    ],
)
def test_the_id_of_an_answer(body, streamed, found):
    assert id_of(body, streamed=streamed) == found


def test_the_whole_of_it_stands_in_the_last_event():
    assert ends(b"data: {}\n\n" + DONE)
    assert not ends(b"data: event: response.completed\n\n".replace(b"event: response.completed\n", b"x"))
    assert json.loads(whole_response(b"data: [\n\ndata: {}\n\n" + DONE, streamed=True)) == {"id": "r", "output": []}
    assert whole_response(b'data: {"type":"response.created","response":{}}\n\n', streamed=True) == b""
    assert whole_response(b"{}", streamed=False) == b"{}"


@pytest.mark.parametrize(
    ("given", "items"), [('"Hi"', [{"role": "user", "content": "Hi"}]), ("[1]", [1]), ("null", [])]
)
def test_input_is_items(given, items):
    assert input_of(TopLevel(b'{"input":' + given.encode() + b"}")) == items


def test_a_request_that_goes_on_says_everything_itself():
    text = {"type": "output_text", "text": "a", "annotations": []}
    output = [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "x"},
        {"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": [text]},
        {"type": "message", "id": "m", "status": "completed", "role": "assistant", "content": [text, text]},
        {"type": "function_call", "id": "fc", "status": "completed", "call_id": "c", "name": "f", "arguments": "{}"},
    ]
    top = TopLevel(b'{"model":"m","input":"And?","previous_response_id":"r"}')
    body = json.loads(gone_on(top, [{"role": "user", "content": "Hi"}], json.dumps({"output": output}).encode()))
    bare = {"type": "output_text", "text": "a"}
    assert body == {
        "model": "m",
        "input": [
            {"role": "user", "content": "Hi"},
            {"type": "reasoning", "summary": [], "encrypted_content": "x"},
            {"role": "assistant", "content": "a"},
            {"role": "assistant", "content": [bare, bare]},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"role": "user", "content": "And?"},
        ],
    }


def test_what_it_goes_on_from_itself_comes_first():
    top = TopLevel(b'{"model":"m","input":"And?","previous_response_id":"r"}')
    body = json.loads(gone_on(top, [], b'{"output":[]}', "earlier"))
    assert body["previous_response_id"] == "earlier"


def test_input_that_cannot_be_read_to_its_last_value_is_refused():
    with pytest.raises(RouterError, match="input must be JSON in UTF-8"):
        input_of(TopLevel(b'{"input":[{"x":"\xff"}]}'))
