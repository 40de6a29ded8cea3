"""What 200 teams' policies cost: to load, to load again after one edit, and to a request.

    python benchmarks/policies.py [--policies 200]

The same requests are decided with the default policy alone, and with all policies, alternately in one run; what counts is the
ratio. Requests come from every team in turn, so all plans are in use. Processor time, medians.
"""

from __future__ import annotations

import argparse
import datetime as dt
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from router.adapters.policies.files import packaged_policies_dir
from router.adapters.policies.store import PolicyStore
from router.core.deciding.decide import Facts, decide
from router.core.deciding.snapshot import Snapshot, compile_snapshot
from router.core.policy.governing import Wish
from router.core.tokens import exactly
from router.core.values import Identity, Needs
from router.plan import world_of

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = """\
version: 1
policy: base
reference: openai/gpt-6.1-sol
candidates: {include: [tag:chat], exclude: [quantization:int4]}
require: {max_cost_usd: "0.50"}
without_data: {quality: use reference}
when_nothing_fits: [relax tpot, relax ttft, use reference]
"""
TEAM = """\
version: 1
policy: team-%(n)d
extends: base
bind: {team: team-%(n)d, app: [helpdesk, faq]}
rules:
  - name: can-wait
    when: {deadline: ">= 1h"}
    tiers: [realtime, flex]
    require: {quality: ">= 85%% of reference", confidence: 90%%, on_time: 99.5%%}
  - name: long
    when: {input_tokens: "> %(n)dk"}
    require: {ttft: "p95 <= 9s"}
  - name: night
    when: {time: {hours: "22:00-06:00", days: [mon-fri], zone: Europe/Berlin}}
    require: {ttft: "p95 <= 3s"}
  - name: interactive
    require: {quality: ">= 85%% of reference", confidence: 90%%, ttft: "p95 <= 2s", max_cost_usd: "0.02"}
without_data: {latency: use prior}
"""
ROUNDS = 7
REQUESTS = 20_000


def written(folder: Path, policies: int) -> Path:
    """A directory with so many teams' policies beside the default one."""
    place = folder / f"policies-{policies}"
    shutil.copytree(packaged_policies_dir(), place, ignore=shutil.ignore_patterns("examples", "tests"))
    (place / "base.yaml").write_text(BASE)
    for number in range(1, policies + 1):
        (place / f"team-{number}.yaml").write_text(TEAM % {"n": number})
    return place


def spent(work: Callable[[], object]) -> float:
    """Processor seconds."""
    began = time.process_time()
    work()
    return time.process_time() - began


def snapshot(store: PolicyStore) -> Snapshot:
    """What a worker decides by."""
    loaded = store.load().loaded
    return compile_snapshot("s", world_of(loaded, loaded.catalog.providers), dt.datetime.now(dt.UTC), lambda _: None)


def requests(found: Snapshot, teams: int) -> Callable[[], None]:
    """Decides many requests, the teams in turn."""
    facts = Facts(endpoint="chat", needs=int(Needs.CHAT), tokens=exactly(700))
    wishes = [Wish(who=Identity(tenant="home", key=f"k{n}", team=f"team-{n}", app="faq")) for n in range(1, teams + 1)]

    def work() -> None:
        for number in range(REQUESTS):
            route = found.route(facts, wishes[number % teams])
            decide(route.plan, facts, route.baseline)

    work()
    return work


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--policies", type=int, default=200)
    count = parser.parse_args().policies
    with tempfile.TemporaryDirectory() as folder:
        place = written(Path(folder), count)
        began = time.perf_counter()
        cpu = spent(PolicyStore(place, None).load)
        wall = time.perf_counter() - began
        print(f"load {count} policies and the catalog   {cpu:.3f} s of processor time, {wall:.3f} s")
        store, edited = PolicyStore(place, None), place / "team-1.yaml"
        store.load()
        edited.write_text(edited.read_text() + "# edited\n")
        print(f"load again after one edit           {spent(store.load):.3f} s of processor time")
        one = requests(snapshot(PolicyStore(written(Path(folder), 1), None)), 1)
        many = requests(snapshot(store), count)
        pairs = [(spent(one), spent(many)) for _ in range(ROUNDS)]
        alone, among = (statistics.median(side) / REQUESTS * 1e6 for side in zip(*pairs, strict=True))
        ratio = statistics.median(b / a for a, b in pairs)
        print(f"route and decide                    {alone:.1f} us with 1, {among:.1f} us with {count}: x{ratio:.2f}")


if __name__ == "__main__":
    main()
