"""A spend report as a table for eyes, CSV for spreadsheets, or JSON for programs.

Belongs here: how figures and names are written. Does not belong here: adding up (`router.core.booking.report`), and how a
server or a command hands the text over.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from router.core.booking.report import BASELINE, CACHES, CERTAINTIES, TIMES, WOULD_SAVE, Line, Report, stamp
from router.core.meters import UNIT_SUMS
from router.core.money import usd

if TYPE_CHECKING:
    from collections.abc import Sequence

Format = Literal["table", "csv", "json"]
FORMATS: Final[tuple[Format, ...]] = ("table", "csv", "json")
UNATTRIBUTED: Final = "(unattributed)"
"""What a line without a team is called; no team can have that name."""
OTHER: Final = "(other)"
"""What the line of all further groups is called."""
NOTHING: Final = "—"
MINUS: Final = "\N{MINUS SIGN}"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
_TOKENS: Final = ("prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens")
_UNITS: Final = ("tool calls", "images", "audio minutes", "characters", "searches")
"""Columns that a table has only where some line has any, in the order of `UNIT_SUMS`."""


def as_json(report: Report) -> dict[str, Any]:
    """The answer of ``GET /costrouter/v1/spend``; amounts both as exact decimal texts and as nano-dollars."""
    question = report.question
    return {
        "object": "list",
        "since": _minute(question.since),
        "until": _minute(question.until),
        "group_by": list(question.groups),
        "filters": [{"group": name, "value": value} for name, value in question.filters],
        "data": [dict(zip(question.groups, line.group, strict=True)) | _figures(line) for line in report.lines],
        "total": _figures(report.total)
        | {"certainty": _certainty(report.total), "unattributed": _figures(report.unattributed)},
        "other": None if report.other is None else _figures(report.other) | {"groups": report.others},
        "notes": list(report.notes),
        "definitions": {
            "baseline": BASELINE,
            "saved": "modelled, not cash: baseline cost less cost",
            "cache_saved": CACHES,
            "would_have_saved": WOULD_SAVE,
        },
    }


def as_csv(report: Report) -> str:
    """One line a group, no total. Cells that a spreadsheet would take for a formula begin with an apostrophe.

    A cell without a value is empty. The line of all further groups is the one with more than 1 in ``groups``.
    """
    out = io.StringIO()
    writer = csv.writer(out)
    amounts = ["cost_usd", "baseline_cost_usd", "modelled_saving_usd", *(f"{name}_usd" for name in CERTAINTIES)]
    amounts += ["cache_saved_usd", "would_have_saved_usd"]
    writer.writerow(
        [*map(escaped, report.question.groups), "requests", *amounts, "cost_nano", *_TOKENS, "groups", *UNIT_SUMS]
    )
    lines = [(line, line.group, 1) for line in report.lines]
    if report.other is not None:
        lines.append(
            (report.other, (OTHER, *[""] * len(report.question.groups))[: len(report.question.groups)], report.others)
        )
    for line, group, groups in lines:
        nano = [line.cost_nano, line.baseline_nano, line.saved_nano]
        nano += [line.certainty_nano.get(name, 0) for name in CERTAINTIES]
        nano += [line.cache_saved_nano, line.would_save_nano]
        writer.writerow([
            *map(escaped, group), line.requests, *map(usd, nano), line.cost_nano,
            *(getattr(line, name) for name in _TOKENS), groups, *(getattr(line, name) for name in UNIT_SUMS),
        ])  # fmt: skip  # a row is one line
    return out.getvalue()


def as_table(report: Report, of: str) -> str:
    """Aligned columns, the total, and what the figures are worth. ``of`` says whose spend it is."""
    question = report.question
    span = f"{_short(question.since)} to {_short(question.until)}"
    shown = "  ".join(f"{name}={value}" for name, value in question.filters)
    units = [place for place, name in enumerate(UNIT_SUMS) if getattr(report.total, name)]
    heads = [*question.groups, "requests", "input", "cached", "output", *(_UNITS[place] for place in units)]
    heads += ["COST $", "baseline $"]
    body = [[*_names(report, line), *_cells(line, units)] for line in report.lines]
    groups = len(question.groups)
    if report.other is not None:
        body.append([f"{OTHER} {report.others:,}", *[""] * (groups - 1), *_cells(report.other, units)])
    total = ["TOTAL", *[""] * (groups - 1)] if groups else []
    body.append([*total, *_cells(report.total, units)])
    widths = [max(len(row[column]) for row in (heads, *body)) for column in range(len(heads))]
    lines = [
        f"SPEND {span}  {of}  USD, UTC{f'  {shown}' if shown else ''}",
        *(_aligned(row, widths, groups) for row in (heads, *body)),
        f"certainty: {_shares(report.total)}",
    ]
    if "team" not in question.groups:
        lost = report.unattributed
        lines.append(f"unattributed: {_dollars(lost.cost_nano)} ({share(lost.cost_nano, report.total.cost_nano)})")
    saved = report.total.saved_nano
    lines.append(
        f"MODELLED, not cash: saved {_dollars(saved)} of a baseline of {_dollars(report.total.baseline_nano)} "
        f"({share(saved, report.total.baseline_nano)})"
    )
    lines.append(BASELINE)
    if cached := report.total.cache_saved_nano:
        lines.append(f"CACHES of providers saved {_dollars(cached)}: {CACHES}")
    if would := report.total.would_save_nano:
        lines.append(f"YOU WOULD HAVE SAVED {_dollars(would)} ({share(would, report.total.cost_nano)})")
        lines.append(WOULD_SAVE)
    lines += [f"note: {note}" for note in report.notes]
    return "\n".join(lines) + "\n"


def escaped(cell: str) -> str:
    """A text that no spreadsheet runs as a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA) else cell


