"""The tier that was served, told in a header."""

import pytest

from router.core.values import Usage
from router.dialects.served import served
from router.dialects.ways import OUTBOUND

GEMINI, OPENAI = OUTBOUND["gemini"], OUTBOUND["openai"]
TOLD = {"x-gemini-service-tier": "standard"}


@pytest.mark.parametrize(
    ("usage", "outbound", "headers", "tier"),
    [
        (Usage(1), GEMINI, TOLD, "realtime"),
        (Usage(1), GEMINI, {"x-gemini-service-tier": "PRIORITY"}, "priority"),
        (Usage(1), GEMINI, {"x-gemini-service-tier": "new"}, ""),
        (Usage(1), GEMINI, {}, ""),
        (Usage(1, tier="flex"), GEMINI, TOLD, "flex"),
        (Usage(1), OPENAI, TOLD, ""),
    ],
)
def test_a_header_tells_it_where_the_meters_do_not(usage, outbound, headers, tier):
    assert served(usage, outbound, headers).tier == tier


def test_without_meters_there_is_nothing_to_tell_of():
    assert served(None, GEMINI, TOLD) is None
