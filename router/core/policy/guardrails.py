"""``extends``: what a policy takes over from another, and that it only tightens it.

Belongs here: which settings are handed down, which of two values is the tighter one, and the words for a breach, which
name both places. Does not belong here: reading files, and everything that concerns one policy alone
(`compile.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from router.core.money import nano_ceil, usd
from router.core.policy.schema import PolicySchema
from router.core.schema import Path, Problem, Strict

if TYPE_CHECKING:
    from router.core.catalog.catalog import Catalog
    from router.core.policy.policy import Floor
    from router.core.units import LatencyLimit


class Parent(msgspec.Struct, frozen=True):
    """A policy that another extends."""

    file: PolicySchema
    place: Callable[[Path], str]
    """Says where in its file a key stands, as ``base.yaml:12``."""


class Said(msgspec.Struct, frozen=True):
    """A setting, and where it was written."""

    value: Any
    by: Parent | None
    """None for the policy itself."""
    path: Path

    @property
    def place(self) -> str:
        """Where it stands, for a message about another file."""
        return "" if self.by is None else self.by.place(self.path)


_INHERITED: Final = (
    "mode",
    "baseline",
    "reference",
    "cache",
    "fallbacks",
    "prompt_cache",
    "task",
    "clamp",
    "when_nothing_fits",
    "tiers",
    "timeouts",
    "retry",
    "queue",
    "hedge",
    "hold",
)
_NESTED: Final = ("candidates", "require", "without_data", "budget_exhausted")
_QUALITY: Final = ("exclude", "use reference", "probe", "allow")
_LATENCY: Final = ("exclude", "probe", "use prior", "allow")
"""Ways to treat what has no data, the strictest first."""


def settled(file: PolicySchema, parents: Sequence[Parent]) -> dict[Path, Said]:
    """Every setting that is stated, by its path: the policy's own before its nearest parent's.

    Args:
        file: the policy.
        parents: nearest first.
    """
    found: dict[Path, Said] = {}
    for owner in (*reversed(parents), None):
        stated = file if owner is None else owner.file
        found |= {path: Said(value, owner, path) for path, value in _stated(stated)}
    return found


def breaches(file: PolicySchema, parents: Sequence[Parent], catalog: Catalog) -> list[Problem]:
    """Where a policy is looser than what it extends."""
    if not parents:
        return []
    above = settled(parents[0].file, parents[1:])
    # What the parent itself says is its own, not the policy's.
    above = {p: said if said.by else msgspec.structs.replace(said, by=parents[0]) for p, said in above.items()}
    own = dict(_stated(file))
    found = [_breach(path, value, above[path]) for path, value in own.items() if path in above and path in _TIGHTER]
    for index, rule in enumerate(file.rules or ()):
        for key in sorted(rule.require.model_fields_set):
            limit = above.get(("require", key))
            if limit is not None:
                found.append(_breach(("rules", index, "require", key), getattr(rule.require, key), limit))
        tiers = above.get(("tiers",))
        if tiers is not None:
            found.append(_breach(("rules", index, "tiers"), rule.tiers, tiers))
    return [*filter(None, found), *_other_reference(file, above), *_outside(file, parents, catalog)]


def own_breaches(file: PolicySchema) -> list[Problem]:
    """Where a rule is looser than the file's own ``require`` and ``tiers``, which hold for all rules."""
    own = Parent(file, lambda _: "this file")
    found = []
    for index, rule in enumerate(file.rules or ()):
        for key in sorted(rule.require.model_fields_set & file.require.model_fields_set):
            limit = Said(getattr(file.require, key), own, ("require", key))
            found.append(_breach(("rules", index, "require", key), getattr(rule.require, key), limit))
        if file.tiers:
            found.append(_breach(("rules", index, "tiers"), rule.tiers, Said(file.tiers, own, ("tiers",))))
    return list(filter(None, found))


def _stated(file: PolicySchema) -> list[tuple[Path, Any]]:
    """(path, value) of what a file says, as far as it is handed down."""
    found: list[tuple[Path, Any]] = [((key,), getattr(file, key)) for key in _INHERITED if key in file.model_fields_set]
    for key in _NESTED:
        part = getattr(file, key)
        if key in file.model_fields_set and isinstance(part, Strict):
            found += [((key, inner), getattr(part, inner)) for inner in sorted(part.model_fields_set)]
    return found


def _breach(path: Path, value: Any, above: Said) -> Problem | None:
    check, words = _TIGHTER[("require", path[-1]) if "require" in path else ("tiers",) if path[-1] == "tiers" else path]
    if value is None or check(value, above.value):
        return None
    return Problem(path, f"{path[-1]}: looser than {above.place} allows, which says {words(above.value)}")


