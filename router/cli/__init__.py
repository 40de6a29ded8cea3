"""The command line: `costrouter serve`, `sim`, `explain`, `spend`, `report`, `budgets`, `ledger`, `prices`, `quality`. One file each."""

from __future__ import annotations

from typing import Final

import click

from router import __version__

_COMMANDS: Final = ("serve", "sim", "explain", "spend", "report", "budgets", "ledger", "prices", "quality")
"""Each in the module of its name."""


class _Commands(click.Group):
    """Imports the one command that is run: what the others need would double the time that it takes to start."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's shape
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        match cmd_name:
            case "serve":
                from router.cli.serve import serve as command
            case "sim":
                from router.cli.sim import sim as command
            case "explain":
                from router.cli.explain import explain as command
            case "spend":
                from router.cli.spend import spend as command
            case "report":
                from router.cli.report import report as command
            case "budgets":
                from router.cli.budgets import budgets as command
            case "ledger":
                from router.cli.ledger import ledger as command
            case "prices":
                from router.cli.prices import prices as command
            case "quality":
                from router.cli.quality import quality as command
            case _:
                return None
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="costrouter")
def main() -> None:
    """Send every prompt to the cheapest model that meets the policy, and meter every cent."""
