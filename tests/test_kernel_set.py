"""Kernel sets as part of the graph: what they hold, refuse, count and become, against their list of connections."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, Edit, KernelSet, Maps, Region
from connectome.graph.parts import TIED
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
