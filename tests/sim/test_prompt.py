import base64
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.sim.catalog import Image, load
from router.sim.prompt import PrefixCache, image_tokens, metered, read
from router.sim.text import SLICE, Prose, pieces

OPENAI = load(Path(__file__).parent / "catalog")["openai"].models["gpt-small"]
FLASH = load(Path(__file__).parent / "catalog")["deepseek"].models["deepseek-flash"]
TILES = Image("tiles", base=85, tile=170)


def chat(*texts):
    return {"messages": [{"role": "user", "content": text} for text in texts]}


def png(width, height):
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height)
    return "data:image/png;base64," + base64.b64encode(head + bytes(20)).decode()


@given(st.text())
def test_pieces_give_the_text_back(text):
    assert "".join(pieces(text)) == text


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 50, 5000])
def test_prose_has_as_many_tokens_as_were_asked_for(count):
    prose = Prose(1)
    for seed in range(30):
        drawn = prose.draw(random.Random(seed), count)
        assert pieces("".join(drawn)) == drawn
        assert len(drawn) == count


async def test_tokens_are_the_texts_and_the_template():
    prompt = await read(chat("one two three"), OPENAI)
    assert prompt.tokens == 3 + 3 + 3  # words, one message's overhead, the reply's priming


async def test_the_ratio_rounds_up():
    assert metered(3, FLASH) == 4
    assert (await read(chat("one two three"), FLASH)).tokens == 4 + 2 + 3


async def test_a_long_text_counts_like_its_slices():
    text = "word " * SLICE
    assert (await read(chat(text), OPENAI)).tokens == pytest.approx(len(pieces(text)), rel=1e-3)


async def test_different_prompts_differ_and_equal_ones_do_not():
    first, again, other = [await read(chat(text), OPENAI) for text in ("a", "a", "b")]
    assert first.digest == again.digest != other.digest


async def test_a_short_prompt_is_never_cached():
    cache = PrefixCache()
    prompt = await read(chat("word " * 900), OPENAI)
    assert [cache.use(prompt, OPENAI, now) for now in (0, 1)] == [0, 0]


async def test_a_shared_prefix_is_cached_in_steps_of_128():
    cache = PrefixCache()
    prefix = "word " * 1500
    assert cache.use(await read(chat(prefix, "first question"), OPENAI), OPENAI, 0) == 0
    hit = cache.use(await read(chat(prefix, "another question"), OPENAI), OPENAI, 1)
    assert hit == 1408


async def test_a_change_at_the_start_hits_nothing():
    cache = PrefixCache()
    cache.use(await read(chat("a " + "word " * 2000), OPENAI), OPENAI, 0)
    assert cache.use(await read(chat("b " + "word " * 2000), OPENAI), OPENAI, 1) == 0


async def test_a_prefix_is_forgotten_unless_used():
    cache = PrefixCache(ttl_s=300)
    prompt = await read(chat("word " * 2000), OPENAI)
    assert cache.use(prompt, OPENAI, 0) == 0
    assert cache.use(prompt, OPENAI, 299) == 1920
    assert cache.use(prompt, OPENAI, 598) == 1920
    assert cache.use(prompt, OPENAI, 899) == 0


async def test_the_cache_is_bounded():
    cache = PrefixCache(size=20)
    first = await read(chat("first " + "word " * 2000), OPENAI)
    cache.use(first, OPENAI, 0)
    cache.use(await read(chat("second " + "word " * 4000), OPENAI), OPENAI, 1)
    assert cache.use(first, OPENAI, 2) == 0


@pytest.mark.parametrize(
    ("url", "detail", "image", "tokens"),
    [
        (png(1024, 1024), "high", TILES, 765),
        (png(2048, 4096), "high", TILES, 1105),
        (png(512, 512), "auto", TILES, 255),
        (png(4096, 4096), "low", TILES, 85),
        ("https://example.com/cat.jpg", "auto", TILES, 765),
        (png(750, 1000), "auto", Image("area", per_token=750, max=1600), 1000),
        (png(5000, 5000), "auto", Image("area", per_token=750, max=1600), 1600),
        (png(5000, 5000), "auto", Image("flat", tokens=258), 258),
    ],
)
def test_images_cost_what_the_formula_says(url, detail, image, tokens):
    assert image_tokens(url, detail, image) == tokens


async def test_what_is_kept_is_what_the_request_says(sim):
    long = [{"type": "text", "text": "All work and no play makes a dull day. " * 300}]
    marked = [{**long[0], "prompt_cache_breakpoint": {"mode": "explicit"}}, {"type": "text", "text": "Briefly."}]
    explicit = {"prompt_cache_options": {"mode": "explicit"}}
    for content, more in ((long, explicit), (marked, explicit), (marked, explicit), (long, {})):
        messages = [{"role": "system", "content": content}, {"role": "user", "content": "Tell me about plans."}]
        assert (await sim.chat("openai", "gpt-thinker", messages=messages, **more))[0] == 200
    lines = [(line["cached"], line["cache_write"]) for line in await sim.bill()]
    nothing, written, read, all_of_it = lines
    assert nothing == (0, 0)
    assert written[1] > 1_024 > written[0] == 0
    assert read == (written[1], 0)
    assert all_of_it[0] == written[1]


async def test_older_models_cannot_be_told(sim):
    status, _, told = await sim.chat("openai", "gpt-small", prompt_cache_options={"mode": "explicit"})
    assert (status, told["error"]["param"]) == (400, "prompt_cache_options")
