"""What Google's models want back with a call of a tool, in chat completions: ``extra_content`` beside the function.

Belongs here: writing it, reading it, and taking it out where a request goes on to another provider, which would refuse it.
The form is that of Google's own OpenAI-compatible endpoint (ai.google.dev/gemini-api/docs/thought-signatures), so clients
that were written for that one keep it already, and those that keep messages as they came do as well.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from router.dialects.signatures import GEMINI

EXTRA: Final = '"extra_content"'


def extra(signature: str) -> dict[str, Any]:
    """The member that carries a call's signature; nothing for one that has none."""
    if not signature.startswith(GEMINI):
        return {}
    return {"extra_content": {"google": {"thought_signature": signature.removeprefix(GEMINI)}}}


def signature_of(call: dict[str, Any]) -> str:
    """The signature that a call carries, marked as Google's; "" for none."""
    found: object = call
    for name in ("extra_content", "google", "thought_signature"):
        found = found.get(name) if isinstance(found, dict) else None
    return GEMINI + found if isinstance(found, str) and found else ""


def without_extra(messages: bytes) -> bytes:
    """The messages with none of it."""
    kept = []
    for message in msgspec.json.decode(messages):
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            bare = [
                {name: value for name, value in call.items() if name != "extra_content"}
                if isinstance(call, dict)
                else call
                for call in calls
            ]
            message = {**message, "tool_calls": bare}  # noqa: PLW2901 - the same one, bare
        kept.append(message)
    return msgspec.json.encode(kept)
