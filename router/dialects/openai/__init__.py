"""OpenAI's chat completions and embeddings, and whoever imitates them: the entries for the tables of ways.py."""

from __future__ import annotations

from typing import Final

from router.dialects.contract import Hearing, Inbound, Outbound
from router.dialects.openai import answer as openai_answer
from router.dialects.openai import errors as openai_errors
from router.dialects.openai import stream as openai_stream
from router.dialects.openai.chat import pass_chat, pass_embeddings, read_chat, read_embeddings
from router.dialects.openai.conversation import understood
from router.dialects.openai.events import ChatReader, ChatWriter
from router.dialects.openai.order import order
from router.dialects.openai.usage import usage_of

CHAT: Final = Inbound(
    api="chat",
    endpoint="chat",
    path="/chat/completions",
    native="openai",
    read=read_chat,
    passed=pass_chat,
    error_body=openai_errors.error_body,
    error_event=openai_errors.error_event,
    hearing=Hearing(
        understood=understood,
        write_answer=openai_answer.write_answer,
        writer=lambda asked: ChatWriter(asked.at_s, wants_usage=asked.request.wants_usage),
    ),
)
EMBEDDINGS: Final = Inbound(
    api="embeddings",
    endpoint="embeddings",
    path="/embeddings",
    native="openai",
    read=read_embeddings,
    passed=pass_embeddings,
    error_body=openai_errors.error_body,
    error_event=openai_errors.error_event,
)
OPENAI: Final = Outbound(
    dialect="openai",
    credentials=lambda key: ((b"authorization", b"Bearer " + key.encode("ascii")),),
    usage_of=usage_of,
    is_answer=openai_stream.is_answer,
    answered_text=openai_stream.answered_text,
    streamed_text=openai_stream.streamed_text,
    said_so_far=openai_stream.said_so_far,
    scanner=lambda request, cost: openai_stream.StreamScanner(wants_usage=request.wants_usage, cost=cost),
    stream_type="text/event-stream",
    order=order,
    read_answer=openai_answer.read_answer,
    reader=ChatReader,
)
