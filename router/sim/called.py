"""Calls of tools that a provider runs itself: how many an answer has, by its prompt, and what is billed of them.

Belongs here: drawing them. Does not belong here: how they are told (each format's wire.py).
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST: Final = 3
_NAMES: Final = ("web_search", "file_search", "code_interpreter")


def called(tools: Iterable[dict[str, Any]], digest: bytes, limit: int | None) -> dict[str, int]:
    """Calls by tool: one to three of each that is allowed, within a limit on all of them together."""
    found: dict[str, int] = {}
    left = 100 if limit is None else limit
    for tool in tools:
        name = next((name for name in _NAMES if str(tool.get("type", "")).startswith(name)), None)
        if name is not None:
            uses = tool.get("max_uses")
            calls = min(1 + digest[0] % _MOST, left, left if uses is None else uses)
            left -= calls
            found[name] = calls
    return found


def billed(calls: dict[str, int]) -> tuple[tuple[str, Fraction], ...]:
    """What is charged: each search; of code, the one container."""
    return tuple(
        (name, Fraction(min(count, 1) if name == "code_interpreter" else count))
        for name, count in calls.items()
        if count
    )
