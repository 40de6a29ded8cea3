"""Messages of Amazon's event stream encoding, written.

Belongs here: the framing. Does not belong here: what a message says. Source: docs.aws.amazon.com, "Event stream encoding".
"""

from __future__ import annotations

import struct
import zlib


def frame(kind: str, name: str, payload: bytes) -> bytes:
    """One message: ``event`` or ``exception``, its type, its JSON."""
    told = {f":{kind}-type": name, ":content-type": "application/json", ":message-type": kind}
    headers = b"".join(
        bytes([len(key)]) + key.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for key, value in told.items()
    )
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return body + struct.pack(">I", zlib.crc32(body))
