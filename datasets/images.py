"""Labelled images, split once and for all: no stage trains on the validation or the test images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import ReadOnly
from connectome.datasets.image_files import Labelled, read_cifar, read_idx, read_pictures
from connectome.errors import ConnectomeError

__all__ = ["Images", "Split", "load_digits", "load_images"]

Split = Literal["train", "validation", "test"]

#: Where the sets are published, with the MD5 of each file (the publishers', for CIFAR).
_PUBLISHED: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "cifar10": (
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
    ),
    "cifar100": (
        "https://www.cs.toronto.edu/~kriz/",
        {"cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"},
    ),
}


@dataclass(frozen=True, eq=False)
class Images(ReadOnly):
    """Images of one set, by split.

    ``image[split]`` is (n, height, width) or (n, height, width, 3), float32 in 0 .. 1 or uint8 in 0 .. 255;
    ``label[split]`` (n,) int64, the place in ``classes``.
    """

    image: dict[str, NDArray[Any]]
    label: dict[str, NDArray[np.int64]]
    classes: tuple[str, ...] = tuple("0123456789")

    @property
    def shape(self) -> tuple[int, ...]:
        """Height and width in pixels, and 3 if they are in colour."""
        return tuple(int(n) for n in self.image["train"].shape[1:])

    def digest(self) -> str:
        """SHA-256 over all images and labels: equal digests mean equal sets."""
        sha = hashlib.sha256(repr(self.classes).encode())
        for split in sorted(self.image):
            for array in (self.image[split], self.label[split]):
                sha.update(repr((split, array.dtype.str, array.shape)).encode())
                sha.update(np.ascontiguousarray(array).data)
        return sha.hexdigest()

    def look(self, split: str, pick: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """These images of a split, float32 in 0 .. 1."""
        chosen: NDArray[Any] = self.image[split][pick]
        return np.divide(chosen, 255, dtype=np.float32) if chosen.dtype == np.uint8 else chosen


def load_images(source: str = "", pixels: int = 0) -> Images:
    """Images from a source: nothing (scikit-learn's digits), ``mnist``, ``cifar10`` or ``cifar100`` (downloaded once,
    with a checksum), or a path: a folder of MNIST's IDX files, CIFAR's binary archive or its folder, a folder or zip
    of pictures in ``train/<class>/`` and ``test/<class>/``. ``pixels``, if not 0: of pictures of any size the square in
    the middle, that wide and high.

    A tenth of the training images, chosen at random once and for all, validates. For IDX files it is the last tenth:
    they are in random order. Raises :class:`ConnectomeError`.
    """
    if not source:
        return load_digits()
    path = _download(source) if source in _PUBLISHED else Path(source)
    if not os.path.exists(path):  # it may be too long to ask the system for
        raise ConnectomeError(
            "images", f"must be {', '.join(_PUBLISHED)} or a file or folder that exists", repr(source)
        )
    if ".tar" in path.name or (path.is_dir() and any(path.glob("*.bin"))):
        return _split(path, read_cifar(path), shuffle=True)
    if path.is_file() or (path / "train").is_dir():
        return _split(path, read_pictures(path, pixels), shuffle=True)
    return _split(path, read_idx(path), shuffle=False)


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


def _split(path: Path, found: Mapping[str, Labelled], *, shuffle: bool) -> Images:
    train, test = found["train"], found["test"]
    if train.image.shape[1:] != test.image.shape[1:]:
        raise ConnectomeError(
            str(path), "must have images of one size", [part.image.shape[1:] for part in (train, test)]
        )
    n = len(train.label)
    if n < 2:
        raise ConnectomeError(str(path), "must have at least two images to train, one of which validates", n)
    order = np.random.default_rng(12345).permutation(n) if shuffle else np.arange(n)
    cut = n - max(n // 10, 1)
    parts = {"train": order[:cut], "validation": order[cut:]}
    return Images(
        {k: train.image[i] for k, i in parts.items()} | {"test": test.image},
        {k: train.label[i] for k, i in parts.items()} | {"test": test.label},
        train.classes,
    )


def _download(name: str) -> Path:
    """The folder, or the file if it is one, of a published set in the user's cache; fetched if it is not there."""
    import pooch

    base, hashes = _PUBLISHED[name]
    store = pooch.create(
        pooch.os_cache("connectome") / name, base, registry={file: f"md5:{md5}" for file, md5 in hashes.items()}
    )
    try:
        paths = [Path(store.fetch(file)) for file in hashes]
    except (OSError, ValueError) as error:  # no network; another checksum
        raise ConnectomeError(
            "images", f"{name} must be there to be downloaded", str(error), "Give the path of a copy instead."
        ) from error
    return paths[0] if len(paths) == 1 else paths[0].parent
