"""The program that analyses: what it shows and writes, and every message for a mistake."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectome import Connectome, EdgeSet, Provenance, Region
from connectome.analysis.beside_nulls import beside_nulls
from connectome.analysis.between import structure_between
from connectome.analysis.measure import choose, known_metrics, measure
from connectome.analysis.nulls import null
from connectome.analysis.simple_graph import simple_graph
from connectome.analysis.thresholds import of_sign, threshold
from connectome.io.exchange import read
from connectome.io.results import load_results
from connectome.io.snapshot import load, save
from sims.analyze import COMMON, main


def stage(number: int, name: str, n_edges: int) -> Connectome:
    """Regions a and b, with more edges the later it is."""
    rng = np.random.default_rng(0)
    regions = [
        Region("a", 12, position_um=rng.normal(size=(12, 3))),
        Region("b", 8, position_um=rng.normal(size=(8, 3))),
    ]
    sizes = {"a": 12, "b": 8}
    sets = []
    for s, kind, t in (("a", "local", "a"), ("a", "long_range", "b"), ("b", "local", "b")):
        i, j = rng.integers(0, sizes[s], 60)[:n_edges], rng.integers(0, sizes[t], 60)[:n_edges]
        sets.append(
            EdgeSet.from_arrays(
                (s, kind, t), i, j, rng.normal(size=60)[:n_edges], n_source=sizes[s], n_target=sizes[t], dt_ms=0.1
            )
        )
    return Connectome.of(regions, sets, provenance=Provenance(stage=number, stage_name=name))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two stages."""
    folder = tmp_path_factory.mktemp("run")
    save(stage(0, "birth", 20), folder / "00_birth.h5")
    save(stage(1, "vision", 40), folder / "01_vision.h5")
    return folder


QUICK = ["--metrics", "degree,density,motif_frequency,rich_club_binary"]


def test_the_stages_of_a_run_beside_each_other(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run), *QUICK]) == 0
    shown = capsys.readouterr().out
    assert "birth" in shown
    assert "vision" in shown
    assert "motif_frequency 5 030T" in shown
    assert "rich_club_binary, highest over k" in shown
    assert "Edges since the graph before" in shown
    born = next(line for line in shown.splitlines() if "local born" in line)
    assert born.split()[-2:] == ["40", "edges"]


def test_what_is_written_is_what_is_measured(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "metrics.nc"
    assert main([str(run), *QUICK, "--by-region", "--nodes", "--out", str(out), "--quiet"]) == 0
    stages = [load(run / "00_birth.h5"), load(run / "01_vision.h5")]
    expected = measure(stages, QUICK[1].split(","), nodes=True)
    assert load_results(out).equals(expected)


def test_csv_has_a_row_for_each_number(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "metrics.csv"
    assert main([str(run / "01_vision.h5"), *QUICK[:1], "density,motif_frequency", "--out", str(out), "--quiet"]) == 0
    with out.open() as file:
        rows = list(csv.DictReader(file))
    measured = measure(load(run / "01_vision.h5"), ["density", "motif_frequency"], by_region=False)
    (density,) = (float(r["value"]) for r in rows if r["metric"] == "density")
    assert density == measured.density.item()
    counts = [float(r["value"]) for r in rows if r["metric"] == "motif_frequency"]
    assert counts == measured.motif_frequency.values.ravel().tolist()
    assert {r["stage"] for r in rows} == {"01_vision"}


def test_regions_have_columns(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run / "01_vision.h5"), *QUICK, "--by-region"]) == 0
    header = next(line for line in capsys.readouterr().out.splitlines() if "whole graph" in line)
    assert header.split() == ["whole", "graph", "a", "b", "units"]


def test_a_folder_that_is_a_circuit(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run / "01_vision.sonata"), "--metrics", "density"]) == 0
    assert "density" in capsys.readouterr().out


