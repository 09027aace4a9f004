"""Tables that others export, as pandas reads them: CSV and similar, compressed or not, parquet, feather; from a folder,
a zip or a tar archive. Nothing is unpacked to disk, and nothing is read beyond a bound.

parquet and feather need ``pyarrow``, an optional package.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from connectome.errors import ConnectomeError
from connectome.io.archives import unzip
from connectome.io.files import gunzip, naming, plain_file, read_bytes
from connectome.io.parquet_files import pyarrow_parquet

if TYPE_CHECKING:
    import pandas

__all__ = ["TABLES", "Member", "is_archive", "members", "read_frame", "titles_of"]

#: Endings of what is read as a table.
TABLES: Final = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".parquet", ".feather", ".ftr")
_ARCHIVES: Final = (".zip", ".tar.gz", ".tgz", ".tar")
_LARGEST: Final = 1 << 33
_DEPTH: Final = 3
_MOST_FILES: Final = 1000


class Member(NamedTuple):
    """A file of a folder or an archive: its name without folders, its location for messages, and a function that opens
    it, decompressed if its name ends in ``.gz``. ``open`` raises :class:`ConnectomeError`, and so does reading what it
    returns."""

    name: str
    where: str
    open: Callable[[], AbstractContextManager[io.BufferedReader[Any]]]


def is_archive(path: Path) -> bool:
    """Whether a path is an archive, by its name."""
    return path.name.lower().endswith(_ARCHIVES)


def members(place: Path, wanted: Callable[[str], bool]) -> list[Member]:
    """The files whose names are wanted in a folder, at most three levels deep, or in an archive; or a single file.
    Sorted by name. Raises :class:`ConnectomeError`."""
    if place.is_dir():
        found = [Member(p.name, str(p), partial(plain_file, p, _LARGEST)) for p in _files(place) if wanted(p.name)]
    elif place.name.lower().endswith(".zip"):
        inside = unzip(place, wanted, _LARGEST)
        found = [_archived(place, name, data) for name, data in inside.items()]
    elif is_archive(place):
        found = list(_untar(place, wanted))
    else:
        found = [Member(place.name, str(place), partial(plain_file, place, _LARGEST))]
    return sorted(found, key=lambda m: m.where)


def _archived(archive: Path, name: str, data: bytes) -> Member:
    where = f"{archive}: {name}"
    return Member(name, where, lambda: gunzip(where, io.BufferedReader(io.BytesIO(data)), _LARGEST))


def _files(folder: Path) -> Iterator[Path]:
    seen = 0
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        if len(Path(root).relative_to(folder).parts) >= _DEPTH:
            folders.clear()
        for name in sorted(names):
            seen += 1
            if seen > _MOST_FILES:
                raise ConnectomeError(str(folder), f"must be a folder of at most {_MOST_FILES:,} files", "more")
            if not name.startswith("."):
                yield Path(root) / name


def _untar(path: Path, wanted: Callable[[str], bool]) -> Iterator[Member]:
    left = _LARGEST
    with naming(path, "a tar archive"), tarfile.open(fileobj=io.BytesIO(read_bytes(path, _LARGEST))) as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            if not member.isfile() or name.startswith(".") or not wanted(name):
                continue  # links and devices among them
            file = archive.extractfile(member)
            data = file.read(left + 1) if file is not None else b""
            left -= len(data)
            if left < 0:
                raise ConnectomeError(name, f"must have at most {_LARGEST:,} bytes in all", "more")
            yield _archived(path, name, data)


def titles_of(member: Member) -> list[str]:
    """The titles of a table's columns; empty for a file that is not a table. Raises :class:`ConnectomeError` for a file
    that cannot be read, or a kind of table that needs a package."""
    if member.name.lower().endswith((".parquet", ".feather", ".ftr")):
        return list(_arrow(member, [], schema_only=True))
    line = _first_line(member)
    return [title.strip().strip('"') for title in line.rstrip("\r\n").split(_separator(line))]


def read_frame(member: Member, columns: Sequence[str] | None = None, kinds: Mapping[str, str] = {}) -> pandas.DataFrame:
    """A table, or some of its columns. ``kinds``: types that columns must have, such as int64 for ids, or category.
    Raises :class:`ConnectomeError` naming the file."""
    import pandas

    if member.name.lower().endswith((".parquet", ".feather", ".ftr")):
        table = _arrow(member, columns)
        with naming(member.where, "a table with ids that are whole numbers"):
            return pandas.DataFrame(table).astype({k: v for k, v in kinds.items() if k in table and v == "int64"})
    separator = _separator(_first_line(member))
    with naming(member.where, "a table with ids that are whole numbers"), member.open() as stream:
        found: pandas.DataFrame = pandas.read_csv(
            stream, sep=separator, usecols=None if columns is None else list(columns), dtype=dict(kinds),
            keep_default_na=False, na_values=["", "nan", "NaN", "None", "N/A"], low_memory=False, encoding="utf-8-sig",
        )  # fmt: skip
        return found


def _first_line(member: Member) -> str:
    with naming(member.where, "a table"), member.open() as stream:
        return stream.readline(1 << 20).decode("utf-8-sig", errors="replace")


def _separator(line: str) -> str:
    return max(",\t;", key=line.count)


def _arrow(member: Member, columns: Sequence[str] | None, *, schema_only: bool = False) -> dict[str, Any]:
    """Columns of a parquet or feather table; integers stay integers, with -1 for a missing one."""
    arrow, parquet = pyarrow_parquet()
    from pyarrow import feather

    with naming(member.where, "a parquet or feather table"), member.open() as stream:
        source = arrow.BufferReader(stream.read())
        if member.name.lower().endswith(".parquet"):
            file = parquet.ParquetFile(source)
            names = file.schema_arrow.names
            if schema_only:
                return dict.fromkeys(names)
            table = file.read(columns=[name for name in names if columns is None or name in columns])
        else:
            if schema_only:
                return dict.fromkeys(arrow.ipc.open_file(source).schema.names)
            table = feather.read_table(source, columns=None if columns is None else list(columns), memory_map=False)
        found: dict[str, Any] = {}
        for name in table.column_names:
            column = table[name]
            kind = column.type
            if arrow.types.is_integer(kind) and column.null_count:
                values = column.cast(arrow.int64()).fill_null(np.iinfo(np.int64).min).to_numpy()
                found[name] = values
            elif arrow.types.is_string(kind) or arrow.types.is_large_string(kind):
                found[name] = column.dictionary_encode().to_pandas()
            else:
                found[name] = column.to_pandas()
        return found
