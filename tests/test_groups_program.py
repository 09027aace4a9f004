"""The program that compares groups: its numbers are the library's, it says what it finds, mistakes get a line."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from connectome.analysis.groups import network_based_statistic, permutation_test, subjects
from connectome.analysis.measure import known_metrics
from connectome.analysis.simple_graph import SimpleGraph, simple_graph
from connectome.io.exchange import read
from connectome.io.results import load_results
from sims.groups import METRICS, main

N, QUICK = 16, ["--metrics", "density,strength", "--permutations", "99", "--t", "2.5"]


@pytest.fixture(scope="module")
def groups(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], list[str]]:
    """Two groups of eight tables of tracts; among the first five nodes those of the first group are stronger. Nodes are
    in another order in each file, and some have one that others do not."""
    folder = tmp_path_factory.mktemp("groups")
    rng = np.random.default_rng(3)
    there = np.triu(rng.random((N, N)) < 0.6, 1)
    there[:5, :5] = np.triu(np.ones((5, 5), bool), 1)
    paths: tuple[list[str], list[str]] = ([], [])
    for group in range(2):
        for k in range(8):
            weight = there * rng.lognormal(2, 0.2, (N, N))
            weight[:5, :5] *= 1.6 if group == 0 else 1
            rows = [f"n{j},n{i},{weight[i, j]}\nn{i},n{j},{weight[i, j]}" for i, j in np.argwhere(there)]
            rows += [f"own{k},n1,1\nn1,own{k},1"]
            path = folder / f"{group}_{k}.csv"
            path.write_text("source,target,weight\n" + "\n".join(rng.permutation(rows)) + "\n")
            paths[group].append(str(path))
    return paths


def graphs_of(paths: list[str]) -> list[SimpleGraph]:
    found = []
    for path in paths:
        graph = simple_graph(read(path))
        assert graph.label is not None
        keep = np.array([name.startswith("n") for name in graph.label.tolist()])
        number = np.cumsum(keep) - 1
        edge = keep[graph.source] & keep[graph.target]
        ends = number[graph.source[edge]], number[graph.target[edge]]
        found.append(SimpleGraph.from_arrays(N, *ends, weight=graph.weight[edge], label=graph.label[keep]))
    return found


def test_the_numbers_are_those_of_the_library(
    groups: tuple[list[str], list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "found.nc"
    assert main(["--first", *groups[0], "--second", *groups[1], *QUICK, "--out", str(out)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    graphs, group = graphs_of([*groups[0], *groups[1]]), np.repeat([0, 1], 8)
    expected = network_based_statistic(subjects(graphs), group, 2.5, n_permutations=99)
    assert "8 and 8 subjects; 16 nodes that all have, 1 left out" in shown
    assert f"Component 1: {expected.components[0].edge.size} edges" in shown
    assert "n0 - n1" in shown
    found = load_results(out)
    np.testing.assert_array_equal(found.edge_t, expected.t)
    np.testing.assert_array_equal(found.largest, expected.largest)
    assert found.component_p[0] == expected.components[0].p == 0.01
    planted = found.source.isin([f"n{i}" for i in range(5)]) & found.target.isin([f"n{i}" for i in range(5)])
    assert ((found.edge_component == 1) & planted).sum() == 10
    strength = known_metrics()["strength"].function
    values = np.array([[strength(g).mean()] for g in graphs])
    np.testing.assert_allclose(found.value.sel(metric="strength (mean)"), values[:, 0])
    test = permutation_test(values, group, n_permutations=99)
    assert found.metric_t.sel(metric="strength (mean)").item() == pytest.approx(test.t[0])
    assert np.isnan(found.metric_p.sel(metric="density"))  # the same in all


def test_edges_are_written(groups: tuple[list[str], list[str]], tmp_path: Path) -> None:
    out = tmp_path / "found.csv"
    given = ["--first", *groups[0], "--second", *groups[1], *QUICK, "--tail", "greater", "--size", "intensity"]
    assert main([*given, "--paired", "--out", str(out), "--quiet"]) == 0
    with out.open() as file:
        rows = [row for row in csv.DictReader(file) if row["component"] == "1"]
    assert {(r["source"], r["target"]) for r in rows} >= {("n0", "n1"), ("n0", "n2"), ("n1", "n2")}
    assert all(float(r["t"]) > 2.5 and float(r["mean_first_pa"]) > float(r["mean_second_pa"]) for r in rows)
    assert float(rows[0]["p"]) <= 0.05


def test_nothing_differs_from_itself(groups: tuple[list[str], list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--first", *groups[0], "--second", *groups[0], *QUICK[2:], "--metrics", "modularity"]) == 0
    assert ": none." in " ".join(capsys.readouterr().out.split())
    assert set(METRICS) <= set(known_metrics())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--first must be two graphs or more; found none"),
        (["--first", "{a}", "{b}", "--second", "{a}"], "--second must be two graphs or more"),
        (["--first", "{a}", "{b}", "--second", "{a}", "no.csv"], "no.csv"),
        (["--first", "{a}", "{b}", "--second", "{a}", "{b}", "{a}", "--paired"], "as many graphs in both groups"),
        (["{both}", "--t", "0"], "--t must be"),
        (["{both}", "--permutations", "0"], "--permutations must be"),
        (["{both}", "--metrics", "community"], "--metrics must be numbers"),
        (["{both}", "--metrics", "rich_club_binary"], "--metrics must be numbers"),
        (["{both}", "--threshold", "x"], "--threshold must be"),
        (["{both}", "--out", "{folder}/x.txt"], "--out must end in .nc or .csv"),
        (["--first", "{a}", "{b}", "--second", "{other}", "{other}"], "must have two or more nodes in common; found 0"),
    ],
)
def test_a_mistake_gets_one_line(
    groups: tuple[list[str], list[str]], tmp_path: Path, arguments: list[str], says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "other.csv").write_text("source,target\nx,y\ny,z\n")
    names = {"a": groups[0][0], "b": groups[0][1], "folder": tmp_path, "other": tmp_path / "other.csv"}
    if arguments[:1] == ["{both}"]:
        arguments = ["--first", "{a}", "{b}", "--second", "{a}", "{b}", *arguments[1:]]
    assert main([a.format(**names) for a in arguments]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert len(said.strip().splitlines()) == 1
