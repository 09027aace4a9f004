"""Wrong arguments and files at every program: exit code 2, one line that says what is wrong, and nothing written.

Where a program asks for something, it is given each of :data:`FILES`; where it writes, each of :data:`OUTS`; besides,
what only it can be told.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from connectome import Connectome, EdgeSet, Provenance, Region
from connectome.io.graph_files import write_graphml
from connectome.io.snapshot import save
from connectome.io.spikes import save_spikes
from connectome.simulate.runs import run

HUGE = "9" * 30

#: What stands where a file should, and what each program says of it (by "" what most say).
FILES = {
    "missing": "missing.h5",
    "a folder without anything": "folder",
    "an empty file": "empty.h5",
    "text": "text.h5",
    "a snapshot cut short": "short.h5",
    "a snapshot with a flipped bit": "flipped.h5",
    "another HDF5 file": "other.h5",
    "an ending that nobody knows": "file.xyz",
    "no ending": "file",
    "text that is not UTF-8": "latin.csv",
    "a link to nowhere": "nowhere.h5",
    "a link to itself": "loop.h5",
    "a device": "/dev/null",
    "a file where a folder should be": "text.h5/x.h5",
    "a name too long": "x" * 300 + ".h5",
    "an empty name": "",
    "a newline in its name": "a\nb.h5",
    "a name that is not UTF-8": "\udcff.h5",
}
#: Where nothing can be written.
OUTS = {
    "a folder that is not there": "none/x",
    "a file for a folder": "text.h5/x",
    "a file that exists": "taken",
    "a folder": "taken_folder",
    "a name too long": "x" * 300,
}
PATHS = ["--paths-from", "index == 0", "--paths-to", "index == 1"]
GROUPS = ["--first", "good.graphml", "good.graphml", "--second", "good.graphml", "good.graphml"]
#: How a program is told its file, and where to write; the ending of that; what it needs besides.
INPUTS = {
    "summarize": ["FILE"],
    "simulate": ["FILE", "--duration-ms", "1"],
    "simulate spikes": ["good.h5", "--spikes", "FILE", "--duration-ms", "1"],
    "analyze": ["FILE"],
    "compare": ["good.h5", "FILE"],
    "groups": ["--first", "good.h5", "good.h5", "--second", "good.h5", "FILE"],
    "export": ["FILE", "--out", "new.gml"],
    "export spikes": ["FILE", "--out", "new.nwb"],
    "grow": ["good.graphml", "--from", "FILE"],
    "report": ["FILE", "--out", "new.html"],
    "report reference": ["good.graphml", "--out", "new.html", "--reference", "FILE"],
    "verify": ["FILE"],
    "runs compare": ["--compare", "FILE"],
    "runs remove": ["--remove", "FILE", "--yes"],
    "develop": ["--config", "FILE", "--out", "new"],
    "develop wiring": ["--wiring", "FILE", "--out", "new"],
    "develop resume": ["--resume", "FILE"],
    "experiment": ["FILE", "--dry-run"],
    "experiment connectome": ["trial.toml", "--dry-run", "--set", "connectome=FILE"],
    "experiment draft": ["new.toml", "--draft", "FILE"],
    "propagation": ["FILE", "--out", "new"],
    "propagation graph": ["atlas.npz", "--out", "new", "--graph", "FILE"],
    "populations": ["FILE", "--dry-run"],
    "populations compare": ["far.graphml", "--dry-run", "--compare", "FILE"],
}
OUTPUTS = {
    "simulate": (["good.h5", "--duration-ms", "1", "--no-raster", "--out", "OUT"], ".h5"),
    "simulate raster": (["good.h5", "--duration-ms", "1", "--raster", "OUT"], ".png"),
    "analyze": (["good.graphml", "--metrics", "density", "--out", "OUT"], ".csv"),
    "analyze lives": (["good.graphml", "--metrics", "density", "--lives", "OUT"], ".csv"),
    "analyze paths": (["good.graphml", *PATHS, "--paths-out", "OUT"], ".csv"),
    "compare": (["good.graphml", "good.graphml", "--metrics", "density", "--out", "OUT"], ".nc"),
    "groups": ([*GROUPS, "--metrics", "density", "--permutations", "9", "--out", "OUT"], ".csv"),
    "export": (["good.graphml", "--out", "OUT"], ".gexf"),
    "export beside": (["good.graphml", "--out", "OUT"], ".csv"),
    "export spikes": (["fired.h5", "--out", "OUT"], ".nwb"),
    "grow": (["good.graphml", "--from", "good.graphml", "--out", "OUT"], ".nc"),
    "report": (["good.graphml", "--out", "OUT"], ".html"),
    "populations": (["far.graphml", "--dry-run", "--network", "OUT"], ".h5"),
    "benchmark": (["cuba", "--quick", "--json", "OUT"], ".json"),
}
#: What else, and what is said of it.
OTHERS = {
    "groups": [
        ([], "--first"), ([*GROUPS, "--t", "nan"], "--t"), ([*GROUPS, "--permutations", HUGE], "--permutations"),
        ([*GROUPS, "--seed", "-1"], "--seed"), ([*GROUPS, "--kinds", "far"], "far"), (GROUPS[:3], "--second"),
        ([*GROUPS, "--threshold", "density=nan"], "density"), ([*GROUPS, "--tail", "left"], "--tail"),
    ],
    "develop": [
        (["--regions", "smell"], "regions must be known; found 'smell'"),
        (["--device", "abacus"], "--device must be one that torch has here, such as cpu or cuda; found abacus"),
        (["--set", "motor"], "--set must be table.key=value; found 'motor'"),
        (["--set", "training.motor=0"], "configuration: training.motor must be at least 1"),
        (["--regions", ""], "regions must name at least one"),
        (["--regions", "perception,perception"], "must not repeat"),
        (["--regions", "interaction"], "must have perception and motor before"),
        (["--seed", "-1"], "--seed"), (["--seed", HUGE], "--seed"), (["--seed", "nan"], "--seed: invalid int"),
        (["--checkpoint-every", "nan"], "--checkpoint-every"), (["--checkpoint-every", "-1"], "--checkpoint-every"),
        (["--engine", "abacus"], "--engine: invalid choice"), (["--colour", "red"], "unrecognized"),
        (["--config", "unknown.toml"], "unknown.toml: anatomy must have no keys but"),
        (["--config", "table.toml"], "table.toml must have no tables but"),
        (["--config", "type.toml"], "type.toml: training.batch must be of type int"),
        (["--config", "range.toml"], "range.toml: anatomy.local_density must be"),
        (["--config", "/dev/zero"], "more than 1,048,576 bytes"),
        (["--config", "wiring.toml"], "text.h5 must be an HDF5 file"),
        (["--config", "nan.toml"], "nan.toml: anatomy.local_gain must be finite"),
        (["--out", "text.h5"], "--out must be a folder that can be written"), (["--out", "text.h5/x"], "--out"),
        (["--out", "x" * 300], "x" * 300),
        (["--resume", "folder", "--seed", "3"], "--resume must come without"),
    ],
    "summarize": [([], "required"), (["run", "folder"], "no results.nc in it"), (["foreign"], "foreign")],
    "simulate": [
        ([], "required"), (["good.h5", "--duration-ms", "nan"], "--duration-ms"),
        (["good.h5", "--duration-ms", "-5"], "--duration-ms"), (["good.h5", "--duration-ms", "1e30"], "duration"),
        (["good.h5", "--duration-ms", "0.05"], "duration_ms"), (["good.h5", "--skip-ms", "inf"], "--skip-ms"),
        (["good.h5", "--seed", "-1"], "--seed"), (["good.h5", "--seed", HUGE], "--seed"),
        (["good.h5", "--threads", "0"], "--threads"), (["good.h5", "--threads", HUGE], "threads"),
        (["good.h5", "--drive", "nose:poisson=3"], "nose"), (["good.h5", "--drive", "a:poisson=nan,1"], "--drive"),
        (["good.h5", "--drive", "a:current=1e999"], "--drive"), (["good.h5", "--drive", "a"], "--drive"),
        (["good.h5", "--drive", "a:poisson=-1,5"], "--drive"), (["good.h5", "--dtype", "int"], "--dtype"),
        (["good.h5", "--out", "spikes.txt"], "--out must end in .h5"),
        (["good.h5", "--set", "gain=2"], "--set must go with --physiology"),
        (["good.h5", "--stimulate", "index == 0"], "--stimulate must go with --physiology"),
        (["good.h5", "--calibrate", "edge"], "--calibrate must go with --physiology"),
        (["good.h5", "--physiology", "fish"], "physiology must be among shiu2024"),
        (["good.h5", "--physiology", "range.toml"], "range.toml must have a table [physiology]; found anatomy"),
        (["good.h5", "--physiology", "nowhere.toml"], "nowhere.toml must be a readable TOML file"),
        (["good.h5", "--physiology", "mammal", "--set", "gain"], "--set must be key=value"),
        (["good.h5", "--physiology", "mammal", "--set", "gain=-1"], "physiology.gain must be a finite number > 0"),
        (["good.h5", "--physiology", "mammal", "--calibrate", "nan"], "--calibrate must be a rate in Hz, or edge"),
        (["good.h5", "--physiology", "mammal", "--stimulate-hz", "-1"], "--stimulate-hz must be 0 .. 10,000"),
        (["good.h5", "--physiology", "mammal", "--stimulate", "index >"], "query"),
        (["good.h5", "--physiology", "mammal", "--set", "sign_by=", "--stimulate", "index > 1e6"], "for some cells"),
    ],
    "benchmark": [
        (["chess"], "MODEL must be one of"), (["--repeats", "0"], "--repeats"), (["--repeats", HUGE], "--repeats"),
        (["--threads", "-1"], "--threads"), (["--peers", "chess"], "--peers"),
        (["--peer-python", "x"], "--peer-python"), (["--peer-python", "nest=/nowhere"], "--peer-python"),
        (["cuba", "--repeats", "x"], "--repeats"),
    ],
    "analyze": [
        ([], "PATH"), (["good.h5", "--metrics", "beauty"], "beauty"), (["good.h5", "--metrics", ""], "metric"),
        (["good.h5", "--kinds", "far"], "far"), (["good.h5", "--kinds", ""], "kind"),
        (["good.h5", "--seed", "-1"], "--seed"), (["good.h5", "--seed", HUGE], "--seed"),
        (["good.h5", "--nodes"], "--nodes"), (["good.h5", "--out", "x.txt"], "--out must end in"),
        (["good.h5", "--out", "x.csv", "--lives", "x.csv"], "--lives"),
        (["good.h5", "--paths-from", "index == 0"], "--paths-from must go with --paths-to"),
        (["good.h5", "--paths-to", "index == 0"], "--paths-to must go with --paths-from"),
        (["good.h5", "--hops", "3"], "--hops must go with --paths-from"),
        (["good.h5", *PATHS, "--hops", "0"], "--hops must be 1 .. 1,000"),
        (["good.h5", *PATHS, "--n-paths", HUGE], "--n-paths must be"),
        (["good.h5", *PATHS, "--paths-out", "x.txt"], "--paths-out must end in .csv"),
        (["good.h5", "--paths-from", "index ==", "--paths-to", "index == 1"], "--paths-from: query"),
        (["good.h5", "--paths-from", "index == 0", "--paths-to", "index == 9"], "--paths-to must find at least one"),
        (["good.h5", "--paths-from", "region == 'eye'", "--paths-to", "index == 1"], "--paths-from must find nodes"),
    ],
    "compare": [
        (["good.h5"], "required"), (["good.h5", "good.h5", "--metrics", "beauty"], "beauty"),
        (["good.h5", "good.h5", "--null", "hope"], "--null"), (["good.h5", "good.h5", "--nulls", "1"], "--nulls"),
        (["good.h5", "good.h5", "--nulls", "-3"], "--nulls"), (["good.h5", "good.h5", "--seed", "-1"], "--seed"),
        (["good.h5", "good.h5", "--kinds", "far"], "far"), (["good.h5", "good.h5", "--out", "x.txt"], "--out"),
    ],
    "export": [
        ([], "required"), (["good.h5", "--out", "x.xyz"], "must end in one of"), (["good.h5", "--out", ""], "--out"),
        (["good.h5", "--out", "x.gml", "--format", "word"], "--format"),
        (["good.h5", "--out", "x.gml", "--regions", "nose"], "--regions must be among"),
        (["good.h5", "--out", "x.gml", "--kinds", "far"], "--kinds must be among"),
        (["good.h5", "--out", "x.gml", "--stage", "3"], "--stage must go with"),
        (["run", "--out", "x.gml", "--stage", "9"], "--stage must be one of"),
        (["good.h5", "--out", "good.h5", "--overwrite"], "--out must not be PATH"),
        (["fired.h5", "--out", "x.nwb", "--stage", "3"], "--stage must not go with"),
        (["good.h5", "--out", "x.matrix", "--format", "matrix"], "--format"),
        (["good.h5", "--out", "x.gml", "--drive", "image:poisson=60"], "--drive must go with one of nest"),
        (["good.h5", "--out", "x.gml", "--spikes", "fired.h5"], "--spikes must go with"),
        (["good.h5", "--out", "x.gml", "--duration-ms", "5"], "--duration-ms must go with"),
        (["good.h5", "--out", "x.nest.py", "--drive", "nose:current=1"], "--drive must name a region"),
        (["good.h5", "--out", "x.nest.py", "--seed", "-1"], "--seed"),
        (["good.h5", "--out", "x.nest.py", "--duration-ms", "nan"], "duration_ms"),
        (["good.h5", "--out", "x.txt", "--format", "brian2"], "must end in .py"),
        (["good.h5", "--out", "run", "--format", "nest"], "--out must not exist"),
        (["good.h5", "--out", "x.nest", "--format", "nest", "--kinds", "local"], "--kinds must not go with a folder"),
        (["good.graphml", "--out", "x.nest", "--format", "nest"], "HDF5"),
    ],
    "grow": [
        ([], "required"), (["good.graphml", "--from", "far.graphml"], "nodes"),
        (["good.graphml", "--from", "good.graphml", "--rules", "hope"], "hope"),
        (["good.graphml", "--from", "good.graphml", "--runs", "0"], "--runs"),
        (["good.graphml", "--from", "good.graphml", "--etas", "1:x:3"], "--etas"),
        (["good.graphml", "--from", "good.graphml", "--etas", "nan:1:3"], "--etas"),
        (["good.graphml", "--from", "good.graphml", "--gammas", "0:1:99999"], "--gammas"),
        (["good.graphml", "--from", "good.graphml", "--seed", "-1"], "--seed"),
        (["good.graphml", "--from", "good.graphml", "--threads", "0"], "--threads"),
    ],
    "report": [
        ([], "required"), (["good.graphml", "--out", "x.pdf"], "--out must end in .html"),
        (["good.graphml", "--seed", "-1"], "--seed"), (["good.graphml", "--seed", HUGE], "--seed"),
    ],
    "study": [
        ([], "required"), (["everything"], "invalid choice"), (["STUDY", "--seeds", "0"], "--seeds"),
        (["STUDY", "--jobs", "-1"], "--jobs"), (["STUDY", "--conditions", "hope"], "--conditions must be among"),
        (["STUDY", "--conditions", ""], "--conditions"), (["STUDY", "--out", "text.h5"], "--out"),
        (["STUDY", "--out", "text.h5/x"], "--out"), (["STUDY", "--out", "x" * 300], "--out"),
        (["STUDY", "--seeds", "x"], "--seeds"), (["STUDY", "--seeds", "3-2"], "--seeds"),
        (["STUDY", "--cells", "HUGE"], "--cells"),
    ],
    "experiment": [
        ([], "required"), (["trial.toml", "--seeds", "0"], "--seeds"), (["trial.toml", "--jobs", "-2"], "--jobs"),
        (["trial.toml", "--seeds", "x"], "--seeds"), (["trial.toml", "--cells", "-"], "--cells"),
        (["trial.toml", "--set", "seeds"], "--set must be key=value"),
        (["trial.toml", "--set", f"seeds={HUGE}"], "trial.toml: seeds must be an integer"),
        (["trial.toml", "--set", "duration_ms=nan"], "trial.toml: duration_ms must be a finite number"),
        (["trial.toml", "--set", "duration_ms=0.05"], "duration_ms must be a whole number of steps"),
        (["trial.toml", "--set", "condition.x=3"], "condition.x must be a table"),
        (["trial.toml", "--set", "condition.x.silence=3"], "condition.x.silence must be a table"),
        (["trial.toml", "--set", "condition.x.silence=class"], "condition.x.silence: query 'class'"),
        (["trial.toml", "--set", "sweep.silence_each=role == 'x'"], "sweep.silence_each must find at least one cell"),
        (["trial.toml", "--set", "physiology=hope"], "physiology must be among"),
        (["trial.toml", "--set", "readouts.by=['hope']"], "readouts.by must be region, or attributes"),
        (["trial.toml", "--out", "text.h5"], "--out"), (["trial.toml", "--out", "text.h5/x"], "--out"),
        (["trial.toml", "--out", "x" * 300], "--out"), (["trial.toml", "--draft", "good.h5"], "must not exist already"),
        (["none/x.toml", "--draft", "good.h5"], "must be a file in a folder that can be written"),
    ],
    "propagation": [
        ([], "required"), (["atlas.npz", "--graph", "good.h5"], "labels"), (["atlas.npz", "--seeds", "0"], "--seeds"),
        (["atlas.npz", "--nulls", "-1"], "--nulls"), (["atlas.npz", "--draws", "1"], "--draws"),
        (["atlas.npz", "--gain", "nan"], "--gain"), (["atlas.npz", "--rate-hz", "-1"], "--rate-hz"),
        (["atlas.npz", "--duration-ms", "0"], "--duration-ms must be more than 0"),
        (["atlas.npz", "--jobs", "0"], "--jobs"),
        (["atlas.npz", "--physiology", "hope"], "physiology must be among"), (["atlas.npz", "--set", "gain"], "--set"),
        (["atlas.npz", "--set", "gain=-1"], "physiology.gain"),
    ],
    "populations": [
        ([], "required"), (["good.h5"], "regions[eye].role must be neuron"),
        (["far.graphml", "--out", "text.h5"], "--out"), (["far.graphml", "--out", "text.h5/x"], "--out"),
        (["far.graphml", "--jobs", "0"], "--jobs"), (["far.graphml", "--seeds", HUGE], "--seeds"),
        (["far.graphml", "--duration", "nan"], "--duration"), (["far.graphml", "--tr", "inf"], "--tr"),
        (["far.graphml", "--size", HUGE], "--size"), (["far.graphml", "--coupling", "nan"], "--coupling"),
        (["far.graphml", "--length-scale", "0"], "--length-scale"), (["far.graphml", "--null", ""], "--null"),
        (["far.graphml", "--set", "neuron.tau_m_ms=-1"], "--set neuron.tau_m_ms"),
        (["far.graphml", "--set", "size"], "--set must be key=value"),
    ],
    "runs": [
        (["good.h5"], "FOLDER must be a folder"), (["--remove"], "FOLDER must be given"), (["--yes"], "--remove"),
        (["--remove", "run", "--yes"], "must be the folder of a run"), (["--remove", "--compare", "run"], "--compare"),
    ],
    "verify": [([], "required"), (["foreign"], "foreign"), (["run"], "with a manifest.json; found none")],
}  # fmt: skip


def cases() -> Iterator[object]:
    for name, arguments in INPUTS.items():
        for kind, file in FILES.items():
            if name == "develop" and file in ("empty.h5", "/dev/null"):  # every number keeps its default
                continue
            told = [a.replace("FILE", file) for a in arguments]
            named = Path(file).name[:50] if file.isprintable() else ""
            yield pytest.param(name.split()[0], told, named, id=f"{name}: {kind}")
    for name, (arguments, suffix) in OUTPUTS.items():
        for kind, out in OUTS.items():
            told = [out + suffix if a == "OUT" else a for a in arguments]
            option = told[told.index(out + suffix) - 1]
            yield pytest.param(name.split()[0], told, option, id=f"{name}: {option} {kind}")
    for name, others in OTHERS.items():
        for told, message in others:
            short = " ".join(told).replace(HUGE, "HUGE").replace("x" * 300, "LONG")
            yield pytest.param(name, told, message, id=f"{name} {short}")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with whole files and with broken ones."""
    place = tmp_path_factory.mktemp("files")
    edges = EdgeSet.from_arrays(("a", "local", "a"), [0, 1, 2], [1, 2, 3], n_source=4, n_target=4, dt_ms=0.1)
    inward = EdgeSet.from_arrays(("eye", "afferent", "a"), [0, 1], [1, 2], n_source=2, n_target=4, dt_ms=0.1)
    regions = [Region("eye", 2, "sensor"), Region("a", 4, position_um=np.arange(12, dtype=np.float64).reshape(4, 3))]
    whole = Connectome.of(regions, [edges, inward], dt_ms=0.1, provenance=Provenance(stage=1, stage_name="a"))
    save(whole, place / "good.h5")
    write_graphml(whole, place / "good.graphml")
    write_graphml(Connectome.of([Region("b", 3)], dt_ms=0.1), place / "far.graphml")
    save_spikes(run(whole, 1.0), place / "fired.h5")
    square = np.ones((3, 3))
    np.savez(
        place / "atlas.npz", neuron=np.array(list("abc")), wt_dFF=square, wt_q=square, wt_q_eq=square,
        wt_occ1=square.astype(int),
    )  # fmt: skip
    (place / "run").mkdir()
    save(whole, place / "run" / "01_a.h5")
    data = (place / "good.h5").read_bytes()
    (place / "short.h5").write_bytes(data[: len(data) // 2])
    flipped = bytearray(data)
    flipped[data.index(b"birth_stage") + 2] ^= 1
    (place / "flipped.h5").write_bytes(flipped)
    with h5py.File(place / "other.h5", "w") as file:
        file["x"] = np.arange(3)
    (place / "foreign").mkdir()
    shutil.copy(place / "other.h5", place / "foreign" / "results.nc")
    (place / "empty.h5").touch()
    for name in ("text.h5", "file.xyz", "file", "a\nb.h5"):
        (place / name).write_text("hello\n")
    (place / "latin.csv").write_bytes("source,target\nM\u00fcller,b\n".encode("latin-1"))
    (place / "nowhere.h5").symlink_to("nothing")
    (place / "loop.h5").symlink_to("loop.h5")
    (place / "folder").mkdir()
    for suffix in {suffix for _, suffix in OUTPUTS.values()}:
        (place / f"taken{suffix}").write_text("mine\n")
        (place / f"taken_folder{suffix}").mkdir()
    texts = {
        "unknown": "[anatomy]\nneuron = 3", "table": "[magic]\n", "type": "[training]\nbatch = 'x'",
        "range": "[anatomy]\nlocal_density = 7", "nan": "[anatomy]\nlocal_gain = nan",
        "wiring": "[anatomy]\nwiring = 'text.h5'",
        "trial": "connectome = 'good.h5'\n[condition.rest]\n",
    }  # fmt: skip
    for name, text in texts.items():
        (place / f"{name}.toml").write_text(text)
    return place


def listing(folder: Path) -> list[tuple[str, int, int]]:
    found = []
    for place, folders, names in os.walk(folder):
        for path in (os.path.join(place, name) for name in (*folders, *names)):
            status = os.lstat(path)
            found.append((path, status.st_size, status.st_mtime_ns))
    return sorted(found)


@pytest.mark.parametrize(("name", "arguments", "message"), list(cases()))
def test_it_is_refused_in_one_line_and_nothing_is_written(
    name: str, arguments: list[str], message: str, files: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    program = importlib.import_module(f"sims.{name}")
    if name == "study":
        arguments = ["claims" if a == "STUDY" else a for a in arguments]
    monkeypatch.chdir(files)
    before = listing(files)
    try:
        code = program.main(arguments)
    except SystemExit as left:  # argparse's
        code = left.code
    said = capsys.readouterr()
    assert code == 2, said
    lines = said.err.splitlines()
    if lines[0].startswith("usage: "):
        lines = [line for line in lines if line.startswith(f"python -m sims.{name}: error: ")]
    else:
        assert lines[0].startswith(f"{name}: ")
    assert len(lines) == 1, said.err
    assert message in lines[0]
    assert "Traceback" not in said.err
    assert listing(files) == before


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read and write everything")
@pytest.mark.parametrize("name", ["simulate", "analyze", "export", "report"])
def test_what_may_not_be_read_or_written_is_refused(
    name: str, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(files / "good.h5", tmp_path / "secret.h5")
    (tmp_path / "secret.h5").chmod(0)
    (tmp_path / "closed").mkdir(mode=0o500)
    monkeypatch.chdir(tmp_path)
    program = importlib.import_module(f"sims.{name}")
    suffix = {"simulate": ".h5", "analyze": ".csv", "export": ".gml", "report": ".html"}[name]
    for file, out in (("secret.h5", f"x{suffix}"), (str(files / "good.h5"), f"closed/x{suffix}")):
        assert program.main([file, "--out", out]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "secret.h5" in error or "--out" in error


@pytest.mark.parametrize("arguments", [["export", "short.h5", "--out", "new.gml"], ["analyze", "\udcff.h5"]])
def test_the_process_says_it_too(arguments: list[str], files: Path) -> None:
    root = Path(__file__).parents[1]
    command = [sys.executable, "-m", f"sims.{arguments[0]}", *arguments[1:]]
    done = subprocess.run(
        command, cwd=files, capture_output=True, timeout=120, check=False, env=os.environ | {"PYTHONPATH": str(root)}
    )
    error = done.stderr.decode()
    assert (done.returncode, done.stdout) == (2, b""), error
    assert re.fullmatch(rf"{arguments[0]}: .*\n", error), error
