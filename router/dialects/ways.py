"""Which dialects are spoken, and how a request of one is put to a provider of another: the tables.

Belongs here: the entries of all dialects, and the `Way` from each API of ours to each dialect of a provider's. Does not
belong here: any format, and what an entry must give (contract.py).

Same dialect on both sides: the way passes bytes on, and a scanner picks out what matters for money. Else the request is
read wholly into a `Conversation`, written anew, and the answer comes back through the neutral form as well.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import msgspec

from router.core.tokens import PromptShape
from router.dialects.anthropic import ANTHROPIC, MESSAGES
from router.dialects.bedrock import BEDROCK
from router.dialects.contract import Asked, Cost, Hearing, Inbound, Ordering, Outbound, Scanner
from router.dialects.endpoints import ENDPOINTS
from router.dialects.gemini import GEMINI, VERTEX
from router.dialects.json_object import TopLevel
from router.dialects.neutral import Begun
from router.dialects.openai import CHAT, EMBEDDINGS, OPENAI
from router.dialects.request import Request
from router.dialects.responses import RESPONSES, RESPONSES_IN
from router.dialects.translation import Translator, translated

INBOUND: Final[dict[str, Inbound]] = {
    found.api: found for found in (CHAT, EMBEDDINGS, MESSAGES, RESPONSES_IN, *ENDPOINTS)
}
"""Our APIs by name."""

OUTBOUND: Final[dict[str, Outbound]] = {
    found.dialect: found for found in (OPENAI, ANTHROPIC, RESPONSES, GEMINI, VERTEX, BEDROCK)
}
"""Providers' dialects by the catalog's names: those of `router.core.wire.EXPRESSES`."""


_NOTHING: Final = Request(top=TopLevel(b"{}"), model="", needs=0, shape=PromptShape(texts=(), messages=0))


class Way(msgspec.Struct, frozen=True):
    """From one API of ours to one dialect of providers, and back."""

    inbound: Inbound
    outbound: Outbound
    hearing: Hearing | None
    """None where bytes are passed on."""
    order: Ordering

    def scanner(self, asked: Asked, cost: Cost) -> Scanner:
        """What reads the upstream's stream."""
        if self.hearing is None:
            return self.outbound.scanner(asked.request, cost)
        reader, writer = self.outbound.reader(), self.hearing.writer(asked)
        name = Begun(asked.spare_id, asked.spare_model)
        return Translator(reader, writer, cost, shows_thoughts=_shows_thoughts(asked.request), name=name)

    def answer(self, body: bytes, asked: Asked) -> bytes:
        """A plain answer as its caller is to get it. Raises ValueError for what cannot be read."""
        if self.hearing is None:
            return body
        shows = _shows_thoughts(asked.request)
        return translated(self.outbound.read_answer, self.hearing.write_answer, body, asked, shows_thoughts=shows)


def translated_answer(  # noqa: PLR0917 - all that an answer is made of
    api: str, dialect: str, body: bytes, at_s: int, request: Request | None = None, answer_id: str = "", *, shows: bool
) -> bytes:
    """A plain answer of a provider's dialect for a caller of one of our APIs, long after it was asked.

    Args:
        api: of ours.
        dialect: the provider's, another than the API's own.
        body: as it came.
        at_s: seconds since the epoch.
        request: what was asked, for APIs whose answers repeat it (those with an ``id_prefix``).
        answer_id: names the answer there.
        shows: whether the caller wants to see what the model thought.

    Raises:
        ValueError: what came cannot be read, or is never put into another dialect.
    """
    hearing = INBOUND[api].hearing
    if hearing is None:
        raise ValueError(f"{api} has one dialect only")
    asked = Asked(request or _NOTHING, 0, at_s, answer_id)
    return translated(OUTBOUND[dialect].read_answer, hearing.write_answer, body, asked, shows_thoughts=shows)


def _shows_thoughts(request: Request) -> bool:
    return request.conversation is not None and request.conversation.shows_thoughts


@cache
def way(api: str, dialects: tuple[str, ...]) -> Way:
    """From one of our APIs to a provider that speaks these dialects, its first one being what others are put into."""
    inbound = INBOUND[api]
    if inbound.hearing is None or inbound.native in dialects:
        return Way(inbound, inbound.outbound or OUTBOUND[inbound.native], None, inbound.passed)
    outbound = OUTBOUND[dialects[0]]
    return Way(inbound, outbound, inbound.hearing, outbound.order)
