"""Batches over files: what goes out, and what is read of the answers, the odd ones too."""

import json

import pytest

from router.dialects.batch_files import (
    FLAVOURS,
    PARCEL,
    creation,
    input_line,
    read_batch,
    read_batches,
    read_id,
    read_result,
    refused_event,
    upload_form,
)

OPENAI, MISTRAL, GROQ = FLAVOURS["openai"], FLAVOURS["mistral"], FLAVOURS["groq"]


def test_a_line_stays_one_line():
    line = input_line(OPENAI, "j-1-1", "chat", b'{\n "model": "x"\r\n}')
    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "custom_id": "j-1-1",
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "x"},
    }
    assert "url" not in json.loads(input_line(MISTRAL, "a", "embeddings", b"{}"))


def test_an_upload_is_a_form_with_purpose_and_file():
    kind, body = upload_form(FLAVOURS["together"], "p1.jsonl", b"line\n")
    assert kind.startswith(b"multipart/form-data; boundary=")
    assert b'name="purpose"\r\n\r\nbatch-api\r\n' in body
    assert b'filename="p1.jsonl"' in body
    assert b"\r\n\r\nline\n\r\n--" in body


def test_a_creation_carries_our_id_and_the_window_that_fits():
    given = {"file": "f1", "endpoint": "chat", "parcel": "p1", "model": "m"}
    assert json.loads(creation(OPENAI, hours=3, **given)) == {
        "endpoint": "/v1/chat/completions",
        "metadata": {PARCEL: "p1"},
        "input_file_id": "f1",
        "completion_window": "24h",
    }
    assert json.loads(creation(GROQ, hours=50, **given))["completion_window"] == "72h"
    assert json.loads(creation(GROQ, hours=900, **given))["completion_window"] == "7d"
    mistral = json.loads(creation(MISTRAL, hours=24, **given))
    assert (mistral["input_files"], mistral["model"], mistral["timeout_hours"]) == (["f1"], "m", 24)


@pytest.mark.parametrize(
    ("flavour", "status", "event", "outcome"),
    [
        ("openai", "validating", "running", ""),
        ("openai", "completed", "over", "completed"),
        ("openai", "cancelling", "stopped", ""),
        ("openai", "expired", "over", "expired"),
        ("openai", "something_new", "running", ""),
        ("together", "COMPLETED", "over", "completed"),
        ("mistral", "SUCCESS", "over", "completed"),
        ("mistral", "TIMEOUT_EXCEEDED", "over", "expired"),
        ("mistral", "CANCELLATION_REQUESTED", "stopped", ""),
    ],
)
def test_states_are_read_in_each_provider_s_words(flavour, status, event, outcome):
    found = read_batch(FLAVOURS[flavour], json.dumps({"id": "b1", "status": status}).encode())
    assert (found.event, found.outcome) == (event, outcome)


def test_a_batch_tells_its_files_counts_and_our_id():
    document = {
        "id": "b1",
        "status": "completed",
        "output_file_id": "o",
        "error_file_id": None,
        "input_file_id": "f1",
        "request_counts": {"completed": 3},
        "metadata": {PARCEL: "p1"},
    }
    found = read_batch(FLAVOURS["together"], json.dumps({"job": document}).encode())
    assert (found.outputs, found.done, found.parcel, found.file) == (("o",), 3, "p1", "f1")
    mistral = {"id": "b", "status": "RUNNING", "input_files": ["f2"], "completed_requests": 2, "output_file": None}
    found = read_batch(MISTRAL, json.dumps(mistral).encode())
    assert (found.file, found.done, found.outputs, found.parcel) == ("f2", 2, (), "")


def test_a_quota_of_waiting_tokens_is_told_from_a_bad_file():
    def failed(**error):
        return json.dumps({"id": "b", "status": "failed", "errors": {"data": [error]}}).encode()

    assert read_batch(OPENAI, failed(code="token_limit_exceeded")).event == "full"
    assert read_batch(OPENAI, failed(code="x", message="Enqueued token limit reached")).event == "full"
    bad = read_batch(OPENAI, failed(code="invalid_json_line", message="Line 3"))
    assert (bad.event, bad.note) == ("over", "Line 3")
    mistral = json.dumps({"id": "b", "status": "FAILED", "errors": [{"message": "no"}]}).encode()
    assert read_batch(MISTRAL, mistral).note == "no"


def test_lists_come_in_an_object_or_bare():
    entry = {"id": "b", "status": "completed"}
    assert [found.id for found in read_batches(OPENAI, json.dumps({"data": [entry, {}, 3]}).encode())] == ["b"]
    assert [found.id for found in read_batches(OPENAI, json.dumps([entry]).encode())] == ["b"]
    assert read_batches(OPENAI, b'{"data": 3}') == []
    assert read_batches(OPENAI, b"<html>") == []


def test_what_is_no_batch_is_none():
    assert read_batch(OPENAI, b"<html>") is None
    assert read_batch(OPENAI, b"{}") is None
    assert read_id(b'{"id": "f1"}') == "f1"
    assert read_id(b'{"id": 3}') == ""
    assert read_id(b"[]") == ""


@pytest.mark.parametrize(
    ("line", "fate", "status"),
    [
        ({"response": {"status_code": 200, "body": {"a": 1}}}, "succeeded", 200),
        ({"response": {"status_code": 500, "body": {}}}, "failed", 500),
        ({"response": {"status_code": 400, "body": {}}}, "refused", 400),
        ({"response": None, "error": {"code": "batch_expired"}}, "expired", 0),
        ({"response": None, "error": {"code": "request_timeout"}}, "expired", 0),
        ({"response": None, "error": {"code": "batch_cancelled"}}, "cancelled", 0),
        ({"response": {}, "error": {"code": "server_error"}}, "failed", 0),
        ({"response": None, "error": None}, "failed", 0),
    ],
)
def test_a_line_s_fate(line, fate, status):
    found = read_result(json.dumps({"custom_id": "c", **line}).encode())
    assert (found.custom_id, found.fate, found.status) == ("c", fate, status)


def test_a_result_s_body_is_the_answer_s_own():
    line = {"custom_id": "c", "response": {"status_code": 200, "body": {"x": "é"}}}
    assert json.loads(read_result(json.dumps(line).encode()).body) == {"x": "é"}
    line["response"]["body"] = '{"x": 1}'
    assert read_result(json.dumps(line).encode()).body == b'{"x": 1}'
    assert read_result(b'{"id": "torn') is None
    assert read_result(b'{"response": {}}') is None


@pytest.mark.parametrize(
    ("status", "body", "event"),
    [
        (404, b"", "lost"),
        (500, b"<html>", "unknown"),
        (429, b'{"error": {"code": "rate_limit_exceeded"}}', "unknown"),
        (429, b'{"error": {"code": "token_limit_exceeded"}}', "full"),
        (429, b"[]", "unknown"),
        (400, b"{}", "refused"),
    ],
)
def test_what_another_status_means(status, body, event):
    assert refused_event(status, body) == event
