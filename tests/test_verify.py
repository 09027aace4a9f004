"""The check of a run: what it believes, what it finds, what it says."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from connectome import ConnectomeError
from connectome.io.results import load_results, save_results
from connectome.io.seal import load_manifest, renew, seal
from connectome.io.snapshot import load, save
from sims.develop import main as develop
from sims.report import main as report
from sims.verify import first_difference, main

TINY = """
[anatomy]
neurons = 16
[training]
perception = 4
batch = 8
epoch_updates = 2
[data]
test_trials = 8
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("run")
    (place / "tiny.toml").write_text(TINY)
    command = ["--regions", "perception", "--config", str(place / "tiny.toml"), "--out", str(place / "out")]
    assert develop([*command, "--seed", "3", "--quiet"]) == 0
    return place / "out"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """One to do something to."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def reweighted(path: Path) -> None:
    """A snapshot with another weight, whole and with a digest of its own."""
    connectome = load(path)
    key, edges = next(iter(connectome.edges.items()))
    weight = edges.weight.copy()
    weight[2] *= 2
    with h5py.File(path) as file:
        config = file["development/config"][0].decode()
    from connectome import Edit

    save(connectome.apply(Edit(reweight={key: weight})), path, config=config, overwrite=True)
    renew(path.parent, path.name)


def test_a_run_is_whole_and_its_rerun_the_same(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.rglob("*")}
    assert main([str(finished)]) == 0
    shown = capsys.readouterr().out
    assert "are as the run wrote them, and fit together" in shown
    assert "The rerun is bit-identical: every dataset of 00_birth.h5, 01_perception.h5, results.nc." in shown
    assert main([str(finished), "--quick", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert {p: p.stat().st_mtime_ns for p in finished.rglob("*")} == before


def test_while_a_page_is_written_anew_the_manifest_is_true(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "report.html" in load_manifest(run).files

    def write_and_die(text: str, path: Path) -> None:
        path.write_text("another page")
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("connectome.io.results.save_text", write_and_die)
    assert report(["--quiet", "--overwrite", str(run)]) == 2
    assert main([str(run), "--quick", "--quiet"]) == 0
    monkeypatch.undo()
    assert report(["--quiet", "--overwrite", str(run)]) == 0
    assert "report.html" in load_manifest(run).files
    assert main([str(run), "--quick", "--quiet"]) == 0


def test_the_first_difference_is_named(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reweighted(run / "01_perception.h5")
    assert main([str(run), "--quick"]) == 0
    assert main([str(run), "--quiet"]) == 1
    shown = capsys.readouterr().out
    assert "01_perception.h5 and its rerun differ. /development/edge_sets" in shown
    assert "It ran on:    connectome " in shown


def test_results_are_compared_too(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = load_results(run / "results.nc")
    results["score"] = results.score + np.float64(1e-15)
    save_results(results, run / "results.nc")
    renew(run, "results.nc")
    assert main([str(run), "--quiet"]) == 1
    assert "results.nc and its rerun differ. /score: 1 of 1 values" in capsys.readouterr().out


def test_differences_of_every_kind(tmp_path: Path) -> None:
    def file(name: str, **columns: object) -> Path:
        with h5py.File(tmp_path / name, "w") as made:
            for column, values in columns.items():
                made[f"group/{column}"] = values
        return tmp_path / name

    same = file("a.h5", x=np.array([0.0, np.nan]), s=["one", "two"])
    assert first_difference(same, same) is None
    with h5py.File(file("b.h5", x=np.array([0.0, np.nan]), s=["one", "two"]), "a") as made:
        made.attrs["note"] = "attributes are no datasets"
    assert first_difference(same, tmp_path / "b.h5") is None
    zero = file("c.h5", x=np.array([-0.0, np.nan]), s=["one", "two"])
    assert first_difference(same, zero) == "/group/x: 1 of 2 values, the first at 0: 0.0 and -0.0"
    text = file("d.h5", x=np.array([0.0, np.nan]), s=["one", "three"])
    assert first_difference(same, text) == "/group/s: 1 of 2 values, the first at 1: b'two' and b'three'"
    long = file("e.h5", x=np.zeros(3), s=["one", "two"])
    assert first_difference(same, long) == "/group/x is float64 of shape (2,) and float64 of shape (3,)"
    more = file("f.h5", x=np.array([0.0, np.nan]), s=["one", "two"], y=1)
    assert first_difference(same, more) == "/group/y is only in the second"


def test_what_cannot_be_checked_gets_one_line(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(path: Path) -> str:
        assert main([str(path), "--quick"]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    def under_seal(name: str, content: bytes) -> None:
        (run / name).write_bytes(content)
        renew(run, name)

    assert "RUN must be the folder of a run" in refused(run / "results.nc")
    snapshot = (run / "01_perception.h5").read_bytes()
    under_seal("01_perception.h5", snapshot[:-1000])
    assert "01_perception.h5 must be a whole, undamaged HDF5 file" in refused(run)
    (run / "01_perception.h5").unlink()
    assert "01_perception.h5 must be there, as the run wrote it" in refused(run)
    under_seal("01_perception.h5", (run / "00_birth.h5").read_bytes())
    assert "01_perception.h5 must be stage 1, perception, and follow from the one before it" in refused(run)
    under_seal("configuration.toml", b"")
    assert "configuration.toml must be the configuration in the results" in refused(run)
    (run / "checkpoints").mkdir()
    (run / "checkpoints/00000001.h5").write_bytes(b"")
    assert "must be a finished run" in refused(run)
    shutil.rmtree(run / "checkpoints")
    under_seal("results.nc", b"nothing")
    assert "results.nc must be an HDF5 file" in refused(run)
    (run / "manifest.json").unlink()
    assert "must be a finished run, with a manifest.json; found none." in refused(run)


def test_any_bit_of_any_file_is_under_seal(run: Path) -> None:
    """Attributes, sidecars, page, picture, the manifest itself: a bit in 300 places, in each file at least one."""
    files = sorted(p for p in run.rglob("*") if p.is_file())
    assert {p.name for p in files} >= {
        "manifest.json",
        "development.png",
        "report.html",
        "node_types.csv",
        "results.nc",
    }
    rng = np.random.default_rng(5)
    for path in [*files, *rng.choice(np.array(files, object), 300 - len(files))]:
        whole = path.read_bytes()
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(ConnectomeError, match=path.name):
            load_manifest(run)
        path.write_bytes(whole)
    assert main([str(run), "--quick"]) == 0


def test_a_page_made_anew_is_under_seal(run: Path) -> None:
    (run / "report.html").write_text("another")
    assert main([str(run), "--quick"]) == 2
    assert report([str(run), "--overwrite", "--quiet"]) == 0
    assert main([str(run), "--quick"]) == 0


def test_a_finished_run_is_told_by_its_manifest(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert develop(["--resume", str(run)]) == 0
    assert "holds a finished run, whole" in capsys.readouterr().out
    (run / "00_birth.sonata/node_types.csv").unlink()
    assert develop(["--resume", str(run)]) == 2
    assert "node_types.csv must be there, as the run wrote it" in capsys.readouterr().err
    (run / "manifest.json").unlink()
    assert develop(["--resume", str(run)]) == 2, "what lost its checkpoints is not finished"
    assert "must have a checkpoint to go on from; found none" in capsys.readouterr().err


def test_a_manifest_leads_nowhere_else(run: Path) -> None:
    manifest = load_manifest(run)
    for name in ("../other", "/etc/hostname", ""):
        seal(run, replace(manifest, files={name: "0"}))
        with pytest.raises(ConnectomeError, match="must name files in the run's folder"):
            load_manifest(run)
