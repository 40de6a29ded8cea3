"""Responses that others may go on from: where each lies, or all of it where no provider keeps it.

Belongs here: remembering an answer before its caller can name it, and finding it again. Part of the pipeline's layer. Does not
belong here: formats (`router.dialects.responses`), and where entries are kept (`router.ports.AnswerStore`).

What a provider keeps stays there, and so does whoever goes on from it: `Remembered` says at which provider, by which key and
which model. What was put into another dialect no provider keeps: all of it is remembered here, and a request that goes on
from it becomes one that says everything itself, so that it may go anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec
import structlog

from router.core.errors import RouterError
from router.dialects.responses.memory import ends, gone_on, id_of, input_of, whole_response
from router.ports import ProviderLink, StoreUnavailable
from router.reserving import store_unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router.considered import Considered
    from router.core.values import Identity
    from router.dialects.contract import Inbound
    from router.dialects.request import Request
    from router.exchange import Reply
    from router.ports import AnswerStore, PartStream, Ways

NOT_KEPT_S: Final = 1.0
"""How long it is remembered of an entry that was forgotten."""
_log: Final = structlog.get_logger("router.memory")


class Remembered(msgspec.Struct, frozen=True, array_like=True):
    """One response. Field order is the layout: new fields go to the end with a default."""

    provider: str
    """Who keeps it; "" where all of it is here."""
    key: str
    """Names the provider's key under which it lies."""
    entry: str
    """The catalog entry that gave it."""
    items: bytes = b""
    """The items that led to it, as JSON."""
    response: bytes = b""


_decode: Final = msgspec.msgpack.Decoder(Remembered).decode


class Later(Protocol):
    """Responses that are made in the background."""

    async def whole(self, tenant: str, response_id: str) -> tuple[bytes, dict[str, Any]] | None:
        """A request and its response; None where there is none, or not yet."""


class Pin(msgspec.Struct, frozen=True):
    """Where a request must go, because what it goes on from lies there."""

    link: ProviderLink
    entry: str


