"""Keys of providers that callers bring instead of one of ours: whose they are, and the way that they open.

Belongs here: telling such a key from others, and who its caller is. Does not belong here: keys of ours (keys.py), and what
a provider says of one (exchange.py).

The key itself is kept nowhere: it goes from the request's header into the headers of its attempts. Who brings it is known
by the first 64 bits of its SHA-256, in rows, budgets, limits and logs alike.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from router.adapters.keys.keys import SECRET_PREFIX
from router.adapters.upstream.providers import with_key
from router.core.errors import RouterError
from router.core.values import Identity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from router.core.catalog.catalog import Provider
    from router.ports import ProviderLink

MOST_CHARACTERS: Final = 512


class BroughtKeys:
    """Implements `router.ports.OwnKeys`.

    Args:
        providers: those whose own keys may be brought, each with its link, the key still to be put in.
    """

    def __init__(self, providers: Mapping[str, tuple[Provider, ProviderLink]]) -> None:
        self._providers = dict(providers)

    def __call__(self, secret: str, provider: str) -> tuple[Identity, ProviderLink] | None:
        """Raises RouterError ``invalid_api_key``."""
        # A key of ours that nobody knows (any more) must never travel.
        if secret.startswith(SECRET_PREFIX) or not _sendable(secret):
            return None
        name = self._named(provider) if provider else self._told_by_prefix(secret)
        if name is None:
            return None
        found, link = self._providers[name]
        tenant, team, app = found.callers
        digest = hashlib.sha256(secret.encode()).digest()
        identity = Identity(tenant=tenant, key=f"own-{digest[:8].hex()}", name=f"own key of {name}", team=team, app=app)
        return identity, with_key(link, found, secret)

    def _named(self, provider: str) -> str:
        if provider in self._providers:
            return provider
        known = " and ".join(sorted(self._providers))
        message = f"x-costrouter-provider: keys of {provider[:64]} are not taken here, those of {known} are."
        raise RouterError("invalid_api_key", message, param="x-costrouter-provider")

    def _told_by_prefix(self, secret: str) -> str | None:
        """The one whose keys begin so; the longest beginning tells."""
        fits = {
            name: len(provider.key_prefix)
            for name, (provider, _) in self._providers.items()
            if provider.key_prefix and secret.startswith(provider.key_prefix)
        }
        longest = [name for name, length in fits.items() if length == max(fits.values())]
        if len(longest) > 1:
            message = (
                f"This may be a key of {' or '.join(sorted(longest))}; say which in the header x-costrouter-provider."
            )
            raise RouterError("invalid_api_key", message, param="x-costrouter-provider")
        return longest[0] if longest else None


def _sendable(secret: str) -> bool:
    return len(secret) <= MOST_CHARACTERS and all("!" <= character <= "~" for character in secret)
