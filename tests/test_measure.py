"""One dataset of metrics: what is where, what is left out, what a package adds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings

from connectome import Connectome, ConnectomeError, EdgeSet, Provenance, Region
from connectome.analysis import measure as module
from connectome.analysis.measure import LIMIT_S, WHOLE, choose, expected_s, known_metrics, measure
from connectome.analysis.simple_graph import simple_graph
from connectome.io.results import load_results, save_results
from sims.analyze import main as analyze
from tests.strategies import connectomes


def two_stages() -> list[Connectome]:
    """Region a, then a and b: two edges in a, one of them a duplicate later; a loop; two edges from a to b."""
    a, b = (
        Region("a", 3, position_um=np.array([[0.0, 0, 0], [3, 0, 0], [3, 4, 0]])),
        Region("b", 2, position_um=np.zeros((2, 3))),
    )
    in_a = EdgeSet.from_arrays(
        ("a", "local", "a"), [0, 1, 2], [1, 2, 2], [1.0, -2.0, 9.0], n_source=3, n_target=3, dt_ms=0.1
    )
    a_to_b = EdgeSet.from_arrays(
        ("a", "long_range", "b"), [0, 0, 2], [0, 0, 1], [1.0, 1.5, 4.0], n_source=3, n_target=2, dt_ms=0.1
    )
    first = Connectome.of([a], [in_a], provenance=Provenance(stage_name="one"))
    return [first, Connectome.of([a, b], [in_a, a_to_b], provenance=Provenance(stage_name="two"))]


def test_stages_and_regions() -> None:
    found = measure(two_stages(), ["density", "degree", "wiring_cost", "length_quantiles"], nodes=True)
    assert found.stage.values.tolist() == ["one", "two"]
    assert found.region.values.tolist() == [WHOLE, "a", "b"]
    assert found.n_edges.values.tolist() == [[2, 2, 0], [4, 2, 0]]
    assert found.n_loops.values.tolist() == [1, 1]
    assert found.n_parallel.values.tolist() == [0, 1]
    np.testing.assert_allclose(found.density, np.array([[2 / 6, 2 / 6, math.nan], [4 / 20, 2 / 6, 0]]))
    # The mean over a region's nodes of what they have in the whole graph.
    np.testing.assert_allclose(found.degree, np.array([[4 / 3, 4 / 3, math.nan], [8 / 5, 6 / 3, 1]]))
    np.testing.assert_array_equal(found.degree_of_node, [[1, 2, 1, math.nan, math.nan], [2, 2, 2, 1, 1]])
    assert found.node_region.values.tolist() == ["a", "a", "a", "b", "b"]
    assert found.node_number.values.tolist() == [0, 1, 2, 0, 1]
    np.testing.assert_allclose(found.wiring_cost, np.array([[7, 7, math.nan], [12, 7, 0]]))
    np.testing.assert_allclose(found.length_quantiles.sel(stage="two", quantile=1.0), np.array([5, 4, math.nan]))
    assert found.wiring_cost.attrs["units"] == "um"
    assert {"definition", "source", "of"} <= set(found.degree.attrs)


def test_one_graph_is_a_course_of_one() -> None:
    second = two_stages()[1]
    of_connectome = measure(second, ["degree"], stages=["two"])
    xr.testing.assert_identical(of_connectome, measure(simple_graph(second), ["degree"], stages=["two"]))
    alone = measure(second, ["degree"], by_region=False)
    assert alone.degree.values.tolist() == [[8 / 5]]
    assert measure([second, second], ["degree"]).stage.values.tolist() == ["two", "two (2)"]


def test_every_metric_says_what_it_is_and_gives_what_it_says() -> None:
    graph = simple_graph(two_stages()[1])
    for name, metric in known_metrics().items():
        assert metric.name == name
        assert metric.units, name
        assert metric.definition, name
        assert metric.source, name
        found = np.asarray(metric.value(graph))
        wanted = {"node": (graph.n,), "edge": (graph.n_edges,)}.get(metric.of)
        assert found.shape == wanted or (wanted is None and found.ndim <= 1), name


def test_labels_have_no_mean() -> None:
    found = measure(two_stages(), ["community"])
    assert "community" not in found
    assert found.community_of_node.dims == ("stage", "node")


@settings(max_examples=10)
@given(connectomes())
def test_everything_of_anything_is_written_and_read(c: Connectome) -> None:
    """Empty, disconnected, loops and duplicates: no metric of ours fails or warns."""
    quick = [m.name for m in known_metrics().values() if "small_world" not in m.name]
    found = measure([c], quick)
    assert set(quick) - set(found) <= {"community", "consensus_community"}
    assert float(found.n_nodes.sel(region=WHOLE)[0]) == sum(r.size for r in c.regions.values() if r.role == "neuron")


def test_a_dataset_goes_to_a_file(tmp_path: Path) -> None:
    found = measure(two_stages(), ["degree", "motif_frequency", "rich_club_binary"], nodes=True)
    save_results(found, tmp_path / "metrics.nc")
    xr.testing.assert_equal(load_results(tmp_path / "metrics.nc"), found)


def test_slow_metrics_are_left_out_of_large_graphs_unless_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT_S", 1e-5)
    found = measure(two_stages())
    assert "spectral_radius" in found.attrs["left_out"]
    assert "spectral_radius" not in found
    assert "degree" in found
    assert "spectral_radius" in measure(two_stages(), ["spectral_radius"])


def test_what_is_slow_on_a_large_graph() -> None:
    quick = {m.name for m in choose() if expected_s(m, 200_000, 9_800_000) <= LIMIT_S}
    assert {"degree", "reciprocity", "wiring_cost", "modularity", "clustering_weighted_directed"} <= quick
    assert (
        not {"rich_club_normalised", "spectral_radius", "betweenness_binary", "characteristic_path_length_binary"}
        & quick
    )
    slow = {m.name for m in choose() if expected_s(m, 5000, 250_000) > LIMIT_S}
    assert slow == {"small_world_omega", "small_world_propensity_weighted"}


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package with a metric, one under a name that is taken, one that cannot be imported, and what is none."""
    (tmp_path / "metrics_elsewhere.py").write_text(
        "from connectome.analysis.simple_graph import Metric\n"
        "mine = Metric('twice_the_nodes', 'graph', lambda g: 2.0 * g.n, '1', 'twice the nodes', 'a test')\n"
    )
    about = tmp_path / "metrics_elsewhere-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: metrics-elsewhere\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[connectome.metrics]\ntwice_the_nodes = metrics_elsewhere:mine\ndegree = metrics_elsewhere:mine\n"
        "broken = no_such_module:nothing\nodd = metrics_elsewhere:Metric.value\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("offered")
