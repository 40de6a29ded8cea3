"""`costrouter broker`: a node that looks after jobs and answers nobody."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from router.cli.loading import load_libraries

if TYPE_CHECKING:
    from router.plan import Plan


@click.command()
def broker() -> None:
    """Look after jobs until interrupted, and serve nothing but health and metrics.

    Settings come from COSTROUTER_* variables, as for serve. COSTROUTER_PORT is a free one of this machine where unset, so
    that it may stand beside a node that serves.
    """
    load_libraries()
    from router.adapters.store.embedded import EmbeddedStoreError  # noqa: PLC0415 - `--help` should not load the server
    from router.settings import SettingsError, read_settings  # noqa: PLC0415 - as above
    from router.supervisor import Supervisor  # noqa: PLC0415 - as above

    try:
        alone = {"serves": False, "broker": True} | ({} if os.environ.get("COSTROUTER_PORT") else {"port": 0})
        settings = read_settings(os.environ).model_copy(update=alone)
        status = Supervisor(settings, announce).run()
    except (SettingsError, EmbeddedStoreError) as error:
        click.echo(f"costrouter cannot start: {error}", err=True)
        status = 2
    sys.exit(status)


def announce(plan: Plan) -> None:
    """Say what it does, and where its health is told."""
    for warning in (*plan.warnings, *plan.policies.reasons):
        click.echo(f"warning: {warning}", err=True)
    place = f"http://{plan.settings.host}:{plan.port}"
    click.echo(f"costrouter looks after jobs; {place}/readyz and {place}/metrics tell how it is")
