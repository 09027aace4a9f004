"""Readers of labelled images: MNIST's IDX files, CIFAR's binary archives, folders of pictures. Nothing is believed."""

from __future__ import annotations

import gzip
import math
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError

__all__ = ["Labelled", "read_cifar", "read_idx", "read_pictures"]

#: No set of images may claim more than this, in bytes once decoded.
_LARGEST: Final = 2**31
_LARGEST_PICTURE: Final = 2**24
_MOST_CLASSES: Final = 2**16
#: No archive may unpack to more than this, three times what CIFAR's do.
_LARGEST_ARCHIVE: Final = 2**29
_SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".pgm")


class Labelled(NamedTuple):
    """Images (n, height, width) or (n, height, width, 3) uint8, their labels (n,) int64, and the classes' names."""

    image: NDArray[np.uint8]
    label: NDArray[np.int64]
    classes: tuple[str, ...]


def read_idx(folder: Path) -> dict[str, Labelled]:
    """MNIST's IDX files, or others like them, from a folder: ``{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]``.

    Raises :class:`ConnectomeError` for a missing or damaged file.
    """
    found = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        pixels = _idx_values(folder, f"{prefix}-images-idx3-ubyte", 3)
        digits = _idx_values(folder, f"{prefix}-labels-idx1-ubyte", 1)
        least = 2 if split == "train" else 1  # one to train, one to validate
        if len(pixels) != len(digits) or len(digits) < least:
            raise ConnectomeError(
                f"{folder}: {prefix}", f"must have as many images as labels, at least {least}",
                f"{len(pixels)} images and {len(digits)} labels",
            )  # fmt: skip
        if not pixels.size:
            raise ConnectomeError(
                f"{folder}: {prefix}", "must have images of at least one pixel", f"sizes {pixels.shape}"
            )
        if digits.max() > 9:
            raise ConnectomeError(f"{folder}: {prefix} labels", "must be digits, 0 .. 9", int(digits.max()))
        found[split] = Labelled(pixels, digits.astype(np.int64), tuple("0123456789"))
    return found


def _idx_values(folder: Path, name: str, n_dims: int) -> NDArray[np.uint8]:
    """One IDX file of unsigned bytes: a magic number, big-endian sizes, then the values."""
    path = next((p for p in (folder / f"{name}.gz", folder / name) if p.is_file()), None)
    if path is None:
        raise ConnectomeError(
            f"{folder}", f"must hold {name}.gz or {name}", "neither", "Download MNIST's four IDX files."
        )
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            header = file.read(4 + 4 * n_dims)
            if header[:4] != bytes([0, 0, 8, n_dims]):
                raise ConnectomeError(
                    str(path), f"must start with IDX magic 0008{n_dims:02d}", header[:4].hex() or "nothing"
                )
            if len(header) != 4 + 4 * n_dims:
                raise ConnectomeError(str(path), f"must have a header of {4 + 4 * n_dims} bytes", len(header))
            shape = struct.unpack(f">{n_dims}I", header[4:])
            claimed = math.prod(shape)
            if claimed > _LARGEST:
                raise ConnectomeError(str(path), "must hold at most 2 GiB", f"sizes {shape}")
            data = file.read(claimed + 1)
    except (OSError, EOFError, MemoryError, zlib.error) as error:  # zlib's own is no OSError
        raise ConnectomeError(str(path), "must be a readable IDX file", str(error)) from error
    if len(data) != claimed:
        found = f"{len(data)} bytes" if len(data) < claimed else "more"
        raise ConnectomeError(str(path), f"must hold {claimed} bytes for sizes {shape}", found)
    return np.frombuffer(data, np.uint8).reshape(shape)


class _Cifar(NamedTuple):
    """A CIFAR set: files of training and of test records, bytes before the pixels, and the file of the names."""

    train: tuple[str, ...]
    test: str
    label_bytes: int
    names: str


