"""Refusals of a Responses request, in OpenAI's words; and the request in the form that all simulated models share.

Belongs here: fields, items, parts and tools of a body, and putting it into chat form, which is checked further as a chat is.
Does not belong here: what is kept between requests (shelf.py).
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any, Final

from router.sim.refusal import Refusal
from router.sim.validate import check_chat

if TYPE_CHECKING:
    from router.sim.catalog import Model, Provider

FIELDS: Final = frozenset({
    "background", "background_options", "context_management", "conversation", "include", "input", "instructions",
    "max_output_tokens", "max_tool_calls", "metadata", "model", "moderation", "parallel_tool_calls",
    "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning",
    "safety_identifier", "service_tier", "store", "stream", "stream_options", "temperature", "text", "tool_choice",
    "tools", "top_logprobs", "top_p", "truncation", "user",
})  # fmt: skip
"""Every documented field that is simulated or harmless (the SDK 3.54's typed parameters, November 2026)."""
_LEAST_OUTPUT: Final = 16
_PARTS: Final = {
    "user": ("input_text", "input_image", "input_file"),
    "system": ("input_text", "input_image", "input_file"),
    "developer": ("input_text", "input_image", "input_file"),
    "assistant": ("output_text", "refusal"),
}
_ITEMS: Final = ("message", "function_call", "function_call_output", "reasoning")
_TOOLS: Final = ("function", "web_search", "web_search_preview", "file_search", "code_interpreter")
_KEYS: Final = {
    "message": {"type", "id", "role", "content", "status", "phase"},
    "function_call": {"type", "id", "call_id", "name", "arguments", "status", "namespace", "caller", "async"},
    "function_call_output": {"type", "id", "call_id", "output", "status", "name"},
    "reasoning": {"type", "id", "summary", "content", "encrypted_content", "status"},
}


def check(body: dict[str, Any], provider: Provider, model: Model, *, strict: bool) -> dict[str, Any]:
    """The body as a chat, once nothing is wrong with it.

    Raises:
        Refusal: 400 with the message, param and code.
    """
    unknown = sorted(set(body) - FIELDS)
    if unknown:
        raise Refusal(400, f"Unknown parameter: '{unknown[0]}'.", param=unknown[0], code="unknown_parameter")
    limit = body.get("max_output_tokens")
    if limit is not None and (not isinstance(limit, int) or limit < _LEAST_OUTPUT):
        message = f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {_LEAST_OUTPUT}, but got {limit} instead."
        raise Refusal(400, message, param="max_output_tokens", code="integer_below_min_value")
    chat: dict[str, Any] = {"model": body["model"], "messages": _messages(body)}
    tools = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(body.get("tools") or ())]
    functions = [tool for tool in tools if tool is not None]
    if functions:
        chat["tools"] = functions
        chat["tool_choice"] = _choice(body.get("tool_choice"))
    same = ("temperature", "top_p", "user", "metadata", "service_tier", "stream", "store", "safety_identifier")
    chat |= {
        name: body[name] for name in (*same, "prompt_cache_key", "prompt_cache_options") if body.get(name) is not None
    }
    reasoning, text = body.get("reasoning") or {}, body.get("text") or {}
    more = {
        "max_completion_tokens": limit,
        "parallel_tool_calls": body.get("parallel_tool_calls") if functions else None,
        "reasoning_effort": reasoning.get("effort"),
        "verbosity": text.get("verbosity"),
        "response_format": _format(text.get("format")),
        "logprobs": True if body.get("top_logprobs") else None,
        "top_logprobs": body.get("top_logprobs") or None,
    }
    chat |= {name: value for name, value in more.items() if value is not None}
    check_chat(chat, provider, model, strict=strict)
    return chat


