"""The neutral form: a conversation, an answer and a stream as every dialect can read and write them.

Belongs here: the values that a translation goes through. Does not belong here: any wire format, and what routing needs
to know of a request that is not translated (request.py).

A reader of a dialect turns a body into a `Conversation` and notes, in ``wire``, each feature that not every target can
express; whoever decides keeps away from the targets that cannot. So a writer only ever gets what it can write.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from router.core.values import Usage
from router.core.wire import Wire

Role = Literal["user", "assistant"]
Finish = Literal["stop", "length", "tools", "refusal", "pause"]
"""Why an answer ended. ``stop`` with a ``stop_sequence`` where one of the caller's ended it."""
Kept = Literal["", "5m", "1h"]
"""For how long a prompt up to a block is to be kept in the provider's cache; "" where nobody asked."""
Effort = Literal["", "none", "minimal", "low", "medium", "high", "xhigh", "max"]


class Text(msgspec.Struct, frozen=True, tag=True):
    """Words."""

    text: str
    kept: Kept = ""


class Media(msgspec.Struct, frozen=True, tag=True):
    """A picture, a file or sound: its bytes in base64, or a link."""

    kind: Literal["image", "file", "audio"]
    mime: str = ""
    data: str = ""
    url: str = ""
    name: str = ""
    detail: str = ""
    kept: Kept = ""


class Thought(msgspec.Struct, frozen=True, tag=True):
    """What a model thought before it spoke. ``hidden`` thoughts are a signature without words."""

    text: str
    signature: str = ""
    hidden: bool = False


class ToolUse(msgspec.Struct, frozen=True, tag=True):
    """The model asks for a tool. ``arguments`` is a JSON object as text."""

    id: str
    name: str
    arguments: str
    kept: Kept = ""
    signature: str = ""
    """What its provider wants back with the call, marked as its own (signatures.py)."""


class ToolResult(msgspec.Struct, frozen=True, tag=True):
    """What the tool gave back."""

    id: str
    content: tuple[Text | Media, ...]
    failed: bool = False
    kept: Kept = ""


Block = Text | Media | Thought | ToolUse | ToolResult


class Turn(msgspec.Struct, frozen=True):
    """What one side says before the other does."""

    role: Role
    blocks: tuple[Block, ...]


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may ask for. ``schema`` is its parameters' JSON Schema, as text."""

    name: str
    description: str = ""
    schema: str = ""
    strict: bool = False
    kept: Kept = ""


class Format(msgspec.Struct, frozen=True):
    """Structured output: any JSON object, or one by a schema (its text)."""

    schema: str = ""
    """Empty for any object."""
    name: str = ""
    description: str = ""
    strict: bool = True


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """A request, whole. Holds prompt text: not for logs."""

    system: tuple[Text, ...] = ()
    turns: tuple[Turn, ...] = ()
    tools: tuple[Tool, ...] = ()
    choice: Literal["", "auto", "none", "required", "tool"] = ""
    """Which tools may be called; ``tool`` is the one called ``tool_name``."""
    tool_name: str = ""
    one_tool: bool = False
    format: Format | None = None
    stops: tuple[str, ...] = ()
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    max_output: int | None = None
    effort: Effort = ""
    """How hard to think; "" where nobody asked."""
    thinking_budget: int | None = None
    """Tokens to think with; ``effort`` then is what comes nearest."""
    shows_thoughts: bool = False
    """Whether the caller wants to see what the model thinks."""
    verbosity: str = ""
    user: str = ""
    cache_key: str = ""
    """Requests of one key share a prefix, as the caller says."""
    wire: Wire = Wire(0)
    notes: tuple[tuple[int, str], ...] = ()
    """What each bit of ``wire`` stands for in this request, in words."""


class Answer(msgspec.Struct, frozen=True):
    """A whole answer."""

    id: str
    model: str
    blocks: tuple[Text | Thought | ToolUse, ...]
    finish: Finish
    stop_sequence: str | None = None
    usage: Usage | None = None


class Begun(msgspec.Struct, frozen=True, tag=True):
    """An answer begins."""

    id: str
    model: str


class Opened(msgspec.Struct, frozen=True, tag=True):
    """A block begins; blocks are numbered from 0 in the order in which they begin."""

    at: int
    kind: Literal["text", "thought", "hidden", "tool"]
    """``hidden``: a thought without words, only a signature (``id``)."""
    id: str = ""
    name: str = ""
    signature: str = ""
    """A tool's, as in `ToolUse`."""


class Piece(msgspec.Struct, frozen=True, tag=True):
    """More of an open block: words, or the arguments of a tool."""

    at: int
    text: str


class Signed(msgspec.Struct, frozen=True, tag=True):
    """The signature of a thought."""

    at: int
    signature: str


class Closed(msgspec.Struct, frozen=True, tag=True):
    """A block is whole."""

    at: int


class Ended(msgspec.Struct, frozen=True, tag=True):
    """The answer is whole; its meters may still follow."""

    finish: Finish
    stop_sequence: str | None = None


Turning = Begun | Opened | Signed | Closed | Ended
"""All events but the one that nearly all are."""
Event = Piece | Turning


class Order(msgspec.Struct, frozen=True):
    """What to send upstream, beside the address and the credentials."""

    path: str
    """Appended to the provider's base URL."""
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
