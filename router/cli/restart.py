"""`costrouter restart`: new workers for old ones, without a refused connection."""

from __future__ import annotations

import os
import signal
import time

import click

from router.adapters.fleet.node_file import NodeFacts, running_node
from router.cli.store import settings_or_fail

WAIT_S = 120.0


@click.command()
def restart() -> None:
    """Let the running node read policies and provider keys anew. Workers are replaced one by one, each while it still
    serves; where what was read cannot work, the old ones go on.
    """
    settings = settings_or_fail()
    before = running_node(settings.data_dir, settings.port)
    if before is None:
        raise click.ClickException(
            f"no node serves on port {settings.port} from {settings.data_dir}; "
            "set COSTROUTER_PORT and COSTROUTER_DATA_DIR to those of the node"
        )
    os.kill(before.pid, signal.SIGUSR2)
    now = _after(before)
    if now.fault:
        raise click.ClickException(f"the node goes on as it was: {now.fault}")
    click.echo("restarted")


def _after(before: NodeFacts) -> NodeFacts:
    settings = settings_or_fail()
    bound = time.monotonic() + WAIT_S
    while time.monotonic() < bound:
        now = running_node(settings.data_dir, settings.port)
        if now is None:
            raise click.ClickException("the node has ended")
        if now.restarts > before.restarts:
            return now
        time.sleep(0.05)
    raise click.ClickException(f"the node has not restarted within {WAIT_S:.0f} s; its log says why")
