"""Keys, roles and the log of changes, as administrators use them on a whole node."""

from __future__ import annotations

import itertools
import json

import openai
import pytest
import yaml
from node import Node, bearer
from store import until

from router.core.access.rights import ENDPOINTS, MAY, ROLES

ASKED = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 5}
BODIES = {
    "/v1/chat/completions": ASKED,
    "/v1/embeddings": {"model": "openai/text-embedding-3-small", "input": "hi"},
    "/costrouter/v1/estimate": ASKED,
    "/costrouter/v1/budgets": {"scope": {"team": "roles"}, "limit_usd": "1", "period": "day"},
    "/costrouter/v1/keys": {"name": "made"},
    "/costrouter/v1/import": {"version": 1},
}
"""What an endpoint takes, so that it is not refused for its body."""
_names = itertools.count(1)


def keys(node, method, path="", secret=None, **body):
    url = f"{node.url}/costrouter/v1/keys{path}"
    return node.http.request(method, url, headers=bearer(secret or node.admin_key), json=body or None)


def made(node, **facts):
    answer = keys(node, "POST", name="test", **facts)
    assert answer.status_code == 201, answer.text
    return answer.json()


@pytest.fixture(scope="session")
def secrets_of_roles(shared_node):
    return {role: made(shared_node, role=role, tenant="roles")["key"] for role in ROLES}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=" ".join)
def test_every_role_at_every_endpoint(shared_node, secrets_of_roles, endpoint, role):
    method, path = endpoint
    body = BODIES.get(path) if method == "POST" else None
    answer = shared_node.http.request(
        method, f"{shared_node.url}{path.replace('*', 'none')}", headers=bearer(secrets_of_roles[role]), json=body
    )
    refused = answer.status_code == 403 and "This needs a key with the role" in answer.text
    assert refused == (role not in MAY[ENDPOINTS[endpoint]]), answer.text
    assert answer.status_code in (403, 200, 201, 400, 404), answer.text


@pytest.mark.parametrize("endpoint", [e for e, right in ENDPOINTS.items() if right != "public"], ids=" ".join)
def test_nothing_but_health_and_metrics_answers_without_a_key(shared_node, endpoint):
    method, path = endpoint
    answer = shared_node.http.request(method, f"{shared_node.url}{path.replace('*', 'none')}")
    assert answer.status_code == 401


def test_the_platform_team_makes_and_ends_keys_of_applications_only(node):
    platform = made(node, role="platform", tenant="acme")["key"]
    boss = made(node, role="finance", tenant="acme")
    answer = keys(node, "POST", secret=platform, name="x", role="admin")
    assert (answer.status_code, answer.json()["error"]["param"]) == (403, "role")
    for method, path in (("DELETE", ""), ("POST", "/rotate"), ("PATCH", "")):
        assert keys(node, method, f"/{boss['id']}{path}", secret=platform).status_code == 403
    app = keys(node, "POST", secret=platform, name="x")
    assert (app.status_code, app.json()["tenant"]) == (201, "acme")
    assert keys(node, "DELETE", f"/{app.json()['id']}", secret=platform).status_code == 200


def test_another_tenants_keys_look_like_none(node):
    boss = made(node, role="admin", tenant="one")["key"]
    foreign = made(node, tenant="two")
    assert [key["tenant"] for key in keys(node, "GET", secret=boss).json()["data"]] == ["one"]
    for method, path in (("DELETE", ""), ("POST", "/rotate"), ("PATCH", "")):
        assert keys(node, method, f"/{foreign['id']}{path}", secret=boss).status_code == 404
    assert keys(node, "POST", secret=boss, name="x", tenant="two").status_code == 403
    query = {"tenant": "two"}
    for path in ("audit", "export", "budgets", "spend"):
        answer = node.http.get(f"{node.url}/costrouter/v1/{path}", params=query, headers=bearer(boss))
        assert answer.status_code == 403


def served(node, secret):
    answer = node.http.post(
        f"{node.base_url}/chat/completions", json=ASKED, headers=bearer(secret) | {"connection": "close"}
    )
    return answer.status_code == 200


