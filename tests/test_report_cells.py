"""What a page tells of single cells: columns with what is missing, partners, blocks of any partition, names apart."""

from __future__ import annotations

import base64
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome import Connectome, EdgeSet, Region
from connectome.analysis.measure import measure
from connectome.analysis.report.blocks import Partition, adjacency, block_sums, partitions
from connectome.analysis.report.cells import (
    COLOURS,
    Column,
    attribute_columns,
    metric_columns,
    own_columns,
    rate_columns,
    shown_columns,
)
from connectome.analysis.report.partners import strongest_partners
from connectome.analysis.report.scene import MAX_NEURONS, sample_scene
from connectome.analysis.report.still import _LETTER, _LINE, _apart
from connectome.analysis.report.tables import Sample
from connectome.graph.flat import starts
from connectome.simulate.runs import Poisson, Stimulus, run


def numbers(packed: dict[str, str]) -> np.ndarray[Any, Any]:
    return np.frombuffer(base64.b64decode(packed["data"]), np.dtype(packed["type"]).newbyteorder("<"))


def annotated(n: int = 30, n_edges: int = 200, seed: int = 0) -> Connectome:
    """Two regions and a sensor; parallel edges, loops, signs; attributes of which some are missing."""
    rng = np.random.default_rng(seed)
    known: dict[str, Any] = {
        "class": [None if i % 7 == 0 else f"C{i % 3}" for i in range(n)], "proofread": [i % 2 == 0 for i in range(n)],
        "volume": [None if i % 5 == 0 else float(i) for i in range(n)],
        "root": [720575940600000000 + i for i in range(n)],
    }  # fmt: skip
    regions = [Region(name, n, sign=rng.choice(np.array([-1, 1], np.int8), n), attributes=known) for name in ("a", "b")]
    regions.append(Region("eye", 5, "sensor"))
    size = {r.name: r.size for r in regions}
    edges = []
    for s, kind, t in (("a", "local", "a"), ("a", "long_range", "b"), ("b", "local", "b"), ("eye", "afferent", "a")):
        source, target = rng.integers(0, size[s], n_edges), rng.integers(0, size[t], n_edges)
        sign = regions[0].sign if s == "a" else regions[1].sign if s == "b" else np.ones(5, int)
        edges.append(
            EdgeSet.from_arrays(
                (s, kind, t), source, target, rng.integers(1, 9, n_edges) * sign[source], n_source=size[s],
                n_target=size[t], dt_ms=1.0,
            )
        )  # fmt: skip
    return Connectome.of(regions, edges, dt_ms=1.0)


def pairs(c: Connectome) -> dict[tuple[int, int], tuple[float, float, int]]:
    """(source, target) -> weight, sum of |weight| and number of the edges that join the two: slow and plain."""
    start, found = starts(c.regions.values()), dict[tuple[int, int], tuple[float, float, int]]()
    for key, e in c.edges.items():
        for s, t, w in zip(e.source.tolist(), e.target.tolist(), e.weight.tolist(), strict=True):
            at = start[key.source] + s, start[key.target] + t
            weight, size, count = found.get(at, (0.0, 0.0, 0))
            found[at] = weight + w, size + abs(w), count + 1
    return found


# Columns


def told(column: dict[str, Any]) -> list[Any]:
    """What the page's script makes of a column: a text or a number, None where missing."""
    values = numbers(column["values"]).tolist()
    if "names" in column:
        return [column["names"][v - 1] if v else None for v in values]
    return [None if math.isnan(v) else v for v in values]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([None, *"abcdefghijkl"]), min_size=1, max_size=80), st.integers(0, 2**32 - 1))
def test_categories_come_back_and_the_largest_have_colours(values: list[str | None], seed: int) -> None:
    known: dict[str, Any] = {"class": values}
    (column,) = attribute_columns([Region("a", len(values), attributes=known)])
    cells = np.flatnonzero(np.random.default_rng(seed).random(len(values)) < 0.8)
    found, left_out = shown_columns([column], cells)
    mine = [values[i] for i in cells]
    if not any(mine):
        assert found == []
        return
    (shown,) = found
    assert (told(shown), left_out) == (mine, [])
    assert shown["missing"] == mine.count(None)
    assert shown["counts"] == sorted((mine.count(v) for v in {*mine} - {None}), reverse=True)
    n = len(shown["names"])
    assert shown["coloured"] == (n if n <= COLOURS else COLOURS - 1)


def test_numbers_keep_what_is_missing_and_every_digit() -> None:
    values: dict[str, Any] = {
        "part": [0.5, None, 0.0], "whole": [2**24 + 1, 0, None], "root": [720575940600000001, 720575940600000002, None],
        "flag": [True, False, None],
    }  # fmt: skip
    columns = attribute_columns([Region("a", 3, attributes=values, state={"gain": np.array([1, 2, 3], np.float32)})])
    shown, _ = shown_columns(columns, np.arange(3))
    assert {c["name"]: told(c) for c in shown} == {
        "part": [0.5, None, 0.0], "whole": [2**24 + 1, 0, None], "state gain": [1, 2, 3],
        "root": ["720575940600000001", "720575940600000002", None], "flag": ["true", "false", None],
    }  # fmt: skip
    assert [c["missing"] for c in shown if c["name"] == "part"] == [1]


