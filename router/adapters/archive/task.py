"""Archiving by itself: one worker of the fleet starts the archiver, as a process of its own, every ten minutes.

Belongs here: when, and by whom. Does not belong here: how rows move (archive).

A process of its own, because turning a million rows into columns takes seconds of a processor that requests need.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import structlog

from router.adapters.archive.finance_extra import NEEDED, has_finance
from router.adapters.ledger.rows import hours_with_rows
from router.adapters.reports.spend import tenants
from router.adapters.store.layout import tenant_prefix
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from router.adapters.store.connection import StoreConnection

EVERY_S: Final = 600
"""How often the fleet archives, in seconds."""
ASK_S: Final = 20.0
FIRST_S: Final = 5.0
ELECTED: Final = "cr:{@}:archiver"
"""Held for `EVERY_S` by whoever archives; the next one to ask after that is elected."""
_log: Final = structlog.get_logger("router.archive")


async def keep_archived(
    connection: StoreConnection, worker: str, store_url: str, environment: Mapping[str, str], after_hours: int
) -> None:
    """Start the archiver whenever it is this worker's turn and an hour is due; runs until cancelled, and then ends it.

    Args:
        connection: to the store.
        worker: the name that is elected.
        store_url: the store of this node.
        environment: of the process: the node's settings, for the archiver.
        after_hours: how long ago an hour must have ended.
    """
    pause = FIRST_S
    while True:
        await asyncio.sleep(pause)
        pause = ASK_S
        try:
            elected = await connection.call("SET", ELECTED, worker, "NX", "EX", EVERY_S)
            if elected and not await _due(connection, after_hours):
                continue
        except StoreUnavailable:
            continue
        if elected and has_finance():
            try:
                await _archive(dict(environment) | {"REDIS_URL": store_url})
            except OSError as error:
                # Too many processes, no memory: another time, or another worker.
                _log.error("archive_failed", reason=error.strerror)
        elif elected:
            _log.info("archive_off", reason=NEEDED)
            pause = EVERY_S


async def _due(connection: StoreConnection, after_hours: int) -> bool:
    """Whether any hour may be archived: a process that finds nothing costs a second of a processor."""
    until = int((await connection.call("TIME"))[0]) // 3600 - after_hours
    for tenant in await tenants(connection):
        prefix = tenant_prefix(tenant)
        hours = await hours_with_rows(connection, tenant, 0, until)
        if any(await asyncio.gather(*[connection.call("EXISTS", f"{prefix}rows:{hour}") for hour in hours])):
            return True
    return False


async def _archive(environment: dict[str, str]) -> None:
    command = (sys.executable, "-m", "router.cli", "ledger", "archive", "--quiet", "--nice")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=pipe, stderr=pipe)
    try:
        told, failed = await process.communicate()
    except asyncio.CancelledError:
        # Safe at any moment: what was begun is done again by whoever comes next.
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode:
        _log.error("archive_failed", reason=_last(failed), status=process.returncode)
    elif told:
        _log.info("archived", moved=_last(told))


def _last(output: bytes) -> str:
    return (output.decode(errors="replace").splitlines() or [""])[-1]
