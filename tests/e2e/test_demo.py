"""`make demo`, as a newcomer runs it, with fewer prompts."""

from __future__ import annotations

import re

import pytest
from commands import clean_environment, costrouter
from node import COMMAND, run

from router.cli.demo import prompts


def test_there_are_a_few_hundred_prompts_of_every_kind():
    known = prompts()
    assert len(known) > 200
    assert len({prompt.text for prompt in known}) == len(known)
    assert {"chat", "support", "classify", "extract", "code", "maths"} <= {prompt.task for prompt in known}
    assert len({prompt.task for prompt in known[:9]}) == 9, "the kinds are mixed"


def test_the_demo_ends_with_the_table_and_0_where_the_ledger_equals_the_bill(node):
    told = node.run("demo", "--requests", "40")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "to the node that runs on port" in told.stdout
    for name in ("requests", "tokens", "cost", "baseline", "saving", "goodput", "TTFT p50 / p95", "where they went"):
        assert name in told.stdout
    assert re.search(r"ledger \$0\.\d+, providers' bill \$0\.\d+: equal", told.stdout)
    assert len(node.bill()) == 40


@pytest.mark.soak
def test_the_demo_ends_with_1_where_the_ledger_does_not_equal_the_bill(node):
    node.faults({"kind": "lying_usage"})
    told = node.run("demo", "--requests", "5")
    assert told.returncode == 1, told.stdout
    assert "NOT EQUAL" in told.stdout


def test_the_demo_starts_a_node_of_its_own_where_none_runs(tmp_path):
    environment = clean_environment(
        COSTROUTER_PORT="1", COSTROUTER_DATA_DIR=str(tmp_path), COSTROUTER_WORKERS="1", COSTROUTER_SIM_SPEED="0"
    )
    told = run(COMMAND, "demo", "--requests", "10", environment=environment)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "one is started" in told.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("requests", ["-1"])
def test_a_number_of_requests_that_is_none_is_refused(requests):
    assert costrouter("demo", "--requests", requests).returncode == 2
