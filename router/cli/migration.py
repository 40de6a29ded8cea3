"""What a migration from another gateway gives, and writing it down.

Belongs here: the files, the list of what could not be mapped, names that we take. Does not belong here: any one gateway's
format (migrate_litellm.py, migrate_openrouter.py).
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import yaml

from router.adapters.policies.files import packaged_policies_dir
from router.core.catalog.catalog import Catalog, did_you_mean
from router.core.names import Names

PERIODS: Final = {"1h": "hour", "60m": "hour", "24h": "day", "1d": "day", "7d": "week", "30d": "month", "1mo": "month"}
"""LiteLLM's durations that are periods here."""
_DATED: Final = re.compile(r"(?P<name>.+?)-(?:\d{8}|\d{4}-\d{2}-\d{2})(?:-v\d+:\d+)?|(?P<other>.+?)-v\d+(?::\d+)?")
"""Names of one day's model, and Bedrock's versions."""


class MigrationError(Exception):
    """A file that cannot be migrated, and why."""


class Note(NamedTuple):
    """Something that could not be mapped, and why."""

    what: str
    why: str


class Migration:
    """Files to be written, and what is left to do by hand."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.names = Names(catalog)
        self.policies: dict[str, dict[str, Any]] = {}
        self.providers: dict[str, dict[str, Any]] = {}
        self.state: dict[str, Any] = {"version": 1, "keys": [], "budgets": [], "limits": []}
        self.settings: dict[str, str] = {}
        self.notes: list[Note] = []

    def note(self, what: str, why: str) -> None:
        """Remember what could not be mapped."""
        note = Note(what, why)
        if note not in self.notes:
            self.notes.append(note)

    def model(self, what: str, name: str, *, provider: str = "") -> str | None:
        """A model's canonical id, or None, which is noted.

        Args:
            what: where it stands.
            name: of the model, with or without a date.
            provider: whose models alone are meant; any's without one.
        """
        dated = _DATED.fullmatch(name)
        found = self.names.find(name) or (self.names.find(dated["name"] or dated["other"]) if dated else None)
        if found is not None:
            own = [entry for entry in found.entries if entry.provider == provider]
            return f"{own[0].id}@{provider}" if own else found.entries[0].id
        self.note(what, f"{name} is not in the catalog{did_you_mean(name, self.catalog.ids)}; add it, or leave it out")
        return None

    def budget(self, what: str, scope: dict[str, str], limit: Any, duration: Any) -> None:
        """A hard budget, where there is a limit; without a duration for all time."""
        if limit is None:
            return
        period = "total" if duration is None else PERIODS.get(str(duration))
        try:
            usd = format(Decimal(str(limit)), "f")
        except InvalidOperation:
            self.note(what, f"{limit!r} is no number")
            return
        if period is None:
            self.note(
                what,
                f"{duration} is no period here ({', '.join(dict.fromkeys(PERIODS.values()))}, total): none was set",
            )
        else:
            self.state["budgets"].append({"scope": scope, "limit_usd": usd, "period": period, "hard": True})

    def limit(self, what: str, scope: dict[str, str], kind: str, limit: Any) -> None:
        """A limit a minute, or on attempts at a time, where there is one."""
        if limit is None:
            return
        if isinstance(limit, int) and limit >= 0:
            self.state["limits"].append({"scope": scope, "kind": kind, "limit": limit})
        else:
            self.note(what, f"{limit!r} is no whole number")

    def policy(self, name: str, include: Iterable[str], **more: Any) -> None:
        """A policy of these candidates, serving what is asked for until you have looked at what it would do."""
        self.policies[name] = {
            "version": 1,
            "policy": name,
            "mode": "observe",
            "candidates": {"include": list(dict.fromkeys(include)), **more.pop("candidates", {})},
            "rules": [{"name": "any", **more.pop("rule", {})}],
            "when_nothing_fits": ["refuse"],
            **more,
        }

    def write(self, folder: Path) -> list[Path]:
        """Write everything below a folder that has none of it yet.

        Raises:
            click.ClickException: something is there already, or the folder cannot be written.
        """
        if len(self.policies) > 1 and "default" not in self.policies:
            known = [name for policy in self.policies.values() for name in policy["candidates"]["include"]]
            self.policy("default", known)
        texts = {Path("policies", f"{name}.yaml"): _yaml(document) for name, document in self.policies.items()}
        texts |= {
            Path("policies", "catalog", f"{name}.yaml"): _yaml(document) for name, document in self.providers.items()
        }
        if any(self.state[part] for part in ("keys", "budgets", "limits")):
            texts[Path("state.yaml")] = "# Put in with `costrouter import state.yaml`.\n" + _yaml(self.state)
        if self.settings:
            lines = [f"{name}={value}" for name, value in self.settings.items()]
            texts[Path("settings.env")] = "\n".join(lines) + "\n"
        texts[Path("NOT_MAPPED.md")] = self.told()
        there = [str(folder / path) for path in texts if (folder / path).exists()]
        if there:
            raise click.ClickException(f"{there[0]} is there already; name another folder with --into")
        try:
            if self.providers:
                # A folder's catalog stands for itself, so what ships goes beside what is added.
                shutil.copytree(packaged_policies_dir() / "catalog", folder / "policies" / "catalog")
            for path, text in texts.items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_text(text, encoding="utf-8")
        except OSError as error:
            raise click.ClickException(f"{folder} cannot be written: {error.strerror}") from None
        return [folder / path for path in texts]

    def told(self) -> str:
        """What could not be mapped, as a page."""
        lines = "\n".join(f"- `{note.what}`: {note.why}" for note in self.notes)
        return f"# Not mapped\n\n{lines or 'Everything was mapped.'}\n"


def slug(name: str) -> str:
    """A name as policies and providers are called here."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:64] or "unnamed"


def _yaml(document: Any) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120)
