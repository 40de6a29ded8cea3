"""A request body for OpenRouter as a policy: its models, its order of providers, its limit on price.

Belongs here: what each field means here. Does not belong here: writing files (migration.py). The prompt itself is not
looked at, and not kept.
"""

from __future__ import annotations

from typing import Any, Final

from router.cli.migration import Migration, MigrationError, slug

PROMPT: Final = frozenset({
    "messages", "prompt", "stream", "stream_options", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop",
    "tools", "tool_choice", "parallel_tool_calls", "response_format", "seed", "logprobs", "top_logprobs", "logit_bias",
    "frequency_penalty", "presence_penalty", "n", "user", "metadata", "reasoning_effort", "model", "models", "provider",
})  # fmt: skip
"""What goes on with each request as it is, or is mapped below."""
WHY: Final = {
    "transforms": "a prompt is never changed here",
    "route": "a failed attempt goes to the next cheapest candidate of the policy",
    "plugins": "there are no plugins",
    "usage": "usage is always asked for; `cost_usd` stands in it",
    "top_k": "it goes on only to providers that take it",
    "min_p": "it goes on only to providers that take it",
    "repetition_penalty": "it goes on only to providers that take it",
    "reasoning": "write reasoning_effort, or let the policy choose with `candidates: {effort: …}`",
}
PROVIDER_WHY: Final = {
    "order": "no order is kept: the cheapest provider that meets the policy serves",
    "allow_fallbacks": "leave one provider in the policy to have no other",
    "require_parameters": "always: a model that lacks what a request asks for is no candidate",
    "data_collection": "no provider's practice stands in the catalog; leave out those that you do not trust",
    "zdr": "as data_collection",
    "quantizations": "providers of one model differ here by price and latency only",
}
SORTS: Final = {
    "price": "that is how it is always chosen",
    "latency": 'write a limit (`ttft: "p95 <= 800ms"`) instead of an order: the cheapest that meets it serves',
    "throughput": 'write a limit (`tpot: "p95 <= 20ms"`) instead of an order',
}


def migrate(body: Any, migration: Migration, name: str = "from-openrouter") -> None:
    """Fill in what a request body means.

    Raises:
        MigrationError: it is none.
    """
    if not isinstance(body, dict) or not ("model" in body or "models" in body):
        raise MigrationError("it names no model, so it is no request for OpenRouter")
    asked = [body["model"], *(body.get("models") or [])] if "model" in body else list(body.get("models") or [])
    include = []
    for model in asked:
        if model == "openrouter/auto":
            migration.note("model", "`auto` is the same here; the policy includes tag:chat for it")
            include.append("tag:chat")
            continue
        plain, _, variant = str(model).partition(":")
        if variant:
            migration.note(str(model), f"the variant {variant!r} is left out: {_variant(variant)}")
        found = migration.model("model", plain)
        include += [found] if found else []
    provider = body.get("provider")
    rule, exclude = _provider(provider if isinstance(provider, dict) else {}, migration)
    for field in body.keys() - PROMPT:
        migration.note(field, WHY.get(field, "it has no meaning here, and would go on to the provider as it is"))
    if len(asked) > 1:
        migration.note(
            "models", "they are all candidates, and the cheapest that meets the policy serves; their order is not kept"
        )
    if not include:
        raise MigrationError("none of its models is in the catalog: " + "; ".join(note.why for note in migration.notes))
    migration.policy(slug(name), include, rule=rule, candidates={"exclude": exclude} if exclude else {})


def _variant(variant: str) -> str:
    return {
        "floor": "the cheapest provider serves anyway",
        "nitro": "write a limit on tpot",
        "free": "a price of zero would have to stand in the catalog",
        "online": "ask with web_search_options",
    }.get(variant, "it has no meaning here")


def _provider(given: dict[str, Any], migration: Migration) -> tuple[dict[str, Any], list[str]]:
    rule: dict[str, Any] = {}
    exclude = []
    for field, value in given.items():
        if field in ("ignore", "only") and isinstance(value, list):
            named = {slug(str(one)).replace("-", "") for one in value}
            known = {provider: slug(provider).replace("-", "") in named for provider in migration.catalog.providers}
            chosen = [provider for provider, is_named in known.items() if is_named]
            for one in sorted(named - {slug(provider).replace("-", "") for provider in chosen}):
                migration.note(f"provider.{field}", f"{one} is no provider of the catalog")
            exclude += [f"provider:{one}" for one, is_named in known.items() if is_named == (field == "ignore")]
        elif field == "sort":
            migration.note("provider.sort", SORTS.get(str(value), "it has no meaning here"))
        elif field == "max_price":
            migration.note(
                "provider.max_price", "prices a token are not limited; write `max_cost_usd` for a whole request"
            )
        else:
            migration.note(f"provider.{field}", PROVIDER_WHY.get(field, "it has no meaning here"))
    return rule, exclude
