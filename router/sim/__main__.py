"""``python -m router.sim --catalog DIR``: the simulated providers from the command line. Only reads arguments."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from router.sim.catalog import CatalogError
from router.sim.server import BATCH_SPEED, run


def main() -> int:
    """Exit status: 0 after a signal, 2 when it cannot start."""
    parser = argparse.ArgumentParser(prog="python -m router.sim", description="Simulated LLM providers.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8090, help="0 takes a free port (8090)")
    parser.add_argument("--socket", type=int, help="descriptor of a listening socket, instead of host and port")
    parser.add_argument("--catalog", type=Path, required=True, help="folder of catalog files")
    parser.add_argument("--seed", type=int, default=1, help="contents, latencies and random faults follow from it (1)")
    parser.add_argument(
        "--speed", type=float, default=1.0, help="divides every waiting time; 0 waits for nothing (1.0)"
    )
    parser.add_argument(
        "--batch-speed", type=float, default=BATCH_SPEED, help=f"how much faster batches live ({BATCH_SPEED:g})"
    )
    asked = parser.parse_args()
    try:
        run(
            asked.host,
            asked.port,
            asked.catalog,
            socket=asked.socket,
            seed=asked.seed,
            speed=asked.speed,
            batch_speed=asked.batch_speed,
        )
    except (CatalogError, OSError) as error:
        sys.stderr.write(f"sim: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
