import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.catalog.catalog import TASKS
from router.core.statistics.task import HEAD, LONG_CHARS, TAIL, task_of
from router.core.values import Needs

CHAT = Needs.CHAT.value
PROMPTS = Path(__file__).parents[3] / "benchmarks" / "task_prompts.jsonl"


def told(*texts, needs=0, messages=None):
    return task_of(CHAT | int(needs), texts, len(texts) if messages is None else messages)


@pytest.mark.parametrize(
    ("needs", "task"),
    [
        (Needs.VISION, "vision"),
        (Needs.VISION | Needs.TOOLS, "vision"),
        (Needs.TOOLS, "tools"),
        (Needs.TOOLS | Needs.JSON_SCHEMA, "tools"),
        (Needs.JSON_SCHEMA, "extraction"),
        (Needs.JSON_OBJECT, "extraction"),
    ],
)
def test_shape_counts_more_than_words(needs, task):
    assert told("Write a Python function that sorts a list.", needs=needs) == task


def test_a_prompt_of_a_book_is_long_context_whatever_it_asks_for():
    chapter = "The committee met again and heard the next witness. "
    assert told(chapter * (LONG_CHARS // len(chapter) + 1), needs=Needs.JSON_SCHEMA) == "long_context"
    turns = [chapter * 500] * 5
    assert told(*turns) == "long_context"
    assert told(*turns[:2]) == "chat"


@pytest.mark.parametrize(
    ("text", "task"),
    [
        ("Write a Python function that merges intervals.", "code"),
        ("Look at this:\n```\nx\n```", "code"),
        ("What does this print?\n    x += 1\n    y -= 1", "code"),
        ("Solve for x: 3x^2 - 12x + 9 = 0", "maths"),
        ("Tom has 3 boxes with 12 apples each. How many are left if he gives away 7?", "maths"),
        ("Summarize the following article in three sentences.", "summarisation"),
        ("Extract all company names from this text.", "extraction"),
        ("Translate to French: the invoice is due.", "multilingual"),
        ("Как приготовить борщ?", "multilingual"),
        ("Wie beantrage ich einen Reisepass, und was kostet er?", "multilingual"),
        ("Is this argument valid? All roses are flowers. Can we conclude that some fade?", "reasoning"),
        ("What should I cook tonight?", "chat"),
        ("", "chat"),
        ("Zoë and René met at a café.", "chat"),
    ],
)
def test_words_tell(text, task):
    assert told(text) == task


def test_the_last_message_counts_and_the_first_where_it_is_another():
    assert told("You write summaries for agents.", "Customer: it did not come. Agent: tomorrow.") == "summarisation"
    assert told("Summarize this article.", "Thanks! And what should I cook tonight?", "Soup.") == "summarisation"
    assert told("Hello!", "Hi.", "Write a Python script, please.") == "code"


def test_what_comes_after_the_messages_is_not_looked_at():
    tools = json.dumps({"name": "run_python", "description": "python sql javascript"})
    assert told("What is new?", tools, messages=1) == "chat"
    assert told("What is new?", tools) == "code"


def test_a_long_text_is_looked_at_where_it_starts_and_where_it_ends():
    filler = "and so on " * 500
    assert told("Translate to French. " + filler) == "multilingual"
    assert told(filler + "Translate to French.") == "multilingual"
    assert told(filler + "Translate to French." + filler) == "chat"


def test_few_words_convince_in_a_short_text_only():
    assert told("List three labels.") == "extraction"
    assert told("My aunt came by. " * 10 + "She brought labels.") == "chat"


def test_no_words_is_chat():
    assert task_of(CHAT, (), 0) == "chat"


@given(st.lists(st.text(max_size=HEAD + TAIL + 50), max_size=4), st.integers(0, 32_767), st.integers(0, 5))
def test_any_text_has_a_task(texts, needs, messages):
    assert task_of(needs, texts, messages) in TASKS
    assert task_of(needs, texts, messages) == task_of(needs, list(texts), messages)


def test_most_prompts_written_by_hand_are_told_and_hardly_any_is_taken_for_work_that_it_is_not():
    wrong = right = 0
    for row in map(json.loads, PROMPTS.read_text().splitlines()):
        texts = [text for text in (row.get("system"), row["prompt"] * row.get("repeat", 1)) if text]
        shape = {"tools": Needs.TOOLS, "image": Needs.VISION, "json": Needs.JSON_SCHEMA}
        needs = sum(int(need) for key, need in shape.items() if row.get(key))
        task = told(*texts, needs=needs)
        right += task == row["task"]
        wrong += task not in {row["task"], "chat"}
    assert right >= 125
    assert wrong <= 3
