"""A LiteLLM proxy's `config.yaml` as policies, providers of one's own, budgets and settings.

Belongs here: what each of its keys means here, in tables. Does not belong here: writing files (migration.py). What has no
meaning here is noted, never dropped without a word.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from router.cli.migration import Migration, MigrationError, slug

PREFIXES: Final = {
    "openai": "openai", "azure": "azure", "azure_ai": "azure", "anthropic": "anthropic", "bedrock": "bedrock",
    "vertex_ai": "vertex", "gemini": "google", "groq": "groq", "together_ai": "together", "mistral": "mistral",
    "deepseek": "deepseek", "xai": "xai", "cerebras": "cerebras", "openrouter": "",
}  # fmt: skip
"""How LiteLLM spells a provider, and how the catalog does; empty where the rest of the name is a canonical id."""
SERVERS: Final = frozenset(
    {"hosted_vllm", "vllm", "openai", "text-completion-openai", "ollama", "ollama_chat", "nvidia_nim", "custom_openai"}
)
"""Prefixes that, with an `api_base`, are servers of one's own that speak OpenAI's dialect."""
KNOWN_PARAMS: Final = frozenset({
    "model", "api_base", "base_url", "api_key", "input_cost_per_token", "output_cost_per_token", "max_tokens", "rpm", "tpm",
})  # fmt: skip
WHY: Final = {
    "routing_strategy": "the cheapest candidate that meets the policy serves; load is spread by rate limits and breakers",
    "fallbacks": "a failed attempt goes to the next cheapest candidate of the same policy; add the models there",
    "default_fallbacks": "as fallbacks",
    "context_window_fallbacks": "windows are known from the catalog, so too long a prompt never goes to too small a model",
    "content_policy_fallbacks": "a refusal is an answer here, and is not sent elsewhere",
    "cache": "an exact-match response cache is a policy's affair (`cache`), and off unless written there",
    "cache_params": "as cache",
    "callbacks": "metrics are at /metrics, the log is JSON on stderr, spend is in the ledger",
    "success_callback": "as callbacks",
    "failure_callback": "as callbacks",
    "drop_params": "fields that a model does not take are known from the catalog: a model that lacks one is no candidate",
    "database_url": "keys, budgets and the ledger live in the store (REDIS_URL); virtual keys cannot be read out of a "
    "database: make new ones with `costrouter keys create`",
    "store_model_in_db": "models stand in policies/catalog",
    "redis_host": "set REDIS_URL instead; a ledger needs an append-only file and noeviction",
    "redis_port": "as redis_host",
    "redis_password": "as redis_host",
    "model_group_alias": "a policy's name may be asked for as a model; copy the policy under the other name",
    "set_verbose": "COSTROUTER_LOG_LEVEL=debug",
    "master_key": "set COSTROUTER_ADMIN_KEY",
    "alerting": "budget alerts go to COSTROUTER_ALERT_URL; alerts on metrics are in deploy/prometheus/alerts.yaml",
}
PERIODS: Final = {"1h": "hour", "24h": "day", "1d": "day", "7d": "week", "30d": "month", "1mo": "month"}
_SINCE: Final = dt.date(2026, 1, 1)
_ENV: Final = re.compile(r"os\.environ/(\w+)")


def migrate(config: Any, migration: Migration) -> None:
    """Fill in what a configuration means.

    Raises:
        MigrationError: it is none.
    """
    if not isinstance(config, dict) or not isinstance(config.get("model_list"), list):
        raise MigrationError("it has no model_list, so it is no configuration of LiteLLM's proxy")
    groups: dict[str, list[str]] = {}
    for number, entry in enumerate(config["model_list"]):
        where = f"model_list[{number}]"
        params = entry.get("litellm_params") if isinstance(entry, dict) else None
        if not isinstance(params, dict) or not isinstance(params.get("model"), str) or not entry.get("model_name"):
            migration.note(where, "it has no model_name or no litellm_params.model")
            continue
        found = _deployment(where, entry, params, migration)
        groups.setdefault(str(entry["model_name"]), []).extend(found)
    for name, include in groups.items():
        if include:
            migration.policy(slug(name), include)
            if slug(name) != name:
                migration.note(
                    name, f"the policy is called {slug(name)}: applications ask for that, or keep a model's name"
                )
    for section, keys in _SECTIONS.items():
        _settings(section, config.get(section) or {}, keys, migration)
    for section in config.keys() - {"model_list", *_SECTIONS}:
        migration.note(section, "this section has no meaning here")


def _deployment(where: str, entry: dict[str, Any], params: dict[str, Any], migration: Migration) -> list[str]:
    name, base = params["model"], params.get("api_base") or params.get("base_url")
    prefix, _, rest = name.partition("/")
    for field in params.keys() - KNOWN_PARAMS:
        migration.note(f"{where}.litellm_params.{field}", "it is no setting of a model here")
    for field in ("rpm", "tpm"):
        if field in params:
            migration.note(f"{where}.litellm_params.{field}", "a provider's own rate-limit headers are gone by instead")
    if "max_tokens" in params:
        migration.note(
            f"{where}.litellm_params.max_tokens", "an answer's limit is the caller's, or a hard budget's (`clamp`)"
        )
    if base and (prefix in SERVERS or not rest):
        return _server(where, entry, rest or name, str(base), migration)
    if prefix not in PREFIXES and rest:
        migration.note(f"{where}.litellm_params.model", f"{prefix} is no provider of the catalog")
        return []
    provider = PREFIXES.get(prefix, "openai")
    model = migration.model(
        f"{where}.litellm_params.model", (f"{provider}/{rest}" if provider else rest) if rest else name
    )
    _key(where, params.get("api_key"), provider, migration)
    return [model] if model else []


def _key(where: str, key: Any, provider: str, migration: Migration) -> None:
    found = migration.catalog.providers.get(provider)
    variable = _ENV.fullmatch(str(key)) if key else None
    if key and variable is None:
        migration.note(f"{where}.litellm_params.api_key", "a key in a file is not copied; set the provider's variable")
    elif found is not None and variable is not None and found.key_env and variable[1] != found.key_env:
        migration.note(
            f"{where}.litellm_params.api_key", f"{provider}'s key is read from {found.key_env}, not {variable[1]}"
        )


def _server(where: str, entry: dict[str, Any], upstream: str, base: str, migration: Migration) -> list[str]:
    """A model on a server of one's own, as a provider of its own."""
    params, info = entry["litellm_params"], entry.get("model_info") or {}
    rates = [
        _per_million(params.get(field, info.get(field))) for field in ("input_cost_per_token", "output_cost_per_token")
    ]
    if None in rates:
        migration.note(
            f"{where}.litellm_params.model",
            f"{upstream} at {base} has no price, and what has none is not called: state input_cost_per_token and "
            "output_cost_per_token (0 is a price), or edit policies/catalog/vllm.yaml",
        )
        return []
    if _ENV.fullmatch(base):
        migration.note(
            f"{where}.litellm_params.api_base", f"write the address in place of {base} into the provider's file"
        )
        base = "http://127.0.0.1:8000/v1"
    name = slug(re.sub(r"^https?://|/v1/?$", "", base))
    provider = migration.providers.setdefault(name, _provider(name, base))
    variable = _ENV.fullmatch(str(params.get("api_key", "")))
    if variable:
        provider["key_env"] = variable[1]
    model = f"{name}/{upstream.rpartition('/')[2]}"
    takes = {
        "supports_function_calling": "tools",
        "supports_vision": "vision",
        "supports_response_schema": "json_schema",
    }
    provider["models"].append({
        "id": model,
        "upstream": upstream,
        "context_window": int(info.get("max_input_tokens") or info.get("max_tokens") or 8192),
        "max_output": int(info.get("max_output_tokens") or 4096),
        "capabilities": ["chat", "sampling", *(ours for theirs, ours in takes.items() if info.get(theirs))],
        "tags": ["chat"],
        "weights": "open",
        "latency": {"ttft_p50_ms": 300, "ttft_p95_ms": 1000, "tpot_ms": 20, "source": "a guess; live figures replace it",
                    "date": _SINCE},
        "output": {"mean": 300, "p90": 800},
        "prices": [{"valid_from": _SINCE, "input": rates[0], "output": rates[1], "source": "LiteLLM configuration",
                    "checked": _SINCE}],
    })  # fmt: skip
    migration.note(
        f"{where}", f"{model} has no quality score: rules that ask for quality pass it over until you state one"
    )
    return [model]


