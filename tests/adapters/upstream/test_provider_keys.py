import asyncio

import pytest

import router.adapters.upstream.provider_keys as keys
from router.adapters.upstream.hosting import ProviderError
from router.adapters.upstream.provider_keys import keep_read, read_keys


def test_a_file_has_a_key_a_line(tmp_path):
    file = tmp_path / "keys"
    file.write_text("# ours\n\nOPENAI_API_KEY=sk-1\r\nOPENAI_API_KEY_2 = sk-2=\n")
    assert read_keys(file) == {"OPENAI_API_KEY": "sk-1", "OPENAI_API_KEY_2": "sk-2="}


@pytest.mark.parametrize("text", [b"sk-secret", b"A B=sk-secret", b"\xff", b"#" * (keys.MOST_BYTES + 1)])
def test_a_file_of_another_form_is_refused_without_its_secrets(tmp_path, text):
    file = tmp_path / "keys"
    file.write_bytes(text)
    with pytest.raises(ProviderError) as caught:
        read_keys(file)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ProviderError, match="missing cannot be read"):
        read_keys(tmp_path / "missing")


async def test_a_change_is_taken_and_what_cannot_be_used_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(keys, "LOOK_S", 0.005)
    file = tmp_path / "keys"
    file.write_text("A_KEY=1")
    taken = []

    def apply(found):
        if found == {"A_KEY": "bad"}:
            raise ProviderError("no")
        taken.append(found)

    async def written(text):
        other = tmp_path / "new"
        other.write_text(text)
        other.replace(file)
        await asyncio.sleep(0.1)

    watching = asyncio.ensure_future(keep_read(file, apply))
    await asyncio.sleep(0.02)
    assert taken == [], "it has been read at the start"
    await written("A_KEY=2")
    await written("A_KEY=bad")
    await written("nonsense")
    file.unlink()
    await asyncio.sleep(0.05)
    await written("A_KEY=33")
    assert taken == [{"A_KEY": "2"}, {"A_KEY": "33"}]
    watching.cancel()


async def test_without_a_file_there_is_nothing_to_watch():
    taken = []
    async with asyncio.timeout(5):
        await keep_read(None, taken.append)
    assert taken == []
