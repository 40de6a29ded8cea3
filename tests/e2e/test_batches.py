"""Files and batches as OpenAI's SDK knows them: lines routed one by one, and merged into one result."""

from __future__ import annotations

import json

import openai
import pytest
from node import COMMAND, Node, Tenant, clean_environment, run
from store import until

# A job may take its deadline of a minute.
pytestmark = pytest.mark.timeout(150)


@pytest.fixture(scope="module")
def batching_node(tmp_path_factory):
    with Node(tmp_path_factory.mktemp("batches"), workers=2, sim_batch_speed=3600) as node:
        yield node


@pytest.fixture
async def tenant(batching_node):
    batching_node.reset()
    assert batching_node.http.delete(f"{batching_node.sim_url}/_sim/batches").status_code == 204
    async with batching_node.store() as store:
        yield Tenant(batching_node, store)


@pytest.fixture
async def sdk(tenant):
    async with tenant.sdk(timeout=60) as client:
        yield client


def line(name, model="auto", text="Say something.", **fields):
    return {
        "custom_id": name,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": model, "messages": [{"role": "user", "content": f"{text} {name}"}]},
        **fields,
    }


def jsonl(*lines):
    return "\n".join(entry if isinstance(entry, str) else json.dumps(entry) for entry in lines).encode()


async def submitted(sdk, data, window="60s", **fields):
    file = await sdk.files.create(file=("in.jsonl", data), purpose="batch")
    asked = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": window} | fields
    return await sdk.batches.create(**asked)


async def over(sdk, batch, bound_s=90):
    found = [batch]

    async def ended():
        found[0] = await sdk.batches.retrieve(batch.id)
        return found[0].status in ("completed", "failed", "cancelled", "expired")

    await until(ended, bound_s)
    return found[0]


async def rows(sdk, file_id):
    return (
        {}
        if file_id is None
        else {row["custom_id"]: row for row in map(json.loads, (await sdk.files.content(file_id)).text.splitlines())}
    )


async def test_lines_go_to_several_providers_and_come_back_as_one(tenant, sdk):
    models = ("openai/gpt-4.1-mini", "openai/gpt-4o-mini", "mistral/mistral-small-3.2", "auto", "default")
    names = {f"q{number}": models[number % len(models)] for number in range(30)}
    data = jsonl(
        *(
            line(name, model if model.startswith(("openai", "auto", "default")) else "auto")
            for name, model in names.items()
        )
    )
    batch = await over(sdk, await submitted(sdk, data, metadata={"campaign": "spring"}))
    assert batch.status == "completed", batch
    assert batch.metadata == {"campaign": "spring"}
    assert (batch.request_counts.total, batch.request_counts.completed) == (30, 30)
    output = await rows(sdk, batch.output_file_id)
    assert output.keys() == names.keys()
    assert batch.error_file_id is None
    assert all(row["response"]["body"]["choices"][0]["message"]["content"] for row in output.values())
    booked = await tenant.rows(30)
    assert sum(row.cost_nano for row in booked) == sum(found["nano"] for found in tenant.node.bill())
    assert {row.tier for row in booked} >= {"batch"}
    assert len({row.model for row in booked}) >= 2


async def test_malformed_lines_become_lines_of_the_error_file_and_the_rest_runs(tenant, sdk):
    data = jsonl(
        line("good"),
        "{broken",
        line("good"),
        line("", "auto"),
        line("elsewhere", url="/v1/embeddings"),
        line("bodyless", body="hello"),
        line("unknown", "openai/gpt-9-imaginary"),
        line("dear", "openai/gpt-4o") | {"body": {"model": "openai/gpt-4o", "messages": []}},
        line("fine"),
    )
    batch = await over(sdk, await submitted(sdk, data))
    assert (await rows(sdk, batch.output_file_id)).keys() == {"good", "fine"}
    told = [json.loads(row) for row in (await sdk.files.content(batch.error_file_id)).text.splitlines()]
    assert len(told) == 7
    reasons = {row["custom_id"]: row["error"] for row in told}
    assert reasons["good"]["code"] == "duplicate_custom_id"
    assert "line 3" in reasons["good"]["message"]
    assert reasons["elsewhere"]["code"] == "mismatched_url"
    assert reasons["bodyless"]["code"] == "invalid_body"
    assert reasons["unknown"]["code"] == "unknown_model"
    assert {row["error"]["code"] for row in told if row["custom_id"] is None} == {
        "invalid_json_line",
        "missing_custom_id",
    }
    assert all(row["error"]["line"] for row in told)
    assert batch.request_counts.failed == 7
    # The provider refused one, and bills nothing for it; the others were never sent.
    assert sorted(row.cost_nano == 0 for row in await tenant.rows(3)) == [False, False, True]


