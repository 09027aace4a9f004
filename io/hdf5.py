"""HDF5 as this project uses it: files that appear whole or not at all, and are read without trust.

Written: chunked columns with a checksum (fletcher32), a column of one repeated value as HDF5's fill value (which takes
no space), tables of named columns, short texts. No time stamps are stored, so equal content makes equal bytes.

Read: only plain datasets inside the file, of exactly the type and shape asked for, not compressed, and with as many
bytes as they claim. Soft and external links, external storage and virtual datasets are refused before they are opened.
So memory stays within a few times the size of the file, whatever the file says.
"""

from __future__ import annotations

import math
import os
import re
import secrets
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, Final, TypeVar

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

from connectome.errors import ConnectomeError
from connectome.io.heaps import check_heaps, filters_of
from connectome.memory import ran_out

__all__ = [
    "Reader",
    "atomic",
    "create",
    "is_one_value",
    "make_folder",
    "place_column",
    "reading",
    "write_column",
    "write_constant",
    "write_table",
    "write_text",
    "write_texts",
]

CHUNK_ROWS: Final = 1 << 18
MAX_CHUNK_BYTES: Final = 1 << 26
#: From this format on, HDF5's own headers and indices carry checksums; HDF5 1.10 (2016) and newer read it.
LIBVER: Final = ("v110", "v110")
_LINE: Final = 64  # bytes
_FILTERS: Final = frozenset({h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_DEFLATE})
_MAX_DEFLATION: Final = 1032  # what deflate can make of a byte at most (RFC 1951: 258 bytes for 2 bits)
_KINDS: Final = {"f": "numbers", "iu": "integers", "S": "texts"}
#: What HDF5 says, after much else, when the system could not read a file for it.
_FAILED_CALL: Final = re.compile(r"errno = (\d+)")
T = TypeVar("T")


class Sink(FileIO):
    """A file for HDF5 to write to. After a failure it only pretends to write, and :func:`atomic` raises the failure
    after HDF5 has closed: otherwise HDF5 (1.14, 2.0) ends the process with a segmentation fault on a full disk."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of ``data``."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest and self.failure is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.failure = error
        return size

    def place(self, data: NDArray[Any], at: int) -> int:
        """Write an array at a place of its own, past HDF5; return how many bytes. Raises :class:`OSError`."""
        rest = data.data.cast("B")
        while rest:
            written = os.pwrite(self.fileno(), rest, at)
            rest, at = rest[written:], at + written
        return data.nbytes

    def truncate(self, size: int | None = None) -> int:
        """As a file's."""
        try:
            if self.failure is None:
                super().truncate(size)
        except OSError as error:
            self.failure = error
        return size or 0


@contextmanager
def atomic(path: Path) -> Iterator[Sink]:
    """A new file that replaces ``path`` when the block ends, after it has been flushed to disk. If the block or the
    disk fails, ``path`` is unchanged and nothing is left behind. Raises :class:`OSError`."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with Sink(descriptor, "r+") as sink:
            yield sink
            if sink.failure is not None:
                raise sink.failure
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and its parents, unless they exist, and flush them to disk. Raises :class:`OSError`."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir()
        _sync(path.parent)


def _sync(folder: Path) -> None:
    """Flush a folder to disk, as a new file name is on disk only when its folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def create(sink: Sink, *, aligned: bool = False) -> Iterator[Any]:
    """An :class:`h5py.File` to write in the block; ``aligned``: what is in it begins with a cache line. Raises
    :class:`OSError` after it if not all was written."""
    lines = {"alignment_threshold": 1, "alignment_interval": _LINE} if aligned else {}
    with h5py.File(sink, "w", libver=LIBVER, **lines) as file:
        yield file
    if sink.failure is not None:
        raise sink.failure


