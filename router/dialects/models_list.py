"""Lists of models in the two shapes that SDKs read: OpenAI's and Anthropic's."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any


def openai_models(names: Sequence[str], created: int) -> dict[str, Any]:
    """``GET /v1/models``, OpenAI API reference. ``created`` in seconds since the epoch."""
    return {"object": "list", "data": [openai_model(name, created) for name in names]}


def openai_model(name: str, created: int) -> dict[str, Any]:
    """One model, OpenAI's shape."""
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": name.partition("/")[0] if "/" in name else "costrouter",
    }


def anthropic_models(names: Sequence[str], created: int) -> dict[str, Any]:
    """``GET /v1/models``, Anthropic API reference: one page, whole."""
    stamp = dt.datetime.fromtimestamp(created, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    data = [{"type": "model", "id": name, "display_name": name, "created_at": stamp} for name in names]
    return {
        "data": data,
        "has_more": False,
        "first_id": names[0] if names else None,
        "last_id": names[-1] if names else None,
    }
