"""`costrouter demo`: a few hundred prompts through a node, and what became of them.

Belongs here: sending with the official SDK, as an application would, and the table at the end. Does not belong here: any
figure of the node's own making: money comes from the ledger, and is held against the simulated providers' own bill.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from router.adapters.fleet.node_file import NodeFacts, running_node
from router.cli.client import ask_at
from router.cli.output import console
from router.cli.store import settings_or_fail
from router.core.money import PICO_PER_NANO, parse_usd, usd

if TYPE_CHECKING:
    import openai
    from rich.console import Console

START_S: Final = 30.0
SETTLED_S: Final = 15.0
"""How long rows may take to reach the ledger after the last answer."""
NAMED: Final = ("openai/gpt-4o-mini", "gpt-4o")
"""Asked for in every tenth prompt each, as applications do that have not heard of ``auto``."""
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Prompt(NamedTuple):
    """One of the demo's prompts, and what it asks for."""

    task: str
    text: str


class Answer(NamedTuple):
    """What the caller saw of one call."""

    model: str
    ttft_s: float
    """0 where it was not streamed."""
    total_s: float
    error: str = ""


class At(NamedTuple):
    """A node to send to."""

    url: str
    admin_key: str
    sim_url: str


def prompts() -> list[Prompt]:
    """The shipped prompts, the tasks mixed."""
    by_task: dict[str, list[Prompt]] = {}
    task = ""
    for line in resources.files("router.data").joinpath("demo_prompts.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            task = line[3:].strip()
        elif line and not line.startswith("#"):
            by_task.setdefault(task, []).append(Prompt(task, line))
    rounds = itertools.zip_longest(*by_task.values())
    return [prompt for one in rounds for prompt in one if prompt is not None]


@click.command()
@click.option("--requests", default=0, help="So many instead of every prompt once; they are repeated if need be.")
@click.option("--callers", default=16, show_default=True, type=click.IntRange(1, 256), help="At the same time.")
@click.option("--real", is_flag=True, help="Send to real providers, too: this costs money.")
def demo(requests: int, callers: int, *, real: bool) -> None:
    """Send a few hundred real prompts with the OpenAI SDK and show what they cost, saved, and took.

    They go to the node that runs here, or to one that is started for it. The exit status is 0 only if every request was
    answered and the ledger equals the simulated providers' bill.
    """
    if requests < 0:
        raise click.BadParameter("must be 1 or more", param_hint="--requests")
    try:
        import openai  # noqa: F401, PLC0415 - the proxy itself does without any provider's SDK
    except ImportError:
        raise click.ClickException("the demo sends with OpenAI's SDK: pip install openai") from None
    shown = console()
    with _node(shown) as at:
        if not at.sim_url and not real:
            raise click.ClickException(
                "the node here calls real providers, which costs money; --real says you want that"
            )
        known = prompts()
        wanted = list(itertools.islice(itertools.cycle(known), requests or len(known)))
        sys.exit(0 if _run(at, wanted, callers, shown) else 1)


@contextlib.contextmanager
def _node(shown: Console) -> Iterator[At]:
    settings = settings_or_fail()
    facts = running_node(settings.data_dir, settings.port)
    if facts is not None:
        admin = settings.admin_key.get_secret_value() if settings.admin_key else ""
        shown.print(f"to the node that runs on port {facts.port}")
        yield _at(facts, admin or (settings.data_dir / "admin.key").read_text().strip())
        return
    with tempfile.TemporaryDirectory(prefix="costrouter-demo-") as folder:
        shown.print("no node runs here, so one is started for the demo")
        environment = {
            **os.environ,
            "COSTROUTER_PORT": "0",
            "COSTROUTER_HOST": "127.0.0.1",
            "COSTROUTER_DATA_DIR": folder,
        }
        environment.pop("COSTROUTER_ADMIN_KEY", None)
        with (Path(folder) / "out").open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "router.cli", "serve"],
                env=environment,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
            )
        try:
            yield _started(process, Path(folder))
        finally:
            process.terminate()
            process.wait(60)


def _started(process: subprocess.Popen[bytes], folder: Path) -> At:
    bound = time.monotonic() + START_S
    while time.monotonic() < bound and process.poll() is None:
        for path in folder.glob("node-*.json"):
            facts = running_node(folder, int(path.stem.partition("-")[2]))
            if facts is not None:
                return _at(facts, (folder / "admin.key").read_text().strip())
        time.sleep(0.05)
    said = (folder / "out").read_text(errors="replace")[-2000:]
    raise click.ClickException(f"the node did not start:\n{said}")


def _at(facts: NodeFacts, admin_key: str) -> At:
    return At(f"http://127.0.0.1:{facts.port}", admin_key, facts.sim_url)


def _run(at: At, wanted: list[Prompt], callers: int, shown: Console) -> bool:
    tenant = "demo"
    made = ask_at(
        at.url, at.admin_key, "POST", "/costrouter/v1/keys", {"name": "demo", "tenant": tenant, "delegates": ["team"]}
    )
    bill, booked, good = _bill(at), _booked(at), _good(at)
    began = time.monotonic()
    with Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=shown
    ) as bar:
        task = bar.add_task("prompts", total=len(wanted))
        answers = asyncio.run(_send(at, made["key"], wanted, callers, lambda: bar.advance(task)))
    took = time.monotonic() - began
    billed, rows = _settled(at, bill, booked)
    spend = _spend(at, tenant, made["id"], "model")
    ask_at(at.url, at.admin_key, "DELETE", f"/costrouter/v1/keys/{made['id']}")
    failed = Counter(answer.error for answer in answers if answer.error)
    _show(shown, spend, answers, took, _good(at) - good)
    for what, times in failed.most_common():
        shown.print(f"[red]{times} times {what}[/red]")
    if at.sim_url:
        equal = billed == rows
        word = "[green]equal[/green]" if equal else "[red]NOT EQUAL[/red]"
        shown.print(f"ledger ${usd(rows)}, providers' bill ${usd(billed)}: {word}")
        return equal and not failed
    return not failed


