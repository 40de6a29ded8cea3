"""OpenAI's other endpoints and rerankers, by the official SDK, against a whole node: the ledger is the simulators' bill."""

from __future__ import annotations

import asyncio
import io
import math
import struct
import wave

import httpx2
import openai
import pytest
from books import FRESH_S
from node import bearer


def recording(seconds=2.5, rate=8000):
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(rate)
        samples = (int(9000 * math.sin(number / 9)) for number in range(int(seconds * rate)))
        sound.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
    return file.getvalue()


def picture():
    return b"\x89PNG\r\n\x1a\n" + bytes(range(200))


async def capped(node, tenant, limit_usd):
    """Once every worker goes by a hard budget of the tenant's."""
    body = {"scope": {"tenant": tenant.name}, "limit_usd": limit_usd, "period": "day"}
    answer = node.http.post(f"{node.url}/costrouter/v1/budgets", json=body, headers=bearer(node.admin_key))
    assert answer.status_code == 201, answer.text
    await asyncio.sleep(FRESH_S)


async def billed(node, tenant):
    """The one row, which cost what the one line of the bill says."""
    row, (line,) = await tenant.row(), node.bill()
    assert (row.cost_nano, row.model, row.provider) == (line["nano"], line["id"], line["provider"])
    return row


async def test_moderation_is_free_and_has_a_row(node, sdk, tenant):
    answer = await sdk.moderations.create(model="omni-moderation-latest", input=["I will kill it", "a plan"])
    assert [result.flagged for result in answer.results] == [True, False]
    row = await billed(node, tenant)
    assert (row.endpoint, row.cost_nano, row.certainty, row.rule) == ("moderation", 0, "counted", "other-endpoints")
    assert row.prompt_tokens > 3


async def test_no_model_named_is_the_cheapest_that_the_policy_allows(node, sdk, tenant):
    await sdk.moderations.create(input="a plan")
    assert (await billed(node, tenant)).model == "openai/omni-moderation-latest"


async def test_images_are_metered_in_tokens_by_the_provider(node, sdk, tenant):
    raw = await sdk.images.with_raw_response.generate(
        model="gpt-image-2", prompt="a red fox", n=2, size="1024x1536", quality="high"
    )
    answer = raw.parse()
    assert len(answer.data) == 2
    assert all(image.b64_json for image in answer.data)
    row = await billed(node, tenant)
    assert (row.endpoint, row.certainty, row.completion_tokens, row.choices) == ("images", "metered", 2 * 6240, 2)
    assert dict(row.units) == {"image.output": 2 * 6240, "image.output_each": 2}
    assert raw.headers["x-costrouter-cost-usd"] == f"{row.cost_nano / 1e9:.9f}"
    spent = node.http.get(f"{node.url}/costrouter/v1/spend", headers=tenant.headers).json()
    assert (spent["total"]["images"], spent["total"]["cost_nano"]) == (2, row.cost_nano)


async def test_an_image_stream_passes_with_its_meters(node, sdk, tenant):
    stream = await sdk.images.generate(model="gpt-image-2", prompt="a red fox", stream=True, partial_images=1)
    events = [event async for event in stream]
    assert [event.type for event in events] == ["image_generation.partial_image", "image_generation.completed"]
    row = await billed(node, tenant)
    assert (row.certainty, row.completion_tokens) == ("metered", events[-1].usage.output_tokens)
    assert dict(row.units)["image.output_each"] == 1


async def test_images_are_edited_from_a_form(node, sdk, tenant):
    answer = await sdk.images.edit(
        model="gpt-image-2", image=[("a.png", picture()), ("b.png", picture())], prompt="both of them", quality="low"
    )
    assert len(answer.data) == 1
    row = await billed(node, tenant)
    assert (row.endpoint, row.completion_tokens) == ("image_edits", 272)
    assert dict(row.units)["image.input"] == 2 * 323


async def test_variations_go_the_same_way(node, sdk, tenant):
    with pytest.warns(DeprecationWarning, match="deprecated"):
        await sdk.images.create_variation(model="gpt-image-2", image=("a.png", picture()), n=2)
    assert dict((await billed(node, tenant)).units)["image.output_each"] == 2


@pytest.mark.parametrize("form", ["json", "verbose_json", "text", "srt"])
async def test_whisper_is_paid_by_the_second_whatever_form_its_answer_has(node, sdk, tenant, form):
    said = await sdk.audio.transcriptions.create(
        model="whisper-1", file=("talk.wav", recording(3)), response_format=form, language="en"
    )
    assert "word6" in (said if isinstance(said, str) else said.text)
    row = await billed(node, tenant)
    assert row.units == (("audio.input_minute", 3000),)
    assert row.certainty == ("metered" if "json" in form else "counted")


async def test_later_models_are_paid_in_tokens(node, sdk, tenant):
    said = await sdk.audio.transcriptions.create(
        model="gpt-4o-transcribe", file=("talk.wav", recording(2.5)), prompt="Hi"
    )
    row = await billed(node, tenant)
    assert (row.prompt_tokens, row.completion_tokens) == (said.usage.input_tokens, said.usage.output_tokens)
    assert row.units == (("audio.input", 25),)


