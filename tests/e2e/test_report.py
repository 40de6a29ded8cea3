"""Finance's view of a running node: the endpoint, the commands, and the archive that fills by itself."""

from __future__ import annotations

import csv
import io
import json
import time
from pathlib import Path

import pytest
from node import Node, bearer
from store import PATIENT_S, Machine, make_row, until

from router.adapters.journal.journal import Journal
from router.adapters.ledger.ledger import RedisLedger
from router.adapters.store.layout import encode_row

HOUR = 496_000
"""2026-08-01 16:00 UTC."""
SPAN = {"since": "2026-08-01", "until": "2026-08-02"}
ROWS = [
    make_row(
        f"r{number}/1",
        tenant="finance",
        team=("", "search", "support")[number % 3],
        model="openai/gpt-4o-mini",
        provider="openai",
        user=("=1+1", "u2")[number % 2],
        tags=(f"env={'prod' if number % 2 else 'test'}",),
        at_ms=(HOUR + number % 2) * 3_600_000,
        prompt_tokens=1000,
        completion_tokens=100,
        cost_nano=210_000,
        cost_pico=210_000_000,
        certainty="counted" if number % 4 == 0 else "metered",
    )
    for number in range(24)
]
RIGHT = 1000 * 150 + 100 * 600
"""Nano-dollars a row by the catalog."""


async def book(store, rows):
    ledger = RedisLedger(store, "test", Machine(), flush_s=PATIENT_S)
    for row in rows:
        ledger.settle(row)
    await ledger.close()


@pytest.fixture(scope="module")
def finance_node(tmp_path_factory):
    # An archiver of the node's own would come in between: hours are closed after a year only.
    with Node(tmp_path_factory.mktemp("finance"), archive_after=8784) as node:
        yield node


@pytest.fixture
async def finance(finance_node):
    """A node with the rows of one tenant, none archived."""
    async with finance_node.store() as store:
        for key in await store.call("KEYS", "cr:{finance}:*"):
            await store.call("DEL", key)
        await book(store, ROWS)
        yield finance_node


def ask(node, secret="", **query):
    return node.http.get(f"{node.url}/costrouter/v1/spend", params=query, headers=bearer(secret or node.admin_key))


def test_the_endpoint_groups_filters_and_says_how_certain_it_is(finance):
    found = finance.spend(tenant="finance", group_by="team", **SPAN)
    assert {(entry["team"], entry["requests"]) for entry in found["data"]} == {("", 8), ("search", 8), ("support", 8)}
    assert found["total"]["cost_nano"] == 24 * 210_000
    assert found["total"]["certainty"]["counted"]["share"] == "25.0 %"
    assert found["total"]["unattributed"]["requests"] == 8
    only = finance.spend(tenant="finance", group_by="user,tag:env", team="search", **{"tag:env": "prod"}, **SPAN)
    assert [(entry["user"], entry["tag:env"], entry["requests"]) for entry in only["data"]] == [("u2", "prod", 4)]


def test_csv_and_table_are_the_same_figures(finance):
    answer = ask(finance, tenant="finance", group_by="user", format="csv", **SPAN)
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert {line["user"] for line in lines} == {"'=1+1", "u2"}
    assert sum(int(line["cost_nano"]) for line in lines) == 24 * 210_000
    said = ask(finance, tenant="finance", group_by="team", format="table", **SPAN).text
    assert "unattributed" in said
    assert "TOTAL" in said
    assert "MODELLED, not cash" in said


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"group_by": "tema"}, "did you mean team"),
        ({"group_by": "modle,team"}, "did you mean model"),
        ({"tema": "x"}, "did you mean team"),
        ({"groupby": "team"}, "did you mean group_by"),
        ({"format": "xml"}, "table, csv, json"),
        ({"since": "yesterday"}, "2026-11-23T07Z"),
        ({"since": "2026-13"}, "2026-11-23T07Z"),
        ({"since": "2020-01", "until": "2026-01"}, "at most 400 days"),
    ],
)
def test_a_question_that_has_no_answer_is_400_and_says_what_would_be_right(finance, query, said):
    answer = ask(finance, **query)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


