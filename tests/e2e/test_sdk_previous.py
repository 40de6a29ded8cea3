"""Conformance once more, all of it, by the SDKs that came before: those whose users have not moved yet.

They lie beside the environment, not in it: `make soak` puts them there (requirements/sdk-previous.txt).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version

import pytest
from node import ROOT

PREVIOUS = ROOT / ".venv" / "sdk-previous"
SDKS = ("openai", "anthropic")
MAJORS = "import importlib.metadata, json; print(json.dumps([importlib.metadata.version(n) for n in ('openai', 'anthropic')]))"


def with_them(*command):
    environment = os.environ | {"PYTHONPATH": str(PREVIOUS)}
    command = [sys.executable, *command]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_the_sdks_of_a_major_before_conform():
    assert PREVIOUS.is_dir(), "`make soak` installs them"
    found = json.loads(with_them("-c", MAJORS).stdout)
    assert [int(each.split(".")[0]) + 1 for each in found] == [int(version(name).split(".")[0]) for name in SDKS]
    file = "tests/e2e/test_conformance.py"
    ended = with_them("-m", "pytest", "-p", "no:cacheprovider", "-m", "soak or not soak", "--timeout", "120", file)
    print(f"\n{dict(zip(SDKS, found, strict=True))}\n{ended.stdout[-4000:]}")  # noqa: T201 - a soak's findings
    assert ended.returncode == 0
