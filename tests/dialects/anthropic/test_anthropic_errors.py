import json

import pytest

from router.core.errors import RouterError
from router.dialects.anthropic.errors import error_body, error_event


@pytest.mark.parametrize(
    ("status", "type_"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (405, "invalid_request_error"),
        (408, "invalid_request_error"),
        (409, "api_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
    ],
)
def test_an_errors_type_goes_by_its_status(status, type_):
    assert json.loads(error_body(RouterError("internal_error", "Sorry.", status=status))) == {
        "type": "error",
        "error": {"type": type_, "message": "Sorry.", "code": "internal_error"},
    }


@pytest.mark.parametrize("param", ["tools", ""])
def test_an_error_names_the_field(param):
    assert json.loads(error_body(RouterError("invalid_request", "No.", param=param)))["error"] == {
        "param": param,
        "type": "invalid_request_error",
        "message": "No.",
        "code": "invalid_request",
    }


def test_the_shapes_own_words_go_before_those_of_details():
    details = {"type": "theirs", "message": "theirs", "code": "theirs", "param": "theirs", "cost": 5}
    error = RouterError("invalid_request", "No.", param="tools", details=details)
    assert json.loads(error_body(error))["error"] == {
        "type": "invalid_request_error",
        "message": "No.",
        "code": "invalid_request",
        "param": "tools",
        "cost": 5,
    }


def test_inside_a_stream_an_error_is_an_event_of_that_name():
    error = RouterError("rate_limited", "Slow down.")
    assert error_event(error) == b"event: error\ndata: " + error_body(error) + b"\n\n"
