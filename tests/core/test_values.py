from typing import get_args

import msgspec
import pytest

from router.core.values import CAPABILITIES, SERVED, Endpoint, Needs, Row, TokenRange, Usage
from router.core.wire import Wire


def test_a_model_serves_what_leaves_no_need_open():
    model = Needs.CHAT | Needs.TOOLS
    assert not Needs.CHAT & ~model
    assert Needs.VISION & ~model


def test_each_capability_has_a_bit_of_its_own_and_a_name_in_the_catalog():
    assert CAPABILITIES["json_schema"] is Needs.JSON_SCHEMA
    assert len(CAPABILITIES) == len(Needs)
    assert all(need.value.bit_count() == 1 for need in Needs)
    assert not sum(Needs) & sum(Wire)
    assert set(SERVED) == set(get_args(Endpoint))


def test_facts_cannot_be_changed():
    with pytest.raises(AttributeError):
        Usage(1).prompt_tokens = 2


def test_a_range_is_exact_when_nothing_is_left_open():
    assert TokenRange(5, 5, 5, 5, 5).exact
    assert not TokenRange(4, 5, 5, 5, 6).exact


def test_a_stored_row_that_lacks_newer_fields_is_still_read():
    names = Row.__struct_fields__
    newer = (
        "unit",
        "choices",
        "max_output",
        "budgets",
        "correction_of",
        "effort",
        "limits",
        "task",
        "cache_write_1h_tokens",
        "warm_tokens",
        "cache_saved_nano",
        "would_save_nano",
        "units",
    )
    known = len(names) - len(newer)
    assert names[known:] == newer
    kinds = {"tags": ()} | {name: 0 for name in names if name.endswith(("_ms", "_tokens", "_pico", "_nano", "status"))}
    row = Row(**{name: kinds.get(name, name) for name in names[:known]})
    stored = msgspec.msgpack.encode(msgspec.msgpack.decode(msgspec.msgpack.encode(row))[:known])
    assert msgspec.msgpack.decode(stored, type=Row) == row
    assert [getattr(row, name) for name in newer] == ["", 1, 0, (), "", "", (), "", 0, 0, 0, 0, ()]
