"""`costrouter serve`: the banner and the supervisor."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from router.cli.loading import load_libraries

if TYPE_CHECKING:
    from router.plan import Plan


@click.command()
def serve() -> None:
    """Serve until interrupted. Settings come from COSTROUTER_* variables."""
    from router.settings import SettingsError, read_settings  # noqa: PLC0415 - `--help` should not load the server

    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        sys.exit(_cannot_start(error))
    load_libraries()
    from router.adapters.store.embedded import EmbeddedStoreError  # noqa: PLC0415 - nor should a slip in a setting
    from router.supervisor import Supervisor  # noqa: PLC0415 - as above

    try:
        sys.exit(Supervisor(settings, announce).run())
    except (SettingsError, EmbeddedStoreError) as error:
        sys.exit(_cannot_start(error))


def _cannot_start(error: Exception) -> int:
    click.echo(f"costrouter cannot start: {error}", err=True)
    return 2


def announce(plan: Plan) -> None:
    """Say where and how to use the node."""
    host = "127.0.0.1" if plan.settings.host in ("0.0.0.0", "::") else plan.settings.host  # noqa: S104 - shown, not bound
    base = f"http://{f'[{host}]' if ':' in host else host}:{plan.port}/v1"
    key = plan.dev_key or "YOUR_KEY"
    for warning in (*plan.warnings, *plan.policies.reasons):
        click.echo(f"warning: {warning}", err=True)
    providers = ", ".join(sorted(plan.links))
    what = (
        "SIMULATED, no provider key was found: no call leaves this machine, no money is spent"
        if plan.simulated
        else "real"
    )
    click.echo(
        f"""costrouter serves {base}
  providers  {what}
             {providers}
  policies   {", ".join(sorted({policy.version for policy in plan.world.policies.values()}))}
  key        {key}

  export OPENAI_BASE_URL={base} OPENAI_API_KEY={key}

  curl {base}/chat/completions -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\
    -d '{{"model": "{plan.example}", "messages": [{{"role": "user", "content": "Say hello."}}]}}' -i
"""
    )
