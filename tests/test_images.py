"""Images: what is read, how it is split, and what is refused."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import re
import struct
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from connectome.datasets.images import load_digits, load_images
from connectome.errors import ConnectomeError

SPLITS = ("train", "validation", "test")

# Digits, IDX


def test_digits_are_split_once_and_whole() -> None:
    from sklearn.datasets import load_digits as load

    images = load_digits()
    parts = [images.image[s] for s in SPLITS]
    assert [len(p) for p in parts] == [len(images.label[s]) for s in SPLITS] == [1100, 300, 397]
    assert images.shape == (8, 8)
    assert all(p.dtype == np.float32 and p.min() == 0.0 and p.max() == 1.0 for p in parts)
    rows = [(p.tobytes(), int(n)) for s in SPLITS for p, n in zip(images.image[s], images.label[s], strict=True)]
    assert len(set(rows)) == len(rows), "an image is in two splits, or twice in one"
    source: Any = load()
    expected = {
        ((p / 16).astype(np.float32).tobytes(), int(n)) for p, n in zip(source.images, source.target, strict=True)
    }
    assert set(rows) == expected
    assert all(set(images.label[s]) == set(range(10)) for s in SPLITS)


def test_digits_are_the_same_every_time() -> None:
    one, two = load_digits(), load_digits()
    assert all((one.image[s] == two.image[s]).all() and (one.label[s] == two.label[s]).all() for s in SPLITS)
    # The split is part of what "never seen" means: to change it is to spoil every score published before.
    assert hashlib.sha256(one.label["test"].tobytes()).hexdigest().startswith("3dfc35830ffe7d26")


def test_a_digest_knows_every_pixel_and_label() -> None:
    images = load_digits()
    assert images.digest() == load_digits().digest()
    image = {split: values.copy() for split, values in images.image.items()}
    image["validation"].flat[5] += 1
    label = {split: values.copy() for split, values in images.label.items()}
    label["validation"][5] += 1
    assert len({images.digest(), replace(images, image=image).digest(), replace(images, label=label).digest()}) == 3


def idx(array: NDArray[np.uint8], *, magic: bytes | None = None, shape: tuple[int, ...] | None = None) -> bytes:
    sizes = array.shape if shape is None else shape
    return (magic or bytes([0, 0, 8, array.ndim])) + struct.pack(f">{len(sizes)}I", *sizes) + array.tobytes()


def pictures(n: int, side: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(n).integers(0, 256, (n, side, side + 1)).astype(np.uint8)


def labels(n: int) -> NDArray[np.uint8]:
    return (np.arange(n) % 10).astype(np.uint8)


def mnist(folder: Path, **other: bytes) -> Path:
    """The four files, some of them replaced: ``train_images=...``."""
    contents = {
        "train_images": idx(pictures(30)), "train_labels": idx(labels(30)),
        "t10k_images": idx(pictures(11)), "t10k_labels": idx(labels(11)),
    }  # fmt: skip
    for name, data in {**contents, **other}.items():
        split, what = name.split("_")
        (folder / f"{split}-{what}-{'idx3' if what == 'images' else 'idx1'}-ubyte").write_bytes(data)
    return folder


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_are_read(tmp_path: Path, packed: bool) -> None:
    mnist(tmp_path)
    if packed:
        for path in list(tmp_path.iterdir()):
            path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    images = load_images(str(tmp_path))
    whole = np.concatenate([images.image["train"], images.image["validation"]])
    assert [len(images.label[s]) for s in SPLITS] == [27, 3, 11]
    assert images.shape == (3, 4)
    np.testing.assert_array_equal(whole, pictures(30))
    np.testing.assert_array_equal(images.look("test", np.arange(11)), pictures(11).astype(np.float32) / 255)
    np.testing.assert_array_equal(np.concatenate([images.label["train"], images.label["validation"]]), labels(30))
    assert images.look("validation", np.arange(3)).dtype == np.float32
    assert images.label["validation"].dtype == np.int64


def many(n: int) -> bytes:
    return idx(pictures(30), shape=(n, n, n))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("train_images", idx(labels(30)), r"train-images-idx3-ubyte must start with IDX magic 000803; found 00000801"),
        ("train_labels", idx(labels(30), magic=b"\x00\x00\x0d\x01"), r"magic 000801; found 00000d01"),
        ("t10k_labels", b"", r"t10k-labels-idx1-ubyte must start with IDX magic 000801; found nothing"),
        ("t10k_images", idx(pictures(11))[:9], r"t10k-images-idx3-ubyte must have a header of 16 bytes; found 9"),
        ("train_images", idx(pictures(30))[:-1], r"must hold 360 bytes for sizes \(30, 3, 4\); found 359 bytes"),
        ("train_images", idx(pictures(30)) + b"\0", r"must hold 360 bytes for sizes \(30, 3, 4\); found more"),
        ("train_images", many(2**32 - 1), r"must hold at most 2 GiB; found sizes \(4294967295, "),
        ("train_images", many(2**10), r"must hold 1073741824 bytes for sizes .*; found 360 bytes"),
        ("train_images", idx(pictures(30), shape=(30, 0, 4)), r"must hold 0 bytes for sizes .*; found more"),
        ("train_images", idx(pictures(29)), r"train must have as many images as labels.* 29 images and 30 labels"),
        ("t10k_labels", idx(labels(12)), r"t10k must have as many images as labels.*; found 11 images and 12 labels"),
        ("t10k_labels", idx(labels(11) + np.uint8(1)), r"t10k labels must be digits, 0 .. 9; found 10"),
        ("t10k_images", idx(pictures(11, 5)), r"must have images of one size; found \[\(3, 4\), \(5, 6\)\]"),
    ],
)  # fmt: skip
def test_damaged_idx_files_get_one_clear_error(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    with pytest.raises(ConnectomeError, match=message) as caught:
        load_images(str(mnist(tmp_path, **{name: data})))
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_images_to_split(tmp_path: Path, n: int) -> None:
    with pytest.raises(ConnectomeError, match=f"found {n} images and {n} labels"):
        load_images(str(mnist(tmp_path, train_images=idx(pictures(n)), train_labels=idx(labels(n)))))


def test_images_without_pixels_are_refused(tmp_path: Path) -> None:
    empty = np.zeros((30, 0, 4), np.uint8)
    with pytest.raises(ConnectomeError, match=r"must have images of at least one pixel; found sizes \(30, 0, 4\)"):
        load_images(str(mnist(tmp_path, train_images=idx(empty))))


@pytest.mark.parametrize("cut", [0, 5, 40, -9, -1])
def test_a_gzip_file_cut_short(tmp_path: Path, cut: int) -> None:
    path = mnist(tmp_path) / "train-images-idx3-ubyte"
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes())[:cut])
    with pytest.raises(ConnectomeError, match=r"ubyte\.gz must"):
        load_images(str(tmp_path))


@given(at=st.integers(0, 10**6), bit=st.integers(0, 7))
def test_a_flipped_bit_in_a_gzip_file(tmp_path_factory: pytest.TempPathFactory, at: int, bit: int) -> None:
    """Refused by name, or harmless (the header's time stamp)."""
    folder = mnist(tmp_path_factory.mktemp("idx"))
    path = folder / "train-images-idx3-ubyte"
    data = bytearray(gzip.compress(path.read_bytes()))
    data[at % len(data)] ^= 1 << bit
    path.with_name(path.name + ".gz").write_bytes(data)
    with contextlib.suppress(ConnectomeError):
        images = load_images(str(folder))
        assert (images.image["train"] == pictures(30)[:27]).all()


@pytest.mark.parametrize("gone", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_missing_idx_files(tmp_path: Path, gone: str) -> None:
    (mnist(tmp_path) / gone).unlink()
    with pytest.raises(
        ConnectomeError, match=rf"{re.escape(str(tmp_path))} must hold {gone}\.gz or {gone}; found neither"
    ):
        load_images(str(tmp_path))
    with pytest.raises(ConnectomeError, match=r"images must be mnist, .* that exists; found '.*none'"):
        load_images(str(tmp_path / "none"))


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    mnist(tmp_path)
    monkeypatch.setattr(Path, "open", refuse)  # the user who runs this may be allowed everything
    with pytest.raises(ConnectomeError, match=r"ubyte must be a readable IDX file; found .*Permission denied"):
        load_images(str(tmp_path))


# CIFAR's binary archives


def cifar(labels: NDArray[np.uint8], label_bytes: int) -> bytes:
    """Records of random pixels, the last byte before them the label."""
    rng = np.random.default_rng(len(labels))
    table = rng.integers(0, 256, (len(labels), label_bytes + 3072)).astype(np.uint8)
    table[:, label_bytes - 1] = labels
    return table.tobytes()


def cifar10(**other: bytes) -> dict[str, bytes]:
    files = {f"data_batch_{i}.bin": cifar(np.arange(4, dtype=np.uint8), 1) for i in range(1, 6)}
    return files | {"test_batch.bin": cifar(labels(7), 1), "batches.meta.txt": b"a b c d e f g h i j\n"} | other


def packed(path: Path, files: dict[str, bytes], folder: str = "cifar-10-batches-bin") -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def test_cifar_10_from_its_archive_and_from_its_folder(tmp_path: Path) -> None:
    for name, data in cifar10().items():
        (tmp_path / name).write_bytes(data)
    archive = packed(tmp_path / "cifar-10-binary.tar.gz", cifar10())
    one, two = load_images(str(archive)), load_images(str(tmp_path))
    assert one.shape == (32, 32, 3)
    assert one.classes == tuple("abcdefghij")
    assert [len(one.label[s]) for s in SPLITS] == [18, 2, 7]
    for split in SPLITS:
        assert (one.image[split] == two.image[split]).all()
        assert (one.label[split] == two.label[split]).all()
    record = np.frombuffer(cifar10()["test_batch.bin"], np.uint8).reshape(7, -1)[3]
    assert one.label["test"][3] == record[0]
    assert (one.image["test"][3][..., 1].ravel() == record[1 + 1024 : 1 + 2048]).all()  # green, row by row


def test_cifar_100_has_fine_labels(tmp_path: Path) -> None:
    names = " ".join(f"c{i}" for i in range(100)).encode()
    files = {"train.bin": cifar(np.arange(20, dtype=np.uint8) + 80, 2), "test.bin": cifar(np.array([99], np.uint8), 2)}
    images = load_images(str(packed(tmp_path / "cifar-100-binary.tar.gz", files | {"fine_label_names.txt": names})))
    assert sorted([*images.label["train"], *images.label["validation"]]) == list(range(80, 100))
    assert images.classes[images.label["test"][0]] == "c99"


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"data_batch_3.bin": b"\0" * 100}, r"train must be one or more records of 3073 bytes; found \d+ bytes"),
        ({"test_batch.bin": b""}, r"test must be one or more records of 3073 bytes; found 0 bytes"),
        ({"batches.meta.txt": b"only these two"}, r"labels must be below 3, the number of names; found 3"),
    ],
)
def test_damaged_cifar(tmp_path: Path, other: dict[str, bytes], message: str) -> None:
    with pytest.raises(ConnectomeError, match=message):
        load_images(str(packed(tmp_path / "cifar-10-binary.tar.gz", cifar10(**other))))


