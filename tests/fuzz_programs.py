"""Damaged files for every program, end to end: each must do its work, or say in one line what it cannot use.

    python -m tests.fuzz_programs                        100,000 inputs over all programs
    python -m tests.fuzz_programs --readers report --inputs 2000

As :mod:`tests.fuzz_readers`, whose findings these are too, with an exit code and what is printed besides: a finding is
a program that ends otherwise than with 0, 1 (where it has one) or 2, with 2 and not one line, with a line to stderr and
0, or with a traceback. Every program that reads files is here, with each of its options that takes one; mechanisms and
benchmark read none. Inputs are runs, finished and not, snapshots, tables, configurations, experiments, cells of
studies; digests of what was damaged are put right, and a damaged configuration is put wherever a run keeps it, so that
what reads behind them is reached. Cells of studies are computed in the same process.

A program that does its work takes up to a second, one that refuses a file some milliseconds: the former get fewer
inputs.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import numpy as np

from connectome import ConnectomeError
from tests.fuzz_readers import READERS, Reader, main, tables
from tests.mutations import Tree

__all__ = ["PROGRAMS"]

_PLACE: Final = "/dev/shm" if os.path.isdir("/dev/shm") else tempfile.gettempdir()
_WRITES: Final = f"{_PLACE}/fuzz_programs_"
_TINY: Final = """[anatomy]
neurons = 12
[training]
perception = 2
motor = 2
epoch_updates = 1
batch = 4
validation_trials = 4
[data]
test_trials = 4
"""


def _program(
    name: str, *options: str, goes_on: bool = False, codes: Sequence[int] = (0,), notes: int = 0
) -> Callable[[Path], Any]:
    """Run a program on an input, in an empty folder or, if it ``goes_on``, in a copy of the input; IN in its options
    is the input. It may end with these ``codes`` or 2, and say so many ``notes`` to stderr."""

    def call(path: Path) -> Any:
        out, here = Path(f"{_WRITES}{os.getpid()}"), os.getcwd()
        shutil.rmtree(out, ignore_errors=True)
        if goes_on:
            shutil.copytree(path, out)
        else:
            out.mkdir()
        try:
            os.chdir(out)
            code, lines, printed = _ran(name, [o.replace("IN", str(path)) for o in options])
        finally:
            os.chdir(here)
            shutil.rmtree(out, ignore_errors=True)
        assert "Traceback" not in printed, printed[-500:]
        assert all(line.startswith(f"{name}: ") for line in lines), f"exit code {code}: {lines[:3]}"
        if code == 2 and 1 <= len(lines) <= 1 + notes:
            raise ConnectomeError(f"{path}: {lines[-1]}", "(as the program said)", "it")
        assert code in codes, f"exit code {code}, {len(lines)} lines: {lines[:2]}"
        assert len(lines) <= notes, f"exit code {code}: {lines[:3]}"

    return call


def _ran(name: str, options: list[str]) -> tuple[int, list[str], str]:
    """The exit code, and what it says to stderr and to stdout."""
    said, printed = io.StringIO(), io.StringIO()
    program = import_module(f"sims.{name}")
    with (
        patch("sims.studies.cells.run_cells", _cells_here), patch("tempfile.tempdir", os.getcwd()),
        contextlib.redirect_stderr(said), contextlib.redirect_stdout(printed),
    ):  # fmt: skip
        code = program.main(options)
    return code, said.getvalue().splitlines(), printed.getvalue()


def _cells_here(study: Any, cells: Sequence[Any], folder: Any, jobs: int, scheduler: str | None) -> Iterator[Any]:
    """As :func:`sims.studies.cells.run_cells`, in this process, where it is watched."""
    from connectome.io.results import save_results
    from sims.studies.cells import _work
    from sims.studies.sharing import CELLS

    for function in vars(import_module(study.cell.__module__)).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()  # the same path is another input
    for cell in cells:
        path = folder.path / CELLS / cell.file
        if not path.exists():
            save_results(_work(study.cell, cell, dict(study.options)), path)
        yield cell


# Inputs


def _made(name: str, *options: str, files: Tree | None = None) -> Tree:
    """The files that are there when a program has run in a folder with these."""
    here = os.getcwd()
    with tempfile.TemporaryDirectory(dir=_PLACE) as place:
        for file, data in (files or {}).items():
            (Path(place) / file).write_bytes(data)
        try:
            os.chdir(place)
            code, lines, _ = _ran(name, list(options))
        finally:
            os.chdir(here)
        assert code in (0, 143), lines
        return {str(p.relative_to(place)): p.read_bytes() for p in sorted(Path(place).rglob("*")) if p.is_file()}


_DEVELOP: Final = ("--regions", "perception,motor", "--config", "tiny.toml", "--out", "run", "--quiet", "--no-report")


def _developed(*options: str) -> Tree:
    tree = _made("develop", *_DEVELOP, *options, files={"tiny.toml": _TINY.encode()})
    return {name.removeprefix("run/"): data for name, data in tree.items() if name.startswith("run/")}


@functools.cache
def _run() -> Mapping[str, bytes]:
    """A finished run of two small regions."""
    return _developed()


@functools.cache
def _stopped() -> Mapping[str, bytes]:
    """A run that was ended by SIGTERM in its second stage."""
    from connectome.io import checkpoint
    from sims.program import Interrupted

    save = checkpoint.save_checkpoint

    def saved(made: Any, run: Path) -> None:
        save(made, run)
        if made.state is not None and (made.state.stage, made.state.update) == (2, 1):
            raise Interrupted(15)

    with patch.object(checkpoint, "save_checkpoint", saved):
        tree = _developed("--checkpoint-every", "0")
    assert any(name.startswith("checkpoints/") for name in tree)
    return tree


def _runs() -> list[Tree]:
    return [dict(_run())]


def _read_of_runs() -> list[Tree]:
    """What programs read of a run, without what is for others to read."""
    return [{name: data for name, data in _run().items() if ".sonata/" not in name and not name.endswith(".png")}]


def _snapshots() -> list[Tree]:
    return [{"input.h5": _run()["02_motor.h5"]}]


@functools.cache
def _spikes_of_a_run() -> list[Tree]:
    """A snapshot, and spikes of its sensors."""
    snapshot = {"net.h5": _run()["02_motor.h5"]}
    made = _made("simulate", "net.h5", "--duration-ms", "20", "--drive", "image:poisson=60", "--out", "spikes.h5",
                 "--no-raster", "--quiet", files=snapshot)  # fmt: skip
    return [snapshot | {"spikes.h5": made["spikes.h5"]}]


_FLY: Final[Tree] = {
    "fly.csv": b"source,target,weight\nPN,LN,3\nLN,IN1,2\nPN,IN1,9\n",
    "fly_nodes.csv": b"name,class,transmitter\nPN,PN,ach\nLN,LN,gaba\nIN1,IN,ach\n",
}


def _experiments() -> list[Tree]:
    return [{**tree, **_FLY} for tree in READERS["experiment"].seeds()]


_EXPERIMENT: Final = ("input.toml", "--out", ".", "--jobs", "1", "--quiet")


@functools.cache
def _trials() -> list[Tree]:
    """A finished experiment: its trials are read again."""
    text = b"""connectome = "fly.csv"
