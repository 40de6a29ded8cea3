"""Signatures of what a model thought or called, and whose they are.

Belongs here: how a signature is marked on its way through a dialect that is not its provider's. Does not belong here: what
a provider makes of its own.

A provider takes no signature but its own. Anthropic's stand as they are; every other's carries a mark in neutral form, so
that whoever writes a request knows which to give back and which to leave out.
"""

from __future__ import annotations

from typing import Final

OURS: Final = "costrouter."
"""With this begins what no provider of Messages has signed. Signatures of Anthropic are base64, which has no full stop."""
UNSIGNED: Final = f"{OURS}unsigned"
"""Stands where a signature would, in what a model thought that signs nothing."""
GEMINI: Final = f"{OURS}gemini."
"""Before a thought signature of Google's."""


def foreign(signature: object) -> bool:
    """Whether a signature is none of Anthropic's, which refuses what it does not know."""
    return isinstance(signature, str) and signature.startswith(OURS)
