"""Google's meters: what each field means."""

import json

import pytest

from router.core.values import Usage
from router.dialects.gemini.usage import usage_of


def told(**fields):
    return usage_of(json.dumps({"usageMetadata": fields}).encode())


@pytest.mark.parametrize(
    ("fields", "meters"),
    [
        ({"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}, Usage(10, 5)),
        ({"promptTokenCount": 10, "totalTokenCount": 10}, Usage(10)),
        ({"promptTokenCount": 10, "candidatesTokenCount": 5, "cachedContentTokenCount": 8, "totalTokenCount": 15}, Usage(10, 5, cached_tokens=8)),
        # Thoughts stand beside the candidates …
        ({"promptTokenCount": 10, "candidatesTokenCount": 5, "thoughtsTokenCount": 7, "totalTokenCount": 22}, Usage(10, 12, reasoning_tokens=7)),
        # … but for some answers within them.
        ({"promptTokenCount": 10, "candidatesTokenCount": 12, "thoughtsTokenCount": 7, "totalTokenCount": 22}, Usage(10, 12, reasoning_tokens=7)),
        # Where a total is missing, nothing says that they are within.
        ({"promptTokenCount": 10, "candidatesTokenCount": 12, "thoughtsTokenCount": 7}, Usage(10, 19, reasoning_tokens=7)),
        ({"promptTokenCount": 10, "candidatesTokenCount": 5, "toolUsePromptTokenCount": 30, "totalTokenCount": 45}, Usage(40, 5)),
        ({"promptTokenCount": 10, "candidatesTokenCount": 12, "thoughtsTokenCount": 7, "toolUsePromptTokenCount": 30, "totalTokenCount": 52}, Usage(40, 12, reasoning_tokens=7)),
        # Output that only the total shows.
        ({"promptTokenCount": 758, "candidatesTokenCount": 102, "totalTokenCount": 1725}, Usage(758, 967, reasoning_tokens=865)),
        ({"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0}, Usage(0)),
        ({"promptTokenCount": 1, "trafficType": "ON_DEMAND_FLEX"}, Usage(1, tier="flex")),
        ({"promptTokenCount": 1, "trafficType": "ON_DEMAND_PRIORITY"}, Usage(1, tier="priority")),
        ({"promptTokenCount": 1, "trafficType": "ON_DEMAND"}, Usage(1, tier="realtime")),
        ({"promptTokenCount": 1, "trafficType": "PROVISIONED_THROUGHPUT"}, Usage(1)),
        ({"promptTokenCount": 1, "trafficType": 3}, Usage(1)),
    ],
)  # fmt: skip  # one row a line
def test_the_normal_form(fields, meters):
    assert told(**fields) == meters


@pytest.mark.parametrize(
    "document",
    [
        b"{}", b"[]", b"", b"\xff", b"[" * 100_000, b'{"usageMetadata":null}', b'{"usageMetadata":[]}', b'{"usageMetadata":{}}',
        b'{"usageMetadata":{"promptTokenCount":-1}}', b'{"usageMetadata":{"promptTokenCount":"7"}}',
        b'{"usageMetadata":{"promptTokenCount":7,"candidatesTokenCount":1.5}}',
        b'{"usageMetadata":{"promptTokenCount":7,"thoughtsTokenCount":true}}',
        b'{"usageMetadata":{"promptTokenCount":7,"cachedContentTokenCount":8}}',
        b'{"usageMetadata":{"promptTokenCount":7,"totalTokenCount":1000000000000000000}}',
    ],
)  # fmt: skip  # one row a line
def test_what_no_meter_may_believe(document):
    assert usage_of(document) is None
