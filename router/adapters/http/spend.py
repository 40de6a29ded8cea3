"""What ``GET /costrouter/v1/spend`` is asked.

Belongs here: its query, as a question of `router.core.booking.report`. Does not belong here: who may ask about which tenant
(api.py), the answer (report) and its form (reports/format.py).

    ?group_by=team,model&since=2026-11-01&until=2026-12-01&team=search&tag:env=prod&format=csv
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from router.adapters.reports.format import FORMATS, Format
from router.core.booking.report import GROUPS, MOST_LINES, TAG, Question, UnknownGroupError
from router.core.catalog.catalog import did_you_mean
from router.core.errors import RouterError

USUAL_HOURS: Final = 24 * 31
MOST_HOURS: Final = 24 * 400
EVERY_TENANT: Final = "*"
_TAKEN: Final = ("group_by", "since", "until", "tenant", "format", "limit")
_TIME: Final = re.compile(r"(\d{4})-(\d\d)(?:-(\d\d)(?:T(\d\d)(?::00(?::00)?)?Z?)?)?")
_FORM: Final = "a UTC hour, day or month, such as 2026-11-23T07Z, 2026-11-23 or 2026-11"


class SpendQuery(msgspec.Struct, frozen=True):
    """The question, whose spend it is about, and how the answer is to look."""

    question: Question
    tenant: str | None
    """None: the caller's own; `EVERY_TENANT`: all."""
    format: Format


def read_query(query_string: str, now_hour: int) -> SpendQuery:
    """The query, with its defaults: the last 31 days by key and model, as JSON.

    Raises:
        RouterError: an unknown name, or times that are none or too far apart.
    """
    query: dict[str, str] = {}
    filters = []
    for name, value in parse_qsl(query_string, keep_blank_values=True):
        if name in _TAKEN:
            query[name] = value
        elif name in GROUPS or name.startswith(TAG):
            filters.append((name, value))
        else:
            hint = did_you_mean(name, (*_TAKEN, *GROUPS)) or f"; it takes {', '.join(_TAKEN)} and any group as a filter"
            raise RouterError("invalid_request", f"spend does not take {name!r}{hint}", param=name)
    form = query.get("format", "json")
    shape: Format | None = next((known for known in FORMATS if known == form), None)
    if shape is None:
        raise RouterError("invalid_request", f"format must be {', '.join(FORMATS)}.", param="format")
    since, until = span(query.get("since"), query.get("until"), now_hour)
    groups = tuple(name.strip() for name in query.get("group_by", "key,model").split(",") if name.strip())
    limit = _limit(query.get("limit", str(MOST_LINES)))
    return SpendQuery(question(since, until, groups, tuple(filters), limit), query.get("tenant"), shape)


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= MOST_LINES):
        raise RouterError(
            "invalid_request", f"limit must be a number of lines from 1 to {MOST_LINES:,}.", param="limit"
        )
    return int(text)


def question(
    since: int,
    until: int,
    groups: tuple[str, ...],
    filters: tuple[tuple[str, str], ...],
    limit: int = MOST_LINES,
) -> Question:
    """The question, if all its groups are known.

    Raises:
        RouterError: one is not; the near misses are named.
    """
    try:
        return Question(since, until, tuple(dict.fromkeys(groups)), filters, limit)
    except UnknownGroupError as error:
        raise RouterError("invalid_request", f"{error}", param="group_by") from None


def span(since: str | None, until: str | None, now_hour: int) -> tuple[int, int]:
    """Hours since the epoch, from two times as callers write them; the last 31 days by default.

    Raises:
        RouterError: a time that is none, or a span that is empty or too long.
    """
    last = _hour(until, "until") if until else now_hour + 1
    first = _hour(since, "since") if since else last - USUAL_HOURS
    if not 0 < last - first <= MOST_HOURS:
        raise RouterError("invalid_request", f"since must lie before until, by at most {MOST_HOURS // 24} days.")
    return first, last


def _hour(text: str, name: str) -> int:
    match = _TIME.fullmatch(text)
    if match is not None:
        year, month, day, hour = match.groups()
        with contextlib.suppress(ValueError):
            instant = dt.datetime(int(year), int(month), int(day or 1), int(hour or 0), tzinfo=dt.UTC)
            return int(instant.timestamp()) // 3600
    raise RouterError("invalid_request", f"{name} must be {_FORM}.", param=name)
