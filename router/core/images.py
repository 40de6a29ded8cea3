"""What an image in a prompt costs in tokens: its size from the first bytes, and the providers' formulas.

Belongs here: reading dimensions out of image headers, and the arithmetic that providers document. Does not
belong here: decoding pictures, fetching URLs, and which model uses which formula (the catalog says).

A wrong or hostile header does no more harm here than at the provider, which reads the same bytes.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Detail: TypeAlias = Literal["auto", "low", "high"]
Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Natural: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]

JPEG_SEGMENTS: Final = 256
"""Segments of a JPEG that are stepped over in search of its frame header."""
DATA_URL_HEAD: Final = 256
"""Characters of a data URL within which its comma must stand."""
UNSTATED_TOKENS: Final = 1600
"""For a model whose catalog entry states no formula: the largest image of the area formula, which tops the tiles'."""


class Image(msgspec.Struct, frozen=True):
    """One image of a prompt, in pixels; 0 by 0 when the size is not known (a remote URL)."""

    width: int = 0
    height: int = 0
    detail: Detail = "auto"


class Tiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="formula", tag="tiles"):
    """OpenAI's tile models (GPT-4o, GPT-4.1, GPT-5): ``base + tile · n`` tokens; ``base`` alone at low detail.

    The image is shrunk into 2048 by 2048, then until its short side is 768, then covered with 512-pixel tiles.
    Source: OpenAI, "Images and vision", Calculating costs (stored copy of 2025; 1024² = 765 and 2048 by 4096 =
    1105 for GPT-4o). Sides are rounded to the nearest pixel, half to even: billed 2049 by 513 and 2050 by 513
    differ by four tiles (OpenAI community, "Vision pricing calculator", 2025).
    """

    base: Natural
    tile: Natural


class Patches(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="formula", tag="patches"):
    """One token a square patch, at most ``max`` of them, times ``ratio_ppm`` / 1,000,000.

    OpenAI's mini and nano models: size 32, max 1536, ratio 1.62 or 2.46 (OpenAI, "Images and vision", stored copy
    of 2025). Claude: size 28, ratio 1, the maximum by model (Anthropic, "Images and vision", stored copy of 2026).
    Above the maximum the image is shrunk to fit, which ends at or a little below it; the maximum is taken.
    """

    size: Positive
    max: Positive
    ratio_ppm: Positive = 1_000_000


class Area(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="formula", tag="area"):
    """Claude up to 4.6: ``width · height / 750`` tokens, and larger images shrunk to about 1,600.

    Source: Anthropic, "Vision", Evaluate image size (stored copy of 2025; 1000² = 1334).
    """

    per_token: Positive
    max: Positive


class Flat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="formula", tag="flat"):
    """Gemini: ``tokens`` for an image of at most 384 by 384, else as many for each 768-pixel tile of it.

    Source: Google, "Understand and count tokens" (stored copy of 2026). ``side`` 0 means one price at any size.
    The page names no maximum; 16 tiles is that of 3072 by 3072, the largest that Gemini 1.5 kept.
    """

    tokens: Natural
    small: Natural = 384
    side: Natural = 768
    max_tiles: Positive = 16


ImageFormula: TypeAlias = Tiles | Patches | Area | Flat


def image_formula(stated: object) -> ImageFormula:
    """A catalog's ``image:`` mapping, such as ``{formula: tiles, base: 85, tile: 170}``, as a formula.

    Raises:
        ValueError: the formula is not known, or a figure is missing, surplus, not whole or too small.
    """
    formula: ImageFormula = msgspec.convert(stated, ImageFormula)  # msgspec.ValidationError is a ValueError
    return formula


def image_tokens_of(formula: ImageFormula | None, images: Iterable[Image]) -> int:
    """Tokens of all images of a prompt on one model."""
    return sum(image_tokens(formula, image.width, image.height, image.detail) for image in images)


