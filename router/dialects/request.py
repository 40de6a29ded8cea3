"""What routing knows of a request, whichever dialect it came in.

Belongs here: the one value that every inbound dialect reads a body into. Does not belong here: reading it, and what is
said in the conversation (neutral.py), which only a translation needs.
"""

from __future__ import annotations

from typing import Final

import msgspec

from router.core.tokens import PromptShape
from router.dialects.json_object import TopLevel
from router.dialects.neutral import Conversation

USER_CHARS: Final = 128
"""A longer ``user`` is cut in the ledger; the provider gets it whole."""


class Request(msgspec.Struct, frozen=True):
    """What routing knows of a request body."""

    top: TopLevel
    model: str
    needs: int
    shape: PromptShape
    stream: bool = False
    wants_usage: bool = False
    max_output: int | None = None
    clamped: bool = False
    """Whether ``max_output`` is ours, smaller than what the body says or in place of nothing."""
    choices: int = 1
    user: str = ""
    ready_tokens: int = 0
    """Prompt tokens that came as token numbers instead of text."""
    inputs: int = 1
    """Texts to be embedded apart from each other."""
    longest_ready: int = 0
    """Tokens of the longest input that came as token numbers."""
    text_bytes: int | None = None
    """The body's size, when all of the prompt stands in it; None where it points to files, pages or unknown parts."""
    tier: str = ""
    """The tier that the caller orders, in our words; empty for none."""
    own: dict[str, str] = {}
    """Our metadata keys without their prefix: the same names as our headers."""
    passed: tuple[tuple[bytes, bytes], ...] = ()
    """The caller's headers that belong to the body, such as a version of its format; lower-case names."""
    conversation: Conversation | None = None
    """The body in neutral form, once it has been read wholly because it is put into another dialect."""
