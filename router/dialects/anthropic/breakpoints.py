"""Breakpoints of our own: where Anthropic is asked to keep a prompt that nobody else asked it to keep.

Belongs here: putting ``cache_control`` where the decision says that it pays. Does not belong here: whether it does
(`router.core.deciding.prefixes`), and breakpoints of callers, which are left alone.

Two at most: one behind what conversations share (the system prompt, else the last tool), and one, for a conversation that
goes on, at the end, which Anthropic sets itself where the body has a ``cache_control`` of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from router.core.deciding.decide import Decision
    from router.dialects.request import Request

CONTROL: Final = {"type": "ephemeral"}
_CONTROL: Final = msgspec.json.encode(CONTROL)


def in_body(body: dict[str, Any], decision: Decision) -> None:
    """Set them in a body that has none."""
    if not decision.keeps:
        return
    if decision.keeps == "all":
        body["cache_control"] = CONTROL
    if body.get("system"):
        body["system"] = _behind_text(body["system"])
    elif body.get("tools"):
        body["tools"] = _behind(body["tools"])


def in_members(request: Request, decision: Decision) -> dict[str, bytes | None]:
    """The members of a caller's body that change where something is to be kept; the rest stays to the letter."""
    found: dict[str, bytes | None] = {"cache_control": _CONTROL} if decision.keeps == "all" else {}
    system, tools = request.top.get("system"), request.top.get("tools")
    try:
        said = msgspec.json.decode(system) if system else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Fields that routing passes over may hold what cannot be read; such a body is Anthropic's to refuse.
        return found
    if said:
        found["system"] = msgspec.json.encode(_behind_text(said))
    elif tools and (listed := msgspec.json.decode(tools)):
        found["tools"] = msgspec.json.encode(_behind(listed))
    return found


def _behind_text(system: str | list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """A system prompt with a breakpoint at its end; unchanged where it ends with nothing, which cannot have one."""
    blocks = [{"type": "text", "text": system}] if isinstance(system, str) else system
    return _behind(blocks) if blocks[-1].get("text") else system


def _behind(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [*blocks[:-1], {**blocks[-1], "cache_control": CONTROL}]
