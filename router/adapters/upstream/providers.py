"""Which providers can be called from here, and how: from the catalog and the environment.

Belongs here: base URLs, keys and headers. Does not belong here: the calls (client.py), and which models they serve.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from router.adapters.upstream import hosting
from router.adapters.upstream.hosting import ProviderError, origin_of
from router.dialects.ways import OUTBOUND
from router.ports import Origin, ProviderLink, Timeouts

if TYPE_CHECKING:
    from router.core.catalog.catalog import Provider


NORMAL: Final = Timeouts()
MOST_KEYS: Final = 9
MOST_WEIGHT: Final = 9_999


_PLAIN: Final = ((b"content-type", b"application/json"),)
BROUGHT: Final = "brought"
"""What stands for callers' own keys where keys have names: all of one provider's are one way."""


def needed(provider: Provider) -> str:
    """The variable without which a provider does not exist here: its address if that is in one, else its key."""
    return provider.base_url_env or provider.key_env


def reachable(provider: Provider, environment: Mapping[str, str]) -> bool:
    """Whether the environment has what it takes and its dialect is spoken. With an address of one's own, the key is optional,
    unless callers bring theirs.
    """
    name = needed(provider)
    if not provider.spoken:
        return False
    if provider.passthrough and not _key(provider.key_env, environment):
        return False
    return bool(environment.get(name, "").strip()) if name else bool(provider.base_url)


def real_links(
    provider: Provider, environment: Mapping[str, str], timeouts: Timeouts = NORMAL
) -> tuple[ProviderLink, ...]:
    """How a reachable provider is called: once for each key, those of ``KEY``, ``KEY_2`` … ``KEY_9``, with the shares of
    calls that ``KEY_WEIGHT``, ``KEY_2_WEIGHT`` … give them, 1 by default; 0 puts a key out of use.

    Raises:
        ProviderError: its address, a key or a weight cannot be used.
    """
    base = provider.base_url or environment[provider.base_url_env].strip()
    origin = origin_of(base, provider.base_url_env or provider.name)
    names = [provider.key_env, *(f"{provider.key_env}_{number}" for number in range(2, MOST_KEYS + 1))]
    keys = [(name, key, _weight(name, environment)) for name in names if (key := _key(name, environment))]
    links = [_link(provider, origin, key, timeouts, name=name, weight=weight) for name, key, weight in keys if weight]
    if keys and not links:
        raise ProviderError(f"every key of {provider.name} has the weight 0, so none could be used")
    account, key = hosting.names(provider, environment), keys[0][1] if keys else ""
    last = hosting.finish(provider, environment, key)
    found = tuple(links) or (_link(provider, origin, "", timeouts),)
    return tuple(msgspec.structs.replace(link, names=account, finish=last) for link in found)


def simulated_link(provider: Provider, port: int, timeouts: Timeouts = NORMAL) -> ProviderLink:
    """How the simulator on this machine is called in a provider's place."""
    origin = origin_of(f"http://127.0.0.1:{port}/{provider.name}/v1", provider.name)
    link = _link(provider, origin, "simulated", timeouts, name="simulated")
    return msgspec.structs.replace(link, finish=hosting.finish(provider, {}, link.key))


def own_link(
    provider: Provider, environment: Mapping[str, str], timeouts: Timeouts, sim_port: int
) -> ProviderLink | None:
    """How a provider is called with a key that a caller brings, which is still to be put in; None where there is no address.

    Raises:
        ProviderError: its address cannot be used.
    """
    if sim_port:
        link = simulated_link(provider, sim_port, timeouts)
        return msgspec.structs.replace(link, headers=_PLAIN, key=BROUGHT, brought=True)
    base = provider.base_url or environment.get(provider.base_url_env, "").strip()
    if not base:
        return None
    link = _link(provider, origin_of(base, provider.base_url_env or provider.name), "", timeouts, name=BROUGHT)
    account, last = hosting.names(provider, environment), hosting.finish(provider, environment, BROUGHT)
    return msgspec.structs.replace(link, brought=True, names=account, finish=last)


def with_key(link: ProviderLink, provider: Provider, key: str) -> ProviderLink:
    """The link with a key put in."""
    return msgspec.structs.replace(link, headers=(*link.headers, *_credentials(provider, key)))


def _credentials(provider: Provider, key: str) -> tuple[tuple[bytes, bytes], ...]:
    return hosting.key_header(provider, key) or OUTBOUND[provider.dialect].credentials(key)


def _weight(name: str, environment: Mapping[str, str]) -> int:
    text = environment.get(f"{name}_WEIGHT", "").strip() or "1"
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MOST_WEIGHT))):
        raise ProviderError(f"{name}_WEIGHT must be a whole number from 0 to {MOST_WEIGHT}")
    return int(text)


def _key(name: str, environment: Mapping[str, str]) -> str:
    # A file with Windows line ends leaves a carriage return behind every value.
    key = environment.get(name, "").strip()
    if not all("!" <= character <= "~" for character in key):
        raise ProviderError(f"{name} must be printable ASCII without spaces, as it travels in a header")
    return key


def _link(
    provider: Provider, origin: Origin, key: str, timeouts: Timeouts, *, name: str = "", weight: int = 1
) -> ProviderLink:
    headers = list(_PLAIN)
    if key:
        headers += _credentials(provider, key)
    return ProviderLink(
        name=provider.name,
        origin=origin,
        headers=tuple(headers),
        key=name,
        weight=weight,
        dialects=provider.dialects,
        quirks=provider.quirks,
        bills_after_disconnect=provider.bills_after_disconnect,
        timeouts=msgspec.structs.replace(timeouts, **provider.timeouts),
    )
