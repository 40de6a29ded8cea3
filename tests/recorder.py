"""An upstream that keeps what it receives and answers what it is told, in a thread of its own.

Belongs here: what a test needs to see the bytes that a provider would see. No knowledge of the router.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable


class Received(NamedTuple):
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class Given(NamedTuple):
    """Pieces of a body, sent one by one, with nothing said of their length; the connection ends it."""

    status: int
    headers: dict[str, str]
    pieces: list[bytes]


class Recorder:
    """A context manager; ``answer`` may be replaced at any time."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answer: Callable[[Received], Given] = completion
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                received = Received(self.path, headers, body)
                recorder.received.append(received)
                given = recorder.answer(received)
                self.send_response(given.status)
                for name, value in {"connection": "close", **given.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                for piece in given.pieces:
                    self.wfile.write(piece)
                self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def reset(self) -> None:
        self.received.clear()
        self.answer = completion

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}


def completion(_: Received) -> Given:
    message = {"role": "assistant", "content": "Hello."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
    document = {
        "id": "c-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }
    return Given(200, JSON, [json.dumps(document).encode()])


def says(status: int, document: Any, **headers: str) -> Callable[[Received], Given]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return lambda _: Given(status, {**JSON, **headers}, [body])