def test_the_life_of_every_edge(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "lives.csv"
    assert main([str(run), "--metrics", "density", "--lives", str(out), "--quiet"]) == 0
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 120
    assert sum(r["born_at"] == "vision" for r in rows) == 60
    assert all(r["died_at"] == "" for r in rows)


def test_the_common_metrics_are_there_and_are_shown(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert set(COMMON) <= set(known_metrics())
    assert main([str(run / "00_birth.h5")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "density" in shown
    assert "Not measured" not in shown


def test_every_metric_is_listed_with_its_definition(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list-metrics"]) == 0
    shown = capsys.readouterr().out
    assert all(f"{m.name} (of each {m.of}" in shown and m.definition in shown for m in known_metrics().values())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "PATH must be given"),
        (["no such.h5"], "no such.h5"),
        (["{empty}"], "must be a folder with snapshots"),
        (["{run}", "--metrics", "degre"], "Did you mean degree"),
        (["{run}", "--kinds", "locale"], "kinds must be"),
        (["{run}", "--seed", "-1"], "--seed must be"),
        (["{run}", "--out", "{empty}/x.txt"], "--out must end in .nc or .csv"),
        (["{run}", "--lives", "{empty}/x.nc"], "--lives must end in .csv"),
        (["{run}", "--out", "{empty}/x.csv", "--lives", "{empty}/x.csv"], "must not be the file of --out"),
        (["{run}", "--out", "{run}/taken.nc"], "must not exist already"),
        (["{run}", "--out", "{empty}/no/x.nc"], "--out must be a file in a folder"),
        (["{run}", "--nodes"], "--nodes must go with"),
        (["{run}", "--nulls", "1"], "--nulls must be 2 or more"),
        (["{run}", "--threshold", "strong"], "--threshold must be absolute=PA, density=SHARE or backbone=ALPHA"),
        (["{run}", "--threshold", "density=much"], "--threshold must be"),
        (["{run}", "--threshold", "density=2"], "density must be > 0 and at most 1"),
        (["{run}", "--null", "degree", "--metrics", "community"], "--null must go with metrics that are numbers"),
    ],
)
def test_a_mistake_gets_one_line(
    run: Path, tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "taken.nc").write_text("")
    assert main([a.format(run=run, empty=tmp_path) for a in arguments]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert len(said.strip().splitlines()) == 1
    assert (run / "taken.nc").read_text() == ""


@pytest.fixture(scope="module")
def symmetric(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undirected table of 40 cells with names, weights of both signs, and one weight that is wrong."""
    rng = np.random.default_rng(0)
    matrix = np.triu(rng.random((40, 40)) < 0.15, 1) * rng.normal(size=(40, 40)).round(3)
    matrix += matrix.T
    i, j = np.argwhere(matrix)[0]
    matrix[i, j] *= 2
    path = tmp_path_factory.mktemp("symmetric") / "tracts.csv"
    rows = (f"c{a},c{b},{matrix[a, b]}" for a, b in np.argwhere(matrix))
    path.write_text("source,target,weight\n" + "\n".join(rows) + "\n")
    return path


def test_a_graph_that_is_nearly_symmetric_is_said_to_be(symmetric: Path, capsys: pytest.CaptureFixture[str]) -> None:
    null = ["--metrics", "reciprocity,degree", "--null", "degree", "--nulls", "10"]
    assert main([str(symmetric), *null]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "The graph is symmetric but for 2 of" in shown
    assert "See --undirected." in shown
    assert main([str(symmetric), *null, "--undirected"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "symmetric but for" not in shown
    assert "reciprocity 1 1 0 - -" in shown  # every null has it


def test_numbers_beside_nulls_are_those_of_the_library(symmetric: Path, tmp_path: Path) -> None:
    metrics = ["clustering_binary_directed", "motif_frequency", "density", "community", "rich_club_peak"]
    given = [
        str(symmetric),
        "--metrics",
        ",".join(metrics),
        "--undirected",
        "--null",
        "degree",
        "--nulls",
        "19",
        "--quiet",
    ]
    assert main([*given, "--out", str(tmp_path / "x.nc")]) == 0
    graph = simple_graph(read(symmetric)).undirected
    expected = beside_nulls([graph], choose(metrics[:3]), ["tracts"], "degree", 19, 0)
    found = load_results(tmp_path / "x.nc")
    assert found.number.values.tolist() == expected.metric.values.tolist()
    for name in ("p", "z", "p_corrected", "null_mean"):
        ours = found[name if name.startswith("null") else f"null_{name}"]
        np.testing.assert_array_equal(ours.values, expected[name].values)
    assert found.attrs["null_keeps"]
    assert found.attrs["undirected"] == 1
    assert main([*given, "--out", str(tmp_path / "x.csv")]) == 0
    with (tmp_path / "x.csv").open() as file:
        rows = [r for r in csv.DictReader(file) if r["label"] == "null_p" and r["metric"].startswith("clustering")]
    assert [float(r["value"]) for r in rows] == [float(expected.p[0, 0])]


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--signs", "negative"], lambda g: of_sign(g, "negative")),
        (["--undirected", "--threshold", "density=0.1"], lambda g: threshold(g.undirected, "density", 0.1)),
        (["--signs", "positive", "--threshold", "absolute=0.7"],
         lambda g: threshold(of_sign(g, "positive"), "absolute", 0.7)),
        (["--threshold", "backbone=0.2"], lambda g: threshold(g, "backbone", 0.2)),
    ],
)  # fmt: skip
def test_parts_of_a_graph(symmetric: Path, tmp_path: Path, options: list[str], part: Any) -> None:
    out = tmp_path / "x.nc"
    assert main([str(symmetric), "--metrics", "n_edges,strength,n_nodes", "--out", str(out), "--quiet", *options]) == 0
    expected = part(simple_graph(read(symmetric)))
    found = load_results(out)
    assert found.n_edges.item() == expected.n_edges
    assert 0 < expected.n_edges < simple_graph(read(symmetric)).n_edges
    assert found.n_nodes.item() == expected.n == read(symmetric).n_neurons
    assert found.strength.item() == pytest.approx(2 * np.abs(expected.weight).sum() / expected.n)


def test_nodes_are_written_with_their_names(symmetric: Path, tmp_path: Path) -> None:
    out = tmp_path / "x.nc"
    assert main([str(symmetric), "--metrics", "degree", "--nodes", "--out", str(out), "--quiet"]) == 0
    found = load_results(out)
    (region,) = read(symmetric).regions.values()
    assert region.label is not None
    assert found.node_label.values.tolist() == region.label.tolist()
    assert found.node_label[7] == "c15"


def test_what_is_being_measured_is_said(symmetric: Path) -> None:
    told: list[str] = []
    measure(read(symmetric), ["degree", "n_nodes", "density"], on_metric=told.append)
    assert told == ["degree (1 of 2)", "density (2 of 2)"]


def test_paths_between_two_queries(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Printed and written, against nulls; metrics only where they are named."""
    asked = [str(run), "--paths-from", "region == 'a' and index < 3", "--paths-to", "region == 'b'", "--hops", "2"]
    out = tmp_path / "paths.csv"
    assert main([*asked, "--n-paths", "2", "--null", "degree", "--nulls", "5", "--paths-out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "strongest 1: a " in shown
    assert "%-> b " in shown
    assert "density" not in shown
    with open(out) as file:
        paths = list(csv.DictReader(file))
    with open(tmp_path / "paths_structure.csv") as file:
        structure = list(csv.DictReader(file))
    graph = simple_graph(load(run / "01_vision.h5"))
    start, end = np.arange(20) < 3, np.arange(20) >= 12
    expected = structure_between(graph, [null(graph, "degree", k) for k in range(5)], start, end, 2)
    mine = [row for row in structure if row["stage"] == "vision"]
    assert [row["what"] for row in mine] == expected.what.tolist()
    assert [float(row["p"]) for row in mine] == expected.p.tolist()
    best = [row for row in paths if (row["stage"], row["kind"], row["path"]) == ("vision", "strongest", "1")]
    np.testing.assert_allclose(
        np.prod([float(row["input_share"]) for row in best[1:]]), expected.value[1]
    )  # the product of its shares
    assert main([*asked, "--metrics", "density"]) == 0
    shown = capsys.readouterr().out
    assert "without nulls" in shown
    assert "density" in shown
