"""Anthropic's messages as answers: to and from the neutral form, whole.

Belongs here: plain answers, and what must be counted of those that have no meters. Does not belong here: streams.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from router.core.values import Usage
from router.dialects.anthropic.usage import usage_object, usage_of
from router.dialects.contract import Asked
from router.dialects.neutral import Answer, Finish, Text, Thought, ToolUse
from router.dialects.reading import json_object, json_text
from router.dialects.signatures import UNSIGNED

FINISHES: Final[dict[str, Finish]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tools",
    "refusal": "refusal",
    "pause_turn": "pause",
}
REASONS: Final[dict[Finish, str]] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tools": "tool_use",
    "refusal": "refusal",
    "pause": "pause_turn",
}
"""`stop_reason` (Anthropic API reference) to ours and back."""
UNPARSED: Final = "unparsed_arguments"
"""Holds arguments that are no JSON object, mostly cut off by a limit: a message can hold nothing but an object."""
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_SAYS: Final = ("text", "thinking", "data", "partial_json")


def reason(finish: Finish, stop_sequence: str | None) -> str:
    """`stop_reason` of an answer that ended so."""
    return "stop_sequence" if finish == "stop" and stop_sequence is not None else REASONS[finish]


def read_answer(body: bytes) -> Answer:
    """A plain answer. Blocks that no translated request can lead to are passed over.

    Raises:
        ValueError: it is no message.
    """
    try:
        document = msgspec.json.decode(body)
        blocks = [_block(block) for block in document["content"]]
        finish = FINISHES.get(str(document.get("stop_reason")), "stop")
    except (LookupError, TypeError, AttributeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"no message: {type(error).__name__}") from None
    stop = document.get("stop_sequence")
    return Answer(
        id=str(document.get("id") or ""),
        model=str(document.get("model") or ""),
        blocks=tuple(block for block in blocks if block is not None),
        finish=finish,
        stop_sequence=stop if isinstance(stop, str) else None,
        usage=usage_of(body),
    )


def _block(block: dict[str, Any]) -> Text | Thought | ToolUse | None:
    kind = block["type"]
    if kind == "text":
        return Text(str(block["text"]))
    if kind == "thinking":
        return Thought(str(block["thinking"]), str(block["signature"]))
    if kind == "redacted_thinking":
        return Thought("", str(block["data"]), hidden=True)
    if kind == "tool_use":
        return ToolUse(str(block["id"]), str(block["name"]), json_text(block["input"]))
    return None


def write_answer(answer: Answer, asked: Asked) -> bytes:  # noqa: ARG001 - one shape for all
    """A plain answer."""
    return msgspec.json.encode(
        {
            "id": answer.id,
            "type": "message",
            "role": "assistant",
            "model": answer.model,
            "content": [_written(block) for block in answer.blocks],
            "stop_reason": reason(answer.finish, answer.stop_sequence),
            "stop_sequence": answer.stop_sequence,
            "usage": usage_object(answer.usage or Usage(0)),
        }
    )


def _written(block: Text | Thought | ToolUse) -> dict[str, Any]:
    if isinstance(block, Text):
        return {"type": "text", "text": block.text}
    if isinstance(block, ToolUse):
        given = json_object(block.arguments)
        said = {UNPARSED: block.arguments} if given is None else given
        return {"type": "tool_use", "id": block.id, "name": block.name, "input": said}
    if block.hidden:
        return {"type": "redacted_thinking", "data": block.signature}
    return {"type": "thinking", "thinking": block.text, "signature": block.signature or UNSIGNED}


def is_answer(document: bytes) -> bool:
    """Whether a plain response is a message."""
    try:
        return "content" in msgspec.json.decode(document, type=dict[str, msgspec.Raw])
    except _UNREADABLE:
        return False


def answered_text(document: bytes) -> list[str]:
    """All that a plain response says."""
    try:
        content = msgspec.json.decode(document)["content"]
        return [text for block in content for text in said_in(block)]
    except (LookupError, TypeError, AttributeError, UnicodeDecodeError, RecursionError, msgspec.DecodeError):
        return []


def said_in(block: dict[str, Any]) -> list[str]:
    """What one block or delta says, tools' names and arguments included."""
    said = [block[name] for name in _SAYS if isinstance(block.get(name), str)]
    if block.get("type") in ("tool_use", "server_tool_use"):
        said += [str(block.get("name") or ""), json_text(block["input"]) if block.get("input") else ""]
    return [text for text in said if text]
