"""A connection that is held for a job's answer, once bytes keep it alive.

Belongs here: those bytes, and the end that follows them. Does not belong here: who is held, and the silence before (defer.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from router.dialects.ways import INBOUND

if TYPE_CHECKING:
    from router.adapters.http.defer import Deferral
    from router.core.errors import RouterError
    from router.core.jobs.jobs import Job

QUIET_S: Final = 20.0
"""How long a held connection may be silent."""


class HeldAnswer:
    """White space until the answer is there, which JSON allows before it."""

    def __init__(self, deferral: Deferral, job: Job) -> None:
        self._deferral = deferral
        self._job = job
        self._over = False

    @property
    def whole(self) -> bool:
        """Whether the answer has been given."""
        return self._over

    async def next_part(self) -> bytes:
        """The next bytes; b"" at the end. Raises `RouterError` where there will be no answer: the connection is cut."""
        if self._over:
            return b""
        job = self._job
        answer = await self._deferral.endings.first(job.id, lambda: self._deferral.answer(job), QUIET_S)
        if answer is None:
            return b" "
        self._over = True
        return answer.body

    def cut(self, error: RouterError) -> bytes:
        """What stands where the answer would have stood."""
        return b"" if self._over else INBOUND[self._job.endpoint].error_body(error)

    async def abandon(self) -> None:
        """The caller has gone."""
        if not self._over:
            await self._deferral.leave(self._job)