def test_a_package_adds_a_metric() -> None:
    assert measure(two_stages(), ["twice_the_nodes"]).twice_the_nodes.values[1].tolist() == [10, 6, 4]
    assert known_metrics()["degree"].definition != "twice the nodes"


@pytest.mark.usefixtures("offered")
def test_a_metric_that_cannot_be_imported_breaks_what_names_it_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "twice_the_nodes" in known_metrics()
    assert not {"broken", "odd"} & set(known_metrics())
    graph = tmp_path / "graph.csv"
    graph.write_text("source,target\na,b\nb,c\n")
    assert analyze([str(graph), "--metrics", "density"]) == 0
    assert analyze(["--list-metrics"]) == 0
    assert "broken: metrics.broken must be something that can be imported" in capsys.readouterr().out
    for name, said in {
        "broken": "metrics.broken must be something that can be imported; found no_such_module:nothing of metrics-els",
        "odd": "metrics.odd must be a Metric; found function",
        "brokem": "Did you mean broken",
    }.items():
        assert analyze([str(graph), "--metrics", f"density,{name}"]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"metrics": ["degre"]}, "Did you mean degree"),
        ({"metrics": ["no such thing at all"]}, "There are: n_nodes"),
        ({"stages": ["a"]}, "must be 2 different names"),
        ({"stages": ["a", "a"]}, "must be 2 different names"),
        ({"seed": -1}, "seed must be"),
        ({"kinds": ["locale"]}, "kinds must be"),
    ],
)
def test_what_is_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConnectomeError, match=says):
        measure(two_stages(), **arguments)
    with pytest.raises(ConnectomeError, match="must be a graph"):
        measure([])
