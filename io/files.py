"""Files other than HDF5: read whole within a size limit, written whole or not at all, refused in one line."""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedReader, RawIOBase
from itertools import islice
from pathlib import Path
from typing import Any, Final

import numpy as np

from connectome.errors import ConnectomeError
from connectome.io.hdf5 import Sink, atomic

__all__ = ["digest_of", "gunzip", "naming", "plain_file", "read_bytes", "unpacked", "write_lines", "writing"]

#: The largest text or matrix file that is read. What is made of one takes a few times as much memory.
MAX_BYTES: Final = 1 << 29
_ANY_SIZE: Final = 1 << 50
_LINES_A_WRITE: Final = 4096
_GZIP: Final = ".gz"


@contextmanager
def naming(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Turns any failure with this file inside the block into one :class:`ConnectomeError` that names it; ``what`` the
    file must be, e.g. "a GraphML file", is the rule if the error has none of its own."""
    name = os.fspath(path)
    try:
        with np.errstate(all="ignore"):  # of what becomes of a huge number, whoever checks it speaks
            yield
    except ConnectomeError as error:
        here = (f"{name}:", f"{name}/", f"{unpacked(path).with_suffix('')}_")  # it is named already, or one beside it
        named = error.field == name or error.field.startswith(here)
        raise (error if named else error.within(name)) from None
    except MemoryError:
        size = f"{os.path.getsize(name)} bytes on disk" if os.path.isfile(name) else "more"  # within an archive
        raise ConnectomeError(name, "must fit in memory", size) from None
    except RecursionError:
        raise ConnectomeError(name, f"must be {what}", "elements nested too deeply") from None
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, OSError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ConnectomeError(name, f"must be {what}", f"{type(error).__name__}: {reason}"[:300]) from None


def unpacked(path: str | os.PathLike[str]) -> Path:
    """The path without ``.gz``, for a compressed file; else the path."""
    place = Path(path)
    return place.with_suffix("") if place.suffix.lower() == _GZIP else place


@contextmanager
def plain_file(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> Iterator[BufferedReader[Any]]:
    """A regular file, open for reading, decompressed if its name ends in ``.gz``. Raises :class:`ConnectomeError` if it
    is not a regular file, is larger than ``max_bytes``, compressed or not, or cannot be read."""
    name = os.fspath(path)
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe must not block
    except (OSError, ValueError) as error:  # a ValueError for a name with NUL in it
        raise ConnectomeError(name, "must be a file that can be read", getattr(error, "strerror", error)) from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_size > max_bytes:
        os.close(descriptor)
        if stat.S_ISREG(status.st_mode):
            raise ConnectomeError(
                name, f"must have at most {max_bytes:,} bytes", f"{status.st_size:,}",
                "A snapshot (.h5) or a parquet table holds a large graph better.",
            )  # fmt: skip
        raise ConnectomeError(name, "must be a file", "a folder" if stat.S_ISDIR(status.st_mode) else "a device")
    with open(descriptor, "rb") as file, gunzip(name, file, max_bytes) as found:
        yield found


@contextmanager
def gunzip(name: str, file: BufferedReader[Any], max_bytes: int) -> Iterator[BufferedReader[Any]]:
    """The content of a file with this name: decompressed, within a bound, if the name ends in ``.gz``. Reading it
    raises :class:`ConnectomeError`."""
    if not name.lower().endswith(_GZIP):
        yield file
        return
    with gzip.GzipFile(fileobj=file) as packed, BufferedReader(_Unpacked(name, packed, max_bytes)) as found:
        yield found


class _Unpacked(RawIOBase):
    """The content of a gzip file, within a bound."""

    def __init__(self, name: str, file: gzip.GzipFile, max_bytes: int) -> None:
        self._name, self._file, self._most, self._left = name, file, max_bytes, max_bytes

    def readable(self) -> bool:
        """As a file's."""
        return True

    def readinto(self, buffer: Any) -> int:
        """As a file's. Raises :class:`ConnectomeError`."""
        try:
            data = self._file.read(len(buffer))
        except (OSError, EOFError, zlib.error) as error:
            raise ConnectomeError(self._name, "must be a gzip file", str(error)[:200]) from None
        self._left -= len(data)
        if self._left < 0:
            raise ConnectomeError(self._name, f"must have at most {self._most:,} bytes once it is unpacked", "more")
        buffer[: len(data)] = data
        return len(data)


def read_bytes(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a file. Raises as :func:`plain_file`."""
    with plain_file(path, max_bytes) as file:
        try:
            return file.read()
        except OSError as error:
            raise ConnectomeError(str(path), "must be a file that can be read", error.strerror or error) from None


def digest_of(path: str | os.PathLike[str]) -> str:
    """SHA-256 over the content of a file of any size, as hexadecimal digits. Raises as :func:`plain_file`."""
    with plain_file(path, _ANY_SIZE) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Sink]:
    """A file to write in the block, which appears whole or not at all. Raises :class:`ConnectomeError` if that fails;
    an existing file is then unchanged."""
    try:
        with atomic(Path(path)) as sink:
            yield sink
    except OSError as error:
        raise ConnectomeError(
            str(path), "must be writable", error.strerror or error,
            "Free some space or choose another folder. An earlier file of this name is as it was.",
        ) from None  # fmt: skip


def write_lines(path: str | os.PathLike[str], lines: Iterable[str]) -> None:
    """Write lines as UTF-8. Raises as :func:`writing`."""
    rest = iter(lines)
    with writing(path) as sink:
        while some := "\n".join(islice(rest, _LINES_A_WRITE)):
            sink.write(f"{some}\n".encode())
