"""What routing knows of a request, whichever dialect it came in.

Belongs here: the one value that every inbound dialect reads a body into. Does not belong here: reading it, and what is
said in the conversation (neutral.py), which only a translation needs.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from router.core.deciding.choices import Work
from router.core.errors import RouterError
from router.core.tokens import PromptShape
from router.dialects.form import Form
from router.dialects.json_object import TopLevel
from router.dialects.neutral import Conversation

OWN_METADATA: Final = "costrouter."
"""Prefix of metadata keys that speak to us and are not forwarded."""
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
    models: tuple[str, ...] = ()
    """Where the caller names several: those that may serve, the most wanted first. ``top`` has the list no more."""
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
    strange: bool = False
    """Whether it holds what another provider gave, and what those of its own dialect would refuse: thoughts that they have
    not signed, signatures of calls. That is taken out where it is passed on."""
    follows: str = ""
    """The answer that it goes on from, by its id; "" for none."""
    stored: bool = False
    """Whether its answer is to be kept, so that others may go on from it."""
    recalls: bool = False
    """Whether either is the case, so that somebody must look after it."""
    background: bool = False
    """Whether its caller will ask for the answer later."""
    work: Work | None = None
    """What it orders beside text; None for nothing."""
    form: Form | None = None
    """A body that is a form; ``top`` is empty then."""
    sound: str = ""
    """The content type of an answer that is bytes of sound; "" for every other."""
    conversation: Conversation | None = None
    """The body in neutral form, once it has been read wholly because it is put into another dialect."""


def decode(decoder: msgspec.json.Decoder[Any], body: bytes) -> Any:
    """A body by its schema.

    Raises:
        RouterError: ``invalid_request`` naming the field.
    """
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        field = path.removesuffix("`").removeprefix("$.").removeprefix("$")
        raise RouterError(
            "invalid_request", f"{field or 'The body'}: {message[0].lower()}{message[1:]}.", param=field or None
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RouterError("invalid_request", f"The body is not valid JSON: {error}") from None


def own_metadata(metadata: dict[str, Any]) -> dict[str, str]:
    """Our keys of the metadata, without their prefix.

    Raises:
        RouterError: ``invalid_request`` for one that is no text.
    """
    own: dict[str, str] = {}
    for key, value in metadata.items():
        if key.startswith(OWN_METADATA):
            if not isinstance(value, str):
                field = f"metadata.{key[:80]}"
                raise RouterError("invalid_request", f'{field} must be a string, such as "auto".', param=field)
            own[key.removeprefix(OWN_METADATA)] = value
    return own


def foreign_metadata(raw: bytes | None) -> bytes | None:
    """The metadata without our keys; None where nothing is left."""
    metadata = msgspec.json.decode(raw or b"{}", type=dict[str, msgspec.Raw])
    kept = {key: value for key, value in metadata.items() if not key.startswith(OWN_METADATA)}
    return msgspec.json.encode(kept) if kept else None


def with_effort(raw: bytes | None, effort: str) -> bytes:
    """A caller's object of settings with the effort that was chosen; the rest stays to the letter. One whose names are not
    UTF-8 is left as it is: it is the provider's to refuse.
    """
    try:
        given = msgspec.json.decode(raw or b"{}", type=dict[str, msgspec.Raw] | None)
    except UnicodeDecodeError:
        return raw or b"{}"
    return msgspec.json.encode({**(given or {}), "effort": effort})
