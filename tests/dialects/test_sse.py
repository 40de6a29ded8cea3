import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.dialects.sse import END_OF_EVENT, Cutter, EventReader, data_of, datas, named_event


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: a", b"a"),
        (b"data:a", b"a"),
        (b"data:  a", b" a"),
        (b"event: x\r\ndata: a\rdata: b\nid: 1", b"a\nb"),
        (b": ping", b""),
        (b"", b""),
    ],
)
def test_data_are_the_lines_that_say_so(event, data):
    assert data_of(event) == data


def test_an_event_without_data_is_passed_over():
    assert list(datas(b"data: a\n\n: ping\r\n\r\nevent: x\ndata: b\r\r\n\ndata: \n\n")) == [b"a", b"b"]


@given(
    st.lists(
        st.sampled_from([b"event: x", b"data: a", b"data:b", b"data: ", b": c", b"id: 1", b"\n", b"\r\n", b"\r", b"x"])
    )
)
def test_data_are_the_same_however_they_are_come_by(pieces):
    events = b"".join(pieces)
    assert datas(events) == [
        data for event in END_OF_EVENT.split(events.replace(b"\r\n", b"\n")) if (data := data_of(event))
    ]


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n"])
def test_what_begins_behind_a_whole_event_is_kept(end):
    cutter = Cutter()
    assert cutter.whole_events(b"data: a" + end + b"data:") == b"data: a" + end
    assert cutter.whole_events(b" b") == b""
    assert cutter.whole_events(b"\n\n") == b"data: b\n\n"


def test_only_a_dialects_reader_knows_what_data_say():
    with pytest.raises(TypeError, match="abstract"):
        EventReader()


def test_a_named_event():
    assert named_event(b"ping", b"{}") == b"event: ping\ndata: {}\n\n"