def write_column(group: Any, name: str, array: NDArray[Any], *, shrink: bool = True) -> Any:
    """Write an array, its rows chunked and checked. With ``shrink``, one value for all rows takes no space. Nothing is
    compressed: a decompressor's memory has no bound, and libsonata's HDF5 has no decompressor."""
    if shrink and array.ndim == 1 and array.size and is_one_value(array):
        return write_constant(group, name, array.size, array[0], array.dtype)
    if not array.size:
        return group.create_dataset(name, data=array)
    chunks = (min(array.shape[0], CHUNK_ROWS), *array.shape[1:])
    return group.create_dataset(name, data=array, chunks=chunks, fletcher32=True)


def place_column(
    sink: Sink, group: Any, name: str, size: int, dtype: np.dtype[Any], blocks: Iterable[NDArray[Any]]
) -> NDArray[Any]:
    """Write a column block by block so that its rows lie one after the other, to be mapped: without checksums. Return
    it, mapped, read-only. Raises :class:`OSError`."""
    if not size:
        return np.zeros(0, group.create_dataset(name, shape=(0,), dtype=dtype).dtype)
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_obj_track_times(False)
    plan.set_chunk((min(size, CHUNK_ROWS),))
    # Then HDF5 indexes no chunks: they are one piece.
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space, kind = h5py.h5s.create_simple((size,)), h5py.h5t.py_create(dtype, logical=True)
    place = _first_byte(h5py.Dataset(h5py.h5d.create(group.id, name.encode(), kind, space, plan)))
    assert place is not None
    at = place
    for block in blocks:
        at += sink.place(np.ascontiguousarray(block, dtype), at)
    assert at == place + size * dtype.itemsize
    return np.asarray(np.memmap(sink, dtype, "r", place, (size,)))


