import asyncio
import base64
import hashlib
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import tiktoken
from tiktoken_ext import openai_public

from router.adapters.counting.encoders import (
    ENCODINGS,
    CountCache,
    Encoders,
    TiktokenCounter,
    load_encoding,
    token_bytes,
)
from router.adapters.counting.word_counts import WordCounts
from router.core.tokens import SLICE_CHARS

GOLDEN = {  # counted once with tiktoken 0.14.0's own o200k_base and cl100k_base
    "": (0, 0),
    "hello world": (2, 2),
    "Hello, World! It's 2026 \u2014 and don't you forget it.": (15, 17),
    "def add(a: int, b: int) -> int:\n    return a + b\n": (19, 19),
    '{"id": 12345, "tags": ["a", "b"], "price": 9.99, "ok": true}': (29, 29),
    "今天天气很好\uff0c我们去公园散步吧。": (12, 20),
    "東京は日本の首都です。": (8, 11),
    "안녕하세요, 만나서 반갑습니다!": (9, 14),
    "Привет, как дела?": (6, 8),
    "مرحبا بالعالم": (4, 10),
    "👩\u200d👩\u200d👧\u200d👦 family 🙂🚀": (15, 23),
    "<|endoftext|>": (7, 7),
    "   indented\n\n\n\tand tabbed   ": (8, 8),
    "SGVsbG8gd29ybGQhIFRoaXMgaXMgYmFzZTY0Lg==": (26, 28),
    "3.14159265358979323846264338327950288": (14, 14),
    "𪛖𫝀": (8, 8),
    "naïve café \u2014 Zoë\u2019s über-straße": (12, 12),
    "https://example.com/a/b?c=d&e=f#g": (12, 12),
}


@pytest.fixture(scope="module")
def encoders():
    loaded = Encoders()
    loaded.preload("o200k_base", "cl100k_base")
    return loaded


@pytest.fixture
def counter(encoders):
    with ThreadPoolExecutor(1) as executor:
        yield TiktokenCounter(encoders.get(), executor=executor)


WHOLE = "  "
"""Two blanks at its start keep a text from being counted by word."""


class Recorder:
    """An encoding that notes what it was given, and from which thread."""

    def __init__(self, encoding):
        self.encoding = encoding
        self.texts = []
        self.threads = set()

    def encode_ordinary(self, text):
        self.texts.append(text)
        self.threads.add(threading.get_ident())
        return self.encoding.encode_ordinary(text)


@pytest.fixture
def recorder(encoders):
    return Recorder(encoders.get())


@pytest.fixture
def recorded(recorder):
    with ThreadPoolExecutor(1) as executor:
        yield TiktokenCounter(recorder, executor=executor)


def published(name, monkeypatch):
    """(the SHA-256 of the official file, the splitting pattern) that the installed tiktoken states."""
    found = {}

    def load(_source, expected_hash):
        found["sha256"] = expected_hash
        return {}

    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", load)
    return found, openai_public.ENCODING_CONSTRUCTORS[name]()["pat_str"]


@pytest.mark.parametrize("name", ENCODINGS)
def test_our_data_rebuilds_tiktokens_official_file(name, monkeypatch):
    found, pattern = published(name, monkeypatch)
    lines = (b"%b %d\n" % (base64.b64encode(token), rank) for rank, token in enumerate(token_bytes(name)))
    assert hashlib.sha256(b"".join(lines)).hexdigest() == found["sha256"]
    assert "|".join(ENCODINGS[name].pattern) == pattern


@pytest.mark.parametrize("text", GOLDEN)
def test_golden_counts(encoders, text):
    counts = tuple(len(encoders.get(name).encode_ordinary(text)) for name in ("o200k_base", "cl100k_base"))
    assert counts == GOLDEN[text]


def test_an_unknown_encoding_is_named():
    with pytest.raises(ValueError, match="no encoding 'p50k_base' is shipped, only o200k_base and cl100k_base"):
        load_encoding("p50k_base")


