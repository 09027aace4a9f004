"""MATLAB files: opened by scipy and used by bctpy, read back, and decoded without being believed."""

from __future__ import annotations

import contextlib
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import bct
import numpy as np
import pytest
import scipy.io
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome import Connectome, ConnectomeError, EdgeSet, Region
from connectome.io import mat_files
from connectome.io.mat_files import decode_mat, read_mat, write_mat
from tests.strategies import connectomes
from tests.test_graph_files import small


def merged(connectome: Connectome) -> dict[tuple[str, int, str, int], tuple[float, float]]:
    """For each pair its summed weight and its mean delay."""
    found: dict[tuple[str, int, str, int], list[tuple[float, float]]] = {}
    for key, e in connectome.edges.items():
        for s, t, w, d in zip(*(c.tolist() for c in (e.source, e.target, e.weight, e.delay)), strict=True):
            found.setdefault((key.source, s, key.target, t), []).append((w, d))
    return {pair: (sum(w for w, _ in of), sum(d for _, d in of) / len(of)) for pair, of in found.items()}


def simple(connectome: Connectome) -> Connectome:
    """Without parallel edges."""
    sets = []
    for key, e in connectome.edges.items():
        pair = e.source.astype(np.int64) * max(e.n_target, 1) + e.target
        first = np.zeros(len(e), bool)
        first[np.unique(pair, return_index=True)[1]] = True
        kept = e.take(first)
        sets.append(
            EdgeSet.from_arrays(
                key, kept.source, kept.target, kept.weight, n_source=e.n_source, n_target=e.n_target, dt_ms=e.dt_ms,
                delay_ms=kept.delay,
            )
        )  # fmt: skip
    return Connectome.of(connectome.regions.values(), sets, dt_ms=connectome.dt_ms, provenance=connectome.provenance)


@settings(max_examples=20)
@given(connectome=connectomes(max_regions=2))
def test_a_graph_without_parallel_edges_comes_back(connectome: Connectome, tmp_path_factory: Any) -> None:
    path = tmp_path_factory.mktemp("mat") / "a.mat"
    wanted = simple(connectome)
    write_mat(wanted, path)
    back = read_mat(path)
    assert merged(back) == merged(wanted)
    assert not any(r.state for r in back.regions.values()), "there is no place for it"
    assert list(back.regions) == list(wanted.regions)
    for name, region in wanted.regions.items():
        found = back.regions[name]
        assert (found.role, found.neuron, found.birth_stage) == (region.role, region.neuron, region.birth_stage)
        np.testing.assert_array_equal(found.position_um, region.position_um)
        np.testing.assert_array_equal(found.sign, region.sign)
        if region.label is not None:
            np.testing.assert_array_equal(found.label, region.label)
    assert back.provenance == wanted.provenance


def test_scipy_and_bctpy_take_what_is_written(tmp_path: Path) -> None:
    connectome = small()
    write_mat(connectome, tmp_path / "a.mat")
    found = scipy.io.loadmat(tmp_path / "a.mat", simplify_cells=True)
    assert list(found["names"]) == ["AVAL", 'q "<&>" ü', "x y", "AVAR", "b"]
    assert list(found["regions"]) == ["a.1"] * 3 + ["B_2"] * 2
    np.testing.assert_array_equal(
        found["coordinates"], np.concatenate([r.position_um for r in connectome.regions.values()])
    )
    matrix = found["connectivity"]
    wanted = np.zeros((5, 5))
    np.add.at(wanted, ([0, 0, 1, 2, 2, 0], [1, 1, 1, 0, 4, 3]), np.array([0.1, 2, -3, 0, -1e-7, 1e20], np.float32))
    np.testing.assert_array_equal(matrix, wanted)  # row = source
    assert found["delay_ms"][0, 1] == (0.25 + 5) / 2
    assert found["delay_ms"][2, 0] == 2  # an edge of weight 0
    assert found["tract_length_um"][0, 1] == 2
    incoming, outgoing, both = bct.degrees_dir(np.abs(matrix))
    assert (incoming.tolist(), outgoing.tolist()) == ([0, 2, 0, 1, 1], [2, 1, 1, 0, 0])
    assert both.tolist() == [2, 3, 1, 1, 1]
    assert bct.density_dir(matrix)[1:] == (5, 4)


def test_equal_graphs_make_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        write_mat(small(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_many_nodes_make_a_sparse_matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mat_files, "MAX_DENSE", 4)
    write_mat(simple(small()), tmp_path / "a.mat")
    found = scipy.io.loadmat(tmp_path / "a.mat")
    assert scipy.sparse.issparse(found["connectivity"])
    assert found["connectivity"].shape == (5, 5)
    assert merged(read_mat(tmp_path / "a.mat")) == merged(simple(small()))


@pytest.mark.parametrize("name", ["CIJ", "whatever"])
def test_a_toolbox_file_is_read(name: str, tmp_path: Path) -> None:
    matrix = np.array([[0, 2.5, 0], [0, 0, -1], [0, 0, 0]])
    names = np.array(["V1", "V2 ", "MT"])
    scipy.io.savemat(
        tmp_path / "a.mat",
        {name: matrix, "Names": names, "coords": np.eye(3), "nothing": {"a": 3}, "flag": np.array([True])},
    )
    found = read_mat(tmp_path / "a.mat")
    assert merged(found) == {("all", 0, "all", 1): (2.5, 0.1), ("all", 1, "all", 2): (-1, 0.1)}
    region = found.regions["all"]
    assert region.label is not None
    assert region.label.tolist() == ["V1", "V2", "MT"]
    np.testing.assert_array_equal(region.position_um, np.eye(3))


numbers = st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])


