"""Sending a signed message to a URL of the operator's: to public addresses only, unless private ones are allowed.

Belongs here: addresses, signature, retries. Does not belong here: what is sent and when (budget_alerts.py).

A name is resolved once an attempt, and what was checked is what is connected to, so a name that changes its mind between
check and use gains nothing. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import random
import socket
import time
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult

from router.adapters.trust import trusted

SIGNATURE: Final = "x-costrouter-signature"
TIMEOUT_S: Final = 10.0
PAUSES_S: Final = (1.0, 2.0, 4.0, 8.0)
"""Before each further attempt, in seconds."""
_TRANSLATED: Final = (ipaddress.IPv6Network("::/96"), ipaddress.IPv6Network("64:ff9b::/96"))
"""Networks whose addresses end in an IPv4 address: old-fashioned compatible ones, and those of NAT64."""
_log: Final = structlog.get_logger(__name__)


class AddressRefusedError(OSError):
    """The address is not a public one."""


class _Resolver(AbstractResolver):
    """Resolves names, and refuses those with an address that is not public."""

    def __init__(self, *, private: bool) -> None:
        self._private = private

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
        results = []
        for kind, _, proto, _, address in found:
            check_address(str(address[0]), private=self._private)
            results.append(
                ResolveResult(
                    hostname=host,
                    host=str(address[0]),
                    port=port,
                    family=kind,
                    proto=proto,
                    flags=socket.AI_NUMERICHOST,
                )
            )
        return results

    async def close(self) -> None:
        """Nothing is kept."""


def check_address(text: str, *, private: bool) -> None:
    """Let public addresses pass, and with ``private`` any.

    Raises:
        AddressRefusedError: it is not public.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    meant = _within(address) or address
    if not private and (not meant.is_global or meant.is_multicast or getattr(meant, "is_site_local", False)):
        raise AddressRefusedError(f"{text} is not a public address; COSTROUTER_ALERT_PRIVATE=true allows it")


def _within(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for, where the kernel or a gateway takes it for that."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if any(address in network for network in _TRANSLATED) and int(address) > 1:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]


def signed(body: bytes, secret: str, at: int) -> str:
    """The signature header: ``t=SECONDS,v1=HEX``, the HMAC-SHA256 of ``SECONDS.BODY``."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


class Webhook:
    """One receiver.

    Args:
        url: http or https.
        secret: signs each message; the empty text signs none.
        shape: ``json``, a message in full, or ``slack``, its ``text`` alone.
        private: whether addresses that are not public may be called.
        pauses_s: before each further attempt.
    """

    def __init__(
        self,
        url: str,
        secret: str = "",
        *,
        shape: str = "json",
        private: bool = False,
        pauses_s: tuple[float, ...] = PAUSES_S,
    ) -> None:
        self._shape = shape
        self._url = url
        self._secret = secret
        self._private = private
        self._pauses_s = pauses_s

    async def tell(self, message: dict[str, Any]) -> bool:
        """`send` a message in the receiver's shape."""
        return await self.send(msgspec.json.encode({"text": message["text"]} if self._shape == "slack" else message))

    async def send(self, body: bytes) -> bool:
        """Whether it was taken (2xx), after as many attempts as it takes or may take."""
        for pause_s in (*self._pauses_s, None):
            reason = await self._attempt(body)
            if not reason:
                return True
            if pause_s is None:
                _log.error("webhook_failed", host=self._host(), reason=reason)
            else:
                await asyncio.sleep(pause_s * (0.5 + random.random() / 2))  # noqa: S311 - no secret depends on it
        return False

    async def _attempt(self, body: bytes) -> str:
        """Why it failed, or the empty text."""
        headers = {"content-type": "application/json", "user-agent": "costrouter"}
        if self._secret:
            headers[SIGNATURE] = signed(body, self._secret, int(time.time()))
        try:
            self._check_literal()
            connector = aiohttp.TCPConnector(
                resolver=_Resolver(private=self._private), use_dns_cache=False, ssl=trusted()
            )
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.post(self._url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                return "" if 200 <= response.status < 300 else f"it answered {response.status}"
        except (aiohttp.InvalidURL, ValueError) as error:
            # Its text is the URL, and with some receivers that is a secret.
            return f"the URL cannot be used ({type(error).__name__})"
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return str(error) or type(error).__name__

    def _host(self) -> str:
        try:
            return urlsplit(self._url).hostname or ""
        except ValueError:
            return ""

    def _check_literal(self) -> None:
        # An address in the URL itself is not resolved, so the resolver does not see it.
        host = self._host()
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return
        check_address(host, private=self._private)
