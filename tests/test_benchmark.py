"""The program that measures: what it runs, what it shows and writes, and every message for a mistake. No time is
judged."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sims.benchmark
import sims.benchmarks.peers
from connectome import EdgeKey
from connectome.io.exchange import read
from connectome.models import cuba, potjans_diesmann
from connectome.simulate.runs import Stimulus, run
from sims.benchmark import main
from sims.benchmarks.annotated import write_annotated
from sims.benchmarks.bench import Bench, Spread, Table
from sims.benchmarks.delivery import compiled_limit, deliver, limit_mev_s, our_mev_s, rows
from sims.benchmarks.microcircuit import description
from sims.benchmarks.models import MODELS, compare
from sims.benchmarks.shiu2024 import shiu2024

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
NETWORK = sims.benchmarks.peers.Network("cuba", 200, 0.1, "none", 20.0)


def measure(tmp_path: Path, *arguments: str) -> dict[str, Any]:
    """The figures of a quick run."""
    out = tmp_path / "figures.json"
    assert main([*arguments, "--quick", "--repeats", "2", "--json", str(out)]) == 0
    figures: dict[str, Any] = json.loads(out.read_text())
    assert list(tmp_path.iterdir()) == [out]
    return figures


def test_networks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ours in each of its forms, with as much activity in each; several threads find the same spikes."""
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    figures = measure(tmp_path, "cuba", "brunel_dc", "--threads", "2")
    if before is not None:
        assert os.sched_getaffinity(0) == before
    shown = capsys.readouterr().out
    for name in ("cuba", "brunel_dc"):
        ((table),) = figures["models"][name]
        assert [row["simulator"] for row in table["rows"]] == ["ours", "ours, constant weights", "ours, 2 threads"]
        assert "has the same spikes" in table["note"]
        first, constant, threads = table["rows"]
        assert first["ratio"] == {"median": 1.0, "low": 1.0, "high": 1.0}
        assert first["rate_hz"] > 1
        assert constant["rate_hz"] == pytest.approx(first["rate_hz"], rel=0.25)
        assert (threads["synapses"], threads["events"]) == (first["synapses"], first["events"])
        assert f"{first['events']:,}" in shown
    assert figures["machine"]["cores"] == os.cpu_count()
    assert figures["versions"]["numpy"] == np.__version__


@needs_compiler
def test_scale(tmp_path: Path) -> None:
    delivery, large = measure(tmp_path, "scale")["models"]["scale"]
    assert [row["target_bits"] for row in delivery["rows"]] == [16, 32]
    assert all(row["share"]["low"] > 0 for row in delivery["rows"])
    (row,) = large["rows"]
    assert row["synapses"] == 2_000_000
    assert 6 <= row["bytes_per_synapse"] < 6.2
    assert row["rate_hz"] > 1


def test_an_annotated_connectome(tmp_path: Path) -> None:
    """The generator's table: ten attributes, some of each missing; and every step of the benchmark."""
    (table,) = measure(tmp_path, "annotated")["models"]["annotated"]
    assert [row["what"].partition(":")[0] for row in table["rows"]] == [
        "load the CSV files", "save a snapshot", "open it", "open it", "select", "select edges",
        "the subnetwork of those neurons", "regions from super_class",
    ]  # fmt: skip
    assert re.search(r"[1-9]\d* neurons and [1-9]\d* edges were selected", table["note"])
    write_annotated(tmp_path / "x.csv", 300, 2000)
    c = read(tmp_path / "x.csv")
    ((region,), (edges,)) = c.regions.values(), c.edges.values()
    kinds = {k: a.kind for part in (region, edges) for k, a in part.attributes.items()}
    assert sorted(kinds.values()) == ["flag", "integer", "number", "number", *["text"] * 5]
    assert len(region.attributes) + len(edges.attributes) == 10
    for attribute in (*region.attributes.values(), *edges.attributes.values()):
        assert 0 < attribute.is_missing.mean() < 0.15
    degree = np.bincount(edges.source, minlength=300)
    assert degree.std() > 0.7 * degree.mean()  # heavy tails, as measured


@pytest.mark.slow  # compiles the learning kernels
def test_training_and_pruning(tmp_path: Path) -> None:
    figures = measure(tmp_path, "train", "pruned")["models"]
    assert figures["train"][0]["rows"][0]["ratio"]["low"] > 0
    assert [row["edges"] for row in figures["pruned"][0]["rows"]][::7] == ["100%", "1%"]


@pytest.mark.slow  # compiles the learning kernels
def test_convolutions(tmp_path: Path) -> None:
    steps, memory = measure(tmp_path, "convolutions")["models"]["convolutions"]
    for row in steps["rows"]:
        assert row["torch / ours"]["low"] > 0
        ours, torchs = row["losses"].split(", ")
        assert float(ours) == pytest.approx(float(torchs), abs=2e-3), "the same network"
    small, large = memory["rows"]
    assert large["connections"] > 3 * small["connections"]
    assert large["bytes"] < small["bytes"] + 100


