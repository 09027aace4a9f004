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
from pathlib import Path

import pytest

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


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with the package, as pip leaves it."""
    place = tmp_path / "site"
    about = place / "one_file-1.2.dist-info"
    about.mkdir(parents=True)
    shutil.copy(SOURCE, place)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: one-file\nVersion: 1.2\n")
    (about / "entry_points.txt").write_text(ENTRIES)
    (about / "top_level.txt").write_text("one_file\n")
    (about / "RECORD").write_text("")
    (tmp_path / "c.toml").write_text(CONFIGURATION)
    return place


def program(site: Path, name: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{site}"}
    return subprocess.Popen(
        [sys.executable, "-m", f"sims.{name}", *arguments], cwd=site.parent, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def done(process: subprocess.Popen[str], code: int = 0) -> str:
    out, error = process.communicate(timeout=600)
    assert process.returncode == code, error
    return out + error


DEVELOP = ("--regions", "halves", "--config", "c.toml", "--engine", "torch", "--quiet")


def test_a_package_of_one_file_is_developed_with_resumed_and_reported(site: Path) -> None:
    done(program(site, "develop", *DEVELOP, "--out", "whole/run"))
    broken = program(site, "develop", *DEVELOP, "--out", "broken/run", "--checkpoint-every", "0", "--no-report")
    while not list(site.parent.glob("broken/run/checkpoints/0000001?.h5")):
        assert broken.poll() is None, broken.communicate()
        time.sleep(0.02)
    broken.kill()
    broken.wait()
    for pipe in (broken.stdout, broken.stderr):
        assert pipe is not None
        pipe.close()
    done(program(site, "develop", "--resume", "broken/run", "--quiet"))
    for name in ("00_birth.h5", "01_halves.h5", "results.nc", "report.html"):
        whole, resumed = (site.parent / run / "run" / name for run in ("whole", "broken"))
        assert whole.read_bytes() == resumed.read_bytes(), name
    said = done(program(site, "verify", "whole/run"))
    assert "bit-identical" in said
    listed = json.loads(done(program(site, "mechanisms", "--json")))
    ours = {about["name"]: about for about in listed if about["package"] == "one-file 1.2"}
    assert set(ours) >= {"set", "rigl", "projection", "variability", "halved", "perfect", "halves", "slower", "signed"}
    assert "Mocanu et al. 2018" in ours["set"]["line"]
    assert [p["name"] for p in ours["rigl"]["parameters"]] == ["fraction", "candidates"]


def test_a_run_notices_that_the_package_has_changed(site: Path) -> None:
    broken = program(site, "develop", *DEVELOP, "--out", "broken/run", "--checkpoint-every", "0", "--no-report")
    while not list(site.parent.glob("broken/run/checkpoints/*.h5")):
        assert broken.poll() is None, broken.communicate()
        time.sleep(0.02)
    broken.kill()
    broken.communicate()
    source = site / "one_file.py"
    source.write_text(source.read_text() + "\n# Another version.\n")
    said = done(program(site, "develop", "--resume", "broken/run", "--quiet"), 2)
    assert re.search(r"--resume must be with the versions and data that the run began with; found .*one_file:", said)


def test_a_plug_in_that_cannot_be_imported_breaks_what_names_it_alone(site: Path) -> None:
    said = done(program(site, "develop", *DEVELOP, "--out", "x", "--set", "training.diagnostics=broken"), 2)
    assert said.count("\n") == 1
    assert "diagnostics.broken must be something that can be imported" in said


def test_no_mechanism_there_is_longer_than_forty_lines() -> None:
    tree = ast.parse(SOURCE.read_text("utf-8"))
    lengths = {
        n.name: (n.end_lineno or 0) - n.lineno + 1 for n in tree.body if isinstance(n, (ast.ClassDef, ast.FunctionDef))
    }
    assert max(lengths.values()) <= 40, lengths