async def test_a_transcript_may_be_streamed(node, sdk, tenant):
    stream = await sdk.audio.transcriptions.create(
        model="gpt-4o-mini-transcribe", file=("talk.wav", recording(2)), stream=True
    )
    events = [event async for event in stream]
    assert "".join(event.delta for event in events[:-1]).split() == events[-1].text.split()
    assert (await billed(node, tenant)).certainty == "metered"


async def test_a_translation_goes_where_it_is_done(node, sdk, tenant):
    with pytest.warns(DeprecationWarning, match="deprecated"):
        said = await sdk.audio.translations.create(model="whisper-1", file=("talk.wav", recording(1)))
    assert said.text
    assert (await billed(node, tenant)).endpoint == "translation"
    with (
        pytest.warns(DeprecationWarning, match="deprecated"),
        pytest.raises(openai.BadRequestError, match="does not serve translation"),
    ):
        await sdk.audio.translations.create(model="gpt-4o-transcribe", file=("talk.wav", recording(1)))


async def test_speech_by_the_character_passes_as_it_comes(node, sdk, tenant):
    text = "Grüße, world! " * 100
    async with sdk.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input=text) as answer:
        parts = [part async for part in answer.iter_bytes()]
    assert answer.headers["content-type"] == "audio/mpeg"
    assert len(b"".join(parts)) == 24 * len(text)
    row = await billed(node, tenant)
    assert (row.units, row.certainty) == ((("audio.characters", len(text)),), "counted")


async def test_speech_in_tokens_is_metered_although_its_caller_asks_for_sound(node, sdk, tenant):
    text = "A plan. " * 40
    answer = await sdk.audio.speech.create(model="gpt-4o-mini-tts", voice="alloy", input=text, response_format="wav")
    assert answer.response.headers["content-type"] == "audio/wav"
    assert len(answer.content) == 24 * len(text)
    row = await billed(node, tenant)
    assert (row.certainty, row.completion_tokens) == ("metered", 480)
    assert row.units == (("audio.output", 480),)


async def test_speech_events_reach_who_asks_for_them(node, sdk, tenant):
    async with sdk.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice="alloy", input="A plan.", stream_format="sse"
    ) as answer:
        said = b"".join([part async for part in answer.iter_bytes()])
    assert said.count(b"speech.audio.delta") == 1
    assert b"speech.audio.done" in said
    row = await billed(node, tenant)
    assert f": x-costrouter-cost-usd={row.cost_nano / 1e9:.9f}".encode() in said


RERANKERS = [
    ("/v2/rerank", "rerank-v3.5", (("search", 1),)),
    ("/v1/rerank", "cohere/rerank-v3.5", (("search", 1),)),
    ("/v1/rerank", "jinaai/jina-reranker-m0", ()),
    ("/v1/rerank", "salesforce/llama-rank-v1", ()),
]


@pytest.mark.parametrize(("path", "model", "units"), RERANKERS)
async def test_documents_are_ranked(node, tenant, path, model, units):
    documents = ["apples and pears", "the capital of France is Paris", "a plan"]
    body = {"model": model, "query": "capital of France", "documents": documents, "top_n": 2, "return_documents": True}
    answer = node.http.post(f"{node.url}{path}", json=body, headers=tenant.headers)
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert (len(results), results[0]["index"], results[0]["document"]["text"]) == (2, 1, documents[1])
    row = await billed(node, tenant)
    assert (row.endpoint, row.certainty, row.units) == ("rerank", "metered", units)
    assert bool(row.prompt_tokens) is not bool(units)


async def test_the_cheapest_reranker_serves_who_names_none(node, tenant):
    body = {"query": "capital of France", "documents": ["Paris", "Rome"]}
    assert node.http.post(f"{node.url}/v1/rerank", json=body, headers=tenant.headers).status_code == 200
    assert (await billed(node, tenant)).model == "jinaai/jina-reranker-m0"


