"""``/v1/files``, as OpenAI's SDK knows it: upload, list, retrieve, content, delete.

Belongs here: these endpoints. Does not belong here: where bytes lie (jobs/files.py), and what batches make of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import BodyPartReader, web
from multidict import CIMultiDict

from router.adapters.http.admin import json_reply, silent_store
from router.adapters.http.reply import SERVER
from router.adapters.jobs.files import KEPT_MS, File
from router.core.errors import RouterError
from router.ports import BlobMissing, BlobsUnavailable, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.adapters.broker.yard import Yard
    from router.adapters.http.server import Handler
    from router.adapters.jobs.files import FileStore, FileWriter
    from router.core.values import Identity
    from router.pipeline import Pipeline

PURPOSES: Final = ("batch",)
MOST_BYTES: Final = 512 * 2**20
LEAST_S: Final = 3_600
MOST_S: Final = KEPT_MS // 1000
"""For how long a caller may have a file kept, in seconds: OpenAI's bounds."""
_EXPIRES: Final = {"expires_after[anchor]": "anchor", "expires_after[seconds]": "seconds"}
_PIECE: Final = 256 * 1024


class FilesApi:
    """Handlers by (method, path), for the server's table."""

    def __init__(self, pipeline: Pipeline, yard: Yard, files: FileStore) -> None:
        self._pipeline = pipeline
        self._yard = yard
        self._files = files

    def table(self) -> dict[tuple[str, str], Handler]:
        """What answers where."""
        return {
            ("POST", "/v1/files"): self._upload,
            ("GET", "/v1/files"): self._list,
            ("GET", "/v1/files/*"): self._get,
            ("GET", "/v1/files/*/content"): self._content,
            ("DELETE", "/v1/files/*"): self._delete,
        }

    async def _upload(self, request: web.BaseRequest, request_id: str) -> web.Response:
        identity = await self._pipeline.authenticate(request.headers)
        if not request.content_type.startswith("multipart/"):
            raise RouterError("invalid_request", "Send the file as multipart/form-data, with purpose and file.")
        try:
            async with await self._files.writer(identity.tenant) as writer:
                purpose, name, kept_ms = await _read_form(request, writer)
            now_ms = self._yard.now_ms()
            file = File(
                id=writer.id,
                tenant=identity.tenant,
                key=identity.key,
                name=name,
                purpose=purpose,
                size=writer.size,
                created_ms=now_ms,
                expires_ms=now_ms + kept_ms,
                blob=writer.blob,
            )
            await self._files.keep(file)
        except StoreUnavailable:
            raise silent_store() from None
        except BlobsUnavailable as failure:
            raise RouterError("store_unavailable", f"Files cannot be kept: {failure}.", retry_after_s=5) from None
        except (web.RequestPayloadError, ValueError, AssertionError) as error:
            raise RouterError("invalid_request", f"The form could not be read: {type(error).__name__}.") from None
        return json_reply(file_body(file), request_id)

    async def _list(self, request: web.BaseRequest, request_id: str) -> web.Response:
        identity = await self._pipeline.authenticate(request.headers)
        query = request.query
        limit = _limit(query.get("limit", "10000"))
        try:
            found = await self._files.listed(identity.tenant, newest_first=query.get("order", "desc") != "asc")
        except StoreUnavailable:
            raise silent_store() from None
        found = [file for file in found if sees(identity, file) and query.get("purpose", file.purpose) == file.purpose]
        after = query.get("after")
        ids = [file.id for file in found]
        if after in ids:
            found = found[ids.index(after) + 1 :]
        data = [file_body(file) for file in found[:limit]]
        document = {
            "object": "list",
            "data": data,
            "has_more": len(found) > limit,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
        }
        return json_reply(document, request_id)

    async def _get(self, request: web.BaseRequest, request_id: str) -> web.Response:
        return json_reply(file_body(await self._found(request)), request_id)

    async def _content(self, request: web.BaseRequest, request_id: str) -> web.StreamResponse:
        file = await self._found(request)
        headers = {
            "content-type": "application/octet-stream",
            "content-length": str(file.size),
            "server": SERVER,
            "x-request-id": request_id,
        }
        return await stored(request, self._files, file.blob, headers, f"The bytes of {file.id} are gone.")

    async def _delete(self, request: web.BaseRequest, request_id: str) -> web.Response:
        file = await self._found(request)
        try:
            await self._files.remove(file)
        except (StoreUnavailable, BlobsUnavailable):
            raise silent_store() from None
        return json_reply({"id": file.id, "object": "file", "deleted": True}, request_id)

    async def _found(self, request: web.BaseRequest) -> File:
        identity = await self._pipeline.authenticate(request.headers)
        name = request.path.split("/")[3]
        try:
            file = await self._files.find(identity.tenant, name)
        except StoreUnavailable:
            raise silent_store() from None
        if file is None or not sees(identity, file):
            raise RouterError("not_found", f"No such File object: {name[:80]}", param="id")
        return file


