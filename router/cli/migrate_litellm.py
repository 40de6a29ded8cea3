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
    "model", "api_base", "base_url", "api_key", "input_cost_per_token", "output_cost_per_token", "max_budget", "budget_duration",
    "api_version",
})  # fmt: skip
WHY: Final = {
    "routing_strategy": "the cheapest candidate that meets the policy serves; load is spread by rate limits and breakers",
    "default_fallbacks": "a failed attempt goes to the next cheapest candidate of the same policy; add the models there",
    "context_window_fallbacks": "windows are known from the catalog, so too long a prompt never goes to too small a model",
    "content_policy_fallbacks": "a refusal is an answer here, and is not sent elsewhere",
    "cache": "an exact-match response cache is a policy's affair (`cache`), and off unless written there",
    "cache_params": "as cache",
    "callbacks": "metrics are at /metrics, the log is JSON on stderr, spend is in the ledger",
    "success_callback": "as callbacks",
    "failure_callback": "as callbacks",
    "drop_params": "fields that a model does not take are known from the catalog: a model that lacks one is no candidate",
    "database_url": "keys, budgets and the ledger live in the store (REDIS_URL); virtual keys come over with `--keys FILE`, what "
    "LiteLLM's /key/list?return_full_object=true answers",
    "max_parallel_requests": "set a limit of kind concurrency for the key, team or tenant that is meant: `costrouter limits set`",
    "default_team_settings": "teams are names in keys here; what is logged is the same for all",
    "store_model_in_db": "models stand in policies/catalog",
    "redis_host": "set REDIS_URL instead; a ledger needs an append-only file and noeviction",
    "redis_port": "as redis_host",
    "redis_password": "as redis_host",
    "allowed_fails": "circuit breakers by provider, model and key, fleet-wide (docs/forwarding.md); they need no setting",
    "cooldown_time": "as allowed_fails; an open breaker is probed after 2 s, then twice as long each time, up to a minute",
    "enable_pre_call_checks": "always: what cannot serve a request is no candidate",
    "retry_policy": "which errors are tried again stands in one table (docs/forwarding.md)",
    "retry_after": "a provider's own Retry-After is gone by",
    "optional_pre_call_checks": "as enable_pre_call_checks",
    "set_verbose": "COSTROUTER_LOG_LEVEL=debug",
    "master_key": "set COSTROUTER_ADMIN_KEY",
    "alerting": "budget alerts go to COSTROUTER_ALERT_URL; alerts on metrics are in deploy/prometheus/alerts.yaml",
}
PARAM_WHY: Final = {
    "weight": "the cheapest serves; several keys of a provider share its calls by …_API_KEY_2_WEIGHT (docs/forwarding.md)",
    "order": "as weight",
    "rpm": "a provider's own rate-limit headers are gone by instead",
    "tpm": "as rpm",
    "max_tokens": "an answer's limit is the caller's, or a hard budget's (`clamp`)",
    "timeout": "write `timeouts: {total: …}` into the policy",
    "stream_timeout": "write `timeouts: {first_byte: …}` into the policy",
    "aws_region_name": "set BEDROCK_REGION (docs/clouds.md)",
}
REGIONS: Final = frozenset({"us", "eu", "apac", "global", "us-gov"})
"""What Bedrock writes before a model that several regions serve."""
CLOUDS: Final = frozenset({"azure", "bedrock", "vertex"})
"""Providers whose models are had elsewhere too: whoever names one of these means it."""
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
    router = config.get("router_settings") or {}
    _fallbacks(router.get("fallbacks"), groups, migration)
    _aliases(router.get("model_group_alias"), groups, migration)
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


def _aliases(given: Any, groups: dict[str, list[str]], migration: Migration) -> None:
    """Another name for a group is another policy of the same candidates."""
    for alias, name in given.items() if isinstance(given, dict) else ():
        group = name.get("model") if isinstance(name, dict) else name
        if group in groups:
            groups.setdefault(str(alias), groups[group])
        else:
            migration.note(f"router_settings.model_group_alias.{alias}", f"there is no group {group!r}")


def _fallbacks(given: Any, groups: dict[str, list[str]], migration: Migration) -> None:
    """A group's fallbacks become candidates of its policy."""
    for pair in given if isinstance(given, list) else ():
        for name, others in pair.items() if isinstance(pair, dict) else ():
            known = [other for other in others if other in groups] if isinstance(others, list) else []
            if name not in groups or not known:
                migration.note("router_settings.fallbacks", f"there is no group {name!r}, or none of its fallbacks")
                continue
            groups[name] = [*groups[name], *(model for other in known for model in groups[other])]
            migration.note(
                "router_settings.fallbacks",
                f"{', '.join(known)} became candidates of {slug(name)}: while it observes, they serve where what was asked for "
                "cannot; once it is live, the cheapest of all that meets its rules does",
            )


