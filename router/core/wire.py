"""What a request needs of the wire format that it is put into, beside what it needs of the model.

Belongs here: the features, and which of them each of the providers' dialects can express. Does not belong here: the
formats themselves (dialects/), and what models can do (`router.core.values.Needs`).

A request in a dialect that the provider speaks goes through to the letter, so these count only where one dialect is put
into another: the provider's first. A feature that it cannot express makes its options infeasible, as a missing capability
does.
"""

from __future__ import annotations

from enum import IntFlag
from typing import Final

from router.core.values import Needs


class Wire(IntFlag):
    """Features of a request, as bits beside those of `Needs`."""

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
    EFFORT = 1 << 30
    """An effort in Anthropic's words, which those of its models that take only a budget refuse."""
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
    TWO_SAMPLERS = 1 << 40
    """A temperature and a top_p together."""
    SHORT = 1 << 41
    """A limit of less than 16 tokens, which OpenAI's Responses refuse (its API reference, ``max_output_tokens``)."""


_GOOGLE: Final = (
    Wire.PENALTIES
    | Wire.SEED
    | Wire.HOT
    | Wire.TOP_K
    | Wire.STOP
    | Wire.EFFORT
    | Wire.NO_TOOL
    | Wire.STRICT_TOOLS
    | Wire.TWO_SAMPLERS
    | Wire.SHORT
)
SHORT_TOKENS: Final = 16
EXPRESSES: Final[dict[str, Wire]] = {
    "openai": Wire.CHAT_ONLY
    | Wire.PENALTIES
    | Wire.SEED
    | Wire.HOT
    | Wire.STOP
    | Wire.LINKED_IMAGE
    | Wire.ONE_TOOL
    | Wire.NO_TOOL
    | Wire.VERBOSITY
    | Wire.DETAIL
    | Wire.STRICT_TOOLS
    | Wire.TWO_SAMPLERS
    | Wire.SHORT,
    "anthropic": Wire.MESSAGES_ONLY
    | Wire.TOP_K
    | Wire.STOP
    | Wire.MANY_STOPS
    | Wire.SIGNED_THOUGHT
    | Wire.LINKED_IMAGE
    | Wire.LINKED_FILE
    | Wire.TOOL_MEDIA
    | Wire.ONE_TOOL
    | Wire.NO_TOOL
    | Wire.PREFILL
    | Wire.STRICT_TOOLS
    | Wire.SHORT,
    "responses": Wire.RESPONSES_ONLY
    | Wire.TWO_SAMPLERS
    | Wire.HOT
    | Wire.LINKED_IMAGE
    | Wire.LINKED_FILE
    | Wire.TOOL_MEDIA
    | Wire.ONE_TOOL
    | Wire.NO_TOOL
    | Wire.VERBOSITY
    | Wire.DETAIL
    | Wire.STRICT_TOOLS,
    "bedrock": Wire.STOP | Wire.MANY_STOPS | Wire.SIGNED_THOUGHT | Wire.TOOL_MEDIA | Wire.STRICT_TOOLS,
    "gemini": _GOOGLE,
    "vertex": _GOOGLE,
}
"""By dialect, as the catalog names it. What is not listed is not spoken."""
NATIVE: Final = {"openai": 1 << 57, "anthropic": 1 << 58, "responses": 1 << 59}
"""By dialect that callers may speak: the bit of a provider that speaks it too, and of a request in it that was read wholly."""
MODELS: Final = sum(need.value for need in Needs) | Wire.EFFORT.value
"""What must be there whatever is spoken: what the model can do."""
EFFORT_FOR_BUDGET: Final = frozenset({"openai", "responses", "gemini", "vertex"})
"""Dialects in which an effort takes the place of a budget of thinking tokens (`dialects/effort.py`): their models need
not have the capability of that name."""


def able(capabilities: Needs, *dialects: str, author: str = "") -> int:
    """What a model can do and its provider can be told, as bits.

    Args:
        capabilities: the model's, as the catalog has them.
        dialects: what its provider speaks, the one that others are put into first.
        author: who made it: on Bedrock, Claude believes thoughts that Anthropic signed, and nobody else does.
    """
    found = capabilities.value
    for dialect in dialects:
        found |= NATIVE.get(dialect, 0)
    if dialects:
        found |= EXPRESSES[dialects[0]].value
    if dialects == ("bedrock",) and author != "anthropic":
        found &= ~Wire.SIGNED_THOUGHT.value
    if capabilities & Needs.REASONING_EFFORT:
        found |= Wire.EFFORT.value
        if EFFORT_FOR_BUDGET.intersection(dialects):
            found |= Needs.THINKING_BUDGET.value
    elif capabilities & Needs.THINKING_BUDGET:
        # Whoever asks in another dialect gets the budget of their effort.
        found |= Needs.REASONING_EFFORT.value
    return found


def lacking(needs: int, native: int, found: int) -> int:
    """What a request needs and an option lacks, as bits.

    Args:
        needs: of the model and of the wire.
        native: the bit of the dialect that the request came in; 0 where nothing is known but what it needs of the model.
        found: what `able` gives.
    """
    lacks = needs & ~found
    return lacks & MODELS if native & found else lacks
