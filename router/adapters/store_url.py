"""Where the store listens, read from a URL.

Belongs here: parsing and naming an address. Does not belong here: connecting (resp).
"""

from __future__ import annotations

import ssl
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

_TLS_OPTIONS: Final = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs"}
_FORMS: Final = "redis://[user:password@]host[:port][/db], rediss://… for TLS, or unix:///path[?db=n]"


class StoreAddress(msgspec.Struct, frozen=True):
    """One node of the store. ``path`` is set for a unix socket, ``host`` and ``port`` otherwise."""

    host: str = ""
    port: int = 6379
    path: str = ""
    username: str = ""
    password: str = ""
    db: int = 0
    tls: dict[str, str] | None = None
    """Options ``ssl_*`` of the URL; None without TLS."""

    def __str__(self) -> str:
        """For logs and errors: never the password."""
        return self.path or f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"StoreAddress({self})"

    def ssl_context(self) -> ssl.SSLContext | None:
        """Verified TLS unless the URL says ``ssl_cert_reqs=none``; None for a plain connection.

        Raises:
            OSError: a certificate file cannot be read.
        """
        if self.tls is None:
            return None
        context = ssl.create_default_context(cafile=self.tls.get("ssl_ca_certs"))
        if "ssl_certfile" in self.tls:
            context.load_cert_chain(self.tls["ssl_certfile"], self.tls.get("ssl_keyfile"))
        if self.tls.get("ssl_cert_reqs") == "none":
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def parse_store_url(url: str) -> StoreAddress:
    """An address from ``redis://``, ``rediss://`` or ``unix://``, in redis-py's spelling.

    Raises:
        ValueError: another scheme, an unknown option, or a database that is no number. The URL is not repeated in
            the message: it may hold a password.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"redis", "rediss", "unix"}:
        raise ValueError(f"the store's URL must be {_FORMS}")
    options = dict(parse_qsl(parts.query))
    database = options.pop("db", "")
    path = ""
    if parts.scheme == "unix":
        path = unquote(parts.path)
    elif not database:
        database = parts.path.strip("/")
    allowed = _TLS_OPTIONS if parts.scheme == "rediss" else set()
    if unknown := sorted(set(options) - allowed):
        raise ValueError(
            f"the store's URL has the unknown option {unknown[0]!r}; known: {', '.join(sorted(allowed | {'db'}))}"
        )
    if options.get("ssl_cert_reqs", "required") not in {"required", "none"}:
        raise ValueError("the store's URL: ssl_cert_reqs must be required or none")
    if database and not database.isdecimal():
        raise ValueError(f"the store's URL names database {database!r}; it must be a number")
    if parts.scheme == "unix" and not path:
        raise ValueError("the store's URL has no socket path; it must be unix:///path")
    return StoreAddress(
        host=parts.hostname or "localhost",
        port=parts.port or 6379,
        path=path,
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        db=int(database or 0),
        tls=options if parts.scheme == "rediss" else None,
    )
