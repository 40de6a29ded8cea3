"""What a request needs of the wire format that it is put into, beside what it needs of the model.

Belongs here: the features, and which of them each of the providers' dialects can express. Does not belong here: the
formats themselves (dialects/), and what models can do (`router.core.values.Needs`).

A request in the provider's own dialect goes through to the letter, so these count only where one dialect is put into
another. A feature that the target cannot express makes its options infeasible, as a missing capability does.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Final


class Wire(IntFlag):
    """Features of a request, as bits above those of `Needs`."""

    CHAT_ONLY = 1 << 20
    """What only OpenAI's chat completions have a place for; the note says what."""
    MESSAGES_ONLY = 1 << 21
    """What only Anthropic's Messages have a place for."""
    RESPONSES_ONLY = 1 << 22
    """What only OpenAI's Responses have a place for."""
    PENALTIES = 1 << 23
    SEED = 1 << 24
    HOT = 1 << 25
    """A temperature above 1."""
    TOP_K = 1 << 26
    STOP = 1 << 27
    MANY_STOPS = 1 << 28
    """More than four stop sequences."""
    SIGNED_THOUGHT = 1 << 29
    """Thinking that its provider signed and wants back unchanged."""
    THINKING_BUDGET = 1 << 30
    """A budget of thinking tokens, where its own API takes one or an effort takes its place."""
    LINKED_IMAGE = 1 << 31
    LINKED_FILE = 1 << 32
    TOOL_MEDIA = 1 << 33
    """Images or files in what a tool gave back."""
    ONE_TOOL = 1 << 34
    """At most one tool call at a time."""
    NO_TOOL = 1 << 35
    """Tools are defined and must not be called now."""
    PREFILL = 1 << 36
    """The answer is to go on from words that the caller puts into the model's mouth."""
    VERBOSITY = 1 << 37
    DETAIL = 1 << 38
    """A resolution for an image of the caller's own choice."""
    STRICT_TOOLS = 1 << 39


EXPRESSES: Final[dict[str, Wire]] = {
    "openai": Wire.CHAT_ONLY
    | Wire.PENALTIES
    | Wire.SEED
    | Wire.HOT
    | Wire.STOP
    | Wire.THINKING_BUDGET
    | Wire.LINKED_IMAGE
    | Wire.ONE_TOOL
    | Wire.NO_TOOL
    | Wire.VERBOSITY
    | Wire.DETAIL
    | Wire.STRICT_TOOLS,
}
"""By dialect, as the catalog names it. What is not listed is not spoken.

``THINKING_BUDGET``: chat completions get an effort instead (`dialects/effort.py`); of Anthropic's own models only those
with the capability of that name take a budget.
"""


def expressed(*dialects: str) -> int:
    """All that a provider which speaks these dialects can be told, as bits."""
    found = 0
    for dialect in dialects:
        found |= EXPRESSES[dialect].value
    return found
