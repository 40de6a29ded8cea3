"""Responses that others may go on from: found, forgotten, and what happens while the store does not answer."""

import json

import pytest
from fakes import FakeWays

from router.core.errors import RouterError
from router.core.values import Identity
from router.dialects.ways import INBOUND
from router.memory import Memory, Remembered, shown_items
from router.ports import Origin, ProviderLink, StoreUnavailable

WHO = Identity(tenant="acme", key="k")
LINK = ProviderLink("openai", Origin("https", "example.com", 443), (), key="K")
RESPONSES = INBOUND["responses"]


class Answers:
    """Keeps answers in memory; one that is ``away`` does not answer."""

    def __init__(self):
        self.kept = {}
        self.away = False

    def digest(self, *parts):
        return b"/".join(parts).decode()

    async def find(self, tenant, name):
        if self.away:
            raise StoreUnavailable
        return self.kept.get((tenant, name))

    async def put(self, tenant, name, answer, kept_s):
        if self.away:
            raise StoreUnavailable
        self.kept[tenant, name] = answer


class Later:
    """Background responses by id: the request, and the response."""

    def __init__(self, **made):
        self.made = made

    async def whole(self, tenant, response_id):
        return self.made.get(response_id)


@pytest.fixture
def store():
    return Answers()


@pytest.fixture
def memory(store):
    return Memory(store, FakeWays({"openai": LINK}), 60.0)


def request(follows, text="And?"):
    return RESPONSES.read(json.dumps({"model": "m", "input": text, "previous_response_id": follows}).encode(), {})


async def remembered(memory, name, *entry):
    await memory._put("acme", name, Remembered(*entry))


async def followed(memory, follows, own=None):
    return await memory.followed(WHO, RESPONSES, request(follows), own)


async def test_what_a_provider_keeps_stays_with_its_key(memory):
    await remembered(memory, "resp_1", "openai", "K", "openai/m@openai")
    found, pin = await followed(memory, "resp_1")
    assert (found.follows, pin.link, pin.entry) == ("resp_1", LINK, "openai/m@openai")


async def test_what_is_kept_here_becomes_a_request_that_says_everything(memory):
    output = [{"type": "message", "content": [{"type": "output_text", "text": "Yes?"}]}]
    items, response = json.dumps([{"role": "user", "content": "Hi"}]), json.dumps({"output": output})
    await remembered(memory, "resp_1", "", "", "", items.encode(), response.encode())
    found, pin = await followed(memory, "resp_1")
    assert (pin, found.follows) == (None, "resp_1")
    assert found.shape.texts == ("Hi", "Yes?", "And?")


async def test_what_was_made_in_the_background_may_have_gone_on_itself(memory):
    await remembered(memory, "resp_1", "openai", "K", "openai/m@openai")
    asked = json.dumps({"model": "m", "input": "Hi", "previous_response_id": "resp_1"}).encode()
    memory.later = Later(resp_job_2=(asked, {"output": []}), resp_job_3=(b'{"model":"m","input":"Hm"}', {"output": []}))
    found, pin = await followed(memory, "resp_job_2")
    assert (pin.link, found.follows, found.shape.texts) == (LINK, "resp_job_2", ("Hi", "And?"))
    assert json.loads(found.top.edited({}))["previous_response_id"] == "resp_1"
    found, pin = await followed(memory, "resp_job_3")
    assert (pin, found.shape.texts) == (None, ("Hm", "And?"))


async def test_what_is_unknown_forgotten_or_anothers_is_not_found(memory, store):
    await remembered(memory, "resp_1", "openai", "K", "openai/m@openai")
    await remembered(memory, "resp_2", "gone", "K", "x@gone")
    store.kept["acme", "response/resp_3"] = b"an older version's"
    brought = ProviderLink("openai", Origin("https", "example.com", 443), (), key="own-1")
    for name, own in (("resp_0", None), ("resp_2", None), ("resp_3", None), ("resp_1", brought)):
        with pytest.raises(RouterError) as refused:
            await followed(memory, name, own)
        assert (refused.value.code, refused.value.param) == ("not_found", "previous_response_id")
    await memory.forget("acme", "resp_1")
    assert await memory.find("acme", "resp_1") is None


async def test_while_the_store_is_silent_nothing_is_found_and_no_answer_is_lost(memory, store):
    store.away = True
    await remembered(memory, "resp_1", "openai", "K", "openai/m@openai")
    for call in (memory.find("acme", "resp_1"), memory.forget("acme", "resp_1")):
        with pytest.raises(RouterError) as refused:
            await call
        assert refused.value.code == "store_unavailable"


def test_items_are_listed_the_latest_first():
    items = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}, {"type": "function_call"}]
    found = shown_items(items)
    assert [item["type"] for item in found] == ["function_call", "message", "message"]
    assert [item["content"][0]["type"] for item in found[1:]] == ["output_text", "input_text"]
