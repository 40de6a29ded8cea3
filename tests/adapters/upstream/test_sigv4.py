"""AWS's signatures, held against botocore's own signer."""

import datetime as dt

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from router.adapters.upstream.sigv4 import Signer, signer_from
from router.ports import Origin, Timeouts, UpstreamRequest

NOON = dt.datetime(2026, 11, 23, 12, tzinfo=dt.UTC)


def a_request(path, body=b'{"a":1}', base=""):
    return UpstreamRequest(
        origin=Origin("https", "bedrock-runtime.eu-central-1.amazonaws.com", 443, base),
        method="POST", path=path, headers=((b"content-type", b"application/json"),), body=body, timeouts=Timeouts(),
    )  # fmt: skip


def theirs(request, token, monkeypatch):
    """What botocore adds to the same request, at the same time, over the same headers."""
    monkeypatch.setattr(auth, "get_current_datetime", lambda: NOON.replace(tzinfo=None))
    url = f"https://{request.origin.host}{request.origin.base_path}{request.path}"
    aws = AWSRequest(request.method, url, data=request.body)
    auth.SigV4Auth(Credentials("AKID", "secret", token or None), "bedrock", "eu-central-1").add_auth(aws)
    return {name.lower(): value for name, value in aws.headers.items()}


@pytest.mark.parametrize("token", ["", "session=="])
@pytest.mark.parametrize(
    "path",
    [
        "/model/amazon.nova-lite-v1%3A0/converse",
        "/model/arn%3Aaws%3Abedrock%3Aeu-central-1%3A1%3Ainference-profile%2Feu.x/converse-stream",
        "/model/plain/converse?b=2&a=1",
    ],
)
def test_they_are_those_that_botocore_makes(path, token, monkeypatch):
    request = a_request(path)
    wanted = theirs(request, token, monkeypatch)
    signer = Signer("AKID", "secret", token, region="eu-central-1", service="bedrock", now=NOON.timestamp)
    for _ in range(2):
        told = {name.decode(): value.decode() for name, value in signer.headers(request)}
        assert told == {name: wanted[name] for name in told}
        assert ("x-amz-security-token" in told) == bool(token)


def test_a_key_of_the_day_is_derived_once_and_the_next_day_s_anew(monkeypatch):
    clock = [NOON.timestamp()]
    signer = Signer("AKID", "secret", region="eu-central-1", service="bedrock", now=lambda: clock[0])
    told = []
    for day in range(4):
        clock[0] = NOON.timestamp() + 86_400 * day
        told.append(dict(signer.headers(a_request("/model/x/converse")))[b"authorization"])
    assert len({line.partition(b"Signature=")[2] for line in told}) == 4


def scope(environment):
    signer = signer_from({"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", **environment}, "BEDROCK_BASE_URL")
    return dict(signer.headers(a_request("/x")))[b"authorization"].decode().split("/")[2]


@pytest.mark.parametrize(
    ("environment", "region"),
    [
        ({}, "us-east-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, "eu-west-1"),
        ({"AWS_DEFAULT_REGION": "eu-west-1", "AWS_REGION": "eu-west-3"}, "eu-west-3"),
        ({"AWS_REGION": "eu-west-3", "BEDROCK_BASE_URL": "https://bedrock-runtime.us-gov-west-1.amazonaws.com"}, "us-gov-west-1"),
        ({"BEDROCK_REGION": "ap-south-1", "BEDROCK_BASE_URL": "https://vpce-1.bedrock"}, "ap-south-1"),
    ],
)  # fmt: skip  # one row a line
def test_the_region_is_the_address_s(environment, region):
    assert scope(environment) == region


def test_without_both_halves_of_a_key_there_is_no_signer():
    assert signer_from({"AWS_ACCESS_KEY_ID": "k"}, "") is None
    assert signer_from({"AWS_SECRET_ACCESS_KEY": "s"}, "") is None
