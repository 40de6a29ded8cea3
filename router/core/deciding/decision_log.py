"""What is kept of decisions, so that each can be made again: its facts, and the plan of its snapshot.

Belongs here: one decision as it was made, and many of them as bytes and back. Does not belong here: where the bytes lie
(`router.adapters.fleet.decisions`), and what is said of a decision (`explain`, `explanation`).

No reasons are computed when a decision is made, and no text of a prompt is kept. Whatever decided is: the facts, and the
compiled rule with every option's figures. So a decision can be explained after prices, policies and statistics have
changed, and on another machine.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from router.core.deciding.decide import Decision, Facts, Level, Option, Plan, decide, level

VERSION: Final = 1


class Made(msgspec.Struct, frozen=True):
    """A decision as it was made."""

    id: str
    """The request's id."""
    at_ms: int
    tenant: str
    key: str
    team: str
    app: str
    snapshot: str
    facts: Facts
    plan: Plan
    baseline: Option | None
    option: Option | None
    """What was chosen; None when nothing was feasible."""
    expected_pico: int
    exhausted: bool = False
    """Whether a budget had no room, so that the plan for that decided."""

    @property
    def deciding(self) -> Plan:
        """The plan that decided."""
        return self.plan.exhausted if self.exhausted and self.plan.exhausted is not None else self.plan


def again(made: Made) -> Decision | None:
    """The decision, made again from what was kept."""
    return decide(made.deciding, made.facts, made.baseline)


_encode: Final = msgspec.msgpack.Encoder().encode
_FACTS: Final = Facts.__struct_fields__
_facts_of: Final = operator.attrgetter(*_FACTS)
_PLAIN: Final = {field.name: field.type for field in msgspec.structs.fields(Plan)}
"""Of a plan's fields, their types; options and levels among them are put into tables instead."""
_IN_TABLES: Final = ("levels", "candidates", "reference", "asked", "exhausted", "whole", "forwarding")
"""And two that are not kept: the plan without what was shut, and what follows a failure, decide nothing here."""


class Packer:
    """Puts decisions together as one block. Options and plans that they share are written once."""

    def __init__(self) -> None:
        self._options: dict[bytes, int] = {}
        self._plans: list[dict[str, Any]] = []
        self._seen: dict[int, int] = {}
        self._held: list[object] = []
        self._made: list[bytes] = []

    def __len__(self) -> int:
        return len(self._made)

    def add(self, made: Made) -> None:
        """Take in one decision."""
        record = (
            made.id,
            made.at_ms,
            made.tenant,
            made.key,
            made.team,
            made.app,
            made.snapshot,
            _facts_of(made.facts),
            self._plan(made.plan),
            self._maybe(made.baseline),
            self._maybe(made.option),
            made.expected_pico,
            made.exhausted,
        )
        self._made.append(_encode(record))

    def block(self) -> bytes:
        """All of them. The order of facts stands at the front, so that a later version can read an earlier one's."""
        return _encode(
            {
                "version": VERSION,
                "facts": _FACTS,
                "options": [msgspec.Raw(option) for option in self._options],
                "plans": self._plans,
                "made": [msgspec.Raw(record) for record in self._made],
            }
        )

    def _maybe(self, option: Option | None) -> int | None:
        return None if option is None else self._option(option)

    def _option(self, option: Option) -> int:
        found = self._seen.get(id(option))
        if found is None:
            # What other tiers cost is for bills only.
            packed = _encode(msgspec.structs.replace(option, prices={}))
            found = self._keep(option, self._options.setdefault(packed, len(self._options)))
        return found

    def _plan(self, plan: Plan) -> int:
        found = self._seen.get(id(plan))
        if found is None:
            packed: dict[str, Any] = {name: getattr(plan, name) for name in _PLAIN if name not in _IN_TABLES}
            packed |= {
                "levels": [self._level(one) for one in plan.levels],
                "candidates": [self._option(option) for option in plan.candidates],
                "reference": self._maybe(plan.reference),
                # What was asked for caps the cost, also while it may not be called itself.
                "asked": next(
                    (n for n, one in enumerate(plan.levels) if one is plan.asked),
                    None if plan.asked is None else self._level(plan.asked),
                ),
                "exhausted": None if plan.exhausted is None else self._plan(plan.exhausted),
            }
            self._plans.append(packed)
            found = self._keep(plan, len(self._plans) - 1)
        return found

    def _level(self, one: Level) -> tuple[str, list[int], bool]:
        headroom = any(figures[-1] for figures in one.figures)
        return one.relaxed, [self._option(option) for option in one.options], headroom

    def _keep(self, thing: object, number: int) -> int:
        """Numbers go by identity, so what has one must live as long as the packer."""
        self._held.append(thing)
        self._seen[id(thing)] = number
        return number


class _Block(msgspec.Struct):
    version: int
    facts: tuple[str, ...]
    options: list[Option]
    plans: list[dict[str, Any]]
    made: list[msgspec.Raw]


_block: Final = msgspec.msgpack.Decoder(_Block).decode


def unpack(block: bytes, wanted: Sequence[str] | None = None) -> list[Made]:
    """The decisions of a block; of these ids, where some are wanted.

    Raises:
        ValueError: it is none, or a later version's.
    """
    try:
        found = _block(block)
        if found.version != VERSION:
            raise ValueError(f"version {found.version} of the decision log is not known here")
        plans: list[Plan] = []
        for packed in found.plans:
            plans.append(_plan(packed, found.options, plans))
        records = [msgspec.msgpack.decode(record) for record in found.made]
        return [_made(record, found, plans) for record in records if wanted is None or record[0] in wanted]
    except (msgspec.DecodeError, TypeError, KeyError, IndexError) as error:
        raise ValueError(f"not a block of decisions: {error}") from None


def _plan(packed: dict[str, Any], options: list[Option], plans: list[Plan]) -> Plan:
    def read(kept: tuple[str, list[int], bool]) -> Level:
        relaxed, indices, headroom = kept
        return level(relaxed, [options[index] for index in indices], headroom=headroom)

    levels = tuple(read(kept) for kept in packed["levels"])
    given = {
        name: msgspec.convert(packed[name], kind)
        for name, kind in _PLAIN.items()
        if name in packed and name not in _IN_TABLES
    }
    asked, exhausted = packed["asked"], packed["exhausted"]
    return Plan(
        **given,
        levels=levels,
        candidates=tuple(options[index] for index in packed["candidates"]),
        reference=_option(packed["reference"], options),
        asked=None if asked is None else levels[asked] if isinstance(asked, int) else read(asked),
        exhausted=None if exhausted is None else plans[exhausted],
    )


def _option(index: int | None, options: list[Option]) -> Option | None:
    return None if index is None else options[index]


def _made(record: list[Any], block: _Block, plans: list[Plan]) -> Made:
    name, at_ms, tenant, key, team, app, snapshot, facts, plan, baseline, option, expected, exhausted = record
    return Made(
        id=name,
        at_ms=at_ms,
        tenant=tenant,
        key=key,
        team=team,
        app=app,
        snapshot=snapshot,
        facts=msgspec.convert(dict(zip(block.facts, facts, strict=True)), Facts),
        plan=plans[plan],
        baseline=_option(baseline, block.options),
        option=_option(option, block.options),
        expected_pico=expected,
        exhausted=exhausted,
    )
