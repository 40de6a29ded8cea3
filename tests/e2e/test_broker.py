"""`costrouter broker`: jobs that one node takes in and another looks after."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
import time

from catalog_files import CATALOG, EVERYTHING
from commands import ROOT
from node import COMMAND, Node, bearer

BODY = {"model": "rec/model", "messages": [{"role": "user", "content": "Sum up the meeting in one line."}]}


@contextlib.contextmanager
def running(said, *command, **options):
    """A command, and what it says at its start."""
    with said.open("wb") as out:
        process = subprocess.Popen([COMMAND, *command], stdout=out, cwd=ROOT, **options)
    try:
        yield lambda pattern: re.search(pattern, said.read_text())
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0


def awaited(what, bound_s=40.0):
    end = time.monotonic() + bound_s
    while not (found := what()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.05)
    return found


def test_a_broker_looks_after_what_a_node_without_one_takes_in(tmp_path, upstream):
    (tmp_path / "policies" / "catalog").mkdir(parents=True)
    (tmp_path / "policies" / "default.yaml").write_text(EVERYTHING)
    text = CATALOG.format(name="rec", name_upper="REC", url=f"{upstream.url}/v1", bills="true")
    (tmp_path / "policies" / "catalog" / "rec.yaml").write_text(text)
    with Node(tmp_path / "node", policies=tmp_path / "policies", REC_KEY="sk-x", broker=False) as node:
        key = node.new_key()
        headers = {**bearer(key), "prefer": "respond-async", "x-costrouter-deadline": "60s"}
        told = node.http.post(f"{node.base_url}/chat/completions", json=BODY, headers=headers)
        assert told.status_code == 202, told.text
        place = node.url + told.headers["location"]
        assert node.http.get(place, headers=bearer(key)).json()["status"] == "queued", "nobody looks after it"
        with running(tmp_path / "broker", "broker", env=node.environment) as broker:
            own = awaited(lambda: broker(r"(http://\S+)/readyz"))[1]
            awaited(lambda: node.http.get(place, headers=bearer(key)).json()["status"] == "completed")
            assert node.http.get(f"{own}/readyz").status_code == 200
            assert "costrouter_lines_taken" in node.http.get(f"{own}/metrics").text
            prompt = node.http.post(f"{own}/v1/chat/completions", json=BODY, headers=bearer(key))
            assert prompt.status_code == 404, "it answers nobody"
            assert node.run("jobs").returncode == 0, "the command line finds the node that serves"
    assert len(upstream.received) == 1
