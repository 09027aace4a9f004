"""Several processes on one folder of cells."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from connectome import ConnectomeError
from sims.program import locked
from sims.studies.cells import Cell, Study, run_cells
from sims.studies.sharing import shared

ROOT = Path(__file__).parents[1]
HOLD = """
import pathlib, sys, time
from sims.studies.sharing import shared
with shared(pathlib.Path(sys.argv[1])) as folder:
    for name in sys.argv[2:]:
        assert folder.take(name)
    print("held", flush=True)
    time.sleep(300)
"""
SHARE = """
import pathlib, sys
from sims.studies.cells import run_cells
from sims.studies.sharing import shared
from tests.test_sharing import study
with shared(pathlib.Path(sys.argv[1])) as folder:
    list(run_cells(study(sys.argv[1]), study(sys.argv[1]).cells(), folder, 1))
"""


def slow(cell: Cell, options: Mapping[str, Any]) -> xr.Dataset:
    """A cell that notes which process's it is."""
    Path(options["out"], f"{cell.file}.{os.getppid()}.{os.getpid()}").touch()
    time.sleep(0.3)
    return xr.Dataset({"score": float(cell.seed)})


def study(out: str) -> Study:
    return Study("Of sleep.", ("a",), slow, lambda results: [], seeds=8, options={"out": out})


def python(script: str, *words: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", script, *words], env=environment, stdout=subprocess.PIPE, text=True)


@contextmanager
def held(folder: Path, *names: str) -> Iterator[subprocess.Popen[str]]:
    """In the block another process has these claims, until it is killed."""
    with python(HOLD, str(folder), *names) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_two_processes_share_the_cells(tmp_path: Path) -> None:
    both = [python(SHARE, str(tmp_path)) for _ in range(2)]
    for process in both:
        process.communicate()
    assert [process.returncode for process in both] == [0, 0]
    done = Counter(path.suffixes[-2] for path in tmp_path.glob("*.nc.*"))
    assert len(list((tmp_path / "cells").glob("*.nc"))) == 8
    assert sum(done.values()) == 8, "no cell twice"
    assert len(done) == 2, "each did some"


def test_the_cells_of_a_killed_process_are_free(tmp_path: Path) -> None:
    ours = study(str(tmp_path))
    first, *others = ours.cells()
    with shared(tmp_path) as folder, held(tmp_path, first.file) as process:
        cells = run_cells(ours, ours.cells(), folder, 2)
        assert {next(cells) for _ in others} == set(others)
        process.kill()
        assert list(cells) == [first]


def test_a_claim_is_one_process_s(tmp_path: Path) -> None:
    with shared(tmp_path) as folder, held(tmp_path, "", "a") as process:
        assert not folder.take("a")
        assert not folder.take(""), "alone() would wait"
        assert folder.take("b")
        process.kill()
        process.wait()
        with folder.alone():
            assert folder.take("a")


def test_a_folder_is_shared_or_one_process_s(tmp_path: Path) -> None:
    """``sims.runs --remove`` does."""
    with (
        shared(tmp_path),
        shared(tmp_path),
        pytest.raises(ConnectomeError, match="no other run"),
        locked("x", tmp_path),
    ):
        pass
    with locked("x", tmp_path), pytest.raises(ConnectomeError, match="no other run"), shared(tmp_path):
        pass


def test_without_locks_all_claims_succeed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.lockf", refuse)
    with shared(tmp_path) as folder, folder.alone():
        assert folder.take("a")
        folder.give_back("a")
