"""Where the store listens, read from a URL: one node, a Sentinel set, or a cluster.

Belongs here: parsing and naming addresses. Does not belong here: connecting (connection.py), and checking what is
found there (check.py).
"""

from __future__ import annotations

import re
import ssl
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import msgspec

_TLS_OPTIONS: Final = {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs"}
_SENTINEL_OPTIONS: Final = {"sentinel_username", "sentinel_password"}
_NODE_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_PLACE: Final = re.compile(r"(?:\[([^\[\]]+)\]|([^:\[\]]*))(?::(\d{1,5}))?", re.ASCII)
_FORMS: Final = (
    "redis://[user:password@]host[:port][/db], redis+sentinel://[user:password@]host[:port],…/primary[/db], "
    "redis+cluster://[user:password@]host[:port],…, the same with rediss for TLS, or unix:///path[?db=n]"
)


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

    def at(self, host: str, port: int) -> StoreAddress:
        """Another node, with the same login, database and TLS."""
        return msgspec.structs.replace(self, host=host, port=port)

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

    def client_options(self) -> dict[str, Any]:
        """The same as arguments of redis-py's clients."""
        options: dict[str, Any] = {"db": self.db, "username": self.username or None, "password": self.password or None}
        if self.path:
            return options | {"unix_socket_path": self.path}
        options |= {"host": self.host, "port": self.port}
        if self.tls is not None:
            verified = self.tls.get("ssl_cert_reqs") != "none"
            options |= {"ssl": True, "ssl_check_hostname": verified, **self.tls}
        return options


class SentinelAddress(msgspec.Struct, frozen=True):
    """A primary that sentinels know by a name, and move when it fails."""

    sentinels: tuple[StoreAddress, ...]
    """With the sentinels' own login."""
    service: str
    node: StoreAddress
    """Login, database and TLS of the primary, wherever it is."""

    def __str__(self) -> str:
        """For logs and errors: never a password."""
        return f"{self.service} of sentinels {','.join(map(str, self.sentinels))}"

    def __repr__(self) -> str:
        return f"SentinelAddress({self})"


class ClusterAddress(msgspec.Struct, frozen=True):
    """Some nodes of a cluster; they know the others. Login and TLS are the same for all."""

    seeds: tuple[StoreAddress, ...]

    def __str__(self) -> str:
        """For logs and errors: never the password."""
        return f"cluster {','.join(map(str, self.seeds))}"

    def __repr__(self) -> str:
        return f"ClusterAddress({self})"


StorePlace = StoreAddress | SentinelAddress | ClusterAddress


def parse_store_url(url: str) -> StorePlace:
    """Where the store is. One node's forms and the options ``ssl_*`` and ``db`` are in redis-py's spelling.

    Raises:
        ValueError: what is wrong and what would be right. The URL is not repeated: it may hold a password.
    """
    scheme, _, rest = url.partition("://")
    kind, _, mode = scheme.lower().partition("+")
    if kind not in {"redis", "rediss", "unix"} or mode not in {"", "sentinel", "cluster"} or (mode and kind == "unix"):
        raise ValueError(f"the store's URL must be {_FORMS}")
    # Cut by hand: urlsplit knows no lists of hosts, and some of its errors repeat the password.
    rest, _, query = rest.partition("?")
    netloc, _, path = rest.partition("/")
    if "@" in path + query:
        raise ValueError("the store's URL has a password with / or ?; percent-encode it (%2F, %3F)")
    login, _, hosts = netloc.rpartition("@")
    username, _, password = map(unquote, login.partition(":"))
    options = _options(query, mode, tls=kind == "rediss")
    service = ""
    if mode == "sentinel":
        service, _, path = path.partition("/")
    database = _database(options.pop("db", "") or ("" if kind == "unix" else path.strip("/")), mode)
    sentinel_login = {name: options.pop(name, "") for name in _SENTINEL_OPTIONS}
    tls = options if kind == "rediss" else None
    node = StoreAddress(username=username, password=password, db=database, tls=tls)
    if kind == "unix":
        if not path:
            raise ValueError("the store's URL has no socket path; it must be unix:///path")
        return msgspec.structs.replace(node, host="localhost", path=f"/{unquote(path)}")
    places = _places(hosts, _SENTINEL_PORT if mode == "sentinel" else _NODE_PORT)
    if mode == "cluster":
        return ClusterAddress(tuple(node.at(*place) for place in places))
    if mode == "sentinel":
        return _sentinel(unquote(service), places, node, sentinel_login)
    if len(places) > 1:
        raise ValueError("the store's URL names several hosts; say redis+cluster:// or redis+sentinel:// for that")
    return node.at(*places[0])


def _sentinel(
    service: str, places: list[tuple[str, int]], node: StoreAddress, login: dict[str, str]
) -> SentinelAddress:
    if not service:
        raise ValueError("the store's URL lacks the primary's name: redis+sentinel://host:26379,…/name")
    sentinel = StoreAddress(username=login["sentinel_username"], password=login["sentinel_password"], tls=node.tls)
    return SentinelAddress(tuple(sentinel.at(*place) for place in places), service, node)


def _database(text: str, mode: str) -> int:
    if text and not text.isdecimal():
        raise ValueError(f"the store's URL names database {text!r}; it must be a number")
    number = int(text or 0)
    if mode == "cluster" and number:
        raise ValueError(f"the store's URL names database {number}; a cluster has only database 0")
    return number


def _options(query: str, mode: str, *, tls: bool) -> dict[str, str]:
    options = dict(parse_qsl(query))
    allowed = (_TLS_OPTIONS if tls else set()) | (_SENTINEL_OPTIONS if mode == "sentinel" else set()) | {"db"}
    if unknown := sorted(set(options) - allowed):
        raise ValueError(f"the store's URL has the unknown option {unknown[0]!r}; known: {', '.join(sorted(allowed))}")
    if options.get("ssl_cert_reqs", "required") not in {"required", "none"}:
        raise ValueError("the store's URL: ssl_cert_reqs must be required or none")
    return options


def _places(hosts: str, default_port: int) -> list[tuple[str, int]]:
    places = []
    for place in hosts.split(","):
        found = _PLACE.fullmatch(place)
        if found is None or int(found[3] or 1) not in range(1, 65536):
            raise ValueError(
                "the store's URL has a host that cannot be read; it must be host, host:port or [IPv6]:port"
            )
        places.append((found[1] or found[2] or "localhost", int(found[3] or default_port)))
    return places
