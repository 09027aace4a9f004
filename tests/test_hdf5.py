"""Files that are damaged or hostile: one clear error, in bounded memory, and nothing outside the file is opened."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from connectome import ConnectomeError
from connectome.io import hdf5, heaps
from connectome.io.snapshot import FORMAT_VERSION, load, open_snapshot, save
from tests.test_snapshot import LOCAL, A, assert_same, example


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("content") / "x.h5"
    save(example(), path)
    return path.read_bytes()


@pytest.fixture
def saved(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "01_perception.h5"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be an HDF5 file; found one that begins with b''"),
        (b"PK\x03\x04" + b"\0" * 100, "must be an HDF5 file"),
        (b"\x89HDF\r\n\x1a\n", "must be a whole, undamaged HDF5 file"),
        (b"\x89HDF\r\n\x1a\n" + b"\xff" * 5000, "must be a whole, undamaged HDF5 file"),
    ],
)
def test_what_is_no_hdf5_file(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.h5").write_bytes(content)
    for read in (load, open_snapshot):
        with pytest.raises(ConnectomeError, match=r"x\.h5 " + message):
            read(tmp_path / "x.h5")


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConnectomeError, match=r"x\.h5 must be a file that can be read; found No such file"):
        load(tmp_path / "x.h5")
    with pytest.raises(ConnectomeError, match="must be a file; found a folder"):
        load(tmp_path)
    os.mkfifo(tmp_path / "pipe.h5")
    with pytest.raises(ConnectomeError, match="must be a file; found a device"):
        load(tmp_path / "pipe.h5")


def replace_data(h5: Any, name: str, data: Any, **options: Any) -> None:
    """Another dataset under the same name."""
    attributes = dict(h5[name].attrs)
    del h5[name]
    array = np.asarray(data)
    chunks = options.pop("chunks", array.shape if array.size else None)
    h5.create_dataset(name, data=array, chunks=chunks, **options).attrs.update(attributes)


def change(h5: Any, name: str, index: Any, value: Any, field: str | None = None) -> None:
    """Another value in the same dataset, with a good checksum."""
    data = h5[name][...]
    (data if field is None else data[field])[index] = value
    h5[name][...] = data


def virtual(h5: Any, name: str) -> None:
    layout = h5py.VirtualLayout(h5[name].shape, h5[name].dtype)
    layout[:] = h5py.VirtualSource("other.h5", "x", h5[name].shape)
    del h5[name]
    h5.create_virtual_dataset(name, layout)


def link(h5: Any, name: str, target: Any) -> None:
    del h5[name]
    h5[name] = target


def aliased_states(h5: Any) -> None:
    for i in range(4000):
        h5[f"development/{A}/state/s{i}"] = h5[f"development/{A}/state/survival"]


WEIGHT, TARGET, STARTS = f"{A}/0/syn_weight", f"{A}/target_node_id", f"{A}/indices/source_to_target/range_to_edge_id"
DAMAGE: dict[str, tuple[Callable[[Any], object], str]] = {
    "not SONATA": (lambda h5: h5.pop("edges"), "SONATA format"),
    "not ours": (lambda h5: h5.pop("development"), "must have a group /development; found a SONATA file without one"),
    "newer": (
        lambda h5: h5["development"].attrs.update(format_version=FORMAT_VERSION + 1, version="connectome 9.1"),
        f"format must be 1 .. {FORMAT_VERSION}.*found {FORMAT_VERSION + 1}, made by connectome 9.1. Upgrade",
    ),
    "older": (lambda h5: h5["development"].attrs.update(format_version=0), r"format must be 1 \.\."),
    "no version": (lambda h5: h5["development"].attrs.pop("format_version"), "@format_version must be there"),
    "version of another type": (lambda h5: h5["development"].attrs.update(format_version="1"), "must be one int"),
    "many versions": (lambda h5: h5["development"].attrs.update(format_version=[1, 1]), "one int; found int64 of"),
    "dt": (lambda h5: h5["development"].attrs.update(dt_ms=np.nan), "dt_ms must be finite"),
    "digest": (lambda h5: h5["development"].attrs.update(digest="00"), "must be the digest of the content"),
    "no weights": (lambda h5: h5.pop(WEIGHT), f"/{WEIGHT} must be there"),
    "no index": (lambda h5: h5.pop(f"{A}/indices"), "indices must be there"),
    "no table": (lambda h5: h5.pop("development/regions"), "/development/regions must be there"),
    "no provenance": (lambda h5: h5.pop("development/provenance"), "provenance must be there"),
    "group for dataset": (lambda h5: (h5.pop(WEIGHT), h5.create_group(WEIGHT)), "must be a dataset; found group"),
    "dataset for group": (
        lambda h5: (h5.pop("development"), h5.create_dataset("development", data=1)),
        "/development must be a group; found dataset",
    ),
    "float64": (lambda h5: replace_data(h5, WEIGHT, h5[WEIGHT][:].astype("f8")), "must be float32 of shape"),
    "big endian": (lambda h5: replace_data(h5, WEIGHT, h5[WEIGHT][:].astype(">f4")), "must be float32 of shape"),
    "text": (lambda h5: replace_data(h5, WEIGHT, [b"x"] * 80), r"must be float32 of shape \(80,\)"),
    "short": (lambda h5: replace_data(h5, WEIGHT, h5[WEIGHT][:-1]), r"\(80,\); found float32 of shape \(79,\)"),
    "two-dimensional": (lambda h5: replace_data(h5, WEIGHT, h5[WEIGHT][:].reshape(80, 1)), r"found .* \(80, 1\)"),
    "contiguous": (lambda h5: replace_data(h5, WEIGHT, h5[WEIGHT][:], chunks=None), "must be chunked"),
    "compressed": (lambda h5: replace_data(h5, WEIGHT, h5[WEIGHT][:], compression="gzip"), "not compressed"),
    "nan weight": (lambda h5: change(h5, WEIGHT, 3, np.nan), "weight must be finite"),
    "infinite position": (lambda h5: change(h5, "nodes/a/0/x", 3, np.inf), "position_um must be within"),
    "sign": (lambda h5: change(h5, "development/nodes/a/sign", 0, 7), "sign must be -1, 0 or "),
    "target out of range": (lambda h5: change(h5, TARGET, 79, 20), r"must be in 0 \.\. 19"),
    "target beyond 32 bits": (lambda h5: change(h5, TARGET, 79, 2**32 - 1), r"must be in 0 \.\. 19"),
    "targets that fall": (lambda h5: change(h5, TARGET, slice(None), np.arange(80)[::-1] % 20), "must rise by delay"),
    "index that falls": (lambda h5: change(h5, STARTS, slice(None), h5[STARTS][:][::-1]), "after the last one's"),
    "index too long": (lambda h5: change(h5, STARTS, (-1, 1), 81), "indptr must rise"),
    "no delay": (lambda h5: change(h5, f"{A}/0/delay", 0, 0.0), "delay_ms must be 0.1"),
    "long delay": (lambda h5: change(h5, f"{A}/0/delay", 0, 1e300), "delay_ms must be 0.1"),
    "role": (lambda h5: change(h5, "development/regions", 0, b"x", "role"), "role must be one of neuron"),
    "kind": (lambda h5: change(h5, "development/edge_sets", 0, b"x", "kind"), "kind must be one of local"),
    "kind that does not fit": (
        lambda h5: change(h5, "development/edge_sets", 0, b"afferent", "kind"), "edges/a:afferent:a must be there"
    ),
    "ends": (lambda h5: change(h5, "development/edge_sets", 0, b"x", "target"), "must join regions of"),
    "path for a name": (lambda h5: change(h5, "development/regions", 4, b"../a", "name"), "must join regions of"),
    "region twice": (lambda h5: change(h5, "development/regions", 0, b"a", "name"), "each region and edge set once"),
    "negative size": (lambda h5: change(h5, "development/regions", 0, -1, "size"), "must have size >= 0"),
    "huge region": (lambda h5: change(h5, "development/regions", 1, 2**31 - 1, "size"), "bytes that its tables claim"),
    "huge edge set": (lambda h5: change(h5, "development/edge_sets", 0, 2**62, "n_edges"), "its tables claim"),
    "edges that are not there": (
        lambda h5: (
            h5.pop(TARGET),
            h5.create_dataset(TARGET, (80,), "u4", chunks=(80,), fillvalue=1),
        ),
        "must have the 320 bytes that it claims; found 0 bytes in 0 of 1 chunks",
    ),
    "missing chunk": (
        lambda h5: (
            h5.pop(WEIGHT),
            h5.create_dataset(WEIGHT, (80,), "f4", chunks=(8,)).write_direct(np.ones(1, "f4"), None, np.s_[:1]),
        ),
        "in 1 of 10 chunks",
    ),
    "huge chunk": (
        lambda h5: (h5.pop(WEIGHT), h5.create_dataset(WEIGHT, (80,), "f4", maxshape=(None,), chunks=(2**29,))),
        "must have chunks of at most",
    ),
    "one array a thousand times": (aliased_states, "in a file of"),
    "soft link": (lambda h5: link(h5, WEIGHT, h5py.SoftLink(f"/{A}/0/delay")), "found a SoftLink, not followed"),
    "loop of links": (lambda h5: link(h5, A, h5py.SoftLink(f"/{A}")), "found a SoftLink, not followed"),
    "external link": (
        lambda h5: link(h5, WEIGHT, h5py.ExternalLink("/dev/zero", "/x")), "found a ExternalLink, not followed"
    ),
    "external group": (
        lambda h5: link(h5, "development", h5py.ExternalLink("other.h5", "/development")), "not followed"
    ),
    "external storage": (
        lambda h5: (h5.pop(WEIGHT), h5.create_dataset(WEIGHT, (80,), "f4", external=[("/dev/null", 0, 320)])),
        "data in another file",
    ),
    "virtual dataset": (lambda h5: virtual(h5, WEIGHT), "data in another file"),
    "broken JSON": (lambda h5: change(h5, "development/provenance", 0, b"{"), "JSONDecodeError"),
    "deep JSON": (
        lambda h5: replace_data(h5, "development/provenance", [b"[" * 10**6]), "RecursionError|JSONDecodeError"
    ),
    "JSON of another kind": (lambda h5: change(h5, "development/provenance", 0, b"[1]"), "must have seed, stage"),
    "provenance of another type": (
        lambda h5: change(
            h5, "development/provenance", 0,
            json.dumps({"seed": 1.5, "stage": 0, "stage_name": "", "parents": [], "versions": {}}).encode(),
        ),
        "seed must be int",
    ),
    "wrong encoding": (lambda h5: change(h5, "development/config", 0, b"\xff\xfe"), "UnicodeDecodeError"),
    "table of other columns": (
        lambda h5: replace_data(h5, "development/regions", h5["development/regions"]["name", "size"]), "must be a table"
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_or_hostile_file_gives_one_clear_error(saved: Path, damage: str) -> None:
    function, message = DAMAGE[damage]
    with h5py.File(saved, "r+") as h5:
        function(h5)
    with pytest.raises(ConnectomeError, match=message) as caught:
        load(saved)
    assert str(caught.value).startswith(str(saved))
    assert caught.value.__cause__ is None
    assert len(str(caught.value)) < 1200


def test_a_file_that_was_cut_short(saved: Path) -> None:
    whole = saved.read_bytes()
    for size in [*range(0, 100, 7), *np.linspace(100, len(whole) - 1, 30).astype(int).tolist()]:
        saved.write_bytes(whole[:size])
        for read in (load, open_snapshot):
            with pytest.raises(ConnectomeError, match=r"must be (an HDF5 file|a whole, undamaged HDF5 file)"):
                read(saved)


def test_a_flipped_bit_is_found_or_harms_nothing(saved: Path) -> None:
    """Any one bit: an error, or the same connectome (in what is there for other programs, or in unused room)."""
    whole, wanted = saved.read_bytes(), example()
    rng = np.random.default_rng(3)
    found = 0
    for place in rng.integers(0, len(whole), 60).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        saved.write_bytes(damaged)
        try:
            connectome = load(saved)
        except ConnectomeError:
            found += 1
        else:
            assert_same(connectome, wanted)
    assert found > 8


def test_every_flipped_bit_of_an_edge_is_found(saved: Path) -> None:
    with h5py.File(saved) as h5:
        places = [h5[name].id.get_chunk_info(0) for name in (WEIGHT, TARGET, STARTS, f"development/{A}/birth_stage")]
    whole = saved.read_bytes()
    rng = np.random.default_rng(4)
    for place in places:
        for bit in rng.integers(0, 8 * place.size, 8).tolist():
            damaged = bytearray(whole)
            damaged[place.byte_offset + bit // 8] ^= 1 << bit % 8
            saved.write_bytes(damaged)
            with pytest.raises(ConnectomeError, match="undamaged"):
                load(saved)
            with pytest.raises(ConnectomeError, match="undamaged"):
                open_snapshot(saved).edge_set(LOCAL)


def test_a_damaged_heap_is_found_wherever_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the parts meet in which a file is looked through; also of a file that is cut short meanwhile."""
    monkeypatch.setattr(heaps, "_PART", 64)
    start = b"\x89HDF\r\n\x1a\n\0\0\0\0\0\x08\x08\0"
    bad = b"GCOL\1\0\0\0" + (4096).to_bytes(8, "little") + bytes(4080)  # free space of no bytes
    for place in range(16, 16 + 130):
        data = start + bytes(place - 16) + bad + bytes(70)
        with pytest.raises(OSError, match="a global heap with an object of 0 bytes"):
            heaps.check_heaps_of(data)
        heaps.check_heaps_of(data[:-200])  # is no heap, as it claims more than there is
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(OSError, match="a global heap"):
        heaps.check_heaps(tmp_path / "a")
    monkeypatch.setattr(os, "pread", lambda number, count, first: data[first : first + count] if first < 64 else b"")
    heaps.check_heaps(tmp_path / "a")


