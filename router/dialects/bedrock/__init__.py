"""Amazon Bedrock's Converse: the entry for the tables of ways.py.

A provider's dialect only: no API of ours speaks the same, so nothing of it is ever passed on untouched.
"""

from __future__ import annotations

from typing import Final

from router.dialects.bedrock.answer import answered_text, is_answer, read_answer
from router.dialects.bedrock.events import ConverseReader, said_so_far, streamed_text
from router.dialects.bedrock.order import order
from router.dialects.bedrock.usage import usage_of
from router.dialects.contract import Outbound, nothing_passes

BEDROCK: Final = Outbound(
    dialect="bedrock",
    credentials=lambda key: ((b"authorization", b"Bearer " + key.encode("ascii")),),
    usage_of=usage_of,
    is_answer=is_answer,
    answered_text=answered_text,
    streamed_text=streamed_text,
    said_so_far=said_so_far,
    scanner=nothing_passes,
    stream_type="application/vnd.amazon.eventstream",
    order=order,
    read_answer=read_answer,
    reader=ConverseReader,
)
