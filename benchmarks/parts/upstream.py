"""The provider of the benchmarks: OpenAI's wire format, streams of Anthropic's and Google's too, as little work as possible
(raw uvloop and httptools).

Belongs here: fixed answers, plain and streamed, and a count of what was served. Does not belong here: realism; that
is the simulator's part (router/sim).

    POST …/chat/completions   a small answer with usage, or 52 events 1 ms apart and [DONE] when the body streams
    POST …/messages           as many events of Anthropic's, always a stream
    POST …:streamGenerateContent   as many of Google's
    GET /count                {"requests": n, "streams": n}

Run as a program: `upstream.py PORT` serves until it is ended.
"""

import asyncio
import re
import sys

import httptools
import uvloop

EVENTS = 52
GAP_S = 0.001
BYTES_PER_TOKEN = 4.3
"""Of the benchmark's texts (bodies.py); the usage that it tells must be believable."""
COMPLETION_TOKENS = EVENTS - 2
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_USAGE = re.compile(rb'"include_usage"\s*:\s*true')
_ID = b'"id":"chatcmpl-bench","created":1790000000,"model":"bench-model"'
_USAGE_OBJECT = (
    b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":0},'
    b'"completion_tokens_details":{"reasoning_tokens":0}}'
)
_PLAIN = (
    b"{" + _ID + b',"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"'
    b"The proxy passes this answer on as it came; it is of a usual length for a short question."
    b'","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":'
    + _USAGE_OBJECT
    + b',"system_fingerprint":"fp"}'
)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-request-id: req_bench\r\ncontent-length: %d\r\n\r\n"
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-request-id: req_bench\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
_CHUNK = (
    b'data: {"choices":[{"index":0,"delta":%s,"logprobs":null,"finish_reason":%s}],"object":"chat.completion.chunk",'
)


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _event(delta: bytes, finish: bytes = b"null") -> bytes:
    return _framed(_CHUNK % (delta, finish) + _ID + b"}\n\n")


_SCRIPT = [
    _event(b'{"role":"assistant","content":""}'),
    *(_event(b'{"content":"word%d "}' % number) for number in range(EVENTS - 2)),
    _event(b"{}", b'"stop"'),
]
_USAGE_EVENT = b'data: {"choices":[],"object":"chat.completion.chunk",' + _ID + b',"usage":' + _USAGE_OBJECT + b"}\n\n"
_LAST = b"0\r\n\r\n"
_DONE = _framed(b"data: [DONE]\n\n") + _LAST


def _named(name: bytes, data: bytes) -> bytes:
    return _framed(b'event: %s\ndata: {"type":"%s",%s}\n\n' % (name, name, data))


_WORDS = range(EVENTS - 2)
_MESSAGES = [
    _named(b"message_start", b'"message":{"id":"msg_bench","type":"message","role":"assistant","model":"bench-model","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":%d,"output_tokens":1}}' % 240)
    + _named(b"content_block_start", b'"index":0,"content_block":{"type":"text","text":""}'),
    *(_named(b"content_block_delta", b'"index":0,"delta":{"type":"text_delta","text":"word%d "}' % number) for number in _WORDS),
    _named(b"content_block_stop", b'"index":0'),
]  # fmt: skip  # one stream
_MESSAGES_END = (
    b'"delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"input_tokens":%d,"output_tokens":%d}'
)
_GOOGLE = b'data: {"candidates": [{"content": {"parts": [{"text": "%s"}],"role": "model"},%s"index": 0}],"usageMetadata": {"promptTokenCount": %d,"candidatesTokenCount": %d,"totalTokenCount": %d},"modelVersion": "bench-model","responseId": "bench"}\r\n\r\n'
_GENERATED = [_framed(_GOOGLE % (b"word%d " % number, b"", 240, number, 240 + number)) for number in range(EVENTS)]


def _messages_end(prompt: int) -> bytes:
    told = _named(b"message_delta", _MESSAGES_END % (prompt, COMPLETION_TOKENS))
    return told + _framed(b'event: message_stop\ndata: {"type":"message_stop"}\n\n') + _LAST


def _generated_end(prompt: int) -> bytes:
    end = _GOOGLE % (b"", b'"finishReason": "STOP",', prompt, COMPLETION_TOKENS, prompt + COMPLETION_TOKENS)
    return _framed(end) + _LAST


class Connection(asyncio.Protocol):
    """One client. A request is answered once its body is whole."""

    served = {"requests": 0, "streams": 0}  # noqa: RUF012 - the one count of the process

    def connection_made(self, transport):
        """Called by the loop."""
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)
        self._loop = asyncio.get_running_loop()
        self._body = []
        self._url = b""

    def data_received(self, data):
        """Called by the loop."""
        self._parser.feed_data(data)

    def on_url(self, url):
        """Called by the parser."""
        self._url += url

    def on_body(self, body):
        """Called by the parser."""
        self._body.append(body)

    def on_message_complete(self):
        """Called by the parser."""
        body, url = b"".join(self._body), self._url
        self._body, self._url = [], b""
        if url == b"/count":
            answer = str(self.served).replace("'", '"').encode()
            self._transport.write(_HEAD % len(answer) + answer)
            return
        prompt = int(len(body) / BYTES_PER_TOKEN)
        if url.endswith(b"/messages"):
            self._stream(_MESSAGES, _messages_end(prompt))
            return
        if url.endswith(b":streamGenerateContent?alt=sse"):
            self._stream(_GENERATED, _generated_end(prompt))
            return
        if not url.endswith(b"/chat/completions"):
            self._transport.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
            return
        usage = (prompt, COMPLETION_TOKENS, prompt + COMPLETION_TOKENS)
        if not _STREAM.search(body):
            self.served["requests"] += 1
            answer = _PLAIN % usage
            self._transport.write(_HEAD % len(answer) + answer)
            return
        self._stream(_SCRIPT, _framed(_USAGE_EVENT % usage) + _DONE if _USAGE.search(body) else _DONE)

    def _stream(self, script, end):
        self.served["requests"] += 1
        self.served["streams"] += 1
        self._transport.write(_STREAM_HEAD + script[0])
        self._loop.call_later(GAP_S, self._tell, script, 1, end)

    def _tell(self, script, number, end):
        if self._transport.is_closing():
            return
        if number == EVENTS:
            self._transport.write(end)
            return
        self._transport.write(script[number])
        self._loop.call_later(GAP_S, self._tell, script, number + 1, end)


async def _serve(port):
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
