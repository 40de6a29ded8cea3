"""Heads that take the shorter way, and all the others."""

import pytest

from router.adapters.http.head import LONGEST_HEAD, Heads

PATH = "/v1/chat/completions"


def text(*fields, first=f"POST {PATH} HTTP/1.1", host="Host: x", length="Content-Length: 5"):
    lines = [first, host, length, *fields, "", ""]
    return "\r\n".join(line for line in lines[:-2] if line).encode() + b"\r\n\r\n"


def test_an_ordinary_head_is_read():
    written = text("Authorization: Bearer k", "X-Empty:", "x-tag:\t a:b \t")
    head = Heads().read(written + b"hello")
    assert (head.path, head.body_bytes, head.keep_alive, head.size) == (PATH, 5, True, len(written))
    assert head.headers == {
        "host": "x",
        "content-length": "5",
        "authorization": "Bearer k",
        "x-empty": "",
        "x-tag": "a:b",
    }


def test_the_same_head_is_known_again_and_few_are_kept():
    heads = Heads()
    first = heads.read(text())
    assert heads.read(text() + b"other") is first
    for number in range(1_100):
        heads.read(text(f"x-number: {number}"))
    assert heads.read(text()) == first
    assert heads.read(text()) is not first


@pytest.mark.parametrize(("connection", "keeps"), [("keep-alive", True), ("Keep-Alive", True), ("close", False)])
def test_a_connection_is_kept_unless_told(connection, keeps):
    assert Heads().read(text(f"Connection: {connection}")).keep_alive is keeps


@pytest.mark.parametrize(
    "written",
    [
        text()[:-1],
        text(first=f"GET {PATH} HTTP/1.1"),
        text(first=f"POST {PATH} HTTP/1.0"),
        text(first=f"POST {PATH}?a=b HTTP/1.1"),
        text(first=f"POST http://x{PATH} HTTP/1.1"),
        text(first=f"POST  {PATH} HTTP/1.1"),
        text(host=""),
        text(length=""),
        text(length="Content-Length: 05"),
        text(length="Content-Length: +5"),
        text(length="Content-Length: 5, 5"),
        text(length="Content-Length: 1234567890"),
        text("Content-Length: 5"),
        text("Host: y"),
        text("Transfer-Encoding: chunked"),
        text("Content-Encoding: gzip"),
        text("Expect: 100-continue"),
        text("Connection: upgrade", "Upgrade: websocket"),
        text("Connection: keep-alive, close"),
        text("X-Folded: a", " b: c"),
        text("Bad Name: a"),
        text("Name : a"),
        text(": a"),
        text("no colon"),
        text("X-Null: a\0b"),
        text("X-Return: a\rb"),
        text("X-Line: a\nContent-Length: 6"),
        text("X-Accent: é"),
        text("X-Long: " + "a" * LONGEST_HEAD),
    ],
    ids=repr,
)
def test_everything_else_is_left_to_the_other_parser(written):
    assert Heads().read(written) is None