def test_cifar_of_pickles_is_refused(tmp_path: Path) -> None:
    archive = packed(tmp_path / "cifar-10-python.tar.gz", {"data_batch_1": b"\x80\x02."}, "cifar-10-batches-py")
    with pytest.raises(ConnectomeError, match=r"must hold test_batch.bin or test.bin; found neither.*binary version"):
        load_images(str(archive))


@pytest.mark.parametrize("cut", [0, 10, 100, -20])
def test_an_archive_cut_short(tmp_path: Path, cut: int) -> None:
    archive = packed(tmp_path / "cifar-10-binary.tar.gz", cifar10())
    archive.write_bytes(archive.read_bytes()[:cut])
    with pytest.raises(ConnectomeError, match=r"must be a readable tar archive"):
        load_images(str(archive))


# Folders and zips of pictures


def picture(seed: int, *, mode: str = "RGB", size: tuple[int, int] = (5, 4), kind: str = "PNG") -> bytes:
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind)
    return data.getvalue()


def album(**other: bytes) -> dict[str, bytes]:
    files = {f"train/{c}/{i}.png": picture(i + 10 * k) for k, c in enumerate(("cat", "dog")) for i in range(10)}
    files |= {f"test/{c}/0.png": picture(90 + k) for k, c in enumerate(("cat", "dog"))}
    return files | {name.replace("__", "/") + ".png": data for name, data in other.items()}


