"""Refusals of a Messages body: what Anthropic's API reference and its SDK's types demand.

Belongs here: every rule about the fields and the conversation. Does not belong here: metering and answering.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any, Final

from router.sim.anthropic.refusal import wrong
from router.sim.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from router.sim.catalog import Model

_FIELDS: Final = frozenset(
    {
        "model", "messages", "max_tokens", "system", "metadata", "stop_sequences", "stream", "temperature", "top_p", "top_k",
        "tools", "tool_choice", "thinking", "output_config", "service_tier", "cache_control", "container", "inference_geo",
        "speed",
    }
)  # fmt: skip  # one line a field would fill the page
_BLOCKS: Final = {
    "user": ("text", "image", "document", "tool_result", "search_result"),
    "assistant": ("text", "thinking", "redacted_thinking", "tool_use"),
}
_KEYS: Final[dict[str, frozenset[str]]] = {
    "text": frozenset({"type", "text", "cache_control", "citations"}),
    "image": frozenset({"type", "source", "cache_control"}),
    "document": frozenset({"type", "source", "cache_control", "title", "context", "citations"}),
    "search_result": frozenset({"type", "source", "title", "content", "cache_control", "citations"}),
    "thinking": frozenset({"type", "thinking", "signature"}),
    "redacted_thinking": frozenset({"type", "data"}),
    "tool_use": frozenset({"type", "id", "name", "input", "cache_control", "caller"}),
    "tool_result": frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"}),
}
_MIMES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
_NO_SAMPLING: Final = "2026-10-21"
"""From this version on, sampling parameters are refused."""
MOST_BREAKPOINTS: Final = 4
LEAST_BUDGET: Final = 1024


def check(body: dict[str, Any], model: Model, version: str) -> None:
    """Refuse what Anthropic refuses.

    Raises:
        Refusal: 400 with the path of the field at fault.
    """
    for name in body:
        if name not in _FIELDS:
            raise wrong(name, "Extra inputs are not permitted")
    limit = body.get("max_tokens")
    if limit is None:
        raise wrong("max_tokens", "Field required")
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise wrong("max_tokens", "Input should be greater than or equal to 1")
    if limit > model.max_output:
        raise wrong("max_tokens", f"{limit} > {model.max_output}, which is the maximum allowed number of output tokens")
    _sampling(body, model, version)
    _tools(body)
    _thinking(body, model)
    _control(body.get("cache_control"), "body")
    _system(body.get("system"))
    _messages(body.get("messages"), model)
    _stops(body.get("stop_sequences"))
    if sum(1 for _ in breakpoints(body)) > MOST_BREAKPOINTS:
        raise Refusal(400, "A maximum of 4 blocks with cache_control may be provided.")


def breakpoints(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every cache_control of a body, in the prompt's order."""
    for block in (*blocks(body), body):
        control = block.get("cache_control")
        if control is not None:
            yield control


