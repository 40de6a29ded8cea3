"""`costrouter import litellm` and `import openrouter`: what they write works, and what they cannot map they name."""

from __future__ import annotations

import hashlib
import json

import pytest
import yaml
from commands import costrouter
from node import Node, bearer
from store import until

from router.adapters.policies.files import load_policies

LITELLM = """
model_list:
  - model_name: fast
    litellm_params: {model: openai/gpt-4o-mini, api_key: os.environ/OPENAI_API_KEY, rpm: 100}
  - model_name: fast
    litellm_params: {model: groq/llama-3.3-70b-versatile, api_key: os.environ/MY_GROQ}
  - model_name: Smart One
    litellm_params: {model: openai/gpt-4o, api_key: sk-in-a-file}
  - model_name: own
    litellm_params:
      model: hosted_vllm/qwen/Qwen3-8B
      api_base: http://10.0.0.7:8000/v1
      input_cost_per_token: 0.0000001
      output_cost_per_token: 0.0000002
    model_info: {max_input_tokens: 32768, supports_function_calling: true}
  - model_name: unpriced
    litellm_params: {model: hosted_vllm/x, api_base: "http://10.0.0.8/v1"}
  - model_name: strange
    litellm_params: {model: nowhere/model-9}
  - model_name: broken
litellm_settings: {num_retries: 2, request_timeout: 90, max_budget: 25, budget_duration: 30d, drop_params: true, odd: 1}
router_settings:
  routing_strategy: least-busy
  fallbacks: [{fast: [own]}, {nobody: [fast]}]
  model_group_alias: {quick: fast, gone: nothing}
  provider_budget_config: {gemini: {budget_limit: 5, time_period: 1d}, nowhere: {budget_limit: 1}}
  stream_timeout: 20
general_settings: {master_key: sk-1234, database_url: "postgres://x", global_max_parallel_requests: 50}
guardrails: []
"""
OPENROUTER = {
    "model": "openai/gpt-4o:floor",
    "models": ["anthropic/claude-opus-5.5", "nobody/none"],
    "provider": {"order": ["OpenAI"], "ignore": ["Groq"], "sort": "throughput", "max_price": {"prompt": 1}},
    "transforms": ["middle-out"],
    "messages": [{"role": "user", "content": "a private prompt"}],
}


def imported(tmp_path, kind, text, *more):
    (tmp_path / "given").write_text(text)
    told = costrouter("import", kind, str(tmp_path / "given"), "--into", str(tmp_path / "into"), *more)
    return told, tmp_path / "into"


@pytest.fixture(scope="module")
def litellm(tmp_path_factory):
    """What was written; tests read it."""
    told, folder = imported(tmp_path_factory.mktemp("litellm"), "litellm", LITELLM)
    assert told.returncode == 0, told.stderr
    return told, folder


def test_litellms_groups_become_policies_that_load(litellm):
    _, folder = litellm
    loaded = load_policies(folder / "policies")
    assert {"fast", "smart-one", "own", "quick"} == set(loaded.policies) - {"default"}
    fast = yaml.safe_load((folder / "policies" / "fast.yaml").read_text())
    assert fast["mode"] == "observe"
    assert fast["candidates"]["include"][0] == "openai/gpt-4o-mini"
    assert any(model.id == "10-0-0-7-8000/Qwen3-8B" for model in loaded.catalog.models)
    assert "10-0-0-7-8000/Qwen3-8B" in fast["candidates"]["include"], "a group's fallbacks are candidates"
    assert yaml.safe_load((folder / "policies" / "quick.yaml").read_text())["candidates"] == fast["candidates"]


def test_litellms_budget_and_settings_are_written(litellm):
    _, folder = litellm
    state = yaml.safe_load((folder / "state.yaml").read_text())
    assert [(one["scope"], one["limit_usd"], one["period"]) for one in state["budgets"]] == [
        ({}, "25", "month"),
        ({"provider": "google"}, "5", "day"),
    ]
    assert state["limits"] == [{"scope": {}, "kind": "concurrency", "limit": 50}]
    settings = dict(line.split("=") for line in (folder / "settings.env").read_text().split())
    assert settings == {
        "COSTROUTER_ATTEMPTS": "3",
        "COSTROUTER_TOTAL_TIMEOUT_S": "90",
        "COSTROUTER_FIRST_BYTE_TIMEOUT_S": "20",
    }


