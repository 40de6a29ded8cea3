from router.dialects.models_list import anthropic_models, openai_model, openai_models

NOON = 1_795_435_200


def test_openais_shape():
    assert openai_models(["auto", "acme/large"], NOON) == {
        "object": "list",
        "data": [
            {"id": "auto", "object": "model", "created": NOON, "owned_by": "costrouter"},
            {"id": "acme/large", "object": "model", "created": NOON, "owned_by": "acme"},
        ],
    }
    assert openai_model("auto", NOON)["id"] == "auto"


def test_anthropics_shape():
    assert anthropic_models(["auto", "acme/large"], NOON) == {
        "data": [
            {"type": "model", "id": "auto", "display_name": "auto", "created_at": "2026-11-23T12:00:00Z"},
            {"type": "model", "id": "acme/large", "display_name": "acme/large", "created_at": "2026-11-23T12:00:00Z"},
        ],
        "has_more": False,
        "first_id": "auto",
        "last_id": "acme/large",
    }


def test_an_empty_list_has_no_first_and_no_last():
    assert anthropic_models([], NOON) == {"data": [], "has_more": False, "first_id": None, "last_id": None}
