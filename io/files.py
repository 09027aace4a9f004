"""Files that are no HDF5: read whole and within a bound, written whole or not at all, refused in one line."""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

import numpy as np

from connectome.errors import ConnectomeError
from connectome.io.hdf5 import Sink, atomic

__all__ = ["naming", "read_bytes", "unpacked", "write_lines", "writing"]

#: The largest text or matrix file that is read. What is made of one takes a few times as much memory.
MAX_BYTES: Final = 1 << 29
_LINES_A_WRITE: Final = 4096
_GZIP: Final = ".gz"


@contextmanager
def naming(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Whatever goes wrong with this file inside the block is one :class:`ConnectomeError` that names it; ``what`` it
    must be, e.g. "a GraphML file", is the rule where the error has none of its own."""
    name = os.fspath(path)
    try:
        with np.errstate(all="ignore"):  # of what becomes of a huge number, whoever checks it speaks
            yield
    except ConnectomeError as error:
        raise ConnectomeError(f"{name}: {error.field}", error.rule, error.found, error.hint) from None
    except MemoryError:
        raise ConnectomeError(name, "must fit in memory", f"{os.path.getsize(name)} bytes on disk") from None
    except RecursionError:
        raise ConnectomeError(name, f"must be {what}", "elements nested too deeply") from None
    except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, OSError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ConnectomeError(name, f"must be {what}", f"{type(error).__name__}: {reason}"[:300]) from None


def unpacked(path: str | os.PathLike[str]) -> Path:
    """The name of what a path holds: that without ``.gz`` for a compressed file."""
    place = Path(path)
    return place.with_suffix("") if place.suffix.lower() == _GZIP else place


def read_bytes(path: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> bytes:
    """The content of a plain file, unpacked if its name ends in ``.gz``. Raises :class:`ConnectomeError` for one that
    is none, is larger than ``max_bytes``, packed or not, or cannot be read."""
    name = os.fspath(path)
    try:
        with open(os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:  # a pipe must not block
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConnectomeError(
                    name, "must be a file", "a folder" if stat.S_ISDIR(status.st_mode) else "a device"
                )
            if status.st_size > max_bytes:
                raise ConnectomeError(
                    name, f"must have at most {max_bytes:,} bytes", f"{status.st_size:,}",
                    "A snapshot (.h5) or a parquet table holds a large graph better.",
                )  # fmt: skip
            data = file.read(max_bytes)
    except (OSError, ValueError) as error:  # a ValueError for a name with NUL in it
        raise ConnectomeError(name, "must be a file that can be read", getattr(error, "strerror", error)) from None
    return _gunzip(name, data, max_bytes) if name.lower().endswith(_GZIP) else data


def _gunzip(name: str, data: bytes, max_bytes: int) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            found = file.read(max_bytes + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ConnectomeError(name, "must be a gzip file", str(error)[:200]) from None
    if len(found) > max_bytes:
        raise ConnectomeError(name, f"must have at most {max_bytes:,} bytes once it is unpacked", "more")
    return found


@contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Sink]:
    """A file to write in the block, which is there whole or not at all. Raises :class:`ConnectomeError` if that
    fails; a file that was there is then as it was."""
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