@pytest.mark.parametrize(
    "what",
    [
        "rpm", "MY_GROQ", "key in a file is not copied", "unpriced", "nowhere is no provider", "model_list[6]", "drop_params",
        "litellm_settings.odd", "routing_strategy", "fallbacks", "master_key", "database_url", "guardrails", "Smart One",
        "no quality score", "there is no group 'nobody'", "there is no group 'nothing'", "nowhere is no provider of the catalog",
    ],
)  # fmt: skip
def test_what_litellm_has_and_we_have_not_is_named(litellm, what):
    told, folder = litellm
    page = (folder / "NOT_MAPPED.md").read_text()
    if what == "unpriced":
        what = "x at http://10.0.0.8/v1 has no price"
    assert what in page
    assert what in told.stdout
    assert "sk-in-a-file" not in page
    assert "sk-1234" not in page


def test_what_was_migrated_serves_and_its_state_goes_in(litellm, tmp_path):
    _, folder = litellm
    with Node(tmp_path / "node", policies=folder / "policies", sim=True) as node:
        assert "create" in node.run("import", str(folder / "state.yaml")).stdout
        body = {"model": "fast", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
        answer = node.http.post(f"{node.base_url}/chat/completions", json=body, headers=bearer(node.key))
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-costrouter-policy"].startswith("fast@")


CLOUDS = """
model_list:
  - model_name: chat
    litellm_params: {model: azure/prod-4o, api_base: https://one.openai.azure.com/, api_version: 2024-10-21, max_budget: 3}
    model_info: {base_model: azure/gpt-4o}
  - {model_name: chat, litellm_params: {model: azure/gpt-4o-mini, api_base: "https://two.openai.azure.com"}}
  - {model_name: chat, litellm_params: {model: azure/what-is-it}}
  - {model_name: haiku, litellm_params: {model: bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0, weight: 2, budget_duration: 5h, max_budget: 1}}
  - {model_name: sonnet, litellm_params: {model: anthropic/claude-sonnet-4-5-20250929}}
"""


def test_litellms_clouds_keep_to_their_accounts_and_dated_names_are_known(tmp_path):
    told, folder = imported(tmp_path, "litellm", CLOUDS)
    assert told.returncode == 0, told.stderr
    loaded = load_policies(folder / "policies")
    includes = {
        path.stem: yaml.safe_load(path.read_text())["candidates"]["include"]
        for path in (folder / "policies").glob("*.yaml")
    }
    assert includes["chat"] == ["openai/gpt-4o@azure", "openai/gpt-4o-mini@azure"]
    assert includes["haiku"] == ["anthropic/claude-haiku-4.5@bedrock"]
    assert includes["sonnet"] == ["anthropic/claude-sonnet-4.5"]
    assert loaded.policies.keys() >= includes.keys()
    settings = dict(line.split("=", 1) for line in (folder / "settings.env").read_text().split())
    assert settings == {
        "AZURE_OPENAI_ENDPOINT": "https://one.openai.azure.com",
        "AZURE_OPENAI_API_VERSION": "2024-10-21",
        "AZURE_OPENAI_DEPLOYMENTS": "gpt-4o=prod-4o",
    }
    (budget,) = yaml.safe_load((folder / "state.yaml").read_text())["budgets"]
    assert budget["scope"] == {"model": "openai/gpt-4o", "provider": "azure"}
    for what in ("one account serves", "which model the deployment what-is-it is", "several keys", "5h is no period"):
        assert what in told.stdout


SECRET = "sk-of-litellm-1234567890"


def listing(**changes):
    key = {
        "token": hashlib.sha256(SECRET.encode()).hexdigest(), "key_alias": "search-prod", "team_id": "Search Team",
        "max_budget": 20.0, "budget_duration": "30d", "rpm_limit": 2, "tpm_limit": 100_000, "max_parallel_requests": 10,
        "expires": "2099-01-01T00:00:00Z", "created_at": "2026-01-02T03:04:05.678000", "models": ["gpt-4o"], "spend": 1.5,
    }  # fmt: skip
    return json.dumps({"keys": [key | changes]})


async def test_litellms_keys_come_over_and_applications_keep_their_secrets(node, tmp_path):
    (tmp_path / "keys.json").write_text(listing())
    told, folder = imported(tmp_path, "litellm", LITELLM, "--keys", str(tmp_path / "keys.json"))
    assert told.returncode == 0, told.stderr
    for what in ("keys[0].models", "keys[0].spend", "called search-team"):
        assert what in told.stdout
    state = yaml.safe_load((folder / "state.yaml").read_text())
    name = state["keys"][0]["id"]
    # The whole node's budget would stay for other tests.
    state["budgets"], state["limits"] = (
        [one for one in state[part] if one["scope"].get("key")] for part in ("budgets", "limits")
    )
    assert state["budgets"] == [{"scope": {"key": name}, "limit_usd": "20.0", "period": "month", "hard": True}]
    assert [(one["kind"], one["limit"]) for one in state["limits"]] == [
        ("requests", 2), ("tokens", 100_000), ("concurrency", 10),
    ]  # fmt: skip
    (tmp_path / "state.yaml").write_text(yaml.safe_dump(state))
    assert node.run("import", str(tmp_path / "state.yaml")).returncode == 0
    body = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}

    def status():
        return node.http.post(f"{node.base_url}/chat/completions", json=body, headers=bearer(SECRET)).status_code

    assert (status(), status()) == (200, 200)
    await until(lambda: status() == 429)
    await until(lambda: "search-team" in str(node.spend(group_by="team")))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}", "no list of keys"),
        ('["abc"]', r"keys[0] is no object; ask LiteLLM for /key/list?return_full_object=true"),
    ],
)
def test_a_list_of_keys_that_is_something_else_is_refused(tmp_path, text, said):
    (tmp_path / "keys.json").write_text(text)
    told, folder = imported(tmp_path, "litellm", LITELLM, "--keys", str(tmp_path / "keys.json"))
    assert told.returncode == 1
    assert said in told.stderr
    assert not folder.exists()


