"""Studies: cells in processes, kept in files, gathered, reported."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from connectome import ConnectomeError
from connectome.analysis.intervals import mean_of
from connectome.io.results import load_results, save_results
from sims import study as program
from sims.studies.cells import Cell, Study, StudyTable, gather
from sims.studies.cells import run_cells as run_in
from sims.studies.sharing import shared


def run_cells(study: Study, cells: Sequence[Cell], out: Path, jobs: int, scheduler: str | None = None) -> list[Cell]:
    with shared(out) as folder:
        return list(run_in(study, cells, folder, jobs, scheduler))


def measure(cell: Cell, options: Mapping[str, Any]) -> xr.Dataset:
    """What a cell of these tests gives: nothing but its name, seed and options."""
    if cell.condition == options.get("broken"):
        raise ConnectomeError("cell", "must work", cell.condition, "Mend it.")
    value = float(cell.seed + 10 * ("b" in cell.condition))
    return xr.Dataset({"score": value, "curve": ("x", value + np.arange(3.0)), "process": os.getpid()})


def table(results: xr.Dataset) -> list[StudyTable]:
    rows = [[str(c), mean_of(results.score.sel(condition=c)).text(1, 2, "")] for c in results["condition"].values]
    return [StudyTable("Scores", "Of nothing.", ["condition", "score"], rows)]


def toy(quick: bool = False, images: str = "", **options: Any) -> Study:
    return Study("A study of nothing.", ("a", "a b"), measure, table, seeds=3, options=options)


def test_cells_run_once_and_are_gathered(tmp_path: Path) -> None:
    study = toy()
    cells = study.cells()
    assert cells[:3] == [Cell("a", 0), Cell("a b", 0), Cell("a", 1)]
    assert set(run_cells(study, cells, tmp_path, 2)) == set(cells)
    first = gather(study, cells, tmp_path)
    assert first.score.sel(condition="a b").values.tolist() == [10, 11, 12]
    assert first.curve.dims == ("condition", "seed", "x")
    assert os.getpid() not in first.process
    (tmp_path / "cells" / Cell("a", 1).file).unlink()
    assert run_cells(study, cells, tmp_path, 1)[-1] == Cell("a", 1), "those that are there come first"
    again = gather(study, cells, tmp_path)
    assert again.drop_vars("process").identical(first.drop_vars("process"))
    same = again.process == first.process
    assert int((~same).sum()) == 1, "nothing but the lost cell was run again"


def test_workers_end_with_a_study_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "study.py").write_text(
        """import os, pathlib, sys, time
from sims.studies.cells import Study, run_cells
from sims.studies.sharing import shared

def cell(cell, options):
    pathlib.Path(options["out"], f"{os.getpid()}.pid").touch()
    time.sleep(300)

if __name__ == "__main__":
    study = Study("Of sleep.", ("a", "b"), cell, list, seeds=1, options={"out": sys.argv[1]})
    with shared(pathlib.Path(sys.argv[1])) as folder:
        list(run_cells(study, study.cells(), folder, 2))
