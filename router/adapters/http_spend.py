"""What ``GET /costrouter/v1/spend`` is asked, and how it answers.

Belongs here: its query and its body. Does not belong here: who may ask about which tenant (http_api.py), and adding
up (spend.py).
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

import msgspec

from router.core.errors import RouterError
from router.core.money import usd

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router.adapters.spend import SpendRow

USUAL_HOURS: Final = 24 * 31
MOST_HOURS: Final = 24 * 93
_TAKEN: Final = ("group_by", "since", "until", "tenant")
_TIME: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)(?:T(\d\d)(?::00(?::00)?)?Z?)?")


class SpendQuery(msgspec.Struct, frozen=True):
    """Hours since the epoch (UTC), ``until`` not included."""

    since: int
    until: int
    groups: tuple[Any, ...]
    tenant: str | None


def read_query(query_string: str, now_hour: int) -> SpendQuery:
    """The query, with its defaults: the last 31 days by key and model.

    Raises:
        RouterError: an unknown name, or times that are none or too far apart.
    """
    query = {name: values[-1] for name, values in parse_qs(query_string).items()}
    unknown = query.keys() - set(_TAKEN)
    if unknown:
        raise RouterError("invalid_request", f"spend takes {', '.join(_TAKEN)}, not {min(unknown)}.")
    until = _hour(query["until"], "until") if "until" in query else now_hour + 1
    since = _hour(query["since"], "since") if "since" in query else until - USUAL_HOURS
    if not 0 < until - since <= MOST_HOURS:
        raise RouterError("invalid_request", f"since must lie before until, by at most {MOST_HOURS // 24} days.")
    groups = tuple(name.strip() for name in query.get("group_by", "key,model").split(",") if name.strip())
    return SpendQuery(since, until, groups, query.get("tenant"))


def spend_body(tenant: str, query: SpendQuery, rows: Sequence[SpendRow]) -> dict[str, Any]:
    """The answer; of each row's groups, those asked for are shown."""
    total = sum(row.cost_nano for row in rows)
    return {
        "object": "list",
        "tenant": tenant,
        "since": _stamp(query.since),
        "until": _stamp(query.until),
        "group_by": query.groups,
        "data": [_entry(query.groups, row) for row in rows],
        "total": {
            "requests": sum(row.requests for row in rows),
            "cost_usd": usd(total),
            "cost_nano": total,
            "baseline_cost_usd": usd(sum(row.baseline_nano for row in rows)),
        },
    }


def _entry(groups: Sequence[str], row: SpendRow) -> dict[str, Any]:
    return {
        **dict(zip(groups, row.group, strict=False)),
        "requests": row.requests,
        "cost_usd": usd(row.cost_nano),
        "cost_nano": row.cost_nano,
        "baseline_cost_usd": usd(row.baseline_nano),
        "prompt_tokens": row.prompt_tokens,
        "cached_tokens": row.cached_tokens,
        "completion_tokens": row.completion_tokens,
        "reasoning_tokens": row.reasoning_tokens,
    }


def _hour(text: str, name: str) -> int:
    match = _TIME.fullmatch(text)
    if match is not None:
        year, month, day, hour = (int(part or 0) for part in match.groups())
        with contextlib.suppress(ValueError):
            return int(dt.datetime(year, month, day, hour, tzinfo=dt.UTC).timestamp()) // 3600
    form = "a UTC day or hour, such as 2026-11-23 or 2026-11-23T07Z"
    raise RouterError("invalid_request", f"{name} must be {form}.", param=name)


def _stamp(hour: int) -> str:
    return time.strftime("%Y-%m-%dT%H:00Z", time.gmtime(hour * 3600))
