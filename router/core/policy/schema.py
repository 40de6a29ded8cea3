"""The schema of a policy file (policies/*.yaml): what a platform engineer may write, key by key.

Does not belong here: how one value is read (`words.py`), the compiled form (`policy`), checks across keys and
against the catalog (`compile.py`), reading files (`router.adapters.policies.files`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from router.core.catalog.catalog import Task, did_you_mean
from router.core.policy import words
from router.core.policy.conditions import DAY_MINUTES, EVERY_DAY, Span
from router.core.policy.forwarding_schema import HedgeSchema, QueueSchema, RetrySchema, Time, TimeoutsSchema
from router.core.policy.policy import Effort, Floor, Step, Tier
from router.core.schema import Strict, Usd, one_or_more, plain_schema, written
from router.core.units import LatencyLimit, latency_limit
from router.core.values import CAPABILITIES, Endpoint

NAME: Final = r"^[a-z0-9][a-z0-9-]*$"


_SHARE: Final = r"\d+(\.\d+)?%?"
_DURATION: Final = r"\d+(\.\d+)?\s*(ms|s|m|h|d)"


def _text_like(pattern: str, *examples: str, number: bool = False) -> WithJsonSchema:
    """What an editor is told of a value that is written as text (or a bare ``number`` too)."""
    kind: Any = ["string", "number"] if number else "string"
    return WithJsonSchema({"type": kind, "pattern": f"^{pattern}$", "examples": list(examples)})


_LIMIT_TEXT: Final = _text_like(r"\s*p\d+\s*<=?\s*" + _DURATION + r"\s*", "p95 <= 800ms")
_FLOOR_TEXT: Final = _text_like(
    r"\s*(>=\s*)?" + _SHARE + r"(\s+of\s+reference)?\s*", "0.60", ">= 95% of reference", number=True
)
_SHARE_TEXT: Final = _text_like(r"\s*" + _SHARE + r"\s*", "90%", number=True)
_MODE_TEXT: Final = _text_like(r"(observe|live|canary\s+" + _SHARE + ")", "observe", "canary 10%", "live")
_USE_TEXT: Final = _text_like(r"(refuse|use\s+\S+)", "refuse", "use deepseek/deepseek-flash")


def _listed(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
        raise ValueError("must be text, or a list of texts")
    return value


def _compared(read: Callable[[list[str]], Any]) -> BeforeValidator:
    return BeforeValidator(lambda value: read(_listed(value)))


def _deadline(texts: list[str]) -> bool | Span:
    if texts in (["none"], ["any"]):
        return texts == ["any"]
    return words.deadlines(texts)


def known_capability(name: str) -> str:
    """A capability's name. Raises ValueError with the near miss."""
    if name not in CAPABILITIES:
        raise ValueError(f"there is no capability {name!r}{did_you_mean(name, CAPABILITIES)}")
    return name


def _some_of(item: dict[str, Any]) -> WithJsonSchema:
    """A value, or a list of such."""
    return WithJsonSchema({"anyOf": [item, {"type": "array", "items": item, "minItems": 1}]})


def _comparison(*examples: str) -> WithJsonSchema:
    return _some_of({"type": "string", "pattern": r"^\s*(>=|<=|>|<)\s*\S.*$|^(none|any)$", "examples": list(examples)})


def _names(*known: str, pattern: str = "") -> WithJsonSchema:
    return _some_of({"enum": list(known)} if known else {"type": "string", "pattern": pattern})


_OneOrMore = BeforeValidator(one_or_more)
_Limit = Annotated[LatencyLimit, written(latency_limit), _LIMIT_TEXT]
_Glob = Annotated[str, Field(min_length=1)]
_Globs = Annotated[tuple[_Glob, ...], _OneOrMore, _names(pattern="^.+$")]
_Own = Annotated[tuple[Annotated[str, Field(pattern=r"^[^\s*?]+$")], ...], _OneOrMore, _names(pattern=r"^[^\s*?]+$")]
_Tasks = Annotated[tuple[Task, ...], _OneOrMore, _names(*get_args(Task))]
_Endpoints = Annotated[tuple[Endpoint, ...], _OneOrMore, _names(*get_args(Endpoint))]
_Tiers = Annotated[tuple[Tier, ...], _OneOrMore, _names(*get_args(Tier))]
_Efforts = Annotated[tuple[Effort, ...], _OneOrMore, _names(*get_args(Effort))]
_Steps = Annotated[tuple[Step, ...], _OneOrMore, _names(*get_args(Step))]
_Dollars = Annotated[Usd, WithJsonSchema({"type": ["string", "integer"], "pattern": r"^\$?\d*(\.\d+)?$"})]
_Capabilities = Annotated[
    tuple[Annotated[str, AfterValidator(known_capability)], ...],
    _OneOrMore,
    _names(*sorted(CAPABILITIES)),
]


class BindSchema(Strict):
    """``bind``: the requests that the policy governs. Every key must hold; of a key's values, one."""

    tenant: _Own = ()
    team: _Own = ()
    app: _Own = ()
    key: _Own = ()
    user: _Own = ()
    named: bool = False
    """Only requests that name the policy, in ``model`` or the header ``x-costrouter-policy``."""


class CandidatesSchema(Strict):
    """``candidates``: which models may be chosen at all."""

    include: _Globs = ()
    exclude: _Globs = ()
    effort: _Efforts = ()
    """Reasoning efforts to choose from where the caller set none."""