def lengthen(path: Path, texts: str) -> None:
    """Let the first of these texts, which are of any length, claim to be as long as one can be."""
    with h5py.File(path, "r") as file:
        at = file[texts].id.get_offset()
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + b"\xff" * 4 + whole[at + 4 :])


@pytest.mark.parametrize(
    "kept",
    [{}, {"chunks": (2,)}, {"chunks": (2,), "compression": "gzip", "shuffle": True}],
    ids=["whole", "chunks", "deflated"],
)
def test_a_text_longer_than_its_file_is_refused_before_there_is_memory_for_it(
    kept: dict[str, Any], tmp_path: Path
) -> None:
    path = tmp_path / "texts.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("t", data=np.array(["L1", "longer", "3"], object), **kept)
    size = path.stat().st_size

    def checked(longest: int) -> None:
        with h5py.File(path, "r") as file:
            hdf5.check_lengths(file["t"], longest)

    checked(size)
    checked(6)
    with pytest.raises(OSError, match="a text of 6 bytes in a file of 5"):
        checked(5)
    if not kept:
        lengthen(path, "t")
        with pytest.raises(OSError, match=f"a text of 4294967295 bytes in a file of {size}"):
            checked(size)


def test_a_folder_is_on_disk_with_those_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(os.readlink(f"/proc/self/fd/{file}")))
    hdf5.make_folder(tmp_path / "a" / "b")
    assert synced == [str(tmp_path), str(tmp_path / "a")]
    hdf5.make_folder(tmp_path / "a" / "b")
    assert len(synced) == 2
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        hdf5.make_folder(tmp_path / "file")


def test_a_file_that_the_disk_does_not_give_is_not_said_to_be_damaged(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(
            "Can't read data (file read failed: time = Mon\n, errno = 5, error message = 'Input/output error')"
        )

    monkeypatch.setattr(h5py, "File", refuse)
    with pytest.raises(ConnectomeError, match="must be a file that can be read; found Input/output error"):
        load(saved)
    monkeypatch.setattr(h5py, "File", lambda *_, **__: np.empty(1 << 60, np.uint8))
    with pytest.raises(ConnectomeError, match="must fit in memory"):
        load(saved)
