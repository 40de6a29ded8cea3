"""What a key lets its callers say of themselves: the user, team or app that a request is sent for.

Belongs here: whether a claim is delegated, and whose request it then is. Does not belong here: reading the headers
(dialects/orders.py), and storing keys (adapters/keys/keys.py).

    user          any user
    team=search   this team, and no other
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from router.core.errors import RouterError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from router.core.values import Identity

CLAIMS: Final = ("user", "team", "app")
MOST: Final = 64
_FORM: Final = re.compile(r"user|team|app|(?:team|app)=[a-z0-9][a-z0-9_.-]{0,63}|user=[^\x00-\x1f\x7f]{1,128}")


def read_delegates(given: Iterable[str]) -> tuple[str, ...]:
    """Delegations as people write them, in order.

    Raises:
        ValueError: one that is none, or too many.
    """
    found = tuple(sorted({one.strip() for one in given}))
    wrong = next((one for one in found if _FORM.fullmatch(one) is None), None)
    if wrong is not None:
        raise ValueError(f"{wrong[:80]!r} cannot be delegated; write user, team, app, or such as team=search")
    if len(found) > MOST:
        raise ValueError(f"a key delegates at most {MOST} values")
    return found


def on_behalf(identity: Identity, claims: tuple[tuple[str, str], ...]) -> tuple[Identity, str]:
    """Whose request it is by what its headers claim: the identity, and the user if one is claimed, else "".

    Raises:
        RouterError: ``not_allowed``, for what the key does not delegate.
    """
    user = ""
    delegated = identity.delegates
    for field, value in claims:
        if field not in delegated and f"{field}={value}" not in delegated and getattr(identity, field, None) != value:
            others = [one for one in delegated if one.startswith(field)]
            hint = f"only {', '.join(others)}" if others else f"no {field}"
            header = f"x-costrouter-{field}"
            raise RouterError("not_allowed", f"This key delegates {hint} to {header}: {value!r}.", param=header)
        if field == "user":
            user = value
        elif field == "team":
            identity = msgspec.structs.replace(identity, team=value)
        else:
            identity = msgspec.structs.replace(identity, app=value)
    return identity, user
