"""docs/security.md names tests; here is that they exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "security.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)


def cases_of(path):
    return set(re.findall(r"^(?:async )?def (test_\w+)\(", (ROOT / path).read_text(), re.MULTILINE))


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_test_that_the_page_names_exists(path, name):
    assert name in cases_of(path)


def test_every_hostile_test_is_on_the_page():
    hostile = {
        name for path in (ROOT / "tests").rglob("test_hostile_*.py") for name in cases_of(path.relative_to(ROOT))
    }
    assert hostile - {name for _, name in NAMED} == set()


def test_every_attack_has_a_test():
    lines = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith(("| attack", "|---"))]
    assert lines
    assert [line for line in lines if not re.search(r"`tests/[\w/]+\.py::\w+`", line)] == []
