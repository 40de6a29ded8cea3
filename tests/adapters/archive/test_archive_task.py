"""The archiver's clock: a machine that cannot start a process now may the next time."""

from __future__ import annotations

import asyncio
import sys

from store import until

from router.adapters.archive import task as archive_task


class Elects:
    async def call(self, *_):
        return True


async def test_a_process_that_cannot_be_started_is_started_the_next_time(monkeypatch):
    tried = []

    async def start(*command, **_):
        tried.append(command)
        raise OSError(11, "Resource temporarily unavailable")

    async def due(*_):
        return True

    monkeypatch.setattr(archive_task, "_due", due)
    monkeypatch.setattr(archive_task, "FIRST_S", 0.0)
    monkeypatch.setattr(archive_task, "ASK_S", 0.0)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)
    keeping = asyncio.ensure_future(archive_task.keep_archived(Elects(), "w1", "redis://here", {}, 48))
    await until(lambda: len(tried) > 1)
    assert tried[0][0] == sys.executable
    keeping.cancel()
