"""`costrouter import litellm` and `import openrouter`: what they write works, and what they cannot map they name."""

from __future__ import annotations

import json

import pytest
import yaml
from node import COMMAND, Node, bearer, clean_environment, run

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
router_settings: {routing_strategy: least-busy, fallbacks: [{fast: [own]}]}
general_settings: {master_key: sk-1234, database_url: "postgres://x"}
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
    told = run(
        COMMAND,
        "import",
        kind,
        str(tmp_path / "given"),
        "--into",
        str(tmp_path / "into"),
        *more,
        environment=clean_environment(),
    )
    return told, tmp_path / "into"


@pytest.fixture
def litellm(tmp_path):
    told, folder = imported(tmp_path, "litellm", LITELLM)
    assert told.returncode == 0, told.stderr
    return told, folder


def test_litellms_groups_become_policies_that_load(litellm):
    _, folder = litellm
    loaded = load_policies(folder / "policies")
    assert {"fast", "smart-one", "own"} == set(loaded.policies) - {"default"}
    fast = yaml.safe_load((folder / "policies" / "fast.yaml").read_text())
    assert fast["mode"] == "observe"
    assert fast["candidates"]["include"][0] == "openai/gpt-4o-mini"
    assert any(model.id == "10-0-0-7-8000/Qwen3-8B" for model in loaded.catalog.models)


def test_litellms_budget_and_settings_are_written(litellm):
    _, folder = litellm
    (budget,) = yaml.safe_load((folder / "state.yaml").read_text())["budgets"]
    assert (budget["limit_usd"], budget["period"]) == ("25", "month")
    settings = dict(line.split("=") for line in (folder / "settings.env").read_text().split())
    assert settings == {"COSTROUTER_ATTEMPTS": "3", "COSTROUTER_TOTAL_TIMEOUT_S": "90"}


@pytest.mark.parametrize(
    "what",
    [
        "rpm", "MY_GROQ", "key in a file is not copied", "unpriced", "nowhere is no provider", "model_list[6]", "drop_params",
        "litellm_settings.odd", "routing_strategy", "fallbacks", "master_key", "database_url", "guardrails", "Smart One",
        "no quality score",
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
