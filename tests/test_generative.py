"""Growth: edge for edge as a dense transcription of the equations, from the right distribution, true to its seed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import bct
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, Region
from connectome.analysis.comparison import distances
from connectome.analysis.generative import RULES, GenerativeGrowth, WiringLaw, evaluate, fit, grow, new_pairs
from connectome.analysis.simple_graph import SimpleGraph
from connectome.development.stages import develop
from connectome.mechanisms.feedback_pruning import FeedbackPruning
from connectome.parameters import from_table
from connectome.rules import Context, Rule
from tests.test_development import ANATOMY, stages

Array = NDArray[Any]
JOIN: dict[str, Callable[[Array, Array], Array]] = {
    "average": lambda x, y: (x + y) / 2,
    "product": lambda x, y: x * y,
    "difference": lambda x, y: np.abs(x - y),
    "minimum": np.minimum,
    "maximum": np.maximum,
}


def similarity(a: Array, rule: str) -> Array:
    """K of every pair, from the adjacency matrix alone (Betzel et al. 2016, table 1)."""
    k = a.sum(1)
    if rule == "neighbours":
        return a @ a
    if rule == "matching":  # of two nodes' neighbours, themselves left out, twice the shared ones over all
        ends = k[:, None] + k[None] - 2 * a
        return np.where(ends > 0, 2 * (a @ a) / np.maximum(ends, 1), 0.0)
    what, _, how = rule.partition("_")
    x = k.astype(float)
    if what == "clustering":
        x = np.array([c / (d * (d - 1)) if d > 1 else 0.0 for c, d in zip(np.diag(a @ a @ a), k, strict=True)])
    return JOIN[how](x[:, None], x[None])


def dense_weights(a: Array, distance: Array, law: WiringLaw) -> Array:
    """The probability of every pair, up to a factor, in the order u < v, row by row."""
    with np.errstate(divide="ignore"):
        p = distance**law.eta if law.distance_form == "power" else np.exp(law.eta * distance)
    if law.rule != "distance":
        k = similarity(a, law.rule)
        p = p * ((k + 1e-6) ** law.gamma if law.topology_form == "power" else np.exp(law.gamma * k))
    return np.where(a > 0, 0.0, p)[np.triu_indices(len(a), 1)]


def dense_growth(graph: SimpleGraph, n_edges: int, law: WiringLaw, seed: int) -> Array:
    """The new pairs: everything computed anew before each edge."""
    a = adjacency(graph)
    distance = np.linalg.norm(graph.position_um[:, None] - graph.position_um[None], axis=2)
    rows, columns = np.triu_indices(graph.n, 1)
    grown = []
    for uniform in np.random.default_rng(seed).random(n_edges - a.sum() // 2):
        sums = np.cumsum(dense_weights(a, distance, law))
        pair = int(np.searchsorted(sums, uniform * sums[-1], "right"))
        u, v = rows[pair], columns[pair]
        a[u, v] = a[v, u] = 1
        grown.append((u, v))
    return np.array(grown).reshape(-1, 2)


def adjacency(graph: SimpleGraph) -> Array:
    a = np.zeros((graph.n, graph.n), np.int64)
    a[graph.source, graph.target] = a[graph.target, graph.source] = 1
    return a


def random_graph(n: int, edges: int, seed: int) -> SimpleGraph:
    """Directed; in a cube of 100 um."""
    rng = np.random.default_rng(seed)
    source, target = rng.integers(0, max(n, 1), (2, edges if n else 0))
    return SimpleGraph.from_arrays(n, source, target, position_um=rng.random((n, 3)) * 100)


def joined(graph: SimpleGraph) -> set[tuple[int, int]]:
    return {(int(u), int(v)) for u, v in zip(graph.source, graph.target, strict=True)}


def test_the_reference_knows_the_matching_index() -> None:
    """Against the toolbox's index over all connections. (bctpy's own for undirected graphs, ``matching_ind_und`` of
    0.6.1, multiplies the wrong matrices, and its generative model never uses the index that it updates.)"""
    a = adjacency(random_graph(12, 30, 4))
    theirs = bct.matching_ind(a.astype(float))[2]
    np.testing.assert_allclose(np.triu(similarity(a, "matching"), 1), np.triu(theirs, 1), rtol=1e-12)


@pytest.mark.parametrize("forms", [("power", "power"), ("exponential", "exponential"), ("exponential", "power")])
@pytest.mark.parametrize("rule", RULES)
def test_edge_for_edge_as_the_dense_reference(rule: str, forms: tuple[str, str]) -> None:
    """Every step: were one K wrong after any edge, the same random numbers would soon lead to another pair. Forty
    nodes: more than one block of weights."""
    graph = random_graph(40, 60, 3)
    eta = -1.5 if forms[0] == "power" else -0.03
    for gamma in (1.2, -0.7) if forms[1] == "power" else (0.06, -0.04):
        law = WiringLaw(rule, eta, gamma, *forms)
        np.testing.assert_array_equal(new_pairs(graph, 240, law, 5), dense_growth(graph, 240, law, 5))


@given(
    rule=st.sampled_from([*RULES]), n=st.integers(2, 8), edges=st.integers(0, 30), seed=st.integers(0, 2**32 - 1),
    eta=st.floats(-3, 1), gamma=st.floats(-2, 3),
)  # fmt: skip
def test_small_graphs_to_the_last_pair(rule: str, n: int, edges: int, seed: int, eta: float, gamma: float) -> None:
    graph = random_graph(n, edges, seed)
    law = WiringLaw(rule, eta, gamma)
    full = n * (n - 1) // 2
    np.testing.assert_array_equal(new_pairs(graph, full, law, seed), dense_growth(graph, full, law, seed))


@given(
    rule=st.sampled_from([*RULES]), n=st.integers(0, 12), edges=st.integers(0, 20), seed=st.integers(0, 2**32 - 1),
    share=st.floats(0, 1),
)  # fmt: skip
def test_what_grows(rule: str, n: int, edges: int, seed: int, share: float) -> None:
    """As many edges as asked for, symmetric, no loops, the seed graph within, lengths true, and the same every time."""
    graph = random_graph(n, edges, seed)
    before = graph.undirected.n_edges // 2
    want = before + int(share * (n * (n - 1) // 2 - before))
    grown = grow(graph, want, WiringLaw(rule), seed)
    pairs = joined(grown)
    assert grown.n_edges == len(pairs) == 2 * want
    assert pairs == {(v, u) for u, v in pairs}
    assert not any(u == v for u, v in pairs)
    assert joined(graph) <= pairs
    assert (grown.weight == 1).all()
    np.testing.assert_array_equal(grown.position_um, graph.position_um)
    apart = np.linalg.norm(graph.position_um[grown.source] - graph.position_um[grown.target], axis=1)
    np.testing.assert_allclose(grown.length_um, apart)
    assert joined(grow(graph, want, WiringLaw(rule), seed)) == pairs


@pytest.mark.parametrize(
    "law", [WiringLaw("distance", -1.0), WiringLaw("matching", -0.5, 0.4), WiringLaw("degree_product", 0.0, 1.0)]
)
def test_two_edges_are_drawn_from_their_exact_distribution(law: WiringLaw) -> None:
    """All ordered outcomes of two draws on five nodes, by enumeration; 5,000 growths; chi-square."""
    from scipy.stats import chisquare

    position = np.array([[0, 0, 0], [10, 0, 0], [0, 25, 0], [30, 5, 0], [8, 9, 11]], float)
    graph = SimpleGraph.from_arrays(5, [0, 1, 2], [1, 2, 3], position_um=position)
    distance = np.linalg.norm(position[:, None] - position[None], axis=2)
    a = adjacency(graph)
    pairs = list(itertools.combinations(range(5), 2))
    exact: dict[tuple[Any, ...], float] = {}
    first = dense_weights(a, distance, law)
    for one, p in zip(pairs, first / first.sum(), strict=True):
        b = a.copy()
        b[one] = b[one[::-1]] = 1
        second = dense_weights(b, distance, law)
        exact |= {(one, two): p * q for two, q in zip(pairs, second / second.sum(), strict=True) if p * q > 0}
    runs = 5_000
    count = dict.fromkeys(exact, 0)
    for seed in range(runs):
        one, two = new_pairs(graph, 5, law, seed).tolist()
        count[tuple(one), tuple(two)] += 1
    order = sorted(exact, key=lambda key: exact[key])
    bins = np.searchsorted(np.cumsum([exact[key] for key in order]), np.arange(0.01, 1, 0.02))  # of >= 1 % each
    edges = np.unique(np.concatenate([[0], bins]))
    seen, wanted = (np.add.reduceat([d[key] for key in order], edges) for d in (count, exact))
    assert chisquare(seen, np.asarray(wanted) * runs).pvalue > 1e-3


def test_positions_that_say_nothing() -> None:
    """Nodes at one place: distance plays no part. Two of them at one place: as near as the nearest others."""
    graph = SimpleGraph.from_arrays(6, [0, 1], [1, 2])
    np.testing.assert_array_equal(
        new_pairs(graph, 9, WiringLaw(eta=-3.0), 1), new_pairs(graph, 9, WiringLaw(eta=0.0), 1)
    )
    position = np.zeros((4, 3))
    position[2:, 0] = 5.0, 50.0
    two = SimpleGraph.from_arrays(4, [], [], position_um=position)
    first = [tuple(new_pairs(two, 1, WiringLaw("distance", -4.0), seed)[0].tolist()) for seed in range(300)]
    assert abs(first.count((0, 1)) - first.count((0, 2))) < 60


def test_what_is_refused() -> None:
    graph = random_graph(6, 8, 0)
    edges = graph.undirected.n_edges // 2
    for n_edges in (edges - 1, 16):
        with pytest.raises(ConnectomeError, match="must be an integer in 0"):
            grow(graph, n_edges, WiringLaw())
    with pytest.raises(ConnectomeError, match=r"WiringLaw.rule must be one of distance, .*'match'"):
        WiringLaw("match")
    with pytest.raises(ConnectomeError, match="topology_form must be one of power, exponential"):
        WiringLaw(topology_form="log")
    with pytest.raises(ConnectomeError, match="law must leave pairs"):
        grow(graph, edges + 1, WiringLaw("degree_product", 0.0, 1e4))
    with pytest.raises(ConnectomeError, match="must have the seed graph's 6 nodes"):
        evaluate(random_graph(5, 3, 0), graph, WiringLaw())
    with pytest.raises(ConnectomeError, match="must have at least the seed graph's"):
        evaluate(SimpleGraph.from_arrays(6, [0], [1]), graph, WiringLaw())
    with pytest.raises(ConnectomeError, match="etas must be finite numbers in ascending order"):
        fit(random_graph(6, 30, 1), graph, WiringLaw(), [1.0, 0.0], [0.0])
    with pytest.raises(ConnectomeError, match="etas and gammas must leave pairs"):
        fit(random_graph(6, 30, 1), graph, WiringLaw("degree_product"), [0.0], [1e4])


# Fitting


def test_evaluation_says_what_it_says() -> None:
    """Each run can be made again by hand from its seed; hits and correlations are those of the definitions."""
    target, seed_graph = random_graph(30, 250, 1), random_graph(30, 40, 2)
    law = WiringLaw("neighbours", -1.0, 0.5)
    found = evaluate(target, seed_graph, law, n_runs=3, seed=7)
    size = int(found.attrs["target_edges"])
    assert size == target.undirected.n_edges // 2
    here = np.linalg.norm(seed_graph.position_um[target.source] - seed_graph.position_um[target.target], axis=1)
    target_here = SimpleGraph.from_arrays(
        30, target.source, target.target, length_um=here, position_um=seed_graph.position_um
    )
    want, before = adjacency(target), adjacency(seed_graph)
    for run in range(3):
        grown = grow(seed_graph, size, law, [7, run])
        apart = distances(grown, target_here)
        np.testing.assert_allclose(found.ks.values[run], apart)
        assert float(found.energy[run]) == max(apart)
        a = adjacency(grown)
        new = np.triu(a - before) > 0
        assert float(found.hits[run]) == pytest.approx(want[new].mean())
        both = [np.corrcoef(x.sum(1), y.sum(1))[0, 1] for x, y in ((a, want), (a - before, want - before))]
        pearson = [found[name].sel(statistic="pearson").values[run] for name in _CORRELATIONS]
        np.testing.assert_allclose(pearson, both)
    free = np.triu(1 - before, 1) > 0
    assert found.hits.attrs["by_chance"] == pytest.approx(want[free].mean())


_CORRELATIONS = ("degree_correlation", "degree_gained_correlation")


def test_fit_finds_the_law_that_grew_the_target_and_judges_it_afresh() -> None:
    seed_graph = random_graph(60, 60, 1)
    target = grow(seed_graph, 350, WiringLaw("matching", -2.0, 0.5), 99)
    etas, gammas = np.linspace(-4, 2, 4), np.linspace(-0.5, 1.5, 3)
    found = fit(target, seed_graph, WiringLaw("matching"), etas, gammas, n_search=2, rounds=2, n_runs=4, seed=3)
    assert abs(found.attrs["eta"] + 2) <= 1.4
    best = int(np.argmin(found.searched_energy.values))
    assert (found.attrs["eta"], found.attrs["gamma"]) == (found.searched_eta[best], found.searched_gamma[best])
    assert found.sizes["point"] == 24
    law = WiringLaw("matching", found.attrs["eta"], found.attrs["gamma"])
    again = evaluate(target, seed_graph, law, n_runs=4, seed=3, threads=2)
    np.testing.assert_array_equal(found.energy, again.energy)
    assert float(found.energy.mean()) < float(evaluate(target, seed_graph, WiringLaw("distance", 2.0)).energy.min())
    threaded = fit(
        target, seed_graph, WiringLaw("matching"), etas, gammas, n_search=2, rounds=2, n_runs=4, seed=3, threads=3
    )
    assert threaded.identical(found)


def test_points_where_nothing_can_grow_are_passed_over() -> None:
    graphs = random_graph(12, 60, 1), random_graph(12, 5, 2)
    found = fit(*graphs, WiringLaw("degree_product"), [0.0], [1.0, 1e4], n_search=1, rounds=1)
    assert np.isnan(found.searched_energy.values).tolist() == [False, True]
    assert found.attrs["gamma"] == 1


def test_distance_alone_has_no_gamma_to_search() -> None:
    found = fit(random_graph(12, 60, 1), random_graph(12, 5, 2), WiringLaw("distance"), [-1.0, 0.0], [1.0, 2.0, 3.0])
    assert found.sizes["point"] == 4
    assert found.attrs["gamma"] == 0


# As a rule of development


def newborn(n: int, density: float, seed: int, sign: int | None = None) -> Connectome:
    rng = np.random.default_rng(seed)
    source, target = np.nonzero(rng.random((n, n)) < density)
    signs = rng.choice([-1, 1], n).astype(np.int8) if sign is None else np.full(n, sign, np.int8)
    region = Region("a", n, position_um=rng.random((n, 3)) * 100, sign=signs)
    weight = np.abs(rng.normal(50, 5, source.size)) * np.where(signs == 0, 1, signs)[source]
    edges = EdgeSet.from_arrays(("a", "local", "a"), source, target, weight, n_source=n, n_target=n, dt_ms=1.0)
    return Connectome.of([region, Region("b", 3)], [edges], dt_ms=1.0)


A = EdgeKey("a", "local", "a")


@given(
    n=st.integers(0, 20), density=st.floats(0, 1), edges=st.integers(0, 60), seed=st.integers(0, 2**32 - 1),
    sign=st.sampled_from([None, 0]), rule=st.sampled_from([*RULES]),
)  # fmt: skip
def test_growth_in_a_region(n: int, density: float, edges: int, seed: int, sign: int | None, rule: str) -> None:
    """New pairs only, as many as asked for and free, Dale's signs, and a line in the log that agrees."""
    before = newborn(n, density, seed, sign)
    law = GenerativeGrowth(rule=rule, edges=edges, delay_ms=3.0)
    step: Rule = law
    delta = step(before, Context(stage=2, step=9, epoch=1, region="a"), np.random.default_rng(seed))
    after = before.apply(delta)
    here, now = before.edges[A], after.edges[A]
    old = {frozenset(p) for p in zip(here.source.tolist(), here.target.tolist(), strict=True)}
    free = n * (n - 1) // 2 - len({p for p in old if len(p) == 2})
    added = len(now) - len(here)
    assert added == min(edges, free) == sum(r.added for r in delta.records)
    for grown in delta.add:
        fresh = [frozenset(p) for p in zip(grown.source.tolist(), grown.target.tolist(), strict=True)]
        assert len(set(fresh)) == added
        assert not old & set(fresh)
        assert (grown.delay == 3.0).all()
        assert (grown.birth_stage == 2).all()
        if sign is None:
            assert (np.sign(grown.weight) == before.regions["a"].sign[grown.source]).all()
    again = before.apply(step(before, Context(2, 9, 1, "a"), np.random.default_rng(seed)))
    assert again.digest() == after.digest()