def test_keys_that_cannot_come_over_are_named(tmp_path):
    changes = ({"token": "sk-plain"}, {"blocked": True}, {"expires": "soon"})
    keys = [json.loads(listing(**change))["keys"][0] for change in changes]
    (tmp_path / "keys.json").write_text(json.dumps(keys))
    told, folder = imported(tmp_path, "litellm", LITELLM, "--keys", str(tmp_path / "keys.json"))
    for number, said in enumerate(("its `token` is no SHA-256", "it is blocked", "'soon' is no time")):
        assert any(f"keys[{number}]" in line and said in line for line in told.stdout.splitlines()), told.stdout
    assert "sk-plain" not in told.stdout
    assert yaml.safe_load((folder / "state.yaml").read_text())["keys"] == []


def test_an_openrouter_request_becomes_a_policy(tmp_path):
    told, folder = imported(tmp_path, "openrouter", json.dumps(OPENROUTER))
    assert told.returncode == 0, told.stderr
    policy = yaml.safe_load((folder / "policies" / "from-openrouter.yaml").read_text())
    assert policy["candidates"]["include"] == ["openai/gpt-4o", "anthropic/claude-opus-5.5"]
    assert policy["candidates"]["exclude"] == ["provider:groq"]
    for what in (
        "nobody/none",
        "provider.order",
        "provider.sort",
        "provider.max_price",
        "transforms",
        "floor",
        "models",
    ):
        assert what in told.stdout
    assert "private" not in told.stdout
    assert not [path for path in folder.rglob("*") if path.is_file() and "private" in path.read_text()]


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("litellm", "a: 1", "no model_list"),
        ("litellm", "{", "cannot be read"),
        ("openrouter", "{}", "names no model"),
        ("openrouter", '{"model": "nobody/none"}', "none of its models is in the catalog"),
    ],
)
def test_a_file_that_is_something_else_is_refused(tmp_path, kind, text, said):
    told, folder = imported(tmp_path, kind, text)
    assert told.returncode == 1
    assert said in told.stderr
    assert not folder.exists()


def test_nothing_is_written_over_and_nothing_on_a_dry_run(tmp_path):
    told, folder = imported(tmp_path, "litellm", LITELLM, "--dry-run")
    assert told.returncode == 0
    assert not folder.exists()
    imported(tmp_path, "litellm", LITELLM)
    told, _ = imported(tmp_path, "litellm", LITELLM)
    assert told.returncode == 1
    assert "there already" in told.stderr
