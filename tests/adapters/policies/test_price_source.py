import asyncio
import stat

import pytest
from scripted_server import answers_once, make_certificate, serve

from router.adapters.policies import price_source
from router.adapters.policies.price_source import SourceError, fetch, is_public, replace_file


@pytest.fixture(scope="module")
def contexts(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


def reply(status=b"200 OK", body=b"version: 1\n", more=b""):
    head = b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n" % (status, len(body), more)
    return answers_once(head + body)


async def downloaded(script, contexts, path="/openai.yaml", context=None):
    server_side, client_side = contexts
    async with serve(script, tls=server_side) as server:
        url = f"https://localhost:{server.origin.port}{path}"
        return await asyncio.to_thread(
            fetch, url, allowed=lambda address: address in ("127.0.0.1", "::1"), context=context or client_side
        )


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("::ffff:127.0.0.1", False),
    ],
)
def test_which_addresses_may_be_called(address, public):
    assert is_public(address) is public


async def test_a_file_comes_over_https(contexts):
    assert await downloaded(reply(), contexts) == b"version: 1\n"


async def test_a_redirect_is_not_followed(contexts):
    with pytest.raises(SourceError, match="answered 302; redirects are not followed"):
        await downloaded(reply(b"302 Found", more=b"Location: https://169.254.169.254/\r\n"), contexts)


async def test_a_certificate_that_is_not_trusted_is_refused(contexts):
    with pytest.raises(SourceError, match=r"cannot be fetched: .*certificate"):
        await downloaded(_unheard, contexts, context=price_source.ssl.create_default_context())


async def _unheard(peer):
    await peer.gone()


async def test_what_is_too_large_is_refused(contexts, monkeypatch):
    monkeypatch.setattr(price_source, "LARGEST", 5)
    with pytest.raises(SourceError, match="is larger than"):
        await downloaded(reply(), contexts)


@pytest.mark.parametrize("url", ["https://127.0.0.1:1/a.yaml", "https://[::1]/a.yaml", "https://localhost/a.yaml"])
def test_services_of_this_network_are_out_of_reach(url):
    with pytest.raises(SourceError, match="not a public address"):
        fetch(url)


@pytest.mark.parametrize(
    "url", ["http://prices.example/a.yaml", "https://me:secret@prices.example/", "file:///etc/passwd"]
)
def test_only_https_without_a_user(url):
    with pytest.raises(SourceError, match="must be https"):
        fetch(url)


def test_a_port_that_is_none_is_told():
    with pytest.raises(SourceError, match="is not a URL"):
        fetch("https://prices.example:port/")


def test_a_path_is_read_and_a_missing_one_told(tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"version: 1")
    assert fetch(str(tmp_path / "a.yaml")) == b"version: 1"
    with pytest.raises(SourceError, match=r"b\.yaml cannot be read: No such file"):
        fetch(str(tmp_path / "b.yaml"))


def test_a_file_is_replaced_whole_and_keeps_its_mode(tmp_path):
    path = tmp_path / "openai.yaml"
    replace_file(path, b"one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    path.chmod(0o640)
    replace_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert [found.name for found in tmp_path.iterdir()] == ["openai.yaml"]


def test_a_place_that_cannot_be_written_is_told_and_left_clean(tmp_path):
    with pytest.raises(SourceError, match="cannot be written: No such file"):
        replace_file(tmp_path / "missing" / "openai.yaml", b"")
    (tmp_path / "openai.yaml").mkdir()
    with pytest.raises(SourceError, match="cannot be written"):
        replace_file(tmp_path / "openai.yaml", b"")
    assert [found.name for found in tmp_path.iterdir()] == ["openai.yaml"]