def _deployment(where: str, entry: dict[str, Any], params: dict[str, Any], migration: Migration) -> list[str]:
    name, base = params["model"], params.get("api_base") or params.get("base_url")
    prefix, _, rest = name.partition("/")
    for field in [field for field in params if field in PARAM_WHY or field not in KNOWN_PARAMS]:
        migration.note(f"{where}.litellm_params.{field}", PARAM_WHY.get(field, "it is no setting of a model here"))
    if base and (prefix in SERVERS or not rest):
        return _server(where, entry, rest or name, str(base), migration)
    if prefix not in PREFIXES and rest:
        migration.note(f"{where}.litellm_params.model", f"{prefix} is no provider of the catalog")
        return []
    provider = PREFIXES.get(prefix, "openai")
    if provider == "azure":
        rest = _azure(where, entry, rest, base, migration)
    if provider == "bedrock":
        # With or without the group of regions that may serve.
        names = [
            f"bedrock/{region}{rest.partition('.')[2] if rest.partition('.')[0] in REGIONS else rest}"
            for region in ("", "global.")
        ]
        rest = next((name for name in names if migration.names.find(name)), names[0]).partition("/")[2]
    name = (f"{provider}/{rest}" if provider else rest) if rest else name
    only = provider if provider in CLOUDS else ""
    model = migration.model(f"{where}.litellm_params.model", name, provider=only)
    _key(where, params.get("api_key"), provider, migration)
    if model:
        scope = {"model": model.partition("@")[0], **({"provider": only} if only else {})}
        migration.budget(
            f"{where}.litellm_params.max_budget", scope, params.get("max_budget"), params.get("budget_duration")
        )
    return [model] if model else []


def _azure(where: str, entry: dict[str, Any], deployment: str, base: Any, migration: Migration) -> str:
    """The model of a deployment, whose name, address and version become the account's settings."""
    params, settings = entry["litellm_params"], migration.settings
    told = str((entry.get("model_info") or {}).get("base_model") or deployment).rpartition("/")[2]
    if migration.names.find(f"azure/{told}") is None:
        migration.note(
            where, f"nothing says which model the deployment {deployment} is; write it as model_info.base_model"
        )
    for variable, given in (("AZURE_OPENAI_ENDPOINT", base), ("AZURE_OPENAI_API_VERSION", params.get("api_version"))):
        if given and not _ENV.fullmatch(str(given)):
            value = str(given).rstrip("/")
            if settings.setdefault(variable, value) != value:
                migration.note(
                    f"{where}.litellm_params.model", f"{variable} is {settings[variable]} already; one account serves"
                )
    if told != deployment:
        known = settings.get("AZURE_OPENAI_DEPLOYMENTS", "")
        if f"{told}={deployment}" not in known.split(","):
            settings["AZURE_OPENAI_DEPLOYMENTS"] = ",".join(filter(None, (known, f"{told}={deployment}")))
    return told


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


def _stream_timeout(value: Any, migration: Migration) -> None:
    migration.settings["COSTROUTER_FIRST_BYTE_TIMEOUT_S"] = str(value)


def _at_once(value: Any, migration: Migration) -> None:
    migration.limit("general_settings.global_max_parallel_requests", {}, "concurrency", int(value))


def _provider_budgets(value: Any, migration: Migration) -> None:
    for name, one in value.items() if isinstance(value, dict) else ():
        where, provider = f"router_settings.provider_budget_config.{name}", PREFIXES.get(name, name)
        if provider not in migration.catalog.providers or not isinstance(one, dict):
            migration.note(where, f"{name} is no provider of the catalog")
            continue
        limit, duration = (
            one.get("budget_limit", one.get("max_budget")),
            one.get("time_period", one.get("budget_duration")),
        )
        migration.budget(where, {"provider": provider}, limit, duration)


def _elsewhere(_: Any, __: Migration) -> None:
    """Has been read already."""


_SECTIONS: Final[dict[str, dict[str, Callable[[Any, Migration], None]]]] = {
    "litellm_settings": {
        "num_retries": _retries,
        "request_timeout": _timeout,
        "max_budget": _elsewhere,
        "budget_duration": _elsewhere,
    },
    "router_settings": {
        "num_retries": _retries,
        "timeout": _timeout,
        "stream_timeout": _stream_timeout,
        "fallbacks": _elsewhere,
        "model_group_alias": _elsewhere,
        "provider_budget_config": _provider_budgets,
    },
    "general_settings": {"global_max_parallel_requests": _at_once},
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
        else:
            migration.note(f"{section}.{name}", WHY.get(name, "it has no meaning here"))
    if section == "litellm_settings":
        migration.budget(f"{section}.max_budget", {}, given.get("max_budget"), given.get("budget_duration"))
