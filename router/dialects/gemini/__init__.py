"""Google's generateContent, as the Gemini API and Vertex AI speak it: the entries for the tables of ways.py.

Both are providers' dialects only: no API of ours speaks the same, so nothing of it is ever passed on untouched.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec

from router.dialects.contract import Outbound, nothing_passes
from router.dialects.gemini.answer import answered_text, is_answer, read_answer, said_so_far, streamed_text
from router.dialects.gemini.events import GeminiReader
from router.dialects.gemini.order import order
from router.dialects.gemini.usage import usage_of

GEMINI: Final = Outbound(
    dialect="gemini",
    credentials=lambda key: ((b"x-goog-api-key", key.encode("ascii")),),
    usage_of=usage_of,
    is_answer=is_answer,
    answered_text=answered_text,
    streamed_text=streamed_text,
    said_so_far=said_so_far,
    scanner=nothing_passes,
    stream_type="text/event-stream",
    order=partial(order, before="/models/"),
    read_answer=read_answer,
    reader=GeminiReader,
    tier_header="x-gemini-service-tier",
)
VERTEX: Final = msgspec.structs.replace(
    GEMINI,
    dialect="vertex",
    credentials=lambda key: ((b"authorization", b"Bearer " + key.encode("ascii")),),
    order=partial(order, before="/publishers/google/models/"),
    tier_header="",
)
