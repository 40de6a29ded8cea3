"""What a request is for, where nobody says: a few rules over its shape and words.

Belongs here: telling the tasks apart that quality scores are kept for, in a few microseconds (docs/quality.md has the
confusion matrix, benchmarks/tasks.py makes it). Does not belong here: what the policy or the caller says of the task,
which comes first (`router.dialects.described`), and reading bodies.

Shape goes before words: pictures, tools, an answer's format and sheer size are certain. Of words, only some windows are
looked at, split once and met with one table, so that a bigger table costs no more. What shows nothing is ``chat``.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from router.core.values import Needs

if TYPE_CHECKING:
    from router.core.catalog.catalog import Task

LONG_CHARS: Final = 100_000
"""From here on finding things in the prompt is the work: some 25,000 tokens of English."""
HEAD: Final = 240
TAIL: Final = 120
SYSTEM: Final = 240
"""Characters looked at of the last message's start and end, and of the first message's start."""
ENOUGH: Final = 3
SHORT: Final = 160
"""Points from which words are believed, one less in texts of at most so many characters: fewer words go astray there."""
NUMBERS: Final = 2
"""From so many numbers on, words of quantity mean sums."""
FORMULA: Final = 2
"""Points for a power or an equation; words of code outweigh them."""
INDENT: Final = 2
"""Points for an indented line, or an empty call."""
FOREIGN: Final = 4
"""One letter of so many outside ASCII is another language, or several."""

_VISION: Final = Needs.VISION.value
_TOOLS: Final = Needs.TOOLS.value
_FORMATS: Final = (Needs.JSON_SCHEMA | Needs.JSON_OBJECT).value

_WORDS: Final[Mapping[Task, Mapping[int, str]]] = {
    "code": {
        3: "python javascript typescript java c++ golang rust kotlin sql html css bash powershell numpy pandas react "
        "django regex refactor traceback stacktrace segfault dockerfile kubernetes docker unittest pytest docstring "
        "leetcode codebase nullpointerexception typeerror valueerror goroutine nodejs postgres mysql async git rebase",
        2: "script debug debugging bug bugs endpoint programming coding coder developer query yaml github stdout "
        "repo runtime backend frontend snippet recursion def const returns regexp implement compile compiler",
        1: "code function algorithm program method class variable loop database array string return import int null "
        "undefined exception error api json write unit tests fix linked branch print user",
    },
    "maths": {
        3: "equation equations integral derivative polynomial probability theorem eigenvalue logarithm hypotenuse "
        "algebra calculus trigonometry arithmetic modulo quadratic factorial permutation permutations isomorphic "
        "homomorphism subgroup abelian cosine sine perimeter circumference integers divisible remainder integer "
        "matrix eigenvalues triangle fractions factors simplify maths f(x) maxima minima factorise factorize",
        2: "solve prove calculate compute square root prime fraction sum math vector variance deviation multiply "
        "divide ratio volume angle radius rectangle decimal rounded evaluate expression centimeters feet inches digit "
        "odd even random sample altogether ways third",
        1: "number numbers value equals equal average total product difference times half twice area mean median "
        "percent percentage graph digits dollars",
    },
    "reasoning": {
        3: "puzzle riddle deduce deduction premise premises fallacy syllogism logically paradox contradiction entails "
        "counterfactual trade-offs tradeoffs predicate morally hypothesis",
        2: "logic logical reasoning infer conclusion conclude implies strategy consistent contradict plausible "
        "diagnose root argument assume contradicts",
        1: "why step steps must because consider compare decide reason therefore evaluate plan cause scenario "
        "scenarios statements if then either neither best explain follows who",
    },
    "summarisation": {
        3: "summarise summarize summary summarised summarized tl;dr tldr condense recap gist digest synopsis summaries "
        "summarising summarizing shorten",
        2: "briefly takeaways highlights bullets bullet takeaway outline sentences",
        1: "points key article meeting transcript thread report paragraph document brief main overview abstract paper words "
        "notes discussion conversation",
    },
    "extraction": {
        3: "extract extracts extracting extraction classify classification categorise categorize entities sentiment "
        "ner csv tagging annotate annotation extracted",
        2: "parse labels label category categories fields invoice receipt columns structured normalise normalize "
        "entity spam intent spreadsheet mentioned tags json",
        1: "identify tag field names dates column email emails review list every only addresses numbers user following",
    },
    "multilingual": {
        3: "translate translated translator traduire traduis traduce traduzca traduci tradurre translating localise "
        "localize multilingual bilingual",
        2: "ich und nicht der das ein eine einen wie ist mit auf sie wir kann bitte le les des est une pour dans avec comment "
        "vous nous que el los las una para por como pero della sono che il gli com uma het een van niet och att jag "
        "french german spanish italian portuguese dutch polish russian arabic hindi chinese mandarin japanese korean "
        "turkish vietnamese thai ukrainian swedish greek hebrew",
        1: "into reply respond write say language english native idiom formal translation",
    },
}
_QUANTITY: Final = (
    "many much total each per cost costs sum left altogether twice half percent how average dollars cents miles pounds "
    "price buys sells earns spends pays remaining more gives tall fewer bought sold gave"
)
_LANES: Final[tuple[Task, ...]] = tuple(_WORDS)
_WIDTH: Final = 16
"""Bits of a lane: more than all words that are looked at can fill."""
_MATHS: Final = _LANES.index("maths")
_lanes_of: Final = struct.Struct(f"<{len(_LANES) + 1}H").unpack
_BYTES: Final = _WIDTH // 8 * (len(_LANES) + 1)
_A_FORMULA: Final = FORMULA << _WIDTH * _MATHS
_AN_INDENT: Final = INDENT << _WIDTH * _LANES.index("code")


def _table() -> dict[bytes, int]:
    """Each word's points, a lane of bits for each task and one for words of quantity, so that all points are one sum."""
    found: dict[bytes, int] = {}
    for lane, weights in enumerate(_WORDS.values()):
        for weight, words in weights.items():
            for word in words.split():
                found[word.encode()] = found.get(word.encode(), 0) + (weight << _WIDTH * lane)
    for word in _QUANTITY.split():
        found[word.encode()] = found.get(word.encode(), 0) + (1 << _WIDTH * len(_LANES))
    return found