"""
    )
    root = Path(__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(root)}
    parent = subprocess.Popen([sys.executable, str(tmp_path / "study.py"), str(tmp_path)], env=environment)

    def running() -> list[str]:
        return [p.stem for p in tmp_path.glob("*.pid") if Path(f"/proc/{p.stem}").exists()]

    def wait_for(number: int) -> bool:
        deadline = time.monotonic() + 60
        while len(running()) != number and time.monotonic() < deadline:
            time.sleep(0.05)
        return len(running()) == number

    try:
        assert wait_for(2)
    finally:
        parent.kill()
        parent.wait()
    assert wait_for(0)


def stages_in_turn(cell: Cell, options: Mapping[str, Any]) -> xr.Dataset:
    """Stages in another order in each condition."""
    names = ["see", "act", "meet"] if cell.condition == "a" else ["act", "see", "meet"]
    return xr.Dataset({"length": ("stage", [len(name) + float(cell.seed) for name in names])}, {"stage": names})


def test_stages_stay_in_the_first_cell_s_order(tmp_path: Path) -> None:
    """Not in that of the alphabet, in which results of different orders are joined."""
    study = Study("A study of stages.", ("a", "b"), stages_in_turn, table, seeds=2)
    run_cells(study, study.cells(), tmp_path, 1)
    results = gather(study, study.cells(), tmp_path)
    assert results.stage.values.tolist() == ["see", "act", "meet"]
    assert results.length.sel(condition="b", seed=1).values.tolist() == [4, 4, 5]


def test_a_cell_that_fails_says_why(tmp_path: Path) -> None:
    study = toy(broken="a b")
    with pytest.raises(ConnectomeError, match=r"cell must work; found a b. Mend it."):
        run_cells(study, study.cells(), tmp_path, 1)


def test_a_cell_s_file_must_be_its_own(tmp_path: Path) -> None:
    study = toy()
    cells = study.cells()[:2]
    a, b = (tmp_path / "cells" / cell.file for cell in cells)
    run_cells(study, cells[:1], tmp_path, 1)
    gather(study, cells[:1], tmp_path)
    whole = load_results(a)
    for damaged in (whole.assign_attrs(seed=1), whole.drop_vars("curve"), whole.assign(score=whole.score + 1)):
        save_results(damaged, b)
        with pytest.raises(ConnectomeError, match=r"a-b_seed0\.nc must be as it was written; found another content"):
            gather(study, cells[1:], tmp_path)
    b.write_bytes(a.read_bytes())
    with pytest.raises(ConnectomeError, match=r"must be of 'a b', seed 0; found another cell's"):
        gather(study, cells, tmp_path)
    b.write_bytes(b"")
    with pytest.raises(ConnectomeError, match=r"a-b_seed0\.nc"):
        gather(study, cells, tmp_path)


def offer_toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an installed package would."""
    entry = importlib.metadata.EntryPoint("toy", "tests.test_study:toy", "connectome.studies")
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [entry] if group == "connectome.studies" else []
    )


def test_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    offer_toy(monkeypatch)
    out = tmp_path / "out"
    assert program.main(["toy", "--out", str(out), "--seeds", "2", "--jobs", "1"]) == 0
    printed = capsys.readouterr().out
    assert "Scores" in printed
    report = (out / "report.md").read_text()
    assert "A study of nothing. Seeds 0, 1" in report
    assert "| a b | 10.50 ± 6.35 |" in report
    assert json.loads((out / "study.json").read_text())["study"] == "toy"
    before = (out / "results.nc").read_bytes()
    assert program.main(["toy", "--out", str(out), "--seeds", "2", "--jobs", "1", "--quiet"]) == 0
    assert (out / "results.nc").read_bytes() == before
    assert not capsys.readouterr().out


def test_parts_of_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As the jobs of an array do them: the last one writes what they say together."""
    offer_toy(monkeypatch)
    command = ["toy", "--out", str(tmp_path), "--seeds", "5-6", "--jobs", "1", "--cells"]
    assert program.main([*command, "0,3"]) == 0
    assert "2 of 4 cells are there" in capsys.readouterr().out
    assert not (tmp_path / "report.md").exists()
    assert {path.name for path in (tmp_path / "cells").glob("*.nc")} == {"a_seed5.nc", "a-b_seed6.nc"}
    assert program.main([*command, "1-2"]) == 0
    assert "Seeds 5, 6" in (tmp_path / "report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seeds", "0"], "--seeds must be 1 or more; found 0"),
        (["--seeds", "9-3"], "--seeds must be 1 or more; found 9-3. Or the first and the last, such as 10-19."),
        (["--cells", "6"], "--cells must be numbers in 0 .. 5, such as 3,7 or 0-9; found '6'"),
        (["--cells", "3-1"], "--cells must be numbers in 0 .. 5"),
        (["--cells", "1,"], "--cells must be numbers in 0 .. 5"),
        (["--jobs", "-2"], "--jobs must be 1 or more; found -2"),
        (["--conditions", "a,c"], "--conditions must be among a, a b; found 'c'"),
    ],
)
def test_options_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str],
    message: str,
) -> None:  # fmt: skip
    offer_toy(monkeypatch)
    assert program.main(["toy", "--out", str(tmp_path), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_of_another_study_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer_toy(monkeypatch)
    (tmp_path / "study.json").write_text(json.dumps({"study": "toy", "version": "0", "options": {"x": 1}}))
    assert program.main(["toy", "--out", str(tmp_path)]) == 2
    assert "must hold no study with other options" in capsys.readouterr().err
    (tmp_path / "study.json").write_text("{")
    assert program.main(["toy", "--out", str(tmp_path)]) == 2
    assert "must be as the study wrote it" in capsys.readouterr().err