def _first_byte(dataset: Any) -> int | None:
    """Where a column begins in the file, if its rows lie there one after the other, as they are; else None."""
    if dataset.ndim != 1 or dataset.chunks is None or not dataset.size or filters_of(dataset):
        return None
    places: list[tuple[int, int]] = []
    dataset.id.chunk_iter(lambda chunk: places.append((chunk.chunk_offset[0], chunk.byte_offset)))
    if len(places) != -(-dataset.size // dataset.chunks[0]):
        return None
    first = min(places)[1]
    return first if all(at == first + row * dataset.dtype.itemsize for row, at in places) else None


def write_constant(group: Any, name: str, size: int, value: Any, dtype: DTypeLike) -> Any:
    """Write ``size`` times the same value: a fill value and no chunk."""
    if not size:
        return group.create_dataset(name, shape=(0,), dtype=dtype)
    checked = h5py.check_string_dtype(np.dtype(dtype)) is None  # HDF5 checks no strings of any length
    return group.create_dataset(
        name, shape=(size,), dtype=dtype, chunks=(min(size, CHUNK_ROWS),), fillvalue=value, fletcher32=checked
    )


def write_table(group: Any, name: str, columns: Mapping[str, tuple[type, Sequence[Any]]]) -> None:
    """Write named columns of ``str``, ``int`` or ``float`` as one compound dataset."""
    fields: list[Any] = []
    encoded: list[Sequence[Any]] = []
    for column, (kind, values) in columns.items():
        if kind is str:
            values = [_encode(f"{name}.{column}", v) for v in values]
            fields.append((column, h5py.string_dtype("utf-8", max([1, *map(len, values)]))))
        else:
            fields.append((column, np.dtype(kind)))
        encoded.append(values)
    try:
        table = np.array(list(zip(*encoded, strict=True)), dtype=fields)
    except (OverflowError, TypeError, ValueError) as error:
        raise ConnectomeError(name, "must hold integers of 64 bits, floats and text", error) from None
    write_column(group, name, table)


def write_text(group: Any, name: str, text: str) -> None:
    """Write one text, checked as a column is."""
    write_texts(group, name, [text])


def write_texts(group: Any, name: str, texts: Sequence[str]) -> None:
    """Write texts, as long as the longest, checked as a column is."""
    data = [_encode(name, text) for text in texts]
    width = max([1, *map(len, data)])
    write_column(group, name, np.array(data, h5py.string_dtype("utf-8", width)), shrink=False)


def is_one_value(array: NDArray[Any]) -> bool:
    """Whether all values are equal, bit for bit, so that -0.0 differs from 0.0 and nan equals nan."""
    if array.dtype.kind not in "biuf":
        return False
    bits = array.view(f"u{array.dtype.itemsize}")
    return bool(bits[0] == bits[-1]) and (array.strides == (0,) or bool((bits == bits[0]).all()))


def _encode(where: str, text: str) -> bytes:
    try:
        data = text.encode()
    except UnicodeEncodeError as error:
        raise ConnectomeError(where, "must be text that UTF-8 can hold", error) from None
    if b"\0" in data:
        raise ConnectomeError(where, "must be text without the character NUL", repr(text))
    return data


@contextmanager
def reading(path: str | os.PathLike[str], *, mapped: bool = False) -> Iterator[Reader]:
    """Open an HDF5 file for reading; any failure with it inside the block becomes a :class:`ConnectomeError` that names
    the file. ``mapped``: columns that :func:`place_column` wrote are mapped, not read."""
    name = os.fspath(path)
    try:
        status = os.stat(name)
        if not stat.S_ISREG(status.st_mode):
            raise ConnectomeError(name, "must be a file", "a folder" if stat.S_ISDIR(status.st_mode) else "a device")
        with open(name, "rb") as raw:
            start = raw.read(8)
    except (OSError, ValueError) as error:  # a ValueError for a name with NUL in it
        if isinstance(error, ConnectomeError):
            raise
        raise ConnectomeError(name, "must be a file that can be read", getattr(error, "strerror", error)) from None
    if start != b"\x89HDF\r\n\x1a\n":
        raise ConnectomeError(name, "must be an HDF5 file", f"one that begins with {start!r}")
    try:
        check_heaps(name)
        with h5py.File(name, "r", locking=False) as file:
            yield Reader(file, status.st_size, mapped)
    except ConnectomeError as error:
        raise error.within(name) from None
    except (MemoryError, OSError, RuntimeError, LookupError, TypeError, ValueError, ArithmeticError) as error:
        if ran_out(error):
            raise ConnectomeError(name, "must fit in memory", f"{status.st_size} bytes on disk") from None
        # What h5py raises for a damaged file: the type says little and the first line is all that a reader can use.
        reason = (str(error).splitlines() or [""])[0]
        if failed := _FAILED_CALL.search(str(error)):
            raise ConnectomeError(name, "must be a file that can be read", os.strerror(int(failed[1]))) from None
        raise ConnectomeError(
            name, "must be a whole, undamaged HDF5 file", f"{type(error).__name__}: {reason}",
            "It was cut short or changed since it was written. Take another copy.",
        ) from None  # fmt: skip


class Reader:
    """An open HDF5 file of ``size`` bytes. All that is read from it must not add up to more than that. ``mapped``: what
    can be is mapped."""

    def __init__(self, file: Any, size: int, mapped: bool = False) -> None:
        self._file, self._size, self._left = file, size, size
        self._bytes = np.memmap(file.filename, np.uint8, "r", shape=(size,)) if mapped else None

    def backs(self, size: int) -> None:
        """Refuse a claim to more bytes than the file has."""
        if size > self._size:
            raise ConnectomeError("/", f"must have the {size} bytes that its tables claim", f"a file of {self._size}")

    def members(self, *place: str) -> list[str]:
        """Names in a group."""
        return list(self._open(place, h5py.Group))

    def has(self, *place: str) -> bool:
        """Whether there is such a group or dataset."""
        group = self._open(place[:-1], h5py.Group)
        return bool(group.id.links.exists(place[-1].encode()))  # unlike `in`, this follows no link

    def is_group(self, name: str) -> bool:
        """Whether a member of the file is a group of its own."""
        return isinstance(self._file.get(name, getlink=True), h5py.HardLink) and isinstance(
            self._file[name], h5py.Group
        )

    def attribute(self, group: str, name: str, kind: type[T]) -> T:
        """A scalar attribute of a group: ``int``, ``float`` or ``str``."""
        attributes, where = self._open([group], h5py.Group).attrs, f"/{group}@{name}"
        if name not in attributes:
            raise ConnectomeError(where, "must be there", "no such attribute")
        identity = attributes.get_id(name)
        value = attributes[name] if identity.shape == () else None
        value = value.item() if isinstance(value, np.generic) else value
        if type(value) is not kind:
            raise ConnectomeError(where, f"must be one {kind.__name__}", f"{identity.dtype} of shape {identity.shape}")
        return value

    def column(self, *place: str, dtype: DTypeLike, shape: tuple[int, ...], shrunk: bool = True) -> NDArray[Any]:
        """Read a dataset of this type and shape, read-only. One value for all rows stays one value (a broadcast view),
        and is refused unless ``shrunk``: then the column's size is backed by bytes in the file."""
        dataset, where = self._open(place, h5py.Dataset), "/".join(("", *place))
        found = f"{dataset.dtype} of shape {dataset.shape}"
        if dataset.dtype != np.dtype(dtype) or dataset.shape != shape:
            raise ConnectomeError(where, f"must be {np.dtype(dtype)} of shape {shape}", found)
        rows = self._mapped_rows(dataset, where)
        return rows if rows is not None else self._read(dataset, where, shrunk)

    def _mapped_rows(self, dataset: Any, where: str) -> NDArray[Any] | None:
        """A column as it lies in the file; None if it is not to be mapped, or cannot be."""
        if self._bytes is None:
            return None
        self._refuse_elsewhere(dataset, where)
        first, size = _first_byte(dataset), dataset.size * dataset.dtype.itemsize
        if first is None or first % dataset.dtype.itemsize:
            return None
        if first + size > self._size:
            raise ConnectomeError(where, f"must have the {size} bytes that it claims", f"a file of {self._size}")
        rows: NDArray[Any] = np.asarray(self._bytes[first : first + size]).view(dataset.dtype)
        return rows

    def foreign(
        self, *place: str, kinds: str, shape: tuple[int, ...] | None = None
    ) -> tuple[NDArray[Any], Mapping[str, Any]]:
        """Read a dataset that another program wrote, and its attributes: numbers ("f"), integers ("iu") or texts ("S")
        of this shape, one row of any length by default; contiguous, in chunks, or compressed by deflate. A dataset that
        claims more than its bytes can hold is refused: contiguous bytes hold as many, deflated ones at most 1032 times
        as many."""
        dataset, where = self._open(place, h5py.Dataset), "/".join(("", *place))
        if dataset.dtype.kind not in kinds or (dataset.ndim != 1 if shape is None else dataset.shape != shape):
            wanted = _KINDS[kinds] if shape else f"one row of {_KINDS[kinds]}"
            wanted += f" of shape {shape}" if shape else ""
            raise ConnectomeError(where, f"must be {wanted}", f"{dataset.dtype} of shape {dataset.shape}")
        self._refuse_elsewhere(dataset, where)
        filters = set(filters_of(dataset))
        if filters - _FILTERS:
            raise ConnectomeError(where, "must not be compressed, or by deflate (gzip)", f"filters {sorted(filters)}")
        stored = dataset.id.get_storage_size() if dataset.size else 0
        claimed = dataset.size * dataset.dtype.itemsize
        self._left -= stored
        if self._left < 0 or claimed > stored * (_MAX_DEFLATION if h5py.h5z.FILTER_DEFLATE in filters else 1):
            raise ConnectomeError(
                where, f"must have the {claimed} bytes that it claims", f"{stored} bytes, in a file of {self._size}"
            )
        return dataset[...], dataset.attrs

    def table(self, *place: str, kinds: Mapping[str, type]) -> dict[str, list[Any]]:
        """Read a table with exactly these columns of ``str``, ``int`` or ``float``."""
        dataset, where = self._open(place, h5py.Dataset), "/".join(("", *place))
        found = dataset.dtype
        if dataset.ndim != 1 or found.names != tuple(kinds):
            raise ConnectomeError(where, f"must be a table of {', '.join(kinds)}", f"{found} of shape {dataset.shape}")
        for name, kind in kinds.items():
            if (found[name].kind != "S") if kind is str else (found[name] != np.dtype(kind)):
                raise ConnectomeError(f"{where}.{name}", f"must be {kind.__name__}", found[name])
        rows = self._read(dataset, where, shrunk=False)
        return {
            name: [text.decode() for text in rows[name].tolist()] if kind is str else rows[name].tolist()
            for name, kind in kinds.items()
        }

    def text(self, *place: str) -> str:
        """Read one text."""
        (text,) = self.texts(*place, size=1)
        return text

    def texts(self, *place: str, size: int, longest: int | None = None) -> list[str]:
        """Read ``size`` texts, each of at most ``longest`` bytes."""
        dataset, where = self._open(place, h5py.Dataset), "/".join(("", *place))
        if dataset.dtype.kind != "S" or dataset.shape != (size,) or dataset.dtype.itemsize > (longest or math.inf):
            within = "" if longest is None else f" of at most {longest} bytes"
            raise ConnectomeError(where, f"must be {size} texts{within}", f"{dataset.dtype} of shape {dataset.shape}")
        return [text.decode() for text in self._read(dataset, where, shrunk=False).tolist()]

    def _open(self, place: Sequence[str], kind: type) -> Any:
        here = self._file
        for depth, part in enumerate(place):
            where = "/".join(("", *place[: depth + 1]))
            is_name = "/" not in part and part not in ("", ".")
            if not (isinstance(here, h5py.Group) and is_name and here.id.links.exists(part.encode())):
                raise ConnectomeError(where, "must be there", "nothing of that name")
            link = here.get(part, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise ConnectomeError(
                    where, "must be part of the file itself", f"a {type(link).__name__}, not followed"
                )
            here = here[part]
        if not isinstance(here, kind):
            raise ConnectomeError(where, f"must be a {kind.__name__.lower()}", type(here).__name__.lower())
        return here

    @staticmethod
    def _refuse_elsewhere(dataset: Any, where: str) -> None:
        if dataset.is_virtual or dataset.external:
            raise ConnectomeError(where, "must be part of the file itself", "data in another file, not read")

    def _read(self, dataset: Any, where: str, shrunk: bool) -> NDArray[Any]:
        self._refuse_elsewhere(dataset, where)
        if not dataset.size:
            return np.empty(dataset.shape, dataset.dtype)
        filters = set(filters_of(dataset))
        if dataset.chunks is None or filters - {h5py.h5z.FILTER_FLETCHER32}:
            raise ConnectomeError(where, "must be chunked and not compressed", f"filters {sorted(filters)}")
        row_bytes = dataset.dtype.itemsize
        if int(np.prod(dataset.chunks, dtype=object)) * row_bytes > max(MAX_CHUNK_BYTES, self._size):
            raise ConnectomeError(where, f"must have chunks of at most {MAX_CHUNK_BYTES} bytes", dataset.chunks)
        chunks, stored = dataset.id.get_num_chunks(), dataset.id.get_storage_size()
        if shrunk and not chunks and dataset.ndim == 1:
            return np.broadcast_to(np.array(dataset.fillvalue, dataset.dtype), dataset.shape)
        claimed = dataset.size * row_bytes
        wanted = int(np.prod([-(-n // c) for n, c in zip(dataset.shape, dataset.chunks, strict=True)], dtype=object))
        self._left -= stored
        if chunks != wanted or stored < claimed or self._left < 0:
            raise ConnectomeError(
                where, f"must have the {claimed} bytes that it claims",
                f"{stored} bytes in {chunks} of {wanted} chunks, in a file of {self._size}",
            )  # fmt: skip
        array: NDArray[Any] = dataset[...]
        array.flags.writeable = False
        return array
