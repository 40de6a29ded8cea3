import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.core.errors import RouterError
from router.dialects.json_object import TopLevel

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(TEXTS, JSON, max_size=5)
BLANKS = st.text(alphabet=" \t\r\n", max_size=2)


@st.composite
def written(draw, members):
    """An object's members, in JSON as somebody else might write it: blanks anywhere, characters escaped at will."""

    def text(value):
        return '"' + "".join(_escaped(char) if draw(st.booleans()) else _plain(char) for char in value) + '"'

    def dump(value):
        between = draw(BLANKS)
        if isinstance(value, str):
            return text(value)
        if isinstance(value, list):
            return "[" + f"{between},".join(between + dump(item) for item in value) + between + "]"
        if isinstance(value, dict):
            return listed(value.items())
        return json.dumps(value)

    def listed(pairs):
        parts = [
            f"{draw(BLANKS)}{text(key)}{draw(BLANKS)}:{draw(BLANKS)}{dump(value)}{draw(BLANKS)}" for key, value in pairs
        ]
        return "{" + ",".join(parts) + (draw(BLANKS) if not parts else "") + "}"

    return f"{draw(BLANKS)}{listed(members)}{draw(BLANKS)}".encode()


def _plain(char):
    return char if char >= " " and char not in '"\\' else _escaped(char)


def _escaped(char):
    return json.dumps(char, ensure_ascii=True)[1:-1] if char > "~" else f"\\u{ord(char):04x}"


@st.composite
def objects(draw):
    value = draw(OBJECTS)
    return value, draw(written(value.items()))


@st.composite
def repeating(draw):
    """An object in which one key stands twice, or more often."""
    pairs = list(draw(st.dictionaries(TEXTS, JSON, min_size=1, max_size=4)).items())
    for _ in range(draw(st.integers(1, 2))):
        key, value = draw(st.sampled_from(pairs))
        pairs.insert(draw(st.integers(0, len(pairs))), (key, draw(st.just(value) | JSON)))
    return draw(written(pairs))


def refused(body):
    with pytest.raises(RouterError) as caught:
        TopLevel(body)
    assert caught.value.code == "invalid_request"
    return caught.value.message


def outcome(body):
    try:
        return TopLevel(body)
    except RouterError as error:
        return error


@given(objects())
def test_an_object_survives_being_cut_and_put_together(given):
    value, body = given
    assert json.loads(TopLevel(body).edited({})) == value


@given(objects())
def test_every_value_stays_as_it_was_written(given):
    value, body = given
    top = TopLevel(body)
    assert list(top.members) == list(value)
    assert all(top.get(key) in body and json.loads(top.get(key)) == value[key] for key in value)


@given(objects(), st.dictionaries(TEXTS, st.none() | JSON, max_size=4), st.data())
def test_members_are_replaced_added_and_left_out(given, changes, data):
    value, body = given
    for key in data.draw(st.lists(st.sampled_from(sorted(value)), max_size=3)) if value else []:
        changes[key] = data.draw(st.none() | JSON)
    raw = {key: None if change is None else json.dumps(change).encode() for key, change in changes.items()}
    wanted = {key: change for key, change in {**value, **changes}.items() if change is not None or key not in changes}
    assert json.loads(TopLevel(body).edited(raw)) == wanted


@given(repeating())
def test_a_repeated_key_is_refused(body):
    assert "more than once" in refused(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"a"}',
        b'{"model":"a","model":"b"}',
        b'{"model":"a","mod\\u0065l":"a"}',
        b'{"a":1,"model":"a","b":[],"model":"b"}',
        b'{"a":12,"a":1}',
        b'{"a":1,"a":12}',
        b'{"a":"x\\"","a":"x"}',
        b'{"a":{},"a":{"a":1}}',
        b'{"a":[1],"b":2,"a":[1]}',
        b'{"":0,"":0}',
        ' {"é":1 , "\\u00e9":1}'.encode(),
        ' {"😀":1 , "\\ud83d\\ude00":1}'.encode(),
    ],
)
def test_a_key_written_in_another_way_is_the_same_key(body):
    assert "more than once" in refused(body)


def test_a_key_repeated_inside_a_value_is_the_callers_own_affair():
    assert TopLevel(b'{"a":{"b":1,"b":2}}').get("a") == b'{"b":1,"b":2}'


def test_what_is_not_there_is_none():
    assert TopLevel(b"{}").get("model") is None
    assert TopLevel(b" { } ").edited({}) == b"{}"
    assert TopLevel(b"{}").edited({"a": b"1", "b": None}) == b'{"a":1}'
    assert TopLevel(b'{"a":null}').get("a") == b"null"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"1",
        b"null",
        b'"a"',
        b"{",
        b'{"a"}',
        b'{"a":1}{}',
        b'{"a":1} x',
        b"{a:1}",
        b'{"a":01}',
        b"\xff",
        b'{"\xff":1}',
        b'{"\\ud800":1}',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":NaN}',
        b'{"\n":1}',
        b"{}\x00",
    ],
)
def test_anything_but_one_object_is_refused(body):
    assert "must be one JSON object" in refused(body)


@pytest.mark.parametrize("bomb", [b"[", b'{"a":', b'{"a":['])
@pytest.mark.parametrize("closed", [True, False])
def test_a_nesting_bomb_is_refused(bomb, closed):
    end = {b"[": b"]", b'{"a":': b"}", b'{"a":[': b"]}"}[bomb]
    deep = bomb * 100_000 + (b"1" + end * 100_000 if closed else b"")
    assert "nested too deeply" in refused(b'{"a":' + deep + b"}")


@given(st.binary(max_size=40) | st.text(alphabet='{}[]":,\\u0019eE.-+tfn \n', max_size=30).map(str.encode))
@example(b'{"a":"\xff"}')
@example(b'{"a":1e999}')
@example(b'{"a":' + b"9" * 5000 + b"}")
def test_any_bytes_are_an_object_or_refused(body):
    found = outcome(body)
    if isinstance(found, RouterError):
        assert found.code == "invalid_request"
    else:
        again = msgspec.json.decode(found.edited({}), type=dict[str, msgspec.Raw])
        assert {key: bytes(value) for key, value in again.items()} == {key: found.get(key) for key in found.members}


def test_a_refusal_repeats_nothing_of_the_body():
    assert "secret" not in refused(b'{"secret":"secret\xff" secret}')