async def test_a_broken_upload_costs_nothing(node, tenant):
    whole = httpx2.Request("POST", "http://x", data={"model": "whisper-1"}, files={"file": ("talk.wav", recording(1))})
    body = whole.read()
    headers = {**tenant.headers, "content-type": whole.headers["content-type"]}
    url = f"{node.url}/v1/audio/transcriptions"
    answer = node.http.post(url, content=body[: len(body) // 2], headers=headers)
    assert answer.status_code == 400
    assert "not whole" in answer.json()["error"]["message"]
    assert node.http.post(url, content=body, headers=tenant.headers | {"content-type": "audio/wav"}).status_code == 400
    assert node.bill() == []
    assert node.http.post(url, content=body, headers=headers).status_code == 200
    await billed(node, tenant)


async def test_a_file_beyond_the_limit_is_refused(node, sdk):
    with pytest.raises(openai.APIStatusError) as refused:
        await sdk.audio.transcriptions.create(model="whisper-1", file=("talk.wav", bytes(9 * 1024 * 1024)))
    assert (refused.value.status_code, refused.value.body["code"]) == (413, "request_too_large")
    assert node.bill() == []


async def test_what_has_no_price_is_refused_before_the_call(node, sdk):
    with pytest.raises(openai.NotFoundError, match="was retired on 2026-05-12"):
        await sdk.images.generate(model="dall-e-3", prompt="a fox")
    with pytest.raises(openai.NotFoundError, match="did you mean"):
        await sdk.audio.speech.create(model="tts-3", voice="alloy", input="Hi")
    assert node.bill() == []


async def test_a_providers_refusal_reaches_the_caller_and_costs_nothing(node, sdk, tenant):
    with pytest.raises(openai.BadRequestError, match="is not compatible with model"):
        await sdk.audio.transcriptions.create(
            model="gpt-4o-transcribe", file=("talk.wav", recording(1)), response_format="srt"
        )
    assert (await tenant.row()).cost_nano == 0
    assert node.bill() == []


async def test_who_leaves_in_the_middle_of_a_speech_pays_for_it(node, tenant):
    node.faults({"kind": "stall", "delay_ms": 700, "times": 1})
    body = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "A plan. " * 200}
    with node.http.stream("POST", f"{node.url}/v1/audio/speech", json=body, headers=tenant.headers) as answer:
        next(answer.iter_bytes())
    row = await tenant.row()
    assert (row.outcome, row.certainty) == ("client_left", "metered")
    assert row.cost_nano == node.bill()[0]["nano"]


async def test_sound_that_breaks_off_is_cut_off_and_booked(node, tenant):
    node.faults({"kind": "reset", "times": 1})
    body = {"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "A plan. " * 200}
    with pytest.raises(httpx2.RemoteProtocolError):
        node.http.post(f"{node.url}/v1/audio/speech", json=body, headers=tenant.headers)
    row = await tenant.row()
    assert (row.outcome, row.certainty) == ("upstream_interrupted", "estimated")


async def test_what_meters_do_not_tell_goes_by_what_was_ordered(node, sdk, tenant):
    node.faults({"kind": "no_usage", "times": 1})
    await sdk.audio.transcriptions.create(model="whisper-1", file=("talk.wav", recording(4)))
    row = await billed(node, tenant)
    assert (row.certainty, row.units) == ("counted", (("audio.input_minute", 4000),))


async def test_a_hard_budget_holds_the_most_that_there_can_be(node, tenant):
    await capped(node, tenant, "0.01")
    body = {"model": "gpt-image-2", "prompt": "a fox", "quality": "low"}
    answer = node.http.post(f"{node.url}/v1/images/generations", json=body, headers=tenant.headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "budget_exceeded")
    body = {"model": "tts-1", "voice": "alloy", "input": "Hi"}
    assert node.http.post(f"{node.url}/v1/audio/speech", json=body, headers=tenant.headers).status_code == 200
    await billed(node, tenant)


async def test_a_decision_is_explained_in_units(node, tenant):
    body = {"model": "gpt-image-2", "prompt": "a fox", "n": 2}
    headers = tenant.headers | {"x-costrouter-explain": "true"}
    told = node.http.post(f"{node.url}/v1/images/generations", json=body, headers=headers)
    answer = told.json()
    units = answer["costrouter"]["chosen"]["units"]
    assert (units["image.output_each"], units["image.output"] > 2 * 272) == (2, True)
    made = f"{node.url}/costrouter/v1/decisions/{told.headers['x-costrouter-request-id']}"
    assert node.http.get(made, headers=tenant.headers).json()["chosen"]["units"] == units
    found = node.http.post(f"{node.url}/costrouter/v1/estimate", json=body, headers=tenant.headers).json()
    assert found["chosen"]["units"]["image.output_each"] == 2
    assert len(answer["data"]) == 2


async def test_where_there_is_no_place_for_an_explanation_the_answer_stays_as_it_is(node, tenant):
    headers = tenant.headers | {"x-costrouter-explain": "true"}
    body = {"model": "tts-1", "voice": "alloy", "input": "Hi"}
    assert len(node.http.post(f"{node.url}/v1/audio/speech", json=body, headers=headers).content) == 48
    files = {"file": ("talk.wav", recording(1))}
    form = {"model": "whisper-1", "response_format": "text"}
    url = f"{node.url}/v1/audio/transcriptions"
    assert node.http.post(url, data=form, files=files, headers=headers).text == "word0 word1 word2\n"


async def test_what_is_tried_again_under_one_key_is_served_once(node, sdk, tenant):
    for _ in range(2):
        said = await sdk.audio.transcriptions.create(
            model="whisper-1", file=("talk.wav", recording(1)), extra_headers={"Idempotency-Key": "talk"}
        )
        sound = await sdk.audio.speech.create(
            model="tts-1", voice="alloy", input="Hi", extra_headers={"Idempotency-Key": "speech"}
        )
        assert (said.text, len(sound.content)) == ("word0 word1 word2", 48)
    assert len(await tenant.rows(2)) == len(node.bill()) == 2
