import os
import shutil

import pytest
import yaml
from catalogs import a_model, a_policy, a_price, a_provider

from router.adapters.policies.store import KEPT, PolicyStore
from router.adapters.policies.yaml_document import PolicyFileError


class Place:
    """A directory of policies, a data directory, and stores on them."""

    def __init__(self, tmp_path):
        self.policies = tmp_path / "policies"
        self.data = tmp_path / "data"
        (self.policies / "catalog").mkdir(parents=True)
        self.data.mkdir()
        self.catalog()
        self.put("default")
        self.store = PolicyStore(self.policies, self.data)

    def catalog(self, **price):
        model = a_model(prices=[a_price(**price)])
        (self.policies / "catalog" / "acme.yaml").write_text(yaml.safe_dump(a_provider(model)))

    def put(self, name, **changes):
        document = {key: value for key, value in a_policy(policy=name, **changes).items() if value is not None}
        self.write(name, yaml.safe_dump(document, sort_keys=False))

    def write(self, name, text):
        (self.policies / f"{name}.yaml").write_text(text)

    def restarted(self):
        self.store = PolicyStore(self.policies, self.data)
        return self.store


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def modes(found):
    return {name: policy.mode for name, policy in found.loaded.policies.items()}


def states(found):
    return {standing.file: standing.state for standing in found.standing}


def test_a_sound_directory_is_in_force_as_it_stands(place):
    found = place.store.load()
    assert (found.number, modes(found), states(found)) == (1, {"default": "live"}, {"default.yaml": "live"})
    assert (found.faults, found.reasons) == ((), [])


def test_an_edit_is_a_new_set_and_none_is_the_same(place):
    assert place.store.load().number == 1
    assert place.store.load().number == 1
    place.put("default", mode="observe")
    found = place.store.load()
    assert (found.number, modes(found)) == (2, {"default": "observe"})


def test_workers_of_a_node_give_a_set_the_same_number(place):
    other = PolicyStore(place.policies, place.data)
    assert (place.store.load().number, other.load().number) == (1, 1)
    place.put("default", mode="observe")
    assert (other.load().number, place.store.load().number) == (2, 2)


def test_a_slow_worker_does_not_take_back_what_another_found_good(place, monkeypatch):
    slow = PolicyStore(place.policies, place.data)
    slow.load()
    read = slow._contents

    def long_ago():
        found = read()
        place.put("support")
        assert place.store.load().number == 2
        return found

    monkeypatch.setattr(slow, "_contents", long_ago)
    assert set(modes(slow.load())) == {"default"}
    monkeypatch.undo()
    place.write("support", "polcy: support")
    assert states(slow.load())["support.yaml"] == "held"


def test_a_bad_edit_keeps_the_last_good_version(place):
    place.store.load()
    place.write("default", "version: 1\npolicy: default\nmode: lve\n")
    found = place.store.load()
    assert (found.number, modes(found), states(found)) == (1, {"default": "live"}, {"default.yaml": "held"})
    (fault,) = found.faults
    assert (fault.line, "did you mean live?" in fault.message) == (3, True)
    assert found.reasons == [f"{fault.brief}; the last good version serves"]
    assert found.standing[0].reason == fault.brief
    assert found.standing[0].version.startswith("default@")


def test_it_does_so_across_restarts(place):
    place.store.load()
    place.write("default", "mode: [")
    found = place.restarted().load()
    assert (modes(found), states(found)) == ({"default": "live"}, {"default.yaml": "held"})
    place.put("default", mode="observe")
    assert modes(place.store.load()) == {"default": "observe"}


def test_without_anything_good_a_bad_directory_is_refused(place):
    place.write("default", "mode: [")
    with pytest.raises(PolicyFileError, match="not YAML"):
        place.store.load()


def test_others_edits_are_taken_while_one_is_bad(place):
    place.put("support")
    place.store.load()
    place.write("support", "polcy: support")
    place.put("default", mode="observe")
    found = place.store.load()
    assert modes(found) == {"default": "observe", "support": "live"}
    assert states(found) == {"default.yaml": "live", "support.yaml": "held"}


def test_a_new_file_that_never_was_good_is_left_out(place):
    place.store.load()
    place.write("support", "polcy: support")
    found = place.store.load()
    assert (modes(found), states(found)) == (
        {"default": "live"},
        {"default.yaml": "live", "support.yaml": "refused"},
    )


