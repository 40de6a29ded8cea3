"""Clouds that host others' models: addresses, names, versions, keys."""

import pytest
from catalogs import a_model, compiled

from router.adapters.upstream.hosting import ProviderError, completed
from router.adapters.upstream.providers import real_links
from router.ports import Timeouts, UpstreamRequest

AZURE = compiled(provider="azure", base_url="env:AZURE_OPENAI_BASE_URL", key_env="AZURE_OPENAI_API_KEY", quirks=["azure"]).provider  # fmt: skip
CLAUDE = compiled(provider="vertex-anthropic", base_url="env:VERTEX_BASE_URL", key_env="VERTEX_ACCESS_TOKEN", dialect="anthropic", quirks=["vertex"]).provider  # fmt: skip
BEDROCK = compiled(a_model(), provider="bedrock", base_url="env:BEDROCK_BASE_URL", key_env="AWS_BEARER_TOKEN_BEDROCK", dialect="bedrock").provider  # fmt: skip
TOKEN = "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2ln"


def linked(provider, environment):
    (link,) = real_links(provider, completed(environment))
    return link


def sent(link, path="/chat/completions"):
    request = UpstreamRequest(link.origin, "POST", path, link.headers, b"{}", Timeouts())
    return request if link.finish is None else link.finish(request, "chat prod")


@pytest.mark.parametrize(
    ("environment", "address"),
    [
        ({"AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com/"}, "https://x.openai.azure.com/openai/v1"),
        ({"AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com", "AZURE_OPENAI_API_VERSION": "2024-10-21"}, "https://x.openai.azure.com/openai"),
        ({"AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com", "AZURE_OPENAI_API_VERSION": "v1"}, "https://x.openai.azure.com/openai/v1"),
        ({"AZURE_OPENAI_ENDPOINT": "https://x", "AZURE_OPENAI_BASE_URL": "https://y"}, "https://y"),
        ({"VERTEX_PROJECT": "p-1"}, "https://aiplatform.googleapis.com/v1/projects/p-1/locations/global"),
        ({"VERTEX_PROJECT": "p-1", "VERTEX_LOCATION": "europe-west4"}, "https://europe-west4-aiplatform.googleapis.com/v1/projects/p-1/locations/europe-west4"),
        ({"VERTEX_PROJECT": "p-1", "VERTEX_LOCATION": "eu"}, "https://aiplatform.eu.rep.googleapis.com/v1/projects/p-1/locations/eu"),
        ({"BEDROCK_REGION": "eu-central-1"}, "https://bedrock-runtime.eu-central-1.amazonaws.com"),
    ],
)  # fmt: skip  # one row a line
def test_addresses_follow_from_an_account_s_variables(environment, address):
    found = completed(environment)
    assert address in [found.get(name) for name in ("AZURE_OPENAI_BASE_URL", "VERTEX_BASE_URL", "BEDROCK_BASE_URL")]


def test_aws_s_keys_alone_call_nobody():
    assert completed({"AWS_ACCESS_KEY_ID": "k", "AWS_REGION": "eu-west-1"}).keys() == {
        "AWS_ACCESS_KEY_ID",
        "AWS_REGION",
    }


@pytest.mark.parametrize("name", ["VERTEX_PROJECT", "BEDROCK_REGION"])
def test_what_cannot_stand_in_an_address_is_refused(name):
    with pytest.raises(ProviderError, match=f"{name} must be a name"):
        completed({name: "evil.example/x"})


@pytest.mark.parametrize(
    ("key", "header"), [("abc123", (b"api-key", b"abc123")), (TOKEN, (b"authorization", b"Bearer " + TOKEN.encode()))]
)
def test_azure_takes_keys_by_another_name_and_tokens_as_bearers(key, header):
    link = linked(AZURE, {"AZURE_OPENAI_ENDPOINT": "https://x", "AZURE_OPENAI_API_KEY": key})
    assert link.headers == ((b"content-type", b"application/json"), header)
    assert sent(link).path == "/chat/completions"