def test_messages(tmp_path: Path) -> None:
    delivered, whole = measure(tmp_path, "messages")["models"]["messages"]
    assert [(row["samples"], row["gradient"]) for row in delivered["rows"]] == [
        (1, "no"), (1, "yes"), (4, "no"), (4, "yes")
    ]  # fmt: skip
    for row in delivered["rows"]:
        assert row["off"] < 1e-5, "the same sums and gradients"
        assert row["ratio"]["low"] > 0
    assert whole["rows"][0]["ratio"]["low"] > 0


@needs_compiler
@pytest.mark.parametrize("n_target", [300, 70_000])
def test_the_limit_delivers(n_target: int) -> None:
    """In C arrives what should, with prefetching or without, and it is what our run is asked to deliver."""
    given = rows(200, n_target, 40, 4000)
    (edges,) = given.connectome.edges.values()
    times = np.bincount(given.neuron, minlength=200)
    wanted = np.bincount(edges.target, edges.weight * times[edges.source], n_target)
    with compiled_limit() as library:
        for ahead in (0, 4):
            np.testing.assert_allclose(deliver(library, given, ahead)[1], wanted, rtol=1e-5)
        assert limit_mev_s(library, given) > 0
    spikes = Stimulus({"sensor": ((given.step + 1) * 0.1, given.neuron)})
    assert run(given.connectome, given.duration_ms, spikes).attrs["synaptic_operations"] == given.events >= 4000
    assert our_mev_s(given) > 0


def test_no_compiler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The limit is left out, with a word; the rest is measured."""
    monkeypatch.setenv("PATH", "")
    delivery, large = measure(tmp_path, "scale")["models"]["scale"]
    assert "needs a C compiler" in delivery["note"]
    assert not delivery["rows"]
    assert large["rows"]


def fake_peer(folder: Path, body: str) -> str:
    """An interpreter that runs this instead of what it is asked to."""
    script, program = folder / "fake.py", folder / "python"
    script.write_text(f"import json, sys\n{body}\n")
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    program.chmod(0o700)
    return str(program)


def compared(peers: dict[str, str]) -> Table:
    return compare(Bench(3, 1, True, peers, None, set(), lambda _: None), NETWORK, lambda w: cuba(200, 20, weights=w))


def test_a_peer(tmp_path: Path) -> None:
    """It is told what to build, asked once a round, and compared with our round."""
    python = fake_peer(tmp_path, """
asked = json.loads(sys.argv[2])
wanted = {"peer": "nest", "network": "cuba", "n": 200, "p": 0.1, "drive": "none", "duration_ms": 20.0}
assert wanted.items() <= asked.items(), asked
print(json.dumps({"version": "Fake 1", "synapses": 4000}), flush=True)
for k, _ in enumerate(sys.stdin):
    print(json.dumps({"cpu_s": 10.0 + k, "wall_s": 1.0, "spikes": 100}), flush=True)
""")  # fmt: skip
    table = compared({"nest": python})
    ours, _, fake = table.rows
    assert fake["simulator"] == "Fake 1"
    assert fake["seconds"] == Spread(11.0, 10.0, 12.0)
    assert fake["ratio"].low >= 10 / ours["seconds"].high
    assert (fake["rate_hz"], fake["events"]) == (100 / 200 / 0.02, 100 * 4000 // 200)


@pytest.mark.parametrize("rounds", [None, 0, 1])
def test_a_peer_that_fails(tmp_path: Path, rounds: int | None) -> None:
    """At building, or in a round: the others are compared, and its last words are told."""
    answer = 'print(json.dumps({"version": "F", "synapses": 1}), flush=True)' if rounds is not None else ""
    python = fake_peer(tmp_path, f"""
{answer}
for k in range({rounds or 0}):
    sys.stdin.readline()
    print(json.dumps({{"cpu_s": 1.0, "wall_s": 1.0, "spikes": 1}}), flush=True)
sys.exit("out of luck")
""")  # fmt: skip
    table = compared({"nest": python})
    assert "nest failed: out of luck" in table.note
    assert [row["simulator"] for row in table.rows] == ["ours", "ours, constant weights"]


@pytest.mark.parametrize("rounds", [0, 1, 2])
def test_the_fly_beside_its_peer(tmp_path: Path, rounds: int) -> None:
    """It is asked for what ours is asked for, of files that there are; one that fails is left out, and that is said."""
    python = fake_peer(tmp_path, f"""
asked = json.loads(sys.argv[2])
import os
import re
assert {{"Connectivity_783.parquet", "Completeness_783.csv"}} <= set(os.listdir(asked["folder"])), asked
assert len(set(asked["cells"])) == 20 and asked["rate_hz"] == 150 and asked["duration_ms"] == 100
said = {{"version": "Fake 1", "read_s": 2.0, "compile_s": 7.0, "first_result_s": 20.0, "spikes": 300}}
print(json.dumps(said), flush=True)
for k in range({rounds}):
    sys.stdin.readline()
    print(json.dumps({{"simulate_cpu_s": 10.0 + k}}), flush=True)
