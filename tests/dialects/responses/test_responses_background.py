"""Background responses: how they stand, and the stream of one that is there."""

import json

import msgspec
import pytest
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from router.dialects.responses.background import arrived, begun_events, events_of, standing
from router.dialects.responses.request import read_responses

EVENTS = TypeAdapter(ResponseStreamEvent)
REQUEST = read_responses(b'{"model":"auto","input":"Hi","instructions":"Be kind."}', {})
TEXT = {"type": "output_text", "text": "Hi", "annotations": [], "logprobs": []}
ITEMS = [
    {"type": "reasoning", "id": "rs", "summary": []},
    {"type": "message", "id": "m", "role": "assistant", "status": "completed",
     "content": [TEXT, {"type": "refusal", "refusal": "No."}]},
    {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}", "status": "completed"},
]  # fmt: skip


def numbered(stream):
    return [json.loads(event.partition(b"data: ")[2]) for event in stream.split(b"\n\n") if event]


def test_one_that_is_not_there_tells_how_it_stands():
    found = json.loads(msgspec.json.encode(standing(REQUEST, "resp_1", 7, "failed", ("server_error", "It broke."))))
    assert (found["id"], found["created_at"], found["status"], found["background"]) == ("resp_1", 7, "failed", True)
    assert (found["error"], found["instructions"]) == ({"code": "server_error", "message": "It broke."}, "Be kind.")
    assert standing(REQUEST, "resp_1", 7, "queued")["error"] is None


def test_one_that_is_there_has_the_id_that_its_caller_knows():
    found = arrived(b'{"id":"resp_theirs","output":[]}', "resp_1", 7)
    assert found == {"id": "resp_1", "output": [], "background": True, "store": True, "created_at": 7}
    for strange in (b"[]", b"{}"):
        with pytest.raises(ValueError, match="no response"):
            arrived(strange, "resp_1", 7)


@pytest.mark.parametrize(
    ("status", "last"), [("completed", "completed"), ("failed", "failed"), ("cancelled", "incomplete")]
)
def test_its_stream_is_what_the_types_say(status, last):
    response = standing(REQUEST, "resp_1", 7, status) | {"output": ITEMS}
    events = numbered(events_of(response))
    for event in events:
        EVENTS.validate_python(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[:2] == numbered(begun_events(response))
    assert events[-1]["type"] == f"response.{last}"
    assert numbered(events_of(response, after=3)) == events[4:]