async def _send(at: At, key: str, wanted: list[Prompt], callers: int, done: Any) -> list[Answer]:
    import openai  # noqa: PLC0415 - as above

    answers: list[Answer] = []
    queue = iter(enumerate(wanted))
    async with openai.AsyncOpenAI(base_url=f"{at.url}/v1", api_key=key, max_retries=2) as sdk:

        async def caller() -> None:
            for number, prompt in queue:
                model = NAMED[number % 2] if number % 5 == 0 else "auto"
                try:
                    answers.append(await _ask(sdk, model, prompt, streamed=number % 4 != 0))
                except openai.APIError as error:
                    answers.append(Answer("", 0, 0, f"{type(error).__name__}: {error}"[:300]))
                done()

        await asyncio.gather(*(caller() for _ in range(callers)))
    return answers


async def _ask(sdk: openai.AsyncOpenAI, model: str, prompt: Prompt, *, streamed: bool) -> Answer:
    headers = {"x-costrouter-team": prompt.task}
    messages: Any = [{"role": "user", "content": prompt.text}]
    began = time.monotonic()
    calls = sdk.chat.completions.with_raw_response
    if not streamed:
        raw = await calls.create(model=model, messages=messages, extra_headers=headers)
        return Answer(raw.headers["x-costrouter-model"], 0, time.monotonic() - began)
    raw_stream = await calls.create(model=model, messages=messages, stream=True, extra_headers=headers)
    first = 0.0
    async for chunk in raw_stream.parse():
        if not first and chunk.choices:
            first = time.monotonic() - began
    return Answer(raw_stream.headers["x-costrouter-model"], first, time.monotonic() - began)


def _bill(at: At) -> int:
    if not at.sim_url:
        return 0
    with _DIRECT.open(f"{at.sim_url}/_sim/bill", timeout=30) as response:
        return int(json.load(response)["total"]["nano"])


def _booked(at: At) -> int:
    """Nano-dollars in the ledger, of everybody: the bill, too, is everybody's."""
    return int(_ask_spend(at, "tenant=*&group_by=tenant")["total"]["cost_nano"])


def _settled(at: At, bill: int, booked: int) -> tuple[int, int]:
    """What both have grown by, once they agree or have had their time."""
    bound = time.monotonic() + SETTLED_S
    while True:
        billed, rows = _bill(at) - bill, _booked(at) - booked
        if billed == rows or time.monotonic() > bound:
            return billed, rows
        time.sleep(0.2)


def _good(at: At) -> int:
    """Answers within the time limits of their rules, since ever. Workers tell each other once a second."""
    time.sleep(1.5)
    with _DIRECT.open(f"{at.url}/metrics", timeout=30) as response:
        text = response.read().decode()
    return int(sum(float(value) for value in re.findall(r"^costrouter_good_total\{.*\} (\S+)$", text, re.MULTILINE)))


def _spend(at: At, tenant: str, key: str, by: str) -> dict[str, Any]:
    return _ask_spend(at, f"tenant={tenant}&key={key}&group_by={by}")


def _ask_spend(at: At, query: str) -> dict[str, Any]:
    return ask_at(at.url, at.admin_key, "GET", f"/costrouter/v1/spend?{query}")


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def _show(shown: Console, spend: dict[str, Any], answers: list[Answer], took: float, good: int) -> None:
    total = spend["total"]
    served = [answer for answer in answers if not answer.error]
    first = [answer.ttft_s for answer in served if answer.ttft_s]
    tokens = total["prompt_tokens"] + total["completion_tokens"]
    baseline, cost = parse_usd(total["baseline_cost_usd"]) // PICO_PER_NANO, int(total["cost_nano"])
    saved = baseline - cost
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    share = f"{100 * saved / baseline:.1f} %" if baseline else "-"
    for name, value in (
        ("requests", f"{len(answers):,}"),
        ("tokens", f"{tokens:,}"),
        ("cost", f"${usd(cost)}"),
        ("baseline", f"${usd(baseline)}"),
        ("saving", f"${usd(saved)} ({share})"),
        ("goodput", f"{good / took:.1f}/s ({100 * good / max(1, len(answers)):.1f} % within their limits)"),
        ("TTFT p50 / p95", f"{1000 * _quantile(first, 0.5):,.0f} / {1000 * _quantile(first, 0.95):,.0f} ms"),
    ):
        table.add_row(name, value)
    shown.print(table)
    where = Table(box=None, pad_edge=False, header_style="bold")
    where.add_column("where they went")
    for name in ("requests", "tokens", "$"):
        where.add_column(name, justify="right")
    for line in sorted(spend["data"], key=lambda line: -line["requests"]):
        where.add_row(
            line["model"],
            f"{line['requests']:,}",
            f"{line['prompt_tokens'] + line['completion_tokens']:,}",
            line["cost_usd"],
        )
    shown.print(where)