async def test_a_budget_of_its_own_stops_what_is_not_begun_and_keeps_what_is_done(tenant, sdk):
    data = jsonl(*(line(f"q{number}", "openai/gpt-4.1-mini") for number in range(8)))
    batch = await over(sdk, await submitted(sdk, data, metadata={"costrouter.budget_usd": "0.0009"}))
    output, errors = await rows(sdk, batch.output_file_id), await rows(sdk, batch.error_file_id)
    assert len(output) + len(errors) == 8
    assert output
    assert {row["error"]["code"] for row in errors.values()} == {"budget_exceeded"}
    assert "costrouter.budget_usd" in next(iter(errors.values()))["error"]["message"]
    await tenant.rows(len(output))


async def test_a_batch_is_cancelled_and_tells_what_was_not_run(tenant, sdk):
    tenant.node.http.post(f"{tenant.node.sim_url}/_sim/batches", json={"faults": [{"kind": "never", "times": None}]})
    batch = await submitted(sdk, jsonl(*(line(f"q{number}", "openai/gpt-4.1-mini") for number in range(5))))
    await until(lambda: _running(sdk, batch), 20)
    assert (await sdk.batches.cancel(batch.id)).status == "cancelling"
    batch = await over(sdk, batch)
    assert batch.status == "cancelled"
    errors = await rows(sdk, batch.error_file_id)
    assert len(errors) == 5
    assert {row["error"]["code"] for row in errors.values()} == {"batch_cancelled"}


async def _running(sdk, batch):
    return (await sdk.batches.retrieve(batch.id)).status == "in_progress"


async def test_embeddings_are_lines_as_well(tenant, sdk):
    entry = {
        "custom_id": "e1",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "openai/text-embedding-3-small", "input": "hello"},
    }
    batch = await over(sdk, await submitted(sdk, jsonl(entry), endpoint="/v1/embeddings"))
    output = await rows(sdk, batch.output_file_id)
    assert len(output["e1"]["response"]["body"]["data"][0]["embedding"]) == 1536


async def test_responses_are_lines_as_well(tenant, sdk):
    entries = [
        line(f"r{number}", url="/v1/responses") | {"body": {"model": model, "input": f"Say something. {number}"}}
        for number, model in enumerate(("openai/gpt-4.1-mini", "auto", "anthropic/claude-haiku-4.5"))
    ]
    batch = await over(sdk, await submitted(sdk, jsonl(*entries), endpoint="/v1/responses"))
    assert batch.request_counts.completed == 3, batch
    output = await rows(sdk, batch.output_file_id)
    for row in output.values():
        body = row["response"]["body"]
        assert (body["object"], body["status"]) == ("response", "completed")
        assert body["output"][-1]["content"][0]["text"]
    booked = await tenant.rows(3)
    assert sum(row.cost_nano for row in booked) == sum(found["nano"] for found in tenant.node.bill())
    assert "batch" in {row.tier for row in booked}