def image_tokens(formula: ImageFormula | None, width: int, height: int, detail: Detail = "auto") -> int:
    """Tokens of one image; the formula's maximum when a side is not known (0). Never negative."""
    if formula is None:
        return UNSTATED_TOKENS
    known = width > 0 and height > 0
    match formula:
        case Tiles():
            if detail == "low":
                return formula.base
            return formula.base + formula.tile * (_tiles(width, height) if known else 8)
        case Patches():
            patches = _cover(width, formula.size) * _cover(height, formula.size) if known else formula.max
            return -(-min(patches, formula.max) * formula.ratio_ppm // 1_000_000)
        case Area():
            return min(-(-width * height // formula.per_token), formula.max) if known else formula.max
        case _:
            if formula.side == 0 or (known and max(width, height) <= formula.small):
                return formula.tokens
            tiles = _cover(width, formula.side) * _cover(height, formula.side) if known else formula.max_tiles
            return formula.tokens * min(tiles, formula.max_tiles)


def dimensions(data: bytes) -> tuple[int, int] | None:
    """(width, height) of a PNG, JPEG, GIF or WebP from its first bytes; None for anything else or cut too short."""
    return _dimensions(lambda offset, count: data[offset : offset + count])


def data_url_dimensions(url: str) -> tuple[int, int] | None:
    """(width, height) of a ``data:…;base64,…`` image; None when it is none or cannot be told.

    Decodes the few dozen bytes that it looks at, wherever they stand, so the time does not grow with the image.
    """
    comma = url.find(",", 0, DATA_URL_HEAD)
    if comma < 0 or not url.startswith("data:") or not url.endswith(";base64", 0, comma):
        return None
    return base64_dimensions(url, comma + 1)


def base64_dimensions(text: str, begin: int = 0) -> tuple[int, int] | None:
    """(width, height) of an image in base64 that begins there; None when it is none or cannot be told."""

    def at(offset: int, count: int) -> bytes:
        first = offset // 3
        start, stop = begin + first * 4, begin + ((offset + count + 2) // 3) * 4
        decoded = base64.b64decode(text[start:stop], validate=True)
        return decoded[offset - first * 3 :][:count]

    try:
        return _dimensions(at)
    except (binascii.Error, ValueError):  # line breaks, percent signs, cut off: the size stays unknown
        return None


def _cover(length: int, side: int) -> int:
    return -(-length // side)


def _nearest(numerator: int, denominator: int) -> int:
    """Division rounded to the nearest integer, half to even."""
    whole, rest = divmod(numerator, denominator)
    return whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1))


def _tiles(width: int, height: int) -> int:
    """512-pixel tiles after OpenAI's two shrinkings; 1 to 8."""
    longest = max(width, height)
    if longest > 2048:
        width, height = _nearest(width * 2048, longest), _nearest(height * 2048, longest)
    shortest = min(width, height)
    if shortest > 768:
        width, height = _nearest(width * 768, shortest), _nearest(height * 768, shortest)
    return max(1, _cover(width, 512)) * max(1, _cover(height, 512))


def _dimensions(at: Callable[[int, int], bytes]) -> tuple[int, int] | None:
    head = at(0, 30)
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return _size(head[16:20], head[20:24], "big") if head[12:16] == b"IHDR" else None
    if head.startswith((b"GIF87a", b"GIF89a")):
        return _size(head[6:8], head[8:10], "little")
    if head.startswith(b"\xff\xd8"):
        return _jpeg(at)
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP" and len(head) == 30:
        return _webp(head)
    return None


def _size(width: bytes, height: bytes, order: Literal["big", "little"]) -> tuple[int, int] | None:
    w, h = int.from_bytes(width, order), int.from_bytes(height, order)
    return (w, h) if w and h and len(width) == len(height) else None  # unequal: cut off within


def _jpeg(at: Callable[[int, int], bytes]) -> tuple[int, int] | None:
    """Steps from segment to segment until a frame header (SOF0-SOF15), without reading what lies between."""
    offset = 2
    for _ in range(JPEG_SEGMENTS):
        segment = at(offset, 9)
        if len(segment) < 9 or segment[0] != 0xFF:
            return None
        marker = segment[1]
        if marker == 0xFF:  # a fill byte
            offset += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:  # markers that stand alone
            offset += 2
        elif 0xC0 <= marker <= 0xCF and marker not in {0xC4, 0xC8, 0xCC}:  # C4, C8, CC are tables, not frames
            return _size(segment[7:9], segment[5:7], "big")
        elif marker in {0xD9, 0xDA}:  # the image ends, or its data begins, without a frame header
            return None
        else:
            offset += 2 + int.from_bytes(segment[2:4], "big")
    return None


def _webp(head: bytes) -> tuple[int, int] | None:
    """The three kinds of WebP: lossy (VP8), lossless (VP8L), extended (VP8X)."""
    kind = head[12:16]
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = int.from_bytes(head[26:28], "little"), int.from_bytes(head[28:30], "little")
        return (width & 0x3FFF, height & 0x3FFF) if width & 0x3FFF and height & 0x3FFF else None
    if kind == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    return None