async def test_a_rotated_keys_old_secret_works_for_the_grace_and_both_are_one_key(node, tenant):
    first = made(node, tenant=tenant.name, team="search")
    second = keys(node, "POST", f"/{first['id']}/rotate", grace="2s").json()
    assert (second["id"], second["team"]) == (first["id"], "search")
    assert second["key"] != first["key"]
    assert served(node, first["key"])
    assert served(node, second["key"])
    await until(lambda: not served(node, first["key"]), 5)
    assert served(node, second["key"])
    rows = await tenant.rows(len(node.bill()))
    assert {row.key for row in rows} == {first["id"]}
    third = keys(node, "POST", f"/{first['id']}/rotate", grace="0").json()
    await until(lambda: not served(node, second["key"]), 2)
    assert served(node, third["key"])


async def test_a_revoked_key_is_refused_by_every_worker_within_a_second(node, tenant):
    key = made(node, tenant=tenant.name)
    for _ in range(8):  # each on a connection of its own, so that both workers know it
        assert served(node, key["key"])
    assert keys(node, "DELETE", f"/{key['id']}").json()["deleted"]
    await until(lambda: not any(served(node, key["key"]) for _ in range(8)), 1.5)
    assert keys(node, "DELETE", f"/{key['id']}").status_code == 404


async def test_a_key_ends_when_it_expires(node, tenant):
    key = made(node, tenant=tenant.name, expires="2s")
    assert key["expires"] is not None
    assert served(node, key["key"])
    await until(lambda: not served(node, key["key"]), 5)
    (found,) = [one for one in keys(node, "GET").json()["data"] if one["id"] == key["id"]]
    assert found["status"] == "expired"
    assert keys(node, "PATCH", f"/{key['id']}", expires="never").json()["status"] == "active"
    await until(lambda: served(node, key["key"]), 2)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"expires": "soon"}, "30d, 12h"),
        ({"expires": "2020-01-01T00:00:00Z"}, "has passed"),
        ({"delegates": ["tenant"]}, "cannot be delegated"),
        ({"role": "boss"}, "role"),
        ({"tem": "x"}, "tem"),
    ],
)
def test_a_key_that_could_not_work_is_refused_in_words(node, body, said):
    answer = keys(node, "POST", name="x", **body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]["message"]


async def test_headers_set_what_the_key_delegates_and_nothing_else(node, tenant):
    key = made(node, tenant=tenant.name, team="platform", delegates=["user", "team=search"])
    headers = {"x-costrouter-user": "ann@example.com", "x-costrouter-team": "search"}
    async with openai.AsyncOpenAI(base_url=node.base_url, api_key=key["key"], max_retries=0) as sdk:
        await sdk.chat.completions.create(**ASKED, extra_headers=headers)
        row = await tenant.row()
        assert (row.team, row.user, row.key) == ("search", "ann@example.com", key["id"])
        for name, value in (("team", "ads"), ("app", "faq")):
            with pytest.raises(openai.PermissionDeniedError, match=f"x-costrouter-{name}"):
                await sdk.chat.completions.create(**ASKED, extra_headers={f"x-costrouter-{name}": value})
    await tenant.rows(1)


def test_the_log_says_who_changed_what_from_what_to_what(node):
    tenant = f"audited{next(_names)}"
    boss = made(node, role="admin", tenant=tenant)
    head = bearer(boss["key"])
    url = f"{node.url}/costrouter/v1"
    for limit in ("1", "2"):
        body = {"scope": {"team": "a"}, "limit_usd": limit, "period": "day"}
        budget = node.http.post(f"{url}/budgets", json=body, headers=head).json()["id"]
    made_by_boss = keys(node, "POST", secret=boss["key"], name="faq").json()
    keys(node, "POST", f"/{made_by_boss['id']}/rotate", secret=boss["key"])
    keys(node, "DELETE", f"/{made_by_boss['id']}", secret=boss["key"])
    node.http.delete(f"{url}/budgets/{budget}", headers=head)
    entries = node.http.get(f"{url}/audit", headers=head).json()["data"]
    told = [(entry["action"], entry["who"]) for entry in entries]
    by = boss["id"]
    assert told == [
        ("budget.remove", by), ("key.revoke", by), ("key.rotate", by), ("key.create", by), ("budget.set", by),
        ("budget.set", by), ("key.create", "admin"),
    ]  # fmt: skip
    assert (entries[4]["before"]["limit_usd"], entries[4]["after"]["limit_usd"]) == ("1.000000000", "2.000000000")
    assert boss["key"] not in json.dumps(entries)
    assert made_by_boss["key"] not in json.dumps(entries)
    assert len(node.http.get(f"{url}/audit?limit=2", headers=head).json()["data"]) == 2
    shown = node.run("audit", "--tenant", tenant, "--limit", "10")
    assert shown.returncode == 0, shown.stderr
    assert 'limit_usd "1.000000000" → "2.000000000"' in shown.stdout
    lines = node.run("audit", "--tenant", tenant, "--json").stdout.splitlines()
    assert [json.loads(line)["action"] for line in lines] == [action for action, _ in told]


