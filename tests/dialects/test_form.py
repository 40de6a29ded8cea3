import pytest

from router.core.errors import RouterError
from router.dialects.form import MOST_PARTS, Form, without_boundary

KIND = "multipart/form-data; boundary=xyz"


def part(name, content, head=""):
    return f'--xyz\r\nContent-Disposition: form-data; name="{name}"{head}\r\n\r\n'.encode() + content + b"\r\n"


def a_form(*parts, kind=KIND, end=b"--xyz--\r\n"):
    return Form(b"".join(parts) + end, kind)


FILE = '; filename="a.wav"\r\nContent-Type: audio/wav'


def test_a_form_is_read_part_by_part():
    form = a_form(part("model", b"whisper-1"), part("file", b"\x00\r\n--xy\r\n", FILE), part("empty", b""))
    assert [(one.name, one.is_file) for one in form.parts] == [("model", False), ("file", True), ("empty", False)]
    assert (form.text("model"), form.text("empty"), form.text("none")) == ("whisper-1", "", None)
    (file,) = form.files("file", "other")
    assert form.content(file) == b"\x00\r\n--xy\r\n"


def test_names_come_quoted_and_plain():
    head = b"--xyz\r\ncontent-disposition: form-data; name=model\r\n\r\na\r\n"
    other = b'--xyz\r\nX: y\r\nContent-Disposition: form-data; name="a\\"b"\r\n\r\nc\r\n'
    form = a_form(head, other, kind='Multipart/Form-Data; charset=utf-8; BOUNDARY="xyz"')
    assert (form.text("model"), form.text('a"b')) == ("a", "c")


def test_fields_are_replaced_and_all_else_stays_to_the_letter():
    before, after = part("file", b"\x00\xff", FILE), part("language", b"en")
    form = a_form(before, part("model", b"auto"), after)
    assert form.edited({"model": b"whisper-1"}) == b"".join(
        [before, part("model", b"whisper-1"), after, b"--xyz--\r\n"]
    )
    added = Form(a_form(before).edited({"model": b"whisper-1"}), KIND)
    assert (added.text("model"), added.content(added.files("file")[0])) == ("whisper-1", b"\x00\xff")


BROKEN = [
    (b"{}", "application/json", "must be multipart/form-data"),
    (b"--xyz--", "multipart/form-data", "with a boundary"),
    (b"hello", KIND, "does not begin with its boundary"),
    (b"--xyzw\r\n", KIND, "neither a line's end"),
    (part("file", b"abc", FILE)[:-2], KIND, "not whole"),
    (b"--xyz\r\nContent-Disposition: form-data; name=a", KIND, "not whole"),
    (part("a", b"1"), KIND, "not whole"),
    (b"--xyz\r\nContent-Type: text/plain\r\n\r\na\r\n--xyz--", KIND, "no Content-Disposition"),
    (b"--xyz\r\nContent-Disposition: form-data\r\n\r\na\r\n--xyz--", KIND, "no Content-Disposition"),
    (part("a", b"1") * (MOST_PARTS + 1) + b"--xyz--", KIND, "more than 256 parts"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "kind", "message"), BROKEN)
def test_what_is_no_whole_form_is_refused(body, kind, message):
    with pytest.raises(RouterError, match=message) as refused:
        Form(body, kind)
    assert refused.value.code == "invalid_request"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((part("model", b"a"), part("model", b"b")), "more than once"),
        ((part("model", b"a", FILE),), "not a file"),
        ((part("model", b"\xff"),), "UTF-8"),
    ],
)
def test_a_field_that_cannot_be_read_is_named(parts, message):
    with pytest.raises(RouterError, match=message) as refused:
        a_form(*parts).text("model")
    assert refused.value.param == "model"


def test_two_tries_of_a_form_differ_in_their_boundary_alone():
    one, other = part("model", b"a") + b"--xyz--", part("model", b"a").replace(b"xyz", b"w-7") + b"--w-7--"
    assert without_boundary(one, KIND) == without_boundary(other, 'multipart/form-data; boundary="w-7"')
    assert without_boundary(b"{}", "application/json") == b"{}"
