"""costrouter as a user starts it, with twenty candidates over four providers, all of them the benchmark's upstream.

Belongs here: its files and environment, starting, finding its processes, comparing its books. Does not belong here:
load and figures.
"""

import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from parts.processes import BenchError, children, free_port, move, name_of, start, stop, tail
from parts.proxies import Place, Proxy

from router.core.values import CAPABILITIES

PROVIDERS, MODELS_EACH = 4, 5
KEY = "bench-key-0123456789abcdef0123456789abcdef"
ADMIN_KEY = "bench-admin-0123456789abcdef0123456789abcdef"
BUDGETS = (
    {"scope": {}, "period": "total", "hard": True},
    {"scope": {}, "period": "month", "hard": True},
    {"scope": {"key": "dev"}, "period": "day", "hard": True, "rolling": True},
    {"scope": {"key": "dev"}, "period": "hour", "hard": False},
)
"""Every request falls under all four of them; they have room for all."""
BOOKED_S = 5.0
"""How long the last rows may take to reach the store."""
_START_S = 60.0
_POLL_S = 0.002
_MEDIA = {"embeddings", "vision", "audio_in", "audio_out", "files"}
_PROVENANCE = 'source: "made up for the benchmark", '
_POLICY = """\
version: 1
policy: default
mode: live
candidates: {include: ["*"]}
rules:
  - name: any
    require: {quality: "0.70", confidence: "90%", ttft: "p95 <= 5s"}
when_nothing_fits: [refuse]
"""


@dataclass(frozen=True)
class Node:
    """A running costrouter."""

    port: int
    supervisor: int
    workers: list[int]
    store: list[int]


def costrouter(stack: ExitStack, place: Place) -> Proxy:
    """One worker on the proxy's core, its store on the other."""
    node = serve(stack, place, place.directory / "costrouter")
    watched = {"proxy": node.workers, "store": node.store}
    return Proxy(
        "costrouter",
        node.port,
        watched,
        KEY,
        log=place.directory / "costrouter" / "serve.log",
        check=lambda sent: _compare(node.port, sent),
    )


def serve(
    stack: ExitStack,
    place: Place,
    directory: Path,
    *,
    workers: int = 1,
    files: Callable[[Path, int], None] | None = None,
) -> Node:
    """`costrouter serve` in a new directory, answering. ``files`` writes another policy and catalog than the usual one.

    Raises:
        BenchError: it is not installed, or does not answer.
    """
    (files or prepare)(directory, place.upstream)
    port = free_port()
    log = directory / "serve.log"
    process = start(stack, command(), place.proxy_core, log=log, env=environment(directory, port, workers))
    await_answer(port, log, process)
    set_budgets(port)
    below = children(process.pid)
    store = [pid for pid in below if name_of(pid).startswith(("valkey", "redis"))]
    if not store:
        raise BenchError("The embedded store is not among costrouter's processes.")
    for pid in store:
        move(pid, place.other_core)
    move(process.pid, place.other_core)
    return Node(port, process.pid, [pid for pid in below if pid not in store], store)


def cold_start(place: Place, directory: Path) -> float:
    """Seconds from the exec of `costrouter serve` to its first answered prompt, with both cores and a new data directory."""
    prepare(directory, place.upstream)
    port = free_port()
    log = directory / "serve.log"
    with ExitStack() as stack:
        began = time.perf_counter()
        process = start(
            stack, command(), {place.proxy_core, place.other_core}, log=log, env=environment(directory, port)
        )
        await_answer(port, log, process)
        took = time.perf_counter() - began
        stop(process)
    return took


def command() -> list[str]:
    """The command that a user types, of the environment that runs the benchmark.

    Raises:
        BenchError: it is not installed.
    """
    script = Path(sys.executable).with_name("costrouter")
    if not script.exists():
        raise BenchError("The command costrouter is not installed beside this Python; `make bench` installs it.")
    return [str(script), "serve"]