async def _read_form(request: web.BaseRequest, writer: FileWriter) -> tuple[str, str, int]:
    """Purpose and name of a file, and how long it is to be kept, in milliseconds; its bytes go to the writer."""
    purpose, name = "", ""
    expires: dict[str, str] = {}
    form: Any = await request.multipart()
    async for part in form:
        if not isinstance(part, BodyPartReader):
            raise RouterError("invalid_request", "The form's parts must not be forms themselves.")
        if part.name == "file":
            name = (part.filename or "file.jsonl")[:255]
            while piece := await part.read_chunk(_PIECE):
                await writer.add(piece)
                if writer.size > MOST_BYTES:
                    raise RouterError("request_too_large", f"A file has at most {MOST_BYTES} bytes.", param="file")
        elif part.name == "purpose":
            purpose = (await part.read(decode=True)).decode("utf-8", "replace")[:64]
        elif part.name in _EXPIRES:
            expires[_EXPIRES[part.name]] = (await part.read(decode=True)).decode("utf-8", "replace")[:64]
        else:
            await part.release()
    if purpose not in PURPOSES:
        raise RouterError("invalid_request", f"purpose must be batch, not {purpose or 'missing'!r}.", param="purpose")
    if not name:
        raise RouterError("invalid_request", "The form has no file.", param="file")
    return purpose, name, kept_ms("expires_after", expires) if expires else KEPT_MS


def kept_ms(param: str, asked: Mapping[str, object]) -> int:
    """How long a file is to be kept, as ``expires_after`` says.

    Raises:
        RouterError: ``invalid_request``.
    """
    text = str(asked.get("seconds", ""))
    if (
        asked.get("anchor") != "created_at"
        or not text.isascii()
        or not text.isdigit()
        or not LEAST_S <= int(text) <= MOST_S
    ):
        message = f"{param}: give anchor created_at and seconds from {LEAST_S} to {MOST_S}."
        raise RouterError("invalid_request", message, param=param)
    return int(text) * 1000


def sees(identity: Identity, file: File) -> bool:
    """An application's key sees its own files, everybody else all of their tenant's."""
    return identity.role != "app" or identity.key == file.key


def file_body(file: File) -> dict[str, Any]:
    """A file as it is shown."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": file.created_ms // 1000,
        "expires_at": file.expires_ms // 1000,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 10_000:
        raise RouterError("invalid_request", f"limit must be from 1 to 10000, not {text[:20]}.", param="limit")
    return int(text)


async def stored(
    request: web.BaseRequest, files: FileStore, blob: str, headers: dict[str, str], missing: str
) -> web.StreamResponse:
    """Answer with what is kept under a name, part by part; with nothing where there is no name.

    Raises:
        RouterError: ``not_found`` with the words for what is ``missing``, ``store_unavailable``.
    """
    parts = files.parts(blob)
    try:
        first = await anext(parts, b"") if blob else b""
    except BlobMissing:
        raise RouterError("not_found", missing) from None
    except BlobsUnavailable:
        raise silent_store() from None
    response = web.StreamResponse(headers=CIMultiDict(headers))
    await response.prepare(request)
    if first:
        await response.write(first)
        async for part in parts:
            await response.write(part)
    await response.write_eof()
    return response
