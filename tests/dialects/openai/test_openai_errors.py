import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.errors import RouterError
from router.dialects.openai.errors import error_body, error_event, provider_error, reported_error

SECRET = "sk-live-1234"


def said(status, document=None, retry_after=None, **error):
    body = json.dumps({"error": error} if document is None else document).encode()
    return provider_error(status, body, retry_after, provider="acme", model="acme/large")


@pytest.mark.parametrize(
    ("status", "code", "ours"),
    [
        (301, "upstream_error", 502),
        (400, "invalid_request", 400),
        (401, "upstream_refused_credentials", 502),
        (402, "upstream_billing", 502),
        (403, "upstream_refused_credentials", 502),
        (404, "upstream_bad_response", 502),
        (408, "upstream_error", 502),
        (409, "invalid_request", 409),
        (413, "invalid_request", 413),
        (415, "invalid_request", 415),
        (418, "upstream_error", 502),
        (422, "invalid_request", 422),
        (429, "rate_limited", 429),
        (498, "upstream_unavailable", 503),
        (500, "upstream_error", 502),
        (502, "upstream_error", 502),
        (503, "upstream_unavailable", 503),
        (504, "upstream_error", 502),
        (529, "upstream_unavailable", 503),
    ],
)
def test_what_a_providers_status_means_to_our_caller(status, code, ours):
    error = said(status, message="Something.")
    assert (error.code, error.status) == (code, ours)
    assert error.details["upstream_status"] == status
    assert error.details["provider"] == "acme"


@pytest.mark.parametrize("status", [401, 403])
def test_what_a_provider_says_about_our_key_stays_here(status):
    error = said(status, message=f"Incorrect API key: {SECRET}", code=SECRET, type=SECRET, param=SECRET)
    assert SECRET not in repr((error.message, error.param, error.details)) + error_body(error).decode()
    assert not error.retryable


@pytest.mark.parametrize(
    "words", ["API key not valid. Please pass a valid API key.", f"Bad api_key {SECRET}", "apikey?"]
)
def test_a_400_about_our_key_stays_here_too(words):
    error = said(400, document=[{"error": {"code": 400, "message": words, "status": "INVALID_ARGUMENT"}}])
    assert error.code == "upstream_refused_credentials"
    assert words not in error_body(error).decode()


@pytest.mark.parametrize("status", [400, 429, 500])
@pytest.mark.parametrize("field", ["code", "type"])
def test_an_account_without_money_is_told_apart_from_a_limit(status, field):
    error = said(status, message=f"Account {SECRET} is out of credit", **{field: "insufficient_quota"})
    assert (error.code, error.retryable) == ("upstream_billing", False)
    assert SECRET not in error.message


@pytest.mark.parametrize("code", ["billing_error", "project_spend_limit_exceeded", "enforced_spend_limit_reached"])
def test_each_providers_word_for_it(code):
    assert said(429, code=code).code == "upstream_billing"
    assert said(429, code=code + "x").code == "rate_limited"


def test_a_refused_request_keeps_the_providers_words():
    error = said(
        400, message="max_tokens is too large", type="invalid_request_error", code="too_large", param="max_tokens"
    )
    assert (error.message, error.param, error.retryable) == ("max_tokens is too large", "max_tokens", False)
    assert json.loads(error_body(error))["error"] == {
        "message": "max_tokens is too large",
        "type": "invalid_request_error",
        "param": "max_tokens",
        "code": "too_large",
        "provider": "acme",
        "upstream_status": 400,
    }


def test_fields_of_a_strange_type_are_left_out():
    error = said(400, message="No.", type=["a"], code={"b": 1}, param=7)
    assert (error.message, error.param) == ("No.", None)
    assert error.details == {"provider": "acme", "upstream_status": 400}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"null",
        b"[]",
        b"[1]",
        b'{"error":""}',
        b'{"error":{}}',
        b'{"error":{"message":5}}',
        b'{"detail":[5,{"msg":5}]}',
        b"\xff",
        b"[" * 100_000,
    ],
)
@pytest.mark.parametrize("status", [400, 409, 413, 415, 422])
def test_a_refusal_without_words_is_still_no_case_for_a_retry(status, body):
    error = provider_error(status, body, None, provider="acme", model="acme/large")
    assert (error.code, error.status, error.retryable) == ("invalid_request", status, False)
    assert error.message == f"acme refused this request to acme/large ({status}) and did not say why."


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"error": "model is too small"}, "model is too small"),
        ({"object": "error", "message": "Invalid role", "type": "invalid_request_error", "code": 1}, "Invalid role"),
        ({"detail": "No."}, "No."),
        ({"message": {"detail": [{"loc": ["body", "n"], "msg": "too large"}]}}, "n: too large"),
        (
            {"detail": [{"loc": ["body", "messages", 0], "msg": "bad role", "input": "PROMPT"}, {"msg": "and more"}]},
            "messages.0: bad role; and more",
        ),
    ],
)
def test_a_refusal_is_understood_however_it_is_wrapped(document, words):
    error = said(400, document=document)
    assert (error.code, error.message, error.retryable) == ("invalid_request", words, False)


def test_an_unwrapped_refusal_keeps_its_type_and_stays_here_when_it_is_about_our_key():
    assert said(400, document={"message": "No.", "type": "invalid_request_error"}).details["type"] == (
        "invalid_request_error"
    )
    assert said(400, document={"message": f"bad api key {SECRET}"}).code == "upstream_refused_credentials"
    assert said(429, document={"message": "Pay.", "type": "insufficient_quota"}).code == "upstream_billing"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("2", 2.0), ("0.5", 0.5), ("0", 0.0), (None, None), ("", None), ("soon", None), ("-1", None), ("nan", None), ("inf", None),
     ("86400", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)],
)  # fmt: skip
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_travels_on_where_it_makes_sense(status, header, seconds):
    assert said(status, retry_after=header).retry_after_s == seconds


@given(st.integers(300, 599), st.binary(max_size=30) | st.builds(lambda document: json.dumps(document).encode(), st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(("error", "message", "code", "type", "param")), inner),
)))  # fmt: skip
def test_any_error_answer_has_a_meaning(status, body):
    error = provider_error(status, body, None, provider="acme", model="acme/large")
    assert json.loads(error_body(error))["error"]["message"] == error.message


def test_our_own_errors_have_the_shape_that_sdks_read():
    error = RouterError("unknown_model", "No.", param="model", details={"candidates": []})
    wanted = {
        "message": "No.",
        "type": "invalid_request_error",
        "param": "model",
        "code": "unknown_model",
        "candidates": [],
    }
    assert json.loads(error_body(error)) == {"error": wanted}
    assert error_event(error) == b"data: " + error_body(error) + b"\n\n"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"message": "The model is busy."}, "acme reported: The model is busy."),
        ({"message": "Your organization org-1 is disabled."}, "acme reported an error"),
        ({"message": "no", "code": "insufficient_quota"}, "acme reported an error"),
        ({}, "acme reported an error"),
        ({"message": 5}, "acme reported an error"),
    ],
)
def test_an_error_within_a_stream_keeps_its_words_unless_they_speak_of_our_account(said, shown):
    error = reported_error(json.dumps({"error": said}).encode(), provider="acme")
    assert error.code == "upstream_error"
    assert error.message.startswith(shown)
