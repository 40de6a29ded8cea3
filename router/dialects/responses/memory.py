"""What of a response must be remembered so that another request may go on from it: its id, and its items as input.

Belongs here: reading both out of answers, and putting a request together from what was remembered. Does not belong here:
where it is remembered (`router.memory`).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from router.dialects.json_object import TopLevel
from router.dialects.reading import whole
from router.dialects.sse import datas

_ENDS: Final = ("response.completed", "response.incomplete")
_LAST: Final = (b"event: response.completed\n", b"event: response.incomplete\n")
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Event(msgspec.Struct):
    type: str = ""
    id: Any = None
    response: dict[str, Any] | None = None


_EVENT: Final = msgspec.json.Decoder(_Event)


def id_of(body: bytes, *, streamed: bool) -> str:
    """The id of a plain response, or of the one that a stream's first part begins; "" where it tells none."""
    for document in datas(body) if streamed else (body,):
        try:
            event = _EVENT.decode(document)
        except _UNREADABLE:
            continue
        found = event.id if event.response is None else event.response.get("id")
        if isinstance(found, str):
            return found
    return ""


def ends(part: bytes) -> bool:
    """Whether a part of a stream of ours holds its last event."""
    return any(last in part for last in _LAST)


def whole_response(body: bytes, *, streamed: bool) -> bytes:
    """The response that a plain body is, or that the last event of a part holds; b"" for none."""
    if not streamed:
        return body
    for document in datas(body):
        try:
            event = _EVENT.decode(document)
        except _UNREADABLE:
            continue
        if event.type in _ENDS and event.response is not None:
            return msgspec.json.encode(event.response)
    return b""


def input_of(top: TopLevel) -> list[dict[str, Any]]:
    """A request's input as items.

    Raises:
        RouterError: ``invalid_request``: it cannot be read to its last value.
    """
    given = whole("input", top.get("input") or b"[]")
    return [{"role": "user", "content": given}] if isinstance(given, str) else given or []


def gone_on(top: TopLevel, before: list[dict[str, Any]], response: bytes, follows: str = "") -> bytes:
    """A request that goes on from a response, as one that says everything itself.

    Args:
        top: the request.
        before: the items that led to the response.
        response: the response.
        follows: what those items go on from themselves; "" for nothing.
    """
    said = [item for raw in msgspec.json.decode(response)["output"] if (item := _said(raw)) is not None]
    items = [*before, *said, *input_of(top)]
    earlier = msgspec.json.encode(follows) if follows else None
    return top.edited({"input": msgspec.json.encode(items), "previous_response_id": earlier})


def _said(item: dict[str, Any]) -> dict[str, Any] | None:
    """An item of an answer as one of a request: without the id, which names nothing that a provider keeps."""
    bare = {name: value for name, value in item.items() if name not in ("id", "status") and value is not None}
    if item.get("type") == "message":
        content = [{"type": "output_text", "text": part.get("text", "")} for part in item["content"]]
        return {"role": "assistant", "content": content[0]["text"] if len(content) == 1 else content}
    if item.get("type") == "reasoning" and not item.get("encrypted_content") and not item.get("summary"):
        return None
    return bare