def test_an_encoding_is_built_once(encoders):
    assert encoders.get() is encoders.get("o200k_base")
    assert encoders.get() is not encoders.get("cl100k_base")


def test_our_encodings_stay_out_of_tiktokens_registry(encoders):
    assert {encoders.get(name).name for name in ENCODINGS}.isdisjoint(tiktoken.list_encoding_names())


def test_preloading_builds_the_reference_alone_without_network_or_ranks_left():
    code = (
        "import sys\n"
        "def refuse(event, args):\n"
        "    if event in ('socket.connect', 'socket.getaddrinfo', 'urllib.Request'): sys.exit(event)\n"
        "sys.addaudithook(refuse)\n"
        "from router.adapters.counting.encoders import Encoders\n"
        "encoders = Encoders()\n"
        "encoders.preload()\n"
        "print(*encoders._built, len(encoders.get()._mergeable_ranks), len(encoders.get().encode_ordinary('Hi there')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("o200k_base 0 2\n", "")


def test_special_tokens_in_a_prompt_are_plain_text(counter):
    assert counter.count_now("<|endoftext|>") > 1


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\ud83d\ude00"])
async def test_lone_surrogates_are_counted(counter, text):
    assert counter.count_now(text) > 0
    assert await counter.count([text * 5000]) == [counter.count_now(text * 5000)]


async def test_counts_come_back_in_order(counter):
    texts = ["one", "", "two words", "three short words " * 2000, "four", "x y z " * 20_000, "five"]
    counts = await counter.count(texts)
    assert counts == [counter.count_now(text) for text in texts]
    assert await counter.count([]) == []


async def test_short_texts_stay_on_the_thread_and_long_ones_leave_it(recorder, recorded):
    await recorded.count(["short"])
    assert recorder.threads == {threading.get_ident()}
    recorder.threads.clear()
    await recorded.count(["long text " * 1000])
    assert threading.get_ident() not in recorder.threads


async def test_a_growing_chat_costs_only_its_new_turn(recorder, recorded):
    chat = []
    for turn in range(20):
        chat.append(f"{WHOLE}Turn {turn}: " + "something was said here. " * 30)
        await recorded.count(chat)
        assert recorder.texts.count(chat[-1]) == 1
    assert len(recorder.texts) == 20


async def test_a_long_text_is_encoded_once(recorder, recorded):
    text = "many words in a row, " * 10_000
    first = await recorded.count([text])
    calls = len(recorder.texts)
    assert recorded.known(text) == first[0]
    assert await recorded.count([text, text]) == first * 2
    assert len(recorder.texts) == calls


def test_a_text_that_was_not_counted_is_not_known(recorder, recorded):
    text = f"{WHOLE}hello" * 50
    assert recorded.known(text) is None
    count = recorded.count_now(text)
    assert recorded.known(text) == count
    assert recorder.texts == [text]


def test_texts_that_look_alike_in_memory_have_counts_of_their_own(counter):
    narrow, wide = "ab", chr(0x6261)  # the same two bytes, and so the same hash in Python
    assert hash(narrow) == hash(wide)
    counter.count_now(narrow * 500)
    assert counter.known(wide * 500) is None


def test_the_encoder_never_sees_more_than_a_slice(recorder, recorded):
    recorded.count_now(" " * 200_000)
    assert max(map(len, recorder.texts)) == SLICE_CHARS


ADVERSARIAL = {
    "a million spaces": (" " * 1_000_000, 7_813),
    "a million full-width spaces": ("\u3000" * 1_000_000, None),
    "a million spaces and a letter": (" " * 1_000_000 + "x", None),
    "one letter": ("a" * 400_000, 50_000),
    "newlines": ("\n" * 300_000, None),
    "underscores": ("_" * 300_000, 4_688),
    "random letters": ("".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz", k=150_000)), None),
    "rare Chinese": ("".join(chr(0x2A000 + number % 1000) for number in range(50_000)), None),
    "combining marks": ("e" + "\u0301" * 100_000, None),
    "digits": ("7" * 200_000, 66_667),
}


@pytest.mark.parametrize("name", ADVERSARIAL)
async def test_adversarial_text_is_counted(counter, name):
    text, expected = ADVERSARIAL[name]
    count = (await counter.count([text]))[0]
    assert 0 < count <= len(text.encode())
    if expected is not None:
        assert abs(count - expected) <= len(text) // SLICE_CHARS


def test_a_panicking_encoder_is_answered_with_the_bytes(recorder, recorded):
    class PanicException(BaseException):
        """Named as pyo3 names its own, which cannot be imported."""

    def panic(_text):
        raise PanicException

    recorded._words = WordCounts(panic)
    assert recorded.count_now("né") == 3


def test_other_faults_of_the_encoder_are_not_hidden(recorded):
    def interrupt(_text):
        raise KeyboardInterrupt

    recorded._words = WordCounts(interrupt)
    with pytest.raises(KeyboardInterrupt):
        recorded.count_now("hello")
    assert recorded.known("hello") is None


async def test_the_loop_stays_responsive_while_four_megabytes_are_counted(counter):
    draw = random.Random(2)
    words = ["counting", "tokens", "of", "a", "rather", "long", "prompt", "should", "not", "stop", "others"]
    text = " ".join(draw.choices(words, k=650_000))
    assert len(text) > 3_500_000
    gaps = []

    async def heartbeat():
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.001)
            gaps.append(loop.time() - before)

    beating = asyncio.create_task(heartbeat())
    count = (await counter.count([text]))[0]
    beating.cancel()
    assert count >= 650_000
    assert len(gaps) > 20
    assert max(gaps) < 0.25


async def test_cancelling_stops_at_the_next_slice(recorder, recorded):
    text = "stop this, please. " * 400_000
    counting = asyncio.create_task(recorded.count([text]))
    await asyncio.sleep(0.05)
    counting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await counting
    begun = len(recorder.texts)
    await asyncio.sleep(0.05)
    assert len(recorder.texts) <= begun + 1 < len(text) // SLICE_CHARS
    assert recorded.known(text) is None


async def test_a_long_count_lets_others_through_between_slices(counter):
    long = asyncio.create_task(counter.count(["a long one, it is. " * 300_000]))
    await asyncio.sleep(0.01)
    await counter.count(["a middling one. " * 1000])
    assert not long.done()
    long.cancel()


def test_the_cache_never_grows_beyond_its_entries():
    cache = CountCache(64)
    for number in range(10_000):
        cache.put(hash(str(number)) & 0xFFFFFFFFFFFF, number)
    assert len(cache) <= 64
    assert len(cache._slots) == 64


def test_the_cache_forgets_the_least_recently_used_of_a_set():
    cache = CountCache(2)
    cache.put(10, 1)
    cache.put(20, 2)
    assert cache.get(10) == 1
    cache.put(30, 3)
    assert (cache.get(10), cache.get(20), cache.get(30)) == (1, None, 3)


def test_the_cache_keeps_zero_and_the_largest_count():
    cache = CountCache(4)
    cache.put(6, 0)
    cache.put(7, 2**32 - 1)
    assert (cache.get(6), cache.get(7), cache.get(8)) == (0, 2**32 - 1, None)


@pytest.mark.parametrize("entries", [0, 1, 3, 100])
def test_a_cache_size_that_is_no_power_of_two_is_refused(entries):
    with pytest.raises(ValueError, match=f"a cache of {entries} entries: use a power of two, at least 2"):
        CountCache(entries)


def test_many_threads_never_read_each_others_counts(encoders):
    texts = [f"{'word ' * (number % 50)}{number}" for number in range(2000)]
    truth = [len(encoders.get().encode_ordinary(text)) for text in texts]
    with ThreadPoolExecutor(1) as executor:
        counter = TiktokenCounter(encoders.get(), executor=executor, entries=256)

        def count_all(seed):
            order = list(range(2000))
            random.Random(seed).shuffle(order)
            return all(counter.count_now(texts[number]) == truth[number] for number in order)

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(count_all, range(4)))
