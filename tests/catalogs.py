"""Small catalog and policy documents for tests, as YAML would give them."""

import datetime as dt

from router.core.catalog.catalog import Catalog
from router.core.catalog.compile import compile_catalog
from router.core.catalog.schema import CatalogSchema
from router.core.policy.compile import compile_policy
from router.core.policy.schema import PolicySchema
from router.core.schema import validate

NOW = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)


def a_price(**changes):
    return {
        "valid_from": dt.date(2026, 1, 1),
        "input": "1.00",
        "output": "4.00",
        "source": "a page",
        "checked": dt.date(2026, 11, 22),
        **changes,
    }


def a_score(score="0.700", sd="0.020"):
    return {"score": score, "sd": sd, "source": "a page", "date": dt.date(2026, 11, 22)}


def a_model(model_id="acme/large", **changes):
    return {
        "id": model_id,
        "upstream": model_id.rpartition("/")[2],
        "context_window": 128_000,
        "max_output": 8_000,
        "capabilities": ["chat", "tools"],
        "tags": ["chat"],
        "weights": "closed",
        "quality": {"chat": a_score()},
        "latency": {
            "ttft_p50_ms": 400,
            "ttft_p95_ms": 900,
            "tpot_ms": "7.5",
            "source": "a page",
            "date": dt.date(2026, 11, 22),
        },
        "output": {"mean": 250, "p90": 700},
        "prices": [a_price()],
        **changes,
    }


def a_provider(*models, **changes):
    return {
        "version": 1,
        "provider": "acme",
        "name": "Acme",
        "base_url": "https://api.acme.example/v1",
        "key_env": "ACME_API_KEY",
        "dialect": "openai",
        "bills_after_disconnect": True,
        "models": list(models) or [a_model()],
        **changes,
    }


def compiled(*models, **changes):
    return compile_catalog(validate(CatalogSchema, a_provider(*models, **changes)))


def the_model(region=None, **changes):
    return compiled(a_model(**changes), region=region).models[0]


def a_catalog(*models, **changes):
    both = (a_model(), a_model("acme/small", tags=["chat", "small"], weights="open"))
    result = compiled(*(models or both), **changes)
    return Catalog([result.provider], result.models)


def a_policy(**changes):
    return {
        "version": 1,
        "policy": "support",
        "candidates": {"include": ["tag:chat"]},
        "rules": [{"name": "everyday"}],
        **changes,
    }


def the_policy(catalog=None, **changes):
    file = validate(PolicySchema, a_policy(**changes))
    return compile_policy(file, catalog or a_catalog(), NOW, knows_zone=lambda zone: zone in ("UTC", "Europe/Berlin"))
