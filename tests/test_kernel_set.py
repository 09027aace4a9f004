"""Kernel sets as part of the graph: what they hold, refuse, count and become, against their list of connections."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import libsonata
import numpy as np
import pandas
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from torch import Tensor
from xarray import load_dataset

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, Edit, KernelSet, Maps, Region
from connectome.analysis.history import difference, lives
from connectome.analysis.report.page import report
from connectome.analysis.shuffled import shuffled_wiring
from connectome.analysis.simple_graph import region_graph, simple_graph
from connectome.graph.partition import merge_edges
from connectome.graph.parts import TIED
from connectome.graph.region_edits import average_regions, copy_region, merge_regions
from connectome.graph.selection import node_set
from connectome.io.exchange import FORMATS
from connectome.io.snapshot import load, save
from connectome.learning.learner import Learner
from connectome.learning.network import BatchActivity, SpikingNetwork
from connectome.mechanisms.feedback_pruning import FeedbackPruning
from connectome.mechanisms.homeostasis import Homeostasis
from connectome.mechanisms.noisy import Noisy
from connectome.plugins import known
from connectome.plugins import load as load_plugin
from connectome.rules import Context
from connectome.wiring.convolution import convolution, convolved, offset_kernels
from sims import analyze, export
from tests.strategies import kernel_sets

KEY = EdgeKey("a", "long_range", "b")


def connectome(kernels: KernelSet) -> Connectome:
    regions = [
        Region(name, maps.size, maps=maps)
        for name, maps in (("a", kernels.source_maps), ("b", kernels.target_maps))
    ]  # fmt: skip
    return Connectome.of(regions, [kernels], dt_ms=kernels.dt_ms)


@given(kernel_sets())
def test_against_a_loop_over_places(kernels: KernelSet) -> None:
    """Which neurons each weight joins, one by one."""
    s, t = kernels.source_maps, kernels.target_maps

    def places(maps: Maps) -> dict[tuple[int, int], int]:
        radius = maps.height // 2
        from_middle = radius if maps.hexagonal else 0
        found: dict[tuple[int, int], int] = {}
        for row in range(maps.height):
            for column in range(maps.width):
                u, v = row - from_middle, column - from_middle
                far = maps.hexagonal and max(abs(u), abs(v), abs(u + v)) > radius
                if not far and u % maps.every[0] == 0 and v % maps.every[1] == 0:
                    found[u, v] = len(found)
        return found

    of_source, of_target = places(s), places(t)
    assert (s.places, t.places) == (len(of_source), len(of_target))
    wanted = []
    for k in range(len(kernels)):
        for (u, v), number in of_target.items():
            from_place = (kernels.stride * u + int(kernels.dy[k]), kernels.stride * v + int(kernels.dx[k]))
            if from_place in of_source:
                source = int(kernels.in_map[k]) * s.places + of_source[from_place]
                wanted.append((source, int(kernels.out_map[k]) * t.places + number, float(kernels.weight[k]), k))
    edges = kernels.to_edges()
    columns = (edges.source, edges.target, edges.weight, edges.state[TIED])
    assert sorted(zip(*(c.tolist() for c in columns), strict=True)) == sorted(wanted)
    assert kernels.n_connections == len(edges) == kernels.connections.sum()
    np.testing.assert_array_equal(kernels.connections, np.bincount([w[3] for w in wanted], minlength=len(kernels)))
    np.testing.assert_array_equal(kernels.out_degree, edges.out_degree)
    np.testing.assert_array_equal(kernels.in_degree, edges.in_degree)
    assert kernels.density == pytest.approx(edges.density)
    if len(edges):
        assert edges.delay_steps.tolist() == [kernels.delay_steps[0]] * len(edges)


@given(kernel_sets(), st.data())
def test_weights_are_taken_and_joined(kernels: KernelSet, data: st.DataObject) -> None:
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(kernels), max_size=len(kernels))), bool)
    kept, gone = kernels.take(mask), kernels.take(~mask)
    assert len(kept) == mask.sum()
    assert connectome(kept).digest() != connectome(kernels).digest() or mask.all()
    both = kept.join(gone)
    if len(kernels):
        assert connectome(both).digest() == connectome(kernels).digest()
    if len(kept):
        with pytest.raises(ConnectomeError, match=r"must not have a weight that is joined to it; found out_map "):
            kernels.join(kept)


@given(kernel_sets())
def test_expanded_and_copied(kernels: KernelSet) -> None:
    c = connectome(kernels)
    listed = c.expanded()
    assert isinstance(listed.edges[KEY], EdgeSet)
    assert not isinstance(listed.edges[KEY], KernelSet)
    assert listed.expanded() is listed
    assert (c.n_edges, c.n_connections) == (len(kernels), listed.n_edges)
    for other in (
        pickle.loads(pickle.dumps(c)),
        copy.deepcopy(c),
        Connectome.of(c.regions.values(), [kernels], dt_ms=0.5),
    ):
        assert other.digest() == c.digest()
        assert not other.edges[KEY].weight.flags.writeable
    assert c.apply(Edit(remove={KEY: np.ones(len(kernels), bool)})).n_edges == 0


def simple(**changes: Any) -> KernelSet:
    given: dict[str, Any] = {
        "key": KEY, "in_map": [0, 1, 0, 1], "out_map": [1, 0, 0, 1], "dy": 0, "dx": [0, 1, -1, 0],
        "weight": [1.0, 2.0, 3.0, 4.0], "source_maps": Maps(2, 3, 3), "target_maps": Maps(2, 3, 3), "dt_ms": 0.1,
    }  # fmt: skip
    return KernelSet.from_arrays(**given | changes)


def test_rows_are_put_in_order() -> None:
    """That of torch's kernels; state and attributes go with them."""
    kernels = simple(state={"memory": [1, 2, 3, 4]}, attributes={"class": ["a", "b", "c", None]}, delay_ms=0.3)
    assert kernels.weight.tolist() == [3, 2, 1, 4]
    assert kernels.state["memory"].tolist() == [3, 2, 1, 4]
    assert kernels.attributes["class"].values.tolist() == kernels.to_edges(36).attributes["class"].values[
        [int(np.flatnonzero(kernels.to_edges().state[TIED] == k)[0]) for k in range(4)]
    ].tolist()  # fmt: skip
    assert kernels.delay.tolist() == pytest.approx([0.3] * 4)
    assert np.unique(kernels.pair).tolist() == kernels.pair.tolist()


def test_what_is_of_neurons_is_the_mean_of_maps() -> None:
    kernels = simple()
    rate = np.arange(18.0)
    assert kernels.at_source(rate).tolist() == [4, 13, 4, 13]
    assert kernels.at_target(rate).tolist() == [4, 4, 13, 13]
    signs = np.repeat(np.array([1, -1], np.int8), 9)
    assert kernels.at_source(signs).tolist() == [1, -1, 1, -1]
    assert kernels.at_source(signs).dtype == np.int8


@pytest.mark.parametrize("name", ["source", "target", "indptr", "indices", "reverse"])
def test_what_is_of_connections_is_refused(name: str) -> None:
    with pytest.raises(ConnectomeError, match=r"edges\[a -long_range-> b\] must be a list of edges .*expanded\(\)"):
        getattr(simple(), name)


def test_too_large_to_expand() -> None:
    kernels = simple()
    c = connectome(kernels)
    for expand in (kernels.to_edges, c.expanded):
        assert expand(kernels.n_connections) is not None
        with pytest.raises(
            ConnectomeError, match=r"must have 29 connections or fewer to be expanded; found 30\. Train"
        ):
            expand(kernels.n_connections - 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_map": [0, 1, 0, 2]}, r"in_map must be in 0 \.\. 1, the maps that there are; found 2"),
        ({"out_map": -1}, r"out_map must be integers in 0 \.\. 65535"),
        ({"dx": [0, 1]}, r"dx must have shape \(4,\); found \(2,\)"),
        ({"dy": 0.5}, r"dy must be integers in -32768"),
        ({"weight": [1, 2, 3, np.nan]}, r"weight must be finite"),
        ({"in_map": 0, "dx": 0}, r"must have each of \(out_map, in_map, dy, dx\) once"),
        ({"stride": 0}, r"stride must be an integer in 1"),
        ({"delay_ms": 0.0}, r"delay_ms must be 0.1"),
        ({"state": {TIED: [1, 2, 3, 4]}}, r"state must have no weights that are tied besides"),
        ({"source_maps": (2, 3, 3)}, r"source_maps must be Maps"),
        ({"source_maps": Maps.hexagon(2, 1)}, r"must join maps of one kind of grid; found hexagonal and square"),
        ({"dt_ms": 0.0}, r"dt_ms must be finite and > 0"),
    ],
)
def test_kernel_sets_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConnectomeError, match=message):
        simple(**changes)


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ((0, 3, 3), "count must be an integer in 1"),
        ((1, 3, 2**14 + 1), "width must be an integer in 1"),
        ((1, 4, 4, True), "must have a height and a width of 2 R"),
        ((1, 3, 5, True), "must have a height and a width of 2 R"),
        ((1, 3, 5, "yes"), "hexagonal must be True or False"),
        ((1, 3, 5, False, 2), "every must be two numbers"),
        ((1, 3, 5, False, (0, 1)), "every must be an integer in 1"),
    ],
)
def test_maps_that_cannot_be(maps: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ConnectomeError, match=message):
        Maps(*maps)


def test_the_connectome_checks_maps_and_signs() -> None:
    c = connectome(simple())
    a = c.regions["a"]
    for region, message in (
        (replace(a, maps=None), r"source_maps must be the maps of region 'a', None"),
        (replace(a, sign=np.r_[-1, np.zeros(17)]), r"regions\[a\].sign must be the same for all neurons of a map"),
        (replace(a, sign=np.full(18, -1)), r"must have its source map's sign \(-1\); found 3 pA from map 0"),
    ):
        with pytest.raises(ConnectomeError, match=message):
            Connectome.of([region, c.regions["b"]], c.edges.values())
    with pytest.raises(ConnectomeError, match=r"regions\[a\].maps must be Maps of 18 neurons"):
        replace(a, maps=Maps(1, 3, 3))
    with pytest.raises(ConnectomeError, match=r"can only be joined with a kernel set.*kind of their own"):
        c.apply(Edit(add=(simple().to_edges(),)))
    with pytest.raises(ConnectomeError, match="can only be joined with the same maps and delay"):
        c.edges[KEY].join(simple(stride=2))


def test_whole_maps_stay_maps() -> None:
    region = Region("a", 27, maps=Maps(3, 3, 3))
    assert region.take(np.arange(27) >= 9).maps == Maps(2, 3, 3)
    assert region.take(np.r_[np.arange(18, 27), np.arange(9)]).maps == Maps(2, 3, 3)
    for which in (np.arange(27) >= 8, np.arange(1, 10), np.zeros(27, bool), np.r_[np.arange(8), 9]):
        assert region.take(which).maps is None


# Whatever takes an edge set takes a kernel set, or refuses it by one message.

REFUSED = r"must be a list of edges for this; found a kernel set, of \d+ free weights\. Expand it: Connectome\.expanded"


def two_regions(seed: int = 0) -> Connectome:
    """An eye, two regions of maps, joined by kernels, and one that reads them by edges."""
    rng, maps = np.random.default_rng(seed), Maps(2, 4, 3)
    made = convolved(maps, (3, 2, 3, 3), padding=1)
    regions = [
        Region("eye", maps.size, "sensor", maps=maps), Region("a", maps.size, maps=maps),
        Region("b", made.size, maps=made), Region("hand", 2, "effector"),
    ]  # fmt: skip
    sets: list[EdgeSet] = [
        offset_kernels(regions[0], regions[1], [[0, 0], [1, 0]], rng.normal(600, 300, (2, 2, 2)), dt_ms=1.0),
        convolution(regions[1], regions[2], rng.normal(200, 300, (3, 2, 3, 3)), padding=1, dt_ms=1.0),
        offset_kernels(regions[2], regions[2], [[0, 1]], rng.normal(0, 300, (3, 3, 1)), dt_ms=1.0),
        EdgeSet.from_arrays(
            ("b", "efferent", "hand"), np.arange(made.size), np.arange(made.size) % 2, rng.normal(50, 99, made.size),
            n_source=made.size, n_target=2, dt_ms=1.0,
        ),
    ]  # fmt: skip
    return Connectome.of(regions, sets, dt_ms=1.0)


@pytest.mark.parametrize("name", [f.name for f in FORMATS.values() if f.write and f.name != "snapshot"])
def test_an_export_has_the_connections(tmp_path: Path, name: str) -> None:
    c, form, found = two_regions(), FORMATS[name], []
    assert form.write is not None
    for each in (c, c.expanded()):
        path = tmp_path / f"x{form.suffixes[0]}"
        form.write(each, path)
        found.append({p.name: p.read_bytes() for p in sorted(tmp_path.iterdir()) if p.is_file()})
    assert found[0] == found[1]
    assert found[0]


def test_sonata_edges_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    c = two_regions()
    save(c, tmp_path / "x.h5")
    for out, more in (("y.h5", []), ("z.h5", ["--connections"])):
        assert export.main([str(tmp_path / "x.h5"), "--out", str(tmp_path / out), *more]) == 0
        assert load(tmp_path / out).digest() == c.digest()
        assert f"{c.n_connections:,} edges" in capsys.readouterr().out
    found = [libsonata.EdgeStorage(str(tmp_path / f"{n}.h5")).population_names for n in "yz"]
    assert found == [{"b:efferent:hand"}, {":".join(key) for key in c.edges}]
    assert export.main([str(tmp_path / "x.h5"), "--out", str(tmp_path / "x.csv"), "--connections"]) == 2
    assert "--connections must go with snapshot; found csv" in capsys.readouterr().err


def test_analysis_is_that_of_the_connections() -> None:
    c, later = two_regions(), two_regions(1)
    listed = c.expanded()
    for graphs in ([simple_graph(c), simple_graph(listed)],):
        for name in ("indptr", "target", "weight"):
            assert getattr(graphs[0], name).tobytes() == getattr(graphs[1], name).tobytes()
    pandas.testing.assert_frame_equal(lives([c, later], ["x", "y"]), lives([listed, later.expanded()], ["x", "y"]))
    changed, wanted = difference(c, later), difference(listed, later.expanded())
    pandas.testing.assert_frame_equal(changed.edges, wanted.edges)
    assert report([c], ["one"], source="x") == report([listed], ["one"], source="x")
    with pytest.raises(ConnectomeError, match=REFUSED):
        shuffled_wiring(c)


def test_regions_as_a_whole_without_expansion() -> None:
    c = two_regions()
    table, wanted = c.to_xarray(), c.expanded().to_xarray()
    assert int(table.n_edges.sum()) == c.n_edges < c.n_connections == int(table.n_connections.sum())
    np.testing.assert_array_equal(table.n_connections, wanted.n_edges)
    for name in ("density", "mean_abs_weight_pa", "total_weight_pa", "mean_delay_ms"):
        np.testing.assert_allclose(table[name], wanted[name], rtol=1e-6)


def test_metrics_of_regions_need_no_expansion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    c = two_regions()
    kinds = ("local", "long_range", "afferent", "efferent")
    graph, table = region_graph(c, kinds=kinds), c.to_xarray()
    joined = table.total_weight_pa.sum("kind").values
    np.testing.assert_allclose(
        csr_array((graph.weight, graph.target, graph.indptr), (4, 4)).toarray(), joined * ~np.eye(4, dtype=bool)
    )  # fmt: skip
    assert graph.n_loops == 1
    assert graph.label is not None
    assert graph.label.tolist() == list(c.regions)
    save(c, tmp_path / "x.h5")

    def never(*_: object) -> None:
        raise AssertionError("expanded")

    monkeypatch.setattr(KernelSet, "to_edges", never)
    out = tmp_path / "m.nc"
    assert analyze.main([str(tmp_path / "x.h5"), "--of-regions", "--metrics", "density", "--out", str(out)]) == 0
    assert load_dataset(out).density.item() == 0.5, "a to b, of two regions of neurons"
    assert analyze.main([str(tmp_path / "x.h5"), "--of-regions", "--by-region"]) == 2


def test_parts_of_it() -> None:
    c, key = two_regions(), EdgeKey("a", "long_range", "b")
    kept = c.subnetwork(node_set(c, {"a": np.arange(12, 24), "b": np.arange(24)}))
    assert kept.regions["a"].maps == Maps(1, 4, 3)
    kernels, whole = kept.edges[key], c.edges[key]
    assert isinstance(kernels, KernelSet)
    assert isinstance(whole, KernelSet)
    assert kernels.weight.tolist() == whole.weight[(whole.in_map == 1) & (whole.out_map < 2)].tolist()
    listed = c.expanded()
    same = listed.subnetwork(node_set(listed, {"a": np.arange(12, 24), "b": np.arange(24)})).edges[key]
    mine = kernels.to_edges()
    assert (mine.source.tolist(), mine.weight.tolist()) == (same.source.tolist(), same.weight.tolist())
    with pytest.raises(ConnectomeError, match=r"must keep whole maps; found part of map 1\. Take whole maps"):
        c.subnetwork(node_set(c, {"a": np.arange(13, 24), "b": np.arange(36)}))
    assert c.select_edges("weight > 100")[key].tolist() == (whole.weight > 100).tolist()
    assert c.select_edges("source.sign == 0 and kind == 'long_range'")[key].all()
    with pytest.raises(ConnectomeError, match=r"query: source.index must be the same in a map.*Connectome.expanded"):
        c.select_edges("source.index > 3")
    assert merge_edges(c)[0].digest() == c.digest()
    assert c.apply(copy_region(c, "a", "c")).edges[EdgeKey("c", "long_range", "b")].n_connections == whole.n_connections
    two = c.apply(copy_region(c, "a", "c"))
    for edit in (merge_regions, average_regions):
        with pytest.raises(ConnectomeError, match=REFUSED):
            edit(two, ["a", "c"], "both")


def test_rules_act_on_free_weights() -> None:
    """A weight is inhibited, and then removed, once for all its connections; rates are those of maps."""
    c, key = two_regions(), EdgeKey("a", "long_range", "b")
    whole = c.edges[key]
    importance = np.arange(len(whole), dtype=np.float32)
    c = c.apply(Edit(state={key: {"importance": importance}}))
    rng = np.random.default_rng(0)
    context = Context(1, 1, 1, "hand", prunable=("a", "b"), ever={k: len(e) for k, e in c.edges.items()}, done=0.9)
    pruned = c.apply(FeedbackPruning(keep_long_range=0.5, late=0.8)(c, context, rng)).edges[key]
    assert pruned.state["importance"].tolist() == importance[-len(pruned) :].tolist()
    assert len(pruned) == len(whole) // 2
    rate = np.repeat([0.0, 1.0, 0.0], 12)
    quiet = Homeostasis(target_association=0.02)(
        c, replace(context, region="b", rate={"a": np.zeros(24), "b": rate}), rng
    )  # fmt: skip
    assert isinstance(whole, KernelSet)
    changed = quiet.reweight[key] != whole.weight
    assert changed.tolist() == ((whole.weight > 0) & (whole.out_map == 1)).tolist()
    with pytest.raises(ConnectomeError, match="can only be joined with a kernel set"):
        c.apply(Edit(add=(replace(whole.to_edges(), state={}),)))


def test_learning_keeps_its_state_by_weight() -> None:
    """Adam's moments, and noise that is drawn by weight; a learner that goes on is one that was not broken off."""

    class Toy:
        name, recruits, sensors, effectors = "toy", ("eye", "a", "b", "hand"), {"eye": 24}, {"hand": 2}

        def loss(self, activity: BatchActivity, target: Tensor) -> Tensor:
            return torch.nn.functional.cross_entropy(activity.potential["hand"].mean(1), target)

    generator = torch.Generator().manual_seed(0)
    spikes = {"eye": torch.rand(8, 12, 24, generator=generator) < 0.3}
    target = torch.arange(8) % 2

    def trained(c: Connectome, updates: int, number: int = 0) -> Connectome:
        learner = Learner(c, cast(Any, Toy()), seed=(1,), number=number, views={KEY: Noisy()})
        for _ in range(updates):
            learner.step(spikes, target, lambda key: 5.0)
        return learner.connectome()

    whole, half = trained(two_regions(), 4), trained(two_regions(), 2)
    assert trained(half, 2, number=2).digest() == whole.digest()
    kernels = whole.edges[KEY]
    assert isinstance(kernels, KernelSet)
    assert kernels.state["adam_mean"].shape == (len(kernels),)
    assert (kernels.weight != two_regions().edges[KEY].weight).any()


@pytest.mark.parametrize("name", sorted(known("views")))
def test_views_of_weights(name: str) -> None:
    """They make weights of a kernel set, or say that they need edges."""
    c, view = two_regions(), load_plugin("views", name, "view")
    view = view() if isinstance(view, type) else view
    spikes = {"eye": torch.ones(2, 3, 24, dtype=torch.bool)}
    if name == "low_rank":
        with pytest.raises(ConnectomeError, match=REFUSED):
            SpikingNetwork(c, views={KEY: view})
        return
    network = SpikingNetwork(c, views={KEY: view})
    network(spikes).potential["hand"].sum().backward()
    assert len(network.to_connectome().edges[KEY]) == len(c.edges[KEY])