def share(part: int, whole: int) -> str:
    """A part of a whole with one digit: never 0 or 100 % unless it is; ``—`` without a whole."""
    if whole <= 0:
        return NOTHING
    milli = (2000 * part + whole) // (2 * whole)
    if milli == 0 and part > 0:
        return "< 0.1 %"
    if milli == 1000 and part < whole:
        return "> 99.9 %"
    sign = MINUS if milli < 0 else ""
    return f"{sign}{abs(milli) // 10}.{abs(milli) % 10} %"


def _names(report: Report, line: Line) -> list[str]:
    named = zip(report.question.groups, line.group, strict=True)
    return [value or (UNATTRIBUTED if name == "team" else NOTHING) for name, value in named]


def _cells(line: Line, units: Sequence[int]) -> list[str]:
    counts = (line.requests, line.prompt_tokens, line.cached_tokens, line.completion_tokens)
    amounts = [_unit(UNIT_SUMS[place], getattr(line, UNIT_SUMS[place])) for place in units]
    return [*(f"{count:,}" for count in counts), *amounts, _dollars(line.cost_nano), _dollars(line.baseline_nano)]


def _unit(name: str, amount: int) -> str:
    """An amount of units; sound in minutes, rounded up to a tenth."""
    if name != "audio_ms":
        return f"{amount:,}"
    tenths = -(-amount // 6000)
    return f"{tenths // 10:,}.{tenths % 10}"


def _aligned(row: Sequence[str], widths: Sequence[int], left: int) -> str:
    cells = [
        _clean(cell).ljust(width) if column < left else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _clean(cell: str) -> str:
    # What callers write must not move the cursor of whoever reads it.
    return "".join(character if character.isprintable() else "?" for character in cell)


def _dollars(nano: int) -> str:
    whole, _, part = usd(nano).partition(".")
    return f"{MINUS if whole.startswith('-') else ''}{int(whole.removeprefix('-')):,}.{part}"


def _shares(line: Line) -> str:
    return " · ".join(f"{name} {share(line.certainty_nano.get(name, 0), line.cost_nano)}" for name in CERTAINTIES)


def _certainty(line: Line) -> dict[str, Any]:
    return {
        name: {"cost_usd": usd(nano), "cost_nano": nano, "share": share(nano, line.cost_nano)}
        for name in CERTAINTIES
        for nano in [line.certainty_nano.get(name, 0)]
    }


def _figures(line: Line) -> dict[str, Any]:
    return {
        "requests": line.requests,
        "cost_usd": usd(line.cost_nano),
        "cost_nano": line.cost_nano,
        "baseline_cost_usd": usd(line.baseline_nano),
        "modelled_saving_usd": usd(line.saved_nano),
        "cache_saved_usd": usd(line.cache_saved_nano),
        "would_have_saved_usd": usd(line.would_save_nano),
        **{name: getattr(line, name) for name in (*_TOKENS, *UNIT_SUMS)},
    }


def _short(hour: int) -> str:
    return stamp(hour, TIMES["day"] if hour % 24 == 0 else TIMES["hour"])


def _minute(hour: int) -> str:
    return stamp(hour, "%Y-%m-%dT%H:00Z")


def json_text(report: Report, **more: Any) -> bytes:
    """`as_json` as bytes, with what the caller adds."""
    return msgspec.json.encode(as_json(report) | more)
