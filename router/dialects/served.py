"""The tier that was served, where an answer tells it beside its meters.

Belongs here: reading a header. Does not belong here: tiers that stand in the meters' document (each dialect's usage).
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from router.core.values import Usage
from router.dialects.contract import Outbound
from router.dialects.openai.usage import TIERS


def served(usage: Usage | None, outbound: Outbound, headers: Mapping[str, str]) -> Usage | None:
    """The meters with the tier that was served.

    Args:
        usage: as the answer's document has them.
        outbound: the provider's dialect.
        headers: the answer's, lower-case names.
    """
    word = headers.get(outbound.tier_header) if outbound.tier_header else None
    if usage is None or usage.tier or word is None:
        return usage
    return msgspec.structs.replace(usage, tier=TIERS.get(word.lower(), ""))
