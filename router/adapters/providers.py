"""Which providers can be called from here, and how: from the catalog and the environment.

Belongs here: base URLs, keys and headers. Does not belong here: the calls (upstream.py), and which models they serve.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from router.ports import Origin, ProviderLink, Timeouts

if TYPE_CHECKING:
    from router.core.catalog import Provider


class ProviderError(Exception):
    """A provider's variable that cannot work; the message names it and says what would be right."""


def needed(provider: Provider) -> str:
    """The variable without which a provider does not exist here: its address if that is in one, else its key."""
    return provider.base_url_env or provider.key_env


def reachable(provider: Provider, environment: Mapping[str, str]) -> bool:
    """Whether the environment has what it takes and its dialect is spoken. With an address of one's own, the key is optional."""
    name = needed(provider)
    if not provider.spoken:
        return False
    return bool(environment.get(name, "").strip()) if name else bool(provider.base_url)


def real_link(provider: Provider, environment: Mapping[str, str]) -> ProviderLink:
    """How a reachable provider is called.

    Raises:
        ProviderError: its address or key cannot be used.
    """
    base = provider.base_url or environment[provider.base_url_env].strip()
    return _link(provider, _origin(base, provider.base_url_env or provider.name), _key(provider, environment))


def simulated_link(provider: Provider, port: int) -> ProviderLink:
    """How the simulator on this machine is called in a provider's place."""
    return _link(provider, _origin(f"http://127.0.0.1:{port}/{provider.name}/v1", provider.name), "simulated")


def _key(provider: Provider, environment: Mapping[str, str]) -> str:
    # A file with Windows line ends leaves a carriage return behind every value.
    key = environment.get(provider.key_env, "").strip() if provider.key_env else ""
    if not all("!" <= character <= "~" for character in key):
        raise ProviderError(f"{provider.key_env} must be printable ASCII without spaces, as it travels in a header")
    return key


def _origin(base: str, variable: str) -> Origin:
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


def _link(provider: Provider, origin: Origin, key: str) -> ProviderLink:
    headers = [(b"content-type", b"application/json")]
    if key:
        headers.append((b"authorization", f"Bearer {key}".encode("ascii")))
    return ProviderLink(
        name=provider.name,
        origin=origin,
        headers=tuple(headers),
        dialects=provider.dialects,
        quirks=provider.quirks,
        bills_after_disconnect=provider.bills_after_disconnect,
        timeouts=Timeouts(**provider.timeouts),
    )
