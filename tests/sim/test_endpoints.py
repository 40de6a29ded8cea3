"""The endpoints beside chat, with the shipped prices: what they refuse as their providers do, and what they bill."""

from __future__ import annotations

import aiohttp
import pytest
from sim.conftest import Sim

from router.adapters.policies.files import packaged_policies_dir

FRIDAY = 1_795_780_800.0
"""2026-11-27T12:00:00Z."""


@pytest.fixture
async def sim(start):
    return await start(catalog=packaged_policies_dir() / "catalog", now=lambda: FRIDAY)


async def ask(sim: Sim, path, provider="openai", **body):
    status, _, answer = await sim.post(f"/{provider}/v1/{path}", body)
    return status, answer


REFUSED = [
    ("moderations", {"model": "omni-moderation-latest"}, 400),
    ("images/generations", {"model": "gpt-image-2"}, 400),
    ("images/generations", {"model": "gpt-image-2", "prompt": "a", "n": 11}, 400),
    ("images/generations", {"model": "gpt-image-2", "prompt": "a", "quality": "hd"}, 400),
    ("images/generations", {"model": "gpt-image-2", "prompt": "a", "size": "64x64"}, 400),
    ("images/generations", {"model": "tts-1", "prompt": "a"}, 404),
    ("audio/speech", {"model": "tts-1", "voice": "alloy"}, 400),
    ("audio/speech", {"model": "tts-1", "input": "a"}, 400),
    ("audio/speech", {"model": "tts-1", "input": "a", "voice": "alloy", "response_format": "mid"}, 400),
    ("audio/speech", {"model": "tts-1", "input": "a" * 4097, "voice": "alloy"}, 400),
    ("audio/speech", {"model": "tts-1", "input": "a", "voice": "alloy", "stream_format": "sse"}, 400),
]


@pytest.mark.parametrize(("path", "body", "status"), REFUSED)
async def test_what_a_provider_would_refuse_is_refused_and_costs_nothing(sim, path, body, status):
    found, answer = await ask(sim, path, **body)
    assert (found, set(answer["error"])) == (status, {"message", "type", "param", "code"})
    assert await sim.bill() == []


# Worked by hand from the shipped prices, in nano-dollars.
BILLED = [
    ("openai", "moderations", {"model": "omni-moderation-latest", "input": "a"}, 0),
    # one piece of text at $5 a million, 272 painted at $30
    ("openai", "images/generations", {"model": "gpt-image-2", "prompt": "a", "quality": "low"}, 5_000 + 272 * 30_000),
    # 100 characters at $15 a million
    ("openai", "audio/speech", {"model": "tts-1", "input": "a" * 100, "voice": "alloy"}, 1_500_000),
    # a search at $2 a thousand; 101 documents are two
    ("cohere", "rerank", {"model": "rerank-v3.5", "query": "a", "documents": ["a"]}, 2_000_000),
    ("cohere", "v2/rerank", {"model": "rerank-v3.5", "query": "a", "documents": ["a"] * 101}, 4_000_000),
    # the query with each of two documents: four pieces at $0.05 a million
    ("jina", "rerank", {"model": "jina-reranker-m0", "query": "a", "documents": ["a", "b"]}, 200),
]


@pytest.mark.parametrize(("provider", "path", "body", "nano"), BILLED)
async def test_the_bill_is_what_was_worked_out_by_hand(sim, provider, path, body, nano):
    sent = {"Authorization": "Bearer k"}
    async with sim.session.post(f"{sim.url}/{provider}/v1/{path}", json=body, headers=sent) as answer:
        assert (answer.status, bool(await answer.read())) == (200, True)
    assert [line["nano"] for line in await sim.bill()] == [nano]


async def test_a_form_that_cannot_be_read_is_refused(sim):
    form = aiohttp.FormData({"model": "whisper-1"})
    form.add_field("file", b"short", filename="a.wav")
    async with sim.session.post(
        f"{sim.url}/openai/v1/audio/transcriptions", data=form, headers={"Authorization": "Bearer k"}
    ) as answer:
        assert (answer.status, (await answer.json())["error"]["param"]) == (400, "file")
    assert await sim.bill() == []