def test_an_applications_key_sees_its_own_spend_only(finance):
    key = finance.new_key(tenant="finance")
    assert ask(finance, key, group_by="team", **SPAN).json()["data"] == []
    assert ask(finance, key, key="key-1", **SPAN).status_code == 403
    assert ask(finance, key, tenant="*").status_code == 403
    assert ask(finance, key, group_by="tenant", **SPAN).json()["data"] == []
    boss = finance.new_key(tenant="finance", role="admin")
    assert ask(finance, boss, group_by="tenant", **SPAN).json()["total"]["requests"] == 24
    assert ask(finance, boss, tenant="*").status_code == 403


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"tenant": "finanec"}, "nothing was ever booked for tenant 'finanec'; did you mean finance?"),
        ({"tenant": "finance", "team": "serach"}, "nothing in this span has team 'serach'; did you mean search?"),
        ({"tenant": "*", "key": "key-2"}, "nothing in this span has key 'key-2'; did you mean key-1?"),
    ],
)
def test_a_name_that_nobody_has_is_told_and_not_taken_for_no_spend(finance, query, said):
    assert said in ask(finance, **query, **SPAN).json()["notes"]
    assert f"note: {said}" in ask(finance, format="table", **query, **SPAN).text


def test_what_is_said_of_a_wrong_name_gives_no_other_tenant_or_key_away(finance):
    finance.new_key(tenant="finanec-two")
    boss = finance.new_key(tenant="finanec", role="admin")
    assert ask(finance, boss, **SPAN).json()["notes"] == ["nothing was ever booked for tenant 'finanec'"]
    key = finance.new_key(tenant="finance")
    assert ask(finance, key, team="serach", **SPAN).json()["notes"] == ["nothing in this span has team 'serach'"]


def test_only_so_many_lines_are_told_and_the_rest_is_one(finance):
    found = ask(finance, tenant="finance", group_by="user,team", limit=2, **SPAN).json()
    assert (len(found["data"]), found["other"]["groups"]) == (2, 4)
    assert sum(line["cost_nano"] for line in (*found["data"], found["other"])) == found["total"]["cost_nano"]
    assert "from 1 to 10,000" in ask(finance, limit="0", **SPAN).json()["error"]["message"]


