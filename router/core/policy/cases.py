"""Cases of policy tests, decided as requests are: by the same functions, in a world that the test gives.

Belongs here: one case and what is not as it was expected. Does not belong here: how cases are written
(`cases_schema.py`), reading files (`router.adapters.policies.cases`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from router.core.deciding.choices import PPM, Prefix
from router.core.deciding.decide import Decision, Facts, decide
from router.core.deciding.explain import verdicts
from router.core.deciding.snapshot import Route, World, compile_snapshot
from router.core.deciding.variants import flat, prior_ttft
from router.core.errors import RouterError
from router.core.jobs.tiers import word_of
from router.core.money import nano_ceil, usd
from router.core.policy.governing import Wish
from router.core.policy.later import ASYNC_MS, later
from router.core.pricing import REALTIME
from router.core.statistics.busy import series_of, told
from router.core.statistics.stats import PERCENTILES, Series, Summary
from router.core.tokens import exactly
from router.core.values import CAPABILITIES, SERVED, Identity, Needs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from router.core.catalog.catalog import Catalog
    from router.core.policy.cases_schema import CaseSchema, ExpectSchema, GivenSchema, RequestSchema


_BUSY_N: Final = 1_000
"""As if so many answers had been seen: it is given, and no guess."""


class Result(msgspec.Struct, frozen=True):
    """What became of a case."""

    name: str
    policy: str
    """Its name; empty where none was found."""
    rule: str
    failures: tuple[str, ...]
    """What was expected and what was found; empty when all is as it should be."""
    chosen: str = ""
    """Name of the option that was chosen."""


def run_case(world: World, given: GivenSchema, case: CaseSchema) -> Result:
    """A case in a world, with the file's ``given`` where it has none of its own."""
    given = case.given or given
    known = {model.name for model in world.catalog.models}
    unknown = [f"there is no entry {name!r} to have stats of" for name in given.stats if name not in known]
    unknown += [
        f"{name!r} is no model on a machine of one's own, so it has no gpu_load"
        for name in given.gpu_load
        if not any(model.self_hosted for model in world.catalog.models if name in (model.id, model.name))
    ]
    unknown += [
        f"there is no model {name!r} to be warm"
        for name in case.request.warm
        if name not in known and not world.catalog.by_id(name)
    ]
    offered = world.offered & set(given.providers) if given.providers else world.offered
    snapshot = compile_snapshot(
        "test", msgspec.structs.replace(world, offered=offered), given.at, _seen(given, world.catalog)
    )
    wish = _wish(given, case)
    try:
        facts = _facts(given, case.request, world.catalog, snapshot.governing.task(case.request.model, wish))
        route = snapshot.route(facts, wish)
    except RouterError as error:
        return Result(case.name, "", "", (*unknown, *_refused(case.expect, error.code, error.message)))
    decision = decide(route.plan, facts, route.baseline)
    if decision is not None and case.request.may_wait:
        decision = later(world, route, facts, decision)
    failures = [*unknown, *_compared(case.expect, route, facts, decision)]
    chosen = "" if decision is None else decision.option.name
    return Result(case.name, route.plan.policy.partition("@")[0], route.plan.rule, tuple(failures), chosen)


def _seen(given: GivenSchema, catalog: Catalog) -> Callable[[Series], Summary | None]:
    found = _loaded(given, catalog)
    for entry, seen in given.stats.items() if isinstance(given.stats, dict) else ():
        model, _, provider = entry.rpartition("@")
        figures = {
            "ttft": None if seen.ttft is None else seen.ttft * 1000,
            "tpot": None if seen.tpot is None else seen.tpot * 1000,
            "output": seen.output,
        }
        for what, value in figures.items():
            if value is not None:
                found[what, model, provider, "realtime"] = Summary(seen.n, value, (value,) * len(PERCENTILES))
    return found.get


