"""A Converse body as the model sees it: as a Messages body, which shares the chat form and Anthropic's caches.

Belongs here: putting the body into that form. Does not belong here: refusing it (check.py).
"""

from __future__ import annotations

from typing import Any, Final

import orjson

_CHOICES: Final = {"auto": "auto", "any": "any", "tool": "tool"}


def as_messages(body: dict[str, Any], model: str, max_output: int) -> dict[str, Any]:
    """The body in Anthropic's form."""
    config = body.get("inferenceConfig") or {}
    found: dict[str, Any] = {
        "model": model,
        "max_tokens": config.get("maxTokens", max_output),
        "messages": [{"role": message["role"], "content": _blocks(message["content"])} for message in body["messages"]],
    }
    if body.get("system"):
        found["system"] = _blocks(body["system"])
    tools = body.get("toolConfig")
    if tools:
        found["tools"] = _with_points(
            {"name": tool["toolSpec"]["name"], "input_schema": tool["toolSpec"]["inputSchema"]["json"]}
            if "toolSpec" in tool
            else tool
            for tool in tools["tools"]
        )
        kind, more = next(iter((tools.get("toolChoice") or {"auto": {}}).items()))
        found["tool_choice"] = {"type": _CHOICES[kind], **more}
    if config.get("stopSequences"):
        found["stop_sequences"] = config["stopSequences"]
    output = body.get("outputConfig") or {}
    form = output.get("textFormat")
    if form:
        schema = orjson.loads(form["structure"]["jsonSchema"]["schema"])
        found["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    if "effort" in output:
        found.setdefault("output_config", {})["effort"] = output["effort"]
    thinking = (body.get("additionalModelRequestFields") or {}).get("thinking")
    return found | ({"thinking": thinking} if thinking else {})


def _blocks(content: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return _with_points(_block(block) for block in content)


def _with_points(blocks: Any) -> list[dict[str, Any]]:
    """The blocks, a cache point being a member of the one before it."""
    found: list[dict[str, Any]] = []
    for block in blocks:
        if "cachePoint" in block:
            found[-1]["cache_control"] = {"type": "ephemeral", "ttl": block["cachePoint"].get("ttl", "5m")}
        else:
            found.append(block)
    return found


def _block(block: dict[str, Any]) -> dict[str, Any]:
    kind, value = next(iter(block.items()))
    if kind == "text":
        return {"type": "text", "text": value}
    if kind in ("image", "document"):
        mime = f"image/{value['format']}" if kind == "image" else "application/pdf"
        source = {"type": "base64", "media_type": mime, "data": value["source"]["bytes"]}
        return {"type": kind, "source": source}
    if kind == "toolUse":
        return {"type": "tool_use", "id": value["toolUseId"], "name": value["name"], "input": value["input"]}
    if kind == "toolResult":
        return {"type": "tool_result", "tool_use_id": value["toolUseId"], "content": _blocks(value["content"])}
    if kind == "reasoningContent":
        said = value.get("reasoningText")
        if said is None:
            return {"type": "redacted_thinking", "data": value["redactedContent"]}
        return {"type": "thinking", "thinking": said["text"], "signature": said.get("signature")}
    return block
