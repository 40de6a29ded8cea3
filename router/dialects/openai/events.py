"""OpenAI chat streams to and from the neutral form.

Belongs here: one chunk after another, both ways, for streams that are translated. Does not belong here: streams that pass
untouched (stream.py), and cutting bytes into events (sse.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec

from router.core.values import Usage
from router.dialects.neutral import Begun, Closed, Ended, Event, Finish, Opened, Piece, Turning
from router.dialects.openai.answer import FINISHES, REASONS, usage_object
from router.dialects.openai.extra import extra
from router.dialects.openai.usage import usage_of
from router.dialects.sse import EventReader

_DONE: Final = b"[DONE]"
_LAST: Final = b"data: [DONE]\n\n"
_WORDS: Final = {"text": b'"content"', "thought": b'"reasoning_content"'}
_string: Final = msgspec.json.Encoder().encode
_NO_ERROR: Final = (None, False, "")


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    error: Any = None
    x_groq: Any = None


_CHUNK: Final = msgspec.json.Decoder(_Chunk)


class _Block:
    """A block of an answer, from its first delta on. Only one at a time is open for those who read the neutral form."""

    __slots__ = ("closed", "opened", "said")

    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        self.said: list[str] = []
        """All of a tool's arguments; of words, those that wait for their turn."""
        self.closed = False

    @property
    def whole(self) -> bool:
        """Whether nothing more is to be expected, once another block has begun: words go on only in a block of their own,
        a tool's arguments until they are JSON.
        """
        if self.opened.kind != "tool":
            return True
        try:
            msgspec.json.decode("".join(self.said))
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return False
        return True


class ChatReader(EventReader):
    """Reads a chat stream of one choice. Where calls of tools come interleaved, those that began later wait for their
    turn: other dialects tell one block after the other.
    """

    __slots__ = ("_begun", "_blocks", "_calls", "_ended", "_refused", "_waiting")

    def __init__(self) -> None:
        super().__init__()
        self._begun = False
        self._ended = False
        self._blocks = 0
        """How many have begun."""
        self._waiting: list[_Block] = []
        """The block that is open, and those behind it."""
        self._calls: dict[int, _Block] = {}
        """By the index of the tool call."""
        self._refused = False

    def read(self, data: bytes) -> list[Event]:
        """What a chunk says.

        Raises:
            ValueError: it is no chunk, or goes on with a call that was whole.
        """
        if data.strip() == _DONE:
            self.done = True
            return []
        try:
            chunk = _CHUNK.decode(data)
        except RecursionError:
            raise ValueError("a chunk is nested too deeply") from None
        groq = chunk.x_groq
        if chunk.error not in _NO_ERROR or (isinstance(groq, dict) and groq.get("error") not in _NO_ERROR):
            self.failed = True
            self.error = data
            return []
        if b'"usage"' in data:
            self.usage = usage_of(data) or self.usage
        if (usual := self._usual(chunk.choices)) is not None:
            return [usual]
        events: list[Event] = []
        if not self._begun and chunk.choices:
            self._begun = True
            events.append(Begun(chunk.id or "", chunk.model or ""))
        for choice in chunk.choices or ():
            if choice.index == 0 and not self._ended:
                self._choice(choice, events)
        return events

    def _usual(self, choices: list[_Choice] | None) -> Piece | None:
        """More words of the one block that is open, as nearly every chunk has them; None for all else."""
        if choices is None or len(choices) != 1 or len(self._waiting) != 1:
            return None
        choice, opened = choices[0], self._waiting[0].opened
        delta = choice.delta
        if delta is None or not delta.content or choice.index or choice.finish_reason or opened.kind != "text":
            return None
        if delta.tool_calls or delta.refusal or delta.reasoning_content or delta.reasoning:
            return None
        return Piece(opened.at, delta.content)

    def _choice(self, choice: _Choice, events: list[Event]) -> None:
        delta = choice.delta
        if delta is not None:
            thought = delta.reasoning_content or delta.reasoning
            if thought:
                self._words("thought", thought, events)
            for text in (delta.content, delta.refusal):
                if text:
                    self._words("text", text, events)
            self._refused = self._refused or bool(delta.refusal)
            for call in delta.tool_calls or ():
                self._call(call, events)
        if choice.finish_reason:
            self._ended = True
            while self._waiting:
                self._close(events)
            finish: Finish = FINISHES.get(choice.finish_reason, "stop")
            # Some servers say `stop` behind calls of tools.
            if finish == "stop" and self._calls:
                finish = "tools"
            events.append(Ended("refusal" if self._refused else finish))

    def _words(self, kind: Literal["text", "thought"], text: str, events: list[Event]) -> None:
        last = self._waiting[-1] if self._waiting else None
        if last is None or last.opened.kind != kind:
            last = self._begin(Opened(self._blocks, kind), events)
        self._more(last, text, events)

    def _call(self, call: _Call, events: list[Event]) -> None:
        function = call.function or _Function()
        block = self._calls.get(call.index)
        if block is None:
            opened = Opened(self._blocks, "tool", call.id or f"call_{call.index}", function.name or "")
            block = self._calls[call.index] = self._begin(opened, events)
        if function.arguments:
            self._more(block, function.arguments, events)

    def _begin(self, opened: Opened, events: list[Event]) -> _Block:
        block = _Block(opened)
        self._blocks += 1
        self._waiting.append(block)
        if len(self._waiting) == 1:
            events.append(opened)
        self._go_on(events)
        return block

    def _more(self, block: _Block, text: str, events: list[Event]) -> None:
        if block.closed:
            if text.strip():
                raise ValueError("a call of a tool goes on after its arguments were whole")
            return
        is_open = block is self._waiting[0]
        if is_open:
            events.append(Piece(block.opened.at, text))
        if not is_open or block.opened.kind == "tool":
            block.said.append(text)
        self._go_on(events)

    def _go_on(self, events: list[Event]) -> None:
        while len(self._waiting) > 1 and self._waiting[0].whole:
            self._close(events)

    def _close(self, events: list[Event]) -> None:
        """The open block has ended; the next one says what it has said meanwhile."""
        block = self._waiting.pop(0)
        block.closed = True
        events.append(Closed(block.opened.at))
        if self._waiting:
            following = self._waiting[0]
            events.append(following.opened)
            if following.said:
                events.append(Piece(following.opened.at, "".join(following.said)))


