"""Spans on their way to an OpenTelemetry collector, by the SDK of the ``[otel]`` extra.

Belongs here: everything that imports the SDK, and imports it only once somebody traces. Does not belong here: what spans say
(traces.py). Spans are sent by a thread of their own; those that come faster than they can be sent are left out.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from router.adapters.fleet.traces import Span

_EXPORTER: Final = "opentelemetry.exporter.otlp.proto.http"


def installed() -> bool:
    """Whether the extra is there."""
    try:
        return importlib.util.find_spec(_EXPORTER) is not None
    except ModuleNotFoundError:
        return False


class Otlp:
    """Sends spans.

    Args:
        processor: of the SDK; that of `to` in production, one into memory in tests.
        worker: names this worker among the service's instances.
    """

    def __init__(self, processor: Any, worker: str) -> None:
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - see above
        from opentelemetry.sdk.trace import ReadableSpan  # noqa: PLC0415 - as above
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope  # noqa: PLC0415 - as above
        from opentelemetry.trace import SpanContext, SpanKind, TraceFlags  # noqa: PLC0415 - as above
        from opentelemetry.trace.status import Status, StatusCode  # noqa: PLC0415 - as above

        resource = Resource.create({"service.name": "costrouter", "service.instance.id": worker})
        scope = InstrumentationScope("costrouter")
        flags, fine = TraceFlags(TraceFlags.SAMPLED), Status(StatusCode.UNSET)

        def readable(span: Span) -> Any:
            trace_id = span.context.trace_id
            parent = None
            if span.parent_id:
                parent = SpanContext(trace_id, span.parent_id, is_remote=span.server, trace_flags=flags)
            attributes = span.attributes | ({"error.type": span.error} if span.error else {})
            return ReadableSpan(
                name=span.name,
                context=SpanContext(trace_id, span.context.span_id, is_remote=False, trace_flags=flags),
                parent=parent,
                resource=resource,
                attributes=attributes,
                kind=SpanKind.SERVER if span.server else SpanKind.CLIENT,
                status=Status(StatusCode.ERROR, span.error) if span.error else fine,
                start_time=span.start_ns,
                end_time=span.end_ns,
                instrumentation_scope=scope,
            )

        self._processor = processor
        self._readable: Callable[[Span], Any] = readable

    def ended(self, span: Span) -> None:
        """Take a span to be sent."""
        self._processor.on_end(self._readable(span))

    def close(self) -> None:
        """Send what is left, and no more."""
        self._processor.shutdown()


def to(url: str, worker: str) -> Otlp:
    """What sends to an OTLP/HTTP receiver, such as ``http://collector:4318/v1/traces``; headers and the like come from the
    SDK's own ``OTEL_*`` variables.
    """
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - as above
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415 - as above

    return Otlp(BatchSpanProcessor(OTLPSpanExporter(endpoint=url)), worker)
