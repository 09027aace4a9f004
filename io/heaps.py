"""HDF5's global heaps, where it keeps variable-length texts: checked before HDF5 reads them."""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Callable
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

__all__ = ["check_heaps", "check_heaps_of", "check_lengths", "filters_of"]

_PART: Final = 1 << 22


def check_heaps(path: str | os.PathLike[str]) -> None:
    """Refuse a file with a damaged global heap, where HDF5 keeps variable-length texts: HDF5 (2.0) reads one that has
    an object of size 0 for ever. Heaps have no checksum, and may be anywhere in the file. Raises :class:`OSError`, as
    HDF5 does."""
    with open(path, "rb", buffering=0) as file:  # not mapped: a file that is cut short meanwhile would end the process
        number = file.fileno()
        _check_heaps(lambda first, count: os.pread(number, count, first), os.fstat(number).st_size)


def check_heaps_of(data: bytes) -> None:
    """As :func:`check_heaps`, for a file's bytes."""
    _check_heaps(lambda first, count: data[first : first + count], len(data))


def _check_heaps(read: Callable[[int, int], bytes], size: int) -> None:
    """``read(place, size)`` gives that many bytes from a place on, fewer at the end of the file."""
    start = read(0, 15)
    widths = start[9:11] if start[8:9] >= b"\2" else start[13:15]
    if widths != b"\x08\x08":
        raise OSError(f"addresses and lengths of {list(widths)} bytes, not of 8")
    for first in range(0, size, _PART):
        part = read(first, _PART + 15)  # a heap that begins in it has its first 16 bytes here
        at = part.find(b"GCOL", 0, _PART + 3)
        while at >= 0:
            length = int.from_bytes(part[at + 8 : at + 16], "little")
            if part[at + 4 : at + 5] == b"\1" and 4096 <= length <= size - first - at:
                _check_heap(read(first + at, length))
            at = part.find(b"GCOL", at + 4, _PART + 3)


def _check_heap(heap: bytes) -> None:
    """Each object has a number, 0 for free space, and its size, in 16 bytes; that of free space includes them."""
    at = 16
    while at + 16 <= len(heap):
        number, _, size = struct.unpack_from("<H6sQ", heap, at)
        step = 16 + (size + 7) // 8 * 8 if number else size
        if step < 16 or at + step > len(heap):
            raise OSError(f"a global heap with an object of {size} bytes")
        at += step


def check_lengths(texts: Any, size: int) -> None:
    """Refuse a dataset of variable-length texts, in a file of ``size`` bytes, if one claims to be longer than that:
    HDF5 allocates the memory, up to 4 GiB, before it looks for the text. Raises :class:`OSError`, as HDF5 does."""
    lengths: list[NDArray[np.uint32]] = []
    filters = filters_of(texts)

    def take(data: bytes) -> None:  # of each text its length, the place of its heap, its number there
        lengths.append(np.frombuffer(data[: len(data) // 16 * 16], "<u4")[::4])

    def take_chunk(chunk: Any) -> None:
        skipped, data = texts.id.read_direct_chunk(chunk.chunk_offset)
        for number in reversed(range(len(filters))):
            if not skipped >> number & 1:
                data = _undone(filters[number], data, 16 * math.prod(texts.chunks))
        take(data)

    if texts.chunks is not None:
        texts.id.chunk_iter(take_chunk)
    elif (place := texts.id.get_offset()) is not None:
        with open(texts.file.filename, "rb", buffering=0) as file:
            take(os.pread(file.fileno(), texts.id.get_storage_size(), place))
    elif texts.id.get_storage_size():
        raise OSError("texts that are kept in a header")
    longest = max((int(part.max()) for part in lengths if part.size), default=0)
    if longest > size:
        raise OSError(f"a text of {longest} bytes in a file of {size}")


def _undone(code: int, data: bytes, most: int) -> bytes:
    """The data before a filter was applied, at most ``most`` bytes."""
    if code != h5py.h5z.FILTER_DEFLATE:  # HDF5 passes over others where texts may be of any length
        raise OSError(f"texts behind filter {code}")
    try:
        return zlib.decompressobj().decompress(data, most)
    except zlib.error as error:
        raise OSError(f"texts that are not deflated: {error}") from None


def filters_of(dataset: Any) -> list[int]:
    """The codes of a dataset's filters, in the order in which it is written through them."""
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(i)[0] for i in range(properties.get_nfilters())]
