"""What OpenAI is told to keep of a prompt that nobody else has spoken of: from GPT-5.6 on, keeping costs a quarter more.

Belongs here: putting ``prompt_cache_options`` and a breakpoint where the decision says. Does not belong here: whether it pays
(`router.core.deciding.prefixes`), and options and breakpoints of callers, which are left alone.

By itself OpenAI keeps each prompt up to its latest message. Told ``explicit``, it keeps what stands before breakpoints, or
nothing where there are none (openai SDK, ``PromptCacheOptions``).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

EXPLICIT: Final = {"mode": "explicit"}
OPTIONS: Final = msgspec.json.encode(EXPLICIT)
_NAME: Final = "prompt_cache_options"


def in_members(messages: bytes, keeps: str) -> dict[str, bytes]:
    """The members of a caller's body that change, by what a decision keeps. Nothing where its first message ends with something
    that can have no breakpoint, or it cannot be read: then OpenAI keeps what it keeps by itself.
    """
    if keeps == "none":
        return {_NAME: OPTIONS}
    if keeps != "head":
        return {}
    try:
        said: list[dict[str, Any]] = msgspec.json.decode(messages)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    first = _marked(said)
    return {} if first is None else {_NAME: OPTIONS, "messages": msgspec.json.encode([first, *said[1:]])}


def in_body(body: dict[str, Any], keeps: str) -> dict[str, Any]:
    """The body with what a decision keeps told in it."""
    first = _marked(body["messages"]) if keeps == "head" else None
    if first is not None:
        return body | {_NAME: EXPLICIT, "messages": [first, *body["messages"][1:]]}
    return body | {_NAME: EXPLICIT} if keeps == "none" else body


def _marked(messages: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The first message with a breakpoint at its end; None where it cannot have one."""
    first = messages[0] if messages else {}
    content = first.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not parts or not parts[-1].get("text"):
        return None
    return {**first, "content": [*parts[:-1], {**parts[-1], "prompt_cache_breakpoint": EXPLICIT}]}