def test_few_that_lie_far_out_do_not_hide_the_others() -> None:
    values = np.r_[np.linspace(1, 2, 99), 1000.0]
    (shown,), _ = shown_columns([Column("x", "", "", None, values)], np.arange(100))
    assert (shown["low"], shown["most"]) == (1.0, 1000.0)
    assert 1.9 < shown["high"] < 2.1
    (even,), _ = shown_columns([Column("x", "", "", None, np.arange(100.0))], np.arange(100))
    assert (even["low"], even["high"]) == (0.0, 99.0)


def test_there_is_room_for_so_much_only() -> None:
    names = tuple(f"{i:060d}" for i in range(3000))
    texts = [Column(f"text{k}", "", "", names, np.arange(3000)) for k in range(4)]
    shown, left_out = shown_columns(texts, np.arange(3000))
    assert [c["name"] for c in shown] + left_out == [c.name for c in texts]
    assert 0 < sum(len("".join(c["names"])) for c in shown) <= 400_000
    many = [Column(f"number{k}", "", "", None, np.arange(3.0)) for k in range(50)]
    shown, left_out = shown_columns(many, np.arange(3))
    assert (len(shown), len(left_out)) == (40, 10)
    long = shown_columns([Column("text", "", "", ("x" * 500,), np.zeros(1, int))], np.arange(1))[0]
    assert len(long[0]["names"][0]) == 80


def test_metrics_and_rates_are_missing_where_there_are_none() -> None:
    c = annotated()
    span, at = {}, 0
    for r in c.regions.values():
        span[r.name] = slice(at, at + r.size)
        at += r.size
    measured = measure(c, ["in_degree", "community"], by_region=False, nodes=True)
    degree, community = metric_columns(measured, span, at)
    joined = pairs(c)
    inside = [len({s for s, t in joined if t == i and s != i and s < 60}) for i in range(60)]
    assert degree.values[:60].tolist() == inside
    assert np.isnan(degree.values[60:]).all(), "a sensor is no node of that graph: its degree is not 0"
    assert community.names is not None
    assert (community.values[60:] == -1).all()
    assert (community.values[:60] >= 0).all()
    spikes = run(c, 20.0, Stimulus(poisson={"eye": Poisson(300.0)}), recruit=["eye", "a"])
    roles = {r.name: r.role for r in c.regions.values()}
    (rate,) = rate_columns([Sample("s", "", spikes)], span, roles, at)
    names = [str(n) for n in spikes.region.values]
    mine = spikes.spike_neuron.values[spikes.spike_region.values == names.index("eye")]
    expected = np.bincount(mine, minlength=5) / 0.02
    assert rate.values[span["eye"]] == pytest.approx(expected)
    assert expected.any()
    assert np.isnan(rate.values[span["b"]]).all(), "it took no part"


# Partners


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 999), st.integers(1, 30))
def test_partners_are_the_strongest(seed: int, n_shown: int) -> None:
    c = annotated(n=12, n_edges=150, seed=seed)
    n, rng = c.n_neurons, np.random.default_rng(seed)
    shown = np.sort(rng.choice(n, min(n_shown, n), replace=False))
    found = strongest_partners(c, starts(c.regions.values()), n, shown)
    known = [*shown.tolist(), *found.others.tolist()]
    assert len(known) == len({*known})
    joined = pairs(c)
    for side in ("in", "out"):
        view = {k: numbers(v).tolist() for k, v in found.view[side].items()}
        at = 0
        for i, cell in enumerate(shown.tolist()):
            mine = {(s if side == "in" else t): v for (s, t), v in joined.items() if (t if side == "in" else s) == cell}
            total = sum(size for _, size, _ in mine.values())
            best = sorted(mine, key=lambda j: (-mine[j][1], j))[: found.view["most"]]
            rows = range(at, at + view["rows"][i])
            at += view["rows"][i]
            assert [known[view["cell"][row]] for row in rows] == best
            assert [view["weight"][row] for row in rows] == pytest.approx([mine[j][0] for j in best])
            assert [view["edges"][row] for row in rows] == [mine[j][2] for j in best]
            assert [view["share"][row] for row in rows] == pytest.approx([mine[j][1] / total for j in best])
            assert view["partners"][i] == len(mine)


def test_of_nothing_there_is_no_share() -> None:
    e = EdgeSet.from_arrays(("a", "local", "a"), [0, 1], [1, 2], [0.0, 3.0], n_source=3, n_target=3, dt_ms=0.1)
    found = strongest_partners(Connectome.of([Region("a", 3)], [e]), {"a": 0}, 3, np.arange(3))
    assert numbers(found.view["in"]["share"]).tolist() == pytest.approx([math.nan, 1.0], nan_ok=True)


