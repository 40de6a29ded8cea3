"""Claude on Vertex as the simulator speaks it: Anthropic's own SDK for Vertex is the judge."""

import anthropic
import pytest
from anthropic import AsyncAnthropicVertex

ASKED = {
    "model": "claude@20260101",
    "max_tokens": 300,
    "messages": [{"role": "user", "content": "Tell me about plans."}],
}
PATH = "/vertex-anthropic/v1/publishers/anthropic/models/claude@20260101:rawPredict"
BODY = {"anthropic_version": "vertex-2023-10-16", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}


@pytest.fixture
async def vertex(sim):
    options = {"project_id": "p", "region": "global", "access_token": "ya29", "max_retries": 0}
    async with AsyncAnthropicVertex(base_url=f"{sim.url}/vertex-anthropic/v1", **options) as client:
        yield client


async def test_an_answer_plain_and_streamed_its_meters_and_the_bill(sim, vertex):
    plain = await vertex.messages.create(**ASKED)
    async with vertex.messages.stream(**ASKED) as stream:
        streamed = await stream.get_final_message()
    assert plain.content[0].text == streamed.content[0].text
    assert (plain.usage.input_tokens, plain.usage.output_tokens) == (
        streamed.usage.input_tokens,
        streamed.usage.output_tokens,
    )
    assert [(line["prompt"], line["completion"]) for line in await sim.bill()] == [
        (plain.usage.input_tokens, plain.usage.output_tokens)
    ] * 2


async def test_it_is_where_gemini_is(sim):
    status, _, told = await sim.post(PATH.replace("vertex-anthropic", "vertex"), BODY)
    assert (status, told["model"]) == (200, "claude@20260101")


async def test_who_must_wait_hears_so(sim, vertex):
    await sim.faults({"kind": "rate_limit", "times": 1})
    with pytest.raises(anthropic.RateLimitError, match="RESOURCE_EXHAUSTED"):
        await vertex.messages.create(**ASKED)


@pytest.mark.parametrize(
    ("path", "changes", "key", "refusal"),
    [
        (PATH, {}, "wrong-key", (401, "UNAUTHENTICATED")),
        (PATH, {"model": "claude@20260101"}, "k", (400, "model: Extra inputs")),
        (PATH, {"anthropic_version": None}, "k", (400, "anthropic_version: Field required")),
        (PATH, {"anthropic_version": "bedrock-2023-05-31"}, "k", (400, "anthropic_version: Input should be")),
        (PATH, {"stream": True}, "k", (400, "does not agree with rawPredict")),
        (PATH.replace("raw", "un"), {}, "k", (404, "Not Found")),
        (PATH.replace("claude@20260101", "claude"), {}, "k", (404, "does not exist")),
        (PATH.replace("vertex-anthropic", "openai"), {}, "k", (404, "Not Found")),
        ("/vertex-anthropic/v1/messages", {}, "k", (404, "Not Found")),
    ],
)
async def test_what_it_refuses(sim, path, changes, key, refusal):
    status, _, told = await sim.post(path, BODY | changes, key)
    assert (status, refusal[1] in str(told)) == (refusal[0], True)