_POINTS: Final = _table()
_points_of: Final = _POINTS.__getitem__
_known_of: Final = frozenset(_POINTS).intersection
# Letters small, digits one sign that can be counted, and what separates words a blank. `+;()-'` stay, for "c++" and the like.
_PLAIN: Final = bytes(
    48 if 48 <= char < 58 else ord(chr(char).lower()) if chr(char).isalnum() or chr(char) in "+;()-'" else 32
    for char in range(128)
) + bytes([32] * 128)


def task_of(needs: int, texts: Sequence[str], messages: int) -> Task:
    """The task of a chat request.

    Args:
        needs: what it asks of a model, as bits of `Needs`.
        texts: those of its messages in order; what follows them (tools, an answer's schema) is not looked at.
        messages: how many texts are messages'.
    """
    if needs & _VISION:
        return "vision"
    if needs & _TOOLS:
        return "tools"
    if not texts:
        return "chat"
    last = texts[min(messages, len(texts)) - 1]
    if len(last) > LONG_CHARS or (len(texts) > 1 and sum(map(len, texts)) > LONG_CHARS):
        return "long_context"
    if needs & _FORMATS:
        return "extraction"
    looked = last if len(last) <= HEAD + TAIL else f"{last[:HEAD]} {last[-TAIL:]}"
    return _by_words(looked, texts[0][:SYSTEM] if messages > 1 else "")


def _by_words(looked: str, system: str) -> Task:
    if not looked.isascii() and _foreign(looked):
        return "multilingual"
    # One sign is found ten times as fast as several together.
    if "`" in looked and "```" in looked:
        return "code"
    plain = looked.encode("ascii", "replace").translate(_PLAIN)
    points = sum(map(_points_of, _known_of(plain.split())))
    if system:
        points += _of_system(system)
    if "^" in looked or ("=" in looked and " = " in looked):
        points += _A_FORMULA
    if ("\n" in looked and "\n    " in looked) or (";" in looked and "();" in looked):
        points += _AN_INDENT
    if not points:
        return "chat"
    *lanes, quantities = _lanes_of(points.to_bytes(_BYTES, "little"))
    if quantities > 1 and plain.count(b" 0") >= NUMBERS:
        lanes[_MATHS] += 2 * quantities
    best = max(lanes)
    return _LANES[lanes.index(best)] if best >= ENOUGH - (len(looked) <= SHORT) else "chat"


@lru_cache(maxsize=1024)
def _of_system(head: str) -> int:
    """Points of a system prompt: applications have few of them, and send each many times."""
    return sum(map(_points_of, _known_of(head.encode("ascii", "replace").translate(_PLAIN).split())))


def _foreign(text: str) -> bool:
    return sum(not char.isascii() and char.isalpha() for char in text) * FOREIGN > len(text)