_CIFAR: Final = (
    _Cifar(tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin", 1, "batches.meta.txt"),
    _Cifar(("train.bin",), "test.bin", 2, "fine_label_names.txt"),
)
_CIFAR_PIXELS: Final = 3 * 32 * 32


def read_cifar(path: Path) -> dict[str, Labelled]:
    """CIFAR-10 or CIFAR-100 (fine labels) in the authors' binary version, from its ``.tar.gz`` or its folder.

    The python version holds pickles, which can run any code: it is refused. Raises :class:`ConnectomeError`.
    """
    files = _tar_files(path) if path.is_file() else {p.name: p.read_bytes() for p in path.glob("*") if _is_cifar(p)}
    kind = next((k for k in _CIFAR if k.test in files), None)
    if kind is None:
        raise ConnectomeError(
            str(path), f"must hold {' or '.join(k.test for k in _CIFAR)}", ", ".join(sorted(files)) or "neither",
            "Download the binary version; the python version is made of pickles, which are not opened.",
        )  # fmt: skip
    for name in (*kind.train, kind.names):
        if name not in files:
            raise ConnectomeError(str(path), f"must hold {name}", "no such file in it")
    names = tuple(files[kind.names].decode("utf-8", "replace").split())
    return {
        split: _records(f"{path}: {split}", b"".join(files[n] for n in members), kind.label_bytes, names)
        for split, members in (("train", kind.train), ("test", (kind.test,)))
    }


def _is_cifar(path: Path | PurePosixPath) -> bool:
    return path.name in {name for k in _CIFAR for name in (*k.train, k.test, k.names)}


def _tar_files(path: Path) -> dict[str, bytes]:
    """The known members of an archive, in memory: nothing is unpacked to disk."""
    files = {}
    left = _LARGEST_ARCHIVE
    try:
        with path.open("rb") as file:
            is_packed = file.read(2) == b"\x1f\x8b"
        with tarfile.open(path, "r:gz" if is_packed else "r:") as archive:
            for member in archive:
                left -= max(member.size, 0)  # what is passed over is unpacked too
                if left < 0 or member.issparse():
                    raise ConnectomeError(
                        str(path), f"must hold plain files of at most {_LARGEST_ARCHIVE:,} bytes in all",
                        f"{member.name!r} of {member.size:,} bytes",
                    )  # fmt: skip
                name = PurePosixPath(member.name)
                if member.isfile() and _is_cifar(name):
                    stream = archive.extractfile(member)
                    assert stream is not None, "it is a file"
                    files[name.name] = stream.read()
    except (OSError, EOFError, tarfile.TarError, zlib.error, ValueError, OverflowError) as error:
        if isinstance(error, ConnectomeError):
            raise
        reason = (str(error).splitlines() or [""])[0]
        raise ConnectomeError(str(path), "must be a readable tar archive", reason) from error
    return files


def _records(where: str, data: bytes, label_bytes: int, names: tuple[str, ...]) -> Labelled:
    size = label_bytes + _CIFAR_PIXELS
    if not data or len(data) % size:
        raise ConnectomeError(where, f"must be one or more records of {size} bytes", f"{len(data)} bytes")
    table = np.frombuffer(data, np.uint8).reshape(-1, size)
    label = table[:, label_bytes - 1].astype(np.int64)
    if label.max() >= len(names):
        raise ConnectomeError(f"{where} labels", f"must be below {len(names)}, the number of names", int(label.max()))
    image = table[:, label_bytes:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Labelled(np.ascontiguousarray(image), label, names)


def read_pictures(path: Path, pixels: int = 0) -> dict[str, Labelled]:
    """Pictures in ``train/<class>/`` and ``test/<class>/`` of a folder or a ``.zip``, by name: of one size, or of any,
    of which the square in the middle is taken, ``pixels`` wide and high.

    PNG, JPEG, BMP or PNM; grey or colour as the first one is. Raises :class:`ConnectomeError`.
    """
    found: dict[str, Labelled] = {}
    names: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()
    for split in ("train", "test"):
        listed = sorted(_listed(path, split))
        names = names or tuple(sorted({name for name, _ in listed}))
        if not listed or len(names) > _MOST_CLASSES:
            rule = (
                f"must hold pictures ({', '.join(_SUFFIXES)}) in {split}/<class>/, of {_MOST_CLASSES} classes at most"
            )
            raise ConnectomeError(str(path), rule, f"{len(listed)} pictures of {len(names)} classes")
        image: NDArray[np.uint8] = np.zeros(0, np.uint8)
        label = np.zeros(len(listed), np.int64)
        for i, ((name, member), data) in enumerate(zip(listed, _contents(path, listed), strict=True)):
            where = f"{path}: {member}"
            if name not in names:
                raise ConnectomeError(where, f"must be of a class of train/: {', '.join(names)}", repr(name))
            decoded = _decoded(where, data, shape, pixels)
            if not i:
                shape = shape or decoded.shape
                if len(listed) * decoded.size > _LARGEST:
                    raise ConnectomeError(str(path), "must hold at most 2 GiB", f"{len(listed)} pictures of {shape}")
                image = np.empty((len(listed), *shape), np.uint8)
            image[i], label[i] = decoded, names.index(name)
        found[split] = Labelled(image, label, names)
    return found


def _listed(path: Path, split: str) -> Iterator[tuple[str, str]]:
    """Class and member name of every picture of a split. Links are not followed."""
    if path.is_dir():
        for file in (path / split).glob("*/*"):
            if file.suffix.lower() in _SUFFIXES and stat.S_ISREG(file.lstat().st_mode) and not file.parent.is_symlink():
                yield file.parent.name, f"{split}/{file.parent.name}/{file.name}"
        return
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.namelist()
    except (OSError, zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
        raise ConnectomeError(str(path), "must be a folder or a readable zip of pictures", str(error)) from error
    for member in members:
        parts = PurePosixPath(member).parts
        if len(parts) >= 3 and parts[-3] == split and PurePosixPath(member).suffix.lower() in _SUFFIXES:
            yield parts[-2], member


def _contents(path: Path, listed: list[tuple[str, str]]) -> Iterator[bytes]:
    if path.is_dir():
        for _, member in listed:
            if (path / member).stat().st_size > _LARGEST_PICTURE:
                raise ConnectomeError(f"{path}: {member}", f"must have at most {_LARGEST_PICTURE} bytes", "more")
            yield (path / member).read_bytes()
        return
    with zipfile.ZipFile(path) as archive:
        for _, member in listed:
            try:
                if archive.getinfo(member).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ConnectomeError(f"{path}: {member}", "must be stored or deflated", "another compression")
                with archive.open(member) as file:
                    data = file.read(_LARGEST_PICTURE + 1)
            except (
                OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError,
                UnicodeDecodeError,
            ) as error:  # fmt: skip
                raise ConnectomeError(f"{path}: {member}", "must be readable", str(error)) from error
            if len(data) > _LARGEST_PICTURE:
                raise ConnectomeError(f"{path}: {member}", f"must have at most {_LARGEST_PICTURE} bytes", "more")
            yield data


def _decoded(where: str, data: bytes, shape: tuple[int, ...], side: int) -> NDArray[np.uint8]:
    """One picture as (height, width) or (height, width, 3); of this shape, if there is one. ``side``: its middle, that
    wide and high."""
    from io import BytesIO

    from PIL import Image, ImageOps

    try:
        with Image.open(BytesIO(data), formats=("PNG", "JPEG", "BMP", "PPM")) as picture:
            if shape and not side and picture.size != (shape[1], shape[0]):
                raise ConnectomeError(where, f"must be {shape[1]} x {shape[0]} pixels, as the first", picture.size)
            if math.prod(picture.size) > _LARGEST_PICTURE or not math.prod(picture.size):
                raise ConnectomeError(where, f"must have 1 .. {_LARGEST_PICTURE} pixels", f"size {picture.size}")
            grey = len(shape) == 2 if shape else picture.mode in ("1", "L")
            plain = picture.convert("L" if grey else "RGB")
            array: NDArray[Any] = np.asarray(ImageOps.fit(plain, (side, side)) if side else plain, np.uint8)
    except Exception as error:  # Pillow's decoders raise what they like
        if isinstance(error, ConnectomeError):
            raise
        raise ConnectomeError(where, "must be a picture that can be decoded", str(error)) from error
    return array