def test_what_a_journal_on_the_disk_still_has_is_told_by_the_command(finance):
    told = ("report", "--tenant", "waits", "--by", "team", "--format", "csv")
    journal = Journal(finance.data_dir / "journal", "gone")
    row = make_row("j1/1", tenant="waits", at_ms=time.time_ns() // 1_000_000)
    try:
        journal.ended("j1/1", encode_row(row), released=False)
        assert "1 row waits in the journals on this disk ($0.000001000)" in finance.run(*told).stderr
    finally:
        journal.close(remove=True)


def test_the_operator_can_compare_tenants(finance):
    found = finance.spend(group_by="tenant,month", **SPAN)
    assert {"tenant": "finance", "month": "2026-08"}.items() <= found["data"][0].items()
    assert found["tenant"] == "*"
    assert finance.spend(group_by="team", tenant="*", **SPAN)["total"]["requests"] == 24


def test_the_commands_tell_the_same_before_and_after_archiving(finance):
    def report(*more):
        told = finance.run("report", "--tenant", "finance", "--since", "2026-08-01", "--until", "2026-08-02", *more)
        assert told.returncode == 0, told.stderr
        return told.stdout

    tables = [report(), report("--by", "user,day", "--where", "tag:env=prod", "--where", "team=search")]
    assert "unattributed" in tables[0]
    assert json.loads(report("--format", "json", "--by", "user"))["total"]["cost_nano"] == 24 * 210_000
    assert report("--format", "csv").splitlines()[0].startswith("team,model,requests,cost_usd")
    verified = finance.run("ledger", "verify", "--tenant", "finance")
    assert verified.stdout == "2 hours, 24 rows, $0.005040000: journal, stream, cube and archive agree\n"
    archived = finance.run("ledger", "archive", "--after", "48")
    assert archived.returncode == 0, archived.stderr
    assert "tenant=finance/date=2026-08-01/hour=16.parquet  12 rows  $0.002520000" in archived.stdout
    assert [report(), report("--by", "user,day", "--where", "tag:env=prod", "--where", "team=search")] == tables
    assert finance.run("ledger", "verify", "--tenant", "finance").stdout == verified.stdout
    assert finance.spend(tenant="finance", group_by="user", **SPAN)["total"]["cost_nano"] == 24 * 210_000
    path = Path(finance.data_dir / "archive/tenant=finance/date=2026-08-01/hour=16.parquet")
    content = path.read_bytes()
    path.write_bytes(content[:200] + b"x" + content[201:])
    broken = finance.run("ledger", "verify", "--tenant", "finance")
    assert broken.returncode == 1
    assert broken.stdout.startswith("DIFFERENCE in hour 2026080116 (UTC) of tenant finance: tenant=finance/date=")
    path.write_bytes(content)
    path.unlink()
    assert ask(finance, tenant="finance", group_by="user", **SPAN).status_code == 503


def test_a_wrong_group_is_named_with_its_near_miss(finance):
    told = finance.run("report", "--by", "tema")
    assert told.returncode == 1
    assert "did you mean team" in told.stderr


async def test_repricing_shows_first_and_books_once(finance):
    async with finance.store() as store:
        wrong = [make_row(f"w{n}/1", tenant="finance", model="openai/gpt-4o-mini", provider="openai",
                          at_ms=HOUR * 3_600_000, prompt_tokens=1000, completion_tokens=100, cost_nano=1, cost_pico=1000)
                 for n in range(3)]  # fmt: skip
        await book(store, wrong)
    span = ("--from", "2026-08-01", "--to", "2026-08-02", "--tenant", "finance")
    shown = finance.run("ledger", "reprice", *span, "--model", "openai/gpt-4o-mini")
    assert shown.returncode == 0, shown.stderr
    total = next(line for line in shown.stdout.splitlines() if line.startswith("TOTAL"))
    assert total.split() == ["TOTAL", "3", "0.000000003", "0.000630000", "+0.000629997"]
    assert "nothing was booked; add --apply" in shown.stdout
    assert finance.spend(tenant="finance", **SPAN)["total"]["cost_nano"] == 24 * RIGHT + 3
    assert "3 corrections booked" in finance.run("ledger", "reprice", *span, "--apply").stdout
    assert finance.spend(tenant="finance", **SPAN)["total"]["cost_nano"] == 27 * RIGHT
    assert finance.spend(tenant="finance", **SPAN)["total"]["requests"] == 27
    assert "corrections booked" not in finance.run("ledger", "reprice", *span, "--apply").stdout
    assert finance.spend(tenant="finance", **SPAN)["total"]["cost_nano"] == 27 * RIGHT
    unknown = finance.run("ledger", "reprice", *span, "--model", "openai/gpt-4o-mni")
    assert "did you mean openai/gpt-4o-mini" in unknown.stderr


async def test_tail_shows_what_was_booked_last(finance):
    async with finance.store() as store:
        now_ms = time.time_ns() // 1_000_000
        await book(store, [make_row(f"t{n}/1", tenant="tailed", at_ms=now_ms, team="") for n in range(5)])
    told = finance.run("ledger", "tail", "-n", "2", "--tenant", "tailed")
    lines = told.stdout.splitlines()
    assert [line.split()[-1] for line in lines] == ["t3/1", "t4/1"]
    assert (
        "tailed/(unattributed)/faq  deepseek/deepseek-flash@deepseek  100 in 20 out  $0.000001000  metered" in lines[0]
    )
    (one,) = finance.run("ledger", "tail", "-n", "1", "--tenant", "tailed", "--json").stdout.splitlines()
    assert json.loads(one)["attempt"] == "t4/1"


@pytest.mark.soak
async def test_a_server_archives_by_itself_and_commands_work_without_one(tmp_path):
    node = Node(tmp_path)
    with node:
        async with node.store() as store:
            await book(store, ROWS)
            await store.call("DEL", "cr:{@}:archiver")
        node.stop()
        path = node.data_dir / "archive/tenant=finance/date=2026-08-01/hour=16.parquet"
        node.start()
        await until(path.exists, 30)
        async with node.store() as store:
            await until(lambda: store.call("HGET", "cr:{finance}:archive", "2026080117"), 30)
            assert await store.call("EXISTS", "cr:{finance}:rows:2026080116") == 0
        assert node.spend(tenant="finance", group_by="unit", **SPAN)["total"]["requests"] == 24
    told = node.run("ledger", "verify")
    assert told.returncode == 0, told.stderr
    assert "24 rows" in told.stdout
