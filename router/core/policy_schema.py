"""The schema of a policy file (policies/*.yaml): what a platform engineer may write, key by key.

Does not belong here: the compiled form (`policy`), checks across keys and against the catalog (`policy_compile`),
reading files (`router.adapters.policy_files`).
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field

from router.core.catalog import Task
from router.core.columns_schema import EffortName
from router.core.policy import CONFIDENCES, Floor, NoLatency, NoQuality, Step
from router.core.schema import Strict, Usd, one_or_more, written
from router.core.units import LatencyLimit, latency_limit, milli
from router.core.values import Endpoint

_RELATIVE: Final = re.compile(r"(\S+)\s+of\s+reference")


def _floor(text: str) -> Floor:
    value = text.strip().removeprefix(">=").strip()
    match = _RELATIVE.fullmatch(value)
    return Floor(milli=milli(match[1] if match else value), relative=match is not None)


def _confidence(text: str) -> int:
    found = milli(text)
    if found not in CONFIDENCES:
        raise ValueError(f"{text!r} is not one of {', '.join(f'{known // 10}%' for known in CONFIDENCES)}")
    return found


def _instead(text: str) -> str | None:
    words = text.split()
    if words == ["refuse"]:
        return None
    if len(words) != 2 or words[0] != "use":
        raise ValueError(
            f"{text!r} must be `refuse`, or `use` and the id of a model, such as `use deepseek/deepseek-flash`"
        )
    return words[1]


Tier = Literal["realtime", "flex", "window", "batch", "priority"]
_OneOrMore = BeforeValidator(one_or_more)
_Limit = Annotated[LatencyLimit, written(latency_limit)]
_Glob = Annotated[str, Field(min_length=1)]


class CandidatesSchema(Strict):
    """``candidates``: which models may be chosen at all."""

    include: Annotated[tuple[_Glob, ...], _OneOrMore]
    exclude: Annotated[tuple[_Glob, ...], _OneOrMore] = ()
    effort: Annotated[tuple[EffortName, ...], _OneOrMore] = ()
    """Reasoning efforts that may be chosen where the caller sets none, beside each model's own default."""


class WhenSchema(Strict):
    """``when``: the requests a rule is for. Every key must hold; of a key's values, one (of ``tags``, all)."""

    task: Annotated[tuple[Task, ...], _OneOrMore] = ()
    endpoint: Annotated[tuple[Endpoint, ...], _OneOrMore] = ()
    tags: Annotated[tuple[_Glob, ...], _OneOrMore] = ()
    model: Annotated[tuple[_Glob, ...], _OneOrMore] = ()
    path: Annotated[tuple[_Glob, ...], _OneOrMore] = ()


class RequireSchema(Strict):
    """``require``: what a candidate must meet."""

    quality: Annotated[Floor, written(_floor)] | None = None
    confidence: Annotated[int, written(_confidence)] = 900
    ttft: _Limit | None = None
    tpot: _Limit | None = None
    total: _Limit | None = None
    max_cost_usd: Usd | None = None


class RuleSchema(Strict):
    """One rule; the first that matches a request counts."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    when: WhenSchema = WhenSchema()
    tiers: Annotated[tuple[Tier, ...], _OneOrMore] = ("realtime",)
    require: RequireSchema = RequireSchema()


class WithoutDataSchema(Strict):
    """``without_data``: what becomes of a candidate whose figure is not known."""

    quality: NoQuality = "exclude"
    latency: NoLatency = "use prior"


class ExhaustedSchema(Strict):
    """``budget_exhausted``: what becomes of requests that a budget has no room for."""

    new_requests: Annotated[str | None, written(_instead)] = None
    running_streams: Literal["finish", "stop"] = "finish"


class PolicySchema(Strict):
    """One policy file."""

    version: Literal[1]
    policy: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    mode: Literal["observe", "live"] = "live"
    baseline: Literal["requested", "reference"] = "requested"
    reference: str | None = None
    candidates: CandidatesSchema
    rules: tuple[RuleSchema, ...]
    without_data: WithoutDataSchema = WithoutDataSchema()
    when_nothing_fits: Annotated[tuple[Step, ...], _OneOrMore] = ("refuse",)
    clamp: bool = False
    budget_exhausted: ExhaustedSchema = ExhaustedSchema()
