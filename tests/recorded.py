"""The recorded-shape answers of tests/fixtures/openai, with what a reader of them must arrive at."""

from pathlib import Path

import msgspec
import yaml

from router.core.values import Usage

FOLDER = Path(__file__).parent / "fixtures" / "openai"


class Recorded(msgspec.Struct, frozen=True):
    name: str
    provider: str
    stream: bool
    complete: bool
    usage: Usage | None
    body: bytes


def recorded():
    for entry in yaml.safe_load((FOLDER / "index.yaml").read_text()):
        usage = entry["usage"] and Usage(**entry["usage"])
        body = (FOLDER / entry["file"]).read_bytes()
        yield Recorded(entry["file"], entry["provider"], entry["stream"], entry["complete"], usage, body)


ALL = tuple(recorded())
STREAMS = tuple(one for one in ALL if one.stream)
PLAIN = tuple(one for one in ALL if not one.stream)
