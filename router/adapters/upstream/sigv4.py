"""AWS's Signature Version 4: what proves that a request is from the holder of a secret key.

Belongs here: signing one request. Does not belong here: which requests are signed (hosting.py).
Source: docs.aws.amazon.com, "Create a signed AWS API request"; held against botocore's signer in tests.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote

from router.adapters.upstream.request import authority
from router.ports import UpstreamRequest

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_REGION: Final = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d")
_KEPT_DAYS: Final = 2


class Signer:
    """Signs requests to one service of one region.

    Args:
        key: the access key's id.
        secret: its secret.
        token: of temporary credentials; "" for none.
        region: such as eu-central-1.
        service: as AWS names it in signatures.
        now: seconds since the epoch. AWS refuses a signature that is more than five minutes off.
    """

    __slots__ = ("_key", "_keys", "_now", "_region", "_secret", "_service", "_token")

    def __init__(
        self, key: str, secret: str, token: str = "", *, region: str, service: str, now: Callable[[], float] = time.time
    ) -> None:
        self._key = key
        self._secret = secret
        self._token = token
        self._region = region
        self._service = service
        self._now = now
        self._keys: dict[str, bytes] = {}
        """Signing keys by day."""

    def headers(self, request: UpstreamRequest) -> tuple[tuple[bytes, bytes], ...]:
        """What is to be added to a request, whose path is as it goes out."""
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._now()))
        path, _, query = (request.origin.base_path + request.path).partition("?")
        signed = {"host": authority(request.origin), "x-amz-date": stamp}
        if self._token:
            signed["x-amz-security-token"] = self._token
        body = hashlib.sha256(request.body).hexdigest()
        names = ";".join(signed)
        lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
        # Outside S3 each part of a path is encoded once more than it goes out.
        canonical = f"{request.method}\n{quote(path, safe='/-_.~')}\n{_canonical(query)}\n{lines}\n{names}\n{body}"
        scope = f"{stamp[:8]}/{self._region}/{self._service}/aws4_request"
        text = f"{_ALGORITHM}\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.new(self._signing_key(stamp[:8]), text.encode(), hashlib.sha256).hexdigest()
        told = f"{_ALGORITHM} Credential={self._key}/{scope}, SignedHeaders={names}, Signature={signature}"
        token = ((b"x-amz-security-token", self._token.encode()),) if self._token else ()
        return ((b"x-amz-date", stamp.encode()), *token, (b"authorization", told.encode()))

    def _signing_key(self, day: str) -> bytes:
        known = self._keys.get(day)
        if known is None:
            known = f"AWS4{self._secret}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                known = hmac.new(known, part.encode(), hashlib.sha256).digest()
            if len(self._keys) >= _KEPT_DAYS:
                self._keys.clear()
            self._keys[day] = known
        return known


def _canonical(query: str) -> str:
    return "&".join(sorted(query.split("&"))) if query else ""


def signer_from(environment: Mapping[str, str], address: str) -> Signer | None:
    """Bedrock's signer by AWS's own variables; None where there are no keys.

    Args:
        environment: variables.
        address: names the one that holds Bedrock's address, in which the region stands too.
    """
    key, secret, token = (
        environment.get(name, "").strip()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
    )
    if not key or not secret:
        return None
    stated = environment.get("BEDROCK_REGION", "").strip() or _region_of(environment.get(address, ""))
    region = stated or environment.get("AWS_REGION", "").strip() or environment.get("AWS_DEFAULT_REGION", "").strip()
    return Signer(key, secret, token, region=region or "us-east-1", service="bedrock")


def _region_of(address: str) -> str:
    found = _REGION.search(address)
    return found[0] if found else ""
