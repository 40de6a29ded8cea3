"""Blobs, whichever way they are kept, and the vault over them: one suite over every implementation."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import stat
from types import SimpleNamespace
from unittest import mock

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from fakes import FakeBlobs
from s3_server import S3Server

from router.adapters.jobs.blobs_directory import DirectoryBlobs
from router.adapters.jobs.blobs_s3 import PART, Bucket, S3Blobs, bucket_of, signed
from router.adapters.jobs.vault import CHUNK, Vault
from router.ports import BlobMissing, BlobsUnavailable


@pytest.fixture(params=["fake", "directory", "s3"])
async def blobs(request, tmp_path):
    if request.param == "fake":
        yield FakeBlobs()
    elif request.param == "directory":
        yield DirectoryBlobs(tmp_path / "blobs")
    else:
        with S3Server() as server:
            found = S3Blobs(bucket_of(server.url, {}))
            yield found
            await found.close()


async def put(blobs, name, *parts):
    writer = await blobs.writer(name)
    for part in parts:
        await writer.write(part)
    await writer.keep()


async def test_what_is_put_is_read_in_any_part(blobs):
    await put(blobs, "acme/one", b"hello ", b"world")
    assert await blobs.read("acme/one", 0, 100) == b"hello world"
    assert await blobs.read("acme/one", 6, 3) == b"wor"
    assert await blobs.read("acme/one", 11, 5) == b""


async def test_a_new_one_replaces_the_old_only_when_it_is_whole(blobs):
    await put(blobs, "a", b"old")
    writer = await blobs.writer("a")
    await writer.write(b"new")
    assert await blobs.read("a", 0, 9) == b"old"
    await writer.drop()
    assert await blobs.read("a", 0, 9) == b"old"
    await put(blobs, "a", b"new")
    assert await blobs.read("a", 0, 9) == b"new"


async def test_what_is_deleted_is_gone(blobs):
    await put(blobs, "a/b", b"x")
    await blobs.delete("a/b")
    await blobs.delete("a/b")
    with pytest.raises(BlobMissing):
        await blobs.read("a/b", 0, 1)


async def test_large_ones_go_in_parts(blobs):
    piece = os.urandom(PART // 2 + 7)
    await put(blobs, "large", piece, piece, piece)
    assert await blobs.read("large", 2 * len(piece), len(piece) + 1) == piece
    half = await blobs.writer("half")
    await half.write(piece + piece)
    await half.drop()
    with pytest.raises(BlobMissing):
        await blobs.read("half", 0, 1)


async def test_a_frame_opens_where_it_was_put_and_nowhere_else(blobs):
    vault = Vault(blobs, "secret")
    async with await vault.writer("t/jobs") as writing:
        places = [await writing.add(f"answer {number}".encode()) for number in range(3)]
    assert [await vault.get(place) for place in places] == [b"answer 0", b"answer 1", b"answer 2"]
    assert [payload async for _, payload in vault.frames("t/jobs")] == [b"answer 0", b"answer 1", b"answer 2"]
    sealed = await blobs.read("t/jobs", 0, 10_000)
    assert b"answer" not in sealed
    with pytest.raises(BlobMissing):
        vault.open("t/jobs", 0, sealed[places[1][1] : places[1][1] + places[1][2]])
    with pytest.raises(BlobMissing):
        await Vault(blobs, "another").get(places[0])
    with pytest.raises(BlobMissing):
        await vault.get(("t/jobs", places[0][1], places[0][2] - 1))


async def test_frames_are_read_across_what_is_read_ahead(blobs):
    vault = Vault(blobs, "secret")
    payloads = [os.urandom(size) for size in (10, CHUNK, 3, CHUNK + 5, 7)]
    async with await vault.writer("f") as writing:
        for payload in payloads:
            await writing.add(payload)
    assert [payload async for _, payload in vault.frames("f")] == payloads


async def test_a_torn_blob_is_told(blobs):
    vault = Vault(blobs, "secret")
    place = await vault.put("whole", b"some text")
    torn = (await blobs.read("whole", 0, place[2]))[:-3]
    await put(blobs, "whole", torn)
    with pytest.raises(BlobMissing, match="middle"):
        [payload async for _, payload in vault.frames("whole")]


async def test_a_block_that_fails_leaves_no_blob(blobs):
    vault = Vault(blobs, "secret")

    async def breaks():
        async with await vault.writer("broken") as writing:
            await writing.add(b"x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await breaks()
    with pytest.raises(BlobMissing):
        await blobs.read("broken", 0, 1)


@pytest.mark.parametrize("name", ["../outside", "/root", "a//b", "a/..", "", "sp ace"])
async def test_no_name_leads_out_of_the_directory(tmp_path, name):
    with pytest.raises(BlobMissing):
        await DirectoryBlobs(tmp_path / "blobs").writer(name)


async def test_only_the_owner_can_read_the_directory(tmp_path):
    await put(DirectoryBlobs(tmp_path / "blobs"), "acme/one", b"x")
    for path, mode in (("blobs", 0o700), ("blobs/acme", 0o700), ("blobs/acme/one", 0o600)):
        assert stat.S_IMODE((tmp_path / path).stat().st_mode) == mode


@pytest.mark.parametrize(
    ("method", "query", "headers"),
    [("GET", "", {"range": "bytes=0-9"}), ("PUT", "partNumber=2&uploadId=a%2Fb", {}), ("POST", "uploads=", {})],
)
def test_the_signature_is_botocores(method, query, headers):
    at = dt.datetime(2026, 11, 25, 12, 30, 45, tzinfo=dt.UTC)
    bucket = Bucket("https://b.s3.eu-west-1.amazonaws.com", "/jobs", "eu-west-1", "AKID", "secret", "token")
    ours = signed(bucket, method, "/jobs/a~1", query, headers, at)
    request = AWSRequest(
        method=method,
        url=f"{bucket.origin}/jobs/a~1?{query}",
        headers={**headers, "x-amz-content-sha256": "UNSIGNED-PAYLOAD"},
    )
    request.context["timestamp"] = ours["x-amz-date"]
    request.context["client_config"] = SimpleNamespace(s3={"payload_signing_enabled": False})
    signer = S3SigV4Auth(Credentials("AKID", "secret", "token"), "s3", "eu-west-1")
    with mock.patch("botocore.auth.get_current_datetime", return_value=at.replace(tzinfo=None)):
        signer.add_auth(request)
    assert ours["authorization"] == request.headers["Authorization"]


def test_a_bucket_s_url_says_where_and_as_whom():
    found = bucket_of("s3://jobs/a/b?region=eu-west-1", {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"})
    assert (found.origin, found.path) == ("https://jobs.s3.eu-west-1.amazonaws.com", "/a/b")
    for wrong, environment in (("s3://", {}), ("s3://jobs", {}), ("http://x", {})):
        with pytest.raises(ValueError, match="bucket"):
            bucket_of(wrong, environment)


async def test_a_bucket_that_fails_is_told_and_not_taken_for_empty(monkeypatch):
    monkeypatch.setattr(asyncio, "sleep", mock.AsyncMock())
    with S3Server() as server:
        blobs = S3Blobs(bucket_of(server.url, {}))
        server.failing = "PUT"
        with pytest.raises(BlobsUnavailable, match="AccessDenied"):
            await put(blobs, "a", b"x")
        await blobs.close()
    dead = S3Blobs(Bucket("http://127.0.0.1:9", "/b", "r", "k", "s"))
    with pytest.raises(BlobsUnavailable, match="GET"):
        await dead.read("a", 0, 1)
    await dead.close()
