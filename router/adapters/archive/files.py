"""The archive's files: where they lie, writing one whole or not at all, reading it back.

Belongs here: paths, Parquet, a directory or an S3-compatible store as the place. Does not belong here: which rows go
into which file, and what the store is told of it (archive).

    tenant=acme/date=2026-11-23/hour=07.parquet       rows admitted in that hour (UTC), the hour's first part
    tenant=acme/date=2026-11-23/hour=07-2.parquet     what was booked for it after that, such as corrections

A file's metadata holds the schema's version, the count of rows and the sum of every amount; its pages have checksums.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote, unquote, urlsplit

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from router.adapters.archive.finance_extra import ArchiveError
from router.adapters.archive.schema import AMOUNTS, SCHEMA, SCHEMA_VERSION, amounts, schema_of, to_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from router.core.values import Row

_VERSION: Final = b"costrouter.schema"
_CONTENT: Final = b"costrouter.content"
_OPTIONS: Final[dict[str, Any]] = {"write_page_checksum": True, "write_statistics": False}
"""Statistics lie outside the checksums, and could make a reader pass over rows; every row of a file is of one hour."""
_LEFT_S: Final = 86_400.0
_FAULTS: Final = (OSError, pa.ArrowException, ValueError, KeyError)


class Content(msgspec.Struct, frozen=True):
    """What a file must hold."""

    rows: int
    sums: dict[str, int]
    """By column of `AMOUNTS`."""

    def difference(self, other: Content) -> str:
        """The first figure in which the other differs, in words; empty when none does."""
        if self.rows != other.rows:
            return f"rows {self.rows:,} ≠ {other.rows:,}"
        for name in AMOUNTS:
            if self.sums.get(name, 0) != other.sums.get(name, 0):
                return f"{name} {self.sums.get(name, 0):,} ≠ {other.sums.get(name, 0):,}"
        return ""


class ArchiveFiles:
    """Files of one archive.

    Args:
        place: a directory, or a URL that pyarrow knows: ``s3://bucket/path?endpoint_override=host:port&scheme=http``.
            Credentials come from the environment (AWS_ACCESS_KEY_ID …) or the URL; messages never show them.

    Raises:
        ArchiveError: the place cannot be understood.
    """

    def __init__(self, place: str) -> None:
        self._shown = _without_secrets(place)
        try:
            if "://" in place:
                self.filesystem, self.root = fs.FileSystem.from_uri(place)
            else:
                self.filesystem, self.root = fs.LocalFileSystem(), os.path.abspath(place)  # noqa: PTH100 - a plain text for pyarrow
        except _FAULTS as error:
            raise ArchiveError(f"the archive {self._shown} cannot be used: {_first_line(error, place)}") from None
        self.local = isinstance(self.filesystem, fs.LocalFileSystem)

    def __str__(self) -> str:
        return self._shown

    def path(self, tenant: str, hour: str, part: int) -> str:
        """Where a part of an hour (YYYYMMDDHH) lies."""
        name = f"hour={hour[8:]}{f'-{part}' if part > 1 else ''}.parquet"
        return f"{self._folder(tenant)}/date={hour[:4]}-{hour[4:6]}-{hour[6:8]}/{name}"

    def shown(self, path: str) -> str:
        """A path below the archive, for messages."""
        return path.removeprefix(f"{self.root}/")

    def listed(self, tenant: str) -> dict[tuple[str, int], str]:
        """Every part that lies there: (YYYYMMDDHH, number) to path. Files of other names are passed over.

        Raises:
            ArchiveError: the place cannot be read.
        """
        try:
            found = self.filesystem.get_file_info(
                fs.FileSelector(self._folder(tenant), recursive=True, allow_not_found=True)
            )
        except _FAULTS as error:
            raise self._unusable(error) from None
        parts = {}
        for info in found:
            date, _, name = info.path.rpartition("/")
            hour, _, number = name.removeprefix("hour=").removesuffix(".parquet").partition("-")
            day = date.rpartition("/")[2].removeprefix("date=").replace("-", "")
            if name == f"hour={hour}{f'-{number}' if number else ''}.parquet" and (day + hour).isdecimal():
                parts[day + hour, int(number or 1)] = info.path
        return parts

    def tenants(self) -> list[str]:
        """Every tenant with a folder, sorted.

        Raises:
            ArchiveError: the place cannot be read.
        """
        try:
            found = self.filesystem.get_file_info(fs.FileSelector(self.root, allow_not_found=True))
        except _FAULTS as error:
            raise self._unusable(error) from None
        names = [info.base_name.removeprefix("tenant=") for info in found if info.base_name.startswith("tenant=")]
        return sorted("" if name == "%" else unquote(name) for name in names)

    def content(self, path: str) -> Content | None:
        """What a file says of itself; None where there is none.

        Raises:
            ArchiveError: it cannot be read, or is of another kind.
        """
        try:
            if self.filesystem.get_file_info(path).type is fs.FileType.NotFound:
                return None
            with pq.ParquetFile(path, filesystem=self.filesystem) as file:
                return _said(file)
        except _FAULTS as error:
            raise self._broken(path, error) from None

    def tables(self, path: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """A file's rows, a row group at a time; every page's checksum is looked at.

        Raises:
            ArchiveError: the file cannot be read whole.
        """
        try:
            with pq.ParquetFile(path, filesystem=self.filesystem, page_checksum_verification=True) as file:
                _said(file)
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group, columns)
        except _FAULTS as error:
            raise self._broken(path, error) from None

    def rows(self, path: str) -> Iterator[Row]:
        """A file's rows, one by one.

        Raises:
            ArchiveError: as `tables`.
        """
        for table in self.tables(path):
            yield from to_rows(table)

    def checked(self, path: str, each: Callable[[pa.Table], None] | None = None) -> Content:
        """What a file really holds, every page read; it agrees with what the file says of itself.

        Args:
            path: of the file.
            each: is given every row group on the way.

        Raises:
            ArchiveError: it does not, or cannot be read.
        """
        said = self.content(path)
        if said is None:
            raise ArchiveError(f"{self.shown(path)} is missing in the archive {self}")
        sums = Sums()
        for table in self.tables(path):
            sums.add(table)
            if each is not None:
                each(table)
        found = sums.content
        if difference := found.difference(said):
            raise ArchiveError(f"{self.shown(path)} does not hold what it says of itself: {difference}")
        return found

    def remove(self, path: str) -> None:
        """Delete a file, if it is there."""
        with contextlib.suppress(*_FAULTS):
            self.filesystem.delete_file(path)

    def _folder(self, tenant: str) -> str:
        return f"{self.root}/tenant={quote(tenant, safe='', errors='surrogatepass') or '%'}"

    def _broken(self, path: str, error: Exception) -> ArchiveError:
        if isinstance(error, ArchiveError):
            return error
        return ArchiveError(f"{self.shown(path)} in the archive {self} cannot be read: {_first_line(error)}")

    def _unusable(self, error: Exception) -> ArchiveError:
        return ArchiveError(f"the archive {self} cannot be used: {_first_line(error)}")


class Sums:
    """Adds up columns, batch by batch."""

    def __init__(self) -> None:
        self.rows = 0
        self._sums = dict.fromkeys(AMOUNTS, 0)

    def add(self, batch: pa.RecordBatch | pa.Table) -> None:
        """Take these rows in."""
        self.rows += batch.num_rows
        for name, amount in amounts(batch).items():
            self._sums[name] += amount

    @property
    def content(self) -> Content:
        """All that was taken in."""
        return Content(self.rows, dict(self._sums))


class PartWriter:
    """Writes one part to a temporary name; `finish` gives it its name once it is whole. A context manager.

    Raises:
        ArchiveError: the place cannot be written to (in every method).
    """

    def __init__(self, files: ArchiveFiles, path: str) -> None:
        self._files = files
        self._path = path
        self._folder, _, name = path.rpartition("/")
        self._temporary = f"{self._folder}/.{name}.{secrets.token_hex(6)}.tmp"
        self._sums = Sums()
        self._writer: pq.ParquetWriter | None = None
        try:
            files.filesystem.create_dir(self._folder, recursive=True)
            self._sink = files.filesystem.open_output_stream(self._temporary)
            self._writer = pq.ParquetWriter(self._sink, SCHEMA, compression="zstd", **_OPTIONS)
        except _FAULTS as error:
            raise files._unusable(error) from None  # noqa: SLF001 - one module's words

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        with contextlib.suppress(*_FAULTS):
            if self._writer is not None:
                self._writer.close()
            self._sink.close()
        self._files.remove(self._temporary)

    @property
    def content(self) -> Content:
        """What was written so far."""
        return self._sums.content

    def write(self, batches: list[pa.RecordBatch]) -> None:
        """Add rows as a row group."""
        table = pa.Table.from_batches(batches, SCHEMA)
        self._sums.add(table)
        if self._writer is not None:
            self._writer.write_table(table, row_group_size=max(table.num_rows, 1))

    def finish(self) -> Content:
        """Write the rest, read all of it back, and put it in its place."""
        files, content = self._files, self._sums.content
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.add_key_value_metadata(_metadata(content))
                writer.close()
            self._sink.close()
            if files.local:
                _sync(self._temporary)
            if difference := files.checked(self._temporary).difference(content):
                raise ArchiveError(f"{files.shown(self._path)} was not written as it should be: {difference}")
            files.filesystem.move(self._temporary, self._path)
            if files.local:
                _sync(self._folder)
            self._sweep()
        except _FAULTS as error:
            raise files._unusable(error) from None  # noqa: SLF001 - one module's words
        return content

    def _sweep(self) -> None:
        """Delete what killed writers have left."""
        bound = time.time() - _LEFT_S
        for info in self._files.filesystem.get_file_info(fs.FileSelector(self._folder)):
            if info.base_name.endswith(".tmp") and info.mtime_ns is not None and info.mtime_ns / 1e9 < bound:
                self._files.remove(info.path)


def _said(file: pq.ParquetFile) -> Content:
    metadata = file.schema_arrow.metadata or {}
    metadata |= file.metadata.metadata or {}
    version = int(metadata.get(_VERSION, b"0"))
    if not 1 <= version <= SCHEMA_VERSION:
        raise ValueError(f"it has schema version {version}, and this costrouter reads 1 to {SCHEMA_VERSION}")
    if file.schema_arrow.remove_metadata() != schema_of(version):
        raise ValueError("its columns are not those of its version")
    said = json.loads(metadata[_CONTENT])
    return Content(said["rows"], said["sums"])


def _metadata(content: Content) -> dict[str, str]:
    said: dict[str, Any] = {"rows": content.rows, "sums": content.sums}
    return {_VERSION.decode(): str(SCHEMA_VERSION), _CONTENT.decode(): json.dumps(said)}


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _without_secrets(place: str) -> str:
    if "://" not in place:
        return place
    parts = urlsplit(place)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _first_line(error: Exception, place: str = "") -> str:
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return line.replace(place, _without_secrets(place)) if place else line
