"""A small S3-compatible server, in memory: what pyarrow's client needs to write, read, list, copy and delete.

Belongs here: the protocol's shape. Does not belong here: signatures (accepted unseen), versions, and what tests expect.
"""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

HEAD = '<?xml version="1.0" encoding="UTF-8"?>'


class S3Server:
    """Serves on a free port of loopback while it is open; ``objects`` maps ``bucket/key`` to bytes."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.failing = ""
        """Answers 503 to this method."""
        server = self

        class Handler(_Handler):
            store = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        port = self._http.server_address[1]
        return f"s3://user:secret@ledger/rows?endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: S3Server

    def do_GET(self) -> None:
        key, query = self._asked()
        if "list-type" in query or "prefix" in query or "/" not in key:
            self._list(key, query)
        elif key not in self.store.objects:
            self._error(404, "NoSuchKey")
        else:
            content = self.store.objects[key]
            wanted = self.headers.get("Range", "").removeprefix("bytes=")
            if not wanted:
                self._answer(200, content)
                return
            first, _, last = wanted.partition("-")
            start, end = int(first), min(int(last or len(content) - 1), len(content) - 1)
            self._answer(206, content[start : end + 1], {"Content-Range": f"bytes {start}-{end}/{len(content)}"})

    def do_HEAD(self) -> None:
        key, _ = self._asked()
        if "/" not in key:
            self._answer(200, b"")
        elif key in self.store.objects:
            self._answer(200, self.store.objects[key])
        else:
            self._error(404, "NotFound")

    def do_PUT(self) -> None:
        key, query = self._asked()
        body = self._body()
        if self.store.failing == "PUT":
            self._error(403, "AccessDenied")
            return
        if "uploadId" in query:
            self.store.uploads[query["uploadId"][0]][int(query["partNumber"][0])] = body
            self._answer(200, b"", {"ETag": _etag(body)})
            return
        if "x-amz-copy-source" in self.headers:
            source = unquote(self.headers["x-amz-copy-source"]).lstrip("/")
            body = self.store.objects[source]
            self.store.objects[key] = body
            self._xml(f"<CopyObjectResult><ETag>{_etag(body)}</ETag></CopyObjectResult>")
            return
        if "/" in key:
            self.store.objects[key] = body
        self._answer(200, b"", {"ETag": _etag(body)})

    def do_POST(self) -> None:
        key, query = self._asked()
        body = self._body()
        bucket, _, name = key.partition("/")
        place = f"<Bucket>{bucket}</Bucket><Key>{escape(name)}</Key>"
        if "uploads" in query:
            upload = str(len(self.store.uploads) + 1)
            self.store.uploads[upload] = {}
            self._xml(
                f"<InitiateMultipartUploadResult>{place}<UploadId>{upload}</UploadId></InitiateMultipartUploadResult>"
            )
        elif "uploadId" in query:
            parts = self.store.uploads.pop(query["uploadId"][0])
            self.store.objects[key] = b"".join(parts[number] for number in sorted(parts))
            self._xml(f"<CompleteMultipartUploadResult>{place}<ETag>x</ETag></CompleteMultipartUploadResult>")
        elif "delete" in query:
            for part in body.decode().split("<Key>")[1:]:
                self.store.objects.pop(f"{bucket}/{part.partition('</Key>')[0]}", None)
            self._xml("<DeleteResult></DeleteResult>")
        else:
            self._error(400, "NotImplemented")

    def do_DELETE(self) -> None:
        key, query = self._asked()
        if "uploadId" in query:
            self.store.uploads.pop(query["uploadId"][0], None)
        self.store.objects.pop(key, None)
        self._answer(204, b"")

    def log_message(self, *_: Any) -> None:
        pass

    def _asked(self) -> tuple[str, dict[str, list[str]]]:
        parts = urlsplit(self.path)
        return unquote(parts.path).lstrip("/"), parse_qs(parts.query, keep_blank_values=True)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(iter(self._chunk, b""))
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if "aws-chunked" not in self.headers.get("Content-Encoding", ""):
            return body
        # Again chunks: size in hex, a line's end, that many bytes, a line's end; size 0 and trailers end it.
        plain, at = b"", 0
        while True:
            end = body.index(b"\r\n", at)
            size = int(body[at:end].partition(b";")[0], 16)
            if not size:
                return plain
            plain += body[end + 2 : end + 2 + size]
            at = end + 4 + size

    def _chunk(self) -> bytes:
        chunk = self.rfile.read(int(self.rfile.readline().partition(b";")[0], 16))
        self.rfile.readline()
        return chunk

    def _list(self, key: str, query: dict[str, list[str]]) -> None:
        bucket = key.partition("/")[0]
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        names = sorted(name.removeprefix(f"{bucket}/") for name in self.store.objects if name.startswith(f"{bucket}/"))
        found, folders = [], set()
        for name in names:
            if not name.startswith(prefix):
                continue
            rest = name.removeprefix(prefix)
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
            else:
                found.append(name)
        contents = "".join(
            f"<Contents><Key>{escape(name)}</Key><LastModified>2026-11-23T00:00:00.000Z</LastModified><ETag>x</ETag>"
            f"<Size>{len(self.store.objects[f'{bucket}/{name}'])}</Size></Contents>"
            for name in found
        )
        common = "".join(
            f"<CommonPrefixes><Prefix>{escape(name)}</Prefix></CommonPrefixes>" for name in sorted(folders)
        )
        self._xml(
            f"<ListBucketResult><Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(found) + len(folders)}"
            f"</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>{contents}{common}</ListBucketResult>"
        )

    def _xml(self, text: str) -> None:
        self._answer(200, (HEAD + text).encode(), {"Content-Type": "application/xml"})

    def _error(self, status: int, code: str) -> None:
        self._answer(status, f"{HEAD}<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Last-Modified", "Mon, 23 Nov 2026 00:00:00 GMT")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status < 300 and "ETag" not in (headers or {}):
            self.send_header("ETag", _etag(body))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(body)


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
