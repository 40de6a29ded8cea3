"""Who may do what: roles, and what each of them has at each endpoint. Tables, no branches.

Belongs here: the two tables and the questions asked of them. Does not belong here: whose tenant something is
(adapters/http/admin.py), and who calls (adapters/keys/keys.py).
"""

from __future__ import annotations

from typing import Final, Literal, get_args

Role = Literal["admin", "platform", "finance", "app"]
"""What a key is for. Applications send prompts; the platform team steers; finance reads; an administrator does all of it."""

Right = Literal[
    "public",
    "prompt",
    "look",
    "spend",
    "read_money",
    "steer",
    "read_policies",
    "read_keys",
    "app_keys",
    "read_audit",
    "own",
]
"""public: no key is asked for. prompt: sends prompts, which costs money. look: asks what there is and what would be
done. spend: what was spent, applications their own. read_money: budgets and limits. steer: changes them. read_policies: lists policies and what is wrong with them. read_keys:
lists keys. app_keys: makes and ends applications' keys (an administrator's: any). read_audit: who changed what.
own: everything at once (export and import)."""

ROLES: Final[tuple[Role, ...]] = get_args(Role)

_EVERYBODY: Final[frozenset[Role]] = frozenset(ROLES)
_SENDERS: Final[frozenset[Role]] = frozenset({"admin", "platform", "app"})
_STAFF: Final[frozenset[Role]] = frozenset({"admin", "platform", "finance"})
_STEERING: Final[frozenset[Role]] = frozenset({"admin", "platform"})
_ADMIN: Final[frozenset[Role]] = frozenset({"admin"})

MAY: Final[dict[Right, frozenset[Role]]] = {
    "public": _EVERYBODY,
    "prompt": _SENDERS,
    "look": _EVERYBODY,
    "spend": _EVERYBODY,
    "read_money": _STAFF,
    "steer": _STEERING,
    "read_policies": _STAFF,
    "read_keys": _STAFF,
    "app_keys": _STEERING,
    "read_audit": _STAFF,
    "own": _ADMIN,
}
"""Which roles have a right."""

ENDPOINTS: Final[dict[tuple[str, str], Right]] = {
    ("GET", "/healthz"): "public",
    ("GET", "/readyz"): "public",
    ("GET", "/metrics"): "public",
    ("POST", "/v1/chat/completions"): "prompt",
    ("POST", "/v1/embeddings"): "prompt",
    ("POST", "/v1/messages"): "prompt",
    ("POST", "/v1/responses"): "prompt",
    ("POST", "/v1/moderations"): "prompt",
    ("POST", "/v1/images/generations"): "prompt",
    ("POST", "/v1/images/edits"): "prompt",
    ("POST", "/v1/images/variations"): "prompt",
    ("POST", "/v1/audio/transcriptions"): "prompt",
    ("POST", "/v1/audio/translations"): "prompt",
    ("POST", "/v1/audio/speech"): "prompt",
    ("POST", "/v1/rerank"): "prompt",
    ("POST", "/v2/rerank"): "prompt",
    ("POST", "/v1/responses/input_tokens"): "look",
    ("GET", "/v1/responses/*"): "prompt",
    ("DELETE", "/v1/responses/*"): "prompt",
    ("POST", "/v1/responses/*/cancel"): "prompt",
    ("GET", "/v1/responses/*/input_items"): "prompt",
    ("POST", "/v1/messages/count_tokens"): "look",
    ("GET", "/v1/models"): "look",
    ("GET", "/v1/models/*"): "look",
    ("POST", "/costrouter/v1/estimate"): "look",
    ("GET", "/costrouter/v1/decisions/*"): "look",
    ("GET", "/costrouter/v1/spend"): "spend",
    ("POST", "/v1/files"): "prompt",
    ("GET", "/v1/files"): "look",
    ("GET", "/v1/files/*"): "look",
    ("GET", "/v1/files/*/content"): "prompt",
    ("DELETE", "/v1/files/*"): "prompt",
    ("POST", "/v1/batches"): "prompt",
    ("GET", "/v1/batches"): "look",
    ("GET", "/v1/batches/*"): "look",
    ("POST", "/v1/batches/*/cancel"): "prompt",
    ("POST", "/v1/messages/batches"): "prompt",
    ("GET", "/v1/messages/batches"): "look",
    ("GET", "/v1/messages/batches/*"): "look",
    ("GET", "/v1/messages/batches/*/results"): "prompt",
    ("POST", "/v1/messages/batches/*/cancel"): "prompt",
    ("DELETE", "/v1/messages/batches/*"): "prompt",
    ("GET", "/costrouter/v1/jobs"): "look",
    ("GET", "/costrouter/v1/jobs/*"): "look",
    ("POST", "/costrouter/v1/jobs/*/cancel"): "prompt",
    ("DELETE", "/costrouter/v1/jobs/*"): "prompt",
    ("GET", "/costrouter/v1/budgets"): "read_money",
    ("POST", "/costrouter/v1/budgets"): "steer",
    ("DELETE", "/costrouter/v1/budgets/*"): "steer",
    ("GET", "/costrouter/v1/policies"): "read_policies",
    ("GET", "/costrouter/v1/limits"): "read_money",
    ("POST", "/costrouter/v1/limits"): "steer",
    ("DELETE", "/costrouter/v1/limits/*"): "steer",
    ("GET", "/costrouter/v1/keys"): "read_keys",
    ("POST", "/costrouter/v1/keys"): "app_keys",
    ("PATCH", "/costrouter/v1/keys/*"): "app_keys",
    ("POST", "/costrouter/v1/keys/*/rotate"): "app_keys",
    ("DELETE", "/costrouter/v1/keys/*"): "app_keys",
    ("GET", "/costrouter/v1/audit"): "read_audit",
    ("GET", "/costrouter/v1/export"): "own",
    ("POST", "/costrouter/v1/import"): "own",
}
"""The right that each endpoint asks for. The server serves nothing that does not stand here."""


def right_of(method: str, path: str) -> Right:
    """The right that an endpoint of the server's table asks for.

    Raises:
        LookupError: nobody has said who may call it.
    """
    right = ENDPOINTS.get((method, path))
    if right is None:
        raise LookupError(f"who may call {method} {path}? Say so in router/core/access/rights.py")
    return right


TAKE_BROUGHT: Final = frozenset(
    {
        ("GET", "/v1/models"),
        ("GET", "/v1/models/*"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1/responses/input_tokens"),
        ("GET", "/v1/responses/*"),
        ("DELETE", "/v1/responses/*"),
        ("POST", "/v1/responses/*/cancel"),
        ("GET", "/v1/responses/*/input_items"),
    }
)
"""Beside prompts, what answers to callers who bring a provider's own key: nobody but the provider knows whether it is one."""


def takes_brought(method: str, path: str) -> bool:
    """Whether an endpoint, beside those of prompts, answers to a provider's own key."""
    return (method, path) in TAKE_BROUGHT


def may(role: Role, right: Right) -> bool:
    """Whether a role has a right."""
    return role in MAY[right]


def refused(role: Role, right: Right) -> str:
    """A refusal in words, naming the roles that would do."""
    able = " or ".join(role for role in ROLES if role in MAY[right])
    return f"This needs a key with the role {able}; this key's is {role}."


def may_make(role: Role, wanted: Role) -> bool:
    """Whether a role that has ``app_keys`` may make, change or end keys of that role."""
    return role == "admin" or wanted == "app"
