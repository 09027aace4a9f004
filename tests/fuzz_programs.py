"""Damaged files for every program, end to end: each must do its work, or say in one line what it cannot use.

    python -m tests.fuzz_programs                        100,000 inputs over all programs
    python -m tests.fuzz_programs --readers report --inputs 2000

As :mod:`tests.fuzz_readers`, whose findings these are too, with an exit code and what is printed besides: a finding is
a program that ends otherwise than with 0, 1 or 2, with 2 and not one line, or with a line to stderr and 0. Inputs are
runs, snapshots, tables, configurations and experiments; digests of what was damaged are put right, so that what reads
behind them is reached.
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
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from connectome import ConnectomeError
from tests.fuzz_readers import READERS, Reader, main
from tests.mutations import Tree

__all__ = ["PROGRAMS"]

_WRITES: Final = f"{tempfile.gettempdir()}/fuzz_programs_"
_TINY: Final = """[anatomy]
neurons = 12
[training]
perception = 2
epoch_updates = 1
batch = 4
validation_trials = 4
[data]
test_trials = 4
"""


def _out() -> Path:
    """An empty folder of this process."""
    place = Path(f"{_WRITES}{os.getpid()}")
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return place


def _program(name: str, *options: str) -> Callable[[Path], Any]:
    """Run a program on an input; IN and OUT in its options are the input and an empty folder."""

    def call(path: Path) -> Any:
        out = _out()
        given = [o.replace("OUT", str(out)).replace("IN", str(path)) for o in options]
        said, printed = io.StringIO(), io.StringIO()
        program = import_module(f"sims.{name}")
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(printed):
            code = program.main(given)
        lines = said.getvalue().splitlines()
        if code == 2 and len(lines) == 1 and lines[0].startswith(f"{name}: "):
            raise ConnectomeError(f"{path}: {lines[0]}", "(as the program said)", "it")
        assert code in (0, 1), f"exit code {code}, {len(lines)} lines: {lines[:2]}"
        assert not [line for line in lines if "Traceback" in line or "Error" in line], lines[:2]

    return call


def _resumed(path: Path) -> Any:
    """Go on with a copy of a run, which is written to."""
    copy = Path(f"{_WRITES}{os.getpid()}_run")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(path, copy)
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = import_module("sims.develop").main(["--resume", str(copy), "--quiet", "--no-report"])
    lines = said.getvalue().splitlines()
    if code == 2 and lines and lines[-1].startswith("develop: "):
        raise ConnectomeError(f"{path}: {lines[-1]}", "(as the program said)", "it")
    assert code == 0, f"exit code {code}: {lines[:2]}"


@functools.cache
def _run() -> Mapping[str, bytes]:
    """A finished run of one small region."""
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "tiny.toml").write_text(_TINY)
        command = ["--regions", "perception", "--config", f"{place}/tiny.toml", "--out", f"{place}/run", "--quiet"]
        assert import_module("sims.develop").main([*command, "--no-report"]) == 0
        run = Path(place) / "run"
        return {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()}


def _runs() -> list[Tree]:
    return [dict(_run())]


def _snapshots() -> list[Tree]:
    return [{"input.h5": _run()["01_perception.h5"]}]


def _sealed(tree: Tree) -> Tree:
    """With the digests of what is there, if it has a manifest that can be read."""
    from connectome.io.seal import MANIFEST, renew

    with (
        tempfile.TemporaryDirectory() as place,
        contextlib.suppress(ConnectomeError, ValueError, LookupError, TypeError),
    ):
        listed = json.loads(tree[MANIFEST])["manifest"]["files"]
        for name in (MANIFEST, *listed.keys() & tree.keys()):
            (Path(place) / name).parent.mkdir(parents=True, exist_ok=True)
            (Path(place) / name).write_bytes(tree[name])
            if name != MANIFEST:
                renew(Path(place), name)
        return {**tree, MANIFEST: (Path(place) / MANIFEST).read_bytes()}
    return tree


_HDF5: Final = READERS["snapshot"].words
_TOML: Final = READERS["configuration"].words

PROGRAMS: Final[Mapping[str, Reader]] = {
    "report": Reader(_program("report", "IN", "--out", "OUT/a.html", "--quiet"), _runs, "", _HDF5, _sealed, _WRITES),
    "report_file": Reader(
        _program("report", "IN", "--out", "OUT/a.html", "--quiet"), _snapshots, "input.h5", _HDF5, writes=_WRITES
    ),
    "summarize": Reader(_program("summarize", "IN"), _runs, "", _HDF5, _sealed, _WRITES),
    "verify": Reader(_program("verify", "IN", "--quick"), _runs, "", _HDF5, _sealed, _WRITES),
    "resume": Reader(_resumed, _runs, "", _HDF5, _sealed, _WRITES),
    "analyze": Reader(
        _program("analyze", "IN", "--metrics", "density,n_nodes,spectral_radius,modularity"), READERS["csv"].seeds,
        "input.csv", READERS["csv"].words, writes=_WRITES,
    ),
    "compare": Reader(
        _program("compare", "IN", "celegans_white1986", "--metrics", "density"), READERS["graphml"].seeds,
        "input.graphml", READERS["graphml"].words, writes=_WRITES,
    ),
    "export": Reader(
        _program("export", "IN", "--out", "OUT/a.graphml", "--quiet"), _snapshots, "input.h5", _HDF5, writes=_WRITES
    ),
    "simulate": Reader(
        _program("simulate", "IN", "--duration-ms", "2", "--out", "OUT/a.h5", "--quiet"), READERS["csv"].seeds,
        "input.csv", READERS["csv"].words, writes=_WRITES,
    ),
    "develop": Reader(
        _program("develop", "--regions", "perception", "--config", "IN", "--set", "training.perception=1",
                 "--out", "OUT/run", "--no-report", "--quiet"),
        lambda: [{"input.toml": _TINY.encode()}], "input.toml", _TOML, writes=_WRITES,
    ),
    "experiment": Reader(
        _program("experiment", "IN", "--dry-run"),
        lambda: [{**tree, "fly.csv": b"source,target,weight\nPN,LN,3\nLN,IN1,2\nPN,IN1,9\n",
                  "fly_nodes.csv": b"name,class,transmitter\nPN,PN,ach\nLN,LN,gaba\nIN1,IN,ach\n"}
                 for tree in READERS["experiment"].seeds()],
        "input.toml", READERS["experiment"].words, writes=_WRITES,
    ),
}  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(None, PROGRAMS, "fuzz_programs"))
