"""The README's words and the commands, as a newcomer tries them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest
from commands import ROOT, costrouter
from node import COMMAND, run
from store import until

from router.adapters.policies.files import load_policies
from router.settings import Settings

README = (ROOT / "README.md").read_text()


def test_the_readmes_python_example_runs(node):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    code = code.replace("http://127.0.0.1:8080/v1", node.base_url).replace("the key from the banner", node.key)
    told = run(sys.executable, "-c", code)
    assert told.returncode == 0, told.stderr
    model, cost = told.stdout.split()
    assert "/" in model
    assert float(cost) > 0


@pytest.mark.parametrize(
    "target", sorted(set(re.findall(r"^make (\w+)", README, re.MULTILINE)) | {"run", "test", "check", "bench"})
)
def test_the_readmes_make_targets_exist(target):
    told = run("make", "-n", target)
    assert told.returncode == 0, told.stderr


def test_explain_shows_the_choice_and_why_not_the_others(node):
    body = json.dumps({"model": "auto", "messages": [{"role": "user", "content": "hi"}]})
    told = node.run("explain", "-", stdin=body)
    assert told.returncode == 0, told.stderr
    assert "CHOSEN" in told.stdout
    assert "default@" in told.stdout
    assert re.search(r"✗ .*below \.600", told.stdout)
    assert node.bill() == []


def test_explain_says_what_is_wrong_with_a_body(node):
    told = node.run("explain", "-", stdin='{"model": "gpt-4o-mni", "messages": []}')
    assert told.returncode == 1
    assert "did you mean" in told.stderr


async def test_spend_shows_what_the_ledger_has(node, web):
    body = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
    async with web.post(
        f"{node.base_url}/chat/completions", json=body, headers={"Authorization": f"Bearer {node.key}"}
    ) as response:
        assert response.status == 200

    def shown():
        told = node.run("spend", "--by", "model")
        assert told.returncode == 0, told.stderr
        return told.stdout

    await until(lambda: "openai/gpt-4o-mini" in shown())
    assert node.spend(group_by="model")["total"]["cost_usd"] in shown()


def test_a_command_without_a_server_says_how_to_start_one(node):
    told = costrouter("spend", environment=node.environment | {"COSTROUTER_PORT": "1"})
    assert told.returncode == 1
    assert "costrouter serve" in told.stderr


@pytest.mark.parametrize("command", re.findall(r"^costrouter ((?:report|ledger) [^#\n]*[^#\n ])", README, re.MULTILINE))
def test_the_readmes_commands_for_finance_run(node, command):
    told = node.run(*command.replace(" -f", "").split())
    assert told.returncode == 0, told.stderr


def test_help_names_every_command(node):
    told = node.run("--help")
    for command in (
        "serve",
        "sim",
        "explain",
        "spend",
        "report",
        "budgets",
        "ledger",
        "prices",
        "keys",
        "audit",
        "export",
        "import",
    ):
        assert command in told.stdout


def test_sim_serves_on_its_own(node):
    process = subprocess.Popen(
        [COMMAND, "sim", "--port", "0", "--speed", "0"],
        env=node.environment, cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        url = process.stdout.readline().removeprefix("sim listening on ").strip()
        answer = node.http.post(
            f"{url}/openai/v1/embeddings",
            json={"model": "text-embedding-3-small", "input": "a"},
            headers={"Authorization": "Bearer k"},
        )
        assert answer.status_code == 200
        process.terminate()
    assert process.returncode == 0


def test_the_readmes_policy_loads_without_a_warning(tmp_path):
    (policy,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    assert len(policy.splitlines()) <= 10
    shutil.copytree(ROOT / "policies" / "catalog", tmp_path / "catalog")
    (tmp_path / "default.yaml").write_text(policy)
    assert load_policies(tmp_path).warnings == ()


def test_every_setting_stands_in_the_readme():
    names = set(Settings.model_fields) - {"environment", "redis_url", "sim_batch_speed", "sim_speed", "store_binary"}
    assert {name for name in names if f"COSTROUTER_{name.upper()}" not in README} == set()


def test_every_providers_variable_stands_in_the_readme():
    providers = load_policies(ROOT / "policies").catalog.providers.values()
    wanted = {provider.base_url_env or provider.key_env for provider in providers if provider.spoken}
    assert {name for name in wanted if name not in README} == set()
