"""A catalog file from elsewhere: fetched or read, and put in its place in one step.

Belongs here: bytes of a file or URL, and replacing a file so that no reader ever sees half of it. Does not belong here:
what a catalog file may say (`router.core.catalog.schema`), comparing prices (`router.core.catalog.price_list`).

A URL is fetched over https only, from a public address that is looked up once and then used, and without following
redirects: whoever names the URL must not be able to reach services of this network.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import os
import socket
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

LARGEST: Final = 8 * 2**20
"""Bytes that a catalog file may have."""
TIMEOUT_S: Final = 20.0

Allowed = Callable[[str], bool]


class SourceError(Exception):
    """A file or URL that cannot be had, or a place that cannot be written; says why."""


def is_public(address: str) -> bool:
    """Whether an IP address belongs to the public internet."""
    return ipaddress.ip_address(address.partition("%")[0]).is_global


def fetch(source: str, *, allowed: Allowed = is_public, context: ssl.SSLContext | None = None) -> bytes:
    """The bytes of a path or an https URL.

    Args:
        source: path or URL.
        allowed: which addresses may be called.
        context: how certificates are checked; the system's trust by default.

    Raises:
        SourceError: not readable, not https, not a public address, not status 200, or above `LARGEST`.
    """
    if "://" not in source:
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise SourceError(f"{source} cannot be read: {error.strerror}") from None
    else:
        data = _download(source, allowed, context or ssl.create_default_context())
    if len(data) > LARGEST:
        raise SourceError(f"{source} is larger than {LARGEST // 2**20} MiB, which no catalog file is")
    return data


def _download(url: str, allowed: Allowed, context: ssl.SSLContext) -> bytes:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 443
    except ValueError as error:
        raise SourceError(f"{url} is not a URL: {error}") from None
    if parts.scheme != "https" or not host or "@" in parts.netloc:
        raise SourceError(f"{url} must be https://host/path, without user: a price list must not change on its way")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][4][0]
        if not allowed(str(address)):
            raise SourceError(
                f"{host} is {address}, which is not a public address; fetch the file yourself and name it"
            )
        with (
            contextlib.closing(_Pinned(host, port, str(address), context)) as connection,
            contextlib.closing(_answer(connection, target)) as response,
        ):
            if response.status != 200:
                raise SourceError(f"{url} answered {response.status}; redirects are not followed")
            return response.read(LARGEST + 1)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise SourceError(f"{url} cannot be fetched: {error}") from None


def _answer(connection: http.client.HTTPSConnection, target: str) -> http.client.HTTPResponse:
    connection.request("GET", target, headers={"Accept": "application/yaml, text/plain, */*"})
    return connection.getresponse()


class _Pinned(http.client.HTTPSConnection):
    """A connection to the address that was checked, with the certificate of the host that was named."""

    def __init__(self, host: str, port: int, address: str, context: ssl.SSLContext) -> None:
        super().__init__(host, port, timeout=TIMEOUT_S, context=context)
        self._address = address
        self._checks = context

    def connect(self) -> None:
        plain = socket.create_connection((self._address, self.port), self.timeout)
        self.sock = self._checks.wrap_socket(plain, server_hostname=self.host)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file in one step, durably, with the mode of the one it replaces.

    Raises:
        SourceError: the place cannot be written.
    """
    name = None
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except OSError as error:
        if name is not None:
            Path(name).unlink(missing_ok=True)
        raise SourceError(f"{path} cannot be written: {error.strerror}") from None
