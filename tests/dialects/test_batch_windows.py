"""Completion windows: what goes out, and what is read of the answers, the odd ones too."""

from __future__ import annotations

import json

import pytest

from router.dialects.batch_windows import creation, read_response, read_result


def response(status="completed", **fields):
    return {"id": "resp_1", "object": "response", "status": status, **fields}


def told(status="completed", **fields):
    return json.dumps(response(status, **fields)).encode()


def test_a_request_is_begun_in_the_background_kept_and_at_the_usual_price():
    body = json.loads(creation(b'{"model":"m","input":"hi","store":false,"service_tier":"auto"}', "window-8h"))
    assert body == {
        "model": "m",
        "input": "hi",
        "store": True,
        "service_tier": "default",
        "background": True,
        "background_options": {"completion_window": "8h"},
    }


@pytest.mark.parametrize(
    ("status", "event", "outcome"),
    [
        ("queued", "running", ""),
        ("in_progress", "running", ""),
        ("something_new", "running", ""),
        ("completed", "over", "completed"),
        ("incomplete", "over", "completed"),
        ("failed", "over", "completed"),
        ("cancelled", "over", "cancelled"),
    ],
)
def test_states_are_read(status, event, outcome):
    found = read_response(told(status))
    assert (found.id, found.event, found.outcome) == ("resp_1", event, outcome)
    assert found.outputs == (("resp_1",) if event == "over" else ())


def test_what_is_no_response_is_none():
    for body in (b"", b"[]", b"{}", b'{"id": 1, "status": "queued"}', b'{"id": "resp_1"}', b"\xff"):
        assert read_response(body) is None
        assert read_result(body) is None


def test_an_answer_is_its_callers_who_did_not_ask_for_it_in_the_background():
    found = read_result(told(background=True, output=[]))
    assert (found.custom_id, found.fate, found.status) == ("", "succeeded", 200)
    assert json.loads(found.body) == response(background=False, output=[])
    assert read_result(told("incomplete")).fate == "succeeded"


def test_a_failure_says_why_and_a_cancellation_keeps_its_meters():
    found = read_result(told("failed", error={"code": "server_error", "message": "Overloaded."}))
    assert (found.fate, found.status) == ("failed", 502)
    assert json.loads(found.body)["error"]["message"] == "Overloaded."
    assert read_response(told("failed", error={"message": "Overloaded."})).note == "Overloaded."
    assert json.loads(read_result(told("failed")).body)["error"]["message"] == "The response failed."
    called_off = read_result(told("cancelled", usage={"input_tokens": 3}))
    assert (called_off.fate, json.loads(called_off.body)["usage"]) == ("cancelled", {"input_tokens": 3})
