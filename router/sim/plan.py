"""What a model will answer, decided before the first byte: pieces, finish reasons, token figures, and its pace.

Belongs here: drawing lengths, contents and times. Does not belong here: the wire (wire.py) and the socket.
The lognormals are fitted in closed form: output length to mean and 90th percentile, time to first token to the
50th and 95th.
"""

from __future__ import annotations

import hashlib
import math
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson

from router.sim.prompt import metered
from router.sim.refusal import Refusal
from router.sim.structured import instance
from router.sim.text import pieces
from router.sim.tools import ToolCall, tool_calls
from router.sim.validate import output_limit

if TYPE_CHECKING:
    from router.sim.catalog import Latency, Model
    from router.sim.prompt import Prompt
    from router.sim.text import Prose

_Z90: Final = 1.2816
_Z95: Final = 1.6449
_TPOT_SPREAD: Final = 0.15
"""Sigma of the time per token between calls; the catalog gives no quantile of it."""
_REASONING_SHARE: Final = {
    "none": 0.0,
    "minimal": 0.1,
    "low": 0.3,
    "medium": 0.5,
    "high": 0.65,
    "xhigh": 0.75,
    "max": 0.8,
}
"""Part of the completion that is reasoning, by effort; the default effort is medium."""
_FREE_FORM: Final = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "items": {"type": "array", "items": {"type": "string"}}},
    "required": ["answer", "items"],
}


@dataclass(slots=True)
class Choice:
    """One answer. Pieces are our tokens; ``hidden`` and ``completion`` are metered tokens."""

    content: list[str]
    shown_reasoning: list[str]
    calls: list[tuple[ToolCall, list[str]]]
    finish: str
    hidden: int
    reasoning: int
    completion: int
    stopped_by: str = ""
    """The caller's stop sequence that ended it."""


@dataclass(slots=True)
class Answer:
    """Everything a call will say, and how many metered tokens it is when complete."""

    choices: list[Choice]
    completion: int = field(init=False)
    reasoning: int = field(init=False)

    def __post_init__(self) -> None:
        self.completion = sum(choice.completion for choice in self.choices)
        self.reasoning = sum(choice.reasoning for choice in self.choices)

    def partial(self, model: Model, shown: int, shown_reasoning: int) -> tuple[int, int]:
        """Completion and reasoning tokens generated once that many pieces are out (reasoning pieces included)."""
        if shown == 0:
            return 0, 0
        hidden = sum(choice.hidden for choice in self.choices)
        completion = min(self.completion, hidden + metered(shown, model))
        return completion, min(self.reasoning, hidden + metered(shown_reasoning, model))


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds to the first token and per further token, already divided by the simulator's speed."""

    first: float
    each: float


def draw_pace(latency: Latency, rng: random.Random, speed: float) -> Pace:
    """One call's pace. ``speed`` 2 is twice as fast as the catalog says; 0 waits for nothing."""
    if speed <= 0:
        return Pace(0.0, 0.0)
    sigma = math.log(max(1.0, latency.ttft_p95_ms / max(latency.ttft_p50_ms, 1e-3))) / _Z95
    first = latency.ttft_p50_ms * math.exp(rng.gauss(0.0, sigma))
    each = latency.tpot_ms * math.exp(rng.gauss(0.0, _TPOT_SPREAD))
    return Pace(first / 1000 / speed, each / 1000 / speed)


def draw_length(model: Model, rng: random.Random) -> int:
    """Completion tokens that a call would have without a limit; at least one."""
    ratio = math.log(max(1.0, model.output_p90 / model.output_mean))
    sigma = _Z90 - math.sqrt(max(0.0, _Z90**2 - 2 * ratio))
    location = math.log(model.output_mean) - sigma**2 / 2
    return max(1, round(math.exp(rng.gauss(location, sigma))))


def draw_answer(
    body: dict[str, Any], model: Model, prompt: Prompt, prose: Prose, *, seed: int, shows_reasoning: bool
) -> Answer:
    """The answer to a validated body: the same for the same simulator seed, model, prompt and request seed.

    Raises:
        Refusal: 400 when a schema in the body is no JSON Schema.
    """
    key = f"{seed}/{model.id}/{body.get('seed')}/".encode() + prompt.digest
    rng = random.Random(int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()))  # noqa: S311 - plausible text, not a secret
    limit = max(1, min(output_limit(body, model), model.context_window - prompt.tokens))
    try:
        choices = [
            _choice(body, model, prose, rng, limit, shows_reasoning=shows_reasoning) for _ in range(body.get("n") or 1)
        ]
    except (TypeError, ValueError, AttributeError, KeyError, IndexError, ArithmeticError) as error:
        raise Refusal(
            400, f"Invalid schema: {type(error).__name__} while reading it.", code="invalid_schema"
        ) from error
    return Answer(choices)


def _choice(
    body: dict[str, Any], model: Model, prose: Prose, rng: random.Random, limit: int, *, shows_reasoning: bool
) -> Choice:
    length = draw_length(model, rng)
    reasoning = int(length * _REASONING_SHARE[body.get("reasoning_effort") or "medium"]) if model.reasoning else 0
    reasoning = min(reasoning, limit)
    shown: list[str] = []
    if shows_reasoning:
        shown = prose.draw(rng, _pieces_within(reasoning, model))
        reasoning = metered(len(shown), model)
    room = _pieces_within(limit - reasoning, model)
    calls: list[tuple[ToolCall, list[str]]] = []
    content: list[str] = []
    stopped_by = ""
    wanted = tool_calls(body, rng)
    if wanted:
        finish, used = "tool_calls", 0
        for call in wanted:
            arguments = pieces(call.arguments)
            name = len(pieces(call.name))
            if used + name + len(arguments) > room:
                finish = "length"
            if used + name > room:
                break
            arguments = arguments[: room - used - name]
            calls.append((call, arguments))
            used += name + len(arguments)
    else:
        content, finish, stopped_by = _content(body, max(1, _pieces_within(length - reasoning, model)), prose, rng)
        if len(content) > room:
            content, finish, stopped_by = content[:room], "length", ""
        used = len(content)
    return Choice(
        content=content,
        shown_reasoning=shown,
        calls=calls,
        finish=finish,
        hidden=0 if shows_reasoning else reasoning,
        reasoning=reasoning,
        completion=reasoning + metered(used, model),
        stopped_by=stopped_by,
    )


def _content(body: dict[str, Any], length: int, prose: Prose, rng: random.Random) -> tuple[list[str], str, str]:
    form = (body.get("response_format") or {}).get("type", "text")
    if form == "text":
        drawn = prose.draw(rng, length)
    else:
        schema = (body["response_format"].get("json_schema") or {}).get("schema") or _FREE_FORM
        drawn = pieces(orjson.dumps(instance(schema, rng)).decode())
    stop = body.get("stop")
    stops = [stop] if isinstance(stop, str) else stop
    if stops:
        text = "".join(drawn)
        ends = [(text.find(entry), entry) for entry in stops if entry and entry in text]
        if ends:
            at, entry = min(ends)
            return pieces(text[:at]), "stop", entry
    return drawn, "stop", ""


def _pieces_within(tokens: int, model: Model) -> int:
    """The most pieces that meter to no more than so many tokens."""
    return tokens * model.ratio.denominator // model.ratio.numerator