def environment(directory: Path, port: int, workers: int = 1) -> dict[str, str]:
    """Nothing of the user's settings, and what the benchmark needs."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "BENCH_KEY": "upstream-key",
        "COSTROUTER_PORT": str(port),
        "COSTROUTER_WORKERS": str(workers),
        "COSTROUTER_DATA_DIR": str(directory / "data"),
        "COSTROUTER_POLICIES": str(directory / "policies"),
        "COSTROUTER_SIM": "false",
        "COSTROUTER_DEV_KEY": KEY,
        "COSTROUTER_ADMIN_KEY": ADMIN_KEY,
    }


def prepare(directory: Path, upstream: int) -> None:
    """Write the policy and a catalog of twenty candidates."""
    catalog = _folders(directory)
    for provider in range(PROVIDERS):
        models = "".join(_model(provider + PROVIDERS * number) for number in range(MODELS_EACH))
        _provider(catalog, f"bench{provider}", "openai", upstream, models)


def prepare_dialects(directory: Path, upstream: int) -> None:
    """Write the policy and a catalog of one model at a provider of each dialect, called as the dialect is."""
    catalog = _folders(directory)
    for dialect in ("openai", "anthropic", "gemini"):
        _provider(catalog, dialect, dialect, upstream, _model(0))


def _folders(directory: Path) -> Path:
    catalog = directory / "policies" / "catalog"
    catalog.mkdir(parents=True)
    (directory / "policies" / "default.yaml").write_text(_POLICY)
    return catalog


def _provider(catalog: Path, name: str, dialect: str, upstream: int, models: str) -> None:
    (catalog / f"{name}.yaml").write_text(
        f"version: 1\nprovider: {name}\nname: Bench {name}\n"
        f"base_url: http://127.0.0.1:{upstream}/v1\nkey_env: BENCH_KEY\ndialect: {dialect}\n"
        f"bills_after_disconnect: true\nmodels:\n{models}"
    )


def _model(rank: int) -> str:
    # Dearer models are better and slower, and the dearness of output varies, as it does among real ones.
    price = 0.010 * 1.3**rank
    output = price * (3 + rank % 5)
    return f"""\
  - id: bench/model-{rank}
    upstream: bench-model-{rank}
    context_window: 2000000
    max_output: 32768
    tokenizer: o200k_base
    token_ratio: "{1 + rank % 3 / 20:.2f}"
    capabilities: [{", ".join(CAPABILITIES.keys() - _MEDIA)}]
    tags: [chat]
    weights: closed
    quality:
      chat: {{score: "{0.760 + rank / 100:.3f}", sd: "0.02", {_PROVENANCE}date: 2026-01-01}}
    latency: {{ttft_p50_ms: {200 + 20 * rank}, ttft_p95_ms: {500 + 40 * rank}, tpot_ms: {5 + rank}, {_PROVENANCE}date: 2026-01-01}}
    output: {{mean: 200, p90: 600}}
    prices:
      - {{valid_from: 2025-01-01, input: "{price:.4f}", output: "{output:.4f}", {_PROVENANCE}checked: 2026-01-01}}
"""


def await_answer(port: int, log: Path, process, key: str = KEY) -> None:
    """Return once a prompt is answered with 200.

    Raises:
        BenchError: the process ended, or no such answer within a minute; with the end of its log.
    """
    body = b'{"model":"auto","messages":[{"role":"user","content":"Are you there?"}],"max_tokens":8}'
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", body, headers)
    said = "nothing"
    bound = time.monotonic() + _START_S
    while process.poll() is None and time.monotonic() < bound:
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                answer.read()
                return
        except urllib.error.HTTPError as error:
            said = f"{error.code}: {error.read()[:600].decode(errors='replace')}"
        except OSError:
            time.sleep(_POLL_S)
    raise BenchError(f"{Path(process.args[0]).name} does not answer (it said {said}); the end of its log:\n{tail(log)}")


def set_budgets(port: int) -> None:
    """Have every request held against four budgets, and rows charge them."""
    for budget in BUDGETS:
        body = json.dumps({**budget, "limit_usd": "1000000"}).encode()
        headers = {"authorization": f"Bearer {ADMIN_KEY}", "content-type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{port}/costrouter/v1/budgets", body, headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()


def booked(port: int) -> int:
    """Attempts in its ledger, all keys and outcomes together."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/costrouter/v1/spend", headers={"authorization": f"Bearer {ADMIN_KEY}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return int(json.load(answer)["total"]["requests"])


def _compare(port: int, sent: int) -> None:
    # One request more than the load generator's: the one that waited for its start.
    expected = sent + 1
    found = -1
    bound = time.monotonic() + BOOKED_S
    while time.monotonic() < bound:
        with suppress(OSError):
            found = booked(port)
        if found == expected:
            return
        time.sleep(0.02)
    raise BenchError(f"The ledger has {found} requests, {expected} were sent.")