def test_the_command_makes_changes_rotates_and_revokes(node):
    told = node.run("keys", "create", "cli key", "--team", "search", "--delegate", "user", "--expires", "30d")
    assert told.returncode == 0, told.stderr
    secret = told.stdout.strip()
    name = told.stderr.split()[0]
    assert served(node, secret)
    shown = node.run("keys").stdout
    assert name in shown
    assert secret not in shown
    assert "ads" in node.run("keys", "change", name, "--team", "ads").stdout
    assert "20" in node.run("keys", "expire", name, "60d").stdout
    rotated = node.run("keys", "rotate", name, "--grace", "1m")
    assert served(node, rotated.stdout.strip())
    assert f"revoked {name}" in node.run("keys", "revoke", name).stdout
    assert node.run("keys", "revoke", name).returncode == 1


def test_an_export_goes_into_another_node_once(node, tmp_path):
    tenant = f"moved{next(_names)}"
    key = made(node, tenant=tenant, team="search", delegates=["user"])
    rotated = keys(node, "POST", f"/{key['id']}/rotate").json()
    body = {"scope": {"tenant": tenant, "team": "search"}, "limit_usd": "3.5", "period": "week", "alerts": ["80%"]}
    url = "/costrouter/v1/budgets"
    assert node.http.post(f"{node.url}{url}", json=body, headers=bearer(node.admin_key)).status_code == 201
    limit = {"scope": {"tenant": tenant, "team": "search"}, "kind": "requests", "limit": 600, "per": "hour"}
    at_once = {"scope": {"tenant": tenant}, "kind": "concurrency", "limit": 8}
    for one in (limit, at_once):
        url = f"{node.url}/costrouter/v1/limits"
        assert node.http.post(url, json=one, headers=bearer(node.admin_key)).status_code == 201
    text = node.run("export", "--tenant", tenant).stdout
    assert yaml.safe_load(text)["limits"] == [at_once, limit]
    assert key["key"] not in text
    file = tmp_path / "state.yaml"
    file.write_text(text)
    assert node.run("import", str(file)).stdout.count("unchanged") == 4
    with Node(tmp_path / "other") as other:
        assert "create" in other.run("import", "--dry-run", str(file)).stdout
        assert not served(other, rotated["key"])
        assert other.run("import", str(file)).stdout.count("create") == 4
        assert served(other, rotated["key"])
        assert served(other, key["key"])  # within the grace
        assert other.run("import", str(file)).stdout.count("unchanged") == 4
        assert yaml.safe_load(other.run("export", "--tenant", tenant).stdout) == yaml.safe_load(text)
        document = yaml.safe_load(text)
        document["budgets"][0]["limit_usd"] = "4"
        document["keys"][0]["team"] = "ads"
        document["limits"][0]["limit"] = 9
        told = other.run("import", "-", stdin=yaml.safe_dump(document))
        assert told.stdout.count("change ") == 3
        assert other.run("import", "-", stdin="version: 2\n").returncode == 1
        entries = other.http.get(f"{other.url}/costrouter/v1/audit?tenant={tenant}", headers=bearer(other.admin_key))
        assert [e["action"] for e in entries.json()["data"]].count("key.import") == 2
        assert [e["action"] for e in entries.json()["data"]].count("limit.set") == 3
