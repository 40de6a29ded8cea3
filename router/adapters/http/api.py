"""The router's own endpoints: models, estimates, spend, health and metrics.

Belongs here: the shape of each answer (spend's: spend.py). Does not belong here: keys (keys.py), prompts
(pipeline.py), who may ask what (core/access/rights.py), and computing anything that an adapter or the core already can.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec
import structlog
from aiohttp import web

from router.adapters.archive.finance_extra import ArchiveError, FinanceMissingError
from router.adapters.fleet import metrics
from router.adapters.http.admin import HOME, OPERATOR
from router.adapters.http.admin import json_reply as _json
from router.adapters.http.admin import silent_store as _silent_store
from router.adapters.http.admin import tenant_of as _tenant
from router.adapters.http.server import Handler, read_body
from router.adapters.http.spend import EVERY_TENANT, SpendQuery, read_query
from router.adapters.reports.format import as_csv, as_table, json_text
from router.adapters.reports.report import report
from router.core.access.delegation import CLAIMS
from router.core.errors import RouterError
from router.core.values import SERVED, Needs
from router.dialects.json_object import TopLevel
from router.dialects.models_list import anthropic_models, openai_model, openai_models
from router.dialects.ways import INBOUND
from router.pipeline import Pipeline
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from router.adapters.fleet.statistics import Fleet
    from router.adapters.store.connection import StoreConnection
    from router.core.deciding.snapshot import Snapshot
    from router.core.values import Identity

_log: Final = structlog.get_logger("router.api")
_BESIDE: Final = {api: SERVED[INBOUND[api].endpoint] for api in ("moderations", "images", "speech", "rerank")}
"""APIs beside chat whose bodies are JSON, and what models of theirs can do."""
_EMBEDDINGS: Final = frozenset({"model", "input", "encoding_format", "dimensions", "user", "metadata"})
"""Fields of a request for embeddings."""
READY_S: Final = 1.0
"""How long /readyz waits for the store."""


class Health(msgspec.Struct):
    """What /readyz tells; the worker keeps it up to date."""

    reasons: list[str] = []
    """Why the node is degraded; it still serves."""
    down: str = ""
    """Why it cannot serve."""

    def go_down(self, why: str) -> None:
        """From now on it cannot."""
        self.down = why


class Api:
    """Handlers by (method, path), for the server's table."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        reader: StoreConnection,
        fleet: Fleet,
        gauges: Callable[[], dict[str, int]],
        health: Health,
        started: int,
        max_body: int,
        archive: str,
    ) -> None:
        self._archive = archive
        self._one_at_a_time = asyncio.Semaphore()
        """Reports that read rows take time; they wait for each other rather than for requests."""
        self._pipeline = pipeline
        self._reader = reader
        self._fleet = fleet
        self._gauges = gauges
        self._health = health
        self._started = started
        self._max_body = max_body

    def table(self) -> dict[tuple[str, str], Handler]:
        """What answers where."""
        return {
            ("GET", "/v1/models"): self._models,
            ("GET", "/v1/models/*"): self._model,
            ("POST", "/v1/messages/count_tokens"): self._count_tokens,
            ("POST", "/v1/responses/input_tokens"): self._input_tokens,
            ("POST", "/costrouter/v1/estimate"): self._estimate,
            ("GET", "/costrouter/v1/spend"): self._spend,
            ("GET", "/healthz"): self._healthz,
            ("GET", "/readyz"): self._readyz,
            ("GET", "/metrics"): self._metrics,
        }

    async def _models(self, request: web.BaseRequest, request_id: str) -> web.Response:
        snapshot = await self._snapshot(request)
        names = ["auto", *snapshot.world.policies, *dict.fromkeys(o.model for o in snapshot.offered)]
        if "anthropic-version" in request.headers:
            return _json(anthropic_models(names, self._started), request_id)
        return _json(openai_models(names, self._started), request_id)

    async def _model(self, request: web.BaseRequest, request_id: str) -> web.Response:
        snapshot = await self._snapshot(request)
        name = request.path.removeprefix("/v1/models/")
        named = snapshot.world.names.find(name)
        if named is None and name != "auto" and name not in snapshot.world.policies:
            raise snapshot.unknown(name)
        if "anthropic-version" in request.headers:
            return _json(anthropic_models([name], self._started)["data"][0], request_id)
        return _json(openai_model(name, self._started), request_id)

    async def _snapshot(self, request: web.BaseRequest) -> Snapshot:
        """The world as the caller sees it."""
        _, own = await self._pipeline.caller(request.headers)
        snapshot = self._pipeline.snapshot
        return snapshot if own is None else snapshot.brought(own.name)

    async def _estimate(self, request: web.BaseRequest, request_id: str) -> web.Response:
        identity = await self._pipeline.authenticate(request.headers)
        body = await read_body(request, self._max_body)
        api = "messages" if "anthropic-version" in request.headers else self._api_of(body)
        if identity.role != "app":
            # Nothing is sent: whoever looks after policies may ask how they treat any team or app.
            identity = msgspec.structs.replace(identity, delegates=CLAIMS)
        seen = await self._pipeline.consider(api, identity, request.headers, body, request_id=request_id, exact=True)
        found = {**seen.explanation(time.time_ns() // 1_000_000), "object": "costrouter.estimate"}
        if seen.orders.deadline and self._pipeline.deferral is not None:
            found["deferred"] = self._pipeline.deferral.estimate(seen)
        return _json(found, request_id)

    def _api_of(self, body: bytes) -> str:
        """Which of OpenAI's APIs a body is for: that for embeddings and Responses share their first fields."""
        try:
            given = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return "chat"
        name = bytes(given.get("model", b"")).strip(b'"').decode(errors="replace")
        named = self._pipeline.snapshot.world.names.find(name)
        for api, served in _BESIDE.items():
            if named is not None and any(model.capabilities & served for model in named.entries):
                return api
        if "messages" in given or not given.keys() & {"input", "previous_response_id"}:
            return "chat"
        if given.keys() - _EMBEDDINGS or bytes(given["input"]).lstrip(b"[ \t\r\n").startswith(b"{"):
            return "responses"
        embeds = named is None or any(model.capabilities & Needs.EMBEDDINGS for model in named.entries)
        return "embeddings" if embeds else "responses"

    async def _input_tokens(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """What OpenAI's endpoint of that name tells of a Responses request, counted here for the model that would be chosen."""
        identity, own = await self._pipeline.caller(request.headers)
        body = await read_body(request, self._max_body)
        seen = await self._pipeline.consider(
            "responses", identity, request.headers, body, request_id=request_id, own=own
        )
        if "previous_response_id" in seen.request.top.members and seen.request.follows:
            message = "previous_response_id: how long it is what a provider keeps cannot be counted here."
            raise RouterError("invalid_request", message, param="previous_response_id")
        size = await self._pipeline.prompt_size(seen)
        return _json({"object": "response.input_tokens", "input_tokens": size}, request_id)

    async def _count_tokens(self, request: web.BaseRequest, request_id: str) -> web.Response:
        """What Anthropic's endpoint of that name tells, counted here for the model that would be chosen."""
        identity, own = await self._pipeline.caller(request.headers)
        top = TopLevel(await read_body(request, self._max_body))
        # A body that is only counted has no limit.
        body = top.edited({"max_tokens": top.get("max_tokens") or b"1"})
        seen = await self._pipeline.consider(
            "messages", identity, request.headers, body, request_id=request_id, own=own
        )
        return _json({"input_tokens": await self._pipeline.prompt_size(seen)}, request_id)

    async def _spend(self, request: web.BaseRequest, request_id: str) -> web.Response:
        identity = await self._pipeline.authenticate(request.headers)
        query = read_query(request.rel_url.query_string, int(time.time()) // 3600)
        question = query.question
        tenant = None if _every_tenant(identity, query) else _tenant(identity, query.tenant)
        if identity.role == "app":
            # An application's key sees its own spend only.
            if any(name == "key" and value != identity.key for name, value in question.filters):
                raise RouterError("not_allowed", "Another key's spend needs an administrator's key.")
            question = msgspec.structs.replace(question, filters=(*question.filters, ("key", identity.key)))
        kept, private = int(identity.role == "app"), not _is_operator(identity)
        try:
            async with self._one_at_a_time if question.needs_rows else contextlib.nullcontext():
                tenants = None if tenant is None else [tenant]
                found = await report(
                    self._reader, self._archive, question, tenants, kept=kept, private=private, threads=1
                )
        except StoreUnavailable:
            raise _silent_store() from None
        except (FinanceMissingError, ArchiveError) as error:
            _log.warning("archive_unavailable", reason=str(error))
            shown = f"{error}" if identity.role != "app" else "The archive cannot be read; the node's log says why."
            raise RouterError("archive_unavailable", shown) from None
        if query.format == "csv":
            return _text(as_csv(found), "text/csv", request_id)
        if query.format == "table":
            return _text(as_table(found, _whose(tenant)), "text/plain", request_id)
        body = json_text(found, tenant=EVERY_TENANT if tenant is None else tenant)
        return web.Response(body=body, headers={"content-type": "application/json", "x-request-id": request_id})

    async def _healthz(self, request: web.BaseRequest, request_id: str) -> web.Response:  # noqa: ARG002 - one shape for all
        return _json({"status": "ok"}, request_id)

    async def _readyz(self, request: web.BaseRequest, request_id: str) -> web.Response:  # noqa: ARG002 - one shape for all
        health = self._health
        down = health.down or await self._store_fault()
        if down:
            return _json({"status": "down", "reasons": [down]}, request_id, 503)
        return _json({"status": "degraded" if health.reasons else "ok", "reasons": health.reasons}, request_id)

    async def _store_fault(self) -> str:
        try:
            async with asyncio.timeout(READY_S):
                await self._reader.call("PING")
        except (StoreUnavailable, TimeoutError):
            return "the store does not answer, so nothing can be admitted"
        return ""

    async def _metrics(self, request: web.BaseRequest, request_id: str) -> web.Response:  # noqa: ARG002 - one shape for all
        try:
            totals = await self._fleet.totals()
        except StoreUnavailable:
            raise _silent_store() from None
        text = await asyncio.to_thread(metrics.render, totals, self._gauges())
        return web.Response(body=text, headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})


def _is_operator(identity: Identity) -> bool:
    return (identity.tenant, identity.key) == (HOME, OPERATOR)


def _every_tenant(identity: Identity, query: SpendQuery) -> bool:
    """Whether all tenants are asked about, which is for the node's operator."""
    operator = _is_operator(identity)
    if query.tenant == EVERY_TENANT and not operator:
        raise RouterError("not_allowed", "Every tenant's spend needs the node's own admin key.")
    return operator and (query.tenant == EVERY_TENANT or (query.tenant is None and "tenant" in query.question.names))


def _whose(tenant: str | None) -> str:
    return "every tenant" if tenant is None else f"tenant {tenant}"


def _text(body: str, kind: str, request_id: str) -> web.Response:
    headers = {"content-type": f"{kind}; charset=utf-8", "x-request-id": request_id}
    return web.Response(body=body.encode("utf-8", "replace"), headers=headers)
