from __future__ import annotations

import pytest

from router.app import AFTER_DRAIN_S
from router.settings import SettingsError, read_settings


@pytest.mark.parametrize("place", ["ftp://x/y", "s3:/x", "S3://bucket/x", "s3://"])
def test_an_archive_is_a_directory_or_a_bucket(place):
    with pytest.raises(SettingsError, match=r"COSTROUTER_ARCHIVE: .*s3://bucket/path"):
        read_settings({"COSTROUTER_ARCHIVE": place})
    assert read_settings({"COSTROUTER_ARCHIVE": "s3://bucket/x?region=eu"}).archive_place.startswith("s3://")


def test_names_become_fields_and_empty_values_are_unset():
    settings = read_settings(
        {"COSTROUTER_PORT": "9000", "COSTROUTER_WORKERS": "", "REDIS_URL": "redis://h", "HOME": "x"}
    )
    assert (settings.port, settings.redis_url) == (9000, "redis://h")
    assert 1 <= settings.worker_count <= 4
    assert settings.environment["HOME"] == "x"


@pytest.mark.parametrize(
    ("host", "loopback"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("h", False)]
)
def test_what_only_this_machine_can_reach_is_known(host, loopback):
    assert read_settings({"COSTROUTER_HOST": host}).loopback is loopback


@pytest.mark.parametrize("name", ["COSTROUTER_ENVIRONMENT", "COSTROUTER_REDIS_URL", "COSTROUTER_PROT"])
def test_an_unknown_name_is_refused_with_the_known_ones(name):
    with pytest.raises(SettingsError, match=f"{name} is not a setting. The settings are COSTROUTER_ADMIN_KEY"):
        read_settings({name: "1"})


@pytest.mark.parametrize("key", [" ", "\u00a0", "a b", "schlüssel", "a\x00b"])
@pytest.mark.parametrize("name", ["COSTROUTER_ADMIN_KEY", "COSTROUTER_DEV_KEY"])
def test_a_key_that_no_header_can_carry_is_refused(name, key):
    with pytest.raises(SettingsError, match=f"{name}: .*printable ASCII"):
        read_settings({name: key})


def test_a_key_loses_the_white_space_around_it_and_is_not_shown():
    settings = read_settings({"COSTROUTER_ADMIN_KEY": "secret-1\r"})
    assert settings.admin_key.get_secret_value() == "secret-1"
    assert "secret-1" not in repr(settings)


def test_stopping_a_worker_is_bounded():
    assert AFTER_DRAIN_S < 15
    with pytest.raises(SettingsError, match="COSTROUTER_DRAIN_S"):
        read_settings({"COSTROUTER_DRAIN_S": "-1"})


def test_closed_hours_stay_in_a_store_that_other_nodes_may_share_unless_a_place_is_named():
    assert read_settings({}).archives
    assert not read_settings({"REDIS_URL": "redis://here"}).archives
    assert read_settings({"REDIS_URL": "redis://here", "COSTROUTER_ARCHIVE": "s3://bucket/x"}).archives


def test_a_busy_worker_is_not_taken_for_one_that_hangs():
    with pytest.raises(SettingsError, match=r"COSTROUTER_HUNG_S: .*at least 2, or 0"):
        read_settings({"COSTROUTER_HUNG_S": "0.5"})
    assert read_settings({"COSTROUTER_HUNG_S": "0"}).hung_s == 0
