"""Google's tokens for a service account: its key signs an assertion, and Google's token endpoint gives a token for an hour.

Belongs here: the account's file, the assertion, one exchange. Does not belong here: when, and what becomes of the token
(credentials.py). Source: developers.google.com/identity/protocols/oauth2/service-account, "HTTP/REST".
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlencode

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from router.adapters.upstream.hosting import ProviderError, origin_of
from router.ports import Timeouts, Upstream, UpstreamFailure, UpstreamRequest

VARIABLE: Final = "VERTEX_SERVICE_ACCOUNT"
_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LASTS_S: Final = 3_600
_MOST_BYTES: Final = 64 * 1024
_TIMEOUTS: Final = Timeouts(connect=5.0, first_byte=10.0, between_chunks=10.0, total=15.0)


class _File(msgspec.Struct):
    client_email: str
    private_key: str
    private_key_id: str = ""
    token_uri: str = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address


class _Answer(msgspec.Struct):
    access_token: str
    expires_in: int = _LASTS_S


class Token(NamedTuple):
    """A token, and for how many seconds it lasts."""

    token: str
    lasts_s: int


class NoTokenError(Exception):
    """Google gave no token; says why, and no secret."""


class ServiceAccount:
    """One account.

    Args:
        path: of the JSON file that Google gives for its key.

    Raises:
        ProviderError: it cannot be used; says so without its contents.
    """

    def __init__(self, path: Path) -> None:
        try:
            found = msgspec.json.decode(path.read_bytes(), type=_File)
            key = load_pem_private_key(found.private_key.encode(), password=None)
        except (OSError, ValueError, TypeError, msgspec.MsgspecError) as error:
            message = f"{VARIABLE}: {path} is no service account's key ({type(error).__name__})"
            raise ProviderError(message) from None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ProviderError(f"{VARIABLE}: the key in {path} is not RSA")
        self._key = key
        self._file = found
        self._origin = origin_of(found.token_uri, f"{VARIABLE}: token_uri")

    def assertion(self, now_s: int) -> str:
        """What the account says of itself, signed; Google takes it for an hour."""
        head = {"alg": "RS256", "typ": "JWT"} | (
            {"kid": self._file.private_key_id} if self._file.private_key_id else {}
        )
        claims = {
            "iss": self._file.client_email,
            "scope": _SCOPE,
            "aud": self._file.token_uri,
            "iat": now_s,
            "exp": now_s + _LASTS_S,
        }
        text = b".".join(_packed(msgspec.json.encode(part)) for part in (head, claims))
        return (text + b"." + _packed(self._key.sign(text, padding.PKCS1v15(), hashes.SHA256()))).decode()

    async def token(self, upstream: Upstream, now_s: int) -> Token:
        """Exchange an assertion for a token.

        Raises:
            NoTokenError: none came.
        """
        form = urlencode({"grant_type": _GRANT, "assertion": self.assertion(now_s)}).encode()
        headers = ((b"content-type", b"application/x-www-form-urlencoded"),)
        request = UpstreamRequest(self._origin, "POST", "", headers, form, _TIMEOUTS)
        try:
            response = await upstream.send(request)
            try:
                body = await response.read(_MOST_BYTES)
            finally:
                response.close()
        except UpstreamFailure as failure:
            raise NoTokenError(failure.message) from None
        if response.status != 200:
            raise NoTokenError(f"{self._origin.host} answered {response.status}")
        try:
            found = msgspec.json.decode(body, type=_Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise NoTokenError(f"{self._origin.host} answered something unreadable") from None
        return Token(found.access_token, max(found.expires_in, 0))


def _packed(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
