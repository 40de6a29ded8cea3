"""A pipeline that tells of each request when it begins and when it has been answered.

Belongs here: telling. Part of the pipeline's layer. Does not belong here: spans (adapters/fleet/traces.py). Where nobody
traces, the pipeline itself serves, and none of this costs anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from router.core.errors import RouterError
from router.dialects.ways import INBOUND
from router.pipeline import Pipeline

if TYPE_CHECKING:
    from router.core.deciding.snapshot import Snapshot
    from router.desk import Desk
    from router.exchange import Reply
    from router.forward import Call, Forwarder
    from router.ports import Keys, UpstreamRequest


class Tracer(Protocol):
    """Hears of requests. Must not block and must not raise."""

    def began(self, request_id: str, traceparent: str, endpoint: str) -> None:
        """A request is here; the header is empty where it has none."""

    def sending(self, request_id: str, number: int, request: UpstreamRequest) -> UpstreamRequest:
        """An attempt is about to be sent, as given or as it returns."""

    def failed(self, request_id: str, code: str) -> None:
        """It got an error of this code, or "" where it was broken off."""

    def answered(self, request_id: str, attempt: str) -> None:
        """It gets its answer from this attempt, or from none (""); with the attempt's row it is over."""


class Traced(Pipeline):
    """As the pipeline, telling ``tracer``."""

    def __init__(self, *, keys: Keys, desk: Desk, forwarder: Forwarder, snapshot: Snapshot, tracer: Tracer) -> None:
        super().__init__(keys=keys, desk=desk, forwarder=forwarder, snapshot=snapshot)
        forwarder.trace = tracer.sending
        self._tracer = tracer

    async def serve(self, call: Call) -> Reply:
        """Answer one call; raises what the pipeline does."""
        tracer = self._tracer
        tracer.began(call.request_id, call.headers.get("traceparent", ""), INBOUND[call.api].endpoint)
        try:
            reply = await super().serve(call)
        except RouterError as error:
            tracer.failed(call.request_id, error.code)
            raise
        except BaseException:
            tracer.failed(call.request_id, "")
            raise
        attempt = "" if reply.attempt is None else reply.attempt.name
        tracer.answered(call.request_id, attempt)
        return reply
