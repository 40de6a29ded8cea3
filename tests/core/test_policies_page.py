"""Every YAML block of docs/policies.md is what it says to be."""

import json
import re
from pathlib import Path

import yaml
from catalogs import NOW

from router.adapters.policies.files import load_policies, packaged_policies_dir
from router.core.policy.cases_schema import CasesSchema
from router.core.policy.compile import compile_policy
from router.core.policy.schema import PolicySchema, json_schema
from router.core.schema import validate

PAGE = (Path(__file__).parents[2] / "docs" / "policies.md").read_text()
BLOCKS = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def test_every_policy_of_the_page_can_be_used():
    catalog = load_policies(packaged_policies_dir(), NOW).catalog
    policies = [block for block in BLOCKS if "policy" in block]
    assert [block["policy"] for block in policies] == ["support-chat", "base"]
    for block in policies:
        assert compile_policy(validate(PolicySchema, block), catalog, NOW).warnings == ()


def test_every_test_of_the_page_can_be_read():
    (cases,) = [validate(CasesSchema, block) for block in BLOCKS if "cases" in block]
    assert len(cases.cases) == 2


def test_every_key_of_the_language_is_on_the_page():
    schema = json.loads(json_schema())
    keys = set(schema["properties"]) | set(schema["$defs"]["WhenSchema"]["properties"])
    keys |= set(schema["$defs"]["RequireSchema"]["properties"]) | set(schema["$defs"]["BindSchema"]["properties"])
    assert [key for key in sorted(keys - {"version"}) if f"`{key}`" not in PAGE and f"`{key}:" not in PAGE] == []
