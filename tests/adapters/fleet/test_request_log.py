"""The log: a line an attempt or refusal, and nothing in it that a caller wrote."""

import json
import os

import pytest
from store import make_row

from router.adapters.fleet.request_log import RequestLog
from router.core.values import Identity


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    os.close(writing)


def test_an_attempt_is_a_line_of_figures_without_words_of_the_caller(pipe):
    reading, writing = pipe
    log = RequestLog(writing, "w1")
    row = make_row("r1/1", user="jane@example.com", tags=("ticket=jane",), unit="jane", cost_nano=12)
    log.on_row(row, "upstream_error")
    log.flush()
    text = os.read(reading, 65_536).decode()
    line = json.loads(text)
    assert line | {"event": "attempt", "worker": "w1", "error": "upstream_error", "attempt": "r1/1"} == line
    assert (line["cost_nano"], line["at_ms"]) == (12, row.at_ms)
    assert "jane" not in text


def test_a_refusal_is_a_line_with_its_code(pipe):
    reading, writing = pipe
    log = RequestLog(writing, "w1")
    log.on_refusal("chat", "budget_exceeded", Identity(tenant="acme", key="k1", name="n"))
    log.on_refusal("chat", "invalid_api_key", None)
    log.flush()
    lines = [json.loads(line) for line in os.read(reading, 65_536).splitlines()]
    assert [(line["event"], line["error"], line["key"]) for line in lines] == [
        ("refused", "budget_exceeded", "k1"),
        ("refused", "invalid_api_key", ""),
    ]


def test_a_reader_that_does_not_read_costs_lines_and_no_time(pipe):
    reading, writing = pipe
    log = RequestLog(writing, "w1")
    for _ in range(400):
        log.on_row(make_row("r1/1"), None)
    log.flush()
    log.flush()
    assert json.loads(os.read(reading, 65_536).partition(b"\n")[0])["attempt"] == "r1/1"


def test_a_reader_that_has_gone_costs_lines_only():
    reading, writing = os.pipe()
    log = RequestLog(writing, "w1")
    os.close(reading)
    log.on_row(make_row("r1/1"), None)
    log.flush()
    with pytest.raises(BrokenPipeError):
        os.write(writing, b"what the log has met, and told nobody of")
    os.close(writing)
