"""The golden table of meters and amounts: provider, plain or streamed, cached, reasoning, tier, size, region and hour.

What a provider reports, what it means by which rule, and what it costs by the shipped prices, worked out by hand in
tests/fixtures/usage/.
"""

import datetime as dt
import json
import math
from decimal import Decimal
from functools import cache
from pathlib import Path

import pytest
import yaml
from options import option

from router.adapters.policies.files import load_policies, packaged_policies_dir
from router.core.deciding.choices import Work
from router.core.deciding.work import as_priced, expected
from router.core.meters import units_of
from router.core.money import nano_ceil
from router.core.pricing import cost_pico, price_at
from router.core.tokens import PromptShape
from router.core.values import Usage
from router.dialects.bedrock.frames import frame
from router.dialects.contract import Asked
from router.dialects.endpoints.passing import NO_BODY
from router.dialects.request import Request
from router.dialects.served import served
from router.dialects.ways import INBOUND, OUTBOUND, way

FOLDER = Path(__file__).parents[1] / "fixtures" / "usage"
FILES = {path.stem: yaml.safe_load(path.read_text()) for path in sorted(FOLDER.glob("*.yaml"))}
CASES = [pytest.param(case, id=f"{name}: {case['name']}") for name, file in FILES.items() for case in file["cases"]]
NAMES = {"prompt": "prompt_tokens", "completion": "completion_tokens", "cached": "cached_tokens", "written": "cache_write_tokens", "hour": "cache_write_1h_tokens", "reasoning": "reasoning_tokens", "tier": "tier"}  # fmt: skip


@cache
def entries():

    catalog = load_policies(packaged_policies_dir(), dt.datetime(2026, 11, 23, tzinfo=dt.UTC)).catalog
    return {model.name: (model, catalog.providers[model.provider]) for model in catalog.models}


def stream_of(case):
    if "frames" in case:
        return b"".join(frame({":event-type": name, ":message-type": "event"}, json.dumps(said).encode()) for name, said in case["frames"])  # fmt: skip
    end = b"data: [DONE]\n\n" if "choices" in case["stream"][0] else b""
    return b"".join(b"data: " + json.dumps(said).encode() + b"\n\n" for said in case["stream"]) + end


def wanted(case):
    if "meters" not in case:
        return None
    meters = dict(case["meters"])
    units = units_of(meters.pop("units", {}))
    return Usage(**{"prompt_tokens": 0} | {NAMES[name]: count for name, count in meters.items()}, units=units)


def told_beside(case, model):
    """What is read of an endpoint beside chat, or known of the request where nothing is told."""
    price = price_at(model, case["at"])
    here, work = option(price=price), Work(**case.get("ordered", {}))
    if "api" not in case:
        return expected(here, work, 0, 0)
    answers = INBOUND[case["api"]].outbound
    if "plain" in case:
        body = json.dumps(case["plain"]).encode()
        assert answers.is_answer(body)
        usage = answers.usage_of(body)
    else:
        request = Request(top=NO_BODY, model="m", needs=0, shape=PromptShape(texts=(), messages=0))
        scanner = answers.scanner(request, lambda _: None)
        assert scanner.feed(stream_of(case)) == stream_of(case)
        assert scanner.finished
        usage = scanner.usage
    return None if usage is None else as_priced(here, work, usage)


def told(case, dialect, model):
    """What is read of it: by the dialect, by a translating reader, and by whoever passes it on."""
    if "api" in case or "ordered" in case:
        yield told_beside(case, model)
        return
    outbound, headers = OUTBOUND[dialect], case.get("headers", {})
    if "plain" in case:
        yield served(outbound.usage_of(json.dumps(case["plain"]).encode()), outbound, headers)
        return
    stream, reader = stream_of(case), outbound.reader()
    reader.feed(stream)
    yield served(reader.usage, outbound, headers)
    for api, inbound in INBOUND.items():
        if inbound.native == dialect and inbound.hearing is not None:
            request = INBOUND["chat"].read(b'{"model":"m","messages":[]}', {})
            scanner = way(api, (dialect,)).scanner(Asked(request, 1, 1), lambda _: None)
            scanner.feed(stream)
            yield scanner.usage


@pytest.mark.parametrize("case", CASES)
def test_meters_and_what_they_cost(case):
    model, provider = entries()[case["model"]]
    dialect = case.get("dialect", provider.dialect)
    for usage in told(case, dialect, model):
        assert usage == wanted(case)
        if usage is not None:
            price = price_at(model, case["at"], usage.tier or "realtime", case.get("region", ""))
            assert nano_ceil(cost_pico(price, usage)) == case["nano"], case["worked"]


@pytest.mark.parametrize("name", FILES)
def test_every_case_cites_a_rule_and_shows_its_sum(name):
    rules, cited = FILES[name]["rules"], set()
    for case in FILES[name]["cases"]:
        cited |= set(case["rule"])
        if case.get("nano"):
            # The sum as it is written: tokens times dollars per million, a thousandth of the nano-dollars.
            terms, _, total = case["worked"].partition(" = ")
            products = [math.prod(map(Decimal, term.split(" · "))) for term in terms.split(" + ")]
            assert sum(products) == Decimal(total)
            assert Decimal(total) * 1000 == case["nano"]
    assert cited == set(rules), "every rule is put to the test, and none is made up"
