"""What commands need that read the ledger themselves: settings, the store, the archive.

Belongs here: opening and closing. Does not belong here: what is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Final, TypeVar

import click

from router.adapters.archive.finance_extra import ArchiveError, FinanceMissingError
from router.adapters.ledger.reprice import RepricingError
from router.adapters.store.connection import StoreConnection, connection_to
from router.adapters.store.embedded import EmbeddedStore, EmbeddedStoreError
from router.adapters.store.url import parse_store_url
from router.core.errors import RouterError
from router.ports import StoreUnavailable
from router.settings import Settings, SettingsError, read_settings

CALL_S: Final = 30.0
"""How long one call to the store may take: an hour's cube may be large, and nobody waits behind it."""

_FAILURES: Final = (
    EmbeddedStoreError, StoreUnavailable, ArchiveError, FinanceMissingError, RepricingError, ValueError, OSError,
)  # fmt: skip  # one name a line would be longer than it is worth
Result = TypeVar("Result")


def settings_or_fail() -> Settings:
    """The settings of the environment.

    Raises:
        click.ClickException: one cannot work, in words.
    """
    try:
        return read_settings(os.environ)
    except SettingsError as error:
        raise click.ClickException(str(error)) from None


def with_store(work: Callable[[StoreConnection, Settings], Coroutine[Any, Any, Result]]) -> Result:
    """Run work on the node's store: ``REDIS_URL``, or the embedded one, which is started if no server runs.

    Raises:
        click.ClickException: no store, no archive, or a question that has no answer, in words.
    """
    settings = settings_or_fail()
    store = None
    try:
        url = settings.redis_url
        if url is None:
            if not (settings.data_dir / "store").is_dir():
                raise click.ClickException(
                    f"{settings.data_dir} holds no ledger; set COSTROUTER_DATA_DIR or REDIS_URL to that of the server"
                )
            store = EmbeddedStore(settings.data_dir)
            url = f"unix://{store.start()}"
        return asyncio.run(_connected(url, settings, work))
    except _FAILURES as error:
        raise click.ClickException(str(error)) from None
    except RouterError as error:
        raise click.ClickException(error.message) from None
    finally:
        if store is not None and store.owner:
            store.stop()


async def _connected(
    url: str, settings: Settings, work: Callable[[StoreConnection, Settings], Coroutine[Any, Any, Result]]
) -> Result:
    async with _connection(url) as connection:
        return await work(connection, settings)


@contextlib.asynccontextmanager
async def _connection(url: str) -> AsyncIterator[StoreConnection]:
    connection = connection_to(parse_store_url(url), timeout_s=CALL_S)
    try:
        await connection.start()
        yield connection
    finally:
        await connection.close()
