"""Clouds that host others' models: what an account's variables make of their addresses, names and keys.

Belongs here: Azure's deployments and versions, AWS's regions and signatures, Google's projects. Does not belong here: wire
formats (dialects/) and which variables name a provider (providers.py). docs/clouds.md says what may be set.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

import msgspec

from router.adapters.upstream.sigv4 import Signer, signer_from
from router.dialects.json_object import TopLevel
from router.ports import Origin, UpstreamRequest

if TYPE_CHECKING:
    from router.core.catalog.catalog import Provider

Finish = Callable[[UpstreamRequest, str], UpstreamRequest]
"""The last hand on a request: it, and the provider's name for the model."""
_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,62}")
_VERSION: Final = re.compile(r"\d{4}-\d\d-\d\d(?:-preview)?")
_JWT: Final = re.compile(r"eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_VERTEX_VERSION: Final = b'"vertex-2023-10-16"'
"""The only one that is documented. Its requests and answers are those of Messages 2023-06-01."""
_REGIONS: Final = ("us", "eu")
"""Places of Google's that are several regions; they have hosts of another form (anthropic SDK, lib/vertex)."""
_UNDATED: Final = ("", "v1", "latest", "preview")
"""Words for Azure's path that has no dates in it."""


class ProviderError(Exception):
    """A provider's variable that cannot work; the message names it and says what would be right."""


def completed(environment: Mapping[str, str]) -> Mapping[str, str]:
    """The environment with the addresses that follow from an account's other variables; what is set stays.

    Raises:
        ProviderError: one of them cannot stand in an address.
    """
    found = dict(environment)
    endpoint = environment.get("AZURE_OPENAI_ENDPOINT", "").strip().rstrip("/")
    if endpoint:
        dated = environment.get("AZURE_OPENAI_API_VERSION", "").strip() not in _UNDATED
        found.setdefault("AZURE_OPENAI_BASE_URL", f"{endpoint}/openai{'' if dated else '/v1'}")
    project = _word(environment, "VERTEX_PROJECT")
    if project:
        place = _word(environment, "VERTEX_LOCATION") or "global"
        host = "aiplatform.googleapis.com" if place == "global" else f"{place}-aiplatform.googleapis.com"
        if place in _REGIONS:
            host = f"aiplatform.{place}.rep.googleapis.com"
        found.setdefault("VERTEX_BASE_URL", f"https://{host}/v1/projects/{project}/locations/{place}")
    region = _word(environment, "BEDROCK_REGION")
    if region:
        found.setdefault("BEDROCK_BASE_URL", f"https://bedrock-runtime.{region}.amazonaws.com")
    return found


def _word(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "").strip()
    if value and _WORD.fullmatch(value) is None:
        raise ProviderError(f"{name} must be a name of letters, digits and hyphens, such as europe-west4")
    return value


def names(provider: Provider, environment: Mapping[str, str]) -> dict[str, str]:
    """An account's own names for models, by the catalog's: ``…_DEPLOYMENTS=gpt-4o=chat-prod,gpt-5-mini=mini``.

    Raises:
        ProviderError: it has another form.
    """
    variable = f"{_prefix(provider)}_DEPLOYMENTS"
    found = {}
    for entry in environment.get(variable, "").split(","):
        if not entry.strip():
            continue
        model, sign, name = entry.strip().partition("=")
        if not sign or not model.strip() or not name.strip():
            raise ProviderError(f"{variable} must be model=name, separated by commas, such as gpt-4o=chat-prod")
        found[model.strip()] = name.strip()
    return found


def key_header(provider: Provider, key: str) -> tuple[tuple[bytes, bytes], ...] | None:
    """The header for a key where a cloud has its own; None where the dialect's is right. Azure takes tokens of Entra ID as
    bearers, and keys by another name; Google takes tokens.
    """
    if "vertex" in provider.quirks:
        return ((b"authorization", b"Bearer " + key.encode("ascii")),)
    if "azure" not in provider.quirks or _JWT.fullmatch(key):
        return None
    return ((b"api-key", key.encode("ascii")),)


def finish(provider: Provider, environment: Mapping[str, str], key: str) -> Finish | None:
    """What is still to be done to each request; None for nothing.

    Raises:
        ProviderError: a variable that it goes by cannot be used.
    """
    if "azure" in provider.quirks:
        return _dated(f"{_prefix(provider)}_API_VERSION", environment)
    if "vertex" in provider.quirks:
        return _predicted
    if provider.dialect == "bedrock" and not key:
        signer = signer_from(environment, provider.base_url_env)
        return None if signer is None else _signed(signer)
    return None


def _prefix(provider: Provider) -> str:
    return (provider.base_url_env or provider.key_env).removesuffix("_BASE_URL").removesuffix("_API_KEY")


def _dated(variable: str, environment: Mapping[str, str]) -> Finish | None:
    """Azure's dated API has the deployment in its path, and the date behind it."""
    version = environment.get(variable, "").strip()
    if version in _UNDATED:
        return None
    if _VERSION.fullmatch(version) is None:
        raise ProviderError(f"{variable} must be a date such as 2024-10-21, or v1, or left out")

    def dated(request: UpstreamRequest, model: str) -> UpstreamRequest:
        path = f"/deployments/{quote(model, safe='')}{request.path}?api-version={version}"
        return msgspec.structs.replace(request, path=path)

    return dated


def _predicted(request: UpstreamRequest, model: str) -> UpstreamRequest:
    """Claude on Vertex: Messages to the letter, but that the model stands in the path, and the version in the body
    (platform.claude.com, Claude on Vertex AI).
    """
    top = TopLevel(request.body)
    verb = "streamRawPredict" if top.get("stream") == b"true" else "rawPredict"
    return msgspec.structs.replace(
        request,
        path=f"/publishers/anthropic/models/{quote(model, safe='@')}:{verb}",
        headers=tuple(header for header in request.headers if header[0] != b"anthropic-version"),
        body=top.edited({"model": None, "anthropic_version": _VERTEX_VERSION}),
    )


def _signed(signer: Signer) -> Finish:
    def signed(request: UpstreamRequest, _model: str) -> UpstreamRequest:
        return msgspec.structs.replace(request, headers=(*request.headers, *signer.headers(request)))

    return signed


def origin_of(base: str, variable: str) -> Origin:
    """An address as an origin.

    Raises:
        ProviderError: it is none; names the variable that holds it.
    """
    try:
        parts = urlsplit(base)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    tidy = base.isascii() and base.isprintable() and " " not in base
    if (
        parts.scheme not in ("http", "https")
        or not parts.hostname
        or not tidy
        or "@" in parts.netloc
        or parts.query
        or parts.fragment
    ):
        # The value is not repeated: it may hold a password.
        raise ProviderError(f"{variable} must be http(s)://host[:port]/path, without user, query or spaces")
    return Origin(
        scheme="https" if parts.scheme == "https" else "http",
        host=parts.hostname,
        port=port or (443 if parts.scheme == "https" else 80),
        base_path=parts.path.rstrip("/"),
    )
