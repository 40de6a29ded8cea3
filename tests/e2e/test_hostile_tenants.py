"""What one tenant tries to learn of another: nothing comes back, wherever it is asked. docs/security.md lists these tests."""

from __future__ import annotations

import itertools
import json

import pytest
from node import bearer

from router.core.access.rights import ENDPOINTS, ROLES

ASKED = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 5}
MARK = "victim-marker"
_numbers = itertools.count(1)


class Victim:
    """A tenant with something of everything, all of it marked."""

    def __init__(self, node):
        self.name = f"{MARK}{next(_numbers)}"
        head = bearer(node.admin_key)
        made = node.http.post(
            f"{node.url}/costrouter/v1/keys",
            json={"name": self.name, "team": self.name, "tenant": self.name, "role": "admin"},
            headers=head,
        ).json()
        self.key, self.secret = made["id"], made["key"]
        body = {"scope": {"tenant": self.name, "team": self.name}, "limit_usd": "5", "period": "day"}
        self.budget = node.http.post(f"{node.url}/costrouter/v1/budgets", json=body, headers=head).json()["id"]
        answer = node.http.post(
            f"{node.base_url}/chat/completions",
            json=ASKED | {"user": self.name},
            headers=bearer(self.secret) | {"x-costrouter-tags": f"secret={self.name}"},
        )
        assert answer.status_code == 200, answer.text
        self.request = answer.headers["x-costrouter-request-id"]

    def ids(self):
        return (self.key, self.budget, self.request, self.name)


@pytest.fixture(scope="session")
def victim(shared_node):
    return Victim(shared_node)


@pytest.fixture(scope="session")
def intruders(shared_node):
    """A key of each role, in a tenant of their own."""

    def made(role):
        body = {"name": "intruder", "tenant": "intruder", "role": role}
        answer = shared_node.http.post(
            f"{shared_node.url}/costrouter/v1/keys", json=body, headers=bearer(shared_node.admin_key)
        )
        return answer.json()["key"]

    return {role: made(role) for role in ROLES}


PRIVATE = sorted(endpoint for endpoint, right in ENDPOINTS.items() if right not in ("public", "prompt"))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("endpoint", PRIVATE, ids=" ".join)
def test_no_key_of_another_tenant_reads_or_changes_anything(shared_node, victim, intruders, endpoint, role):
    """Every endpoint that is not public, with the victim's ids in the path, and its name as tenant, in every role."""
    method, path = endpoint
    # A stranger does not even learn whether an id exists.
    for name in (*victim.ids(), "none") if "*" in path else ("",):
        for query in ({}, {"tenant": victim.name}, {"tenant": "*"}, {"team": victim.name}):
            answer = shared_node.http.request(
                method,
                f"{shared_node.url}{path.replace('*', name)}",
                params=query,
                headers=bearer(intruders[role]),
                json={} if method in ("POST", "PATCH", "PUT") else None,
            )
            if answer.status_code < 400:
                found = json.dumps(answer.json() | {"filters": []})  # a report repeats what it was asked
                assert MARK not in found, found
    assert still_there(shared_node, victim)


def still_there(node, victim):
    keys = node.http.get(f"{node.url}/costrouter/v1/keys", headers=bearer(victim.secret)).json()["data"]
    budgets = node.http.get(f"{node.url}/costrouter/v1/budgets", headers=bearer(victim.secret)).json()["data"]
    return [key["id"] for key in keys] == [victim.key] and victim.budget in [budget["id"] for budget in budgets]


def test_a_key_for_another_tenant_is_not_made(shared_node, victim, intruders):
    for role in ("admin", "platform"):
        answer = shared_node.http.post(
            f"{shared_node.url}/costrouter/v1/keys",
            json={"name": "x", "tenant": victim.name},
            headers=bearer(intruders[role]),
        )
        assert answer.status_code == 403


def test_an_import_touches_no_other_tenant(shared_node, victim, intruders):
    url = f"{shared_node.url}/costrouter/v1"
    document = shared_node.http.get(f"{url}/export", headers=bearer(victim.secret)).json()
    stolen = [{**key, "tenant": "intruder", "role": "admin"} for key in document["keys"]]
    for keys in (document["keys"], stolen):
        answer = shared_node.http.post(
            f"{url}/import", json={"version": 1, "keys": keys}, headers=bearer(intruders["admin"])
        )
        assert answer.status_code == 403, answer.text
    renamed = [{**key, "tenant": "intruder", "id": "key-00000000000000aa"} for key in document["keys"]]
    answer = shared_node.http.post(
        f"{url}/import", json={"version": 1, "keys": renamed}, headers=bearer(intruders["admin"])
    )
    assert answer.status_code == 400, "a secret's digest gives nobody its key"
    budgets = [{**document["budgets"][0], "limit_usd": "0.01"}]
    answer = shared_node.http.post(
        f"{url}/import", json={"version": 1, "budgets": budgets}, headers=bearer(intruders["admin"])
    )
    assert answer.status_code == 403
    limits = [{"scope": {"tenant": victim.name}, "kind": "requests", "limit": 0}]
    answer = shared_node.http.post(
        f"{url}/import", json={"version": 1, "limits": limits}, headers=bearer(intruders["admin"])
    )
    assert answer.status_code == 403
    assert still_there(shared_node, victim)


@pytest.mark.parametrize(
    "query",
    [
        {"group_by": "team; DROP TABLE rows"},
        {"group_by": "team) UNION SELECT * FROM rows --"},
        {"team": "' OR '1'='1"},
        {"tag:secret": "' OR 1=1 --"},
        {"tag:x') OR ('1'='1": "y"},
        {"user": "%"},
        {"group_by": "tag:a' || (SELECT 1) || '"},
        {"tenant": "*' OR ''='"},
    ],
    ids=str,
)
def test_a_report_asked_for_in_sql_finds_nothing(shared_node, victim, intruders, query):
    answer = shared_node.http.get(
        f"{shared_node.url}/costrouter/v1/spend", params=query, headers=bearer(intruders["finance"])
    )
    assert answer.status_code in (200, 400, 403), answer.text
    assert MARK not in answer.text
    assert answer.status_code != 200 or answer.json()["total"]["requests"] == 0
