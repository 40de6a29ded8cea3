"""LiteLLM's virtual keys as ours: what `GET /key/list?return_full_object=true` of its proxy answers.

Belongs here: what each field of a key means here. Does not belong here: the configuration (migrate_litellm.py). LiteLLM keeps a
key as the SHA-256 of its secret, and so do we: every application goes on with the secret that it has, and nobody can call with
either file.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, Final

from router.cli.migration import Migration, MigrationError, slug

_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
LIMITS: Final = {"rpm_limit": "requests", "tpm_limit": "tokens", "max_parallel_requests": "concurrency"}
WHY: Final = {
    "models": "which models an application may use is said by the policy that is bound to its team or app",
    "aliases": "a policy's name may be asked for as a model",
    "guardrails": "there are none here",
    "soft_budget": "write `alerts: [80%]` at the budget",
    "model_max_budget": "set a budget with this key and a model as its scope",
    "model_rpm_limit": "set a limit with this key and a model as its scope",
    "model_tpm_limit": "as model_rpm_limit",
    "spend": "what was spent before is not in this ledger: periods begin with nothing spent",
}
"""Fields that say something and have no place in a key of ours."""


def migrate_keys(listing: Any, migration: Migration) -> None:
    """Fill in keys, and the budgets and limits that stand at them.

    Raises:
        MigrationError: it is no such listing.
    """
    keys = listing.get("keys") if isinstance(listing, dict) else listing
    if not isinstance(keys, list):
        raise MigrationError("it is no list of keys; ask LiteLLM for /key/list?return_full_object=true")
    for number, key in enumerate(keys):
        where = f"keys[{number}]"
        if not isinstance(key, dict):
            raise MigrationError(f"{where} is no object; ask LiteLLM for /key/list?return_full_object=true")
        if not _DIGEST.fullmatch(str(key.get("token"))):
            migration.note(where, "its `token` is no SHA-256, so nothing says which secret it has")
        elif key.get("blocked"):
            migration.note(where, "it is blocked, and was left out")
        else:
            _key(where, key, migration)


def _key(where: str, key: dict[str, Any], migration: Migration) -> None:
    digest = str(key["token"])
    name = f"key-{digest[:16]}"
    facts = {"id": name, "name": str(key.get("key_alias") or key.get("key_name") or "")[:64], "tenant": "default"}
    if team := key.get("team_alias") or key.get("team_id"):
        facts["team"] = slug(str(team))
        if facts["team"] != team:
            migration.note(f"{where}.team_id", f"the team {team} is called {facts['team']}")
    secret: dict[str, Any] = {"sha256": digest, "created_ms": _ms(key.get("created_at")) or 0}
    if key.get("expires"):
        expires = _ms(key["expires"])
        if expires is None:
            migration.note(f"{where}.expires", f"{key['expires']!r} is no time; the key was left out")
            return
        secret["expires_ms"] = expires
    migration.state["keys"].append({**facts, "secrets": [secret]})
    migration.budget(f"{where}.max_budget", {"key": name}, key.get("max_budget"), key.get("budget_duration"))
    for field, kind in LIMITS.items():
        migration.limit(f"{where}.{field}", {"key": name}, kind, key.get(field))
    for field, why in WHY.items():
        if key.get(field) and key[field] != ["all-team-models"]:
            migration.note(f"{where}.{field}", why)


def _ms(text: Any) -> int | None:
    """A time as LiteLLM writes it, in ms since the epoch; UTC where it names no zone."""
    try:
        found = dt.datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return round((found if found.tzinfo else found.replace(tzinfo=dt.UTC)).timestamp() * 1000)