def _outside(file: PolicySchema, parents: Sequence[Parent], catalog: Catalog) -> list[Problem]:
    """Models that the policy names and one of its parents leaves out."""
    found = []
    for path, name in _named(file, parents):
        meant = catalog.selected(name)
        for parent in parents if meant else ():
            for key, does in (("include", "does not include"), ("exclude", "excludes")):
                patterns = getattr(parent.file.candidates, key, ())
                listed = frozenset[str]().union(*(catalog.selected(pattern) for pattern in patterns))
                if patterns and not (meant & listed if key == "include" else meant - listed):
                    place = parent.place(("candidates", key))
                    found.append(Problem(path, f"{place} {does} {name!r}, and what extends it may only tighten it"))
    return found


def _named(file: PolicySchema, parents: Sequence[Parent]) -> list[tuple[Path, str]]:
    """(path, pattern) of what the policy itself lets requests be sent to."""
    effective = {path: said.value for path, said in settled(file, parents).items()}
    own = dict(_stated(file))
    found: list[tuple[Path, str]] = [
        (("candidates", "include", index), pattern)
        for index, pattern in enumerate(own.get(("candidates", "include"), ()))
    ]
    reference = effective.get(("reference",))
    users: tuple[Path, ...] = (("reference",), ("when_nothing_fits",), ("without_data", "quality"))
    said = next((path for path in users if path in own), None)
    used = (*effective.get(("when_nothing_fits",), ()), effective.get(("without_data", "quality"), ("",))[0])
    if reference and said and "use reference" in used:
        found.append((said, reference))
    instead = own.get(("budget_exhausted", "new_requests"))
    return [*found, (("budget_exhausted", "new_requests"), instead)] if instead else found


def _other_reference(file: PolicySchema, above: Mapping[Path, Said]) -> list[Problem]:
    """A share of another model's quality is another floor."""
    floor, reference = above.get(("require", "quality")), above.get(("reference",))
    if floor is None or reference is None or not floor.value.relative or file.reference in (None, reference.value):
        return []
    message = f"{floor.place} asks for a share of the reference's quality, which {reference.place} says is "
    return [Problem(("reference",), f"{message}{reference.value}")]


def _fewer(value: Collection[Any], limit: Collection[Any]) -> bool:
    return not limit or set(value) <= set(limit)


def _quality(value: Floor, limit: Floor) -> bool:
    # An absolute floor and a share of the reference cannot be compared; both then hold.
    return value.relative is not limit.relative or value.milli >= limit.milli


def _latency(value: LatencyLimit, limit: LatencyLimit) -> bool:
    return value.percentile >= limit.percentile and value.ms <= limit.ms


def _stricter(order: Sequence[str]) -> Callable[[Any, Any], bool]:
    def check(value: Any, limit: Any) -> bool:
        mine, theirs = order.index(value[0]), order.index(limit[0])
        return mine < theirs or (mine == theirs and value[1] <= limit[1])

    return check


def _percent(milli: int) -> str:
    return f"{milli / 10:g}%"


def _listed(value: Collection[str]) -> str:
    return ", ".join(value) or "none"


def _handled(value: tuple[str, int]) -> str:
    return f"{value[0]} {_percent(value[1])}" if value[1] else value[0]


_TIGHTER: Final[Mapping[Path, tuple[Callable[[Any, Any], bool], Callable[[Any], str]]]] = {
    ("require", "quality"): (_quality, lambda f: f">= {_percent(f.milli)}{' of reference' if f.relative else ''}"),
    ("require", "confidence"): (lambda value, limit: value >= limit, _percent),
    ("require", "on_time"): (lambda value, limit: value >= limit, _percent),
    ("require", "ttft"): (_latency, lambda limit: f"p{limit.percentile} <= {limit.ms}ms"),
    ("require", "tpot"): (_latency, lambda limit: f"p{limit.percentile} <= {limit.ms}ms"),
    ("require", "total"): (_latency, lambda limit: f"p{limit.percentile} <= {limit.ms}ms"),
    ("require", "max_cost_usd"): (lambda value, limit: value <= limit, lambda pico: f"${usd(nano_ceil(pico))}"),
    ("hold",): (lambda value, limit: value <= limit, lambda limit: f"at most {limit} ms"),
    ("prompt_cache",): (lambda value, limit: value == "off" or limit == "auto", str),
    ("tiers",): (_fewer, _listed),
    ("candidates", "effort"): (_fewer, _listed),
    ("when_nothing_fits",): (lambda value, limit: set(value) - {"refuse"} <= set(limit), _listed),
    ("without_data", "quality"): (_stricter(_QUALITY), _handled),
    ("without_data", "latency"): (_stricter(_LATENCY), _handled),
    ("budget_exhausted", "new_requests"): (lambda _, limit: limit is not None, lambda m: f"use {m}" if m else "refuse"),
    ("budget_exhausted", "running_streams"): (lambda value, limit: value == "stop" or limit == "finish", str),
}
"""By path: whether a value is as tight as the limit, and how a limit is shown."""
