"""Files of a catalog and a policy for nodes whose provider is a test's own server.

Belongs here: their texts. Does not belong here: the shipped ones, and compiled ones (catalogs.py).
"""

from __future__ import annotations

CATALOG = """
version: 1
provider: {name}
name: {name}
base_url: {url}
key_env: {name_upper}_KEY
dialect: openai
bills_after_disconnect: {bills}
timeouts: {{connect: 1, first_byte: 1.5, between_chunks: 1.5}}
models:
  - id: {name}/model
    upstream: the-{name}-model
    context_window: 100000
    max_output: 8000
    capabilities: [chat, tools, json_object, json_schema, vision, logprobs, multiple_choices, reasoning_effort, embeddings]
    tags: [chat]
    weights: open
    quality:
      chat: {{score: "0.900", sd: "0.010", source: test, date: 2026-01-01}}
    latency: {{ttft_p50_ms: 100, ttft_p95_ms: 200, tpot_ms: 5, source: test, date: 2026-01-01}}
    output: {{mean: 50, p90: 100}}
    prices:
      - {{valid_from: 2026-01-01, input: "1.00", output: "2.00", source: test, checked: 2026-01-01}}
"""
EVERYTHING = """
version: 1
policy: default
candidates: {include: ["*"]}
rules: [{name: any}]
when_nothing_fits: [refuse]
"""
