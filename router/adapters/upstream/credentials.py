"""A worker's keys as they change: those of the file, and tokens that are asked for anew before they end.

Belongs here: when, and telling whoever goes by them. Does not belong here: how a token is come by (service_account.py), and
what the names mean (providers.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from router.adapters.upstream.hosting import ProviderError
from router.adapters.upstream.provider_keys import keep_read, read_keys
from router.adapters.upstream.service_account import VARIABLE, NoTokenError, ServiceAccount

if TYPE_CHECKING:
    from router.adapters.upstream.breakers import Breakers
    from router.ports import Clock, ProviderLink, Upstream

TOKEN: Final = "VERTEX_ACCESS_TOKEN"  # noqa: S105 - a name
RENEW: Final = 0.8
"""After this part of its time a token is asked for anew."""
AGAIN_S: Final = 10.0
"""How soon a token is asked for again that was not given."""
FIRST_S: Final = 10.0
"""How long a worker waits for its first token before it serves without."""
Renew = Callable[[Mapping[str, str]], Mapping[str, "Sequence[ProviderLink]"]]
"""The providers' links with these keys over the environment's. Raises `ProviderError`."""
_log: Final = structlog.get_logger(__name__)


class Credentials:
    """Keeps ``breakers`` in keys.

    Args:
        upstream: is asked for tokens.
        clock: the machine's time.
        breakers: go by the links.
        renew: makes links of keys.
    """

    def __init__(self, upstream: Upstream, clock: Clock, breakers: Breakers, renew: Renew) -> None:
        self._upstream = upstream
        self._clock = clock
        self._breakers = breakers
        self._renew = renew
        self._account: ServiceAccount | None = None
        self._keys: Mapping[str, str] = {}
        self._tokens: dict[str, str] = {}
        self._due_s = 0.0

    async def begin(self, environment: Mapping[str, str]) -> None:
        """Have the first token of the account that the environment names, if it names one and the token comes soon enough.

        Raises:
            ProviderError: the account's file cannot be used.
        """
        path = environment.get(VARIABLE, "").strip()
        if not path:
            return
        self._account = ServiceAccount(Path(path))
        try:
            async with asyncio.timeout(FIRST_S):
                await self._ask(self._account)
        except TimeoutError:
            _log.error("no_token", reason=f"none came within {FIRST_S:g} s")

    async def keep(self, file: Path | None) -> None:
        """Read the file of keys when it changes, and renew tokens in time, until cancelled."""
        if file is not None and self._account is not None:
            self._read(read_keys(file))
        await asyncio.gather(keep_read(file, self._read), self._keep_renewed())

    def _read(self, keys: Mapping[str, str]) -> None:
        self._apply(keys, self._tokens)
        self._keys = keys

    def _apply(self, keys: Mapping[str, str], tokens: Mapping[str, str]) -> None:
        self._breakers.replace_links(self._renew({**keys, **tokens}))

    async def _keep_renewed(self) -> None:
        while self._account is not None:
            await asyncio.sleep(self._due_s)
            await self._ask(self._account)

    async def _ask(self, account: ServiceAccount) -> None:
        self._due_s = AGAIN_S
        try:
            found = await account.token(self._upstream, self._clock.now_ms() // 1000)
            tokens = {TOKEN: found.token}
            self._apply(self._keys, tokens)
        except (NoTokenError, ProviderError) as error:
            # What is left of the token before holds until it ends.
            _log.error("no_token", reason=str(error))
            return
        self._tokens = tokens
        self._due_s = max(found.lasts_s * RENEW, AGAIN_S)
        _log.info("token_renewed", lasts_s=found.lasts_s)
