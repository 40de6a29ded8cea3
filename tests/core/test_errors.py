import pytest

from router.core.errors import CODES, RouterError


def test_an_error_takes_its_status_from_the_table():
    error = RouterError("rate_limited", "Too many.", param="model", retry_after_s=2)
    assert (error.code, error.status, error.type, error.retryable) == ("rate_limited", 429, "rate_limit_error", True)
    assert (str(error), error.message, error.param, error.retry_after_s) == ("Too many.", "Too many.", "model", 2)
    assert error.details == {}


def test_a_providers_own_status_may_survive():
    assert RouterError("invalid_request", "No.", status=409, details={"a": 1}).status == 409


def test_an_error_without_a_code_of_ours_is_a_mistake():
    with pytest.raises(KeyError):
        RouterError("oops", "…")


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("invalid_request", 400),
        ("invalid_api_key", 401),
        ("budget_exceeded", 402),
        ("model_not_allowed", 403),
        ("unknown_model", 404),
        ("unknown_policy", 404),
        ("request_too_large", 413),
        ("no_feasible_model", 422),
        ("rate_limited", 429),
        ("upstream_error", 502),
        ("upstream_unavailable", 503),
        ("store_unavailable", 503),
        ("journal_unavailable", 503),
        ("upstream_timeout", 504),
    ],
)
def test_the_published_codes_keep_their_status(code, status):
    assert CODES[code].status == status


def test_nobody_is_told_to_repeat_what_was_refused():
    helps = {408, 429, 500, 502, 503, 504}
    assert {kind.status for kind in CODES.values() if kind.retryable} == helps
    assert all(400 <= kind.status < 600 for kind in CODES.values())
    assert not any(kind.retryable for kind in CODES.values() if kind.status < 429 and kind.status != 408)
