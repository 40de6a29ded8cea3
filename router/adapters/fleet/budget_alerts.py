"""Telling somebody that a budget has reached a threshold: once a threshold and period, whichever worker sees it first.

Belongs here: noticing, claiming an alert in the store, its body. Does not belong here: sending (webhook.py), and
counting (the settle script, whose answer says what each period has spent).

An alert is claimed for a minute before it is sent and marked as done after. Should its worker die in between, the next
row of that period claims it again: an alert may come twice, but is not lost while money is being spent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import structlog

from router.adapters.store.layout import budget_key, term_args
from router.core.budgets.budget import FOREVER_MS, LENGTHS_MS, Budget
from router.core.budgets.words import alert_words, budget_state
from router.ports import StoreUnavailable

if TYPE_CHECKING:
    from router.adapters.fleet.webhook import Webhook
    from router.adapters.ledger.budgets import RedisBudgets
    from router.adapters.store.connection import StoreConnection

CLAIM_MS: Final = 60_000
MOST_KNOWN: Final = 10_000
_DONE: Final = b"done"
_log: Final = structlog.get_logger(__name__)

Send = Callable[[dict[str, Any]], Awaitable[bool]]
"""Sends an alert; whether it has arrived."""


class BudgetAlerts:
    """Hears what budget periods have spent, and tells.

    Args:
        connection: to the store.
        budgets: the definitions.
        worker: whose claims these are.
        send: delivers an alert's body.
        now_ms: the store's time.
    """

    def __init__(
        self, connection: StoreConnection, budgets: RedisBudgets, worker: str, send: Send, now_ms: Callable[[], int]
    ) -> None:
        self._connection = connection
        self._budgets = budgets
        self._worker = worker
        self._send = send
        self._now_ms = now_ms
        self._quiet: dict[str, int] = {}
        """Alerts that need no look in the store until that time."""
        self._telling: set[asyncio.Task[None]] = set()

    def spent(self, prefix: str, periods: Mapping[str, int]) -> None:
        """What periods of a tenant have spent by now, in nano-dollars. Never raises, never blocks."""
        for name, nano in periods.items():
            budget = self._budgets.alerting.get((prefix, name.replace("~", ":").partition(":")[0]))
            if budget is None:
                continue
            for percent in budget.alerts:
                key = f"{budget_key(prefix, name)}:{percent}%"
                if nano * 100 >= percent * budget.limit_nano and self._quiet.get(key, 0) <= self._now_ms():
                    self._quiet[key] = self._now_ms() + CLAIM_MS
                    task = asyncio.get_running_loop().create_task(self._tell(key, budget, name, percent))
                    self._telling.add(task)
                    task.add_done_callback(self._telling.discard)

    async def close(self) -> None:
        """Give up what has not been sent; another worker may claim it again."""
        for task in self._telling:
            task.cancel()
        await asyncio.gather(*self._telling, return_exceptions=True)

    async def _tell(self, key: str, budget: Budget, name: str, percent: int) -> None:
        try:
            claimed = await self._connection.call("SET", key, self._worker, "NX", "PX", CLAIM_MS)
            if claimed is None:
                if await self._connection.call("GET", key) == _DONE:
                    self._hush(key, budget)
                return
            ((term, spent, held),) = await self._budgets.counted([budget], self._now_ms())
            if term.bucket < 0 and term.name != name:
                # A late row of a period that is over: what it came to is history, not an alarm.
                self._hush(key, budget)
                return
            state = budget_state(term, spent, held)
            words = alert_words(term, spent, percent)
            body = {"object": "costrouter.alert", "percent": percent, "period": name, "text": words, "budget": state}
            if await self._send(body):
                kept = LENGTHS_MS[budget.period] if budget.rolling else int(term_args(term)[-1])
                await self._connection.call("SET", key, _DONE, *(("PX", kept) if kept else ()))
                self._hush(key, budget)
                _log.info("budget_alert_sent", budget=budget.id, percent=percent)
            else:
                await self._connection.call("DEL", key)
        except StoreUnavailable as error:
            _log.warning("budget_alert_unclaimed", budget=budget.id, percent=percent, reason=str(error))

    def _hush(self, key: str, budget: Budget) -> None:
        if len(self._quiet) >= MOST_KNOWN:
            self._quiet.clear()
        self._quiet[key] = self._now_ms() + LENGTHS_MS[budget.period] if budget.rolling else FOREVER_MS


def alerts_by(
    webhook: Webhook | None, connection: StoreConnection, budgets: RedisBudgets, worker: str, now_ms: Callable[[], int]
) -> BudgetAlerts | None:
    """Alerts by webhook; none without one."""
    return None if webhook is None else BudgetAlerts(connection, budgets, worker, webhook.tell, now_ms)
