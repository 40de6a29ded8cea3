import json

import msgspec
import pytest
from options import facts, option, plan, price
from wired import WHO, asked, snapshot

from router.considered import Considered
from router.core.deciding.decide import decide
from router.core.deciding.snapshot import Route
from router.dialects.openai.chat import read_chat
from router.dialects.orders import NONE
from router.dialects.ways import INBOUND

SPARE = option("acme/spare", price=price(input=1))
PLAN = plan(option(), exhausted=plan(SPARE))
DECISION = decide(PLAN, facts(), None)
SEEN = Considered(
    INBOUND["chat"], read_chat(asked()), NONE, facts(), Route(plan=PLAN, baseline=None), DECISION, snapshot(), WHO
)


def explained(body, **changes):
    return SEEN.explains(body, **{"streamed": False, "at_ms": 1_800_000_000_000, "used": DECISION, **changes})


@pytest.mark.parametrize("body", [b"{}", b" { }", b'{"a":1}', b'\n{ "a": {} }'])
def test_a_body_gains_a_field(body):
    found = json.loads(explained(body))
    assert found.pop("costrouter")["chosen"]["model"] == "acme/large"
    assert found == json.loads(body)


def test_a_stream_gains_a_comment():
    comment, rest = explained(b"data: {}\n\n", streamed=True).split(b"\n\n", 1)
    assert json.loads(comment.partition(b"=")[2])["at"] == "2027-01-15T08:00:00.000Z"
    assert rest == b"data: {}\n\n"


def test_what_a_full_budget_led_to_is_explained_by_the_plan_for_that():
    used = decide(PLAN.exhausted, facts(), None)
    told = json.loads(explained(b"{}", used=used))["costrouter"]
    assert told["chosen"]["model"] == "acme/spare"
    assert [candidate["model"] for candidate in told["candidates"]] == ["acme/spare"]
    alone = msgspec.structs.replace(SEEN, route=Route(plan=plan(option()), baseline=None))
    assert alone.explanation(0, used)["chosen"]["model"] == "acme/spare"