def _messages(body: dict[str, Any]) -> list[dict[str, Any]]:
    given = body.get("input")
    if given is None or given in ("", []):
        raise Refusal.missing("input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(items, list):
        raise Refusal.of_type("input", "a string or an array", given)
    instructions = body.get("instructions")
    found: list[dict[str, Any]] = [{"role": "system", "content": instructions}] if instructions else []
    called: set[str] = set()
    for index, item in enumerate(items):
        _item(item, f"input[{index}]", found, called)
    if called:
        message = f"No tool output found for function call {min(called)}."
        raise Refusal(400, message, param="input")
    return found


def _item(item: Any, at: str, found: list[dict[str, Any]], called: set[str]) -> None:
    if not isinstance(item, dict):
        raise Refusal.of_type(at, "an object", item)
    kind = item.get("type") or "message"
    if kind not in _ITEMS:
        raise Refusal.of_value(f"{at}.type", kind, _ITEMS)
    extra = sorted(set(item) - _KEYS[kind])
    if extra:
        raise Refusal(400, f"Unknown parameter: '{at}.{extra[0]}'.", param=f"{at}.{extra[0]}", code="unknown_parameter")
    if kind == "message":
        found.append(_message(item, at))
    elif kind == "function_call":
        _call(item, at, found, called)
    elif kind == "function_call_output":
        _output(item, at, found, called)
    elif item.get("encrypted_content") not in (None, sealed(str(item.get("id")))):
        message = "The encrypted content could not be verified."
        raise Refusal(400, message, param=f"{at}.encrypted_content", code="invalid_encrypted_content")


def _call(item: dict[str, Any], at: str, found: list[dict[str, Any]], called: set[str]) -> None:
    for name in ("call_id", "name", "arguments"):
        if not isinstance(item.get(name), str):
            raise Refusal.missing(f"{at}.{name}")
    function = {"name": item["name"], "arguments": item["arguments"]}
    call = {"id": item["call_id"], "type": "function", "function": function}
    last = found[-1] if found else {}
    if last.get("tool_calls"):
        last["tool_calls"].append(call)
    else:
        found.append({"role": "assistant", "content": None, "tool_calls": [call]})
    called.add(item["call_id"])


def _output(item: dict[str, Any], at: str, found: list[dict[str, Any]], called: set[str]) -> None:
    call_id = item.get("call_id")
    if call_id not in called:
        message = f"No tool call found for function call output with call_id {call_id}."
        raise Refusal(400, message, param="input")
    called.discard(call_id)
    output = item.get("output")
    if not isinstance(output, str):
        if not isinstance(output, list):
            raise Refusal.of_type(f"{at}.output", "a string or an array", output)
        output = "".join(_text_of(_part(part, f"{at}.output", "user")) for part in output)
    found.append({"role": "tool", "tool_call_id": call_id, "content": output})


def _text_of(part: dict[str, Any]) -> str:
    return str(part.get("text") or part.get("image_url") or "")


def _message(item: dict[str, Any], at: str) -> dict[str, Any]:
    role, content = item.get("role"), item.get("content")
    if role not in _PARTS:
        raise Refusal.of_value(f"{at}.role", role, _PARTS)
    if isinstance(content, list):
        content = [_part(part, f"{at}.content[{number}]", role) for number, part in enumerate(content)]
    elif not isinstance(content, str):
        raise Refusal.missing(f"{at}.content")
    return {"role": role, "content": content}


def _part(part: Any, at: str, role: str) -> dict[str, Any]:
    """A part of a message as a chat has it."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind not in _PARTS[role]:
        raise Refusal.of_value(f"{at}.type", kind, _PARTS[role])
    if kind in ("input_text", "output_text"):
        if not isinstance(part.get("text"), str):
            raise Refusal.missing(f"{at}.text")
        return {"type": "text", "text": part["text"]}
    if kind == "refusal":
        return {"type": "refusal", "refusal": part.get("refusal")}
    if kind == "input_file":
        if not part.get("file_data") and not part.get("file_url"):
            raise Refusal.missing(f"{at}.file_data")
        return {"type": "file", "file": {"file_data": part.get("file_data") or part["file_url"]}}
    if not part.get("image_url"):
        raise Refusal.missing(f"{at}.image_url")
    return {"type": "image_url", "image_url": {"url": part["image_url"], "detail": part.get("detail") or "auto"}}


def _tool(tool: Any, at: str) -> dict[str, Any] | None:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if kind not in _TOOLS:
        raise Refusal.of_value(f"{at}.type", kind, _TOOLS)
    if kind != "function":
        return None
    if "function" in tool or not isinstance(tool.get("name"), str):
        raise Refusal.missing(f"{at}.name")
    function = {
        name: tool[name] for name in ("name", "description", "parameters", "strict") if tool.get(name) is not None
    }
    return {"type": "function", "function": function}


def _choice(choice: Any) -> Any:
    if isinstance(choice, dict) and choice.get("type") == "function":
        return {"type": "function", "function": {"name": choice.get("name")}}
    return "auto" if choice is None or isinstance(choice, dict) else choice


def _format(form: Any) -> Any:
    if not isinstance(form, dict) or form.get("type") != "json_schema":
        return form
    said = {name: form[name] for name in ("name", "schema", "strict", "description") if form.get(name) is not None}
    return {"type": "json_schema", "json_schema": said}


def sealed(item_id: str) -> str:
    """What this simulator puts into a reasoning item's ``encrypted_content``."""
    return base64.b64encode(b"sim" + hashlib.blake2b(item_id.encode(), digest_size=48).digest()).decode()
