"""Anthropic's batches: what goes out, and what is read of the answers, the odd ones too."""

from __future__ import annotations

import json

import pytest

from router.dialects.batch_messages import creation, read_batch, read_batches, read_result


def batch(status="in_progress", **fields):
    return {"id": "b1", "processing_status": status, "created_at": "2026-11-25T10:00:00Z"} | fields


def test_a_creation_holds_each_request_as_it_was_written():
    body = json.loads(creation([("a", b'{"max_tokens": 1}'), ("b", b"{}")]))
    assert body == {"requests": [{"custom_id": "a", "params": {"max_tokens": 1}}, {"custom_id": "b", "params": {}}]}


@pytest.mark.parametrize(
    ("status", "counts", "event", "outcome"),
    [
        ("in_progress", {"processing": 2}, "running", ""),
        ("canceling", {"processing": 2}, "stopped", ""),
        ("something_new", {}, "running", ""),
        ("ended", {"succeeded": 2}, "over", "completed"),
        ("ended", {"succeeded": 1, "expired": 1}, "over", "expired"),
        ("ended", {"succeeded": 1, "canceled": 1}, "over", "cancelled"),
        ("ended", None, "over", "completed"),
    ],
)
def test_states_are_read_from_status_and_counts(status, counts, event, outcome):
    found = read_batch(json.dumps(batch(status, request_counts=counts)).encode())
    assert (found.event, found.outcome) == (event, outcome)
    assert found.outputs == (("b1",) if event == "over" else ())


def test_a_batch_is_known_by_its_time_and_its_count():
    found = read_batch(json.dumps(batch(request_counts={"processing": 7, "succeeded": 0, "errored": None})).encode())
    assert (found.lines, found.created_ms, found.parcel, found.file) == (7, 1_795_600_800_000, "", "")
    assert read_batch(json.dumps(batch(created_at="soon")).encode()).created_ms == 0
    assert read_batch(b"<html>") is None
    assert read_batch(b'{"id": 3}') is None


def test_a_page_tells_where_the_next_one_begins():
    page = {"data": [batch(), 3, batch(id="b2")], "has_more": True}
    found, after = read_batches(json.dumps(page).encode())
    assert ([remote.id for remote in found], after) == (["b1", "b2"], "b2")
    assert read_batches(json.dumps(page | {"has_more": False}).encode())[1] == ""
    assert read_batches(b'{"data": [], "has_more": true}') == ([], "")
    assert read_batches(b"[]") == ([], "")


@pytest.mark.parametrize(
    ("result", "fate", "status"),
    [
        ({"type": "succeeded", "message": {"id": "m"}}, "succeeded", 200),
        ({"type": "expired"}, "expired", 0),
        ({"type": "canceled"}, "cancelled", 0),
        ({"type": "something_new"}, "failed", 0),
        ({"type": "errored", "error": {"error": {"type": "invalid_request_error"}}}, "refused", 400),
        ({"type": "errored", "error": {"error": {"type": "overloaded_error"}}}, "failed", 529),
        ({"type": "errored", "error": {"error": {"type": "billing_error"}}}, "failed", 500),
        ({"type": "errored", "error": {"error": {"type": 3}}}, "failed", 500),
        ({"type": "errored", "error": {}}, "failed", 500),
        ({"type": "errored"}, "failed", 500),
    ],
)
def test_a_line_s_fate(result, fate, status):
    found = read_result(json.dumps({"custom_id": "c", "result": result}).encode())
    assert (found.custom_id, found.fate, found.status) == ("c", fate, status)


def test_a_result_s_body_is_the_message_as_it_came():
    line = b'{"custom_id":"c","result":{"type":"succeeded","message":{"id":  "m"}}}'
    assert read_result(line).body == b'{"id":  "m"}'
    assert read_result(b'{"custom_id": "to') is None
    assert read_result(b"{}") is None
