"""A node that traces, and a receiver that speaks OTLP over HTTP."""

from __future__ import annotations

from commands import clean_environment
from node import COMMAND, Node, bearer, run
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from recorder import Recorder, says

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_what_a_node_has_served_arrives_at_the_collector(tmp_path):
    with Recorder() as collector:
        collector.answer = says(200, b"", **{"content-type": "application/x-protobuf"})
        with Node(tmp_path, traces=f"{collector.url}/v1/traces", traces_share=0) as node:
            body = {"model": "auto", "messages": [{"role": "user", "content": "a secret"}]}
            headers = bearer(node.key) | {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
            assert node.http.post(f"{node.base_url}/chat/completions", json=body, headers=headers).status_code == 200
            assert node.http.post(f"{node.base_url}/chat/completions", json=body, headers=bearer(node.key)).is_success
    sent = [ExportTraceServiceRequest.FromString(one.body) for one in collector.received]
    assert {one.path for one in collector.received} == {"/v1/traces"}
    spans = [span for one in sent for part in one.resource_spans for scope in part.scope_spans for span in scope.spans]
    assert {span.trace_id.hex() for span in spans} == {TRACE}
    assert sorted(span.name.partition(" ")[0] for span in spans) == ["chat", "chat"]
    assert not any(b"a secret" in one.body for one in collector.received)


def test_a_node_that_is_to_trace_to_nowhere_does_not_start(tmp_path):
    settings = {"COSTROUTER_TRACES": "collector:4318", "COSTROUTER_DATA_DIR": str(tmp_path)}
    told = run(COMMAND, "serve", environment=clean_environment(**settings))
    assert told.returncode != 0
    assert "COSTROUTER_TRACES" in told.stderr
