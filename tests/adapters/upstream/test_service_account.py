"""Google's tokens for a service account, and a worker's keys as they change."""

import asyncio
import base64
import json
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fakes import FakeClock, FakeResponse, FakeUpstream
from store import until

import router.adapters.upstream.provider_keys as keys
from router.adapters.upstream import credentials
from router.adapters.upstream.credentials import Credentials
from router.adapters.upstream.hosting import ProviderError
from router.adapters.upstream.service_account import NoTokenError, ServiceAccount, Token
from router.ports import UpstreamFailure

RSA = rsa.generate_private_key(65537, 2048)
NOW_S = 1_800_000_000


def pem(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.fixture
def account_file(tmp_path):
    path = tmp_path / "account.json"
    document = {"type": "service_account", "client_email": "a@p.iam", "private_key": pem(RSA), "private_key_id": "k1", "token_uri": "https://tokens.example/token"}  # fmt: skip
    path.write_text(json.dumps(document))
    return path


def unpacked(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_an_assertion_is_signed_by_the_account_s_key(account_file):
    head, claims, signature = ServiceAccount(account_file).assertion(NOW_S).split(".")
    assert json.loads(unpacked(head)) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}
    assert json.loads(unpacked(claims)) == {
        "iss": "a@p.iam", "scope": "https://www.googleapis.com/auth/cloud-platform", "aud": "https://tokens.example/token",
        "iat": NOW_S, "exp": NOW_S + 3600,
    }  # fmt: skip
    RSA.public_key().verify(unpacked(signature), f"{head}.{claims}".encode(), padding.PKCS1v15(), hashes.SHA256())


def test_a_key_without_an_id_is_sent_without_one(account_file):
    document = json.loads(account_file.read_text())
    account_file.write_text(json.dumps({**document, "private_key_id": ""}))
    assert "kid" not in json.loads(unpacked(ServiceAccount(account_file).assertion(NOW_S).split(".")[0]))


async def test_it_is_exchanged_for_a_token(account_file):
    upstream = FakeUpstream(FakeResponse([b'{"access_token":"ya29.x","expires_in":3599,"token_type":"Bearer"}']))
    assert await ServiceAccount(account_file).token(upstream, NOW_S) == Token("ya29.x", 3599)
    (sent,) = upstream.sent
    form = parse_qs(sent.body.decode())
    assert (sent.method, sent.origin.host, sent.origin.base_path, sent.path) == ("POST", "tokens.example", "/token", "")
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    assert form["assertion"][0].count(".") == 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (UpstreamFailure("connect", "cannot connect to tokens.example", sent=False), "cannot connect"),
        (FakeResponse([b'{"error":"invalid_grant"}'], status=400), "tokens.example answered 400"),
        (FakeResponse([b"<html>"]), "something unreadable"),
        (FakeResponse([b"{}"]), "something unreadable"),
    ],
)
async def test_why_there_is_no_token(account_file, answer, words):
    with pytest.raises(NoTokenError, match=words):
        await ServiceAccount(account_file).token(FakeUpstream(answer), NOW_S)


@pytest.mark.parametrize(
    "change", [{"private_key": "secret"}, {"client_email": 7}, {"private_key": pem(ec.generate_private_key(ec.SECP256R1()))}, {"token_uri": "ftp://secret"}]
)  # fmt: skip  # one row
def test_a_file_that_cannot_be_used_is_named_without_what_is_in_it(account_file, change):
    document = json.loads(account_file.read_text())
    account_file.write_text(json.dumps({**document, **change}))
    with pytest.raises(ProviderError, match="VERTEX_SERVICE_ACCOUNT") as refused:
        ServiceAccount(account_file)
    assert "secret" not in str(refused.value)
    with pytest.raises(ProviderError, match="is no service account's key"):
        ServiceAccount(account_file.with_name("missing"))


class Links:
    """Stands for the breakers: keeps the keys that links were made of."""

    def __init__(self):
        self.given = []

    def replace_links(self, links):
        self.given.append(links)


def a_token(name, lasts_s=3600):
    return FakeResponse([json.dumps({"access_token": name, "expires_in": lasts_s}).encode()])


def made(*answers, renew=dict):
    links = Links()
    return Credentials(FakeUpstream(*answers), FakeClock(), links, renew), links


async def test_a_worker_has_its_first_token_before_it_serves(account_file):
    held, links = made(a_token("one"))
    await held.begin({"VERTEX_SERVICE_ACCOUNT": str(account_file)})
    assert links.given == [{"VERTEX_ACCESS_TOKEN": "one"}]


async def test_without_an_account_nothing_is_asked():
    held, links = made()
    await held.begin({})
    async with asyncio.timeout(5):
        await held._keep_renewed()
    assert links.given == []


async def test_a_token_that_does_not_come_is_not_waited_for_long(account_file, monkeypatch):
    class Silent(FakeUpstream):
        async def send(self, request):
            await asyncio.Event().wait()

    monkeypatch.setattr(credentials, "FIRST_S", 0.01)
    links = Links()
    held = Credentials(Silent(), FakeClock(), links, dict)
    async with asyncio.timeout(5):
        await held.begin({"VERTEX_SERVICE_ACCOUNT": str(account_file)})
    assert links.given == []


async def test_tokens_are_renewed_in_time_and_keys_of_the_file_stay(account_file, tmp_path, monkeypatch):
    monkeypatch.setattr(credentials, "AGAIN_S", 0.01)
    monkeypatch.setattr(keys, "LOOK_S", 0.01)
    failed = FakeResponse(status=500)
    held, links = made(a_token("one", 0), failed, a_token("two", 0), a_token("three", 3600))
    file = tmp_path / "keys"
    file.write_text("OPENAI_API_KEY=sk-1\n")
    await held.begin({"VERTEX_SERVICE_ACCOUNT": str(account_file)})
    keeping = asyncio.ensure_future(held.keep(file))
    await until(lambda: len(links.given) == 4)
    file.write_text("OPENAI_API_KEY=sk-22\n")
    await until(lambda: len(links.given) == 5)
    keeping.cancel()
    both = [(found.get("OPENAI_API_KEY"), found["VERTEX_ACCESS_TOKEN"]) for found in links.given]
    assert both == [(None, "one"), ("sk-1", "one"), ("sk-1", "two"), ("sk-1", "three"), ("sk-22", "three")]


async def test_links_that_cannot_be_made_leave_those_before(account_file):
    def refuses(_keys):
        raise ProviderError("no")

    held, links = made(a_token("one"), renew=refuses)
    await held.begin({"VERTEX_SERVICE_ACCOUNT": str(account_file)})
    assert links.given == []
