"""The head of an upstream request as bytes, and the refusal of parts that would break the framing.

Belongs here: what goes on the wire before the body. Does not belong here: sockets, and which headers a provider wants.
"""

from __future__ import annotations

import re
from typing import Final

from router.ports import Origin, UpstreamFailure, UpstreamRequest

_OURS: Final = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"te", b"trailer", b"upgrade"}
    | {b"expect", b"proxy-connection"}
)
"""Headers that say where a message goes and where it ends; only this client may set them."""

_START: Final = re.compile(r"[A-Z]+ /[!-~]* HTTP/1\.1")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_METHODS_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


def authority(origin: Origin) -> str:
    """The Host header's value: the port only where it is not the scheme's own, IPv6 addresses in brackets."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return host if _DEFAULT_PORTS[origin.scheme] == origin.port else f"{host}:{origin.port}"


def label(origin: Origin) -> str:
    """How messages name the origin: host and port, nothing of the request."""
    return f"{origin.host}:{origin.port}"


class HeadWriter:
    """Writes the heads of requests to one origin.

    Remembers the latest, because successive requests to an origin mostly differ in their body alone.
    """

    __slots__ = ("_headers", "_host", "_known", "_method", "_path")

    def __init__(self, origin: Origin) -> None:
        self._host = authority(origin)
        self._method = ""
        self._path = ""
        self._headers: tuple[tuple[bytes, bytes], ...] = ()
        self._known = b""

    def head(self, request: UpstreamRequest) -> bytes:
        """The whole head up to and including the empty line.

        Raises:
            UpstreamFailure: ``protocol``, not sent: the method, path or a header would break the framing.
        """
        method = request.method
        if request.headers != self._headers or request.path != self._path or method != self._method or not method:
            self._known = self._without_length(request)
            self._method, self._path, self._headers = method, request.path, request.headers
        size = len(request.body)
        if size or method in _METHODS_WITH_BODY:
            return b"%bcontent-length: %d\r\n\r\n" % (self._known, size)
        return self._known + b"\r\n"

    def _without_length(self, request: UpstreamRequest) -> bytes:
        start = f"{request.method} {request.origin.base_path}{request.path} HTTP/1.1"
        if _START.fullmatch(start) is None:
            raise _refused(request, "method or path is not printable ASCII such as POST and /chat/completions")
        return f"{start}\r\nhost: {self._host}\r\n".encode("ascii") + _header_lines(request)


def _header_lines(request: UpstreamRequest) -> bytes:
    # One line each, with accept-encoding: identity unless the caller has its own.
    lines = b""
    asks_coding = False
    for name, value in request.headers:
        if name in _OURS:
            raise _refused(request, f"header {name.decode('ascii')} belongs to the client and cannot be passed in")
        if name == b"accept-encoding":
            asks_coding = True
        lines += name + b": " + value + b"\r\n"
    count = len(request.headers)
    # Every line got exactly one CRLF above; any further CR or LF would start a header of somebody else's choosing.
    if lines.count(b"\n") != count or lines.count(b"\r") != count or b"\0" in lines:
        raise _refused(request, "a header has a CR, LF or NUL; header values are single lines")
    return lines if asks_coding else lines + b"accept-encoding: identity\r\n"


def _refused(request: UpstreamRequest, why: str) -> UpstreamFailure:
    return UpstreamFailure("protocol", f"request to {label(request.origin)} not sent: {why}", sent=False)