def blocks(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Everything of a prompt that can have a breakpoint, in the order in which it is rendered."""
    yield from body.get("tools") or ()
    yield from _as_blocks(body.get("system") or "")
    for message in body["messages"]:
        yield from _as_blocks(message["content"])


def _as_blocks(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return ([{"type": "text", "text": content}] if content else []) if isinstance(content, str) else content


def _sampling(body: dict[str, Any], model: Model, version: str) -> None:
    given = [name for name in ("temperature", "top_p", "top_k") if body.get(name) is not None]
    if not given:
        return
    if version >= _NO_SAMPLING:
        raise wrong(given[0], "Extra inputs are not permitted")
    temperature, top_p = body.get("temperature"), body.get("top_p")
    if temperature is not None and not (isinstance(temperature, (int, float)) and 0 <= temperature <= 1):
        raise wrong("temperature", "Input should be less than or equal to 1")
    if temperature not in (None, 1) and top_p not in (None, 1):
        raise Refusal(400, "`temperature` and `top_p` cannot both be specified for this model.")
    if model.fixed_sampling and any(body[name] != 1 for name in given):
        raise wrong(given[0], "is not supported by this model")


def _thinking(body: dict[str, Any], model: Model) -> None:
    thinking = body.get("thinking") or {"type": "disabled"}
    effort = (body.get("output_config") or {}).get("effort")
    if effort is not None and effort not in ("low", "medium", "high", "xhigh", "max"):
        raise wrong("output_config.effort", "Input should be 'low', 'medium', 'high', 'xhigh' or 'max'")
    if effort is not None and "reasoning_effort" not in model.capabilities:
        raise Refusal(400, "This model does not support the effort parameter.")
    form = (body.get("output_config") or {}).get("format")
    if form is not None and (form.get("type") != "json_schema" or not isinstance(form.get("schema"), dict)):
        raise wrong("output_config.format", "Input should be a json_schema with a schema")
    if thinking.get("type") != "enabled":
        return
    budget = thinking.get("budget_tokens")
    if "thinking_budget" not in model.capabilities:
        raise Refusal(400, "thinking.type: 'enabled' is not supported by this model; use 'adaptive'.")
    if not isinstance(budget, int) or budget < LEAST_BUDGET:
        raise wrong("thinking.enabled.budget_tokens", "Input should be greater than or equal to 1024")
    if budget >= body["max_tokens"]:
        raise Refusal(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")
    if body.get("temperature") not in (None, 1):
        raise Refusal(400, "`temperature` may only be set to 1 when thinking is enabled.")
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise Refusal(400, "Thinking may not be enabled when tool_choice forces tool use.")


def _searches(tool: dict[str, Any], at: str) -> bool:
    """Whether it is a search of the web that runs here."""
    if not str(tool.get("type")).startswith("web_search_"):
        return False
    if tool.get("name") != "web_search":
        raise wrong(f"{at}.web_search_20250305.name", "Input should be 'web_search'")
    return True


def _tools(body: dict[str, Any]) -> None:
    names = set()
    own = [(f"tools.{number}", tool) for number, tool in enumerate(body.get("tools") or ())]
    for at, tool in (entry for entry in own if not _searches(entry[1], entry[0])):
        if tool.get("type") not in (None, "custom"):
            raise wrong(f"{at}.type", "this tool is not simulated")
        if not isinstance(tool.get("name"), str) or not 1 <= len(tool["name"]) <= 128:
            raise wrong(f"{at}.custom.name", "String should match pattern '^[a-zA-Z0-9_-]{1,128}$'")
        schema = tool.get("input_schema")
        if not isinstance(schema, dict) or schema.get("type") != "object":
            raise wrong(f"{at}.custom.input_schema.type", "Field required")
        if tool["name"] in names:
            raise wrong("tools", "Tool names must be unique.")
        names.add(tool["name"])
    choice = body.get("tool_choice")
    if choice is None:
        return
    if not isinstance(choice, dict) or choice.get("type") not in ("auto", "any", "tool", "none"):
        raise wrong(
            "tool_choice", "Input tag found does not match any of the expected tags: 'auto', 'any', 'tool', 'none'"
        )
    if not names:
        raise wrong("tool_choice", "may only be specified while providing tools")
    if choice["type"] == "tool" and choice.get("name") not in names:
        raise wrong("tool_choice", f"Tool '{choice.get('name')}' not found in provided tools")


def _stops(stops: Any) -> None:
    if stops is None:
        return
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise wrong("stop_sequences", "Input should be a valid list of strings")
    if any(not stop.strip() for stop in stops):
        raise wrong("stop_sequences", "each stop sequence must contain non-whitespace")


def _system(system: Any) -> None:
    if system is None or isinstance(system, str):
        return
    if not isinstance(system, list) or any(block.get("type") != "text" for block in system):
        raise wrong("system", "Input should be a valid string or a list of text blocks")
    for number, block in enumerate(system):
        _text(block, f"system.{number}")


def _messages(messages: Any, model: Model) -> None:
    if not isinstance(messages, list) or not messages:
        raise wrong("messages", "at least one message is required")
    waiting: set[str] = set()
    for number, message in enumerate(messages):
        at = f"messages.{number}"
        role, content = _message(message, at)
        if role == "user":
            _results(content, at, waiting)
            waiting = set()
        for place, block in enumerate(content):
            _block(block, f"{at}.content.{place}", role, model)
        if role == "assistant":
            waiting |= {block["id"] for block in content if block["type"] == "tool_use"}
    if waiting:
        raise Refusal(400, f"messages.{len(messages) - 1}: `tool_use` ids were found without `tool_result` blocks.")


def _message(message: Any, at: str) -> tuple[str, list[Any]]:
    """Its role, and its content as blocks."""
    if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
        raise wrong(f"{at}.role", "Input should be 'user' or 'assistant'")
    extra = set(message) - {"role", "content"}
    if extra:
        raise wrong(f"{at}.{min(extra)}", "Extra inputs are not permitted")
    content = message.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, list) or not content:
        raise wrong(f"{at}.content", "Input should be a non-empty list or string")
    return message["role"], content


def _results(content: list[Any], at: str, waiting: set[str]) -> None:
    """Results come first, one for each call of the turn before, and for nothing else."""
    answered = [block.get("tool_use_id") for block in content if block.get("type") == "tool_result"]
    for name in answered:
        if name not in waiting:
            message = f"unexpected `tool_use_id` found in `tool_result` blocks: {name}"
            raise wrong(f"{at}.content", message)
    if waiting - set(answered):
        missing = ", ".join(sorted(waiting - set(answered)))
        raise wrong(at, f"`tool_use` ids were found without `tool_result` blocks immediately after: {missing}")
    if any(block.get("type") != "tool_result" for block in content[: len(answered)]):
        raise wrong(f"{at}.content", "`tool_result` blocks must come first")


def _block(block: Any, at: str, role: str, model: Model) -> None:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind not in _BLOCKS[role]:
        raise wrong(at, f"Input tag '{kind}' found using 'type' does not match any of the expected tags")
    extra = set(block) - _KEYS[kind]
    if extra:
        raise wrong(f"{at}.{kind}.{min(extra)}", "Extra inputs are not permitted")
    _control(block.get("cache_control"), at)
    if kind == "text":
        _text(block, at)
    elif kind in ("image", "document"):
        _media(block, at, model)
    elif kind == "thinking" and block.get("signature") != signature(str(block.get("thinking"))):
        raise wrong(at, "Invalid `signature` in `thinking` block")
    elif kind == "tool_use" and not isinstance(block.get("input"), dict):
        raise wrong(f"{at}.tool_use.input", "Input should be a valid dictionary")
    elif kind == "tool_result" and isinstance(block.get("content"), list):
        for place, part in enumerate(block["content"]):
            _block(part, f"{at}.content.{place}", "user", model)


def _control(control: Any, at: str) -> None:
    if control is not None and (control.get("type") != "ephemeral" or control.get("ttl") not in (None, "5m", "1h")):
        raise wrong(f"{at}.cache_control", "Input should be ephemeral with a ttl of '5m' or '1h'")


def _media(block: dict[str, Any], at: str, model: Model) -> None:
    if block["type"] == "image":
        if "vision" not in model.capabilities:
            raise wrong(at, "this model does not take images")
        _source(block.get("source"), at, _MIMES)
    else:
        _source(block.get("source"), at, ("application/pdf", "text/plain"))


def _text(block: dict[str, Any], at: str) -> None:
    if not isinstance(block.get("text"), str):
        raise wrong(f"{at}.text", "Input should be a valid string")
    if not block["text"]:
        raise wrong(at, "text content blocks must be non-empty")
    if not block["text"].strip():
        raise wrong(at, "text content blocks must contain non-whitespace text")


def _source(source: Any, at: str, mimes: tuple[str, ...]) -> None:
    kind = source.get("type") if isinstance(source, dict) else None
    if kind == "url":
        if not str(source.get("url")).startswith("https://"):
            raise wrong(f"{at}.source", "Only HTTPS URLs are supported.")
    elif kind in ("base64", "text"):
        if source.get("media_type") not in mimes or not isinstance(source.get("data"), str):
            raise wrong(f"{at}.source.media_type", f"Input should be one of {', '.join(mimes)}")
    else:
        raise wrong(f"{at}.source", "Input tag does not match any of the expected tags: 'base64', 'url', 'text'")


def signature(thinking: str) -> str:
    """What this simulator signs a thought with."""
    return base64.b64encode(b"sim" + hashlib.blake2b(thinking.encode(), digest_size=30).digest()).decode()