def _provider(name: str, base: str) -> dict[str, Any]:
    return {"version": 1, "provider": name, "name": name, "base_url": base, "dialect": "openai", "bills_after_disconnect": False,
            "models": []}  # fmt: skip


def _per_million(per_token: Any) -> str | None:
    try:
        return None if per_token is None else format(Decimal(str(per_token)) * 10**6, "f")
    except InvalidOperation:
        return None


def _retries(value: Any, migration: Migration) -> None:
    migration.settings["COSTROUTER_ATTEMPTS"] = str(int(value) + 1)


def _timeout(value: Any, migration: Migration) -> None:
    migration.settings["COSTROUTER_TOTAL_TIMEOUT_S"] = str(value)


def _budget(value: Any, migration: Migration) -> None:
    migration.state["budgets"] = [{"scope": {}, "limit_usd": str(value), "period": "total", "hard": True}]


_SECTIONS: Final[dict[str, dict[str, Callable[[Any, Migration], None]]]] = {
    "litellm_settings": {"num_retries": _retries, "request_timeout": _timeout, "max_budget": _budget},
    "router_settings": {"num_retries": _retries, "timeout": _timeout},
    "general_settings": {},
    "environment_variables": {},
}


def _settings(
    section: str, given: Any, keys: dict[str, Callable[[Any, Migration], None]], migration: Migration
) -> None:
    if not isinstance(given, dict):
        return
    for name, value in given.items():
        if section == "environment_variables":
            migration.note(f"{section}.{name}", "set it where the node is started; secrets are not copied")
        elif name in keys:
            try:
                keys[name](value, migration)
            except (TypeError, ValueError):
                migration.note(f"{section}.{name}", f"{value!r} is no number")
        elif not (section == "litellm_settings" and name == "budget_duration"):
            migration.note(f"{section}.{name}", WHY.get(name, "it has no meaning here"))
    if section == "litellm_settings" and "budget_duration" in given:
        period = PERIODS.get(str(given["budget_duration"]))
        if period and migration.state["budgets"]:
            migration.state["budgets"][0]["period"] = period
        else:
            migration.note(
                f"{section}.budget_duration", f"periods are {', '.join(sorted(set(PERIODS.values())))} or total"
            )
