"""Labelled images in 0 .. 1, split once and for all: no stage trains on the validation or the test images."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError

__all__ = ["Images", "Split", "load_digits", "load_idx"]

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True, eq=False)
class Images:
    """Images of one set: ``image[split]`` (n, height, width) float32 in 0 .. 1, ``label[split]`` (n,) int64, 0 .. 9."""

    image: dict[str, NDArray[np.float32]]
    label: dict[str, NDArray[np.int64]]

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.image["train"].shape[1:]
        return int(height), int(width)


def load_digits() -> Images:
    """The 1,797 handwritten digits of 8 x 8 pixels that come with scikit-learn (Alpaydin & Kaynak 1998, UCI):
    1,100 to train, 300 to validate, 397 to test, in a fixed random order."""
    from sklearn.datasets import load_digits as load

    bunch: Any = load()
    order = np.random.default_rng(12345).permutation(len(bunch.target))
    parts = {"train": order[:1100], "validation": order[1100:1400], "test": order[1400:]}
    image = (bunch.images / 16).astype(np.float32)
    label = bunch.target.astype(np.int64)
    return Images({k: image[i] for k, i in parts.items()}, {k: label[i] for k, i in parts.items()})


def load_idx(folder: str | Path) -> Images:
    """MNIST's IDX files, or others like them, from a folder: ``{train,t10k}-{images-idx3,labels-idx1}-ubyte[.gz]``.

    The last tenth of the training images validates. Raises :class:`ConnectomeError` for a missing or damaged file.
    """
    image, label = {}, {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        pixels = _read_idx(Path(folder), f"{prefix}-images-idx3-ubyte", 3)
        digits = _read_idx(Path(folder), f"{prefix}-labels-idx1-ubyte", 1)
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
        image[split] = np.divide(pixels, 255, dtype=np.float32)
        label[split] = digits.astype(np.int64)
    if image["train"].shape[1:] != image["test"].shape[1:]:
        raise ConnectomeError(f"{folder}", "must have images of one size", [i.shape[1:] for i in image.values()])
    cut = len(label["train"]) - max(len(label["train"]) // 10, 1)
    image["train"], image["validation"] = image["train"][:cut], image["train"][cut:]
    label["train"], label["validation"] = label["train"][:cut], label["train"][cut:]
    return Images(image, label)


def _read_idx(folder: Path, name: str, n_dims: int) -> NDArray[np.uint8]:
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
            if claimed > 2**31:
                raise ConnectomeError(str(path), "must hold at most 2 GiB", f"sizes {shape}")
            data = file.read(claimed + 1)
    except (OSError, EOFError, MemoryError, zlib.error) as error:  # zlib's own is no OSError
        raise ConnectomeError(str(path), "must be a readable IDX file", str(error)) from error
    if len(data) != claimed:
        found = f"{len(data)} bytes" if len(data) < claimed else "more"
        raise ConnectomeError(str(path), f"must hold {claimed} bytes for sizes {shape}", found)
    return np.frombuffer(data, np.uint8).reshape(shape)
