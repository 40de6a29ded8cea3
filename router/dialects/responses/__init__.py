"""OpenAI's Responses, as callers and as providers speak them: the entries for the tables of ways.py."""

from __future__ import annotations

from typing import Final

from router.dialects.contract import Hearing, Inbound, Outbound
from router.dialects.openai.errors import error_body
from router.dialects.responses.answer import answered_text, is_answer, read_answer, write_answer
from router.dialects.responses.conversation import understood
from router.dialects.responses.errors import error_event
from router.dialects.responses.events import ResponsesReader, ResponsesWriter
from router.dialects.responses.order import order
from router.dialects.responses.request import pass_responses, read_responses
from router.dialects.responses.stream import ResponsesScanner, said_so_far, streamed_text
from router.dialects.responses.usage import usage_of

API: Final = "responses"
RESPONSES_IN: Final = Inbound(
    api=API,
    endpoint="chat",
    path="/responses",
    native="responses",
    read=read_responses,
    passed=pass_responses,
    error_body=error_body,
    error_event=error_event,
    id_prefix="resp_",
    hearing=Hearing(understood=understood, write_answer=write_answer, writer=ResponsesWriter),
)
RESPONSES: Final = Outbound(
    dialect="responses",
    credentials=lambda key: ((b"authorization", b"Bearer " + key.encode("ascii")),),
    usage_of=usage_of,
    is_answer=is_answer,
    answered_text=answered_text,
    streamed_text=streamed_text,
    said_so_far=said_so_far,
    scanner=lambda _request, cost: ResponsesScanner(cost),
    stream_type="text/event-stream",
    order=order,
    read_answer=read_answer,
    reader=ResponsesReader,
)
