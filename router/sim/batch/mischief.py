"""What goes wrong with batches on demand: rules by provider and kind, each as often as it says.

Belongs here: the rules and their counting. Does not belong here: acting on them, which the place concerned does.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from router.sim.refusal import Refusal

KINDS: Final = {
    "create_lost": "the batch is created, and the answer that says so never comes",
    "create_fails": "the creation is answered 500, and there is no batch",
    "upload_lost": "the file is kept, and the answer that says so never comes",
    "validation": "the batch fails at validation",
    "never": "the batch makes no progress: it expires at the end of its window",
    "line_error": "a line is answered 500",
    "line_missing": "a line is in neither file",
    "line_twice": "a line's answer comes twice",
    "line_garbage": "a line of the output is no JSON",
    "get_fails": "asking for the batch is answered 503",
    "content_cut": "the output ends in the middle",
    "cancel_lost": "the cancellation is answered 500, and nothing is cancelled",
}


@dataclass(slots=True)
class Rule:
    """One kind of mischief. ``times`` None never wears out; ``every`` 3 strikes each third time that it could."""

    kind: str
    provider: str | None = None
    times: int | None = 1
    every: int = 1
    seen: int = 0
    hits: int = 0


class Mischief:
    """The rules in force."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []

    def add(self, raw: Any) -> None:
        """Append rules.

        Raises:
            Refusal: 400 for what is no rule.
        """
        for entry in raw if isinstance(raw, list) else [raw]:
            if not isinstance(entry, dict) or not set(entry) <= {"kind", "provider", "times", "every"}:
                raise Refusal(400, "A batch fault has kind, provider, times and every.")
            if entry.get("kind") not in KINDS:
                raise Refusal.of_value("kind", entry.get("kind"), sorted(KINDS))
            self._rules.append(Rule(**entry))

    def clear(self) -> None:
        """Forget every rule."""
        self._rules.clear()

    def report(self) -> list[dict[str, Any]]:
        """Every rule with its hits."""
        return [asdict(rule) for rule in self._rules]

    def strikes(self, kind: str, provider: str) -> bool:
        """Whether this happens now; counted."""
        for rule in self._rules:
            if rule.kind == kind and rule.provider in (None, provider):
                rule.seen += 1
                if (rule.times is None or rule.hits < rule.times) and rule.seen % rule.every == 0:
                    rule.hits += 1
                    return True
        return False
