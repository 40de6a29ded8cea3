"""Google's batches: what goes out, and what is read of the answers, the odd ones too."""

from __future__ import annotations

import json

import pytest

from router.dialects.batch_gemini import creation, packed, read_batch, read_batches, read_results


def batch(state="RUNNING", **metadata):
    return {"name": "batches/b1", "metadata": {"state": f"BATCH_STATE_{state}"} | metadata}


def told(*lines):
    output = {"inlinedResponses": {"inlinedResponses": list(lines)}}
    return json.dumps(batch("SUCCEEDED", output=output)).encode()


def test_a_creation_holds_each_request_under_its_key_and_our_name():
    body = json.loads(creation("pcl-1", packed([("a", b'{"contents": []}'), ("b", b"{}")])))
    assert body["batch"]["displayName"] == "pcl-1"
    assert body["batch"]["inputConfig"]["requests"]["requests"] == [
        {"request": {"contents": []}, "metadata": {"key": "a"}},
        {"request": {}, "metadata": {"key": "b"}},
    ]


@pytest.mark.parametrize(
    ("state", "event", "outcome"),
    [
        ("BATCH_STATE_PENDING", "running", ""),
        ("JOB_STATE_RUNNING", "running", ""),
        ("SOMETHING_NEW", "running", ""),
        (None, "running", ""),
        ("JOB_STATE_CANCELLING", "stopped", ""),
        ("BATCH_STATE_SUCCEEDED", "over", "completed"),
        ("JOB_STATE_PARTIALLY_SUCCEEDED", "over", "completed"),
        ("BATCH_STATE_FAILED", "over", "failed"),
        ("BATCH_STATE_EXPIRED", "over", "expired"),
        ("BATCH_STATE_CANCELLED", "over", "cancelled"),
    ],
)
def test_states_are_read_under_both_names(state, event, outcome):
    found = read_batch(json.dumps({"name": "batches/b1", "metadata": {"state": state}}).encode())
    assert (found.id, found.event, found.outcome) == ("b1", event, outcome)
    assert found.outputs == (("b1",) if event == "over" else ())


def test_a_batch_tells_our_name_its_counts_and_what_went_wrong():
    stats = {"requestCount": "9", "successfulRequestCount": "5", "failedRequestCount": 2}
    document = batch(displayName="pcl-1", batchStats=stats) | {"error": {"message": "no"}}
    found = read_batch(json.dumps(document).encode())
    assert (found.parcel, found.done, found.note) == ("pcl-1", 7, "no")
    odd = batch(displayName=3, batchStats={"successfulRequestCount": "many"}) | {"error": "no"}
    found = read_batch(json.dumps(odd).encode())
    assert (found.parcel, found.done, found.note) == ("", 0, "")
    assert read_batch(b'{"name": "batches/b1"}').done == 0
    assert read_batch(b"<html>") is None
    assert read_batch(b'{"name": 3}') is None


def test_a_page_tells_where_the_next_one_begins():
    page = {"operations": [batch(), 3], "nextPageToken": "p2"}
    found, token = read_batches(json.dumps(page).encode())
    assert ([remote.id for remote in found], token) == (["b1"], "p2")
    assert read_batches(b'{"operations": []}') == ([], "")
    assert read_batches(b"{}") == ([], "")
    assert read_batches(b"[]") == ([], "")


@pytest.mark.parametrize(
    ("line", "fate", "status"),
    [
        ({"response": {"candidates": []}}, "succeeded", 200),
        ({"error": {"code": 3}}, "refused", 400),
        ({"error": {"code": 8}}, "failed", 429),
        ({"error": {"code": 13}}, "failed", 500),
        ({"error": {"code": 7}}, "failed", 403),
        ({"error": {"code": 1}}, "cancelled", 0),
        ({"error": {"code": "odd"}}, "failed", 500),
        ({}, "failed", 500),
    ],
)
def test_a_line_s_fate(line, fate, status):
    (found,) = read_results(told({"metadata": {"key": "c"}} | line))
    assert (found.custom_id, found.fate, found.status) == ("c", fate, status)


def test_a_result_s_body_is_the_answer_as_it_came_and_what_is_none_is_passed_over():
    body = told({"metadata": {"key": "c"}, "response": {"a": "é"}}, {"response": {}}, {"metadata": {"key": 3}})
    (found,) = read_results(body)
    assert json.loads(found.body) == {"a": "é"}
    assert list(read_results(b"{}")) == []
    assert list(read_results(json.dumps(batch("FAILED")).encode())) == []
    assert list(read_results(json.dumps(batch("FAILED", output={})).encode())) == []
    with pytest.raises(ValueError, match="no results"):
        list(read_results(b'{"metadata": {"output'))
