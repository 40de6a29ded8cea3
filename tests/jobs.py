"""Jobs as the store takes them in, for tests."""

from __future__ import annotations

from store import now_ms

from router.core.jobs.jobs import Job, Line

QUEUED = Line("queued", 0, "", ("", 0, 0))


def a_job(name="job_1", tenant="acme", **changes):
    return Job(
        **{
            "id": name,
            "tenant": tenant,
            "key": "k1",
            "created_ms": now_ms(),
            "deadline_ms": now_ms() + 60_000,
            "promised_ms": now_ms() + 1_000,
            "endpoint": "chat",
            "kind": "request",
            "headers": {},
            "identity": b"",
            "keep_ms": 1_000,
            **changes,
        }
    )


async def handed_in(store, job, count=1):
    lines = [(number, QUEUED, b"sealed") for number in range(count)]
    assert await store.put(job, lines, now_ms=now_ms())
