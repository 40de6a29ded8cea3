"""A request as the decision sees it: facts, from what a dialect has read and what the caller ordered.

Belongs here: putting facts together, with a guess at the prompt's tokens first and with the real count later. Does not
belong here: reading bodies (the dialects) and counting itself (tokens.py, adapters/counting/encoders.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from router.core.catalog.catalog import Task
from router.core.deciding.decide import Facts
from router.core.density import Density
from router.core.statistics.task import task_of
from router.core.tokens import byte_length, estimate, exactly, fixed_overhead, shifted
from router.core.values import Endpoint, Needs, TokenRange
from router.core.wire import NATIVE
from router.dialects.contract import Inbound
from router.dialects.orders import Orders
from router.dialects.request import Request

_FORM: Final = Needs.JSON_SCHEMA.value


def facts_of(
    endpoint: Endpoint,
    path: str,
    request: Request,
    orders: Orders,
    *,
    count_now: Callable[[str], int],
    known: Callable[[str], int | None] | None = None,
    glances: bool = False,
    density: Density | None = None,
    tasks: bool = False,
) -> Facts:
    """The facts of a request, its tokens estimated in bounded time.

    Args:
        endpoint: which of the API's calls it is.
        path: the call's path, which rules can ask for.
        request: what was read.
        orders: what the caller asked of us.
        count_now: exact tokens of a short text.
        known: the count of a text that was counted before, or None.
        glances: whether short prose is judged instead of counted.
        density: of prose from the same caller.
        tasks: whether it is to be told what the request is for, where the caller does not say.
    """
    shape = request.shape
    tokens = estimate(shape.texts, count_now, known, glances=glances, density=density)
    return Facts(
        endpoint=endpoint,
        needs=request.needs,
        tokens=shifted(tokens, request.ready_tokens) if request.ready_tokens else tokens,
        fixed_tokens=fixed_overhead(shape) if shape.messages else 0,
        messages=shape.messages,
        images=shape.images,
        max_output=request.max_output,
        choices=request.choices,
        task=orders.task or (_task(request) if tasks and endpoint == "chat" else "chat"),
        stream=request.stream,
        asked_model=request.model,
        models=request.models,
        path=path,
        max_cost_pico=orders.max_cost_pico,
        tier=request.tier,
        inputs=request.inputs,
        largest=_largest(request, count_now, known) if request.inputs > 1 else None,
        text_bytes=request.text_bytes,
        work=request.work,
    )


def _task(request: Request) -> Task:
    # What describes tools and the answer's form comes after the messages' texts.
    after = request.shape.tools + bool(request.needs & _FORM)
    return task_of(request.needs, request.shape.texts, len(request.shape.texts) - after)


def wholly(inbound: Inbound, request: Request, facts: Facts) -> tuple[Request, Facts]:
    """The request read to its last field, as a translation needs it, and facts that say what not every dialect can
    express.

    Raises:
        RouterError: ``invalid_request`` naming a field that cannot be read.
    """
    if inbound.hearing is None or request.conversation is not None:
        return request, facts
    said = inbound.hearing.understood(request)
    request = msgspec.structs.replace(request, conversation=said)
    native, needs = NATIVE.get(inbound.native, 0), facts.needs | said.wire.value
    return request, msgspec.structs.replace(facts, needs=needs, notes=said.notes, native=native)


def counted(facts: Facts, request: Request, counts: Sequence[int]) -> Facts:
    """The facts with the true counts of the request's texts, one for each."""
    return msgspec.structs.replace(
        facts,
        tokens=exactly(sum(counts) + request.ready_tokens),
        largest=None if facts.largest is None else exactly(max([request.longest_ready, *counts])),
    )


def _largest(
    request: Request, count_now: Callable[[str], int], known: Callable[[str], int | None] | None
) -> TokenRange:
    """The longest text stands for the largest: where that matters, all are counted in the end."""
    ready = exactly(request.longest_ready)
    longest = max(request.shape.texts, key=byte_length, default="")
    found = estimate([longest], count_now, known)
    return found if found.expected > ready.expected else ready
