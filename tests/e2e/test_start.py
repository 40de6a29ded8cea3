"""Starts that cannot work: one clear line, status 2, nothing left behind."""

from __future__ import annotations

import socket
import time

import pytest
from commands import clean_environment, costrouter
from node import COMMAND, Node, command_line, policies_copy, run


def refused(folder, **settings):
    """What a start that fails says."""
    environment = clean_environment(**{"COSTROUTER_DATA_DIR": str(folder / "data"), "COSTROUTER_PORT": "0"} | settings)
    told = run(COMMAND, "serve", environment=environment)
    assert told.returncode == 2, told
    assert "Traceback" not in told.stderr
    assert told.stderr.startswith("costrouter cannot start: ")
    found = run("pgrep", "-f", str(folder)).stdout.split()
    assert not [pid for pid in found if b"unixsocket" in command_line(int(pid))]
    return told.stderr.removeprefix("costrouter cannot start: ")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"COSTROUTER_PROT": "1"}, "COSTROUTER_PROT is not a setting"),
        ({"COSTROUTER_PORT": "many"}, "COSTROUTER_PORT: "),
        ({"COSTROUTER_WORKERS": "-1"}, "COSTROUTER_WORKERS: "),
        ({"COSTROUTER_LOG_LEVEL": "loud"}, "COSTROUTER_LOG_LEVEL: "),
        ({"COSTROUTER_HOST": "0.0.0.0"}, "COSTROUTER_ADMIN_KEY"),
        ({"COSTROUTER_SIM": "false"}, "OPENAI_API_KEY"),
        ({"COSTROUTER_STORE_BINARY": "/nowhere/valkey"}, "COSTROUTER_STORE_BINARY"),
        ({"REDIS_URL": "http://somewhere"}, "redis://"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_setting_that_cannot_work_is_named(tmp_path, settings, words):
    assert words in refused(tmp_path, **settings)


def test_a_port_in_use_is_named_with_what_to_set(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        told = refused(tmp_path, COSTROUTER_PORT=str(port))
    assert told.startswith(f"127.0.0.1:{port} cannot be listened on")
    assert "Set COSTROUTER_PORT" in told
    assert told.count("\n") == 1


def test_a_second_node_on_the_same_port_and_data_is_refused_and_the_first_serves_on(node):
    settings = {"COSTROUTER_DATA_DIR": str(node.data_dir), "COSTROUTER_PORT": node.url.rpartition(":")[2]}
    told = run(COMMAND, "serve", environment=clean_environment(**settings))
    assert told.returncode == 2
    assert "cannot be listened on" in told.stderr
    assert node.http.get(f"{node.url}/readyz").json()["status"] == "ok"


def test_a_bad_policy_is_shown_with_its_file_line_and_column(tmp_path):
    def edit(folder):
        path = folder / "default.yaml"
        path.write_text(path.read_text().replace("mode: live ", "mode: lve "))

    policies = policies_copy(tmp_path / "policies", edit)
    told = refused(tmp_path, COSTROUTER_POLICIES=str(policies))
    assert f"{policies / 'default.yaml'}:5:1: mode: 'lve' is none of observe, canary 10%, live" in told
    assert "did you mean live?" in told


def test_an_empty_policy_folder_is_told(tmp_path):
    (tmp_path / "policies").mkdir()
    assert "no *.yaml file" in refused(tmp_path, COSTROUTER_POLICIES=str(tmp_path / "policies"))


def test_keys_are_kept_for_the_next_start_and_private(tmp_path):
    with Node(tmp_path) as node:
        first = (node.key, node.admin_key)
    for name in ("dev.key", "admin.key"):
        assert (node.data_dir / name).stat().st_mode & 0o777 == 0o600
    with Node(tmp_path) as node:
        assert (node.key, node.admin_key) == first


def test_the_banner_says_that_no_money_is_spent(node):
    assert "SIMULATED" in node.banner
    assert "no money is spent" in node.banner
    assert "openai" in node.banner


def test_a_real_provider_is_named_and_nothing_is_simulated(recorded_node):
    assert "SIMULATED" not in recorded_node.banner
    assert "sim listening" not in recorded_node.banner
    assert "rec" in recorded_node.banner
    assert "sk-provider-secret" not in recorded_node.banner + recorded_node.log


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"VLLM_BASE_URL": "http://h:abc/v1"}, "VLLM_BASE_URL must be http(s)://host[:port]/path"),
        ({"OPENAI_API_KEY": "sk-1\r\nx: y"}, "OPENAI_API_KEY must be printable ASCII"),
        ({"COSTROUTER_DATA_DIR": "/dev/null/data"}, "Set COSTROUTER_DATA_DIR"),
        ({"COSTROUTER_ADMIN_KEY": "same", "COSTROUTER_DEV_KEY": "same"}, "must differ"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_start_that_cannot_work_ends_in_one_line(tmp_path, settings, words):
    told = refused(tmp_path, **settings)
    assert words in told
    assert told.count("\n") == 1


def test_a_small_server_alone_is_told_that_auto_finds_nothing_good_enough(tmp_path):
    with Node(tmp_path, VLLM_BASE_URL="http://127.0.0.1:9/v1") as node:
        (warning,) = [line for line in node.log.splitlines() if line.startswith("warning: ")]
        assert "`auto` cannot serve a plain chat here" in warning
        assert "quality" in warning
        assert '"model": "qwen/qwen3-8b"' in node.banner
        ready = node.http.get(f"{node.url}/readyz")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert "`auto` cannot serve" in ready.json()["reasons"][0]


def test_the_command_line_sends_the_admin_key_to_no_proxy(node):
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", 0))
        proxy.listen()
        proxy.setblocking(False)
        address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        port = node.url.rpartition(":")[2]
        settings = {"COSTROUTER_PORT": port, "http_proxy": address, "HTTP_PROXY": address}
        told = costrouter("spend", environment=node.environment | settings)
        assert told.returncode == 0, told.stderr
        with pytest.raises(BlockingIOError):
            proxy.accept()


def admin_of(node, tenant):
    return {"authorization": f"Bearer {node.new_key(tenant=tenant, role='admin', name='boss')}"}


def test_a_tenants_administrator_stays_in_their_tenant(node):
    boss = admin_of(node, "acme")
    url = f"{node.url}/costrouter/v1"
    assert node.http.get(f"{url}/spend", headers=boss).json()["tenant"] == "acme"
    made = node.http.post(f"{url}/keys", json={"name": "app"}, headers=boss)
    assert (made.status_code, made.json()["tenant"]) == (201, "acme")
    for answer in (
        node.http.get(f"{url}/spend", params={"tenant": "default"}, headers=boss),
        node.http.post(f"{url}/keys", json={"name": "x", "tenant": "other", "role": "admin"}, headers=boss),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_allowed")


def test_keys_are_listed_and_revoked_by_those_who_govern_them(node):
    boss, rival = admin_of(node, "acme2"), admin_of(node, "rival")
    operator = {"authorization": f"Bearer {node.admin_key}"}
    url = f"{node.url}/costrouter/v1/keys"
    made = node.http.post(url, json={"name": "app"}, headers=boss).json()
    app = {"authorization": f"Bearer {made['key']}"}

    def listed(headers):
        return {entry["id"]: entry for entry in node.http.get(url, headers=headers).json()["data"]}

    assert {entry["tenant"] for entry in listed(boss).values()} == {"acme2"}
    assert made["id"] not in listed(rival)
    assert {"acme2", "rival"} <= {entry["tenant"] for entry in listed(operator).values()}
    assert made["key"] not in str(listed(operator))
    assert node.http.get(url, headers=app).status_code == 403
    assert node.http.delete(f"{url}/{made['id']}", headers=app).status_code == 403
    assert node.http.delete(f"{url}/{made['id']}", headers=rival).status_code == 404
    assert node.http.get(f"{node.url}/v1/models", headers=app).status_code == 200
    assert node.http.delete(f"{url}/{made['id']}", headers=boss).json()["deleted"] is True
    assert node.http.delete(f"{url}/{made['id']}", headers=boss).status_code == 404
    time.sleep(1.1)  # how long a worker may believe in a key
    assert node.http.get(f"{node.url}/v1/models", headers=app).status_code == 401
