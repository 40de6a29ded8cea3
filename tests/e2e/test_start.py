"""Starts that cannot work: one clear line, status 2, nothing left behind."""

from __future__ import annotations

import socket

import pytest
from node import COMMAND, Node, clean_environment, command_line, policies_copy, run


def refused(folder, **settings):
    """What a start that fails says."""
    environment = clean_environment(COSTROUTER_DATA_DIR=str(folder / "data"), **{"COSTROUTER_PORT": "0"} | settings)
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
    assert f"{policies / 'default.yaml'}:4:1: mode: 'lve' is not one of" in told
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
