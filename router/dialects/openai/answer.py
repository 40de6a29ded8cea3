"""OpenAI chat completions as answers: to and from the neutral form, whole.

Belongs here: plain answers. Does not belong here: streams (events.py), and answers that are passed on untouched.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from router.core.values import Usage
from router.dialects.contract import Asked
from router.dialects.neutral import Answer, Finish, Text, Thought, ToolUse
from router.dialects.openai.extra import extra
from router.dialects.openai.usage import usage_of

FINISHES: Final[dict[str, Finish]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tools",
    "function_call": "tools",
    "content_filter": "refusal",
}
REASONS: Final[dict[Finish, str]] = {
    "stop": "stop",
    "length": "length",
    "tools": "tool_calls",
    "refusal": "content_filter",
    "pause": "stop",
}
"""`finish_reason` (OpenAI API reference) to ours and back."""
THOUGHTS: Final = ("reasoning_content", "reasoning")


def read_answer(body: bytes) -> Answer:
    """A plain answer.

    Raises:
        ValueError: it is no chat completion.
    """
    try:
        document = msgspec.json.decode(body)
        choice = document["choices"][0]
        message = choice["message"]
        calls = [_call(call) for call in message.get("tool_calls") or ()]
    except (LookupError, TypeError, AttributeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"no chat completion: {type(error).__name__}") from None
    thought = next((message[name] for name in THOUGHTS if isinstance(message.get(name), str)), "")
    texts = [message.get(name) for name in ("content", "refusal")]
    finish = FINISHES.get(str(choice.get("finish_reason")), "stop")
    return Answer(
        id=str(document.get("id") or ""),
        model=str(document.get("model") or ""),
        blocks=(
            *([Thought(thought)] if thought else ()),
            *(Text(text) for text in texts if isinstance(text, str) and text),
            *calls,
        ),
        # Some servers say `stop` behind calls of tools.
        finish="tools" if calls and finish == "stop" else "refusal" if message.get("refusal") else finish,
        usage=usage_of(body),
    )


def _call(call: dict[str, Any]) -> ToolUse:
    function = call["function"]
    return ToolUse(str(call["id"]), str(function["name"]), str(function.get("arguments") or ""))


def write_answer(answer: Answer, asked: Asked) -> bytes:
    """A plain answer."""
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    texts = [block.text for block in answer.blocks if isinstance(block, Text)]
    if texts:
        message["content"] = "".join(texts)
    thoughts = [block.text for block in answer.blocks if isinstance(block, Thought) and block.text]
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    calls = [block for block in answer.blocks if isinstance(block, ToolUse)]
    if calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments or "{}"}}
            | extra(call.signature)
            for call in calls
        ]
    document: dict[str, Any] = {
        "id": answer.id,
        "object": "chat.completion",
        "created": asked.at_s,
        "model": answer.model,
        "choices": [
            {"index": 0, "message": message, "logprobs": None, "finish_reason": REASONS[answer.finish]},
        ],
    }
    if answer.usage is not None:
        document["usage"] = usage_object(answer.usage)
    return msgspec.json.encode(document)


def usage_object(usage: Usage, cost: str | None = None) -> dict[str, Any]:
    """Meters as OpenAI's usage object, cached and written tokens within the prompt's."""
    found: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.cache_write_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
    return found if cost is None else found | {"cost_usd": cost}
