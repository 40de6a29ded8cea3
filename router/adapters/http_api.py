"""The router's own endpoints: models, estimates, spend, keys, health and metrics.

Belongs here: reading a query or an admin body, and the shape of each answer. Does not belong here: prompts
(pipeline.py), and computing anything that an adapter or the core already can.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import parse_qs

import msgspec
from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from router.adapters import metrics
from router.adapters.http_server import Handler, read_body
from router.adapters.spend import spend
from router.core.errors import RouterError
from router.core.explain import verdicts
from router.core.money import nano_ceil, usd
from router.dialects.models_list import anthropic_models, openai_model, openai_models
from router.pipeline import Considered, Pipeline
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from router.adapters.fleet import Fleet
    from router.adapters.redis_keys import RedisKeys
    from router.adapters.resp import RespConnection
    from router.core.values import Identity

DAY_HOURS: Final = 24
MOST_HOURS: Final = 24 * 93
READY_S: Final = 1.0
"""How long /readyz waits for the store."""
ADMIN_BODY: Final = 64 * 1024
_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9 _.@-]{0,63}$"
_LABEL: Final = r"^[a-z0-9][a-z0-9_.-]{0,63}$"
_TIME: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d)(?::00(?::00)?)?Z?)?")


class NewKey(BaseModel):
    """The body of ``POST /costrouter/v1/keys``."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=_NAME)
    team: str = Field(default="", pattern=f"{_LABEL}|^$")
    app: str = Field(default="", pattern=f"{_LABEL}|^$")
    tenant: str | None = Field(default=None, pattern=_LABEL)
    role: Literal["app", "admin"] = "app"


class Health(msgspec.Struct):
    """What /readyz tells; the worker keeps it up to date."""

    reasons: list[str] = []
    """Why the node is degraded; it still serves."""
    down: str = ""
    """Why it cannot serve."""


