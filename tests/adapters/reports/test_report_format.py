from __future__ import annotations

import csv
import io
import json

import msgspec
import pytest
from store import make_row

from router.adapters.reports.format import MINUS, as_csv, as_table, escaped, json_text, share
from router.core.booking.report import Question, Totals

HOUR = 500_000


def report(rows, *groups, filters=()):
    totals = Totals(Question(HOUR - 8, HOUR + 16, groups, filters))
    totals.add_rows(rows)
    return totals.report()


def row(**changes):
    return make_row(**({"at_ms": HOUR * 3_600_000} | changes))


ROWS = [
    row(team="search", cost_nano=8_412_060_000_000, baseline_nano=38_666_060_000_000, prompt_tokens=3_980_000),
    row(team="support", cost_nano=2_140_550_000_001, certainty="counted", baseline_nano=2_140_550_000_001),
    row(team="", cost_nano=4_100_000_000, certainty="estimated", baseline_nano=0),
]


def test_a_table_reads_like_a_statement():
    said = as_table(report(ROWS, "team"), "tenant acme").splitlines()
    assert said[0] == "SPEND 2027-01-15 to 2027-01-16  tenant acme  USD, UTC"
    assert said[1].split() == ["team", "requests", "input", "cached", "output", "COST", "$", "baseline", "$"]
    assert said[2].split() == ["search", "1", "3,980,000", "0", "20", "8,412.060000000", "38,666.060000000"]
    assert said[4].split()[:2] == ["(unattributed)", "1"]
    assert said[5].split() == ["TOTAL", "3", "3,980,200", "0", "60", "10,556.710000001", "40,806.610000001"]
    assert len({len(line) for line in said[1:6]}) == 1
    assert said[6] == "certainty: metered 79.7 % · counted 20.3 % · estimated < 0.1 %"
    assert said[7] == "MODELLED, not cash: saved 30,249.900000000 of a baseline of 40,806.610000001 (74.1 %)"
    assert said[8].startswith("baseline: the same metered tokens at the price of the model that was asked for")


def test_a_table_has_columns_of_units_where_there_are_any():
    units = (("audio.input_minute", 61_500), ("tool.web_search", 1_200))
    said = as_table(report([*ROWS, row(team="search", units=units)], "team"), "tenant acme").splitlines()
    assert said[1].split()[4:] == ["output", "tool", "calls", "audio", "minutes", "COST", "$", "baseline", "$"]
    assert said[2].split()[4:7] == ["40", "1,200", "1.1"]
    assert said[3].split()[4:7] == ["20", "0", "0.0"]
    (first, *_) = csv.DictReader(io.StringIO(as_csv(report([row(units=units)]))))
    assert (first["tool_calls"], first["audio_ms"], first["images"]) == ("1200", "61500", "0")
    assert json.loads(json_text(report([row(units=units)])))["total"]["audio_ms"] == 61_500


def test_what_nobody_owns_is_told_whatever_it_is_grouped_by():
    said = as_table(report(ROWS, "model", filters=(("app", "faq"),)), "every tenant")
    assert "every tenant  USD, UTC  app=faq" in said
    assert "\nunattributed: 4.100000000 (< 0.1 %)\n" in said


def test_an_empty_report_and_one_without_groups_have_a_total():
    assert "TOTAL" in as_table(report([], "team"), "tenant acme")
    said = as_table(report([]), "tenant acme")
    assert "metered —" in said
    assert said.splitlines()[2].split()[0] == "0"


def test_negative_amounts_carry_a_minus():
    said = as_table(report([row(cost_nano=-1_234_500_000_000, baseline_nano=0)], "team"), "x")
    assert f"{MINUS}1,234.500000000" in said


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [(0, 9, "0.0 %"), (1, 9999, "< 0.1 %"), (9_999, 10_000, "> 99.9 %"), (9, 9, "100.0 %"), (1, 3, "33.3 %"), (1, 0, "—"),
     (2, 3, "66.7 %"), (-1, 4, f"{MINUS}25.0 %")],
)  # fmt: skip
def test_shares_never_say_nothing_or_all_unless_it_is_so(part, whole, said):
    assert share(part, whole) == said


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_a_cell_is_never_a_formula(cell):
    assert escaped(cell) == f"'{cell}"
    found = list(csv.reader(io.StringIO(as_csv(report([row(user=cell)], "user")), newline="")))
    assert found[1][0] == f"'{cell}"


