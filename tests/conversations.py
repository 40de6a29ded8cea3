"""Random conversations, answers and streams in neutral form, as far as a dialect can express them."""

import json

from hypothesis import strategies as st

from router.core.values import Usage
from router.dialects.neutral import (
    Answer,
    Conversation,
    Format,
    Media,
    Text,
    Thought,
    Tool,
    ToolResult,
    ToolUse,
    Turn,
)

WORDS = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=20)
NAMES = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)
OBJECTS = st.dictionaries(NAMES, st.integers(-9, 9) | WORDS | st.lists(st.booleans(), max_size=3), max_size=3)
JSON = OBJECTS.map(lambda found: json.dumps(found, separators=(",", ":"), ensure_ascii=False))
SCHEMAS = st.fixed_dictionaries({"type": st.just("object"), "properties": st.just({"n": {"type": "integer"}})}).map(
    lambda found: json.dumps(found, separators=(",", ":"))
)
TEXTS = WORDS.map(Text)
PICTURES = st.just(Media("image", mime="image/png", data="iVBORw0KGgo="))
PAPERS = WORDS.map(lambda name: Media("file", mime="application/pdf", data="JVBERi0=", name=name))
LINKS = st.just(Media("image", url="https://example.org/cat.png"))


def kept(strategy, draws):
    return st.builds(lambda found, keep: type(found)(**{f: getattr(found, f) for f in found.__struct_fields__} | {"kept": keep}), strategy, draws)  # fmt: skip


@st.composite
def conversations(draw, *, messages, stops=True):
    """A conversation that ends with the user; ``messages``: with what only Anthropic's Messages keep."""
    keeps = st.sampled_from(["", "5m", "1h"]) if messages else st.just("")
    turns, number = [], 0
    for _ in range(draw(st.integers(0, 3))):
        turns.append(
            Turn("user", tuple(draw(st.lists(kept(TEXTS | PICTURES | PAPERS | LINKS, keeps), min_size=1, max_size=3))))
        )
        calls = []
        for _ in range(draw(st.integers(0, 2))):
            number += 1
            calls.append(ToolUse(f"call_{number}", draw(NAMES), draw(JSON), draw(keeps)))
        thoughts = [Thought(draw(WORDS), draw(WORDS))] if messages and draw(st.booleans()) else []
        said = [draw(kept(TEXTS, keeps))] if draw(st.booleans()) or not calls else []
        turns.append(Turn("assistant", (*thoughts, *said, *calls)))
        if calls:
            bad = st.booleans() if messages else st.just(False)
            content = st.lists(kept(TEXTS, keeps), max_size=2).map(tuple)
            results = [ToolResult(call.id, draw(content), draw(bad), draw(keeps)) for call in calls]
            last = [draw(kept(TEXTS, keeps))] if draw(st.booleans()) else []
            turns.append(Turn("user", (*results, *last)))
            break
    if not turns or turns[-1].role == "assistant":
        turns.append(Turn("user", tuple(draw(st.lists(kept(TEXTS, keeps), min_size=1, max_size=2)))))
    names = draw(st.lists(NAMES, max_size=2, unique=True))
    tools = tuple(
        Tool(name, draw(st.just("") | WORDS), draw(SCHEMAS), draw(st.booleans()), draw(keeps)) for name in names
    )
    choice = draw(st.sampled_from(["", "auto", "none", "required", "tool"])) if tools else ""
    one = choice not in ("", "none") and draw(st.booleans())
    form = draw(st.none() | SCHEMAS.map(lambda schema: Format(schema=schema)))
    if form is not None and not messages:
        form = Format(
            schema=form.schema, name=draw(NAMES), description=draw(st.just("") | WORDS), strict=draw(st.booleans())
        )
    temperature = draw(st.none() | st.sampled_from([0, 0.25, 0.5]))
    return Conversation(
        system=tuple(draw(st.lists(kept(TEXTS, keeps), max_size=2))),
        turns=tuple(turns),
        tools=tools,
        choice=choice,
        tool_name=names[0] if choice == "tool" else "",
        one_tool=one,
        format=form,
        stops=tuple(draw(st.lists(WORDS, max_size=3, unique=True))) if stops else (),
        temperature=temperature,
        top_p=draw(st.none() | st.just(0.5)) if temperature is None else None,
        user=draw(st.just("") | NAMES),
    )


USAGES = st.builds(
    lambda fresh, read, written, hour, said, thought: Usage(
        prompt_tokens=fresh + read + written + hour,
        completion_tokens=said + thought,
        cached_tokens=read,
        cache_write_tokens=written + hour,
        reasoning_tokens=thought,
        cache_write_1h_tokens=hour,
    ),
    *[st.integers(0, 10_000)] * 6,
)


@st.composite
def answers(draw, *, signed):
    """A whole answer: thoughts, then words, then calls."""
    thoughts = [Thought(draw(WORDS), draw(WORDS) if signed else "")] if draw(st.booleans()) else []
    texts = [Text(draw(WORDS))] if draw(st.booleans()) else []
    calls = [ToolUse(f"call_{n}", draw(NAMES), draw(JSON)) for n in range(draw(st.integers(0, 2)))]
    if not (texts or calls):
        texts = [Text(draw(WORDS))]
    finish = "tools" if calls else draw(st.sampled_from(["stop", "length", "refusal"]))
    return Answer(
        id=draw(NAMES), model=draw(NAMES), blocks=(*thoughts, *texts, *calls), finish=finish, usage=draw(USAGES)
    )