@given(
    dtype=numbers, shape=st.tuples(st.integers(0, 5), st.integers(0, 5)), compressed=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_decoding_gives_what_scipy_gives(dtype: str, shape: tuple[int, int], compressed: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    array = (rng.integers(0, 2, shape) * rng.integers(0, 99, shape)).astype(dtype)
    texts = np.array(["a", "", "üß", "long enough to have its own tag"], object)
    content = {"x": array, "s": scipy.sparse.csc_array(array.astype(float)), "t": "text", "c": texts}
    buffer = BytesIO()
    scipy.io.savemat(buffer, content, do_compression=compressed)
    found = decode_mat(buffer.getvalue())
    np.testing.assert_array_equal(found["x"], array)
    np.testing.assert_array_equal(found["s"].toarray(), array.astype(float))
    assert found["t"] == "text"
    assert found["c"] == texts.tolist()


@given(data=st.data())
def test_a_damaged_file_is_read_or_refused(data: st.DataObject) -> None:
    buffer = BytesIO()
    content = {"CIJ": np.eye(3), "names": np.array(["a", "b", "c"], object), "s": scipy.sparse.eye_array(3)}
    scipy.io.savemat(buffer, content, do_compression=data.draw(st.booleans()))
    damaged = bytearray(buffer.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del damaged[data.draw(st.integers(0, len(damaged) - 1)) :]
    with contextlib.suppress(ConnectomeError, UnicodeDecodeError):  # the caller names the file
        decode_mat(bytes(damaged))


def mat(*elements: bytes) -> bytes:
    """A file of these elements."""
    return b"x".ljust(124) + struct.pack("<H", 0x100) + b"IM" + b"".join(elements)


def element(kind: int, data: bytes) -> bytes:
    return struct.pack("<II", kind, len(data)) + data.ljust(-(-len(data) // 8) * 8, b"\0")


def matrix(kind: int, shape: tuple[int, ...], *parts: bytes) -> bytes:
    head = (
        element(6, struct.pack("<II", kind, 0)),
        element(5, struct.pack(f"<{len(shape)}i", *shape)),
        element(1, b"CIJ"),
    )
    return element(14, b"".join([*head, *parts]))


def nested(depth: int) -> bytes:
    inner = b""
    for _ in range(depth):
        inner = matrix(1, (1, 1), inner)
    return inner


BROKEN = {
    "no matlab": (b"x" * 500, "MATLAB"),
    "hdf5": (b"MATLAB 7.3".ljust(500), "save -v7"),
    "nothing": (mat(), "square matrix"),
    "cut": (mat(matrix(6, (2, 2), element(9, b"\0" * 32)))[:-9], "bytes that it claims"),
    "claims": (mat(matrix(6, (30_000, 30_000), element(9, b"\0" * 32))), "must have 900000000 numbers"),
    "overflow": (mat(matrix(6, (2**31 - 1,) * 3, element(9, b"\0" * 32))), "numbers"),
    "negative": (mat(matrix(6, (-2, -2), element(9, b"\0" * 32))), "dimensions"),
    "bomb": (mat(struct.pack("<II", 15, 1 << 20) + zlib.compress(b"\0" * (1 << 26)).ljust(1 << 20, b"\0")), "at most"),
    "sparse outside": (
        mat(matrix(5, (2, 2), element(5, struct.pack("<2i", 0, 7)), element(5, struct.pack("<3i", 0, 1, 2)),
                   element(9, b"\0" * 16))), "inside the matrix",
    ),
    "nested": (mat(nested(2000)), "square matrix"),
    "nan": (mat(matrix(6, (1, 1), element(9, struct.pack("<d", float("nan"))))), "finite"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_refused_in_one_line(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mat_files, "MAX_BYTES", 1 << 22)
    content, rule = BROKEN[name]
    (tmp_path / "a.mat").write_bytes(content)
    with pytest.raises(ConnectomeError, match=rule) as error:
        read_mat(tmp_path / "a.mat")
    assert str(error.value).startswith(str(tmp_path / "a.mat"))
    assert "\n" not in str(error.value)


def test_variables_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    eye = np.eye(3)
    for extra, rule in (
        ({"names": np.array(["a", "b"], object)}, "names must be 3"), ({"coords": np.eye(2)}, "shape"),
        ({"delay_ms": np.eye(2)}, "delay_ms must be 3 x 3"), ({"delay_ms": np.zeros((3, 3))}, "for each edge"),
        ({"connectome": "{"}, "JSON"), ({"coords": "far"}, "shape"),
    ):  # fmt: skip
        scipy.io.savemat(tmp_path / "a.mat", {"CIJ": eye, **extra})
        with pytest.raises(ConnectomeError, match=rule):
            read_mat(tmp_path / "a.mat")
    scipy.io.savemat(tmp_path / "a.mat", {"p": eye, "q": eye})
    with pytest.raises(ConnectomeError, match="only one"):
        read_mat(tmp_path / "a.mat")
    assert Region("a", 1).label is None
