"""The Virtual Brain's zips: their own library opens ours, we open theirs, and nothing in one is believed."""

from __future__ import annotations

import io
import os
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, Region
from connectome.io.tvb import read_tvb, write_tvb
from connectome.wiring.edges import from_matrix
from tests.strategies import connectomes

# Row = target: 0 receives from 1 (3) and 2 (0.5).
FILES = {
    "weights.txt": "0 3 0.5\n1 0 0\n0 0 2\n",
    "tract_lengths.txt": "0 30 6\n9 0 1\n1 1 0\n",
    "centres.txt": "rA1 1 2 3\nlV1 -4 5.5 6\nrV2 7 8 9 None\n",
    "hemispheres.txt": "1\n0\n1\n",
}
LOCAL = EdgeKey("right", "local", "right")


def zipped(path: Path, files: dict[str, str | bytes], **more: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two members of one name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in files.items():
                archive.writestr(name, text)
            for name, text in more.items():
                archive.writestr(name.replace("_txt", ".txt"), text)
    return path


def test_a_zip_is_read_with_row_as_target(tmp_path: Path) -> None:
    c = read_tvb(zipped(tmp_path / "x.zip", {f"connectivity/{k}": v for k, v in FILES.items()}))
    assert {r.name: [] if r.label is None else r.label.tolist() for r in c.regions.values()} == {
        "right": ["rA1", "rV2"], "left": ["lV1"],
    }  # fmt: skip
    assert c.regions["right"].position_um.tolist() == [[1000, 2000, 3000], [7000, 8000, 9000]]
    found = {
        (k.source, k.target): (e.source.tolist(), e.target.tolist(), e.weight.tolist(), e.delay.round(9).tolist(),
                               e.state["tract_length_um"].tolist())
        for k, e in c.edges.items()
    }  # fmt: skip
    assert found == {
        ("left", "right"): ([0], [0], [3], [10.0], [30000]),
        ("right", "left"): ([0], [0], [1], [3.0], [9000]),
        ("right", "right"): ([1, 1], [1, 0], [2, 0.5], [0.1, 2.0], [0, 6000]),
    }
    assert read_tvb(tmp_path / "x.zip", velocity_mm_per_ms=6.0).edges[LOCAL].delay.tolist() == [0.1, 1.0]


def test_what_may_lack(tmp_path: Path) -> None:
    few: dict[str, str | bytes] = {"weights.txt": FILES["weights.txt"], "centres.txt": FILES["centres.txt"]}
    c = read_tvb(zipped(tmp_path / "x.zip", few | {"tract_lengths.txt": "", "__MACOSX/weights.txt": "?"}))
    assert list(c.regions) == ["all"]
    assert set(next(iter(c.edges.values())).delay.tolist()) == {0.1}


@settings(max_examples=30)
@given(connectomes(borders=False))
def test_weights_survive_the_trip(c: Connectome) -> None:
    if not c.n_neurons:
        return
    with tempfile.TemporaryDirectory() as folder:
        write_tvb(c, Path(folder) / "x.zip")
        back = read_tvb(Path(folder) / "x.zip", dt_ms=c.dt_ms)
    np.testing.assert_allclose(back.to_scipy().toarray(), c.to_scipy().toarray(), rtol=1e-6, atol=1e-4)
    assert list(back.regions) == [name for name, r in c.regions.items() if r.size]
    for name, r in back.regions.items():
        there = c.regions[name]
        assert (r.label is None) == (there.label is None or not there.label.any())
        assert r.label is None or r.label.tolist() == there.label.tolist()  # type: ignore[union-attr]  # it has names
        np.testing.assert_allclose(r.position_um, there.position_um, rtol=1e-12)


def test_delays_survive_without_tract_lengths(tmp_path: Path) -> None:
    region = Region("left", 2, label=np.array(["a b", "c"]))
    edges = EdgeSet.from_arrays(
        ("left", "local", "left"), [0, 1], [1, 0], [1.0, 2.0], n_source=2, n_target=2, dt_ms=0.1, delay_ms=[0.7, 12.3]
    )
    write_tvb(Connectome.of([region], [edges]), tmp_path / "x.zip")
    back = read_tvb(tmp_path / "x.zip")
    assert back.edges[EdgeKey("left", "local", "left")].delay.tolist() == pytest.approx([0.7, 12.3])
    assert back.regions["left"].label.tolist() == ["a b", "c"]  # type: ignore[union-attr]  # they have names
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert [line.split()[0] for line in archive.read("centres.txt").decode().splitlines()] == ["a_b", "c"]


def test_the_virtual_brain_opens_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVB_USER_HOME", str(tmp_path))
    weight = np.array([[0, 3.25, 0], [0, 0, 1e-3], [7, 0, 0]])
    length = np.array([[0, 30.5, 0], [0, 0, 12], [3, 0, 0]])
    position = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    from connectome.wiring.edges import Conduction

    c = from_matrix(
        weight, ["left", "left", "right"], node_labels=["lA", "lB", "rA"], tract_length_mm=length,
        position_um=1000 * position, delay_ms=Conduction(3.0),
    )  # fmt: skip
    write_tvb(c, tmp_path / "x.zip")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        connectivity = pytest.importorskip("tvb.datatypes.connectivity")
        found = connectivity.Connectivity.from_file(str(tmp_path / "x.zip"))
        found.configure()
    np.testing.assert_array_equal(found.weights, weight.astype(np.float32).T)
    np.testing.assert_allclose(found.tract_lengths, length.T, rtol=1e-6)
    np.testing.assert_array_equal(found.centres, position)
    assert found.region_labels.tolist() == ["lA", "lB", "rA"]
    assert found.hemispheres.tolist() == [False, False, True]
    assert (found.speed, found.delays.max()) == (3.0, pytest.approx(30.5 / 3))
    again = tmp_path / "y.zip"
    write_tvb(read_tvb(tmp_path / "x.zip"), again)
    assert again.read_bytes() == (tmp_path / "x.zip").read_bytes()


def test_a_label_is_no_comment(tmp_path: Path) -> None:
    c = Connectome.of([Region("all", 2, label=np.array(["#1 a", "b"]))])
    write_tvb(c, tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.read("centres.txt").decode().startswith("_#1_a nan nan nan\nb ")
    label = read_tvb(tmp_path / "a.zip").regions["all"].label
    assert label is not None
    assert label.tolist() == ["#1 a", "b"]


def test_too_many_neurons_are_refused(tmp_path: Path) -> None:
    for n in (0, 2**14 + 1):
        with pytest.raises(ConnectomeError, match=r"must have 1 \.\. 16,384 neurons"):
            write_tvb(Connectome.of([Region("a", n)]), tmp_path / "x.zip")
    with pytest.raises(ConnectomeError, match="must be writable"):
        write_tvb(Connectome.of([Region("a", 1)]), tmp_path / "no" / "x.zip")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights.txt": None}, "must have a text file of weights"),
        ({"centres.txt": None}, "must have a text file of centres"),
        ({"centres.txt": ""}, "must have 1 .. 16,384 rows"),
        ({"centres.txt": "a 1 2 3\nb 1 2\nc 1 2 3\n"}, "centres.txt: line 2 must be a label, x, y, z"),
        ({"centres.txt": "a 1 2 3\nb 1 2 x\nc 1 2 3\n"}, "centres.txt: line 2 must be numbers"),
        ({"centres.txt": "a 1 2 3\n"}, "must have 1 rows, as there are"),
        ({"weights.txt": "0 1 2\n3 nan 4\n5 6 7\n"}, "weights.txt: line 2 must be finite; found nan"),
        ({"weights.txt": "0 1 2\n\n3 4\n5 6 7\n"}, "weights.txt: line 3 must have 3 numbers; found 2"),
        ({"weights.txt": "0 1 2\n3 4 5\n5 6 1e999\n"}, "line 3 must be finite"),
        ({"weights.txt": b"0 1 2\n\xff 4 5\n"}, "line 2 must be text in UTF-8"),
        ({"tract_lengths.txt": "0 1 2\n3 4 5\n5 6 7 8\n"}, "tract_lengths.txt: line 3"),
        ({"tract_lengths.txt": "0 -1 2\n3 4 5\n5 6 7\n"}, "must be finite and >= 0 where there is an edge"),
        ({"tract_lengths.txt": "0 1e9 2\n3 4 5\n5 6 7\n"}, "delay_ms must be 0.1 .. 6553.5 ms"),
        ({"hemispheres.txt": "1\n0\n"}, "must be 3 times 0 or 1"),
        ({"hemispheres.txt": "1\n0\n2\n"}, "must be 3 times 0 or 1"),
        ({"my_weights.txt": "1"}, "must have one file of weights"),
        ({"../weights.txt": "1"}, "must have members inside it; found '../weights.txt'"),
        ({"/etc/passwd": "1"}, "must have members inside it"),
        ({"a/weights.txt": "1"}, "must have each member once"),
        ({"weights.txt": "0 " * 3000}, "must have 3 rows"),
        ({"nodes.txt": "V1\ta\nV1\tb\n"}, "nodes.txt must have 3 rows of a region, a tab and a label; found 2 rows"),
        ({"nodes.txt": "V1\ta\nV1\nV2\tc\n"}, "nodes.txt must have 3 rows of a region"),
        ({"nodes.txt": "V1\ta\n\tb\nV2\tc\n"}, "nodes.txt: region must be"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = zipped(tmp_path / "x.zip", {k: v for k, v in {**FILES, **change}.items() if v is not None})
    with pytest.raises(ConnectomeError) as error:
        read_tvb(path)
    assert message in str(error.value)
    assert str(error.value).startswith(str(path))


def test_bombs_and_damage_are_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "x.zip", {**FILES, "weights.txt": b"0 " * 2**20})
    whole = path.read_bytes()
    from connectome.io.archives import unzip

    with pytest.raises(ConnectomeError, match="must have at most 65,536 bytes in all; found more"):
        unzip(path, lambda name: True, 2**16)
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        data = bytearray(whole[: rng.integers(len(whole))] if rng.random() < 0.3 else whole)
        for at in rng.integers(0, max(len(data), 1), 3):
            data[at : at + 1] = bytes([rng.integers(256)])
        path.write_bytes(bytes(data))
        try:
            read_tvb(path)
        except ConnectomeError:
            refused += 1
    assert refused > 100


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("weights.txt", "1")
    data = bytearray(buffer.getvalue())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(ConnectomeError, match="must be a readable zip archive"):
        read_tvb(tmp_path / "x.zip")