async def test_files_and_batches_are_listed_page_by_page_for_who_owns_them(tenant, sdk):
    made = [await sdk.files.create(file=(f"{n}.jsonl", jsonl(line("a"))), purpose="batch") for n in range(5)]
    assert [file.id async for file in sdk.files.list(limit=2)] == [file.id for file in reversed(made)]
    assert (await sdk.files.retrieve(made[0].id)).filename == "0.jsonl"
    assert (await sdk.files.content(made[0].id)).content == jsonl(line("a"))
    batches = [
        await sdk.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
        for file in made[:3]
    ]
    assert {batch.id async for batch in sdk.batches.list(limit=2)} == {batch.id for batch in batches}
    assert (await sdk.files.delete(made[4].id)).deleted
    with pytest.raises(openai.NotFoundError):
        await sdk.files.retrieve(made[4].id)
    async with openai.AsyncOpenAI(
        base_url=tenant.node.base_url, api_key=tenant.node.new_key(tenant=tenant.name), max_retries=0
    ) as other:
        assert [file async for file in other.files.list()] == []
        with pytest.raises(openai.NotFoundError):
            await other.batches.retrieve(batches[0].id)
        with pytest.raises(openai.NotFoundError):
            await other.files.content(made[0].id)
    for batch in batches:
        await over(sdk, batch)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "90d"}, "30 days"),
        ({"endpoint": "/v1/poems"}, "endpoint must be one of"),
        ({"metadata": {"costrouter.budget_usd": "much"}}, "budget_usd"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 60}}, "output_expires_after"),
    ],
)
async def test_a_batch_that_cannot_be_is_refused_in_words(sdk, fields, words):
    file = await sdk.files.create(file=("in.jsonl", b"x"), purpose="batch")
    asked = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"} | fields
    with pytest.raises(openai.BadRequestError, match=words):
        await sdk.batches.create(**asked)


async def test_files_and_outputs_go_when_their_owner_says(sdk):
    hour = {"anchor": "created_at", "seconds": 3600}
    file = await sdk.files.create(file=("in.jsonl", jsonl(line("a"))), purpose="batch", expires_after=hour)
    assert file.expires_at == file.created_at + 3600
    asked = {"endpoint": "/v1/chat/completions", "completion_window": "24h", "output_expires_after": hour}
    batch = await over(sdk, await sdk.batches.create(input_file_id=file.id, **asked))
    output = await sdk.files.retrieve(batch.output_file_id)
    assert output.expires_at == output.created_at + 3600
    for wrong in ({"anchor": "created_at", "seconds": 10}, {"anchor": "last_active_at", "seconds": 3600}):
        with pytest.raises(openai.BadRequestError, match="expires_after"):
            await sdk.files.create(file=("in.jsonl", b"x"), purpose="batch", expires_after=wrong)


async def test_an_empty_file_fails_and_no_file_is_not_found(sdk):
    batch = await over(sdk, await submitted(sdk, b"\n\n"))
    assert batch.status == "failed"
    assert batch.errors.data[0].code == "empty_file"
    with pytest.raises(openai.NotFoundError):
        await sdk.batches.create(input_file_id="file-x", endpoint="/v1/chat/completions", completion_window="24h")
    with pytest.raises(openai.BadRequestError, match="purpose"):
        await sdk.files.create(file=("in.jsonl", b"x"), purpose="fine-tune")


async def test_the_command_line_estimates_submits_watches_and_fetches(tenant, tmp_path):
    node = tenant.node
    file = tmp_path / "in.jsonl"
    file.write_bytes(jsonl(*(line(f"q{number}", "openai/gpt-4.1-mini") for number in range(6)), "{broken"))
    told = node.run("batch", "estimate", str(file), "--window", "60s")
    assert told.returncode == 0, told.stderr
    assert "batch" in told.stdout
    assert "1 lines cannot run" in told.stdout
    assert "saves" in told.stdout
    sent = node.run("batch", "submit", str(file), "--window", "60s", "--watch")
    assert sent.returncode == 0, sent.stderr
    batch = sent.stdout.split()[0]
    output = tmp_path / "out.jsonl"
    fetched = node.run("batch", "fetch", batch, "--output", str(output))
    assert fetched.returncode == 0, fetched.stderr
    assert {json.loads(row)["custom_id"] for row in output.read_text().splitlines()} == {f"q{n}" for n in range(6)}
    assert "invalid_json_line" in output.with_suffix(".errors.jsonl").read_text()
    assert batch in node.run("jobs").stdout
    assert node.run("batch", "fetch", "batch_none").returncode == 1


def test_an_estimate_without_a_server_says_that_there_is_none(tmp_path):
    file = tmp_path / "in.jsonl"
    file.write_text(json.dumps({"custom_id": "a", "body": {"model": "auto", "messages": []}}) + "\n")
    environment = clean_environment(COSTROUTER_PORT="9", COSTROUTER_DATA_DIR=str(tmp_path))
    told = run(COMMAND, "batch", "estimate", file, environment=environment)
    assert told.returncode == 1
    assert "no server at" in told.stderr
    assert "TOTAL" not in told.stdout
