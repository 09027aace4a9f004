"""A package of one file, installed beside the project: everything in it is used by name, and nothing here knows it."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from sims.develop import main as develop

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "tests" / "elsewhere" / "one_file.py"
ENTRIES = """
[connectome.rules]
set = one_file:Set
rigl = one_file:RigL
[connectome.learning]
projection = one_file:Projection
variability = one_file:WeightNoise
[connectome.views]
halved = one_file:Halved
[connectome.neurons]
perfect = one_file:Perfect
[connectome.tasks]
halves = one_file:make_halves
[connectome.comparators]
slower = one_file:slower
[connectome.importance]
signed = one_file:signed
[connectome.diagnostics]
spikes_per_edge = one_file:spikes_per_edge
broken = no_such_module:nothing
"""
CONFIGURATION = """
[anatomy]
neurons = 30
unit_weight = 3000.0
[training]
other = 18
batch = 8
epoch_updates = 6
importance = "signed"
method = "slower"
diagnostics = "spikes_per_edge, active_fraction"
[rules]
act = ["pruning", "set", "rigl"]
[rules.set]
fraction = 0.05
[learning]
chain = ["adam", "variability", "projection", "dale"]
[edges.local]
view = "halved"
[views.halved]
initial = 0.8
[regions.halves]
mode = "calm"
[regions.halves.neuron]
model = "perfect"
v_th_mv = 12.0
[tasks.halves]
units = 10
[data]
test_trials = 20
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package, as pip leaves it."""
    here = tmp_path_factory.mktemp("elsewhere")
    place = here / "site"
    about = place / "one_file-1.2.dist-info"
    about.mkdir(parents=True)
    shutil.copy(SOURCE, place)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: one-file\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text(ENTRIES)
    (about / "top_level.txt").write_text("one_file\n")
    (about / "RECORD").write_text("")
    (here / "c.toml").write_text(CONFIGURATION)
    return place


DEVELOP = ("develop", "--regions", "halves", "--config", "c.toml", "--engine", "torch", "--quiet")
#: Programs one after the other, as a person would call them, in a process that may import the package.
PROGRAM = """
import json, sys
from importlib import import_module
for name, *arguments in json.loads(sys.argv[1]):
    if code := import_module(f"sims.{name}").main(arguments):
        sys.exit(code)
"""


def programs(site: Path, *commands: Sequence[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{site}"}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(commands)], cwd=site.parent, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@pytest.fixture(scope="module")
def broken(site: Path) -> Path:
    """A run that was killed after its tenth update."""
    program = programs(site, (*DEVELOP, "--out", "broken/run", "--checkpoint-every", "0", "--no-report"))
    while not list(site.parent.glob("broken/run/checkpoints/0000001?.h5")):
        assert program.poll() is None, program.communicate()
        time.sleep(0.02)
    program.kill()
    program.communicate()
    return site.parent / "broken"


def test_a_package_of_one_file_is_developed_with_resumed_and_reported(site: Path, broken: Path) -> None:
    shutil.copytree(broken, site.parent / "resumed")
    done = programs(
        site, (*DEVELOP, "--out", "whole/run"), ("develop", "--resume", "resumed/run", "--quiet"),
        ("verify", "whole/run"), ("mechanisms", "--json"),
    )  # fmt: skip
    said, error = done.communicate(timeout=600)
    assert done.returncode == 0, error
    for name in ("00_birth.h5", "01_halves.h5", "results.nc", "report.html"):
        whole, resumed = (site.parent / run / "run" / name for run in ("whole", "resumed"))
        assert whole.read_bytes() == resumed.read_bytes(), name
    verified, listed = said.split("[\n", 1)
    assert "bit-identical" in verified
    ours = {about["name"]: about for about in json.loads("[" + listed) if about["package"] == "one-file 1.2"}
    assert set(ours) >= {"set", "rigl", "projection", "variability", "halved", "perfect", "halves", "slower", "signed"}
    assert "Mocanu et al. 2018" in ours["set"]["line"]
    assert [p["name"] for p in ours["rigl"]["parameters"]] == ["fraction", "candidates"]


def test_a_run_notices_that_the_package_has_changed(site: Path, broken: Path) -> None:
    changed = site.parent / "changed" / "site"
    shutil.copytree(site, changed)
    source = changed / "one_file.py"
    source.write_text(source.read_text() + "\n# Another version.\n")
    done = programs(changed, ("develop", "--resume", str(broken / "run"), "--quiet"))
    _, said = done.communicate(timeout=600)
    assert done.returncode == 2
    assert re.search(r"--resume must be with the versions and data that the run began with; found .*one_file:", said)


def test_a_plug_in_that_cannot_be_imported_breaks_what_names_it_alone(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The others, of the same package, are used above."""
    monkeypatch.syspath_prepend(site)
    out = str(tmp_path / "x")
    assert develop(["--regions", "motor", "--quiet", "--out", out, "--set", "training.diagnostics=broken"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "diagnostics.broken must be something that can be imported" in said


def test_no_mechanism_there_is_longer_than_forty_lines() -> None:
    tree = ast.parse(SOURCE.read_text("utf-8"))
    lengths = {
        n.name: (n.end_lineno or 0) - n.lineno + 1 for n in tree.body if isinstance(n, (ast.ClassDef, ast.FunctionDef))
    }
    assert max(lengths.values()) <= 40, lengths
