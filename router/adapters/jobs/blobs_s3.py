"""Blobs in a bucket of S3 or of what speaks its protocol, for fleets of several machines.

Belongs here: the five calls that blobs take, and their signature. Does not belong here: what is in them (vault).

    s3://KEY:SECRET@BUCKET/PREFIX?region=eu-central-1[&endpoint_override=HOST:PORT][&scheme=http]

the same form as the archive's. Without a key in the URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN
of the environment are taken. Signatures are version 4 (docs.aws.amazon.com, "Create a signed AWS API request").
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import hmac
import io
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, quote, unquote, urlsplit

import aiohttp
import msgspec

from router.adapters.trust import trusted
from router.ports import BlobMissing, BlobsUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

PART: Final = 8 << 20
"""Bytes of one part of a large blob; smaller blobs go in one call."""
TIMEOUT_S: Final = 60.0
TRIES: Final = 3
_UPLOAD: Final = re.compile(rb"<UploadId>([^<]+)</UploadId>")


class Bucket(msgspec.Struct, frozen=True):
    """Where, and as whom."""

    origin: str
    path: str
    """Of the bucket and prefix, as it stands in URLs, without a slash at its end."""
    region: str
    key: str
    secret: str
    token: str = ""


def bucket_of(url: str, environment: Mapping[str, str]) -> Bucket:
    """A bucket from its URL.

    Raises:
        ValueError: it names no bucket, or nobody to be.
    """
    parts = urlsplit(url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    if parts.scheme != "s3" or not parts.hostname:
        raise ValueError("a bucket is written s3://bucket/prefix?region=…")
    region = query.get("region") or environment.get("AWS_REGION") or "us-east-1"
    prefix = parts.path.strip("/")
    endpoint = query.get("endpoint_override", "")
    if endpoint:
        origin = f"{query.get('scheme', 'https')}://{endpoint}"
        path = f"/{parts.hostname}" + (f"/{prefix}" if prefix else "")
    else:
        origin, path = f"https://{parts.hostname}.s3.{region}.amazonaws.com", f"/{prefix}" if prefix else ""
    key = unquote(parts.username or "") or environment.get("AWS_ACCESS_KEY_ID", "")
    secret = unquote(parts.password or "") or environment.get("AWS_SECRET_ACCESS_KEY", "")
    if not key or not secret:
        raise ValueError("a bucket needs a key: in its URL, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
    token = "" if parts.username else environment.get("AWS_SESSION_TOKEN", "")
    return Bucket(origin, path, region, key, secret, token)


def signed(  # noqa: PLR0917 - the parts of a request, in their order
    bucket: Bucket, method: str, path: str, query: str, headers: Mapping[str, str], at: dt.datetime
) -> dict[str, str]:
    """The headers of a call with its signature; the body is not signed, TLS protects it.

    Args:
        bucket: whose key signs.
        method: in capitals.
        path: as sent, quoted.
        query: as sent, sorted by name.
        headers: further ones, lower-case names.
        at: now (aware).
    """
    stamp, day = f"{at:%Y%m%dT%H%M%SZ}", f"{at:%Y%m%d}"
    every = {
        **headers,
        "host": urlsplit(bucket.origin).netloc,
        "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
        "x-amz-date": stamp,
    }
    if bucket.token:
        every["x-amz-security-token"] = bucket.token
    names = ";".join(sorted(every))
    canonical = "\n".join(
        [
            method,
            path,
            query,
            *(f"{name}:{every[name].strip()}" for name in sorted(every)),
            "",
            names,
            "UNSIGNED-PAYLOAD",
        ]
    )
    scope = f"{day}/{bucket.region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{bucket.secret}".encode()
    for step in (day, bucket.region, "s3", "aws4_request"):
        key = hmac.digest(key, step.encode(), "sha256")
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    every["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={bucket.key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return every


class S3Blobs:
    """Implements `router.ports.Blobs`. Used on one event loop."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._session: aiohttp.ClientSession | None = None

    async def writer(self, name: str) -> _Writer:
        """Begin a blob."""
        return _Writer(self, name)

    async def read(self, name: str, offset: int, length: int) -> bytes:
        """Up to so many bytes from an offset on; none beyond the end.

        Raises:
            BlobMissing: there is no such blob.
            BlobsUnavailable: the bucket does not answer.
        """
        headers = {"range": f"bytes={offset}-{offset + length - 1}"}
        status, body = await self.call("GET", name, headers=headers)
        if status == 416:
            return b""
        if status == 404:
            raise BlobMissing(f"{name} is not here (any more)")
        _check(status, body)
        return body if status == 206 else body[offset : offset + length]

    async def delete(self, name: str) -> None:
        """Remove a blob, if it is there."""
        status, body = await self.call("DELETE", name)
        if status != 404:
            _check(status, body)

    async def close(self) -> None:
        """Drop the connections."""
        if self._session is not None:
            await self._session.close()

    async def call(
        self, method: str, name: str, query: str = "", body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> tuple[int, bytes]:
        """One call, repeated while the bucket fails; its status and body.

        Raises:
            BlobsUnavailable: it failed each time.
        """
        why = ""
        for pause in range(TRIES):
            if pause:
                await asyncio.sleep(0.2 * 4**pause)
            try:
                status, answer = await self._once(method, name, query, body, headers or {})
            except (aiohttp.ClientError, TimeoutError, OSError) as failure:
                why = type(failure).__name__
                continue
            if status < 500 and status != 429:
                return status, answer
            why = f"it answered {status}"
        raise BlobsUnavailable(f"the bucket does not serve {method}: {why}")

    async def _once(
        self, method: str, name: str, query: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            connector = aiohttp.TCPConnector(ssl=trusted())
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False)
        path = f"{self._bucket.path}/{quote(name, safe='/~')}"
        sent = signed(self._bucket, method, path, query, headers, dt.datetime.now(dt.UTC))
        from yarl import URL  # noqa: PLC0415 - aiohttp's own; only buckets need it

        url = URL(f"{self._bucket.origin}{path}{'?' if query else ''}{query}", encoded=True)
        async with self._session.request(
            method, url, data=io.BytesIO(body) if body else None, headers=sent, allow_redirects=False
        ) as response:
            return response.status, await response.read()


class _Writer:
    def __init__(self, blobs: S3Blobs, name: str) -> None:
        self._blobs = blobs
        self._name = name
        self._waiting = bytearray()
        self._upload = ""
        self._tags: list[str] = []

    async def write(self, data: bytes) -> None:
        """Append; parts go out when they are full."""
        self._waiting += data
        while len(self._waiting) >= PART:
            part = bytes(self._waiting[:PART])
            del self._waiting[:PART]
            await self._part(part)

    async def keep(self) -> None:
        """From now on it is there."""
        if not self._upload:
            _check(*await self._blobs.call("PUT", self._name, body=bytes(self._waiting)))
            return
        if self._waiting:
            await self._part(bytes(self._waiting))
        rows = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>"
            for number, tag in enumerate(self._tags, 1)
        )
        body = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
        _check(*await self._blobs.call("POST", self._name, f"uploadId={quote(self._upload, safe='')}", body))

    async def drop(self) -> None:
        """Forget it."""
        if self._upload:
            with contextlib.suppress(BlobsUnavailable):
                await self._blobs.call("DELETE", self._name, f"uploadId={quote(self._upload, safe='')}")

    async def _part(self, data: bytes) -> None:
        if not self._upload:
            status, answer = await self._blobs.call("POST", self._name, "uploads=")
            _check(status, answer)
            found = _UPLOAD.search(answer)
            if found is None:
                raise BlobsUnavailable("the bucket began no upload")
            self._upload = found[1].decode()
        number = len(self._tags) + 1
        query = f"partNumber={number}&uploadId={quote(self._upload, safe='')}"
        _check(*await self._blobs.call("PUT", self._name, query, data))
        self._tags.append(hashlib.md5(data, usedforsecurity=False).hexdigest())


def _check(status: int, body: bytes) -> None:
    if not 200 <= status < 300:
        code = re.search(rb"<Code>([A-Za-z]+)</Code>", body)
        raise BlobsUnavailable(f"the bucket answered {status}{' ' + code[1].decode() if code else ''}")
