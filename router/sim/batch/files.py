"""Files as OpenAI, Groq, Mistral and Together keep them: upload, list, retrieve, content, delete.

Belongs here: the ``/files`` endpoints. Does not belong here: batches over them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from router.sim.batch.shelf import SHELVES
from router.sim.deliver import headers
from router.sim.provider import check_key, provider_of, refused
from router.sim.refusal import Refusal
from router.sim.world import WORLD

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from router.sim.batch.shelf import File, Shelf

PURPOSES: Final = ("assistants", "batch", "batch-api", "fine-tune", "vision", "user_data", "evals")
_MOST_BYTES: Final = 512 * 2**20
_MONTH_S: Final = 30 * 86_400


def on_shelf(
    handler: Callable[[web.Request, Shelf], Awaitable[web.StreamResponse]],
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler that is given its provider's shelf, and whose refusals are answered."""

    async def handle(request: web.Request) -> web.StreamResponse:
        world = request.app[WORLD]
        try:
            provider = provider_of(request, world)
            check_key(request, provider)
            return await handler(request, request.app[SHELVES].of(provider))
        except Refusal as refusal:
            return refused(refusal, world.new_id())

    return handle


def said(request: web.Request, document: Any) -> web.Response:
    """A JSON answer."""
    return web.json_response(document, headers=headers(request.app[WORLD].new_id()))


def file_of(request: web.Request, shelf: Shelf) -> File:
    """The file that the path names.

    Raises:
        Refusal: 404.
    """
    name = request.match_info["file"]
    found = shelf.files.get(name)
    if found is None:
        raise Refusal(404, f"No such File object: {name[:80]}", param="id")
    return found


@on_shelf
async def upload(request: web.Request, shelf: Shelf) -> web.StreamResponse:
    """``POST …/files``: a form with ``purpose`` and ``file``."""
    if not request.content_type.startswith("multipart/"):
        raise Refusal(400, "The file must be sent as multipart/form-data.")
    purpose, name, data = "", "upload.jsonl", None
    form: Any = await request.multipart()
    async for part in form:  # one level of parts is all that comes
        if part.name == "purpose":
            purpose = (await part.read()).decode()
        elif part.name == "file":
            name = part.filename or name
            data = bytes(await part.read())
    if purpose not in PURPOSES:
        raise Refusal.of_value("purpose", purpose, PURPOSES)
    if data is None:
        raise Refusal.missing("file")
    if len(data) > _MOST_BYTES:
        raise Refusal(413, "The file is larger than 512 MB.")
    kept = shelf.keep(name, purpose, data)
    if shelf.strikes("upload_lost") and request.transport is not None:
        request.transport.abort()
    return said(request, shown(kept))


@on_shelf
async def listed(request: web.Request, shelf: Shelf) -> web.StreamResponse:
    """``GET …/files``."""
    purpose = request.query.get("purpose")
    found = [shown(f) for f in reversed(shelf.files.values()) if purpose in (None, f.purpose)]
    limit = int(request.query.get("limit", "10000"))
    after = request.query.get("after")
    if after is not None:
        ids = [entry["id"] for entry in found]
        found = found[ids.index(after) + 1 :] if after in ids else []
    return said(request, {"object": "list", "data": found[:limit], "has_more": len(found) > limit})


@on_shelf
async def retrieved(request: web.Request, shelf: Shelf) -> web.StreamResponse:
    """``GET …/files/{id}``."""
    return said(request, shown(file_of(request, shelf)))


@on_shelf
async def content(request: web.Request, shelf: Shelf) -> web.StreamResponse:
    """``GET …/files/{id}/content``."""
    found = file_of(request, shelf)
    if found.purpose == "batch_output" and shelf.strikes("content_cut"):
        response = web.StreamResponse(headers={"content-length": str(len(found.data))})
        await response.prepare(request)
        await response.write(found.data[: len(found.data) // 2])
        if request.transport is not None:
            request.transport.abort()
        return response
    return web.Response(body=found.data, content_type="application/octet-stream")


@on_shelf
async def deleted(request: web.Request, shelf: Shelf) -> web.StreamResponse:
    """``DELETE …/files/{id}``."""
    found = file_of(request, shelf)
    del shelf.files[found.id]
    return said(request, {"id": found.id, "object": "file", "deleted": True})


def shown(file: File) -> dict[str, Any]:
    """A file object."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": len(file.data),
        "created_at": file.created,
        "expires_at": file.created + _MONTH_S,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }
