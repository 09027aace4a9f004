"""Views: exact there and back, opened by the tools they are for, and closed to what makes no sense."""

from __future__ import annotations

import gc
import io
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import xarray as xr
from hypothesis import given

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, NeuronParameters, Provenance, Region
from connectome.graph.parts import KINDS
from connectome.graph.views import (
    edge_set_to_scipy,
    from_networkx,
    from_pandas,
    from_pyg,
    from_scipy,
    to_networkx,
    to_pandas,
    to_pyg,
    to_scipy,
    to_xarray,
)
from tests.strategies import connectomes


def through_graphml(graph: nx.MultiDiGraph) -> nx.MultiDiGraph:
    file = io.BytesIO()
    nx.write_graphml(graph, file)
    file.seek(0)
    return nx.read_graphml(file, force_multigraph=True)


def through_json(graph: nx.MultiDiGraph) -> nx.MultiDiGraph:
    return nx.node_link_graph(json.loads(json.dumps(nx.node_link_data(graph, edges="edges"))), edges="edges")


def through_gml(graph: nx.MultiDiGraph) -> nx.MultiDiGraph:
    return nx.parse_gml("\n".join(nx.generate_gml(graph, stringizer=str)))


TRIPS: dict[str, Callable[[Connectome], Connectome]] = {
    "networkx": lambda c: from_networkx(to_networkx(c)),
    "graphml": lambda c: from_networkx(through_graphml(to_networkx(c))),
    "json": lambda c: from_networkx(through_json(to_networkx(c))),
    "pyg": lambda c: from_pyg(to_pyg(c)),
    "pandas": lambda c: from_pandas(*to_pandas(c)),
}


@pytest.fixture
def small() -> Connectome:
    """Two regions, a sensor and an effector, one edge set of each kind, an empty one, one with state."""
    rng = np.random.default_rng(3)
    regions = [
        Region(
            "b",
            3,
            neuron=NeuronParameters(tau_m_ms=7.3),
            position_um=rng.normal(size=(3, 3)),
            sign=np.array([1, -1, 0], np.int8),
            label=np.array(["ADAL", "", "é <1>"]),
            state={"gain": np.array([math.nan, 1, -2.5], np.float32), "known": np.full(3, math.nan, np.float32)},
        ),
        Region("a.1", 2, birth_stage=1, state={"trace": np.array([0.1, 0], np.float32)}),
        Region("eye", 2, "sensor"),
        Region("hand", 1, "effector"),
    ]

    def edges(key: tuple[str, str, str], s: list[int], t: list[int], w: list[float], **more: Any) -> EdgeSet:
        size = {r.name: r.size for r in regions}
        return EdgeSet.from_arrays(key, s, t, w, n_source=size[key[0]], n_target=size[key[2]], dt_ms=0.1, **more)

    survival = {"survival": [1, math.nan, 3, 4]}
    sets = [
        edges(("b", "local", "b"), [0, 0, 1, 2], [1, 1, 0, 0], [2.0, 0.1, -3.0, 0.0], state=survival),
        edges(("b", "long_range", "a.1"), [0, 1], [0, 1], [1.5, -1.5], delay_ms=[0.3, 6553.5], birth_stage=[1, 0]),
        edges(("a.1", "local", "a.1"), [], [], []),
        edges(("eye", "afferent", "b"), [1], [2], [5.0]),
        edges(("b", "efferent", "hand"), [2], [0], [-7.0]),
    ]  # fmt: skip
    return Connectome.of(regions, sets, provenance=Provenance(seed=1, stage=2, stage_name="motor"))


@pytest.mark.parametrize("trip", TRIPS)
@given(c=connectomes())
def test_round_trip_is_exact(trip: str, c: Connectome) -> None:
    back = TRIPS[trip](c)
    assert back.digest() == c.digest()
    assert back.provenance == c.provenance


@pytest.mark.parametrize("trip", [*TRIPS, "gml"])
def test_round_trip_keeps_extremes(small: Connectome, trip: str) -> None:
    """Several edges of one pair, nan in a state, the longest delay, an empty set, a weight of 0, names with a dot."""
    trips = TRIPS | {"gml": lambda c: from_networkx(through_gml(to_networkx(c)))}
    if trip == "gml":  # networkx writes no attribute of that name to it
        regions = [replace(r, label=None) for r in small.regions.values()]
        small = Connectome.of(regions, small.edges.values(), dt_ms=small.dt_ms, provenance=small.provenance)
    assert trips[trip](small).digest() == small.digest()


def test_methods_are_the_views(small: Connectome) -> None:
    small = replace(small, regions={**small.regions, "b": replace(small.regions["b"], state={})})  # nan is not nan
    assert nx.utils.graphs_equal(small.to_networkx().subgraph([("b", 2)]), to_networkx(small).subgraph([("b", 2)]))
    assert small.to_pyg().to_dict().keys() == to_pyg(small).to_dict().keys()
    assert (small.to_scipy() != to_scipy(small)).nnz == 0
    for mine, theirs in zip(small.to_pandas(), to_pandas(small), strict=True):
        pd.testing.assert_frame_equal(mine, theirs)
    xr.testing.assert_identical(small.to_xarray(), to_xarray(small))


# networkx


@given(connectomes())
def test_edges_are_as_networkx_would_add_them(connectome: Connectome) -> None:
    graph = to_networkx(connectome)
    added = nx.MultiDiGraph(**graph.graph)
    added.add_nodes_from(graph.nodes(data=True))
    added.add_edges_from(graph.edges(data=True))
    assert nx.utils.graphs_equal(graph, added)
    assert graph.pred == added.pred
    assert graph.number_of_edges() == connectome.n_edges
    assert gc.isenabled()


def test_networkx_says_what_there_is(small: Connectome) -> None:
    graph = to_networkx(small)
    assert math.isnan(graph.nodes["b", 1].pop("state_known"))
    assert graph.nodes["b", 1] == {
        "region": "b", "index": 1, "role": "neuron", "birth_stage": 0, "sign": -1,
        **dict(zip("xyz", small.regions["b"].position_um[1], strict=True)), "state_gain": 1.0,
    }  # fmt: skip
    assert graph.number_of_edges(("b", 0), ("b", 1)) == 2
    assert graph["b", 1]["a.1", 1][0] == {"kind": "long_range", "weight": -1.5, "delay": 65535 * 0.1, "birth_stage": 0}
    values = [v for _, d in graph.nodes(data=True) for v in d.values()]
    values += [v for _, _, d in graph.edges(data=True) for v in d.values()] + [*graph.graph.values()]
    assert {type(v) for v in values} == {str, int, float}


def test_networkx_nodes_that_are_names() -> None:
    graph = nx.DiGraph([("AVAL", "7"), ("7", "AVBR")])
    (region,) = from_networkx(graph).regions.values()
    assert region.label is not None
    assert region.label.tolist() == ["AVAL", "7", "AVBR"]
    for numbered in (nx.path_graph(3), nx.relabel_nodes(nx.path_graph(3), "n{}".format), nx.path_graph(3)):
        assert from_networkx(numbered).regions["all"].label is None


def states(c: Connectome) -> dict[str, dict[str, list[float]]]:
    return {r.name: {name: values.tolist() for name, values in r.state.items()} for r in c.regions.values()}


def test_state_of_neurons_is_where_other_tools_look(small: Connectome) -> None:
    graph, data, (nodes, _) = to_networkx(small), to_pyg(small), to_pandas(small)
    assert graph.nodes["b", 2]["state_gain"] == data["b"]["state_gain"][2] == -2.5
    assert nodes.state_gain.tolist()[2] == -2.5
    assert "state_gain" not in graph.nodes["a.1", 0]
    assert "state_gain" not in data["a.1"]
    assert nodes.state_gain[nodes.region == "a.1"].isna().all()


def test_graphs_without_a_word_on_states_have_those_that_nodes_have(small: Connectome) -> None:
    """As graphs of one's own, and as those that were written before neurons had state in them."""
    graph, (nodes, edges) = to_networkx(small), to_pandas(small)
    for header in (graph.graph, nodes.attrs):
        regions = header["regions"] if isinstance(header["regions"], list) else json.loads(header["regions"])
        header["regions"] = [{k: v for k, v in about.items() if k != "state"} for about in regions]
    for back in (from_networkx(graph), from_pandas(nodes, edges)):
        found = states(back)
        np.testing.assert_equal(found["b"], {"gain": [math.nan, 1, -2.5]})  # nothing else tells nan from none
        np.testing.assert_equal(found["a.1"], states(small)["a.1"])
    del graph.graph["regions"]
    assert list(from_networkx(graph).regions["b"].state) == ["gain"]
    for name in ("state_gain", "state_known", "state_trace"):
        del nodes[name]
    assert not any(states(from_pandas(nodes, edges)).values())


@pytest.mark.parametrize("values", [["CA", "NY"], [True, False], [None, 1.0], [[1], [2]]])
def test_an_attribute_that_is_no_number_is_no_state(values: list[Any]) -> None:
    graph = nx.path_graph(2)
    nx.set_node_attributes(graph, dict(enumerate(values)), "state_code")
    assert not from_networkx(graph).regions["all"].state
    nodes = pd.DataFrame({"region": ["all", "all"], "state_code": pd.Series(values, dtype=object)})
    assert not from_pandas(nodes, pd.DataFrame({"source": [0], "target": [1]})).regions["all"].state


def test_features_in_a_node_store_are_no_state() -> None:
    import torch

    data = to_pyg(Connectome.of([Region("a", 2)]))
    data["a"].state_features, data["a"].state_gain = torch.zeros(2, 5), torch.tensor([0.5, 1])
    assert states(from_pyg(data)) == {"a": {"gain": [0.5, 1.0]}}


def test_pyg_classes_are_no_names() -> None:
    import torch

    data = to_pyg(Connectome.of([Region("a", 2)]))
    data["a"].label = torch.tensor([0, 1])
    assert from_pyg(data).regions["a"].label is None


def test_networkx_writes_gexf(small: Connectome) -> None:
    """GEXF has no place for the graph's own attributes: region parameters and dt are lost, edges are not."""
    file = io.BytesIO()
    nx.write_gexf(to_networkx(small), file)
    file.seek(0)
    back = from_networkx(nx.read_gexf(file))
    assert {k: len(e) for k, e in back.edges.items()} == {k: len(e) for k, e in small.edges.items() if len(e)}


def test_plain_networkx_graph() -> None:
    """No attributes at all: one region, the defaults that the docstring promises, edges both ways."""
    graph = nx.karate_club_graph()
    c = from_networkx(graph, weight="no such attribute")
    edges = c.edges[EdgeKey("all", "local", "all")]
    assert list(c.regions) == ["all"]
    assert len(edges) == 2 * graph.number_of_edges()
    assert (edges.weight == 1).all()
    assert (edges.delay_steps == 1).all()
    expected = nx.to_scipy_sparse_array(graph, dtype=np.float32)
    assert (from_networkx(graph).to_scipy() != expected).nnz == 0


def test_networkx_self_loop_of_undirected_graph_is_one_edge() -> None:
    assert from_networkx(nx.Graph([(0, 0), (0, 1)])).n_edges == 3


def test_networkx_regions_by_first_appearance() -> None:
    graph = nx.DiGraph([("x", "y"), ("y", "z")])
    nx.set_node_attributes(graph, {"x": "v2", "y": "v1", "z": "v2"}, "region")
    c = from_networkx(graph, dt_ms=0.5)
    assert {n: r.size for n, r in c.regions.items()} == {"v2": 2, "v1": 1}
    assert list(c.edges) == [("v1", "long_range", "v2"), ("v2", "long_range", "v1")]
    assert c.edges[EdgeKey("v1", "long_range", "v2")].target.tolist() == [1]
    assert c.dt_ms == 0.5


def test_edited_networkx_graph_comes_back(small: Connectome) -> None:
    """Without the attribute index, nodes that are left are numbered afresh."""
    graph = to_networkx(small)
    graph.remove_node(("b", 0))
    with pytest.raises(ConnectomeError, match=r"must count 0 \.\. 1 in region 'b'.*Drop 'index'"):
        from_networkx(graph)
    for _, data in graph.nodes(data=True):
        del data["index"]
    assert from_networkx(graph).regions["b"].size == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.nodes["b", 0].pop("region"), "region"),
        (lambda g: g.nodes["b", 0].update(region=["x"]), "unhashable"),
        (lambda g: g.nodes["b", 2].update(region="no name", index=0), "letters"),
        (lambda g: g.nodes["b", 0].update(index=0.5), "integers"),
        (lambda g: g.nodes["b", 0].update(index=math.nan), "integers"),
        (lambda g: g.nodes["b", 0].update(x="left"), "numbers"),
        (lambda g: g.nodes["b", 0].update(x=math.inf), "within 1e"),
        (lambda g: g.nodes["b", 0].update(sign=2), "-1, 0"),
        (lambda g: g.add_edge(("hand", 0), ("b", 0)), "effector"),
        (lambda g: g.add_edge(("b", 0), ("eye", 0)), "sensor"),
        (lambda g: g.add_edge(("b", 0), ("b", 0), weight="strong"), "numbers"),
        (lambda g: g.add_edge(("b", 0), ("b", 0), weight=None), "finite"),
        (lambda g: g.add_edge(("b", 0), ("b", 0), weight=-1), "sign"),
        (lambda g: g.add_edge(("b", 0), ("b", 0), delay=0), "delay"),
        (lambda g: g.graph.update(regions="{"), "attributes"),
        (lambda g: g.graph.update(regions='{"a": 1}'), "attributes"),
        (lambda g: g.graph.update(regions=7), "attributes"),
        (lambda g: g.graph.update(edge_sets='[["b", "local"]]'), "attributes"),
        (lambda g: g.graph.update(edge_sets='[["q", "local", "q", []]]'), "regions"),
        (lambda g: g.graph.update(provenance='{"seed": 1}'), "attributes"),
        (lambda g: g.graph.update(dt_ms="soon"), "dt_ms"),
        (lambda g: g.graph.update(dt_ms=math.nan), "dt_ms"),
    ],
)
def test_networkx_refuses(small: Connectome, change: Callable[[nx.MultiDiGraph], Any], message: str) -> None:
    graph = to_networkx(small)
    change(graph)
    with pytest.raises(ConnectomeError, match=message):
        from_networkx(graph)


@pytest.mark.parametrize("from_x", [from_networkx, from_pyg, lambda x: from_pandas(x, x)])
@pytest.mark.parametrize("junk", [None, 3, "graph", {"a": 1}, np.zeros(3)])
def test_junk_is_refused(from_x: Callable[[Any], Connectome], junk: object) -> None:
    with pytest.raises(ConnectomeError):
        from_x(junk)


# PyG


@given(c=connectomes())
def test_pyg_is_valid(c: Connectome) -> None:
    data = to_pyg(c)
    used = {name for key in c.edges for name in (key.source, key.target)}
    if used == set(c.regions):  # PyG warns of node types without edges
        assert data.validate()
    assert data.node_types == list(c.regions)
    assert data.num_nodes == c.n_neurons
    assert data.num_edges == c.n_edges


def test_pyg_does_not_share_memory(small: Connectome) -> None:
    digest = small.digest()
    data = to_pyg(small)
    for store in data.stores:
        for value in store.values():
            if hasattr(value, "zero_"):
                value.zero_()
    assert small.digest() == digest


def test_plain_pyg_data() -> None:
    import torch
    from torch_geometric.data import HeteroData

    data = HeteroData()
    data["eye"].num_nodes = 4
    data["v1"].pos = torch.zeros(3, 3)
    data["eye", "afferent", "v1"].edge_index = torch.tensor([[3, 0], [2, 1]])
    c = from_pyg(data)
    assert c.regions["eye"].role == "sensor"
    edges = c.edges[EdgeKey("eye", "afferent", "v1")]
    assert (edges.source.tolist(), edges.target.tolist(), edges.weight.tolist()) == ([0, 3], [1, 2], [1, 1])
    for name, value in (
        ("edge_index", torch.zeros(3, 2)), ("edge_index", torch.tensor([[4], [0]])), ("edge_index", torch.zeros(2, 1)),
        ("weight", torch.zeros(3)), ("delay_ms", torch.zeros(2)),
    ):  # fmt: skip
        bad = data.clone()
        bad["eye", "afferent", "v1"][name] = value
        with pytest.raises(ConnectomeError):
            from_pyg(bad)
    data["eye", "sees", "v1"].edge_index = torch.zeros(2, 0, dtype=torch.long)
    with pytest.raises(ConnectomeError, match="edge kind"):
        from_pyg(data)


def test_pyg_refuses_what_is_not_there(small: Connectome) -> None:
    import torch
    from torch_geometric.data import Data, HeteroData

    with pytest.raises(ConnectomeError, match="to_heterogeneous"):
        from_pyg(Data())
    data = HeteroData()
    data["a", "local", "a"].edge_index = torch.zeros(2, 0, dtype=torch.long)
    with pytest.raises(ConnectomeError, match="node types"):
        from_pyg(data)
    data = to_pyg(small)
    data["b"].neuron = {"tau": 1}
    with pytest.raises(ConnectomeError, match="neuron"):
        from_pyg(data)


# scipy


