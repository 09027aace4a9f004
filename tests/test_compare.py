"""The program that compares: numbers against the library, sentences against numbers, every message for a mistake."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from connectome import Connectome, EdgeSet, Region
from connectome.analysis.comparison import degree_correlation, distances
from connectome.analysis.measure import known_metrics
from connectome.analysis.nulls import normalised
from connectome.analysis.simple_graph import simple_graph
from connectome.io.results import load_results
from connectome.io.snapshot import load, save
from sims.compare import COMPARED, main


def ring(n: int, shortcuts: int) -> Connectome:
    """Each neuron joined both ways to its four neighbours on a ring, which makes triangles; some pairs at random."""
    rng = np.random.default_rng(0)
    i = np.repeat(np.arange(n), 4)
    j = (i + np.tile([-2, -1, 1, 2], n)) % n
    i, j = np.append(i, rng.integers(0, n, shortcuts)), np.append(j, rng.integers(0, n, shortcuts))
    angle = 2 * np.pi * np.arange(n) / n
    place = 100 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    edges = EdgeSet.from_arrays(("a", "local", "a"), i, j, 1.0, n_source=n, n_target=n, dt_ms=0.1)
    return Connectome.of([Region("a", n, position_um=place)], [edges])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """A ring, one with shortcuts, and a smaller ring."""
    folder = tmp_path_factory.mktemp("graphs")
    for name, graph in (("ring", ring(40, 8)), ("world", ring(40, 60)), ("small", ring(20, 0))):
        save(graph, folder / f"{name}.h5")
    return str(folder / "ring.h5"), str(folder / "world.h5"), str(folder / "small.h5")


QUICK = ["--metrics", "reciprocity,clustering_binary_directed,motif_frequency,density", "--nulls", "5", "--seed", "3"]


def test_the_numbers_are_those_of_the_library(files: tuple[str, str, str], tmp_path: Path) -> None:
    out = tmp_path / "compared.nc"
    assert main([*files[:2], *QUICK, "--null", "spatial", "--out", str(out), "--quiet"]) == 0
    found = load_results(out)
    graphs = [simple_graph(load(path)) for path in files[:2]]
    for row, graph in enumerate(graphs):
        expected = normalised(graph, known_metrics()["motif_frequency"], "spatial", 5, 3)
        cells = found.isel(graph=row).sel(metric=found.metric.str.startswith("motif"))
        np.testing.assert_array_equal(cells.value, expected.value)
        np.testing.assert_array_equal(cells.null_mean, expected.mean)
        np.testing.assert_array_equal(cells.z, expected.z)
        assert np.isnan(found.isel(graph=row).sel(metric="density").z)  # every null has it
    gaps = distances(*graphs)
    assert found.ks_distance.values.tolist() == list(gaps)
    assert found.energy == gaps.energy
    assert found.degree_correlation.values[0] == pytest.approx(degree_correlation(graphs[0], graphs[1]).pearson)
    assert found.attrs["null_keeps"]
    assert found.sizes["metric"] == 1 + 1 + 13 + 1


def test_directions_can_be_kept(files: tuple[str, str, str], tmp_path: Path) -> None:
    out = tmp_path / "compared.nc"
    assert main([*files[:2], *QUICK, "--directed", "--out", str(out), "--quiet"]) == 0
    graphs = [simple_graph(load(path)) for path in files[:2]]
    assert load_results(out).ks_distance.values.tolist() == list(distances(*graphs, directed=True))


def test_a_graph_and_itself(files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([files[1], files[1], *QUICK]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "(A)" in shown
    assert "The energy is 0: the distributions compared are the same" in shown
    assert "degrees correlate with r = 1.00" in shown
    assert "Above their nulls in both: reciprocity, clustering_binary_directed (mean)" in shown


def test_what_is_said_of_graphs_that_differ(files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([files[0], files[2], *QUICK]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "The graphs differ in size (40 and 20 nodes)" in shown
    assert "No nodes are known to be the same" in shown
    assert "By chance alone about 14 % of numbers are" in shown  # with five nulls
    assert "This is one pair of graphs" in shown


def test_all_that_is_compared_unless_named(files: tuple[str, str, str], tmp_path: Path) -> None:
    assert set(COMPARED) <= set(known_metrics())
    out = tmp_path / "compared.csv"
    assert main([*files[:2], "--nulls", "2", "--out", str(out), "--quiet"]) == 0
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert sum(r["name"] == "modularity" for r in rows) == 2
    (energy,) = (float(r["value"]) for r in rows if r["name"] == "energy")
    assert 0 < energy <= 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--nulls", "1"], "--nulls must be 2 or more"),
        (["--seed", "-1"], "--seed must be"),
        (["--metrics", "densit"], "Did you mean density"),
        (["--metrics", "rich_club_binary"], "curves of a fixed length"),
        (["--kinds", "x"], "kinds must be"),
        (["--out", "{folder}/x.txt"], "--out must end in"),
        (["--out", "{folder}/taken.nc"], "must not exist already"),
    ],
)
def test_a_mistake_gets_one_line(
    files: tuple[str, str, str], tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken.nc").write_text("")
    assert main([*files[:2], *(a.format(folder=tmp_path) for a in arguments)]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert len(said.strip().splitlines()) == 1


def test_a_file_that_is_not_there(files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([files[0], "no such.h5"]) == 2
    said = capsys.readouterr().err
    assert "no such.h5" in said
    assert "celegans_witvliet2021_8" in said  # or the name of a reference
