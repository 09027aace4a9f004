"""Cells on a Dask cluster: a scheduler and two workers on this machine. More is broken in ``tests.kill_cluster``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from connectome import ConnectomeError
from connectome.plugins import package_versions
from sims.studies.cells import Cell, Study, run_cells
from sims.studies.sharing import shared
from sims.studies.workers import _checked, _said, on_cluster
from tests.kill_runs import contents

dask = pytest.importorskip("dask", reason="needs Dask, of the extra `dask`")
distributed = pytest.importorskip("distributed", reason="needs Dask, of the extra `dask`")
ROOT = Path(__file__).parents[1]


def slow(cell: Cell, options: Mapping[str, Any]) -> xr.Dataset:
    """A cell that takes a while, and notes which process has begun it."""
    Path(options["out"], f"{cell.file}.{os.getpid()}").touch()
    time.sleep(0.4)
    return xr.Dataset({"score": cell.seed / 3, "curve": ("x", np.arange(3.0) + cell.seed), "name": ("x", list("abc"))})


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The file of a scheduler that has two workers, of which each test below leaves less, and its process."""
    place = tmp_path_factory.mktemp("cluster")
    file = place / "scheduler.json"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    words = [["scheduler", "--host", "127.0.0.1", "--port", "0"]]
    words += [["worker", "--nthreads", "1", "--no-nanny", "--local-directory", str(place)]] * 2
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "dask", *each, "--no-dashboard", "--scheduler-file", str(file)],
            env=environment, stderr=subprocess.DEVNULL,
        )
        for each in words
    ]  # fmt: skip
    try:
        while not file.exists():
            time.sleep(0.05)
        yield str(file), processes[0]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def study(folder: Path) -> Study:
    folder.mkdir(exist_ok=True)
    return Study("Of sleep.", ("a", "b"), slow, lambda results: [], seeds=4, options={"out": str(folder)})


def test_a_killed_worker_s_cells_are_done_again(tmp_path: Path, cluster: tuple[str, Any]) -> None:
    begun, ours, killed = tmp_path / "begun", study(tmp_path / "begun"), ""
    with shared(tmp_path / "cluster") as folder:
        for _ in run_cells(ours, ours.cells(), folder, 1, cluster[0]):
            at = [path.suffix[1:] for path in begun.iterdir() if not (folder.path / "cells" / path.stem).exists()]
            if not killed and len({path.suffix for path in begun.iterdir()}) == 2 and at:
                killed = at[0]
                os.kill(int(killed), signal.SIGKILL)
    with shared(tmp_path / "jobs") as folder:
        list(run_cells(ours, ours.cells(), folder, 2))
    assert killed
    assert contents(tmp_path / "cluster") == contents(tmp_path / "jobs")


def test_a_lost_scheduler_is_one_message(tmp_path: Path, cluster: tuple[str, Any], capfd: Any) -> None:
    """And the study goes on from what was finished."""
    ours = study(tmp_path / "begun")
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}), shared(tmp_path / "out") as folder:
        cells = run_cells(ours, ours.cells(), folder, 1, cluster[0])
        next(cells)
        cluster[1].kill()
        with pytest.raises(ConnectomeError, match=r"--scheduler must stay until all is done; .* the same command goes"):
            list(cells)
        left = len(list((folder.path / "cells").glob("*.nc")))
        assert 0 < left < 8
        assert set(run_cells(ours, ours.cells(), folder, 1)) == set(ours.cells())
    assert not capfd.readouterr().err


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "x://nowhere", "127.0.0.1"])
def test_no_scheduler_at_the_address(address: str) -> None:
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(ConnectomeError, match="--scheduler must be the address of a Dask scheduler that answers"),
        on_cluster(address),
    ):
        pass


def test_that_no_worker_has_come_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with distributed.LocalCluster(n_workers=0, processes=False, dashboard_address=None) as nobody:
        with on_cluster(nobody.scheduler_address):
            pass
        assert capsys.readouterr().err == "--scheduler: no worker has come yet; the work waits for the first.\n"
        nobody.scale(1)
        nobody.wait_for_workers(1, timeout=20)
        with on_cluster(nobody.scheduler_address):
            pass
    assert capsys.readouterr().err == ""


def test_a_worker_of_other_versions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    here, worker = package_versions(), SimpleNamespace(address="tcp://far:1", state=SimpleNamespace(nthreads=1))
    monkeypatch.setattr(distributed, "get_worker", lambda: worker)
    assert _checked(here, max, 1, 2) == 2
    with pytest.raises(ConnectomeError, match=rf"worker tcp://far:1 must have numpy 0\.1; found numpy {here['numpy']}"):
        _checked(here | {"numpy": "0.1"}, max, 1, 2)
    worker.state.nthreads = 2
    with pytest.raises(ConnectomeError, match=r"must do one cell at a time; found 2 threads. .* --nthreads 1"):
        _checked(here, max, 1, 2)


def test_what_workers_fail_by_is_said() -> None:
    missing = r"must have workers that can import .* found No module named 'sims'"
    with pytest.raises(ConnectomeError, match=missing), _said():
        raise ModuleNotFoundError("No module named 'sims'")
    with pytest.raises(ConnectomeError, match="must have workers that live"), _said():
        raise distributed.KilledWorker("cell", None, 3)
    with pytest.raises(ValueError, match="its own"), _said():
        raise ValueError("its own")