@given(c=connectomes())
def test_scipy_matrix(c: Connectome) -> None:
    """Every edge is one entry at its place, and comes back with its weight."""
    matrix = to_scipy(c)
    assert matrix.nnz == c.n_edges
    dense = np.zeros((c.n_neurons,) * 2)
    first = dict(zip(c.regions, np.cumsum([0, *(r.size for r in c.regions.values())]), strict=False))
    for key, e in c.edges.items():
        np.add.at(dense, (e.source + first[key.source], e.target + first[key.target]), e.weight)
        np.testing.assert_allclose(edge_set_to_scipy(e).toarray(), dense[
            first[key.source] : first[key.source] + e.n_source, first[key.target] : first[key.target] + e.n_target
        ], atol=1e-3)  # fmt: skip
    np.testing.assert_allclose(matrix.toarray(), dense, atol=1e-3)
    back = from_scipy(matrix, list(c.regions.values()), dt_ms=c.dt_ms)
    for key, e in c.edges.items():
        if len(e):
            by_pair = EdgeSet.from_arrays(  # a matrix has no delays
                key, e.source, e.target, e.weight, n_source=e.n_source, n_target=e.n_target, dt_ms=e.dt_ms
            )
            for name in ("indptr", "indices", "weight"):
                np.testing.assert_array_equal(getattr(back.edges[key], name), getattr(by_pair, name))
    assert back.n_edges == c.n_edges


def test_scipy_copies(small: Connectome) -> None:
    digest = small.digest()
    for matrix in (to_scipy(small), *map(edge_set_to_scipy, small.edges.values())):
        matrix.sum_duplicates()
        matrix.data[:] = 9
    assert small.digest() == digest


def test_from_one_matrix() -> None:
    dense = np.array([[0, 2, 0], [0, 0, -1], [3, 0, 0]])
    for matrix in (dense, scipy.sparse.csc_array(dense), scipy.sparse.coo_matrix(dense), dense.tolist()):
        c = from_scipy(matrix)
        assert (c.to_scipy().toarray() == dense).all()
        assert c.edges[EdgeKey("all", "local", "all")].source.tolist() == [0, 1, 2]
    stored_zero = scipy.sparse.coo_array(([0.0, 1.0, 1.0], ([0, 1, 1], [1, 0, 0])), shape=(2, 2))
    assert from_scipy(stored_zero).n_edges == 3


@pytest.mark.parametrize("bad", [np.zeros((2, 3)), np.zeros(4), np.eye(2) * 1j, [["a"]], [[math.nan]], None])
def test_scipy_refuses(bad: Any) -> None:
    with pytest.raises(ConnectomeError):
        from_scipy(bad)


def test_scipy_refuses_regions_that_do_not_fit() -> None:
    with pytest.raises(ConnectomeError, match="add up"):
        from_scipy(np.eye(3), [Region("a", 2)])


# pandas


def test_pandas_types(small: Connectome) -> None:
    nodes, edges = to_pandas(small)
    assert edges.dtypes.astype(str).to_dict() == {
        "source_region": "category", "source": "int32", "kind": "category", "target_region": "category",
        "target": "int32", "weight_pa": "float32", "delay_ms": "float64", "birth_stage": "int16",
        "state_survival": "float32",
    }  # fmt: skip
    assert nodes.dtypes.astype(str).to_dict() == {
        "region": "category", "index": "int32", "role": "category", "birth_stage": "int64", "sign": "int8",
        "x": "float64", "y": "float64", "z": "float64", "label": "object", "state_gain": "float32",
        "state_known": "float32", "state_trace": "float32",
    }  # fmt: skip
    assert list(nodes.region.cat.categories) == list(small.regions)
    json.dumps(nodes.attrs)


def test_pandas_through_csv(small: Connectome) -> None:
    """CSV keeps every node and edge; what is in attrs has to be given again."""
    nodes, edges = (pd.read_csv(io.StringIO(t.to_csv(index=False))) for t in to_pandas(small))
    back = from_pandas(nodes, edges)
    for name, region in small.regions.items():
        assert (back.regions[name].role, back.regions[name].birth_stage) == (region.role, region.birth_stage)
        np.testing.assert_array_equal(back.regions[name].position_um, region.position_um)
    nodes.attrs.update(to_pandas(small)[0].attrs)
    assert from_pandas(nodes, edges).digest() == small.digest()


def test_pandas_rows_in_any_order(small: Connectome) -> None:
    nodes, edges = to_pandas(small)
    shuffled = nodes.sample(frac=1, random_state=1)
    assert from_pandas(shuffled, edges).digest() == small.digest()