class ChatWriter:
    """Writes a chat stream of one choice.

    Args:
        at_s: seconds since the epoch, for ``created``.
        wants_usage: whether the caller asked for the usage event.
    """

    __slots__ = ("_at_s", "_calls", "_frames", "_head", "_wants_usage", "last")

    def __init__(self, at_s: int, *, wants_usage: bool) -> None:
        self._at_s = at_s
        self._wants_usage = wants_usage
        self._head = b""
        self._frames: dict[int, tuple[bytes, bytes]] = {}
        """By a block: what stands around its pieces."""
        self._calls = 0
        self.last = _LAST

    def write(self, events: Iterable[Event]) -> bytes:
        """These events."""
        told: list[bytes] = []
        for event in events:
            if isinstance(event, Piece):
                before, behind = self._frames[event.at]
                told += (before, _string(event.text), behind)
            else:
                told.append(self._event(event))
        return b"".join(told)

    def ending(self, usage: Usage | None, cost: str | None) -> bytes:
        """The usage event, if it was asked for and is known."""
        if usage is None or not self._wants_usage:
            return b""
        return self._head + b'],"usage":' + msgspec.json.encode(usage_object(usage, cost)) + b"}\n\n"

    def _event(self, event: Turning) -> bytes:
        if isinstance(event, Begun):
            shared = {"id": event.id, "object": "chat.completion.chunk", "created": self._at_s, "model": event.model}
            self._head = b"data: " + msgspec.json.encode(shared)[:-1] + b',"choices":['
            return self._chunk({"role": "assistant", "content": ""})
        if isinstance(event, Opened):
            before = self._head + b'{"index":0,"delta":{'
            if event.kind != "tool":
                name = _WORDS.get(event.kind, b'""')
                self._frames[event.at] = before + name + b":", b'},"finish_reason":null}]}\n\n'
                return b""
            number = self._calls
            self._calls += 1
            before += b'"tool_calls":[{"index":%d,"function":{"arguments":' % number
            self._frames[event.at] = before, b'}}]},"finish_reason":null}]}\n\n'
            function = {"name": event.name, "arguments": ""}
            call = {"index": number, "id": event.id, "type": "function", "function": function}
            return self._chunk({"tool_calls": [call | extra(event.signature)]})
        if isinstance(event, Ended):
            return self._chunk({}, msgspec.json.encode(REASONS[event.finish]))
        return b""  # a block's end, and a signature: chat completions have no place for them

    def _chunk(self, delta: dict[str, Any], finish: bytes = b"null") -> bytes:
        said = msgspec.json.encode(delta)
        return self._head + b'{"index":0,"delta":' + said + b',"finish_reason":' + finish + b"}]}\n\n"