class Api:
    """Handlers by (method, path), for the server's table."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        keys: RedisKeys,
        reader: RespConnection,
        fleet: Fleet,
        gauges: Callable[[], dict[str, int]],
        health: Health,
        started: int,
    ) -> None:
        self._pipeline = pipeline
        self._keys = keys
        self._reader = reader
        self._fleet = fleet
        self._gauges = gauges
        self._health = health
        self._started = started

    def table(self) -> dict[tuple[str, str], Handler]:
        """What answers where."""
        return {
            ("GET", "/v1/models"): self._models,
            ("GET", "/v1/models/*"): self._model,
            ("POST", "/costrouter/v1/estimate"): self._estimate,
            ("GET", "/costrouter/v1/spend"): self._spend,
            ("POST", "/costrouter/v1/keys"): self._create_key,
            ("GET", "/healthz"): self._healthz,
            ("GET", "/readyz"): self._readyz,
            ("GET", "/metrics"): self._metrics,
        }

    async def _models(self, request: web.BaseRequest, request_id: str) -> web.Response:
        await self._pipeline.authenticate(request.headers)
        world = self._pipeline.snapshot.world
        names = ["auto", *world.policies, *dict.fromkeys(o.model for o in self._pipeline.snapshot.offered)]
        if "anthropic-version" in request.headers:
            return _json(anthropic_models(names, self._started), request_id)
        return _json(openai_models(names, self._started), request_id)

    async def _model(self, request: web.BaseRequest, request_id: str) -> web.Response:
        await self._pipeline.authenticate(request.headers)
        name = request.path.removeprefix("/v1/models/")
        snapshot = self._pipeline.snapshot
        named = snapshot.world.names.find(name)
        if named is None and name != "auto" and name not in snapshot.world.policies:
            raise snapshot.unknown(name)
        if "anthropic-version" in request.headers:
            return _json(anthropic_models([name], self._started)["data"][0], request_id)
        return _json(openai_model(name, self._started), request_id)

    async def _estimate(self, request: web.BaseRequest, request_id: str) -> web.Response:
        await self._pipeline.authenticate(request.headers)
        body = await read_body(request, 64 * 1024 * 1024)
        endpoint: Literal["chat", "embeddings"] = "embeddings" if _is_embeddings(body) else "chat"
        seen = await self._pipeline.consider(endpoint, request.headers, body)
        return _json(estimate_body(seen), request_id)

    async def _spend(self, request: web.BaseRequest, request_id: str) -> web.Response:
        identity = await self._pipeline.authenticate(request.headers)
        query = {name: values[-1] for name, values in parse_qs(request.rel_url.query_string).items()}
        unknown = query.keys() - {"group_by", "since", "until", "tenant"}
        if unknown:
            raise RouterError("invalid_request", f"spend takes group_by, since and until, not {min(unknown)}.")
        now = int(time.time()) // 3600
        until = _hour(query["until"], "until") if "until" in query else now + 1
        since = _hour(query["since"], "since") if "since" in query else until - DAY_HOURS * 31
        if not 0 < until - since <= MOST_HOURS:
            raise RouterError("invalid_request", f"since must lie before until, by at most {MOST_HOURS // 24} days.")
        groups = [name.strip() for name in query.get("group_by", "key,model").split(",") if name.strip()]
        tenant = _tenant(identity, query.get("tenant"))
        own = identity.role != "admin"
        dimensions: list[Any] = [*groups, "key"] if own and "key" not in groups else groups
        try:
            rows = await spend(self._reader, tenant, since, until, dimensions)
        except ValueError as error:
            raise RouterError("invalid_request", f"{error}.", param="group_by") from None
        except StoreUnavailable:
            raise RouterError("store_unavailable", "The ledger does not answer; try again.", retry_after_s=1) from None
        if own:
            # An application's key sees its own spend only.
            place = dimensions.index("key")
            rows = [row for row in rows if row.group[place] == identity.key]
        entries = [
            {
                **dict(zip(groups, row.group, strict=False)),
                "requests": row.requests,
                "cost_usd": usd(row.cost_nano),
                "cost_nano": row.cost_nano,
                "baseline_cost_usd": usd(row.baseline_nano),
                "prompt_tokens": row.prompt_tokens,
                "cached_tokens": row.cached_tokens,
                "completion_tokens": row.completion_tokens,
                "reasoning_tokens": row.reasoning_tokens,
            }
            for row in rows
        ]
        total = sum(row.cost_nano for row in rows)
        return _json(
            {
                "object": "list",
                "tenant": tenant,
                "since": _stamp(since),
                "until": _stamp(until),
                "group_by": groups,
                "data": entries,
                "total": {
                    "requests": sum(row.requests for row in rows),
                    "cost_usd": usd(total),
                    "cost_nano": total,
                    "baseline_cost_usd": usd(sum(row.baseline_nano for row in rows)),
                },
            },
            request_id,
        )

    async def _create_key(self, request: web.BaseRequest, request_id: str) -> web.Response:
        identity = await self._pipeline.authenticate(request.headers)
        if identity.role != "admin":
            raise RouterError("not_allowed", "Creating keys needs the admin key.")
        try:
            wanted = NewKey.model_validate_json(await read_body(request, ADMIN_BODY))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"]))
            raise RouterError(
                "invalid_request", f"{field or 'The body'}: {first['msg']}.", param=field or None
            ) from None
        try:
            secret, made = await self._keys.create(
                wanted.name, wanted.tenant or identity.tenant, wanted.team, wanted.app, wanted.role
            )
        except StoreUnavailable:
            raise RouterError("store_unavailable", "The store does not answer; try again.", retry_after_s=1) from None
        shown = {"id": made.key, "name": made.name, "tenant": made.tenant, "team": made.team, "app": made.app}
        return _json({"object": "costrouter.key", "key": secret, **shown, "role": made.role}, request_id, 201)

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
            totals = await self._fleet.totals(int(time.time() * 1000))
        except StoreUnavailable:
            raise RouterError("store_unavailable", "The fleet's totals cannot be read; try again.") from None
        text = await asyncio.to_thread(metrics.render, totals, self._gauges())
        return web.Response(body=text, headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})


def estimate_body(seen: Considered) -> dict[str, Any]:
    """What would be done with a request, and every candidate's figures and reasons."""
    facts, decision, plan = seen.facts, seen.decision, seen.route.plan
    judged = verdicts(plan, facts)
    return {
        "object": "costrouter.estimate",
        "policy": plan.policy,
        "rule": plan.rule,
        "snapshot": seen.snapshot.id,
        "prompt_tokens": decision.prompt_tokens if decision else facts.tokens.expected,
        "prompt_tokens_exact": facts.tokens.exact,
        "output_tokens": decision.output_tokens if decision else None,
        "chosen": None
        if decision is None
        else {
            "model": decision.option.model,
            "provider": decision.option.provider,
            "tier": decision.option.tier,
            "relaxed": decision.relaxed or None,
            "estimated_cost_usd": usd(nano_ceil(decision.expected_pico)),
            "hold_usd": usd(nano_ceil(decision.hold_pico)),
            "price": decision.option.price.version,
        },
        "baseline": None
        if decision is None or decision.baseline is None
        else {"model": decision.baseline.model, "estimated_cost_usd": usd(nano_ceil(decision.baseline_pico))},
        "candidates": [
            {
                "model": verdict.option.model,
                "provider": verdict.option.provider,
                "estimated_cost_usd": usd(nano_ceil(verdict.expected_pico)),
                "ttft_p95_ms": verdict.option.ttft.at(95) // 1000,
                "latency": f"live, n={verdict.option.ttft.n}" if verdict.option.live else "prior",
                "feasible": not verdict.reasons,
                "reasons": list(verdict.reasons),
                "chosen": decision is not None and verdict.option is decision.option,
            }
            for verdict in judged
        ],
    }


def _json(document: Any, request_id: str, status: int = 200) -> web.Response:
    headers = {"content-type": "application/json", "x-request-id": request_id}
    return web.Response(body=msgspec.json.encode(document), status=status, headers=headers)


def _is_embeddings(body: bytes) -> bool:
    try:
        keys = msgspec.json.decode(body, type=dict[str, msgspec.Raw]).keys()
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return "input" in keys and "messages" not in keys


def _tenant(identity: Identity, asked: str | None) -> str:
    if asked is None or asked == identity.tenant:
        return identity.tenant
    if identity.role != "admin":
        raise RouterError("not_allowed", "Another tenant's spend needs the admin key.")
    return asked


def _hour(text: str, name: str) -> int:
    match = _TIME.fullmatch(text)
    if match is not None:
        year, month, day, hour = (int(part or 0) for part in match.groups())
        with contextlib.suppress(ValueError):
            return int(dt.datetime(year, month, day, hour, tzinfo=dt.UTC).timestamp()) // 3600
    form = "a UTC day or hour, such as 2026-11-23 or 2026-11-23T07Z"
    raise RouterError("invalid_request", f"{name} must be {form}.", param=name)


def _stamp(hour: int) -> str:
    return time.strftime("%Y-%m-%dT%H:00Z", time.gmtime(hour * 3600))
