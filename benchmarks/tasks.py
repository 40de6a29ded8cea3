"""How well the task of a prompt is told: confusion matrices, and what it costs.

    python benchmarks/tasks.py                       the prompts of task_prompts.jsonl, written for this by hand
    python benchmarks/tasks.py --labels DIR          also mmlu.jsonl.gz and gsm8k.jsonl.gz of DIR ({id, prompt, group})

Of DIR, groups that are a task for certain are used: mathematics and statistics as maths, logic and moral scenarios as
reasoning, and knowledge without sums as chat. Words and weights of router/core/statistics/task.py were chosen on prompts whose id has
an even CRC-32; only the others are counted here.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
import zlib
from collections import Counter
from pathlib import Path

from router.core.catalog.catalog import TASKS
from router.core.statistics.task import task_of
from router.core.values import Needs

_MATHS = (
    "abstract_algebra college_mathematics elementary_mathematics high_school_mathematics high_school_statistics gsm8k"
)
_REASONING = "formal_logic logical_fallacies moral_scenarios"
_UNCERTAIN = (
    "conceptual_physics high_school_physics college_physics high_school_chemistry college_chemistry electrical_engineering "
    "econometrics professional_accounting college_computer_science high_school_computer_science machine_learning "
    "astronomy moral_disputes philosophy"
)
Pairs = list[tuple[str, str]]
"""(what it is, what it is taken for)."""


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--wrong", action="store_true", help="print each prompt that was taken for something else")
    arguments = parser.parse_args()
    for title, held in (("written by hand, seen while words were chosen", False), ("written by hand, held out", True)):
        _show(title, _by_hand(held=held, wrong=arguments.wrong))
    if arguments.labels:
        _show("labels, held out", _labelled(arguments.labels))
    print("\nmicroseconds a prompt, best of 7 rounds")
    for size in (200, 1_000, 50_000):
        print(f"  {size:>6} characters {_cost(size):6.1f}")


def _by_hand(*, held: bool, wrong: bool) -> Pairs:
    found: Pairs = []
    for line in (Path(__file__).parent / "task_prompts.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row.get("held", False) is not held:
            continue
        bits = Needs.CHAT
        for key, need in (("tools", Needs.TOOLS), ("image", Needs.VISION), ("json", Needs.JSON_SCHEMA)):
            bits |= need if row.get(key) else 0
        texts = [text for text in (row.get("system"), row["prompt"] * row.get("repeat", 1)) if text]
        task = task_of(bits.value, texts, len(texts))
        found.append((row["task"], task))
        if wrong and task != row["task"]:
            print(f"{row['task']} taken for {task}: {row['prompt'][:150]!r}")
    return found


def _labelled(folder: Path) -> Pairs:
    found: Pairs = []
    maths, reasoning, uncertain = (set(groups.split()) for groups in (_MATHS, _REASONING, _UNCERTAIN))
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt") as lines:
            for row in map(json.loads, lines):
                group = row["group"]
                if group in uncertain or zlib.crc32(row["id"].encode()) % 2 == 0:
                    continue
                true = "maths" if group in maths else "reasoning" if group in reasoning else "chat"
                found.append((true, task_of(Needs.CHAT.value, [row["prompt"]], 1)))
    return found


def _show(title: str, pairs: Pairs) -> None:
    counts = Counter(pairs)
    right = sum(count for (true, taken), count in counts.items() if true == taken)
    print(f"\n{title}: {right} of {len(pairs)} ({right / len(pairs):.1%})")
    columns = [task for task in TASKS if any(pair[1] == task for pair in counts)]
    print("".join(["is \\ taken for".ljust(16), *(task[:8].rjust(9) for task in columns), "   recall"]))
    for true in TASKS:
        row = [counts[true, taken] for taken in columns]
        if sum(row):
            print(
                "".join(
                    [true.ljust(16), *(str(count).rjust(9) for count in row), f"{counts[true, true] / sum(row):9.0%}"]
                )
            )
    taken_for = [sum(counts[true, taken] for true in TASKS) for taken in columns]
    shares = [counts[taken, taken] / total for taken, total in zip(columns, taken_for, strict=True)]
    print("".join(["precision".ljust(16), *(f"{share:9.0%}" for share in shares)]))


def _cost(size: int) -> float:
    words = "please tell me what you think of the new plan for our garden and why it may not work in a dry year "
    prompts = [f"{number} {words * (size // len(words) + 1)}"[:size] for number in range(200)]
    best = float("inf")
    for _ in range(7):
        start = time.perf_counter()
        for prompt in prompts:
            task_of(1, (prompt,), 1)
        best = min(best, time.perf_counter() - start)
    return best / len(prompts) * 1e6


if __name__ == "__main__":
    main()
