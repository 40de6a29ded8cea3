"""Tokens and prose: a tokenizer of the simulator's own, and sentences that look like an answer.

Belongs here: pieces of text, their number, and drawing them. Does not belong here: which model says how much.
"""

from __future__ import annotations

import random
import re
from typing import Final

_PIECE: Final = re.compile(r" ?[A-Za-z]{1,12}|\d{1,3}| ?[^\sA-Za-z\d]{1,2}|\s{1,16}")
SLICE: Final = 32_768
"""Characters cut at once; a caller with more gives the loop a turn in between."""

_OPENERS: Final = (
    "In short",
    "In practice",
    "As a rule",
    "For most teams",
    "Step by step",
    "On balance",
    "To begin with",
)
_SUBJECTS: Final = (
    "the service", "a careful plan", "the first draft", "the second option", "each request", "the report", "this approach",
    "the customer", "a small change", "the schedule", "the team", "a simple table", "the next release", "the older system",
)  # fmt: skip
_VERBS: Final = (
    "covers", "explains", "reduces", "replaces", "supports", "follows", "improves", "compares", "depends on", "leads to",
    "keeps", "shows",
)  # fmt: skip
_OBJECTS: Final = (
    "the main steps", "most of the cost", "a clear answer", "the remaining risk", "both cases", "the same result",
    "a shorter path", "the open questions", "the expected load", "every detail", "the agreed limits", "what was asked",
)  # fmt: skip
_ENDINGS: Final = (
    "in the end", "from the start", "on most days", "with little effort", "at a lower price", "without surprises",
    "when it matters", "for the whole team", "in three parts", "by the end of the week",
)  # fmt: skip


def pieces(text: str) -> list[str]:
    """The tokens of a text; joined they give it back."""
    return _PIECE.findall(text)


class Prose:
    """A ring of generated sentences. An answer is a run of it, so drawing one costs a slice, not a loop."""

    def __init__(self, seed: int, sentences: int = 400) -> None:
        draw = random.Random(seed)  # noqa: S311 - plausible text, not a secret
        self._ring: list[str] = []
        self._starts: list[int] = []
        for _ in range(sentences):
            self._starts.append(len(self._ring))
            subject, verb = draw.choice(_SUBJECTS), draw.choice(_VERBS)
            opener = f" {draw.choice(_OPENERS)}, {subject}" if draw.random() < 0.3 else f" {subject.capitalize()}"
            ending = f" {draw.choice(_ENDINGS)}" if draw.random() < 0.6 else ""
            self._ring += pieces(f"{opener} {verb} {draw.choice(_OBJECTS)}{ending}.")

    def draw(self, rng: random.Random, count: int) -> list[str]:
        """``count`` pieces from a sentence's start to a full stop. Needs count ≥ 0."""
        if count <= 0:
            return []
        ring = self._ring
        start = self._starts[rng.randrange(len(self._starts))]
        drawn = ring[start : start + count]
        while len(drawn) < count:
            drawn += ring[: count - len(drawn)]
        drawn[0] = drawn[0].lstrip()
        if count > 2:
            drawn[-1] = "."
            if drawn[-2] in (",", "."):
                drawn[-2] = " too"
        return drawn
