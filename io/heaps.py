"""The global heaps of an HDF5 file, looked through before HDF5 reads them."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Final

__all__ = ["check_heaps", "check_heaps_of"]

_PART: Final = 1 << 22


def check_heaps(path: str | os.PathLike[str]) -> None:
    """Refuse a file with a damaged global heap, where HDF5 keeps texts of any length: HDF5 (2.0) reads one with an
    object of no size for ever. They have no checksum, and may be anywhere. Raises :class:`OSError`, as HDF5 does."""
    with open(path, "rb", buffering=0) as file:  # not mapped: a file that is cut short meanwhile would end the process
        number = file.fileno()
        _check_heaps(lambda first, count: os.pread(number, count, first), os.fstat(number).st_size)


def check_heaps_of(data: bytes) -> None:
    """As :func:`check_heaps`, of a file's bytes."""
    _check_heaps(lambda first, count: data[first : first + count], len(data))


def _check_heaps(read: Callable[[int, int], bytes], size: int) -> None:
    """``read`` gives so many bytes from a place on, fewer at the end."""
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
