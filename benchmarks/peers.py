"""costrouter beside LiteLLM's proxy, from its package, on the same load and upstream. `make bench-peers` runs it.

The package goes into a virtual environment of its own below benchmarks/.peers, never into the project's. Nothing is
configured but one model: no database, no budget, no router strategy.
"""

import argparse
import os
import secrets
import shutil
import subprocess
import sys
import venv
from contextlib import ExitStack
from pathlib import Path

from parts import proxies
from parts.costrouter import await_answer, costrouter
from parts.processes import BenchError, free_port, machine, start, tail
from parts.proxies import Place, Proxy, SkippedError
from parts.report import show
from request_path import SCENARIOS, Bench

PACKAGE = "litellm[proxy]==1.106.2"
HOME = Path(__file__).with_name(".peers")
INSTALL_S = 900
WANTED = {"small-1", "small-16", "small-64", "large-64", "stream-64"}
ALTERNATIONS, SECONDS = 3, 1.5


def litellm(stack: ExitStack, place: Place) -> Proxy:
    """LiteLLM's proxy with one worker.

    Raises:
        SkippedError: its package cannot be installed here.
        BenchError: it is installed and does not serve.
    """
    program = _installed()
    port = free_port()
    folder = place.directory / "litellm"
    folder.mkdir()
    configuration = folder / "config.yaml"
    key = f"sk-{secrets.token_hex(8)}"
    configuration.write_text(
        "model_list:\n"
        "  - model_name: auto\n"
        "    litellm_params:\n"
        f"      {{model: openai/bench-model, api_base: 'http://127.0.0.1:{place.upstream}/v1', api_key: upstream-key}}\n"
        f"general_settings: {{master_key: {key}}}\n"
        "litellm_settings: {telemetry: false, num_retries: 0}\n"
    )
    environment = {
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
    }
    command = [
        str(program),
        "--config",
        str(configuration),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--num_workers",
        "1",
    ]
    log = folder / "litellm.log"
    process = start(stack, command, place.proxy_core, log=log, env=environment)
    await_answer(port, log, process, key)
    return Proxy("litellm", port, {"proxy": [process.pid]}, key, patience=6.0, log=log)


def _installed() -> Path:
    """The installed command; installs it the first time."""
    home = HOME / PACKAGE.partition("[")[0]
    program = home / "bin" / "litellm"
    marker = home / PACKAGE.rpartition("=")[2]
    if marker.exists():
        return program
    print(f"installing {PACKAGE} below {HOME.name} (about 250 MB, once) …", flush=True)
    shutil.rmtree(home, ignore_errors=True)
    log = HOME / "install.log"
    HOME.mkdir(exist_ok=True)
    try:
        venv.create(home, with_pip=True)
        with log.open("w") as sink:
            subprocess.run(
                [home / "bin" / "python", "-m", "pip", "install", "--quiet", PACKAGE],
                check=True,
                timeout=INSTALL_S,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
    except (subprocess.SubprocessError, OSError):
        raise SkippedError(f"{PACKAGE} could not be installed: {tail(log, 300)}") from None
    marker.touch()
    return program


def main() -> int:
    """Run; the exit status is 1 when something failed, not when a peer is missing."""
    parser = argparse.ArgumentParser(description="Measure costrouter beside LiteLLM's proxy.")
    parser.add_argument("--quick", action="store_true", help="one alternation: for development")
    options = parser.parse_args()
    print(machine())
    table = {"direct": proxies.direct, "bare": proxies.bare, "costrouter": costrouter, "litellm": litellm}
    scenarios = [scenario for scenario in SCENARIOS if scenario.name in WANTED]
    try:
        with ExitStack() as stack:
            bench = Bench(stack, table)
            bench.alternate(scenarios, 1 if options.quick else ALTERNATIONS, SECONDS)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    show(bench.runs, [], bench.skipped)
    return 0


if __name__ == "__main__":
    sys.exit(main())
