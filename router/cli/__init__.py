"""The command line: `costrouter serve` and the others. One file each.

Each command is imported when it is run: what the others need would double the time that it takes to start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import click

from router import __version__


def _serve() -> click.Command:
    from router.cli.serve import serve as command

    return command


def _broker() -> click.Command:
    from router.cli.broker import broker as command

    return command


def _restart() -> click.Command:
    from router.cli.restart import restart as command

    return command


def _top() -> click.Command:
    from router.cli.top import top as command

    return command


def _demo() -> click.Command:
    from router.cli.demo import demo as command

    return command


def _sim() -> click.Command:
    from router.cli.sim import sim as command

    return command


def _explain() -> click.Command:
    from router.cli.explain import explain as command

    return command


def _spend() -> click.Command:
    from router.cli.spend import spend as command

    return command


def _report() -> click.Command:
    from router.cli.report import report as command

    return command


def _limits() -> click.Command:
    from router.cli.limits import limits as command

    return command


def _budgets() -> click.Command:
    from router.cli.budgets import budgets as command

    return command


def _ledger() -> click.Command:
    from router.cli.ledger import ledger as command

    return command


def _prices() -> click.Command:
    from router.cli.prices import prices as command

    return command


def _policy() -> click.Command:
    from router.cli.policy import policy as command

    return command


def _quality() -> click.Command:
    from router.cli.quality import quality as command

    return command


def _keys() -> click.Command:
    from router.cli.keys import keys as command

    return command


def _jobs() -> click.Command:
    from router.cli.jobs import jobs as command

    return command


def _batch() -> click.Command:
    from router.cli.batch import batch as command

    return command


def _audit() -> click.Command:
    from router.cli.audit import audit as command

    return command


def _export() -> click.Command:
    from router.cli.transfer import export as command

    return command


def _import() -> click.Command:
    from router.cli.transfer import import_ as command

    return command


_COMMANDS: Final[dict[str, Callable[[], click.Command]]] = {
    "serve": _serve,
    "broker": _broker,
    "restart": _restart,
    "top": _top,
    "demo": _demo,
    "sim": _sim,
    "explain": _explain,
    "spend": _spend,
    "report": _report,
    "budgets": _budgets,
    "limits": _limits,
    "ledger": _ledger,
    "prices": _prices,
    "policy": _policy,
    "quality": _quality,
    "keys": _keys,
    "jobs": _jobs,
    "batch": _batch,
    "audit": _audit,
    "export": _export,
    "import": _import,
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's shape
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - as above
        found = _COMMANDS.get(cmd_name)
        return None if found is None else found()


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="costrouter")
def main() -> None:
    """Send every prompt to the cheapest model that meets the policy, and meter every cent."""
