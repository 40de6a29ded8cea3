"""Idempotency keys: the same key with the same request is served once, and answered again from what was kept.

Belongs here: whose key it is, what is the same request, waiting for the one that is at it. Part of the pipeline's layer.
Does not belong here: keeping answers (`router.ports.AnswerStore`), and answers to requests without a key (caching).

Answers, and promises of one, are kept. A request that fails gives its key up, so that trying again makes sense; so does one
whose worker dies, once its claim has run out.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from router.core.errors import RouterError
from router.dialects.form import without_boundary
from router.kept import KeptReply, WrittenDown, headers_again, packed, unpacked
from router.pipeline import Call, Pipeline, Reply
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from router.core.values import Identity
    from router.ports import AnswerStore

HEADER: Final = "idempotency-key"
MOST_CHARACTERS: Final = 255
LEASE_MS: Final = 6_000
"""A claim that is not renewed for so long is free: its worker is dead, or has been away for as long."""
RENEW_S: Final = 2.0
FIRST_LOOK_S: Final = 0.02
LAST_LOOK_S: Final = 0.5
WAIT_S: Final = 900.0
"""How long a request waits for another one with its key. No attempt takes longer."""
LONG_BYTES: Final = 128 * 1024
"""A longer body is put in order in a thread."""
_MEANT: Final = ("x-costrouter-policy", "x-costrouter-quality", "x-costrouter-deadline", "x-costrouter-max-cost-usd")
"""Headers that make another request of the same body."""
_log: Final = structlog.get_logger(__name__)


class Once:
    """Serves requests that have an idempotency key.

    Args:
        pipeline: serves.
        store: keeps answers.
        kept_s: how long an answer is kept, in seconds.
    """

    def __init__(self, pipeline: Pipeline, store: AnswerStore, kept_s: float) -> None:
        self._pipeline = pipeline
        self._store = store
        self._kept_s = kept_s

    async def serve(self, call: Call, key: str) -> Reply:
        """Answer one call.

        Raises:
            RouterError: as `Pipeline.serve`; ``idempotency_conflict`` for a key that belongs to another request, and
                ``idempotency_answer_not_kept`` where that request was served and its answer is not here.
            ConnectionResetError: the caller has gone while it waited.
        """
        if not (0 < len(key) <= MOST_CHARACTERS and key.isascii() and key.isprintable()):
            message = f"Idempotency-Key must have 1 to {MOST_CHARACTERS} printable ASCII characters, such as a UUID."
            raise RouterError("invalid_request", message, param="Idempotency-Key")
        identity, _ = await self._pipeline.caller(call.headers)
        body = await call.read()
        meant = without_boundary(body, call.headers.get("content-type", ""))

        async def read() -> bytes:
            return body

        call = msgspec.structs.replace(call, read=read)
        name = self._store.digest(b"once", identity.key.encode(), key.encode())
        parts = (call.api.encode(), *_meant(call.headers))
        if len(body) > LONG_BYTES:
            request = await asyncio.to_thread(self._digest, parts, meant)
        else:
            request = self._digest(parts, meant)
        kept = await self._claimed(call, identity, name, request)
        if kept is not None:
            _log.info("request_replayed", request_id=call.request_id, original=kept.request_id, tenant=identity.tenant)
            again = headers_again(
                kept, call.request_id, ("idempotent-replayed", "true"), ("x-costrouter-replayed", "key")
            )
            return Reply(headers=again, body=kept.body, status=kept.status)
        return await self._run(call, identity, name, request)

    def _digest(self, parts: tuple[bytes, ...], body: bytes) -> str:
        return self._store.digest(*parts, _canonical(body))

    async def _claimed(self, call: Call, identity: Identity, name: str, request: str) -> KeptReply | None:
        """None once the claim is this request's own; else what was kept."""
        loop = asyncio.get_running_loop()
        end, pause = loop.time() + WAIT_S, FIRST_LOOK_S
        while True:
            try:
                claim = await self._store.claim(identity.tenant, name, request, call.request_id, LEASE_MS)
            except StoreUnavailable:
                message = "Whether this Idempotency-Key was used before cannot be seen at the moment; try again."
                raise RouterError("store_unavailable", message, retry_after_s=1) from None
            if claim.state == "mine":
                return None
            if claim.state == "other":
                message = (
                    "This Idempotency-Key was used with another request (another body, API or policy); use a new key for a new "
                    "request."
                )
                raise RouterError("idempotency_conflict", message, param="Idempotency-Key")
            if claim.state == "done":
                return _found(claim.answer)
            if call.gone():
                raise ConnectionResetError("the caller has gone while it waited")
            if loop.time() > end:
                message = "Another request with this Idempotency-Key is still running; ask again later."
                raise RouterError("idempotency_conflict", message, param="Idempotency-Key", retry_after_s=5)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_LOOK_S)

    async def _run(self, call: Call, identity: Identity, name: str, request: str) -> Reply:
        tenant, token = identity.tenant, call.request_id
        renewing = asyncio.create_task(self._renew(tenant, name, request, token))

        async def done(answer: bytes | None) -> None:
            renewing.cancel()
            if answer is None:
                await self._release(tenant, name, token)
                return
            kept = KeptReply(token, reply.headers, answer, 0, 0, "", "", reply.status)
            with contextlib.suppress(StoreUnavailable):  # then it is served anew: nothing better is left
                await self._store.keep(tenant, name, token, packed(kept), self._kept_s)

        try:
            reply = await self._pipeline.serve(call)
        except BaseException:
            renewing.cancel()
            await self._release(tenant, name, token)
            raise
        if reply.stream is None:
            await done(reply.body)
            return reply
        return msgspec.structs.replace(reply, stream=WrittenDown(reply.stream, reply.body, done, reads_on=True))

    async def _release(self, tenant: str, name: str, token: str) -> None:
        with contextlib.suppress(StoreUnavailable):
            await self._store.release(tenant, name, token)

    async def _renew(self, tenant: str, name: str, request: str, token: str) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            with contextlib.suppress(StoreUnavailable):
                await self._store.claim(tenant, name, request, token, LEASE_MS)


def _found(answer: bytes | None) -> KeptReply:
    kept = None if answer is None else unpacked(answer)
    if kept is None:
        message = (
            "A request with this Idempotency-Key was served, and its answer was not kept (it was too long, or another node keeps "
            "it under another COSTROUTER_BLOB_SECRET). Use a new key to have it served again."
        )
        raise RouterError("idempotency_answer_not_kept", message, param="Idempotency-Key")
    return kept


def _meant(headers: Mapping[str, str]) -> list[bytes]:
    return [headers.get(name, "").encode("utf-8", "surrogateescape") for name in _MEANT]


def _canonical(body: bytes) -> bytes:
    """The same bytes for the same JSON, whatever the order of its keys and its white space."""
    try:
        return msgspec.json.encode(msgspec.json.decode(body), order="sorted")
    except (msgspec.MsgspecError, UnicodeError, ValueError, RecursionError):
        return body
