"""Converse's answers: to the neutral form, and what must be counted of those that have no meters.

Belongs here: plain answers. Does not belong here: streams (events.py).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from router.dialects.bedrock.usage import usage_of
from router.dialects.neutral import Answer, Finish, Text, Thought, ToolUse
from router.dialects.reading import json_text

FINISHES: Final[dict[str, Finish]] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tools",
    "guardrail_intervened": "refusal",
    "content_filtered": "refusal",
}
"""`stopReason` (Converse's types in botocore) to ours. Any other, such as ``malformed_tool_use``, means that the model failed:
an error, not an answer."""
_UNREADABLE: Final = (LookupError, TypeError, AttributeError, UnicodeDecodeError, RecursionError, msgspec.DecodeError)


def stop_sequence(more: object) -> str | None:
    """Which of the caller's ended it, from a model's own fields."""
    found = more.get("stop_sequence") if isinstance(more, dict) else None
    return found if isinstance(found, str) else None


def read_answer(body: bytes) -> Answer:
    """A plain answer. Blocks that no translated request can lead to are passed over.

    Raises:
        ValueError: it is none, or the model failed.
    """
    try:
        document = msgspec.json.decode(body)
        blocks = [_block(block) for block in document["output"]["message"]["content"]]
        reason = str(document["stopReason"])
        more = document.get("additionalModelResponseFields")
    except _UNREADABLE as error:
        raise ValueError(f"no answer: {type(error).__name__}") from None
    if reason not in FINISHES:
        raise ValueError(f"the model failed: {reason}")
    return Answer(
        id="",
        model="",
        blocks=tuple(block for block in blocks if block is not None),
        finish=FINISHES[reason],
        stop_sequence=stop_sequence(more),
        usage=usage_of(body),
    )


def _block(block: dict[str, Any]) -> Text | Thought | ToolUse | None:
    if "text" in block:
        return Text(str(block["text"]))
    if "toolUse" in block:
        call = block["toolUse"]
        return ToolUse(str(call["toolUseId"]), str(call["name"]), json_text(call["input"]))
    if "reasoningContent" in block:
        said = block["reasoningContent"]
        if "redactedContent" in said:
            return Thought("", str(said["redactedContent"]), hidden=True)
        return Thought(str(said["reasoningText"]["text"]), str(said["reasoningText"].get("signature") or ""))
    return None


def is_answer(document: bytes) -> bool:
    """Whether a plain response is an answer."""
    try:
        return "output" in msgspec.json.decode(document, type=dict[str, msgspec.Raw])
    except _UNREADABLE:
        return False


def answered_text(document: bytes) -> list[str]:
    """All that a plain response says."""
    try:
        blocks = [_block(block) for block in msgspec.json.decode(document)["output"]["message"]["content"]]
    except _UNREADABLE:
        return []
    said: list[str] = []
    for block in blocks:
        if isinstance(block, ToolUse):
            said += [block.name, block.arguments]
        elif block is not None:
            said.append(block.text or getattr(block, "signature", ""))
    return [text for text in said if text]
