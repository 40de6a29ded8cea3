import base64
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.core.images import (
    UNSTATED_TOKENS,
    Area,
    Flat,
    Image,
    Patches,
    Tiles,
    data_url_dimensions,
    dimensions,
    image_formula,
    image_tokens,
    image_tokens_of,
)

GPT_4O = Tiles(base=85, tile=170)
GPT_41_MINI = Patches(size=32, max=1536, ratio_ppm=1_620_000)
CLAUDE = Area(per_token=750, max=1600)
CLAUDE_PATCHES = Patches(size=28, max=1568)
GEMINI = Flat(tokens=258)
FORMULAS = (GPT_4O, GPT_41_MINI, CLAUDE, CLAUDE_PATCHES, GEMINI, Flat(tokens=258, side=0))


def png(width, height):
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def gif(width, height):
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b";" * 20


def segment(marker, content):
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(width, height, *before, frame=0xC0):
    size = struct.pack(">BHHB", 8, height, width, 3) + b"\x01\x22\x00\x02\x11\x01\x03\x11\x01"
    return b"\xff\xd8" + b"".join(before) + segment(frame, size) + segment(0xDA, b"\x00" * 10) + b"picture" * 10


def webp(kind, content):
    chunk = kind + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk


def webp_lossy(width, height):
    return webp(b"VP8 ", b"\x30\x01\x00\x9d\x01\x2a" + struct.pack("<HH", width, height) + b"\x00" * 10)


def webp_lossless(width, height):
    return webp(b"VP8L", b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14) + b"\x00" * 10)


def webp_extended(width, height):
    sizes = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return webp(b"VP8X", b"\x10\x00\x00\x00" + sizes + b"\x00" * 10)


def url(data, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


KINDS = (png, gif, jpeg, webp_lossy, webp_lossless, webp_extended)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (640, 480), (480, 640), (16383, 2)])
def test_each_format_tells_its_size(make, size):
    assert dimensions(make(*size)) == size
    assert data_url_dimensions(url(make(*size))) == size


@pytest.mark.parametrize("make", KINDS)
def test_a_header_cut_short_tells_nothing(make):
    for length in range(10):
        assert dimensions(make(640, 480)[:length]) is None
        assert data_url_dimensions(url(make(640, 480)[:length])) is None


@pytest.mark.parametrize("make", [png, gif, jpeg, webp_lossy])
def test_a_side_of_zero_is_no_size(make):
    assert dimensions(make(0, 480)) is None
    assert dimensions(make(640, 0)) is None


@pytest.mark.parametrize("frame", [0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCF])
def test_every_kind_of_jpeg_frame_counts(frame):
    assert dimensions(jpeg(640, 480, frame=frame)) == (640, 480)


def test_a_jpeg_frame_is_found_behind_profiles_thumbnails_and_fill_bytes():
    thumbnail = jpeg(160, 120)
    before = (
        segment(0xE0, b"JFIF\x00"),
        segment(0xE1, b"Exif\x00\x00" + thumbnail + bytes(50_000)),
        *(segment(0xE2, bytes(65_000)) for _ in range(20)),
        segment(0xC4, bytes(100)),
        b"\xff\xff\xff" + segment(0xDB, bytes(65))[1:],
        b"\xff\x01",
    )
    data = jpeg(4032, 3024, *before)
    assert len(data) > 1_000_000
    assert dimensions(data) == (4032, 3024)
    assert data_url_dimensions(url(data, "image/jpeg")) == (4032, 3024)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8" + segment(0xDA, b"\x00" * 20),
        b"\xff\xd8" + segment(0xE0, b"x" * 20) + b"not a marker here",
        b"\xff\xd8" + b"\xff\xd9" + b"\x00" * 20,
        b"\xff\xd8" + b"\xff" * 1000,
        b"\xff\xd8" + segment(0xE0, b"") * 1000 + segment(0xC0, b"\x08\x00\x10\x00\x10\x03"),
    ],
)
def test_a_jpeg_without_a_frame_in_reach_tells_nothing(data):
    assert dimensions(data) is None


@given(st.binary(max_size=60), st.sampled_from([make(640, 480) for make in KINDS]), st.integers(2, 30))
def test_any_bytes_are_answered(noise, real, kept):
    for data in (noise, real[:kept] + noise):
        found = dimensions(data)
        assert found is None or min(found) > 0
        assert data_url_dimensions(url(data)) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "https://example.com/cat.png",
        "data:image/png;base64",
        "data:image/png," + base64.b64encode(png(640, 480)).decode(),
        "data:image/png;base64,!!!!" + base64.b64encode(png(640, 480)).decode(),
        "data:image/png;base64,iVBORw0",
        "data:image/png;base64,ünïcödé" * 9,
        "data:" + "x" * 300 + ";base64," + base64.b64encode(png(640, 480)).decode(),
    ],
)
def test_what_is_no_readable_data_url_tells_nothing(text):
    assert data_url_dimensions(text) is None


