"""The official OpenAI SDK's files and batches against the simulator: states, limits, failures, and the bill."""

from __future__ import annotations

import json

import openai
import pytest

HOUR = 3600


def lines(count=4, model="gpt-small", **fields):
    entries = [
        {
            "custom_id": f"q{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": model, "messages": [{"role": "user", "content": f"Question {number}"}], **fields},
        }
        for number in range(count)
    ]
    return "\n".join(json.dumps(entry) for entry in entries).encode()


async def submitted(client, data=None, **fields):
    file = await client.files.create(file=("in.jsonl", lines() if data is None else data), purpose="batch")
    asked = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"} | fields
    return await client.batches.create(**asked)


async def output(client, file_id):
    return [json.loads(row) for row in (await client.files.content(file_id)).text.splitlines()]


@pytest.fixture
async def slow(start, clock):
    """A simulator whose batches take 600 s at the median, on a clock that is turned by hand."""
    return await start(now=clock, batch_speed=1.0)


async def test_a_batch_goes_through_its_states_and_is_billed_at_half(slow, clock):
    client = slow.openai()
    batch = await submitted(client, metadata={"job": "j1"})
    assert (batch.status, batch.metadata) == ("validating", {"job": "j1"})
    seen = [batch.status]
    for _ in range(400):
        clock.pass_by(60)
        batch = await client.batches.retrieve(batch.id)
        if batch.status != seen[-1]:
            seen.append(batch.status)
    assert [state for state in seen if state != "finalizing"] == ["validating", "in_progress", "completed"]
    assert batch.request_counts.completed == batch.request_counts.total == 4
    rows = await output(client, batch.output_file_id)
    assert {row["custom_id"] for row in rows} == {"q0", "q1", "q2", "q3"}
    assert all(row["response"]["body"]["choices"] for row in rows)
    billed = await slow.bill()
    assert len(billed) == 4
    for line in billed:
        assert line["tier"] == "batch"
        assert line["nano"] == -(-(line["prompt"] * 200 + line["completion"] * 800) // 1)
    assert batch.usage.output_tokens == sum(line["completion"] for line in billed)


async def test_what_is_not_done_in_the_window_expires_and_only_the_rest_is_billed(slow, clock):
    client = slow.openai()
    await slow.post("/_sim/batches", {"settings": {"median_s": 30 * HOUR, "p90_s": 31 * HOUR}})
    batch = await submitted(client, lines(20))
    clock.pass_by(24 * HOUR)
    batch = await client.batches.retrieve(batch.id)
    assert batch.status == "expired"
    done, left = await output(client, batch.output_file_id), await output(client, batch.error_file_id)
    assert len(done) + len(left) == 20
    assert left
    assert {row["error"]["code"] for row in left} == {"batch_expired"}
    assert len(await slow.bill()) == len(done)


async def test_a_cancelled_batch_keeps_what_was_done(slow, clock):
    client = slow.openai()
    batch = await submitted(client, lines(40))
    clock.pass_by(slow.app_batch(batch.id).takes_s * 0.6)
    assert (await client.batches.cancel(batch.id)).status == "cancelling"
    clock.pass_by(60)
    batch = await client.batches.retrieve(batch.id)
    assert batch.status == "cancelled"
    done, left = await output(client, batch.output_file_id), await output(client, batch.error_file_id)
    assert done
    assert {row["error"]["code"] for row in left} == {"batch_cancelled"}
    with pytest.raises(openai.ConflictError):
        await client.batches.cancel(batch.id)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"{broken\n" + lines(1), "invalid_json_line"),
        (lines(1) + b"\n" + lines(1), "duplicate_custom_id"),
        (lines(1) + b"\n" + lines(2, "gpt-thinker").splitlines()[1], "mismatched_model"),
        (lines(1).replace(b"completions", b"completion"), "mismatched_url"),
    ],
)
async def test_a_bad_file_fails_at_validation_and_names_the_line(slow, clock, data, code):
    client = slow.openai()
    batch = await submitted(client, data)
    clock.pass_by(120)
    batch = await client.batches.retrieve(batch.id)
    assert batch.status == "failed"
    assert batch.errors.data[0].code == code
    assert await slow.bill() == []