class Memory:
    """Remembers responses.

    Args:
        store: keeps entries, sealed.
        ways: to find a provider's key again.
        kept_s: for how long, in seconds.
    """

    def __init__(self, store: AnswerStore, ways: Ways, kept_s: float) -> None:
        self._store = store
        self._ways = ways
        self._kept_s = kept_s
        self.later: Later | None = None
        """Knows the responses that are made in the background."""

    async def find(self, tenant: str, response_id: str) -> Remembered | None:
        """A tenant's response, or None.

        Raises:
            RouterError: the store does not answer.
        """
        try:
            found = await self._store.find(tenant, self._name(response_id))
        except StoreUnavailable:
            raise store_unavailable() from None
        if not found:
            return None
        try:
            return _decode(found)
        except msgspec.DecodeError:
            return None  # an older version's

    async def forget(self, tenant: str, response_id: str) -> None:
        """Remember it no longer.

        Raises:
            RouterError: the store does not answer.
        """
        try:
            await self._store.put(tenant, self._name(response_id), b"", NOT_KEPT_S)
        except StoreUnavailable:
            raise store_unavailable() from None

    async def followed(
        self, identity: Identity, inbound: Inbound, request: Request, own: ProviderLink | None
    ) -> tuple[Request, Pin | None]:
        """A request that goes on from a response: as it says everything itself, or with where it must go.

        Raises:
            RouterError: ``not_found`` for a response that is not remembered.
        """
        found = await self.find(identity.tenant, request.follows)
        if found is None:
            return await self._followed_later(identity, inbound, request, own)
        if not found.provider:
            body = gone_on(request.top, msgspec.json.decode(found.items), found.response)
            again = inbound.read(body, {})
            return msgspec.structs.replace(again, follows=request.follows, user=request.user), None
        link = own or self.link(found)
        if link is None or link.name != found.provider or (own is not None and own.key != found.key):
            raise unknown(request.follows, "previous_response_id")
        return request, Pin(link, found.entry)

    async def _followed_later(
        self, identity: Identity, inbound: Inbound, request: Request, own: ProviderLink | None
    ) -> tuple[Request, Pin | None]:
        """As `followed`, from a response that was made in the background: it may have gone on from another one itself."""
        made = None if self.later is None else await self.later.whole(identity.tenant, request.follows)
        if made is None:
            raise unknown(request.follows, "previous_response_id")
        body, response = made
        first = inbound.read(body, {})
        said = gone_on(request.top, input_of(first.top), msgspec.json.encode(response), first.follows)
        again = msgspec.structs.replace(inbound.read(said, {}), user=request.user)
        if again.follows:
            again, pin = await self.followed(identity, inbound, again, own)
            return msgspec.structs.replace(again, follows=request.follows), pin
        return msgspec.structs.replace(again, follows=request.follows), None

    def link(self, found: Remembered) -> ProviderLink | None:
        """The way to where a response lies; None where its key is not in use any more."""
        return self._ways.named(found.provider, found.key)

    async def kept(self, reply: Reply, seen: Considered) -> Reply:
        """The reply, once its response is remembered; where all of it must be, just before the end is told."""
        attempt, tenant = reply.attempt, seen.identity.tenant
        if attempt is None or not attempt.request.stored:
            return reply
        streamed = reply.stream is not None
        response_id = id_of(reply.body, streamed=streamed)
        if not response_id:
            return reply
        if attempt.way.hearing is None:
            entry = Remembered(attempt.link.name, attempt.link.key, attempt.decision.option.entry)
            await self._put(tenant, response_id, entry)
            return reply
        request = attempt.request

        async def keep(part: bytes) -> None:
            response = whole_response(part, streamed=streamed)
            if response:
                items = msgspec.json.encode(input_of(request.top))
                await self._put(tenant, response_id, Remembered("", "", "", items, response))

        if reply.stream is None:
            await keep(reply.body)
            return reply
        if ends(reply.body):
            await keep(reply.body)
        return msgspec.structs.replace(reply, stream=Remembering(reply.stream, keep))

    async def _put(self, tenant: str, response_id: str, entry: Remembered) -> None:
        try:
            await self._store.put(tenant, self._name(response_id), msgspec.msgpack.encode(entry), self._kept_s)
        except StoreUnavailable:
            # The answer is there and paid for; whoever goes on from it will be told that it is not remembered.
            _log.warning("response_not_remembered", tenant=tenant)

    def _name(self, response_id: str) -> str:
        return self._store.digest(b"response", response_id.encode("utf-8", "surrogateescape"))


class Remembering:
    """A stream on its way to its caller, whose last event is kept before it is told. Stands in for an `AnswerStream`.

    Args:
        stream: what is passed on.
        keep: told the part that holds the last event.
    """

    def __init__(self, stream: PartStream, keep: Callable[[bytes], Awaitable[None]]) -> None:
        self._stream = stream
        self._keep = keep

    @property
    def whole(self) -> bool:
        """As `AnswerStream.whole`."""
        return self._stream.whole

    async def next_part(self) -> bytes:
        """As `AnswerStream.next_part`."""
        part = await self._stream.next_part()
        if ends(part):
            await self._keep(part)
        return part

    async def abandon(self) -> None:
        """As `AnswerStream.abandon`."""
        await self._stream.abandon()

    def cut(self, error: RouterError) -> bytes | None:
        """As `AnswerStream.cut`."""
        return self._stream.cut(error)


def unknown(response_id: str, param: str | None = None) -> RouterError:
    """The refusal of an id that names nothing of the tenant's."""
    message = (
        f"There is no response {response_id[:80]!r} here: it was made elsewhere, with store: false, was deleted, or is not "
        "kept any more."
    )
    return RouterError("not_found", message, param=param)


def shown_items(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items that led to a response, the latest first, as the API lists them."""
    return [{"id": f"msg_{at}", "type": "message", **_listed(item)} for at, item in enumerate(items)][::-1]


def _listed(item: dict[str, Any]) -> dict[str, Any]:
    if item.get("type", "message") != "message" or not isinstance(item.get("content"), str):
        return item
    kind = "output_text" if item.get("role") == "assistant" else "input_text"
    extra: dict[str, Any] = {"annotations": []} if kind == "output_text" else {}
    return item | {"status": "completed", "content": [{"type": kind, "text": item["content"], **extra}]}
