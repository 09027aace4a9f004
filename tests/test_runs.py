"""Runs are listed, compared and removed; what is no run, or in use, is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from sims import develop
from sims.program import locked
from sims.runs import main, runs_in

TINY = """[anatomy]
neurons = 12
[training]
perception = 2
epoch_updates = 1
[data]
test_trials = 2
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, as small as it gets."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "tiny.toml").write_text(TINY)
    given = ["--regions", "perception", "--config", str(folder / "tiny.toml"), "--out", str(folder / "runs" / "seed0")]
    assert develop.main([*given, "--no-report", "--quiet"]) == 0
    return folder / "runs"


@pytest.fixture
def runs(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "runs"))


def test_a_list_says_what_each_is(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "notes").mkdir()
    (runs / "link").symlink_to(runs / "seed0")
    stopped = Path(shutil.copytree(runs / "seed0", runs / "seed1"))
    (stopped / "manifest.json").unlink()
    (runs / "some").mkdir()
    (runs / "some" / "study.json").write_text("{}")
    found = {run.path.name: run for run in runs_in(runs)}
    assert {name: (run.what, run.state) for name, run in found.items()} == {
        "seed0": ("perception", "finished"), "seed1": ("perception", "stopped"), "some": ("study", "stopped"),
    }  # fmt: skip
    assert found["seed0"].seed == "0"
    assert 0 <= found["seed0"].scores["perception"] <= 1
    assert found["seed0"].size == sum(f.stat().st_size for f in (runs / "seed0").rglob("*") if f.is_file())
    with locked("--out", stopped):
        assert {run.path.name: run.state for run in runs_in(runs)}["seed1"] == "under way"
    assert main([str(runs), "--json"]) == 0
    assert {Path(run["path"]).name for run in json.loads(capsys.readouterr().out)} == {"seed0", "seed1", "some"}
    assert [run.path for run in runs_in(runs / "seed0")] == [runs / "seed0"]


def test_without_runs_it_says_how_to_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([]) == 0
    assert capsys.readouterr().out == "No runs in runs. Begin one: python -m sims.develop\n"
    assert main(["nowhere"]) == 2


def test_side_by_side_is_what_differs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs.parent / "other.toml").write_text(TINY.replace("perception = 2", "perception = 3"))
    given = ["--regions", "perception", "--config", str(runs.parent / "other.toml"), "--out", str(runs / "other")]
    assert develop.main([*given, "--no-report", "--json", "-v"]) == 0
    printed = capsys.readouterr()
    results = json.loads(printed.out)
    assert results["attrs"]["regions"] == "perception"
    assert results["data_vars"]["score"]["dims"] == ["stage", "task"]
    assert [line.split()[2:4] for line in printed.err.splitlines() if "/3:" in line] == [
        ["perception", f"{n}/3:"] for n in (1, 2, 3)
    ]
    assert main(["--compare", str(runs / "seed0"), str(runs / "other"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [run["training.perception"] for run in told.values()] == [2, 3]
    assert {name for run in told.values() for name in run if "." in name} == {"training.perception"}
    assert main(["--compare", str(runs / "seed0"), str(runs / "other")]) == 0
    assert "score, perception" in capsys.readouterr().out
    assert main(["--compare", str(runs)]) == 2
    assert "python -m sims.runs lists them" in capsys.readouterr().err


def test_only_a_whole_run_that_nobody_uses_is_removed(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, link, other = runs / "seed0", runs / "link", runs / "notes"
    link.symlink_to(run)
    other.mkdir()
    for folder, said in ((link, "must be no link"), (other, "must be the folder of a run"), (runs, "of a run")):
        assert main(["--remove", str(folder), "--yes"]) == 2
        assert said in capsys.readouterr().err
    assert main(["--remove", str(run)]) == 2
    assert "Add --yes." in capsys.readouterr().err
    (run / "my notes.txt").write_text("mine")
    assert main(["--remove", str(run), "--yes"]) == 2
    assert "my notes.txt" in capsys.readouterr().err
    (run / "my notes.txt").unlink()
    with locked("--out", run):
        assert main(["--remove", str(run), "--yes"]) == 2
    assert "no other run writes to" in capsys.readouterr().err
    outside = runs.parent / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (run / "wiring").symlink_to(outside)
    assert main(["--remove", str(run), "--yes"]) == 0
    assert capsys.readouterr().out == f"Removed: {run}\n"
    assert not run.exists()
    assert (outside / "kept").exists()


@pytest.mark.parametrize(("answer", "stays"), [("n", True), ("", True), ("y", False)])
def test_it_asks(runs: Path, answer: str, stays: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("builtins.input", lambda question: answer)
    assert main(["--remove", str(runs / "seed0")]) == 0
    assert (runs / "seed0").exists() == stays
