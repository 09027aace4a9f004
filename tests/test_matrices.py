"""Square matrices from files: every layout of text, npy and npz; what is none is refused with its place."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome import Connectome, ConnectomeError
from connectome.io.edge_tables import read_csv
from connectome.io.exchange import read
from connectome.io.matrices import read_matrix

MATRIX = np.array([[0, 1.5, 0], [-2, 0, 3], [0, 0, 4e-3]])
NAMES = ["A 1", "b", "7c"]


def same(c: Connectome, labels: list[str] | None = None) -> bool:
    (region,) = c.regions.values()
    found = None if region.label is None else region.label.tolist()
    return bool((c.to_scipy().toarray() == MATRIX.astype(np.float32)).all()) and found == labels


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".txt"])
@pytest.mark.parametrize("layout", ["plain", "header", "index", "corner", "both"])
def test_text(tmp_path: Path, suffix: str, layout: str) -> None:
    delimiter = {".csv": ",", ".tsv": "\t", ".txt": " "}[suffix]
    names = [n.replace(" ", "_") for n in NAMES] if suffix == ".txt" else NAMES
    rows = [[repr(float(v)) for v in row] for row in MATRIX]
    if layout in ("index", "corner", "both"):
        rows = [[name, *row] for name, row in zip(names, rows, strict=True)]
    if layout in ("header", "corner", "both"):
        rows.insert(0, ([] if layout in ("header", "corner") else ["node"]) + names)
    (tmp_path / f"x{suffix}").write_text("\n".join(delimiter.join(row) for row in rows) + "\n\n")
    assert same(read_matrix(tmp_path / f"x{suffix}"), None if layout == "plain" else names)
    assert same(read_csv(tmp_path / f"x{suffix}"), None if layout == "plain" else names)  # it has no column source


@pytest.mark.parametrize("names", [["101", "102", "103"], ["0", "1", "2"], ["720575940600000001", "7", "12"]])
def test_names_that_are_numbers(tmp_path: Path, names: list[str]) -> None:
    """As pandas writes them, and R."""
    frame = pandas.DataFrame(MATRIX, index=[int(n) for n in names], columns=[int(n) for n in names])
    frame.to_csv(tmp_path / "pandas.csv")
    frame.to_csv(tmp_path / "named.csv", index_label="id")
    body = "".join(f"{name},{','.join(map(repr, row))}\n" for name, row in zip(names, MATRIX.tolist(), strict=True))
    (tmp_path / "r.csv").write_text(",".join(names) + "\n" + body)
    for name in ("pandas", "named", "r"):
        c = read_csv(tmp_path / f"{name}.csv")
        assert same(c, names), name
    pandas.DataFrame(MATRIX).to_csv(tmp_path / "range.csv", index=False)
    assert same(read_csv(tmp_path / "range.csv"), ["0", "1", "2"])


def test_decimal_commas_between_semicolons(tmp_path: Path) -> None:
    pandas.DataFrame(MATRIX, NAMES, NAMES).to_csv(tmp_path / "x.csv", sep=";", decimal=",")
    assert "1,5" in (tmp_path / "x.csv").read_text()
    assert same(read_csv(tmp_path / "x.csv"), NAMES)


def test_packed(tmp_path: Path) -> None:
    pandas.DataFrame(MATRIX, NAMES, NAMES).to_csv(tmp_path / "x.csv.gz")
    assert same(read(tmp_path / "x.csv.gz"), NAMES)


def test_spaces_in_columns(tmp_path: Path) -> None:
    (tmp_path / "y.txt").write_text("  0   1.5  0\n -2 0 3 \n\n0  0   4e-3\n")
    assert same(read_matrix(tmp_path / "y.txt"))


@given(st.sampled_from(["<f8", ">f4", "<i2", "|b1", "<u8", "|i1", "<f2"]), st.booleans())
def test_npy_of_any_numbers(dtype: str, fortran: bool) -> None:
    import tempfile

    matrix = np.array([[0, 1], [1, 1]], dtype, order="F" if fortran else "C")
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "x.npy", matrix)
        assert (read_matrix(Path(folder) / "x.npy").to_scipy().toarray() == matrix).all()


def test_npz(tmp_path: Path) -> None:
    length = np.array([[0, 3, 0], [6, 0, 9], [0, 0, 0.0]])
    position = np.arange(9.0).reshape(3, 3)
    np.savez_compressed(
        tmp_path / "x.npz", weights=MATRIX, tract_lengths_mm=length, labels=np.array(NAMES), position_um=position
    )
    c = read_matrix(tmp_path / "x.npz")
    assert same(c, NAMES)
    (e,) = c.edges.values()
    assert e.state["tract_length_um"].tolist() == [3000, 6000, 9000, 0]
    assert e.delay.tolist() == pytest.approx([1, 2, 3, 0.1])
    np.testing.assert_array_equal(c.regions["all"].position_um, position)
    np.savez(tmp_path / "y.npz", anything=MATRIX)
    assert same(read_matrix(tmp_path / "y.npz"))


def test_nodes_beside(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", MATRIX)
    (tmp_path / "x_nodes.csv").write_text("name,region,x,y,z,sign\nA 1,V1,1,2,3,1\nb,M,4,5,6,0\n7c,V1,7,8,9,1\n")
    c = read_matrix(tmp_path / "x.npy")
    assert {r.name: r.label.tolist() for r in c.regions.values() if r.label is not None} == {
        "V1": ["A 1", "7c"], "M": ["b"],
    }  # fmt: skip
    assert c.regions["V1"].position_um.tolist() == [[1, 2, 3], [7, 8, 9]]
    assert c.regions["V1"].sign.tolist() == [1, 1]
    order = [0, 2, 1]
    assert (c.to_scipy().toarray() == MATRIX[np.ix_(order, order)].astype(np.float32)).all()
    # By name, where the matrix has names: in any order.
    (tmp_path / "y.csv").write_text("A 1,b,7c\n" + "\n".join(",".join(map(str, row)) for row in MATRIX))
    (tmp_path / "y_nodes.csv").write_text("region,name\nM,b\nV1,7c\nV1,A 1\n")
    c = read_matrix(tmp_path / "y.csv")
    assert list(c.regions) == ["V1", "M"]
    assert c.regions["V1"].label.tolist() == ["A 1", "7c"]  # type: ignore[union-attr]  # they have names
    (tmp_path / "y_nodes.csv").write_text("region,name\nM,b\nV1,7c\nV1,A 2\n")
    with pytest.raises(ConnectomeError, match=r"must name each node .* none for 'A 1'"):
        read_matrix(tmp_path / "y.csv")
    (tmp_path / "x_nodes.csv").write_text("name\na\n")
    with pytest.raises(ConnectomeError, match="must have 3 rows"):
        read_matrix(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "1,2\n3,4\n5,6\n",
            "must be a square matrix, or a table of edges with columns source and target; found 3 rows",
        ),
        ("1,2\n3\n", "line 2 must have 2 fields"),
        ("1,2\n3,x\n", "line 2, field 1 must be a number; found 'x'"),
        ("a,b\n1,2\n3,nan\n", "row 1, column 1 must be finite; found nan. Write 0 for no edge."),
        ("a,b\n1,2\n3,inf\n", "must be finite"),
        (",a,b\na,1,2\nc,3,4\n", "must name its rows and its columns alike; found 'c' and 'b'"),
        ("", "found 0 rows"),
        ("a,b\n", "found 0 rows of 2"),
        ("1,2\n3,1e400\n", "must be finite"),
        ("1,2\n3,1e40\n", "weight must be finite"),
        ('"1,2\n', "line 1, field 0 must be a number"),
        (
            "0\t1,5\t0\n2,5\t0\t0\n",
            "must be a number; found '1,5'. Write a decimal point; commas are read where semicolons",
        ),
    ],
)
def test_wrong_text_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(ConnectomeError) as error:
        read_matrix(tmp_path / "x.csv")
    assert message in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "x.csv"))


def npy(array: Any, **more: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **more)
    return file.getvalue()


HUGE = npy(np.zeros((2, 2))).replace(b"(2, 2), }         ", b"(9999, 9999999), }")
assert b"(9999, 9999999)" in HUGE


@pytest.mark.parametrize(
    "data",
    [
        npy(np.array([[object()]]), allow_pickle=True), npy(np.zeros((2, 3))), npy(np.zeros(4)),
        npy(np.zeros((2, 2)) * 1j),
        npy(np.array([["a"]])), npy(np.zeros((2, 2)))[:-1], npy(np.zeros((2, 2))) + b"x", HUGE, b"", b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff{", b"\x93NUMPY\x03\x00\x00\x00", npy(np.zeros((2, 2))).replace(b"'<f8'", b"'|O8'"),
        npy(np.zeros((2, 2))).replace(b"descr", b"desc\xff"), npy(np.array([[np.nan]])),
        npy(np.zeros((2, 2))).replace(b"          \n", b"   [      \n"),
        npy(np.zeros((2, 2))).replace(b"    \n", b" (\0 \n"),
    ],
)  # fmt: skip
def test_wrong_npy_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(data)
    with pytest.raises(ConnectomeError, match=r"x\.npy"):
        read_matrix(tmp_path / "x.npy")
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("weights.npy", data)
    with pytest.raises(ConnectomeError, match=r"x\.npz"):
        read_matrix(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "arrays",
    [
        {"a": MATRIX, "b": MATRIX}, {"weights": MATRIX, "labels": np.array(["a"])},
        {"weights": MATRIX, "tract_lengths_mm": -np.ones((3, 3))}, {"weights": MATRIX, "position_um": np.zeros((3, 2))},
        {"weights": MATRIX, "tract_lengths_mm": np.zeros((2, 2))},
    ],
)  # fmt: skip
def test_wrong_npz_is_refused(tmp_path: Path, arrays: dict[str, Any]) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(ConnectomeError, match=r"x\.npz"):
        read_matrix(tmp_path / "x.npz")


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_weights_are_finite(tmp_path: Path, value: float) -> None:
    np.save(tmp_path / "x.npy", np.array([[0.0, 1.0], [value, 0.0]]))
    with pytest.raises(ConnectomeError, match="row 1, column 0 must be finite"):
        read(tmp_path / "x.npy")