def test_guardrails_that_would_break_what_extends_them_wait(place):
    place.put("base", rules=None, require={"ttft": "p95 <= 2s"})
    place.put("support", extends="base", candidates=None, require={"ttft": "p95 <= 1500ms"})
    place.store.load()
    place.put("base", rules=None, require={"ttft": "p95 <= 1s"})
    found = place.store.load()
    assert found.loaded.policies["support"].rules[0].ttft.ms == 1500
    assert states(found) == {"base.yaml": "held", "default.yaml": "live", "support.yaml": "live"}
    assert "looser than base.yaml:7 allows" in found.faults[0].message


def test_a_file_that_is_gone_is_gone(place):
    place.put("support")
    assert set(modes(place.store.load())) == {"default", "support"}
    (place.policies / "support.yaml").unlink()
    assert set(modes(place.store.load())) == {"default"}


def test_a_directory_without_policies_keeps_what_was(place):
    place.store.load()
    (place.policies / "default.yaml").unlink()
    found = place.store.load()
    assert modes(found) == {"default": "live"}
    assert "there is no *.yaml file" in found.faults[0].message


def test_several_policies_need_a_default(place):
    place.put("support")
    place.store.load()
    place.put("sales")
    (place.policies / "default.yaml").unlink()
    found = place.store.load()
    assert set(modes(found)) == {"default", "support"}
    assert "one must be called 'default'" in found.faults[0].message


def test_guardrails_alone_serve_nobody(tmp_path):
    place = Place(tmp_path)
    place.put("default", rules=None)
    with pytest.raises(PolicyFileError, match="no policy that requests can go by"):
        place.store.load()


def test_a_bad_catalog_keeps_the_last_good_one(place):
    place.store.load()
    place.catalog(input="1", output="half")
    found = place.store.load()
    assert found.loaded.catalog.models[0].prices[0].rates.input == 1_000_000
    assert states(found) == {"catalog/acme.yaml": "held", "default.yaml": "live"}


def test_a_new_price_is_taken(place):
    first = place.store.load()
    assert place.store.load().loaded.catalog is first.loaded.catalog, "nothing changed, so nothing is compiled again"
    place.catalog(input="2.00")
    found = place.store.load()
    assert found.loaded.catalog.models[0].prices[0].rates.input == 2_000_000
    assert found.number == 2


def test_only_what_changed_is_compiled_again(place):
    place.put("support")
    first = place.store.load().loaded.policies
    place.put("default", mode="observe")
    again = place.store.load().loaded.policies
    assert again["support"] is first["support"]
    assert again["default"] is not first["default"]


def test_changes_are_noticed_by_time_and_size(place):
    assert place.store.changed()
    place.store.load()
    assert not place.store.changed()
    place.put("default", mode="observe")
    assert place.store.changed()
    place.store.load()
    os.utime(place.policies / "default.yaml", ns=(1, 1))
    assert place.store.changed()


def test_a_directory_that_is_swapped_for_another_is_noticed(place, tmp_path):
    place.store.load()
    shutil.copytree(place.policies, tmp_path / "next")
    (tmp_path / "next" / "default.yaml").write_text(
        (place.policies / "default.yaml").read_text().replace("policy: default", "mode: observe\npolicy: default")
    )
    shutil.rmtree(place.policies)
    assert place.store.changed()
    (tmp_path / "next").rename(place.policies)
    assert modes(place.store.load()) == {"default": "observe"}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff"])
def test_what_is_kept_and_cannot_be_read_is_as_nothing(place, content):
    place.store.load()
    (place.data / KEPT).write_bytes(content)
    assert place.restarted().load().number == 1


def test_without_a_data_directory_nothing_is_kept(place):
    store = PolicyStore(place.policies, None)
    assert store.load().number == 1
    place.write("default", "mode: [")
    with pytest.raises(PolicyFileError):
        store.load()


def test_a_file_that_cannot_be_read_is_a_fault(place):
    place.store.load()
    (place.policies / "default.yaml").unlink()
    (place.policies / "default.yaml").symlink_to(place.policies / "nowhere")
    found = place.store.load()
    assert modes(found) == {"default": "live"}