def test_growth_ends_and_goes_both_ways() -> None:
    before = newborn(30, 0.1, 1)
    law = GenerativeGrowth(edges=200, last_epoch=3)
    assert not law(before, Context(1, 1, 4, "a"), np.random.default_rng(0)).add
    assert law(before, Context(1, 1, 1, "b"), np.random.default_rng(0)).add
    (grown,) = law(before, Context(1, 1, 3, "a"), np.random.default_rng(0)).add
    assert 60 < (grown.source < grown.target).sum() < 140
    assert from_table(GenerativeGrowth, {"rule": "neighbours", "eta": -1}, "rules.x") == replace(
        GenerativeGrowth(), rule="neighbours", eta=-1.0
    )
    with pytest.raises(ConnectomeError, match=r"rules.x.rule must be one of"):
        from_table(GenerativeGrowth, {"rule": "nobody"}, "rules.x")


def test_grown_edges_are_left_alone_until_they_were_seen() -> None:
    """What an edge set lacks of state is 0 when edges join it: they were seen for no epoch."""
    pruning, growth = FeedbackPruning(keep=0.0, end=0.5, grace=2.0), GenerativeGrowth(edges=25)
    connectome, rng = newborn(20, 0.2, 1), np.random.default_rng(0)
    for epoch in (1, 2, 3, 4):
        seen = Context(1, epoch, epoch, "a", prunable=("a",), ever={A: 1000}, done=0.6)
        edges = connectome.edges[A]
        state = {"importance": np.ones(len(edges), np.float32) * (np.arange(len(edges)) % 2)}
        connectome = connectome.apply(replace(growth(connectome, seen, rng), state={A: state}))
        delta = pruning(connectome, seen, rng)
        assert sorted(np.unique(delta.state[A]["seen"])) == list(range(1, epoch + 1))
        assert ((delta.state[A]["inhibition"] > 0) == (delta.state[A]["seen"] >= 2)).all()
        connectome = connectome.apply(delta)


def test_in_a_development_what_grows_lives_on() -> None:
    """Growth acts after pruning, as rules of other packages do; grown edges are judged by what they do."""
    growth, pruning = GenerativeGrowth(edges=20, last_epoch=2), FeedbackPruning(keep=0.5, keep_own=0.6)
    *_, last = develop(stages(pruning, growth, updates=15), ANATOMY, seed=1, test_trials=16)
    log = [r for r in last.connectome.provenance.rule_log if r.rule == "generative_growth"]
    assert [(r.stage, r.source, r.added) for r in log] == [(1, "first", 20)] * 2 + [(2, "second", 20)] * 2
    seen = np.concatenate([e.state["seen"] for k, e in last.connectome.edges.items() if k.kind == "local"])
    assert (seen > 0).all()
    first = last.connectome.edges[EdgeKey("first", "local", "first")]
    mine = [r for r in last.connectome.provenance.rule_log if (r.source, r.kind) == ("first", "local")]
    assert len(first) == math.ceil(0.5 * (len(first) + sum(r.removed for r in mine)))