class TimeSchema(Strict):
    """``time``: a part of the week."""

    hours: Annotated[
        tuple[int, int],
        written(words.span_of_day),
        _text_like(r"\d{1,2}:\d{2}\s*-\s*\d{1,2}:\d{2}", "22:00-06:00"),
    ] = (0, DAY_MINUTES)
    days: Annotated[
        int, _compared(words.days), _names(pattern="^(mon|tue|wed|thu|fri|sat|sun)(-(mon|tue|wed|thu|fri|sat|sun))?$")
    ] = EVERY_DAY
    zone: str = "UTC"


class WhenSchema(Strict):
    """``when``: the requests a rule is for. Every key must hold; of a key's values, one (of ``tags`` and
    ``capability``, all).
    """

    task: _Tasks = ()
    endpoint: _Endpoints = ()
    tags: _Globs = ()
    model: _Globs = ()
    path: _Globs = ()
    deadline: Annotated[bool | Span | None, _compared(_deadline), _comparison(">= 1h", "none")] = None
    input_tokens: Annotated[Span | None, _compared(words.counts), _comparison("> 100k")] = None
    capability: _Capabilities = ()
    time: Annotated[tuple[TimeSchema, ...], BeforeValidator(lambda v: [v] if isinstance(v, dict) else v)] = ()
    budget_used: Annotated[Span | None, _compared(words.fullness), _comparison(">= 80%")] = None


class RequireSchema(Strict):
    """``require``: what a candidate must meet."""

    quality: Annotated[Floor | None, written(words.floor), _FLOOR_TEXT] = None
    confidence: Annotated[int | None, written(words.confidence), _SHARE_TEXT] = None
    ttft: _Limit | None = None
    tpot: _Limit | None = None
    total: _Limit | None = None
    max_cost_usd: _Dollars | None = None
    on_time: Annotated[int | None, written(words.likelihood), _SHARE_TEXT] = None


class RuleSchema(Strict):
    """One rule; the first that matches a request counts."""

    name: str = Field(pattern=NAME)
    when: WhenSchema = WhenSchema()
    tiers: _Tiers = ("realtime",)
    require: RequireSchema = RequireSchema()


class WithoutDataSchema(Strict):
    """``without_data``: what becomes of a candidate whose figure is not known."""

    quality: Annotated[
        tuple[str, int],
        written(words.handling("exclude", "use reference", "allow")),
        _text_like(r"(exclude|use reference|allow|probe\s+\d+(\.\d+)?%)", "exclude", "use reference", "probe 2%"),
    ] = ("exclude", 0)
    latency: Annotated[
        tuple[str, int],
        written(words.handling("exclude", "use prior", "allow")),
        _text_like(r"(exclude|use prior|allow|probe\s+\d+(\.\d+)?%)", "use prior", "probe 2%"),
    ] = ("use prior", 0)


class CacheSchema(Strict):
    """``cache``: answers are kept, and given for nothing to who asks the same."""

    ttl: Annotated[int, written(words.cache_ttl), _text_like(_DURATION, "1h")]
    share: Literal["tenant", "team", "app", "key", "user"] = "tenant"
    sampled: bool = False


class ExhaustedSchema(Strict):
    """``budget_exhausted``: what becomes of requests that a budget has no room for."""

    new_requests: Annotated[str | None, written(words.instead), _USE_TEXT] = None
    running_streams: Literal["finish", "stop"] = "finish"


class PolicySchema(Strict):
    """One policy file."""

    version: Literal[1]
    policy: str = Field(pattern=NAME)
    extends: Annotated[str | None, Field(pattern=NAME)] = None
    """Another policy, whose settings hold here too and may only be tightened."""
    bind: BindSchema | None = None
    mode: Annotated[tuple[str, int], written(words.mode), _MODE_TEXT] = ("live", 0)
    baseline: Literal["requested", "reference"] = "requested"
    reference: str | None = None
    candidates: CandidatesSchema | None = None
    require: RequireSchema = RequireSchema()
    """Holds for every rule, here and in what extends this."""
    tiers: _Tiers = ()
    """All that rules may name, here and in what extends this; empty for no limit."""
    task: Task | None = None
    """What requests are for where the caller does not say."""
    rules: tuple[RuleSchema, ...] | None = None
    """Left out in guardrails, which only others extend."""
    without_data: WithoutDataSchema = WithoutDataSchema()
    when_nothing_fits: _Steps = ("refuse",)
    cache: CacheSchema | None = None
    fallbacks: Literal["in order", "cheapest"] = "in order"
    """Where a request names several ``models``: which of them serves."""
    prompt_cache: Literal["auto", "off"] = "auto"
    clamp: bool = False
    budget_exhausted: ExhaustedSchema = ExhaustedSchema()
    timeouts: TimeoutsSchema | None = None
    retry: RetrySchema | None = None
    queue: QueueSchema | None = None
    hedge: HedgeSchema | None = None
    hold: Time | None = None
    """How long the connection of a request with a deadline is held, at most; the settings' where left out."""


def json_schema() -> str:
    """The JSON Schema of a policy file, for editors: text as ``policies/schema.json`` holds it.

    It knows each key and the form of its values; what reaches across keys only ``costrouter policy check`` knows.
    """
    text = without_null(plain_schema("costrouter policy file", PolicySchema))
    return json.dumps(text, indent=2, ensure_ascii=False) + "\n"


def without_null(node: Any) -> Any:
    """A key that may be left out need not be null, and an editor points closer where there is one form only."""
    if isinstance(node, list):
        return [without_null(item) for item in node]
    if not isinstance(node, dict):
        return node
    forms = node.get("anyOf", [])
    if {"type": "null"} in forms:
        (only,) = (form for form in forms if form != {"type": "null"})
        node = {**{key: value for key, value in node.items() if key != "anyOf"}, **only}
    return {key: without_null(value) for key, value in node.items()}