def _loaded(given: GivenSchema, catalog: Catalog) -> dict[Series, Summary]:
    """How slow models are whose accelerators are that busy: work queues up, so a first token takes 1 / (1 - load) times as
    long as on an idle one (M/M/1). The prior is of the load that the catalog's figures are of.
    """
    found: dict[Series, Summary] = {}
    for name, load in given.gpu_load.items():
        for busy in (model for model in catalog.models if name in (model.id, model.name)):
            for model in catalog.models:
                machine = model.self_hosted
                if machine is None or not (model is busy or (model.pool and model.pool == busy.pool)):
                    continue
                where, idle = (model.id, model.provider, REALTIME), max(1000 - load, 1)
                ttft = prior_ttft(model.latency)
                slow = tuple(micro * max(1000 - machine.load_milli, 1) // idle for micro in ttft.quantiles)
                found["ttft", *where] = Summary(_BUSY_N, slow[0], slow)
                found[series_of(model)] = told(load)
                found["tpot", *where] = msgspec.structs.replace(flat(model.latency.tpot_us), n=_BUSY_N)
    return found


def _facts(given: GivenSchema, request: RequestSchema, catalog: Catalog, task: str) -> Facts:
    needs = Needs(SERVED[request.endpoint])
    for name in request.capability:
        needs |= CAPABILITIES[name]
    return Facts(
        endpoint=request.endpoint,
        needs=int(needs),
        tokens=exactly(request.input_tokens),
        max_output=0 if request.endpoint == "embeddings" else request.max_output,
        task=request.task or task or "chat",
        asked_model=request.model,
        path=request.path,
        max_cost_pico=request.max_cost_usd,
        deadline_ms=ASYNC_MS if request.may_wait and request.deadline is None else request.deadline,
        budget_milli=given.budget_used,
        prefix=_prefix(request, catalog),
    )


def _prefix(request: RequestSchema, catalog: Catalog) -> Prefix | None:
    """Shares of the prompt, from its tokens; of a model without its provider, at all of them."""
    warm: dict[str, int] = {}
    for name, tokens in request.warm.items():
        share = min(tokens * PPM // max(request.input_tokens, 1), PPM)
        warm |= dict.fromkeys([name, *(model.name for model in catalog.by_id(name))], share)
    return Prefix(request.input_tokens, warm) if warm else None


def _wish(given: GivenSchema, case: CaseSchema) -> Wish:
    who = Identity(tenant=given.tenant, key=given.key, team=given.team, app=given.app)
    request = case.request
    draw = request.session or given.user or case.name
    return Wish(request.policy, request.quality, request.tags, who, given.user, draw)


def _refused(expect: ExpectSchema, code: str, message: str) -> Iterator[str]:
    if expect.refused is None:
        yield f"refused, {code}: {message}"
    elif expect.refused != code:
        yield f"refused: expected {expect.refused}, found {code}"


def _compared(expect: ExpectSchema, route: Route, facts: Facts, decision: Decision | None) -> Iterator[str]:
    policy = route.plan.policy.partition("@")[0]
    for key, wanted, found in (("policy", expect.policy, policy), ("rule", expect.rule, route.plan.rule)):
        if wanted not in (None, found):
            yield f"{key}: expected {wanted}, found {found}"
    judged = {verdict.option.name: verdict for verdict in verdicts(route.plan, facts)}
    for model, word in expect.rejected.items():
        named = [verdict for verdict in judged.values() if model in (verdict.option.model, verdict.option.entry)]
        reasons = "; ".join(reason for verdict in named for reason in verdict.reasons)
        if not named:
            yield f"rejected: {model} is no candidate"
        elif not all(verdict.reasons for verdict in named):
            yield f"rejected: {model} would do"
        elif word not in reasons:
            yield f"rejected: {model} for {reasons}, not for {word}"
    if decision is None:
        yield from _refused(expect, "no_feasible_model", "no candidate can serve this")
        return
    if expect.refused is not None:
        yield f"refused: expected {expect.refused}, found {decision.option.name}"
    yield from _chosen(expect, decision)


def _chosen(expect: ExpectSchema, decision: Decision) -> Iterator[str]:
    option = decision.option
    if expect.model not in (None, option.model, option.entry):
        yield f"model: expected {expect.model}, found {option.entry}"
    found = {"tier": option.tier, "effort": option.effort, "relaxed": decision.relaxed}
    for key, value in found.items():
        wanted = getattr(expect, key)
        if wanted not in (None, value) and not (key == "tier" and wanted == word_of(option.tier)):
            yield f"{key}: expected {wanted or 'none'}, found {value or 'none'}"
    if expect.cost_usd is not None:
        sign, bound = expect.cost_usd
        if (decision.expected_pico > bound) if sign == "<=" else (decision.expected_pico < bound):
            yield f"cost_usd: expected {sign} {usd(nano_ceil(bound))}, found {usd(nano_ceil(decision.expected_pico))}"
