"""Anthropic's Messages, as callers and as providers speak them: the entries for the tables of ways.py."""

from __future__ import annotations

from typing import Final

from router.dialects.anthropic.answer import answered_text, is_answer, read_answer, write_answer
from router.dialects.anthropic.conversation import understood
from router.dialects.anthropic.errors import error_body, error_event
from router.dialects.anthropic.events import MessagesReader, MessagesWriter
from router.dialects.anthropic.order import order
from router.dialects.anthropic.request import pass_messages, read_messages
from router.dialects.anthropic.stream import MessagesScanner, said_so_far, streamed_text
from router.dialects.anthropic.usage import usage_of
from router.dialects.contract import Hearing, Inbound, Outbound

MESSAGES: Final = Inbound(
    api="messages",
    endpoint="chat",
    path="/messages",
    id_header="request-id",
    native="anthropic",
    read=read_messages,
    passed=pass_messages,
    error_body=error_body,
    error_event=error_event,
    hearing=Hearing(
        understood=understood,
        write_answer=write_answer,
        writer=lambda asked: MessagesWriter(asked.expected_prompt),
    ),
)
ANTHROPIC: Final = Outbound(
    dialect="anthropic",
    credentials=lambda key: ((b"x-api-key", key.encode("ascii")),),
    usage_of=usage_of,
    is_answer=is_answer,
    answered_text=answered_text,
    streamed_text=streamed_text,
    said_so_far=said_so_far,
    scanner=lambda _request, _cost: MessagesScanner(),
    stream_type="text/event-stream",
    order=order,
    read_answer=read_answer,
    reader=MessagesReader,
)
