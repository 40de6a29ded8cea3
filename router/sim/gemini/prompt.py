"""A generateContent body as the model sees it: the chat form that metering and answering share.

Belongs here: putting the body into that form. Does not belong here: refusing it (check.py).
"""

from __future__ import annotations

from typing import Any, Final

import orjson

_EFFORTS: Final = {"MINIMAL": "minimal", "LOW": "low", "MEDIUM": "medium", "HIGH": "high"}
_MODES: Final = {"AUTO": "auto", "VALIDATED": "auto", "ANY": "required", "NONE": "none"}


_FREE: Final = frozenset(
    {"args", "response", "parameters", "parametersJsonSchema", "responseSchema", "responseJsonSchema"}
)
"""Members whose own keys are the caller's."""


def in_camel_case(given: Any) -> Any:
    """The body with its fields' names as they are documented: Google's reader takes ``top_p`` for ``topP``."""
    if isinstance(given, list):
        return [in_camel_case(one) for one in given]
    if not isinstance(given, dict):
        return given
    found = {}
    for name, value in given.items():
        first, *more = name.split("_")
        camel = first + "".join(word.capitalize() for word in more)
        found[camel] = value if camel in _FREE else in_camel_case(value)
    return found


def as_chat(body: dict[str, Any], model: str) -> dict[str, Any]:
    """The body in OpenAI's form."""
    config = body.get("generationConfig") or {}
    chat: dict[str, Any] = {"model": model, "messages": []}
    if "maxOutputTokens" in config:
        chat["max_tokens"] = config["maxOutputTokens"]
    system = body.get("systemInstruction")
    if system:
        chat["messages"].append({"role": "system", "content": "".join(part["text"] for part in system["parts"])})
    for content in body["contents"]:
        chat["messages"] += _messages(content)
    declared = [one for tool in body.get("tools") or () for one in tool["functionDeclarations"]]
    if declared:
        chat["tools"] = [
            {"type": "function", "function": {"name": one["name"], "parameters": one.get("parametersJsonSchema") or {}}}
            for one in declared
        ]
        choice = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
        chat["tool_choice"] = _MODES[choice.get("mode", "AUTO")]
        allowed = choice.get("allowedFunctionNames")
        if allowed:
            chat["tool_choice"] = {"type": "function", "function": {"name": allowed[0]}}
    if config.get("stopSequences"):
        chat["stop"] = config["stopSequences"]
    if "seed" in config:
        chat["seed"] = config["seed"]
    if config.get("responseMimeType") == "application/json":
        schema = config.get("responseJsonSchema")
        chat["response_format"] = (
            {"type": "json_schema", "json_schema": {"schema": schema}} if schema else {"type": "json_object"}
        )
    chat["reasoning_effort"] = _effort(config.get("thinkingConfig") or {})
    return chat


def _effort(thinking: dict[str, Any]) -> str:
    budget = thinking.get("thinkingBudget")
    if budget == 0:
        return "none"
    if budget is not None and budget > 0:
        return "low" if budget < 4096 else "medium" if budget < 16_384 else "high"
    return _EFFORTS.get(thinking.get("thinkingLevel", ""), "medium")


def _messages(content: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    calls: list[dict[str, Any]] = []
    for part in content["parts"]:
        if "functionResponse" in part:
            said = part["functionResponse"]
            text = orjson.dumps(said["response"]).decode()
            found.append({"role": "tool", "tool_call_id": said.get("id") or said["name"], "content": text})
        elif "functionCall" in part:
            call = part["functionCall"]
            function = {"name": call["name"], "arguments": orjson.dumps(call.get("args") or {}).decode()}
            calls.append({"id": call.get("id") or call["name"], "type": "function", "function": function})
        elif "inlineData" in part:
            data = part["inlineData"]
            if data["mimeType"].startswith("image/"):
                url = f"data:{data['mimeType']};base64,{data['data']}"
                parts.append({"type": "image_url", "image_url": {"url": url}})
            else:
                parts.append({"type": "text", "text": data["data"][:20_000]})
        else:
            parts.append({"type": "text", "text": part["text"]})
    role = "assistant" if content.get("role") == "model" else "user"
    if parts or calls:
        found.append({"role": role, "content": parts} | ({"tool_calls": calls} if calls else {}))
    return found
