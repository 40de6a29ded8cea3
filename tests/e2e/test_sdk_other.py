"""The official SDKs against a whole node: embeddings and lists of models."""

from __future__ import annotations

import base64
import struct

import anthropic
import openai
import pytest

EMBED = "openai/text-embedding-3-small"


async def test_embeddings_arrive_as_floats_by_the_sdks_base64_default(node, sdk, tenant):
    answer = await sdk.embeddings.create(model=EMBED, input="a plan")
    row = await tenant.row()
    assert len(answer.data[0].embedding) == 1536
    assert all(isinstance(value, float) for value in answer.data[0].embedding[:5])
    assert (row.endpoint, row.certainty, row.cost_nano) == ("embeddings", "metered", node.bill()[0]["nano"])


async def test_floats_and_base64_are_the_same_vector(sdk):
    floats = await sdk.embeddings.create(model=EMBED, input="a plan", encoding_format="float")
    packed = await sdk.embeddings.create(model=EMBED, input="a plan", encoding_format="base64")
    raw = base64.b64decode(packed.data[0].embedding)
    assert struct.unpack(f"<{len(raw) // 4}f", raw) == pytest.approx(floats.data[0].embedding, rel=1e-5)


async def test_a_batch_is_one_attempt_with_an_embedding_for_each_input(sdk, tenant):
    raw = await sdk.embeddings.with_raw_response.create(
        model=EMBED, input=[f"text {number}" for number in range(100)], dimensions=64, encoding_format="float"
    )
    answer = raw.parse()
    assert [entry.index for entry in answer.data] == list(range(100))
    assert {len(entry.embedding) for entry in answer.data} == {64}
    assert raw.headers["x-costrouter-rule"] == "embeddings"
    assert (await tenant.row()).prompt_tokens == answer.usage.prompt_tokens


async def test_token_numbers_are_embedded_too(sdk, tenant):
    await sdk.embeddings.create(model=EMBED, input=[[1, 2, 3], [4, 5]], encoding_format="float")
    assert (await tenant.row()).prompt_tokens == 5


async def test_a_chat_model_embeds_nothing(sdk):
    with pytest.raises(openai.BadRequestError, match="does not serve embeddings"):
        await sdk.embeddings.create(model="openai/gpt-4o-mini", input="a plan")


async def test_models_are_listed_and_found(sdk):
    names = [model.id async for model in sdk.models.list()]
    assert names[0] == "auto"
    assert {"default", "watch", "openai/gpt-4o-mini", EMBED} < set(names)
    assert len(names) == len(set(names))
    for name in ("auto", "watch", "openai/gpt-4o-mini", "gpt-4o"):
        assert (await sdk.models.retrieve(name)).id == name
    with pytest.raises(openai.NotFoundError, match="did you mean openai/gpt-4o-mini"):
        await sdk.models.retrieve("openai/gpt-4o-mni")


async def test_models_in_anthropics_shape_for_anthropics_sdk(node, tenant, sdk):
    names = [model.id async for model in sdk.models.list()]
    async with anthropic.AsyncAnthropic(base_url=node.url, api_key=tenant.key, max_retries=0) as client:
        assert [model.id async for model in client.models.list()] == names
        found = await client.models.retrieve("anthropic/claude-haiku-4.5")
    assert (found.id, found.type) == ("anthropic/claude-haiku-4.5", "model")


async def test_the_list_needs_a_key(node):
    async with openai.AsyncOpenAI(base_url=node.base_url, api_key="cr-wrong", max_retries=0) as client:
        with pytest.raises(openai.AuthenticationError):
            await client.models.list()