def test_what_is_known_of_many_cells_is_bounded() -> None:
    c = annotated(n=2000, n_edges=60_000)
    found = strongest_partners(c, starts(c.regions.values()), c.n_neurons, np.arange(c.n_neurons))
    assert found.view["most"] == 5
    assert max(numbers(found.view["in"]["rows"])) == 5
    assert len(numbers(found.view["in"]["cell"])) <= 5 * c.n_neurons


def test_cells_that_are_wanted_are_drawn() -> None:
    c = Connectome.of([Region("a", 20_000), Region("b", 7)])
    few = sample_scene([c])
    assert len(few.drawn) <= MAX_NEURONS + 7
    wanted = np.array([3, 5, 19_999])
    assert not {*wanted.tolist()} <= {*few.drawn.tolist()}
    assert {*wanted.tolist()} <= {*sample_scene([c], wanted).drawn.tolist()}
    assert len(sample_scene([c], np.arange(20_000)).drawn) <= 2 * MAX_NEURONS + 7


# The adjacency matrix


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 999))
def test_blocks_count_every_edge_of_every_partition(seed: int) -> None:
    c = annotated(n=14, n_edges=80, seed=seed)
    regions, start = list(c.regions.values()), starts(c.regions.values())
    by, left_out = partitions([*own_columns(regions), *attribute_columns(regions)], 1)
    assert [p.name for p in by] == ["region", "kind of cell", "class", "proofread", "root"]
    assert left_out == []
    for partition in by:
        edges, weight, size = block_sums(c, start, partition)
        assert edges.sum() == c.n_edges
        assert size.sum() == c.n_neurons
        for (s, t), (_, total, count) in pairs(c).items():
            cell = partition.code[s], partition.code[t]
            edges[cell] -= count
            weight[cell] -= total
        assert not edges.any()
        assert np.abs(weight).max() < 1e-6


def test_small_groups_are_taken_together_and_missing_stays_apart() -> None:
    code = np.r_[np.repeat(np.arange(100), np.arange(100, 0, -1)), -1, -1]
    (partition,), _ = partitions([Column("type", "", "", tuple(f"T{i:02d}" for i in range(100)), code)], 1)
    assert partition.groups == (*(f"T{i:02d}" for i in range(47)), "(others)", "(missing)")
    assert partition.merged == 53
    assert (partition.code[-2:] == 48).all()
    assert (partition.code == 47).sum() == (code >= 47).sum()
    names = Column("name", "", "", tuple(map(str, range(100))), np.arange(100))
    assert partitions([names], 1) == ([], ["name"])
    alike = Column("alike", "", "", ("x",), np.zeros(9, int))
    assert partitions([alike], 1) == ([], [])


def test_every_edge_of_a_small_graph_is_there() -> None:
    c = annotated(n=20, n_edges=90)
    n, start = c.n_neurons, starts(c.regions.values())
    one = Partition("all", ("x",), np.zeros(n, np.int64), 0)
    edges = numbers(adjacency([c], start, n, [one])["single"][0])
    expected = {s * n + t + 1: weight for (s, t), (weight, _, _) in pairs(c).items()}
    assert sorted(np.abs(edges).tolist()) == sorted(expected)
    assert all((expected[abs(e)] < 0) == (e < 0) for e in edges.tolist())
    large = annotated(n=600, n_edges=90)
    assert adjacency([large], starts(large.regions.values()), 1205, [])["single"] is None
    assert adjacency([annotated(n=20, n_edges=9000)], start, n, [])["single"] is None


# Names


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=20), st.floats(0, 300), st.floats(0, 90)), max_size=12))
def test_no_name_lies_on_another(labels: list[tuple[str, float, float]]) -> None:
    found = _apart(labels)
    assert found[:1] == labels[:1]
    for i, (a, xa, ya) in enumerate(found):
        for b, xb, yb in found[:i]:
            assert abs(xa - xb) >= _LETTER * (len(a) + len(b)) / 2 or abs(ya - yb) >= _LINE


def test_the_picture_on_paper_has_the_same_places() -> None:
    rng = np.random.default_rng(0)
    c = Connectome.of([Region("a", 40, sign=np.ones(40, np.int8), position_um=rng.normal([5e5, 0, 0], 90, (40, 3)))])
    scene = sample_scene([c])
    flat = np.array(scene.view["flat"])
    there = numbers(scene.view["nodes"]).reshape(-1, 3) @ flat[:3] + flat[3]
    drawn = dict(scene.still["dots"])[0]
    expected = [[float(v) for v in dot.removesuffix("h0").split()] for dot in drawn.split("M")[1:]]
    assert np.abs(there - expected).max() <= 0.51