def test_own_edge_table() -> None:
    edges = pd.DataFrame(
        {
            "source_region": ["v1", "v1", "eye"], "source": [0, 4, 1], "kind": ["long_range", "local", "afferent"],
            "target_region": ["v2", "v1", "v1"], "target": [2, 0, 3],
        }
    )  # fmt: skip
    c = from_pandas(None, edges)
    assert {n: (r.size, r.role) for n, r in c.regions.items()} == {
        "v1": (5, "neuron"), "eye": (2, "sensor"), "v2": (3, "neuron"),
    }  # fmt: skip
    assert [len(e) for e in c.edges.values()] == [1, 1, 1]
    assert from_pandas(None, edges[["source", "target"]]).regions["all"].size == 5
    assert from_pandas(None, edges[:0]).n_edges == 0


@pytest.mark.parametrize(
    "change",
    [
        {"source": ["a", "b"]}, {"source": [0.5, 1]}, {"source": [0, -1]}, {"weight_pa": [1, math.inf]},
        {"weight_pa": ["x", "y"]}, {"delay_ms": [0.1, 1e9]}, {"kind": ["local", "afferent"]},
        {"kind": ["friend", "local"]},
        {"target_region": ["all", None]}, {"source_region": ["all", "no name"]}, {"birth_stage": [0, 40000]},
    ],
)  # fmt: skip
def test_pandas_refuses(change: dict[str, Any]) -> None:
    edges = pd.DataFrame({"source": [0, 1], "target": [1, 0], **change})
    with pytest.raises(ConnectomeError):
        from_pandas(None, edges)


def test_pandas_refuses_edges_beyond_the_nodes() -> None:
    edges = pd.DataFrame({"source": [0], "target": [3], "source_region": ["a"], "target_region": ["a"]})
    with pytest.raises(ConnectomeError, match="target region's size"):
        from_pandas(pd.DataFrame({"region": ["a", "a"]}), edges)
    with pytest.raises(ConnectomeError, match="must name regions"):
        from_pandas(pd.DataFrame({"region": ["b", "b"]}), edges)
    with pytest.raises(ConnectomeError, match="columns"):
        from_pandas(pd.DataFrame({"name": ["b"]}), edges)


# xarray


@given(c=connectomes())
def test_xarray_against_the_edge_table(c: Connectome) -> None:
    summary = to_xarray(c)
    assert summary.sizes == {"source": len(c.regions), "kind": len(KINDS), "target": len(c.regions)}
    assert int(summary.n_edges.sum()) == c.n_edges
    _, edges = to_pandas(c)
    for key in c.edges:
        mine = (edges.source_region == key.source) & (edges.target_region == key.target)
        group = edges[mine & (edges.kind == key.kind)]
        if group.empty:
            continue
        cell = summary.sel(key._asdict())
        n, m = c.regions[key.source].size, c.regions[key.target].size
        assert int(cell.n_edges) == len(group)
        assert float(cell.density) == len(group) / (n * m)
        weight = group.weight_pa.astype(float)
        assert float(cell.total_weight_pa) == pytest.approx(weight.sum(), abs=1e-3)
        assert float(cell.mean_abs_weight_pa) == pytest.approx(weight.abs().mean())
        assert float(cell.mean_delay_ms) == pytest.approx(group.delay_ms.mean())
    assert np.isnan(summary.mean_delay_ms.values[summary.n_edges.values == 0]).all()
    assert (summary.total_weight_pa.values[summary.n_edges.values == 0] == 0).all()


def test_xarray_density_where_no_edge_can_be(small: Connectome) -> None:
    density = to_xarray(small).density
    assert float(density.sel(source="a.1", kind="local", target="a.1")) == 0
    assert float(density.sel(source="a.1", kind="long_range", target="b")) == 0
    assert np.isnan(density.sel(source="a.1", kind="local", target="b"))
    assert np.isnan(density.sel(source="hand", target="b")).all()


def test_xarray_joins_stages(small: Connectome) -> None:
    born = Connectome.of([small.regions["b"]], [small.edges[EdgeKey("b", "local", "b")]])
    stages = xr.concat(
        [c.to_xarray() for c in (born, small)], "stage", join="outer", fill_value={"n_edges": 0, "total_weight_pa": 0.0}
    )
    assert stages.n_edges.sum(["source", "kind", "target"]).values.tolist() == [4, 8]
    assert stages.stage.values.tolist() == [0, 2]
    assert all("units" in v.attrs for v in stages.data_vars.values())


def test_importing_views_loads_none_of_their_libraries() -> None:
    heavy = ("torch", "pandas", "xarray", "networkx", "scipy.sparse", "numba")
    code = (
        f"import sys, connectome.graph.views, connectome.wiring.edges; print([m for m in {heavy} if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
