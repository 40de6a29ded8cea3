import ast
import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

import router.sim

CATALOG = Path(__file__).parent / "catalog"
SOURCES = Path(router.sim.__file__).parent
ROOT = SOURCES.parents[1]


def launched(*arguments, **options):
    command = [sys.executable, "-m", "router.sim", "--catalog", str(CATALOG), "--speed", "0", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT, **options)


def asked(url):
    body = json.dumps({"model": "gpt-small", "messages": [{"role": "user", "content": "hi"}]}).encode()
    request = urllib.request.Request(f"{url}/openai/v1/chat/completions", body, {"Authorization": "Bearer k"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.status


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_ends_with_0(end):
    began = time.monotonic()
    with launched("--port", "0") as process:
        line = process.stdout.readline()
        found = re.fullmatch(r"sim listening on (http://127\.0\.0\.1:\d+)\n", line)
        assert found, line
        assert asked(found[1]) == 200
        assert time.monotonic() - began < 5
        process.send_signal(end)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""


def test_it_serves_on_a_socket_it_was_given():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        number = listening.fileno()
        with launched("--socket", str(number), pass_fds=[number]) as process:
            port = listening.getsockname()[1]
            assert process.stdout.readline() == f"sim listening on http://127.0.0.1:{port}\n"
            assert asked(f"http://127.0.0.1:{port}") == 200
            process.terminate()
            assert process.wait(10) == 0


def test_a_taken_port_and_an_empty_catalog_are_told(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with launched("--port", str(taken.getsockname()[1])) as process:
            assert "address already in use" in process.communicate(timeout=10)[1]
            assert process.returncode == 2
    with launched("--catalog", str(tmp_path)) as process:
        assert "no *.yaml file" in process.communicate(timeout=10)[1]
        assert process.returncode == 2


def test_the_simulator_shares_nothing_with_the_router():
    for path in SOURCES.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith("router.") or name.startswith("router.sim"), f"{path.name} imports {name}"
