"""Refusals of a Converse body: what Amazon's service model demands.

Belongs here: every rule about the fields and the conversation. Does not belong here: metering and answering.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Any, Final

from router.sim.refusal import Refusal

if TYPE_CHECKING:
    from router.sim.catalog import Model

_FIELDS: Final = frozenset(
    {"messages", "system", "inferenceConfig", "toolConfig", "outputConfig", "serviceTier", "performanceConfig"}
    | {"additionalModelRequestFields", "additionalModelResponseFieldPaths", "requestMetadata"}
)
_BLOCKS: Final = {
    "user": frozenset({"text", "image", "document", "toolResult", "cachePoint"}),
    "assistant": frozenset({"text", "toolUse", "reasoningContent", "cachePoint"}),
}
_RESULT: Final = frozenset({"text", "json", "image", "document"})
_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_PAPER: Final = re.compile(r"[a-zA-Z0-9\-()\[\]]+(?: [a-zA-Z0-9\-()\[\]]+)*")
_FORMATS: Final = {"image": ("png", "jpeg", "gif", "webp"), "document": ("pdf", "csv", "docx", "html", "txt", "md")}
_CACHES: Final = ("anthropic.", "amazon.nova")
MOST_BREAKPOINTS: Final = 4


def wrong(message: str) -> Refusal:
    """A request that cannot be as it is."""
    return Refusal(400, message)


def check(body: dict[str, Any], model: Model) -> None:
    """Refuse what Bedrock refuses.

    Raises:
        Refusal: 400.
    """
    _known(body, _FIELDS, "the request")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise wrong("A conversation must start with a user message. Try again with a conversation that starts so.")
    _messages(messages, model)
    for block in body.get("system") or ():
        _known(block, ("text", "cachePoint"), "system")
    _config(body.get("inferenceConfig") or {}, model)
    _tools(body, model)
    _output(body.get("outputConfig") or {}, model)
    if breakpoints(body) > MOST_BREAKPOINTS:
        raise wrong("You have exceeded the maximum number of cache points: 4.")
    if breakpoints(body) and not any(name in model.upstream for name in _CACHES):
        raise wrong("The model does not support prompt caching.")


def breakpoints(body: dict[str, Any]) -> int:
    """How many cache points there are."""
    lists = [body.get("system") or [], (body.get("toolConfig") or {}).get("tools") or []]
    lists += [message["content"] for message in body["messages"]]
    return sum("cachePoint" in block for blocks in lists for block in blocks)


def _known(given: Any, names: Any, where: str) -> None:
    if not isinstance(given, dict):
        raise wrong(f"{where} must be an object")
    for name in given:
        if name not in names:
            raise wrong(f"Malformed input request: extraneous key [{name}] is not permitted in {where}")


def _messages(messages: list[Any], model: Model) -> None:
    waiting: list[str] = []
    before = "assistant"
    for number, message in enumerate(messages):
        at = f"messages.{number}"
        _known(message, ("role", "content"), at)
        role, content = message.get("role"), message.get("content")
        if role not in _BLOCKS or role == before:
            raise wrong(
                f"{at}: A conversation must alternate between user and assistant roles, beginning with the user."
            )
        if not isinstance(content, list) or not content:
            raise wrong(f"The content field in the Message object at {at} is empty.")
        for block in content:
            _block(block, _BLOCKS[role], at, model)
        answered = [block["toolResult"]["toolUseId"] for block in content if "toolResult" in block]
        if sorted(answered) != sorted(waiting):
            raise wrong(f"{at}: The number of toolResult blocks exceeds, or falls short of, the toolUse blocks before.")
        waiting = [block["toolUse"]["toolUseId"] for block in content if "toolUse" in block]
        if any("document" in block for block in content) and not any("text" in block for block in content):
            raise wrong("A text block must be included with a document.")
        before = role
    if before != "user":
        raise wrong("The conversation must end with a user message.")


def _block(block: Any, kinds: frozenset[str], at: str, model: Model) -> None:
    _known(block, kinds, at)
    if len(block) != 1:
        raise wrong(f"{at}: a content block is a union; set one member")
    kind, value = next(iter(block.items()))
    if kind == "text" and (not isinstance(value, str) or not value):
        raise wrong(f"{at}: The text field in the ContentBlock object is blank.")
    if kind in _FORMATS:
        _media(kind, value, at, model)
    elif kind == "toolUse":
        _known(value, ("toolUseId", "name", "input"), at)
        if _ID.fullmatch(value["toolUseId"]) is None or not isinstance(value["input"], dict):
            raise wrong(f"{at}.toolUse: toolUseId must match [a-zA-Z0-9_-]+, and input be an object")
    elif kind == "toolResult":
        _known(value, ("toolUseId", "content", "status"), at)
        if value.get("status", "success") not in ("success", "error"):
            raise wrong(f"{at}.toolResult.status: success or error")
        for part in value["content"]:
            _block(part, _RESULT, at, model)
    elif kind == "reasoningContent":
        _known(value, ("reasoningText", "redactedContent"), at)


def _media(kind: str, value: Any, at: str, model: Model) -> None:
    _known(value, ("format", "source", "name"), at)
    _known(value.get("source"), ("bytes",), at)
    base64.b64decode(value["source"]["bytes"])
    if value.get("format") not in _FORMATS[kind]:
        raise wrong(f"{at}.{kind}.format must be one of {', '.join(_FORMATS[kind])}")
    if kind == "document" and _PAPER.fullmatch(value.get("name", "")) is None:
        raise wrong(
            "The document file name can only contain alphanumerics, single spaces, hyphens, parentheses, brackets."
        )
    if "vision" not in model.capabilities:
        raise wrong("This model doesn't support the image content block that you provided.")


def _config(config: dict[str, Any], model: Model) -> None:
    _known(config, ("maxTokens", "temperature", "topP", "stopSequences"), "inferenceConfig")
    limit = config.get("maxTokens")
    if limit is not None and not 1 <= limit <= model.max_output:
        raise wrong(f"The maximum tokens you requested exceeds the model limit of {model.max_output}.")
    for name in ("temperature", "topP"):
        if not 0 <= config.get(name, 0) <= 1:
            raise wrong(f"inferenceConfig.{name} must be at most 1")
        if model.fixed_sampling and config.get(name) not in (None, 1):
            raise wrong(f"{name} is not supported by this model")


def _tools(body: dict[str, Any], model: Model) -> None:
    config = body.get("toolConfig")
    uses = any("toolUse" in block for message in body["messages"] for block in message["content"])
    if config is None:
        if uses:
            raise wrong("The toolConfig field must be defined when using toolUse and toolResult content blocks.")
        return
    _known(config, ("tools", "toolChoice"), "toolConfig")
    names = []
    for tool in config["tools"]:
        _known(tool, ("toolSpec", "cachePoint"), "toolConfig.tools")
        spec = tool.get("toolSpec")
        if spec is not None:
            _known(spec, ("name", "description", "inputSchema", "strict"), "toolSpec")
            if _NAME.fullmatch(spec["name"]) is None or spec["inputSchema"]["json"].get("type") != "object":
                raise wrong("toolSpec.name must match [a-zA-Z0-9_-]+; inputSchema.json.type must be object")
            names.append(spec["name"])
    if "tools" not in model.capabilities:
        raise wrong("This model doesn't support tool use.")
    choice = config.get("toolChoice") or {"auto": {}}
    _known(choice, ("auto", "any", "tool"), "toolChoice")
    if "tool" in choice and choice["tool"].get("name") not in names:
        raise wrong("toolChoice.tool.name is none of the tools")


def _output(config: dict[str, Any], model: Model) -> None:
    _known(config, ("textFormat", "effort"), "outputConfig")
    form = config.get("textFormat")
    if form is not None and (form.get("type") != "json_schema" or "json_schema" not in model.capabilities):
        raise wrong("outputConfig.textFormat is not supported by this model")
    if "effort" in config and "reasoning_effort" not in model.capabilities:
        raise wrong("outputConfig.effort is not supported by this model")