async def test_more_tokens_than_may_wait_fail_at_validation(slow, clock):
    client = slow.openai()
    await slow.post("/_sim/batches", {"settings": {"enqueued_tokens": 10}})
    batch = await submitted(client)
    clock.pass_by(120)
    batch = await client.batches.retrieve(batch.id)
    assert (batch.status, batch.errors.data[0].code) == ("failed", "token_limit_exceeded")


async def test_lines_are_refused_one_by_one(start):
    sim = await start(batch_speed=0)
    client = sim.openai()
    batch = await submitted(client, lines(1, "gpt-thinker"))
    batch = await client.batches.retrieve(batch.id)
    assert batch.output_file_id is None
    (row,) = await output(client, batch.error_file_id)
    assert row["response"]["status_code"] == 400
    assert "Batch API" in row["response"]["body"]["error"]["message"]


async def test_a_creation_whose_answer_is_lost_is_found_in_the_list(slow):
    client = slow.openai()
    await slow.post("/_sim/batches", {"faults": [{"kind": "create_lost"}]})
    with pytest.raises(openai.APIConnectionError):
        await submitted(client, metadata={"parcel": "p1"})
    (found,) = [batch async for batch in client.batches.list() if batch.metadata == {"parcel": "p1"}]
    assert found.status == "validating"


async def test_mischief_spoils_single_lines_of_a_good_file(start):
    sim = await start(batch_speed=0)
    client = sim.openai()
    kinds = ("line_error", "line_missing", "line_twice", "line_garbage")
    await sim.post("/_sim/batches", {"faults": [{"kind": kind} for kind in kinds]})
    batch = await client.batches.retrieve((await submitted(client)).id)
    text = (await client.files.content(batch.output_file_id)).text.splitlines()
    assert len(text) == 5  # four lines, less one, twice one, and a torn one
    with pytest.raises(json.JSONDecodeError):
        [json.loads(row) for row in text]


async def test_later_batches_take_longer_once_times_have_shifted(slow):
    client = slow.openai()
    await slow.post("/_sim/batches", {"settings": {"p90_s": 600, "shift_after": 1, "shift": 4}})
    first, second = await submitted(client), await submitted(client)
    assert slow.app_batch(first.id).takes_s == 600
    assert slow.app_batch(second.id).takes_s == 2400


async def test_files_are_listed_read_and_deleted(sim):
    client = sim.openai()
    file = await client.files.create(file=("in.jsonl", lines()), purpose="batch")
    assert (await client.files.retrieve(file.id)).bytes == len(lines())
    assert [found.id async for found in client.files.list()] == [file.id]
    assert (await client.files.delete(file.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await client.files.content(file.id)
    with pytest.raises(openai.BadRequestError, match="lunch"):
        await client.files.create(file=("in.jsonl", b"x"), purpose="lunch")


async def test_mistral_and_together_write_it_in_their_own_way(start):
    sim = await start(batch_speed=0)
    body = lines(2, "mistral-small").replace(b'"method": "POST", "url": "/v1/chat/completions", ', b"")
    file = await sim.openai("mistral").files.create(file=("in.jsonl", body), purpose="batch")
    asked = {"input_files": [file.id], "model": "mistral-small", "endpoint": "/v1/chat/completions"}
    _, _, job = await sim.post("/mistral/v1/batch/jobs", asked)
    assert job["status"] == "QUEUED"
    async with sim.session.get(
        f"{sim.url}/mistral/v1/batch/jobs/{job['id']}", headers={"Authorization": "Bearer k"}
    ) as told:
        job = await told.json()
    assert (job["status"], job["succeeded_requests"]) == ("SUCCESS", 2)
    model = next(iter(sim.world.providers["together"].models))
    file = await sim.openai("together").files.create(file=("in.jsonl", lines(2, model)), purpose="batch")
    asked = {"input_file_id": file.id, "endpoint": "/v1/chat/completions"}
    _, _, made = await sim.post("/together/v1/batches", asked)
    assert made["job"]["status"] == "VALIDATING"


async def test_settings_and_faults_are_checked(sim):
    for wrong in ({"settings": {"colour": 1}}, {"settings": {"speed": "fast"}}, {"faults": [{"kind": "tea"}]}, []):
        status, _, _ = await sim.post("/_sim/batches", wrong)
        assert status == 400
