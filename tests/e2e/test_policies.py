"""Edits of policies while a node serves: taken at once by every worker, refused without harm, kept over a restart."""

import time

import pytest
from node import Node, bearer, policies_copy

SUPPORT = """\
version: 1
policy: support
bind: {team: support}
candidates: {include: [openai/gpt-4o-mini]}
rules: [{name: any}]
"""


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edited")
    policies = policies_copy(folder / "policies")
    with Node(folder, workers=2, policies=policies) as node:
        yield node, policies


def until(what):
    """Whether it comes to hold, whichever worker answers. It takes a fraction of a second; a busy machine may take longer."""
    end = time.monotonic() + 10
    held = 0
    while time.monotonic() < end:
        held = held + 1 if what() else 0
        if held == 6:
            return True
        time.sleep(0.02)
    return False


def listed(node):
    found = node.http.get(
        f"{node.url}/costrouter/v1/policies", headers={**bearer(node.admin_key), "connection": "close"}
    )
    return found.json()


def state(node, file):
    return next((policy["state"] for policy in listed(node)["data"] if policy["file"] == file), None)


def decided(node, key, model="auto"):
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    headers = {**bearer(key), "connection": "close"}
    return node.http.post(f"{node.url}/v1/chat/completions", json=body, headers=headers)


def held(node, policies):
    """Have a good version taken, and a bad edit of it refused."""
    file = policies / "support.yaml"
    file.write_text(SUPPORT)
    assert until(lambda: state(node, "support.yaml") == "live")
    file.write_text(SUPPORT.replace("rules:", "ruls:"))
    assert until(lambda: state(node, "support.yaml") == "held")


def test_a_new_policy_governs_its_team_and_nobody_else(edited):
    node, policies = edited
    (policies / "support.yaml").unlink(missing_ok=True)
    assert until(lambda: state(node, "support.yaml") is None)
    key = node.new_key(name="helpdesk", team="support")
    assert decided(node, key).headers["x-costrouter-policy"].startswith("default@")
    (policies / "support.yaml").write_text(SUPPORT)
    assert until(lambda: decided(node, key).headers["x-costrouter-policy"].startswith("support@"))
    assert decided(node, key).headers["x-costrouter-model"] == "openai/gpt-4o-mini"
    assert decided(node, node.key).headers["x-costrouter-policy"].startswith("default@")
    stranger = node.new_key(name="sales", team="sales")
    refused = decided(node, stranger, model="support")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_allowed")


def test_a_bad_edit_keeps_the_last_good_version_and_is_told(edited):
    node, policies = edited
    (policies / "support.yaml").write_text(SUPPORT)
    assert until(lambda: state(node, "support.yaml") == "live")
    before = listed(node)["set"]
    held(node, policies)
    found = listed(node)
    assert found["set"] == before
    (kept,) = [policy for policy in found["data"] if policy["state"] == "held"]
    assert "unknown key 'ruls'; did you mean rules?" in kept["reason"]
    assert kept["version"].startswith("support@")
    assert until(lambda: "did you mean rules?" in str(node.http.get(f"{node.url}/readyz").json()["reasons"]))
    ready = node.http.get(f"{node.url}/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert "costrouter_policy_faults 1.0" in node.http.get(f"{node.url}/metrics").text
    assert "policy_held" in node.log
    key = node.new_key(name="desk", team="support")
    assert decided(node, key).headers["x-costrouter-policy"].startswith("support@")


def test_a_restart_keeps_it_too_and_the_mended_file_is_taken(edited):
    node, policies = edited
    held(node, policies)
    node.stop()
    node.start()
    assert state(node, "support.yaml") == "held"
    assert "the last good version serves" in node.log
    (policies / "support.yaml").write_text(SUPPORT.replace("rules:", "mode: observe\nrules:"))
    assert until(lambda: state(node, "support.yaml") == "live")
    assert until(lambda: node.http.get(f"{node.url}/readyz").json()["status"] == "ok")


def test_only_the_platforms_staff_sees_policies(edited):
    node, _ = edited
    found = node.http.get(f"{node.url}/costrouter/v1/policies", headers=bearer(node.key))
    assert (found.status_code, found.json()["error"]["code"]) == (403, "not_allowed")
    files = {policy["file"]: policy for policy in listed(node)["data"]}
    assert files["default.yaml"]["mode"] == "live"
    assert files["default.yaml"]["version"].startswith("default@")