def test_csv_holds_exact_amounts_and_names_every_column():
    found = list(csv.DictReader(io.StringIO(as_csv(report(ROWS, "team", "model")))))
    assert [line["team"] for line in found] == ["search", "support", ""]
    assert [line["groups"] for line in found] == ["1", "1", "1"]
    assert found[1]["cost_usd"] == "2140.550000001"
    assert found[1]["counted_usd"] == "2140.550000001"
    assert found[1]["metered_usd"] == "0.000000000"
    assert found[0]["modelled_saving_usd"] == "30254.000000000"
    assert int(found[0]["cost_nano"]) == 8_412_060_000_000


def test_what_is_beyond_the_limit_of_lines_is_one_line_and_the_sums_stay_whole():
    totals = Totals(Question(HOUR - 8, HOUR + 16, ("user", "app"), (), 2))
    totals.add_rows(row(user=f"u{number}", cost_nano=number, baseline_nano=0) for number in range(1, 6))
    found = totals.report()
    assert [line.group[0] for line in found.lines] == ["u5", "u4"]
    assert (found.others, found.other.cost_nano, found.other.requests) == (3, 6, 3)
    assert found.total.cost_nano == 15
    said = as_table(found, "x").splitlines()
    assert said[4].split()[:3] == ["(other)", "3", "3"]
    lines = list(csv.DictReader(io.StringIO(as_csv(found))))
    assert [(line["user"], line["app"], line["groups"]) for line in lines[1:]] == [
        ("u4", "faq", "1"),
        ("(other)", "", "3"),
    ]
    assert sum(int(line["cost_nano"]) for line in lines) == 15
    told = json.loads(json_text(found))["other"]
    assert (told["cost_nano"], told["groups"]) == (6, 3)
    assert json.loads(json_text(report(ROWS, "team")))["other"] is None


def test_notes_are_told_below_a_table_and_in_json():
    found = msgspec.structs.replace(report([], "team"), notes=("nothing was ever booked for tenant 'acm'",))
    assert as_table(found, "x").endswith("note: nothing was ever booked for tenant 'acm'\n")
    assert json.loads(json_text(found))["notes"] == ["nothing was ever booked for tenant 'acm'"]


def test_a_terminal_is_not_steered_by_what_callers_write():
    assert "\x1b" not in as_table(report([row(user="\x1b[2J")], "user"), "x")


def test_json_says_the_same_and_what_the_figures_mean():
    found = json.loads(json_text(report(ROWS, "team"), tenant="acme"))
    assert (found["object"], found["tenant"], found["group_by"]) == ("list", "acme", ["team"])
    assert (found["since"], found["until"]) == ("2027-01-15T00:00Z", "2027-01-16T00:00Z")
    assert found["data"][2]["team"] == ""
    assert found["total"]["cost_nano"] == sum(row.cost_nano for row in ROWS)
    assert found["total"]["unattributed"]["cost_usd"] == "4.100000000"
    assert found["total"]["certainty"]["counted"]["share"] == "20.3 %"
    assert "modelled" in found["definitions"]["saved"]


def test_what_caches_saved_and_what_observing_policies_would_have_is_told_with_its_definition():
    rows = [row(cost_nano=4_000, cache_saved_nano=900, would_save_nano=1_000), row(cost_nano=0, cache_saved_nano=-100)]
    said = as_table(report(rows, "team"), "x")
    assert "CACHES of providers saved 0.000000800:" in said
    assert "YOU WOULD HAVE SAVED 0.000001000 (25.0 %)" in said
    found = json.loads(json_text(report(rows, "team")))
    assert (found["total"]["cache_saved_usd"], found["total"]["would_have_saved_usd"]) == ("0.000000800", "0.000001000")
    assert {"cache_saved", "would_have_saved"} <= found["definitions"].keys()
    (line,) = csv.DictReader(io.StringIO(as_csv(report(rows, "team"))))
    assert (line["cache_saved_usd"], line["would_have_saved_usd"]) == ("0.000000800", "0.000001000")
    assert "CACHES" not in as_table(report([row()], "team"), "x")
    assert "WOULD" not in as_table(report([row()], "team"), "x")