duration_ms = 20
seeds = 2
[physiology]
preset = "shiu2024"
[controls]
shuffled = false
random_targets = false
[condition.sugar]
stimulate = [{cells = "class == 'PN'", rate_hz = 150}]
"""
    return [_made("experiment", *_EXPERIMENT, files={"input.toml": text} | _FLY)]


def _wirings() -> list[Tree]:
    """A wiring to take regions from."""
    rows = [f"n{i},n{j},{1 + (i + j) % 3}" for i in range(12) for j in range(12) if (i * 5 + j * 3) % 4 == 1 and i != j]
    nodes = [f"n{i},{('sensory', 'inner', 'motor')[i % 3]},{('ach', 'gaba')[i % 4 == 0]}" for i in range(12)]
    config = _TINY.replace("neurons = 12\n", "wiring = 'worm.csv'\nsensory = \"class == 'sensory'\"\nsigns = 'fly'\n")
    return [{
        "worm.csv": ("source,target,weight\n" + "\n".join(rows) + "\n").encode(),
        "worm_nodes.csv": ("name,class,transmitter\n" + "\n".join(nodes) + "\n").encode(),
        "study.toml": config.encode(),
    }]  # fmt: skip


_STUDY: Final = ("wiring", "--quick", "--config", "study.toml", "--seeds", "1", "--conditions", "measured,random",
                 "--jobs", "1", "--out", ".", "--quiet")  # fmt: skip


@functools.cache
def _studies() -> list[Tree]:
    return [_made("study", *_STUDY, files=_wirings()[0])]


def _groups() -> list[Tree]:
    tables = {}
    for group in "ab":
        for k in range(3):
            more = k + 3 * (group == "a")
            rows = [f"n{i},n{j},{1 + (i * j + more) % 5}" for i in range(4) for j in range(4) if i != j]
            tables[f"{group}{k}.csv"] = ("source,target,weight\n" + "\n".join(rows) + "\n").encode()
    return [tables]


def _growth() -> list[Tree]:
    nodes = "name,x,y,z\n" + "".join(f"n{i},{i * i % 7},{i},{i % 3}\n" for i in range(9))
    old = "source,target\n" + "".join(f"n{i},n{(i + k) % 9}\n" for i in range(9) for k in (1, 2, 4))
    new = "source,target\n" + "".join(f"n{i},n{(i + 1) % 9}\n" for i in range(9))
    return [{"old.csv": old.encode(), "old_nodes.csv": nodes.encode(), "new.csv": new.encode(),
             "new_nodes.csv": nodes.encode()}]  # fmt: skip


_TRACTS: Final[Tree] = {
    "tracts.csv": b",A,B,C\nA,0,2.5,0.5\nB,2.5,0,1\nC,0.5,1,0\n",
    "fc.csv": b",A,B,C\nA,1,0.5,0.1\nB,0.5,1,0.25\nC,0.1,0.25,1\n",
}  # fmt: skip
_POPULATIONS: Final = ("tracts.csv", "--size", "5", "--set", "probability=0.5", "--delay-ms", "10", "--compare",
                       "fc.csv", "--background", "3000", "--duration", "6", "--skip", "1", "--tr", "0.5", "--seeds",
                       "1", "--null", "weights", "--nulls", "1", "--jobs", "1", "--out", ".", "--quiet")  # fmt: skip


@functools.cache
def _rested() -> list[Tree]:
    return [_made("populations", *_POPULATIONS, files=_TRACTS)]


def _atlas() -> Tree:
    """A worm of ten cells, and an atlas of it."""
    n, rng = 10, np.random.default_rng(0)
    rows = [f"N{k},N{(k + 1) % n},{3 + k % 3},0\nN{k},N{(k + 5) % n},2,{k % 5 % 2}\n" for k in range(n)]
    nodes = [f"N{k},{'gaba' if k % 4 == 3 else 'acetylcholine'}\n" for k in range(n)]
    near = np.zeros((n, n))
    near[(np.arange(n) + 1) % n, np.arange(n)] = 1
    arrays: dict[str, Any] = {
        "neuron": np.array([f"N{k}" for k in range(n)]), "wt_dFF": near + 0.1 * rng.normal(size=(n, n)),
        "wt_q": np.where(near > 0, 0.01, 0.6), "wt_q_eq": np.where(near > 0, 0.6, 0.01),
        "wt_occ1": 1 + np.eye(n, dtype=int),
    }  # fmt: skip
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return {
        "atlas.npz": buffer.getvalue(), "worm.csv": b"source,target,weight,gap_junction\n" + "".join(rows).encode(),
        "worm_nodes.csv": b"name,transmitter\n" + "".join(nodes).encode(),
        "physiology.toml": b"[physiology]\npreset = \"worm\"\ngain = 2.0\n",
    }  # fmt: skip


_PROPAGATION: Final = ("atlas.npz", "--graph", "worm.csv", "--physiology", "physiology.toml", "--gain", "20", "--seeds",
                       "1", "--nulls", "1", "--draws", "5", "--duration-ms", "20", "--jobs", "1", "--out", ".",
                       "--quiet")  # fmt: skip


@functools.cache
def _propagated() -> list[Tree]:
    return [_made("propagation", *_PROPAGATION, files=_atlas())]


def _sealed(tree: Tree) -> Tree:
    """With a damaged configuration wherever it is kept, half of the time, and with the digests of what is there, if it
    has a manifest that can be read."""
    from connectome.io.seal import MANIFEST, renew

    tree = _spread(tree)
    with (
        tempfile.TemporaryDirectory(dir=_PLACE) as place,
        contextlib.suppress(ConnectomeError, ValueError, LookupError, TypeError),
    ):
        listed = json.loads(tree[MANIFEST])["manifest"]["files"]
        for name in (MANIFEST, *set(listed) & tree.keys()):
            (Path(place) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(place) / name).write_bytes(tree[name])
            if name != MANIFEST:
                renew(Path(place), name)
        return {**tree, MANIFEST: (Path(place) / MANIFEST).read_bytes()}
    return tree


def _spread(tree: Tree) -> Tree:
    import h5py

    text = tree.get("configuration.toml", b"")
    if text == _run()["configuration.toml"] or len(text) % 2 or b"\0" in text or not text:
        return tree
    spread = dict(tree)
    for name in ("results.nc", "00_birth.h5", "01_perception.h5", "02_motor.h5"):
        if tree.get(name) != _run().get(name):
            continue  # it has damage of its own
        buffer = io.BytesIO(tree[name])
        with h5py.File(buffer, "r+") as file:
            if name == "results.nc":
                file.attrs["configuration"] = text.decode("utf-8", "replace")
            else:
                del file["development/config"]
                file["development"].create_dataset("config", data=np.array([text]), chunks=(1,), fletcher32=True)
        spread[name] = buffer.getvalue()
    return spread


_HDF5: Final = READERS["snapshot"].words
_TOML: Final = READERS["configuration"].words
_CSV: Final = READERS["csv"].words
_LITTLE: Final = ("--metrics", "density,n_nodes,spectral_radius,modularity")


def _one(command: Callable[[Path], Any], reader: str, share: float = 1.0) -> Reader:
    """The file of a reader for a program."""
    of = READERS[reader]
    return Reader(command, of.seeds, of.main, of.words, writes=_WRITES, share=share)


def _many(
    command: Callable[[Path], Any], seeds: Callable[[], list[Tree]], words: tuple[bytes, ...] = (), share: float = 1.0,
    mend: Callable[[Tree], Tree] = lambda tree: tree,
) -> Reader:  # fmt: skip
    """A folder for a program."""
    return Reader(command, seeds, "", words, mend, _WRITES, share)


_REPORT: Final = ("--out", "a.html", "--quiet")
PROGRAMS: Final[Mapping[str, Reader]] = {
    "report": _many(_program("report", "IN", *_REPORT), _read_of_runs, _HDF5 + _TOML, 0.1, _sealed),
    "report_file": Reader(_program("report", "IN", *_REPORT), _snapshots, "input.h5", _HDF5 + _TOML, writes=_WRITES,
                          share=0.1),
    "report_beside": _one(_program("report", "IN", "--reference", "IN", *_REPORT), "gexf", 0.4),
    "summarize": _many(_program("summarize", "IN"), lambda: [{"results.nc": _run()["results.nc"]}], _HDF5 + _TOML,
                       0.5),
    "runs": _many(_program("runs", "IN", "--json"), _runs, _HDF5 + _TOML, 0.3),
    "runs_compare": _many(
        _program("runs", "--compare", "IN"), lambda: [{"results.nc": _run()["results.nc"], "manifest.json": b"{}",
                                                       "configuration.toml": _TINY.encode()}], _HDF5 + _TOML, 0.2,
    ),
    "verify": _many(_program("verify", "IN", "--quick"), _runs, _HDF5 + _TOML, 0.1, _sealed),
    "verify_again": _many(_program("verify", "IN", codes=(0, 1)), _runs, _HDF5 + _TOML, 0.02, _sealed),
    "resume_finished": _many(
        _program("develop", "--resume", ".", "--quiet", "--no-report", goes_on=True, notes=1), _runs, _HDF5, 0.5,
        _sealed,
    ),
    "resume": _many(
        _program("develop", "--resume", ".", "--quiet", "--no-report", goes_on=True, notes=1),
        lambda: [dict(_stopped())], _HDF5 + _TOML, 0.1, READERS["checkpoint"].mend,
    ),
    "develop": Reader(
        _program("develop", "--regions", "perception", "--config", "IN", "--set", "training.perception=1", "--out",
                 "run", "--no-report", "--quiet"),
        lambda: [{"input.toml": _TINY.encode()}], "input.toml", _TOML, writes=_WRITES, share=0.3,
    ),
    "develop_wiring": _many(
        _program("develop", "--regions", "perception", "--config", "IN/study.toml", "--wiring", "IN/worm.csv",
                 "--set", "training.perception=2", "--out", "run", "--no-report", "--quiet"), _wirings, _CSV, 0.2,
    ),
    "develop_images": Reader(
        _program("develop", "--regions", "perception", "--set", "data.idx_folder=IN", "--set", "anatomy.neurons=12",
                 "--set", "training.perception=1", "--set", "training.batch=2", "--set", "data.test_trials=2", "--set",
                 "training.validation_trials=2", "--out", "run", "--no-report", "--quiet"),
        READERS["idx"].seeds, writes=_WRITES, share=0.3,
    ),
    "analyze": _one(_program("analyze", "IN", *_LITTLE), "csv", 1.5),
    "analyze_run": _many(_program("analyze", "IN", *_LITTLE, "--lives", "a.csv", "--out", "a.nc", "--quiet"),
                         _read_of_runs, _HDF5, 0.1),
    "compare": _one(_program("compare", "IN", "IN", "--metrics", "density", "--nulls", "2"), "graphml"),
    "groups": _many(
        _program("groups", "--first", "IN/a0.csv", "IN/a1.csv", "IN/a2.csv", "--second", "IN/b0.csv", "IN/b1.csv",
                 "IN/b2.csv", "--metrics", "density,strength", "--permutations", "9", "--out", "a.nc", "--quiet"),
        _groups, _CSV, 0.3,
    ),
    "grow": _many(
        _program("grow", "IN/old.csv", "--from", "IN/new.csv", "--fit-on", "IN/old.csv", "--rules", "matching",
                 "--runs", "2", "--search-runs", "1", "--rounds", "1", "--etas=-1:0:2", "--gammas=0:1:2",
                 "--out", "a.nc", "--quiet"), _growth, _CSV, 0.4,
    ),
    "export": Reader(_program("export", "IN", "--out", "a.graphml", "--quiet"), _snapshots, "input.h5", _HDF5,
                     writes=_WRITES, share=0.3),
    "export_folder": Reader(
        _program("export", "IN", "--format", "nest", "--out", "a.nest", "--duration-ms", "2", "--quiet"), _snapshots,
        "input.h5", _HDF5, writes=_WRITES, share=0.3,
    ),
    "export_script": _many(
        _program("export", "IN/net.h5", "--out", "a.nest.py", "--spikes", "IN/spikes.h5", "--quiet"),
        _spikes_of_a_run, _HDF5, 0.3,
    ),
    "export_spikes": _one(_program("export", "IN", "--out", "a.nwb", "--quiet"), "spikes"),
    "export_table": _one(_program("export", "IN", "--out", "a.mat", "--quiet"), "parquet"),
    "export_tvb": _one(_program("export", "IN", "--out", "a.csv", "--no-formulas", "--quiet"), "tvb"),
    "plan": Reader(_program("plan", "IN", "--json"), _snapshots, "input.h5", _HDF5, writes=_WRITES, share=0.3),
    "query": _many(_program("query", "IN", "degrees", "--json"), tables, (b"PAR1",), 0.3),
    "simulate": _one(_program("simulate", "IN", "--duration-ms", "2", "--out", "a.h5", "--quiet"), "csv", 0.5),
    "simulate_spikes": _many(
        _program("simulate", "IN/net.h5", "--spikes", "IN/spikes.h5", "--duration-ms", "20", "--out", "a.h5",
                 "--no-raster", "--quiet"), _spikes_of_a_run, _HDF5, 0.3,
    ),
    "simulate_physiology": _many(
        _program("simulate", "IN/worm.csv", "--physiology", "IN/physiology.toml", "--duration-ms", "2", "--out", "a.h5",
                 "--no-raster", "--quiet"), lambda: [_atlas()], READERS["physiology"].words,
    ),
    "experiment": Reader(_program("experiment", "IN", "--dry-run"), _experiments, "input.toml",
                         READERS["experiment"].words, writes=_WRITES),
    "experiment_draft": _one(_program("experiment", "a.toml", "--draft", "IN", "--quiet"), "csv"),
    "experiment_trials": _many(
        _program("experiment", *_EXPERIMENT, goes_on=True), _trials, _HDF5, 0.1
    ),
    "study": _many(_program("study", *_STUDY, goes_on=True), _studies, _HDF5, 0.1),
    "populations": _many(
        _program("populations", *(f"IN/{o}" if o.endswith(".csv") else o for o in _POPULATIONS), "--network", "a.h5",
                 "--dry-run"), lambda: [dict(_TRACTS)], _CSV,
    ),
    "populations_runs": _many(_program("populations", *_POPULATIONS, goes_on=True), _rested, _HDF5, 0.1),
    "propagation": _many(_program("propagation", *_PROPAGATION, goes_on=True), lambda: [_atlas()],
                         READERS["physiology"].words, 0.3),
    "propagation_wirings": _many(_program("propagation", *_PROPAGATION, goes_on=True), _propagated, _HDF5, 0.1),
}  # fmt: skip


def _warm_up() -> None:
    """Import, compile, and make the inputs, once and not in each process, on one thread: a process with others must not
    be forked."""
    import torch

    mine = os.sched_getaffinity(0)
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {min(mine)})
    for reader in PROGRAMS.values():
        reader.seeds()
    os.sched_setaffinity(0, mine)


if __name__ == "__main__":
    if "--help" not in sys.argv:
        _warm_up()
    sys.exit(main(None, PROGRAMS, "fuzz_programs"))
