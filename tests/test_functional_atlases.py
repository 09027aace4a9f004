"""Functional atlases from files: both forms, and hostile ones refused in one line. All are made up."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from connectome import ConnectomeError
from connectome.io.functional_atlases import read_functional_atlas

NAMES = ["AVAL", "AVAR", "ASHL"]


def arrays(seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    observed = np.array([[4, 2, 0], [3, 5, 1], [4, 0, 2]])
    seen = observed > 0
    return {
        "dFF": np.where(seen, rng.normal(size=(3, 3)), np.nan), "q": np.where(seen, rng.random((3, 3)), np.nan),
        "q_eq": np.where(seen, rng.random((3, 3)), np.nan), "occ1": observed,
    }  # fmt: skip


def save_npz(path: Path, **changes: Any) -> Path:
    given = {f"{strain}_{key}": value for k, strain in enumerate(("wt", "unc31")) for key, value in arrays(k).items()}
    given = {"neuron": np.array(NAMES), **given, **changes}
    np.savez_compressed(path, **{key: value for key, value in given.items() if value is not None})
    return path


def save_h5(path: Path) -> Path:
    """As wormneuroatlas has it: texts of fixed length, contiguous numbers, and arrays of arrays that are not read."""
    with h5py.File(path, "w") as file:
        file["neuron_ids"] = np.array(NAMES, "S5")
        file.attrs["time_compiled"] = np.bytes_(b"2023")
        for k, strain in enumerate(("wt", "unc31")):
            group = file.create_group(strain)
            for key, value in arrays(k).items():
                group[key] = value
            group["q_eq_th"] = 0.5
            each = group.create_dataset("dFF_all", (3, 3), h5py.vlen_dtype(np.float64))
            each[0, 0] = np.arange(5.0)
    return path


def test_both_forms_are_read_alike(tmp_path: Path) -> None:
    packed = read_functional_atlas(save_npz(tmp_path / "a.npz"))
    plain = read_functional_atlas(save_h5(tmp_path / "a.h5"))
    assert packed.neurons == plain.neurons == tuple(NAMES)
    assert set(packed.strains) == set(plain.strains) == {"wt", "unc31"}
    for k, strain in enumerate(("wt", "unc31")):
        for found in (packed.strains[strain], plain.strains[strain]):
            for key, field in (("dFF", "dff"), ("q", "q"), ("q_eq", "q_equal"), ("occ1", "observed")):
                np.testing.assert_array_equal(getattr(found, field), arrays(k)[key])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"neuron": None}, "neuron must be a row of names"), ({"neuron": np.arange(3)}, "must be a row of names"),
        ({"neuron": np.array(["A", "B"])}, "must have a row for each of 2"), ({"wt_q": None}, "wt_q must be there"),
        ({"neuron": np.array(["A", "A", "B"])}, "name of its own"), ({"wt_q": np.zeros(3)}, "wt: q must have shape"),
        ({"wt_q": np.full((3, 3), 7.0)}, r"wt: q must be in 0 \.\. 1"), ({"neuron": np.array(["A"])}, "must be 2 to"),
        ({"wt_occ1": arrays()["occ1"].T}, "stimulated neurons in columns"),
        ({"wt_dFF": np.array([[{}]], object)}, "Pickles are not opened"),
        ({f"{s}_{k}": None for s in ("wt", "unc31") for k in arrays()}, "strains must be one or more"),
    ],
)  # fmt: skip
def test_a_wrong_npz_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = save_npz(tmp_path / "a.npz", **changes)
    with pytest.raises(ConnectomeError, match=rf"a\.npz.*{said}") as error:
        read_functional_atlas(path)
    assert "\n" not in str(error.value)


def test_a_wrong_h5_is_refused(tmp_path: Path) -> None:
    def text(file: h5py.File) -> None:
        del file["wt/q"]
        file["wt/q"] = np.full((3, 3), b"x")

    def soft(file: h5py.File) -> None:
        del file["wt/q"]
        file["wt/q"] = h5py.SoftLink("/unc31/q")

    def elsewhere(file: h5py.File) -> None:
        file["more"] = h5py.ExternalLink("other.h5", "/")
        del file["neuron_ids"]

    def empty(file: h5py.File) -> None:
        del file["wt/q"]
        file["wt"].create_dataset("q", (3, 3), "f8", chunks=(3, 3))  # never written: no bytes

    for change, said in (
        (text, "/wt/q must be numbers"), (soft, "/wt/q must be part of the file itself"),
        (elsewhere, "/neuron_ids must be there"), (empty, "/wt/q must have the 72 bytes that it claims"),
    ):  # fmt: skip
        path = save_h5(tmp_path / "a.h5")
        with h5py.File(path, "a") as file:
            change(file)
        with pytest.raises(ConnectomeError, match=rf"a\.h5: {said}"):
            read_functional_atlas(path)


def test_what_is_no_atlas_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "out.npz", "w") as archive:
        archive.writestr("../neuron.npy", b"")
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "text.h5").write_text("hello")
    buffer = io.BytesIO()
    np.save(buffer, np.arange(3))
    (tmp_path / "one.npy").write_bytes(buffer.getvalue())
    for name, said in (
        ("out.npz", "members inside it"), ("text.npz", "zip"), ("text.h5", "HDF5"), ("one.npy", "must end in"),
        ("none.npz", "can be read"), ("none.h5", "can be read"),
    ):  # fmt: skip
        with pytest.raises(ConnectomeError, match=said) as error:
            read_functional_atlas(tmp_path / name)
        assert name in str(error.value)
