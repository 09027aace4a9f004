"""The program of experiments: what it prints and writes, that it goes on, and what a new user types."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import tomli_w

from connectome.io.results import load_results
from connectome.io.snapshot import save
from sims.experiment import main
from tests.experiments import brain, experiment

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a brain and an experiment on it."""
    monkeypatch.chdir(tmp_path)
    save(brain(), tmp_path / "brain.h5")
    write(tmp_path / "try.toml")
    return tmp_path


def write(path: Path, **changes: Any) -> None:
    table = experiment(connectome="brain.h5", seeds=2, paths={"to": "region == 'hand'", "nulls": 2}, **changes).table()
    path.write_text(tomli_w.dumps(table))


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_dry_run_says_what_would_be_done(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["try.toml", "--dry-run"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "brain.h5: 89 neurons" in said
    assert "driven: stimulate 8 cells at 600 Hz, from 5 ms to 50 ms" in said
    assert "without, from driven: lesion 8 cells; cut" in said
    assert "On: measured, shuffled, random-targets; seeds 0 to 1; 18 trials of 60 ms." in said
    assert not (here / "runs").exists()


def test_killed_and_resumed_it_ends_in_the_same_bytes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the number of processes; and more seeds and conditions are added to what is there."""
    write(here / "try.toml", sweep={"silence_each": "region == 'a' and class == 'LN'"})
    assert main(["try.toml", "--out", "one", "--jobs", "1"]) == 0
    assert "Largest effects" in capsys.readouterr().out
    command = [sys.executable, "-m", "sims.experiment", "try.toml", "--quiet", "--out", "two", "--jobs", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    running = subprocess.Popen(command, env=environment, start_new_session=True)
    cells = here / "two" / "cells"
    while not (cells.is_dir() and len(list(cells.glob("*.nc"))) >= 3):
        assert running.poll() is None, "it must not have ended yet"
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    assert not (here / "two" / "results.nc").exists()
    assert main(["try.toml", "--out", "two", "--jobs", "2", "--quiet"]) == 0
    one, two = contents(here / "one"), contents(here / "two")
    assert one == two
    tables = {f"{name}.csv" for name in ("effects", "cells", "sweep", "paths", "structure")}
    assert {"experiment.html", "results.nc", "experiment.toml", *tables} <= one.keys()
    assert sum(name.startswith("cells/") and name.endswith(".nc") for name in one) == 18 + 20
    effects = pandas.read_csv(here / "one" / "effects.csv")
    results = load_results(here / "one" / "results.nc")
    row = effects[
        (effects.condition == "quiet") & (effects.control == "measured") & (effects.readout == "active")
    ].iloc[0]
    difference = (results.active - results.base_active).sel(condition="quiet", control="measured")
    assert row.effect == pytest.approx(float(difference.isel(population=0).mean()))
    kept, lost = (here / "one" / "cells" / f"quiet-{name}_seed1.nc" for name in ("measured", "shuffled"))
    before, content = kept.stat().st_mtime_ns, lost.read_bytes()
    lost.unlink()
    more = ["--jobs", "1", "--seeds", "3", "--set", "condition.more.from=driven"]
    assert main(["try.toml", "--out", "one", "--quiet", *more]) == 0
    assert kept.stat().st_mtime_ns == before
    assert lost.read_bytes() == content
    assert load_results(here / "one" / "results.nc").sizes["condition"] == 4
    for change in ("condition.quiet.silence=class == 'KC'", "duration_ms=70"):
        assert main(["try.toml", "--out", "one", "--quiet", "--set", change]) == 2
        assert "--out must hold no experiment with other options" in capsys.readouterr().err


def test_what_a_new_user_types(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands of the room's page, as they stand there, on a table that somebody has annotated."""
    rng = np.random.default_rng(0)
    kind = np.array(["PN"] * 8 + ["LN"] * 20 + ["KC"] * 72)
    source, target = (pair.ravel() for pair in np.divmod(rng.choice(100 * 100, 2000, replace=False), 100))
    table = pandas.DataFrame({"source": source, "target": target, "weight": rng.geometric(0.05, 2000)})
    table.to_csv(tmp_path / "fly.csv", index=False)
    releases = np.where(kind == "LN", "gaba", "acetylcholine")
    pandas.DataFrame({"name": range(100), "class": kind, "transmitter": releases}).to_csv(
        tmp_path / "fly_nodes.csv", index=False
    )
    page = (ROOT / "connectome" / "experiment" / "README.md").read_text("utf-8")
    (block,) = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    commands = block.strip().splitlines()
    assert len(commands) <= 5
    monkeypatch.chdir(tmp_path)
    for command in commands:
        program, is_ours, arguments = command.partition("python -m sims.experiment ")
        if not is_ours:
            subprocess.run(["bash", "-c", program], check=True)
            continue
        assert main(shlex.split(arguments)) == 0
        assert "arning" not in capsys.readouterr().err
    effects = pandas.read_csv(tmp_path / "runs" / "lesion" / "effects.csv")
    lesioned = effects[(effects.condition == "silenced") & (effects.control == "measured")]
    assert lesioned[lesioned.value == "LN"].effect.isna().all()
    assert lesioned[lesioned.value == "KC"].effect.notna().any()
    assert "lesion 20 cells" in (tmp_path / "runs" / "lesion" / "experiment.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.toml"], "none.toml must be there; found no such file. Begin with --draft"),
        (["try.toml", "--seeds", "0"], "--seeds must be 1 or more; found 0"),
        (["try.toml", "--jobs", "-1"], "--jobs must be 1 or more; found -1"),
        (["try.toml", "--set", "x"], "--set must be key=value; found 'x'"),
        (["try.toml", "--set", "x=1"], "try.toml: experiment must have no keys but"),
        (["try.toml", "--set", "connectome="], "try.toml: connectome must be a file, or the name"),
        (["try.toml", "--set", "connectome=no.csv"], "must be a file, a run's folder or the name of a measured"),
        (["try.toml", "--out", "try.toml"], "--out must be a folder that can be written"),
        (["try.toml", "--draft", "brain.h5"], "SPEC.toml must not exist already"),
        (["new.toml", "--draft", "no.h5"], "must be a file, a run's folder or the name of a measured"),
    ],
)
def test_options_that_cannot_be(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
    assert {p.name for p in here.iterdir()} <= {"brain.h5", "brain.sonata", "try.toml"}
