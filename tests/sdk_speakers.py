"""The official SDKs behind one face: conversations as their users have them, and what came of them in the same words.

Belongs here: how each SDK is asked, and read. Does not belong here: what must hold (e2e/test_conformance.py).
"""

import base64
import json
import struct
import zlib
from dataclasses import dataclass, field

import openai
from openai.lib.streaming.chat import ChatCompletionStreamState

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
PLACE = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
TAKES_LAX_TOOLS = int(openai.__version__.partition(".")[0]) > 2
"""Before, its helper for streams was for strict tools only; what it is made of is for all."""
TOOLS = {"get_weather": "Tells the weather.", "get_time": "Tells the time."}


def picture():
    """A red square as PNG, in base64."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0)
    body = zlib.compress((b"\0" + b"\xff\0\0" * 64) * 64)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return base64.b64encode(png).decode()


@dataclass
class Called:
    """A tool that the model asks for. Ids differ from call to call, so they are not compared."""

    id: str = field(compare=False)
    name: str
    arguments: dict


@dataclass
class Said:
    """An answer, whichever way it came. ``turn`` is what goes back as the assistant's."""

    text: str
    calls: list
    end: str
    prompt: int
    completion: int
    reasoning: int
    thoughts: str
    turn: object = field(compare=False)


class ChatSpeaker:
    """Speaks by the openai SDK's chat completions."""

    def __init__(self, client):
        self.client = client

    def begin(self, text, system=None):
        """A conversation's messages."""
        before = [{"role": "system", "content": system}] if system else []
        return [*before, {"role": "user", "content": text}]

    def show(self, text):
        """A conversation about a picture."""
        url = f"data:image/png;base64,{picture()}"
        return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": text}]}]  # fmt: skip

    def words(self, text):
        """An answer that was given at some other time."""
        return Said(text, [], "stop", 0, 0, 0, "", {"role": "assistant", "content": text})

    def go_on(self, messages, said, text):
        """The conversation with an answer, and what the user says to it."""
        return [*messages, said.turn, {"role": "user", "content": text}]

    def answer(self, messages, said, results):
        """The conversation with calls of tools and their results."""
        told = [{"role": "tool", "tool_call_id": call.id, "content": result} for call, result in zip(said.calls, results, strict=True)]  # fmt: skip
        return [*messages, said.turn, *told]

    async def say(self, model, messages, **asked):
        """A plain answer."""
        return self._said(await self.client.chat.completions.create(**self._asked(model, messages, **asked)))

    async def stream(self, model, messages, **asked):
        """A streamed one."""
        options = {"stream_options": {"include_usage": True}}
        if asked.get("tools") and not TAKES_LAX_TOOLS:
            state = ChatCompletionStreamState()
            async for chunk in await self.client.chat.completions.create(**self._asked(model, messages, **asked), **options, stream=True):  # fmt: skip
                state.handle_chunk(chunk)
            return self._said(state.get_final_completion())
        async with self.client.chat.completions.stream(**self._asked(model, messages, **asked), **options) as stream:
            return self._said(await stream.get_final_completion())

    def _asked(self, model, messages, *, tools=False, schema=False, thinks=False):
        asked = {"model": model, "messages": messages, "max_completion_tokens": 3000}
        if tools:
            asked["tools"] = [{"type": "function", "function": {"name": name, "description": words, "parameters": PLACE}} for name, words in TOOLS.items()]  # fmt: skip
        if schema:
            asked["response_format"] = {"type": "json_schema", "json_schema": {"name": "count", "schema": SCHEMA, "strict": True}}  # fmt: skip
        if thinks:
            asked["reasoning_effort"] = "low"
        return asked

    def _said(self, completion):
        (choice,), usage = completion.choices, completion.usage
        message = choice.message
        calls = [Called(call.id, call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()]  # fmt: skip
        end = {"tool_calls": "tools"}.get(choice.finish_reason, choice.finish_reason)
        details = usage.completion_tokens_details
        thoughts = getattr(message, "reasoning_content", None) or ""
        # As those keep it who send back what they were given.
        turn = message.model_dump(exclude_none=True, exclude={"parsed"})
        for call in turn.get("tool_calls", ()):
            call.pop("index", None)
            call["function"].pop("parsed_arguments", None)
        reasoning = (details.reasoning_tokens if details else 0) or 0
        return Said(message.content or "", calls, end, usage.prompt_tokens, usage.completion_tokens, reasoning, thoughts, turn)  # fmt: skip


class MessagesSpeaker:
    """Speaks by the anthropic SDK's messages. A conversation is (system, messages)."""

    def __init__(self, client):
        self.client = client

    def begin(self, text, system=None):
        """As `ChatSpeaker.begin`."""
        return system, [{"role": "user", "content": text}]

    def show(self, text):
        """As `ChatSpeaker.show`."""
        source = {"type": "base64", "media_type": "image/png", "data": picture()}
        return None, [
            {"role": "user", "content": [{"type": "image", "source": source}, {"type": "text", "text": text}]}
        ]

    def words(self, text):
        """As `ChatSpeaker.words`."""
        return Said(text, [], "stop", 0, 0, 0, "", text)

    def go_on(self, asked, said, text):
        """As `ChatSpeaker.go_on`."""
        return asked[0], [*asked[1], {"role": "assistant", "content": said.turn}, {"role": "user", "content": text}]

    def answer(self, asked, said, results):
        """As `ChatSpeaker.answer`."""
        told = [{"type": "tool_result", "tool_use_id": call.id, "content": result} for call, result in zip(said.calls, results, strict=True)]  # fmt: skip
        return asked[0], [*asked[1], {"role": "assistant", "content": said.turn}, {"role": "user", "content": told}]

    async def say(self, model, asked, **more):
        """A plain answer."""
        return self._said(await self.client.messages.create(**self._asked(model, asked, **more)))

    async def stream(self, model, asked, **more):
        """A streamed one."""
        async with self.client.messages.stream(**self._asked(model, asked, **more)) as stream:
            return self._said(await stream.get_final_message())

    def _asked(self, model, asked, *, tools=False, schema=False, thinks=False):
        system, messages = asked
        found = {"model": model, "messages": messages, "max_tokens": 3000}
        if system:
            found["system"] = system
        if tools:
            found["tools"] = [
                {"name": name, "description": words, "input_schema": PLACE} for name, words in TOOLS.items()
            ]
        if schema:
            found["output_config"] = {"format": {"type": "json_schema", "schema": SCHEMA}}
        if thinks:
            found["thinking"] = {"type": "enabled", "budget_tokens": 1024}
        return found

    def _said(self, message):
        blocks, usage = message.content, message.usage
        text = "".join(block.text for block in blocks if block.type == "text")
        thoughts = "".join(block.thinking for block in blocks if block.type == "thinking")
        calls = [Called(block.id, block.name, block.input) for block in blocks if block.type == "tool_use"]
        end = {"end_turn": "stop", "tool_use": "tools"}.get(message.stop_reason, message.stop_reason)
        prompt = usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
        details = getattr(usage, "output_tokens_details", None)
        reasoning = (details.thinking_tokens if details else 0) or 0
        return Said(text, calls, end, prompt, usage.output_tokens, reasoning, thoughts, blocks)


class ResponsesSpeaker:
    """Speaks by the openai SDK's Responses. A conversation is (instructions, items)."""

    def __init__(self, client):
        self.client = client

    def begin(self, text, system=None):
        """As `ChatSpeaker.begin`."""
        return system, [{"role": "user", "content": text}]

    def show(self, text):
        """As `ChatSpeaker.show`."""
        image = {"type": "input_image", "image_url": f"data:image/png;base64,{picture()}", "detail": "auto"}
        return None, [{"role": "user", "content": [image, {"type": "input_text", "text": text}]}]

    def words(self, text):
        """As `ChatSpeaker.words`."""
        return Said(text, [], "stop", 0, 0, 0, "", [{"role": "assistant", "content": text}])

    def go_on(self, asked, said, text):
        """As `ChatSpeaker.go_on`."""
        return asked[0], [*asked[1], *said.turn, {"role": "user", "content": text}]

    def answer(self, asked, said, results):
        """As `ChatSpeaker.answer`."""
        told = [{"type": "function_call_output", "call_id": call.id, "output": result} for call, result in zip(said.calls, results, strict=True)]  # fmt: skip
        return asked[0], [*asked[1], *said.turn, *told]

    async def say(self, model, asked, **more):
        """A plain answer."""
        return self._said(await self.client.responses.create(**self._asked(model, asked, **more)))

    async def stream(self, model, asked, **more):
        """A streamed one."""
        async with self.client.responses.stream(**self._asked(model, asked, **more)) as stream:
            return self._said(await stream.get_final_response())

    def _asked(self, model, asked, *, tools=False, schema=False, thinks=False):
        system, items = asked
        found = {"model": model, "input": items, "max_output_tokens": 3000, "store": False}
        if system:
            found["instructions"] = system
        if tools:
            found["tools"] = [{"type": "function", "name": name, "description": words, "parameters": PLACE, "strict": False} for name, words in TOOLS.items()]  # fmt: skip
        if schema:
            found["text"] = {"format": {"type": "json_schema", "name": "count", "schema": SCHEMA, "strict": True}}
        if thinks:
            found["reasoning"] = {"effort": "low", "summary": "auto"}
        return found

    def _said(self, response):
        items, usage = response.output, response.usage
        calls = [
            Called(item.call_id, item.name, json.loads(item.arguments))
            for item in items
            if item.type == "function_call"
        ]
        thoughts = "".join(part.text for item in items if item.type == "reasoning" for part in item.summary)
        end = {"completed": "tools" if calls else "stop"}.get(response.status, response.status)
        # As those keep it who send back what they were given.
        turn = [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in items]
        for item in turn:
            for part in item.get("content", ()) if item["type"] == "message" else ():
                part.pop("parsed", None)
        reasoning = usage.output_tokens_details.reasoning_tokens
        return Said(
            response.output_text, calls, end, usage.input_tokens, usage.output_tokens, reasoning, thoughts, turn
        )
