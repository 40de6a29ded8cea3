from __future__ import annotations

import os

import pytest

from router.adapters.keys.key_files import KeyFileError, kept_key


def test_a_key_is_drawn_once_and_private(tmp_path):
    key = kept_key(tmp_path, "admin")
    assert key.startswith("cr-admin-")
    assert kept_key(tmp_path, "admin") == key != kept_key(tmp_path, "dev")
    assert (tmp_path / "admin.key").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["admin.key", "dev.key"]


@pytest.mark.parametrize("left", ["", "\n", " \n"])
def test_a_file_that_a_crash_left_empty_is_written_anew(tmp_path, left):
    path = tmp_path / "admin.key"
    path.write_text(left)
    key = kept_key(tmp_path, "admin")
    assert len(key) > 20
    assert path.read_text() == key + "\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_of_two_nodes_the_second_takes_the_firsts_key(tmp_path, monkeypatch):
    link = os.link

    def late(source, target):
        target.write_text("cr-admin-of-the-other\n")
        link(source, target)

    monkeypatch.setattr(os, "link", late)
    assert kept_key(tmp_path, "admin") == "cr-admin-of-the-other"


def test_a_folder_that_cannot_be_used_is_named(tmp_path):
    with pytest.raises(KeyFileError, match=r"nowhere/admin\.key cannot be used: No such file"):
        kept_key(tmp_path / "nowhere", "admin")
    (tmp_path / "admin.key").write_bytes(b"\xff\xfe")
    with pytest.raises(KeyFileError, match="it is no text"):
        kept_key(tmp_path, "admin")
