"""OpenAI's Responses as answers: to and from the neutral form, whole.

Belongs here: plain answers, the items that streams are made of as well, and what must be counted of answers without meters.
Does not belong here: streams.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from router.core.errors import RouterError
from router.dialects.contract import Asked
from router.dialects.json_object import TopLevel
from router.dialects.neutral import Answer, Finish, Text, Thought, ToolUse
from router.dialects.openai.errors import MOST_WORDS
from router.dialects.openai.extra import extra
from router.dialects.reading import json_text
from router.dialects.request import foreign_metadata
from router.dialects.responses.conversation import ENCRYPTED, HIDDEN, SIGNED, thought_of
from router.dialects.responses.usage import usage_object, usage_of

_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_AMISS: Final = (LookupError, TypeError, AttributeError, UnicodeDecodeError, RecursionError, RouterError)
_ECHOED: Final[dict[str, bytes]] = {
    "instructions": b"null",
    "max_output_tokens": b"null",
    "max_tool_calls": b"null",
    "parallel_tool_calls": b"true",
    "prompt_cache_key": b"null",
    "reasoning": b'{"effort":null,"summary":null}',
    "safety_identifier": b"null",
    "temperature": b"1.0",
    "text": b'{"format":{"type":"text"}}',
    "tool_choice": b'"auto"',
    "top_p": b"1.0",
    "truncation": b'"disabled"',
    "user": b"null",
}
"""What a response repeats of its request, and what holds where that is silent (OpenAI API reference)."""
_NO_WORDS: Final = b"null"


def read_answer(body: bytes) -> Answer:
    """A plain answer. Items that no translated request can lead to are passed over.

    Raises:
        ValueError: it is no response, or tells of a failure.
    """
    try:
        document = msgspec.json.decode(body)
        blocks = [block for item in document["output"] for block in _blocks(item)]
        refused = any(part.get("type") == "refusal" for item in document["output"] for part in _content(item))
        failure = document.get("error")
        finish = finish_of(document, blocks=blocks, refused=refused)
    except _AMISS as error:
        raise ValueError(f"no response: {type(error).__name__}") from None
    if document.get("status") == "failed" or failure:
        raise ValueError(f"the response failed: {json_text(failure)[:MOST_WORDS]}")
    return Answer(
        id=str(document.get("id") or ""),
        model=str(document.get("model") or ""),
        blocks=tuple(blocks),
        finish=finish,
        usage=usage_of(body),
    )


def finish_of(document: dict[str, Any], *, blocks: object, refused: bool) -> Finish:
    """Why a response ended.

    Args:
        document: the response.
        blocks: what it says; only whether there are calls of tools among it counts.
        refused: whether it refuses.
    """
    if document.get("status") == "incomplete":
        why = document.get("incomplete_details")
        reason = why.get("reason") if isinstance(why, dict) else None
        return "refusal" if reason == "content_filter" else "length"
    if isinstance(blocks, list) and any(isinstance(block, ToolUse) for block in blocks):
        return "tools"
    return "refusal" if refused else "stop"


def _content(item: dict[str, Any]) -> list[dict[str, Any]]:
    return item.get("content") or [] if item.get("type") == "message" else []


def _blocks(item: dict[str, Any]) -> list[Text | Thought | ToolUse]:
    kind = item["type"]
    if kind == "message":
        said = [str(part["refusal" if part["type"] == "refusal" else "text"]) for part in item["content"]]
        return [Text(text) for text in said if text]
    if kind == "function_call":
        return [ToolUse(str(item["call_id"]), str(item["name"]), str(item.get("arguments") or ""))]
    if kind == "reasoning":
        thought = thought_of(item)
        return [Thought(thought)] if thought else []
    return []


class Written:
    """A response as it is written for one request: its parts, whole or for a stream.

    Args:
        asked: what it answers.
        answer_id: the provider's, where ours has none.
        model: who answers.
    """

    __slots__ = ("_at_s", "_head", "_sealed", "_suffix", "id")

    def __init__(self, asked: Asked, answer_id: str, model: str) -> None:
        top = asked.request.top
        self._at_s = asked.at_s
        self.id = asked.answer_id or answer_id
        self._suffix = self.id.removeprefix("resp_")
        said = asked.request.conversation
        self._sealed = said is not None and said.shows_thoughts and ENCRYPTED.encode() in (top.get("include") or b"")
        self._head: dict[str, Any] = {
            "id": self.id,
            "object": "response",
            "created_at": asked.at_s,
            "status": "in_progress",
            "background": asked.request.background,
            "error": None,
            "incomplete_details": None,
            "metadata": msgspec.Raw(foreign_metadata(top.get("metadata")) or b"{}"),
            "model": model,
            "output": [],
            "previous_response_id": asked.request.follows or None,
            "service_tier": "default",
            "store": asked.kept,
            "tools": _tools(top),
            "usage": None,
            **{name: msgspec.Raw(_given(top, name) or usual) for name, usual in _ECHOED.items()},
        }

    def begun(self) -> dict[str, Any]:
        """As it is when nothing has been said yet."""
        return self._head

    def ended(self, items: list[dict[str, Any]], finish: Finish, usage: dict[str, Any] | None) -> dict[str, Any]:
        """As it is at its end."""
        whole = finish not in ("length", "refusal")
        reason = None if whole else {"reason": "max_output_tokens" if finish == "length" else "content_filter"}
        return self._head | {
            "status": "completed" if whole else "incomplete",
            "completed_at": self._at_s if whole else None,
            "incomplete_details": reason,
            "output": items,
            "usage": usage,
        }

    def message(self, at: int, text: str | None, status: str) -> dict[str, Any]:
        """A message; None for one that has only begun."""
        content = [] if text is None else [a_part(text)]
        return {
            "id": f"msg_{self._suffix}{at}", "type": "message", "status": status, "role": "assistant", "content": content,
        }  # fmt: skip  # one item, one line

    def call(self, at: int, call: ToolUse, status: str) -> dict[str, Any]:
        """A call of a function."""
        return {
            "id": f"fc_{self._suffix}{at}", "type": "function_call", "status": status, "call_id": call.id,
            "name": call.name, "arguments": call.arguments, **extra(call.signature),
        }  # fmt: skip  # one item, one line

    def thought(self, at: int, thought: Thought) -> dict[str, Any]:
        """What was thought, and what its provider wants back with it, for callers who want to bring it back."""
        summary = [{"type": "summary_text", "text": thought.text}] if thought.text else []
        found: dict[str, Any] = {"id": f"rs_{self._suffix}{at}", "type": "reasoning", "summary": summary}
        if self._sealed and thought.signature:
            found["encrypted_content"] = (HIDDEN if thought.hidden else SIGNED) + thought.signature
        return found

    def item(self, at: int, block: Text | Thought | ToolUse, status: str = "completed") -> dict[str, Any]:
        """A block as an item that is whole."""
        if isinstance(block, Text):
            return self.message(at, block.text, status)
        if isinstance(block, ToolUse):
            whole = msgspec.structs.replace(block, arguments=block.arguments or "{}")
            return self.call(at, whole, status)
        return self.thought(at, block)


def a_part(text: str) -> dict[str, Any]:
    """Words of an answer."""
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def status_of(finish: Finish) -> str:
    """How the last item stands when an answer ends so."""
    return "incomplete" if finish in ("length", "refusal") else "completed"


def write_answer(answer: Answer, asked: Asked) -> bytes:
    """A plain answer."""
    written = Written(asked, answer.id, answer.model)
    last = len(answer.blocks) - 1
    items = [
        written.item(at, block, status_of(answer.finish) if at == last else "completed")
        for at, block in enumerate(answer.blocks)
    ]
    usage = None if answer.usage is None else usage_object(answer.usage)
    return msgspec.json.encode(written.ended(items, answer.finish, usage))


def _given(top: TopLevel, name: str) -> bytes | None:
    found = top.get(name)
    return None if found == _NO_WORDS else found


def _tools(top: TopLevel) -> list[dict[str, Any]]:
    """The request's tools as a response repeats them: what a function leaves out is said."""
    given = msgspec.json.decode(_given(top, "tools") or b"[]")
    filled = {"description": None, "parameters": None, "strict": True}
    return [filled | tool if tool.get("type") == "function" else tool for tool in given]


def is_answer(document: bytes) -> bool:
    """Whether a plain response is one of these."""
    try:
        return "output" in msgspec.json.decode(document, type=dict[str, msgspec.Raw])
    except _UNREADABLE:
        return False


def answered_text(document: bytes) -> list[str]:
    """All that a plain response says."""
    try:
        output = msgspec.json.decode(document)["output"]
        return [text for item in output for text in said_in(item)]
    except _AMISS:
        return []
    except msgspec.DecodeError:
        return []


def said_in(item: dict[str, Any]) -> list[str]:
    """What one item says, functions' names and arguments included."""
    if item.get("type") == "function_call":
        said = [item.get("name"), item.get("arguments")]
    else:
        lists = [found for name in ("summary", "content") if isinstance(found := item.get(name), list)]
        parts = [part for found in lists for part in found if isinstance(part, dict)]
        said = [part.get("text", part.get("refusal")) for part in parts] + [item.get("input"), item.get("code")]
    return [text for text in said if isinstance(text, str) and text]