""")  # fmt: skip
    table = next(shiu2024(Bench(2, 1, True, {"brian2": python}, None, set(), lambda _: None)))
    ours, *theirs = table.rows
    assert ours["spikes"] > 250, "of 20 cells that fire at 150 Hz for 100 ms"
    assert ours["first_result_s"] >= sum(ours[name] for name in ("import_s", "read_s", "build_s", "run_s")) > 0
    if rounds < 2:
        assert "brian2 failed: exit code 0" in table.note
        assert not theirs
        return
    (fake,) = theirs
    assert (fake["simulator"], fake["read_s"], fake["compile_s"], fake["spikes"]) == ("Fake 1", 2.0, 7.0, 300)
    assert fake["simulate_s"] == Spread(10.5, 10.0, 11.0)
    assert fake["simulate_ratio"].median > 100
    assert fake["first_result_ratio"] == 20 / ours["first_result_s"]


def test_peers_need_only_the_standard_library() -> None:
    """Their interpreters need not have NumPy, or this package."""
    tree = ast.parse(Path(sims.benchmarks.peers.__file__).read_text())
    imported = {alias.name for node in tree.body if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in tree.body if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} <= sys.stdlib_module_names
    assert all(
        f'"{name}"' in Path(sims.benchmarks.peers.__file__).read_text()
        for name, _ in sims.benchmarks.peers.PEERS.values()
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cuba", "cubism"], "MODEL must be one of cuba, cuba40k"),
        (["--repeats", "0"], "--repeats must be in 1 .. 1000"),
        (["--threads", "0"], "--threads must be in 1 .. 256"),
        (["--peers", "brian"], "--peers must be auto, none, or some of brian2"),
        (["--peers", "nest,"], "--peers must be auto, none, or some of brian2"),
        (["--peer-python", "nest"], "--peer-python must be NAME=PATH"),
        (["--peer-python", "neuron=x"], "--peer-python must be NAME=PATH"),
        (["--peer-python", "nest=/nowhere/python"], "--peer-python must be a program that can be run"),
        (["--peer-python", "nest=."], "--peer-python must be a program that can be run"),
        (["--json", "/nowhere/figures.json"], "--json must be a file in a folder that can be written"),
        (["--json", "."], "--json must be a file in a folder that can be written"),
    ],
)
def test_mistakes(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.startswith("benchmark: ")
    assert not said.out


def test_what_exists_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text("mine")
    assert main(["cuba", "--quick", "--json", str(tmp_path / "a.json")]) == 2
    assert "--json must not exist already" in capsys.readouterr().err
    assert (tmp_path / "a.json").read_text() == "mine"


def test_a_peer_that_is_not_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    python = fake_peer(tmp_path, "sys.exit(1)")
    assert main(["cuba", "--peer-python", f"nest={python}"]) == 2
    assert "must be a Python that has nest" in capsys.readouterr().err
    monkeypatch.setattr(sims.benchmark, "find_spec", lambda _: None)
    assert main(["cuba", "--peers", "pygenn"]) == 2
    assert "--peer-python pygenn=PATH" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "pygenn" in capsys.readouterr().out


def test_microcircuit(tmp_path: Path) -> None:
    """With either drive, beside what was published; at this scale it has other rates, and none with a steady drive."""
    tables = measure(tmp_path, "microcircuit")["models"]["microcircuit"]
    assert [t["title"].split(", ")[1] for t in tables[::2]] == ["drive poisson", "drive dc"]
    for cost, activity in zip(tables[::2], tables[1::2], strict=True):
        assert cost["rows"][0]["neurons"] == 1544
        names = [row["population"] for row in activity["rows"]]
        assert names == [a + b for a in ("L23", "L4", "L5", "L6") for b in "EI"]
    assert sum(row["rate_hz"] > 0 for row in tables[1]["rows"]) > 4


def test_what_nest_is_told_of_the_microcircuit() -> None:
    """Of each pair of populations as many synapses as ours has, and of the same strength."""
    model = potjans_diesmann(0.02)
    populations, projections = description(model)
    assert [p["n"] for p in populations] == [part.stop - part.start for _, part in model.populations.values()]
    assert sum(p["number"] for p in projections) == model.connectome.n_edges
    names = list(model.populations)
    one = next(p for p in projections if (names[p["source"]], names[p["target"]]) == ("L4I", "L23E"))
    edges = model.connectome.edges[EdgeKey("L4", "long_range", "L23")]
    mine = (edges.source >= populations[2]["n"]) & (edges.target < populations[0]["n"])
    assert one["number"] == mine.sum()
    assert one["weight_pa"] == pytest.approx(edges.weight[mine].mean(dtype=float))
    assert one["delay_ms"] == 0.75


def test_models_of_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert all(name in shown for name in (*MODELS, "microcircuit", *sims.benchmarks.peers.PEERS))
