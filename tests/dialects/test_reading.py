import pytest

from router.core.errors import RouterError
from router.core.wire import Wire
from router.dialects.json_object import TopLevel
from router.dialects.neutral import Media
from router.dialects.reading import Notes, a_list, a_text, an_object, json_object, media_at, members, optional_text


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", {}),
        (" \n", {}),
        ("{}", {}),
        ('{"q":[1]}', {"q": [1]}),
        ("[]", None),
        ("null", None),
        ("{", None),
        ('{"q":1} and more', None),
        ('{"q":"\ud800"}', None),
        ("[" * 100_000, None),
    ],
)
def test_only_an_object_is_one(text, found):
    assert json_object(text) == found


@pytest.mark.parametrize(
    ("url", "media"),
    [
        ("https://example.com/a,b", Media("file", url="https://example.com/a,b")),
        ("data:application/pdf;base64,JVBE", Media("file", "application/pdf", "JVBE")),
        ("data:text/plain;charset=utf-8;base64,SGk=", Media("file", "text/plain", "SGk=")),
        ("data:;base64,SGk=", Media("file", "", "SGk=")),
        ("data:text/plain,Hi", Media("file", url="data:text/plain,Hi")),
        ("data:text/plain;base64", Media("file", url="data:text/plain;base64")),
    ],
)
def test_a_url_points_to_something_or_holds_it(url, media):
    assert media_at("file", url) == media


@pytest.mark.parametrize(
    ("read", "given", "found"),
    [(an_object, {"a": 1}, {"a": 1}), (a_list, [1], [1]), (a_list, None, []), (a_text, "", ""),
     (optional_text, None, ""), (optional_text, "x", "x")],
)  # fmt: skip
def test_what_is_right_is_given_back(read, given, found):
    assert read(given, "tools") == found


@pytest.mark.parametrize(
    ("read", "given", "wanted"),
    [(an_object, None, "an object"), (an_object, [], "an object"), (a_list, {}, "a list"), (a_text, None, "a text"),
     (optional_text, 0, "a text")],
)  # fmt: skip
def test_what_is_wrong_is_named(read, given, wanted):
    with pytest.raises(RouterError) as caught:
        read(given, "tools.name")
    assert (caught.value.param, caught.value.message) == ("tools.name", f"tools.name must be {wanted}.")


def test_the_first_words_for_a_feature_stay():
    notes = Notes()
    assert (notes.wire, notes.notes) == (Wire(0), ())
    notes.add(Wire.SEED, "seed")
    notes.others(Wire.CHAT_ONLY, {"known": 1, "empty": None, "new": 0, "newer": 1}, ("known",), "tools.")
    notes.add(Wire.SEED, "another seed")
    assert notes.wire == Wire.SEED | Wire.CHAT_ONLY
    assert notes.notes == ((Wire.SEED, "seed"), (Wire.CHAT_ONLY, "the field tools.new"))


@pytest.mark.parametrize("value", [b'"\xff"', b'{"a":"\xff"}'])
def test_what_routing_has_passed_over_is_looked_at_in_the_end(value):
    top = TopLevel(b'{"model":"m","user":' + value + b"}")
    with pytest.raises(RouterError, match="user must be JSON in UTF-8") as refused:
        members(top)
    assert (refused.value.code, refused.value.param) == ("invalid_request", "user")
    assert members(TopLevel(b'{"a":[1],"b":null}')) == {"a": [1], "b": None}
