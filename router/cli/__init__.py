"""The command line: `costrouter serve`, `sim`, `explain`, `spend`, `report`, `budgets`, `ledger`, `prices`. One file each."""

from __future__ import annotations

import click

from router import __version__
from router.cli.budgets import budgets
from router.cli.explain import explain
from router.cli.ledger import ledger
from router.cli.prices import prices
from router.cli.report import report
from router.cli.serve import serve
from router.cli.sim import sim
from router.cli.spend import spend


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="costrouter")
def main() -> None:
    """Send every prompt to the cheapest model that meets the policy, and meter every cent."""


for command in (serve, sim, explain, spend, report, budgets, ledger, prices):
    main.add_command(command)