@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [
        (1024, 1024, 765),  # the guide's first example
        (2048, 4096, 1105),  # the guide's second example
        (512, 512, 255),
        (513, 512, 425),
        (1, 1, 255),
        (768, 2048, 1445),
        (100_000, 1, 85 + 4 * 170),
        (2049, 513, 1445),  # billed 1453 with 8 tokens of text, says the forum
        (2050, 513, 765),  # billed 773
    ],
)
def test_tiles_follow_openais_examples(width, height, tokens):
    assert image_tokens(GPT_4O, width, height, "high") == tokens
    assert image_tokens(GPT_4O, height, width, "auto") == tokens


def test_low_detail_costs_the_base_of_tiles():
    assert image_tokens(GPT_4O, 4000, 4000, "low") == image_tokens(GPT_4O, 0, 0, "low") == 85


@pytest.mark.parametrize(
    ("formula", "width", "height", "tokens"),
    [
        (Patches(size=32, max=1536), 1024, 1024, 1024),  # OpenAI's guide
        (GPT_41_MINI, 1024, 1024, 1659),
        (GPT_41_MINI, 4000, 1474, 2489),  # billed 2488 says the forum, which rounds down
        (CLAUDE_PATCHES, 200, 200, 64),
        (CLAUDE_PATCHES, 8000, 8000, 1568),
        (CLAUDE, 200, 200, 54),  # Anthropic's table, this and the next two
        (CLAUDE, 1000, 1000, 1334),
        (CLAUDE, 1092, 1092, 1590),
        (CLAUDE, 3000, 2000, 1600),
        (GEMINI, 384, 384, 258),
        (GEMINI, 385, 100, 258),
        (GEMINI, 1024, 768, 516),
        (GEMINI, 1920, 1080, 1548),
        (GEMINI, 20_000, 20_000, 16 * 258),
        (Flat(tokens=1000, side=0), 9000, 9000, 1000),
    ],
)
def test_the_other_formulas_follow_their_documents(formula, width, height, tokens):
    assert image_tokens(formula, width, height) == tokens


@given(st.sampled_from(FORMULAS), st.integers(1, 70_000), st.integers(1, 70_000))
def test_an_unknown_size_costs_the_most_that_a_known_one_can(formula, width, height):
    assert 0 < image_tokens(formula, width, height) <= image_tokens(formula, 0, 0)
    assert image_tokens(formula, width, 0) == image_tokens(formula, 0, height) == image_tokens(formula, 0, 0)


def test_a_model_without_a_formula_is_taken_as_dear():
    assert image_tokens(None, 10, 10) == UNSTATED_TOKENS
    assert max(image_tokens(formula, 0, 0) for formula in (GPT_4O, CLAUDE)) <= UNSTATED_TOKENS


def test_images_of_a_prompt_add_up():
    images = (Image(1024, 1024), Image(1024, 1024, "low"), Image())
    assert image_tokens_of(GPT_4O, images) == 765 + 85 + 1445
    assert image_tokens_of(GPT_4O, ()) == 0


@pytest.mark.parametrize(
    ("stated", "formula"),
    [
        ({"formula": "tiles", "base": 85, "tile": 170}, GPT_4O),
        ({"formula": "area", "per_token": 750, "max": 1600}, CLAUDE),
        ({"formula": "flat", "tokens": 258}, GEMINI),
        ({"formula": "patches", "size": 32, "max": 1536, "ratio_ppm": 1_620_000}, GPT_41_MINI),
    ],
)
def test_the_catalogs_spelling_is_read(stated, formula):
    assert image_formula(stated) == formula


@pytest.mark.parametrize(
    ("stated", "complaint"),
    [
        ({"formula": "tile", "base": 85, "tile": 170}, "tile"),
        ({"base": 85, "tile": 170}, "formula"),
        ({"formula": "tiles", "base": 85}, "tile"),
        ({"formula": "flat", "tokens": "258"}, "int"),
        ({"formula": "flat", "tokens": 258, "tokns": 1}, "tokns"),
        ({"formula": "area", "per_token": 0, "max": 1600}, "per_token"),
        ({"formula": "patches", "size": 0, "max": 1}, "size"),
        ({"formula": "tiles", "base": -1, "tile": 170}, "base"),
        (None, "null"),
    ],
)
def test_a_wrong_formula_is_named(stated, complaint):
    with pytest.raises(ValueError, match=complaint):
        image_formula(stated)


def test_a_webp_of_an_unknown_kind_has_no_known_size():
    assert dimensions(webp(b"VP8Z", b"\x00" * 30)) is None