def test_azure_s_dated_api_has_the_deployment_in_its_path():
    dated = {
        "AZURE_OPENAI_ENDPOINT": "https://x",
        "AZURE_OPENAI_API_KEY": "k",
        "AZURE_OPENAI_API_VERSION": "2025-01-01-preview",
    }
    link = linked(AZURE, dated)
    assert (link.origin.base_path, sent(link).path) == (
        "/openai",
        "/deployments/chat%20prod/chat/completions?api-version=2025-01-01-preview",
    )
    with pytest.raises(ProviderError, match="AZURE_OPENAI_API_VERSION must be a date"):
        linked(AZURE, dated | {"AZURE_OPENAI_API_VERSION": "x&y"})


def test_an_account_may_have_names_of_its_own_for_models():
    address = {"AZURE_OPENAI_ENDPOINT": "https://x", "AZURE_OPENAI_API_KEY": "k"}
    named = {"AZURE_OPENAI_DEPLOYMENTS": "gpt-4o=chat-prod, gpt-5-mini = mini,"}
    assert linked(AZURE, address | named).names == {"gpt-4o": "chat-prod", "gpt-5-mini": "mini"}
    assert linked(AZURE, address).names == {}
    for wrong in ("gpt-4o", "=x", "gpt-4o="):
        with pytest.raises(ProviderError, match="AZURE_OPENAI_DEPLOYMENTS must be model=name"):
            linked(AZURE, address | {"AZURE_OPENAI_DEPLOYMENTS": wrong})


@pytest.mark.parametrize(
    ("body", "verb", "sent_body"),
    [
        (b'{"model":"m","max_tokens":9, "messages":[]}', "rawPredict", b'{"max_tokens":9,"messages":[],"anthropic_version":"vertex-2023-10-16"}'),
        (b'{"stream": true,"anthropic_version":"x"}', "streamRawPredict", b'{"stream":true,"anthropic_version":"vertex-2023-10-16"}'),
        (b'{"stream":false}', "rawPredict", b'{"stream":false,"anthropic_version":"vertex-2023-10-16"}'),
    ],
)  # fmt: skip  # one row a line
def test_claude_on_vertex_has_the_model_in_its_path_and_the_version_in_its_body(body, verb, sent_body):
    link = linked(CLAUDE, {"VERTEX_PROJECT": "p", "VERTEX_ACCESS_TOKEN": "ya29.x"})
    headers = ((b"anthropic-version", b"2023-06-01"), (b"anthropic-beta", b"b"), *link.headers)
    found = link.finish(UpstreamRequest(link.origin, "POST", "/messages", headers, body, Timeouts()), "claude/x@2026")
    assert found.path == f"/publishers/anthropic/models/claude%2Fx@2026:{verb}"
    assert found.headers == ((b"anthropic-beta", b"b"), (b"content-type", b"application/json"), (b"authorization", b"Bearer ya29.x"))  # fmt: skip
    assert found.body == sent_body


def test_bedrock_s_requests_are_signed_unless_there_is_a_key_of_its_own():
    keys = {"BEDROCK_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "AKID", "AWS_SECRET_ACCESS_KEY": "s"}
    signed = dict(sent(linked(BEDROCK, keys), "/model/x/converse").headers)
    assert signed[b"authorization"].startswith(b"AWS4-HMAC-SHA256 Credential=AKID/")
    assert b"/eu-central-1/bedrock/aws4_request" in signed[b"authorization"]
    link = linked(BEDROCK, keys | {"AWS_BEARER_TOKEN_BEDROCK": "bedrock-key"})
    assert dict(sent(link).headers)[b"authorization"] == b"Bearer bedrock-key"
    assert linked(BEDROCK, {"BEDROCK_REGION": "eu-central-1"}).finish is None
