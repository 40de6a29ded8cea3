"""Which policies are in force: what stands in their directory, or, where an edit cannot be used, what stood there last.

Belongs here: reading a directory again and again, file by file, and keeping the last good version of each in the data
directory, across restarts. Does not belong here: noticing changes (`watch.py`), what a file may say.

    DATA/policies.json      number, and the text of each file as it was last good

A file that cannot be used is taken as it was last good; one that never was good is left out. Where that does not help
(guardrails became tighter than what extends them), the whole set stays as it was. Every set that differs from the one
before has a number of its own; workers of one node that see the same files give it the same number.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from router.adapters.policies.files import Loaded, Source, files_in, load_policies
from router.adapters.policies.yaml_document import FileProblem, PolicyFileError, whole
from router.core.policy.governing import DEFAULT_POLICY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

KEPT: Final = "policies.json"
State = Literal["live", "guardrails", "held", "refused"]
"""live: requests can go by it. guardrails: others extend it. held: its last edit cannot be used, and the version before it
is in force. refused: it cannot be used, and never could."""


class Standing(msgspec.Struct, frozen=True):
    """One policy file and what became of it."""

    file: str
    name: str
    """Of the version in force; empty where there is none."""
    version: str
    mode: str
    state: State
    reason: str = ""
    """Of what is held or refused, for people: place and fault."""


class PolicySet(msgspec.Struct, frozen=True):
    """Policies and catalog that are in force together."""

    number: int
    loaded: Loaded
    standing: tuple[Standing, ...]
    faults: tuple[FileProblem, ...]
    """Why something is held or refused."""

    @property
    def reasons(self) -> list[str]:
        """What is wrong and what is doubtful, for people."""
        held = [f"{fault.brief}; the last good version serves" for fault in self.faults]
        return [*held, *(str(warning) for warning in self.loaded.warnings)]


class _Good(msgspec.Struct):
    number: int = 0
    files: dict[str, str] = {}


class PolicyStore:
    """Reads a directory of policies, as often as it is asked to.

    Args:
        directory: of policies and catalog.
        kept: the data directory; None keeps nothing, so that nothing but the directory itself counts.
    """

    def __init__(self, directory: Path, kept: Path | None) -> None:
        self.directory = directory
        self._kept = kept
        self._source = Source({})
        self._seen: object = None

    def changed(self) -> bool:
        """Whether any file's time or size is another than when `load` was last called."""
        return self._fingerprint() != self._seen

    def load(self, instant: dt.datetime | None = None) -> PolicySet:
        """What is in force now.

        Raises:
            PolicyFileError: it cannot be used, and nothing good is kept.
        """
        self._seen = self._fingerprint()
        contents = self._contents()
        good = self._good()
        loaded, used, faults = self._usable(contents, good, instant)
        number = self._number(used)
        return PolicySet(number, loaded, tuple(self._standing(loaded, contents, used, faults)), tuple(faults))

    def _contents(self) -> dict[Path, bytes]:
        found = {}
        for folder in (self.directory, self.directory / "catalog", self.directory / "quality"):
            for path in files_in(folder):
                try:
                    found[path] = path.read_bytes()
                except OSError as error:
                    raise PolicyFileError([whole(path, f"cannot be read: {error}")]) from None
        return found

    def _usable(
        self, contents: dict[Path, bytes], good: dict[Path, bytes], instant: dt.datetime | None
    ) -> tuple[Loaded, dict[Path, bytes], list[FileProblem]]:
        """(what can be used, of which contents, what is wrong with the others)."""
        try:
            return self._load(contents, instant), contents, []
        except PolicyFileError as error:
            faults = error.problems
        wrong = {fault.path for fault in faults}
        mended = {p: good[p] if p in wrong else raw for p, raw in contents.items() if p not in wrong or p in good}
        for used in (mended, good):
            with contextlib.suppress(PolicyFileError):
                return self._load(used, instant), used, faults
        raise PolicyFileError(faults)

    def _load(self, contents: dict[Path, bytes], instant: dt.datetime | None) -> Loaded:
        self._source.contents = contents
        loaded = load_policies(self.directory, instant, self._source)
        if not loaded.policies:
            message = "has no policy that requests can go by; copy the packaged default.yaml there"
            raise PolicyFileError([whole(self.directory, message)])
        if DEFAULT_POLICY not in loaded.policies and len(loaded.policies) > 1:
            message = f"has several policies, so one must be called {DEFAULT_POLICY!r}"
            raise PolicyFileError([whole(self.directory, message)])
        return loaded

    def _standing(
        self,
        loaded: Loaded,
        contents: Mapping[Path, bytes],
        used: Mapping[Path, bytes],
        faults: Iterable[FileProblem],
    ) -> Iterator[Standing]:
        reasons: dict[Path, list[str]] = {}
        for fault in faults:
            reasons.setdefault(fault.path, []).append(fault.brief)
        by_path = {path: name for name, path in loaded.files.items()}
        for path in sorted({*contents, *used, *reasons}):
            if path.parent != self.directory and path not in reasons:
                continue
            name = by_path.get(path, "")
            policy = loaded.policies.get(name) or loaded.guardrails.get(name)
            state: State = "guardrails" if name in loaded.guardrails else "live"
            if path not in used:
                state = "refused"
            elif contents.get(path) != used[path]:
                state = "held"
            yield Standing(
                file=self._relative(path),
                name=name,
                version=policy.version if policy else "",
                mode=policy.mode if policy else "",
                state=state,
                reason="\n".join(reasons.get(path, ())),
            )

    def _relative(self, path: Path) -> str:
        return str(path.relative_to(self.directory)) if path.is_relative_to(self.directory) else str(path)

    def _fingerprint(self) -> object:
        found = []
        for folder in (self.directory, self.directory / "catalog", self.directory / "quality"):
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):
                        about = entry.stat()
                        found.append((entry.path, about.st_mtime_ns, about.st_size, about.st_ino))
        return sorted(found)

    def _good(self) -> dict[Path, bytes]:
        return {self.directory / name: text.encode() for name, text in self._read().files.items()}

    def _read(self) -> _Good:
        if self._kept is None:
            return _Good()
        try:
            return msgspec.json.decode((self._kept / KEPT).read_bytes(), type=_Good)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return _Good()

    def _number(self, used: Mapping[Path, bytes]) -> int:
        """The number of these contents, which are written down where they are others than before."""
        if self._kept is None:
            return 1
        files = {self._relative(path): raw.decode() for path, raw in used.items()}
        with (self._kept / f"{KEPT}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            good = self._read()
            # Who was slow must not take back what another worker has found good meanwhile: it will look again.
            if good.files == files or self.changed():
                return good.number
            part = self._kept / f"{KEPT}.part"
            part.write_bytes(msgspec.json.encode(_Good(good.number + 1, files)))
            part.replace(self._kept / KEPT)
            return good.number + 1