def as_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


def as_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_pictures_from_a_folder_and_from_a_zip(tmp_path: Path) -> None:
    one = load_images(str(as_folder(tmp_path / "album", album())))
    two = load_images(str(as_zip(tmp_path / "album.zip", album())))
    assert one.shape == (4, 5, 3)
    assert one.classes == ("cat", "dog")
    assert [len(one.label[s]) for s in SPLITS] == [18, 2, 2]
    for split in SPLITS:
        assert (one.image[split] == two.image[split]).all()
        assert (one.label[split] == two.label[split]).all()
    with Image.open(io.BytesIO(picture(91))) as dog:
        assert (one.image["test"][1] == np.asarray(dog)).all()


def test_grey_pictures_stay_grey(tmp_path: Path) -> None:
    files = {f"{s}/a/{i}.png": picture(i, mode="L") for s in ("train", "test") for i in range(3)}
    assert load_images(str(as_folder(tmp_path, files))).shape == (4, 5)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"train__cat__0": b"no picture"}, r"train/cat/0.png must be a picture that can be decoded"),
        ({"train__dog__0": picture(1, size=(6, 4))}, r"train/dog/0.png must be 5 x 4 pixels, as the first"),
        ({"test__bird__0": picture(1)}, r"test/bird/0.png must be of a class of train/: cat, dog; found 'bird'"),
        ({"train__cat__0": picture(1)[:60]}, r"train/cat/0.png must be a picture that can be decoded"),
        ({"train__cat__0": b"\0" * (2**24 + 1)}, r"train/cat/0.png must have at most 16777216 bytes"),
    ],
)
@pytest.mark.parametrize("pack", [as_folder, as_zip])
def test_pictures_that_are_refused(tmp_path: Path, pack: Any, other: dict[str, bytes], message: str) -> None:
    with pytest.raises(ConnectomeError, match=message):
        load_images(str(pack(tmp_path / "album.zip", album(**other))))


def test_a_picture_that_claims_to_be_huge(tmp_path: Path) -> None:
    huge = bytearray(picture(1))
    huge[16:24] = struct.pack(">II", 60000, 60000)
    with pytest.raises(ConnectomeError, match=r"train/cat/0.png must"):
        load_images(str(as_folder(tmp_path, album(train__cat__0=bytes(huge)))))


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    as_folder(tmp_path / "elsewhere", {"secret.png": picture(1)})
    folder = as_folder(tmp_path / "album", album())
    (folder / "train" / "cat" / "link.png").symlink_to(tmp_path / "elsewhere" / "secret.png")
    (folder / "train" / "bird").symlink_to(tmp_path / "elsewhere")
    images = load_images(str(folder))
    assert images.classes == ("cat", "dog")
    assert [len(images.label[s]) for s in SPLITS] == [18, 2, 2]


def test_a_zip_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "album.zip").write_bytes(b"PK\3\4 no")
    with pytest.raises(ConnectomeError, match=r"must be a folder or a readable zip of pictures"):
        load_images(str(tmp_path / "album.zip"))
