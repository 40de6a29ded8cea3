"""Spans of requests and attempts, from a pipeline whose ports are fakes to the SDK's own exporter."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest
from fakes import FakeResponse
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from test_forward import PRICES, refuses, three_providers
from wired import EVENTS, SECRET, Wired, answer, ends, says

from router.adapters.fleet.otlp import Otlp, installed
from router.adapters.fleet.traces import MOST_OPEN, Traces
from router.core.errors import RouterError
from router.core.trace_context import read_traceparent
from router.desk import Desk
from router.tracing import Traced

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


class Seen:
    """A wired pipeline that is traced, and what the SDK exported of it."""

    def __init__(self, *script, **options):
        self.exporter = InMemorySpanExporter()
        self.traces = Traces(Otlp(SimpleSpanProcessor(self.exporter), "w1").ended, **options)
        self.wire = Wired(*script, world=three_providers(), providers=tuple(PRICES), attempts=3)
        desk = self.wire.forwarder._desk
        desk = msgspec.structs.replace(desk, listeners=(self.traces,))
        assert isinstance(desk, Desk)
        self.wire.forwarder._desk = desk
        self.wire.pipeline = Traced(
            keys=self.wire.keys,
            desk=desk,
            forwarder=self.wire.forwarder,
            snapshot=self.wire.pipeline.snapshot,
            tracer=self.traces,
        )

    async def serve(self, parent="", **fields):
        headers = {"authorization": f"Bearer {SECRET}"} | ({"traceparent": parent} if parent else {})
        reply = await self.wire.serve(headers=headers, **fields)
        reply.after()
        return reply

    @property
    def spans(self):
        return sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time)

    @property
    def attempts(self):
        return [span for span in self.spans if span.kind is SpanKind.CLIENT]

    @property
    def request(self):
        (span,) = [span for span in self.spans if span.kind is SpanKind.SERVER]
        return span


async def test_a_request_is_a_span_and_its_attempt_one_below_under_the_names_of_genai():
    seen = Seen(FakeResponse([answer()]))
    await seen.serve()
    (attempt,), request = seen.attempts, seen.request
    assert (request.name, attempt.name) == ("chat", "chat acme/large")
    assert attempt.parent.span_id == request.context.span_id
    assert request.parent is None
    told = dict(attempt.attributes)
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.provider.name"] == "acme"
    assert (told["gen_ai.request.model"], told["gen_ai.response.model"]) == ("auto", "acme/large")
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (9, 2)
    assert (told["costrouter.cost_usd"], told["costrouter.outcome"]) == ("0.000017000", "ok")
    assert attempt.status.status_code is StatusCode.UNSET
    assert request.start_time <= attempt.start_time <= attempt.end_time <= request.end_time
    assert request.resource.attributes["service.name"] == "costrouter"


async def test_each_attempt_is_a_span_and_a_failed_one_says_why():
    seen = Seen(refuses(529), FakeResponse([answer()]))
    await seen.serve()
    first, second = seen.attempts
    assert (first.attributes["error.type"], first.status.status_code) == ("upstream_unavailable", StatusCode.ERROR)
    assert (first.attributes["gen_ai.provider.name"], second.attributes["gen_ai.provider.name"]) == ("acme", "beta")
    assert seen.request.attributes["costrouter.attempts"] == 2


async def test_a_request_that_fails_is_a_span_with_its_code():
    seen = Seen(refuses(400))
    with pytest.raises(RouterError):
        await seen.serve()
    assert seen.request.attributes["error.type"] == "invalid_request"
    with pytest.raises(RouterError):
        await seen.serve(model="nobody/knows", request_id="r2")
    assert [span.attributes["error.type"] for span in seen.spans if span.kind is SpanKind.SERVER][1] == "unknown_model"


async def test_a_streams_request_ends_with_its_attempt():
    seen = Seen(FakeResponse([says("Hello"), ends()], headers=EVENTS))
    reply = await seen.serve(stream=True)
    assert seen.spans == []
    while await reply.stream.next_part():
        pass
    assert seen.request.end_time >= seen.attempts[0].start_time
    assert seen.request.attributes["gen_ai.response.model"] == "acme/large"


async def test_a_callers_trace_goes_on_and_their_provider_is_told_only_where_that_is_allowed():
    for context, passed in (("accept", False), ("pass", True)):
        seen = Seen(FakeResponse([answer()]), context=context)
        await seen.serve(PARENT)
        assert f"{seen.request.context.trace_id:032x}" == TRACE
        assert f"{seen.request.parent.span_id:016x}" == "00f067aa0ba902b7"
        headers = dict(seen.wire.upstream.sent[0].headers)
        assert (b"traceparent" in headers) is passed
        if passed:
            told = read_traceparent(headers[b"traceparent"].decode())
            assert (told.trace_id, told.span_id) == (int(TRACE, 16), seen.attempts[0].context.span_id)


async def test_a_callers_trace_is_left_alone_where_the_setting_says_so():
    seen = Seen(FakeResponse([answer()]), context="off")
    await seen.serve(PARENT)
    assert f"{seen.request.context.trace_id:032x}" != TRACE
    assert seen.request.parent is None


@pytest.mark.parametrize(
    ("share", "parent", "spans"), [(0.0, "", 0), (0.0, PARENT, 2), (1.0, PARENT[:-1] + "0", 0), (1.0, "", 2)]
)
async def test_who_traces_decides_what_is_sampled_else_the_share_does(share, parent, spans):
    seen = Seen(FakeResponse([answer()]), share=share)
    await seen.serve(parent)
    assert len(seen.spans) == spans


async def test_no_span_holds_a_prompt_an_answer_a_key_or_a_user():
    seen = Seen(FakeResponse([answer()]))
    await seen.serve(user="ann@example.org")
    text = "".join(span.to_json() for span in seen.spans)
    for secret in ("say two words", "Hello there", SECRET, "sk-ours", "ann@example.org", "k1"):
        assert secret not in text


async def test_nothing_is_kept_of_requests_that_are_over_nor_of_too_many_that_are_not():
    seen = Seen(FakeResponse([answer()]))
    await seen.serve()
    assert seen.traces._open == {}
    for number in range(MOST_OPEN + 5):
        seen.traces.began(f"x{number}", "", "chat")
    assert len(seen.traces._open) == MOST_OPEN
    seen.traces.failed("x0", "forgotten")
    assert len(seen.spans) == 2


def test_the_extra_is_imported_only_by_who_traces():
    code = (
        "import sys, router.app, router.adapters.fleet.otlp as o; assert o.installed(); "
        "print([m for m in sys.modules if m.startswith('opentelemetry.sdk')])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert installed()
    assert ran.stdout.strip() == "[]"
