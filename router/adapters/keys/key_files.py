"""Keys that the node makes for itself: drawn once, kept in the data directory, for use on this machine only.

Belongs here: reading and writing those files. Does not belong here: when a key may be generated (app.py), and keys
created by administrators (keys.py).
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


class KeyFileError(Exception):
    """A key file that cannot be read or written; the message names it."""


def kept_key(directory: Path, kind: str) -> str:
    """The key of ``KIND.key``, drawn first if there is none. An empty file counts as none: a crash may have left it.

    Raises:
        KeyFileError: the file cannot be read or written.
    """
    path = directory / f"{kind}.key"
    try:
        return _read(path) or _drawn(path, f"cr-{kind}-{secrets.token_urlsafe(24)}")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise KeyFileError(f"the key file {path} cannot be used: {reason}") from None


def _read(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="ascii").strip()
    return ""


def _drawn(path: Path, key: str) -> str:
    # Written aside and then given its name, so that nobody ever reads half a key.
    aside = path.with_suffix(f".{os.getpid()}")
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(key + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            # Unlike a rename, a link fails where another node has just been faster; its key is then ours, too.
            os.link(aside, path)
        except FileExistsError:
            found = _read(path)
            if found:
                return found
            aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return key
