import pytest

from router.core.trace_context import TraceContext, read_traceparent, traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
CONTEXT = TraceContext(int(TRACE, 16), int(SPAN, 16), sampled=True)


def test_the_standards_own_example_is_read_and_written():
    assert read_traceparent(f"00-{TRACE}-{SPAN}-01") == CONTEXT
    assert traceparent(CONTEXT) == f"00-{TRACE}-{SPAN}-01"


def test_whoever_is_not_sampled_stays_so():
    found = read_traceparent(f"00-{TRACE}-{SPAN}-02")
    assert not found.sampled
    assert traceparent(found).endswith("-00")


def test_a_later_version_is_read_as_far_as_it_is_known():
    assert read_traceparent(f"01-{TRACE}-{SPAN}-01-more") == CONTEXT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
    ],
)
def test_a_bad_header_is_as_good_as_none(text):
    assert read_traceparent(text) is None
