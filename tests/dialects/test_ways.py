"""The tables of dialects, and the way from each API of ours to each dialect of a provider's."""

import json

import pytest
from options import decision

from router.core.errors import RouterError
from router.core.wire import EXPRESSES
from router.dialects.bedrock.frames import frame
from router.dialects.contract import Asked
from router.dialects.openai.stream import StreamScanner
from router.dialects.ways import INBOUND, OUTBOUND, translated_answer, way


def test_each_dialect_that_the_core_takes_for_spoken_is_in_the_table():
    assert OUTBOUND.keys() == EXPRESSES.keys()


def test_tables_are_keyed_by_the_names_that_their_entries_have():
    assert all(name == found.api for name, found in INBOUND.items())
    assert all(name == found.dialect for name, found in OUTBOUND.items())


@pytest.mark.parametrize("api", INBOUND)
def test_a_provider_that_speaks_the_callers_dialect_is_spoken_to_in_it(api):
    found = way(api, (INBOUND[api].native,))
    assert found.outbound.dialect == INBOUND[api].native
    assert found.order is INBOUND[api].passed


def test_between_those_who_speak_the_same_answers_pass_as_they_came():
    found = way("chat", ("openai",))
    request = INBOUND["chat"].read(b'{"model":"m","messages":[]}', {})
    assert found.answer(b"\xff no answer", Asked(request, 100, 7)) == b"\xff no answer"
    scanner = found.scanner(Asked(request, 100, 7), lambda _: None)
    assert isinstance(scanner, StreamScanner)
    assert scanner.feed(b": ping\n\n") == b": ping\n\n"


def test_an_answer_that_comes_long_after_is_put_into_the_caller_s_dialect():
    said = b'{"id":"m","type":"message","model":"c","content":[{"type":"thinking","thinking":"hm","signature":"s"},'
    said += b'{"type":"text","text":"Yes."}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":2}}'
    told = json.loads(translated_answer("chat", "anthropic", said, 7, shows=False))
    assert (told["choices"][0]["message"]["content"], told["usage"]["total_tokens"]) == ("Yes.", 5)
    assert "reasoning_content" not in told["choices"][0]["message"]
    with pytest.raises(ValueError, match="no message"):
        translated_answer("chat", "anthropic", b"[]", 7, shows=False)
    with pytest.raises(ValueError, match="one dialect"):
        translated_answer("embeddings", "anthropic", said, 7, shows=False)


def test_an_answer_without_a_name_is_called_by_ours():
    said = json.dumps({"output": {"message": {"content": [{"text": "Hi"}]}}, "stopReason": "end_turn"}).encode()
    asked = Asked(INBOUND["chat"].read(b'{"model":"m","messages":[]}', {}), 1, 7, spare_id="req_1", spare_model="nova")
    found = way("chat", ("bedrock",))
    told = json.loads(found.answer(said, asked))
    assert (told["id"], told["model"]) == ("req_1", "nova")
    started = frame({":event-type": "messageStart", ":message-type": "event"}, b'{"role":"assistant"}')
    chunk = json.loads(found.scanner(asked, lambda _: None).feed(started).removeprefix(b"data: "))
    assert (chunk["id"], chunk["model"]) == ("req_1", "nova")


HIDDEN = (b'"\xff"', b"1e99999")
"""What routing passes over without a look, and no reader takes."""
STRANGE = {
    "chat": b'"messages":[{"role":"assistant","x":%b,"tool_calls":[{"extra_content":{}}]}]',
    "messages": b'"max_tokens":9,"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"costrouter.unsigned","x":%b}]}]',
    "responses": b'"input":[{"type":"reasoning","encrypted_content":"costrouter.x","y":%b}]',
}


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("api", STRANGE)
def test_what_must_be_written_anew_is_refused_where_it_cannot_be_read(api, hidden):
    with pytest.raises(RouterError, match="must be JSON in UTF-8") as refused:
        INBOUND[api].read(b'{"model":"m",' + STRANGE[api] % hidden + b"}", {})
    assert refused.value.code == "invalid_request"
    INBOUND[api].read(b'{"model":"m",' + STRANGE[api] % b"1" + b"}", {})


@pytest.mark.parametrize(("api", "settings"), [("messages", "output_config"), ("responses", "reasoning")])
def test_settings_that_cannot_be_read_go_on_as_they_are(api, settings):
    def sent(given):
        body = b'{"model":"m","max_tokens":9,"messages":[],"input":"Hi","%b":%b}' % (settings.encode(), given)
        inbound = INBOUND[api]
        return inbound.passed(inbound.read(body, {}), decision(effort="low"), frozenset()).body

    assert b'{"\xff":1}' in sent(b'{"\xff":1}')
    assert b'{"a":1.50,"effort":"low"}' in sent(b'{"a":1.50}')
    assert b'{"effort":"low"}' in sent(b"null")
