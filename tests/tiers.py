"""A small world in which tiers and efforts are sold."""

import datetime as dt

from catalogs import NOW, a_model, a_policy, a_price, compiled

from router.core.catalog.catalog import Catalog
from router.core.deciding.snapshot import World, compile_snapshot
from router.core.names import Names
from router.core.policy.compile import compile_policy
from router.core.policy.schema import PolicySchema
from router.core.schema import validate

SOLD = {"flex": {"factor": "0.5"}, "priority": {"factor": "2"}, "batch": {"factor": "0.4"}}
ABOUT = {"source": "a page", "date": dt.date(2026, 11, 22)}
EFFORTS = {
    "low": {"output": "0.50", "quality": "0.90", "sd": "0.010", **ABOUT},
    "none": {"output": "0.10", "quality": "0.50", "sd": "0.010", **ABOUT},
}
LARGE = a_model("acme/large", tags=["chat", "reasoning"], efforts=EFFORTS, prices=[a_price(tiers=SOLD)])
SMALL = a_model("acme/small", prices=[a_price(input="0.50", output="2.00")])
WORDS = {"flex": "cheap", "priority": "fast"}


def a_snapshot(*models, seen=None, provider=None, now=NOW, last=None, **policy):
    file = compiled(*(models or (LARGE, SMALL)), **{"service_tiers": WORDS, **(provider or {})})
    catalog = Catalog([file.provider], file.models)
    made = compile_policy(validate(PolicySchema, a_policy(policy="default", **policy)), catalog, NOW).policy
    world = World(catalog, {"default": made}, Names(catalog), frozenset({"acme"}))
    return compile_snapshot("w1-1", last.world if last else world, now, (seen or {}).get, last)


def rules(*tiers, **require):
    return [{"name": "everyday", "tiers": list(tiers) or ["realtime"], "require": require}]


def an_open_policy(**more):
    return {"candidates": {"include": ["tag:chat"], "effort": ["low", "none"]}, **more}
