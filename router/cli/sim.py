"""`costrouter sim`: the simulated providers as a process of their own."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8090, show_default=True, help="0 takes a free one.")
@click.option(
    "--catalog", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Folder of catalog files."
)
@click.option("--seed", default=1, show_default=True)
@click.option("--speed", default=1.0, show_default=True, help="Divides all waiting times; 0 means no waiting.")
@click.option("--batch-speed", default=60.0, show_default=True, help="How much faster than real time batches live.")
def sim(  # noqa: PLR0917 - click passes them by name
    host: str, port: int, catalog: Path | None, seed: int, speed: float, batch_speed: float
) -> None:
    """Play every provider of the catalog, each under its name: http://HOST:PORT/PROVIDER/v1."""
    from router.adapters.policies.files import packaged_policies_dir  # noqa: PLC0415 - `--help` should not load it
    from router.sim.server import run  # noqa: PLC0415 - as above

    folder = catalog or packaged_policies_dir() / "catalog"
    run(host, port, folder, seed=seed, speed=speed, batch_speed=batch_speed)
