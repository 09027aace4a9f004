"""Wiring at birth against the closed forms. Seeds are fixed; each statistical bound is passed by 1 - 1e-6 of seeds."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import networkx as nx
import numpy as np
import pandas
import pytest
import scipy.sparse
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from connectome import Connectome, ConnectomeError, EdgeKey, Region
from connectome.wiring import connection_rules, distance_rule
from connectome.wiring.edges import (
    AllToAll,
    Bernoulli,
    ByDistance,
    Conduction,
    ConnectionRule,
    Distribution,
    FixedInDegree,
    FixedOutDegree,
    FixedTotalNumber,
    LogNormal,
    Normal,
    OneToOne,
    SmallWorld,
    dale_signs,
    from_edge_list,
    from_matrix,
    positions_in_box,
    positions_in_sphere,
    positions_on_grid,
    wire,
)

ALPHA = 1e-6


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def ball(name: str, n: int, seed: int = 0) -> Region:
    return Region(name, n, position_um=positions_in_sphere(n, 100.0, rng(seed)))


def unlikely(count: int, n: int, p: float) -> bool:
    """Whether a binomial count is in the tails."""
    return bool(scipy.stats.binomtest(int(count), n, p).pvalue < ALPHA)


RULES: dict[str, ConnectionRule] = {
    "all_to_all": AllToAll(),
    "bernoulli": Bernoulli(0.1),
    "dense bernoulli": Bernoulli(0.95),
    "exponential": ByDistance(60.0, p0=0.9),
    "gaussian": ByDistance(60.0, density=0.1, profile="gaussian"),
    "in": FixedInDegree(7),
    "dense in": FixedInDegree(38),
    "out": FixedOutDegree(7),
    "dense out": FixedOutDegree(39),
    "total": FixedTotalNumber(300),
    "dense total": FixedTotalNumber(1500),
    "small_world": SmallWorld(6, 0.3),
    "dense small_world": SmallWorld(30, 0.5),
}
ONE_REGION = ("small_world", "dense small_world")


# What every rule must keep


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("block", [None, 64, 1])
def test_no_autapses_no_multapses_in_order(name: str, block: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if block:  # as where there are more edges than fit in one
        monkeypatch.setattr(connection_rules, "BLOCK_EDGES", block)
        monkeypatch.setattr(distance_rule, "BLOCK_EDGES", block)
    for n, seed in ((40, 1), (41, 2)):
        region = ball("a", n)
        source, target = RULES[name].pairs(region, region, rng(seed))
        assert source.dtype == target.dtype == np.int32
        assert (source != target).all()
        pair = source.astype(np.int64) * n + target
        assert (np.diff(pair) > 0).all()
        assert source.min() >= 0 <= target.min()
        assert max(source.max(), target.max()) < n


@pytest.mark.parametrize("name", RULES)
def test_same_generator_same_edges(name: str) -> None:
    region = ball("a", 40)
    first, again, other = (
        wire(region, region, RULES[name], weight_pa=Normal(1, 1), rng=rng(seed)) for seed in (5, 5, 6)
    )
    assert Connectome.of([region], [first]).digest() == Connectome.of([region], [again]).digest()
    assert Connectome.of([region], [first]).digest() != Connectome.of([region], [other]).digest()


@pytest.mark.parametrize("name", [r for r in RULES if r not in ONE_REGION])
def test_between_regions_neuron_i_may_join_neuron_i(name: str) -> None:
    a, b = ball("a", 40), ball("b", 45, seed=1)
    source, target = RULES[name].pairs(a, b, rng())
    assert (source == target).any()
    assert target.max() > 40


@pytest.mark.parametrize("name", [r for r in RULES if r not in ONE_REGION])
@pytest.mark.parametrize("sizes", [(0, 0), (0, 50), (50, 0)])
def test_empty_regions(name: str, sizes: tuple[int, int]) -> None:
    """No pair, no edge; a number of edges or of partners that cannot be is an error."""
    a, b = Region("a", sizes[0]), Region("b", sizes[1])
    rule = RULES[name]
    asks = {FixedInDegree: sizes[1] > 0, FixedOutDegree: sizes[0] > 0, FixedTotalNumber: True}
    if asks.get(type(rule), False):
        with pytest.raises(ConnectomeError, match="possible partners"):
            rule.pairs(a, b, rng())
    else:
        source, target = rule.pairs(a, b, rng())
        assert source.size == target.size == 0


def test_one_neuron_has_no_partner_in_its_region() -> None:
    lone = Region("a", 1, position_um=np.zeros((1, 3)))
    none: list[ConnectionRule] = [AllToAll(), Bernoulli(1.0), ByDistance(1.0, p0=1.0), FixedInDegree(0)]
    for rule in [*none, SmallWorld(0, 0.5)]:
        assert rule.pairs(lone, lone, rng())[0].size == 0
    itself: list[ConnectionRule] = [AllToAll(True), Bernoulli(1.0, True), FixedInDegree(1, True), OneToOne()]
    for rule in [*itself, ByDistance(1.0, p0=1.0, allow_autapses=True)]:
        assert rule.pairs(lone, lone, rng())[0].size == 1


# Each rule's law


@pytest.mark.parametrize("p", [0.0, 1e-4, 0.03, 0.5, 0.9, 0.97, 1.0])
@pytest.mark.parametrize("block", [2**18, 1000])
def test_bernoulli_count_and_evenness(p: float, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_rules, "BLOCK_EDGES", block)
    a, b = Region("a", 300), Region("b", 400)
    source, target = Bernoulli(p).pairs(a, b, rng(3))
    assert not unlikely(source.size, 300 * 400, p)
    if 0 < p < 1 and source.size > 1000:
        for end, n in ((source, 300), (target, 400)):
            degree = np.bincount(end, minlength=n)
            m = 120_000 // n
            # binomial degrees: their dispersion over its expectation is chi-square
            statistic = ((degree - m * p) ** 2).sum() / (m * p * (1 - p))
            assert ALPHA < scipy.stats.chi2.cdf(statistic, n) < 1 - ALPHA


def test_bernoulli_pairs_are_independent() -> None:
    """Neighbouring pairs come together as often as they should: the skips forget."""
    a = Region("a", 1000)
    source, target = Bernoulli(0.2).pairs(a, Region("b", 1000), rng(4))
    chosen = np.zeros(10**6, bool)
    chosen[source.astype(np.int64) * 1000 + target] = True
    for lag in (1, 2, 1000):
        assert not unlikely((chosen[lag:] & chosen[:-lag])[:: 2 * lag].sum(), chosen[lag:][:: 2 * lag].size, 0.04)


@pytest.mark.parametrize("profile", ["exponential", "gaussian"])
@pytest.mark.parametrize("length_um", [15.0, 60.0, 1000.0])
@pytest.mark.parametrize("same", [True, False])
def test_distance_law(profile: Any, length_um: float, same: bool) -> None:
    """Edges in bins of distance against the sum of probabilities in each bin, by chi-square."""
    a = ball("a", 500)
    b = a if same else replace(ball("b", 400, seed=9), position_um=ball("b", 400, seed=9).position_um + 30)
    source, target = ByDistance(length_um, p0=0.8, profile=profile).pairs(a, b, rng(7))
    d = np.linalg.norm(a.position_um[:, None] - b.position_um, axis=2)
    p = 0.8 * (np.exp(-d / length_um) if profile == "exponential" else np.exp(-(d**2) / (2 * length_um**2)))
    if same:
        np.fill_diagonal(p, 0)
    edges = np.quantile(d, np.linspace(0, 1, 21))
    edges[-1] += 1
    bins = np.digitize(d, edges) - 1
    expected = np.bincount(bins.ravel(), p.ravel(), 20)
    variance = np.bincount(bins.ravel(), (p * (1 - p)).ravel(), 20)
    found = np.bincount(bins[source, target], minlength=20)
    enough = variance > 20
    assert enough.sum() >= 2
    statistic = ((found - expected)[enough] ** 2 / variance[enough]).sum()
    assert ALPHA < scipy.stats.chi2.cdf(statistic, enough.sum()) < 1 - ALPHA


def test_distance_law_pair_by_pair() -> None:
    """Each of 90 pairs comes as often as its probability says, over 1000 draws."""
    a = Region("a", 10, position_um=positions_in_box(10, (50, 50, 0), rng()))
    rule = ByDistance(20.0, p0=1.0)
    count, generator = np.zeros((10, 10)), rng(2)
    for _ in range(1000):
        count[rule.pairs(a, a, generator)] += 1
    p = np.exp(-np.linalg.norm(a.position_um[:, None] - a.position_um, axis=2) / 20)
    assert (np.diag(count) == 0).all()
    for i, j in np.argwhere(~np.eye(10, dtype=bool)):
        assert not unlikely(count[i, j], 1000, p[i, j])


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("n", [60, 2000])
def test_distance_gives_the_density_asked_for(same: bool, n: int) -> None:
    a = ball("a", n)
    b = a if same else ball("b", n, seed=3)
    source, _ = ByDistance(50.0, density=0.1).pairs(a, b, rng())
    assert not unlikely(source.size, n * (n - 1 if same else n), 0.1)  # independent pairs vary less than this binomial


@pytest.mark.parametrize("same", [True, False])
def test_distance_density_from_a_sample(same: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    a = ball("a", 3000)
    b = a if same else ball("b", 2000, seed=3)
    monkeypatch.setattr(distance_rule, "_SUMMED_PAIRS", 0)
    monkeypatch.setattr(distance_rule, "_SAMPLE", 10**6)
    found = [ByDistance(50.0, density=0.01).pairs(a, b, rng(seed))[0].size for seed in range(5)]
    assert np.mean(found) == pytest.approx(0.01 * 3000 * (2999 if same else 2000), rel=0.01)


def test_distance_all_at_one_place_is_bernoulli() -> None:
    a = Region("a", 300, position_um=np.zeros((300, 3)))
    assert not unlikely(ByDistance(10.0, p0=0.3).pairs(a, a, rng())[0].size, 300 * 299, 0.3)


def test_distance_of_what_has_no_known_place_is_refused() -> None:
    position = np.zeros((3, 3))
    position[1, 2] = np.nan
    with pytest.raises(ConnectomeError, match=r"position_um must be known to wire by distance; found nan at index 1"):
        ByDistance(10.0, p0=0.3).pairs(Region("a", 3, position_um=position), Region("b", 3), rng())
    with pytest.raises(ConnectomeError, match="must be known for delays"):
        from_matrix(MATRIX, position_um=np.full((4, 3), np.nan), delay_ms=Conduction(1.0))


def test_distance_density_out_of_reach() -> None:
    a = ball("a", 100)
    with pytest.raises(ConnectomeError, match=r"must be <= 0\.\d+.*raise length_um"):
        ByDistance(5.0, density=0.5).pairs(a, a, rng())


@pytest.mark.parametrize("k", [0, 1, 7, 25, 26, 49])
def test_fixed_degrees_are_exact_and_even(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    a = Region("a", 50)
    for block in (2**18, 200):
        monkeypatch.setattr(connection_rules, "BLOCK_EDGES", block)
        source, target = FixedInDegree(k).pairs(a, a, rng(k))
        assert (np.bincount(target, minlength=50) == k).all()
        source, target = FixedOutDegree(k).pairs(a, a, rng(k))
        assert (np.bincount(source, minlength=50) == k).all()
    a, b = Region("a", 50), Region("b", 5000)
    source, _ = FixedInDegree(k).pairs(a, b, rng(k))
    if 0 < k < 50:  # each source is among the k of a target with probability k / 50
        for count in np.bincount(source, minlength=50):
            assert not unlikely(count, 5000, k / 50)


@given(n=st.integers(2, 12), k=st.integers(0, 11), seed=st.integers(0, 2**32 - 1))
def test_fixed_degrees_in_small_regions(n: int, k: int, seed: int) -> None:
    a = Region("a", n)
    if k > n - 1:
        with pytest.raises(ConnectomeError, match="possible partners"):
            FixedOutDegree(k).pairs(a, a, rng(seed))
        return
    source, target = FixedOutDegree(k).pairs(a, a, rng(seed))
    assert (np.bincount(source, minlength=n) == k).all()
    assert len({*zip(source.tolist(), target.tolist(), strict=True)}) == source.size


def test_every_set_of_partners_is_as_likely() -> None:
    """All 10 sets of 2 among 5 and all 10 of 3, by chi-square over 20,000 neurons."""
    for k in (2, 3):
        _, target = FixedOutDegree(k).pairs(Region("a", 20_000), Region("b", 5), rng(k))
        sets, count = np.unique(target.reshape(-1, k), axis=0, return_counts=True)
        assert len(sets) == 10
        assert scipy.stats.chisquare(count).pvalue > ALPHA


def test_multapses_and_autapses_where_allowed() -> None:
    a = Region("a", 20)
    for rule in (
        FixedInDegree(50, allow_multapses=True), FixedOutDegree(50, allow_multapses=True),
        FixedTotalNumber(1000, allow_multapses=True),
    ):  # fmt: skip
        source, target = rule.pairs(a, a, rng())
        assert source.size == 1000
        assert (source != target).all()
        assert np.unique(source * 20 + target).size == pytest.approx(380 * (1 - math.exp(-1000 / 380)), rel=0.1)
        source, target = replace(rule, allow_autapses=True).pairs(a, a, rng())
        assert not unlikely((source == target).sum(), 1000, 1 / 20)


@pytest.mark.parametrize("n_edges", [0, 1, 500, 4950, 4951, 9900])
def test_fixed_total_number(n_edges: int) -> None:
    a = Region("a", 100)
    source, target = FixedTotalNumber(n_edges).pairs(a, a, rng())
    assert source.size == n_edges
    assert np.unique(source * 100 + target).size == n_edges
    assert not unlikely((source < target).sum(), n_edges, 0.5) if n_edges else True


# Small worlds


def graph_of(region: Region, rule: ConnectionRule, seed: int = 1) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(range(region.size))
    graph.add_edges_from(zip(*(end.tolist() for end in rule.pairs(region, region, rng(seed))), strict=True))
    return graph


@pytest.mark.parametrize(("n", "k"), [(20, 4), (21, 6), (10, 6), (9, 8), (5, 2)])
def test_small_world_without_rewiring_is_the_ring(n: int, k: int) -> None:
    graph = graph_of(Region("a", n), SmallWorld(k, 0.0))
    assert {*graph.edges} == {*nx.watts_strogatz_graph(n, k, 0).to_directed().edges}
    if n > 1.5 * k:
        assert nx.average_clustering(graph) == pytest.approx(3 * (k - 2) / (4 * (k - 1)))


def test_small_world_all_rewired_is_random() -> None:
    """Out-degree k, in-degree and clustering as of random targets."""
    n, k = 1000, 10
    graph = graph_of(Region("a", n), SmallWorld(k, 1.0))
    assert {d for _, d in graph.out_degree} == {k}
    in_degree = np.array([d for _, d in graph.in_degree])
    statistic = ((in_degree - k) ** 2).sum() / (k * (1 - k / (n - 1)))
    assert ALPHA < scipy.stats.chi2.cdf(statistic, n - 1) < 1 - ALPHA
    assert nx.average_clustering(graph) == pytest.approx(k / n, rel=0.2)


def test_small_world_rewires_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_rules, "BLOCK_EDGES", 1000)
    n, k, p = 2000, 10, 0.2
    graph = graph_of(Region("a", n), SmallWorld(k, p))
    ring = nx.watts_strogatz_graph(n, k, 0).to_directed()
    stayed = sum(graph.has_edge(*edge) for edge in ring.edges)
    back = p * k * p / n  # a rewired edge may land on the ring again
    assert not unlikely(stayed, n * k, 1 - p + back)
    assert {d for _, d in graph.out_degree} == {k}
    # between the two limits: still clustered, already short
    assert nx.average_clustering(graph) > 10 * k / n
    few = graph_of(Region("a", 300), SmallWorld(6, 0.2))
    assert nx.average_shortest_path_length(few) < 0.25 * nx.average_shortest_path_length(
        graph_of(Region("a", 300), SmallWorld(6, 0.0))
    )


# Positions and signs


def test_positions_in_sphere() -> None:
    position = positions_in_sphere(20_000, 50.0, rng())
    radius = np.linalg.norm(position, axis=1)
    assert scipy.stats.kstest((radius / 50) ** 3, "uniform").pvalue > ALPHA
    for axis in position.T:  # by Archimedes, heights on a sphere are uniform
        assert scipy.stats.kstest((axis / radius + 1) / 2, "uniform").pvalue > ALPHA


def test_positions_in_box() -> None:
    position = positions_in_box(20_000, (10, 200, 0), rng())
    assert (position[:, 2] == 0).all()
    for axis, length in zip(position.T[:2], (10, 200), strict=True):
        assert scipy.stats.kstest(axis / length + 0.5, "uniform").pvalue > ALPHA


@pytest.mark.parametrize(("n", "dimensions", "side"), [(27, 3, 3), (28, 3, 4), (1000, 3, 10), (9, 2, 3), (10, 2, 4)])
def test_positions_on_grid(n: int, dimensions: Any, side: int) -> None:
    position = positions_on_grid(n, 5.0, rng(), dimensions=dimensions)
    assert position.shape == (n, 3)
    assert (position[:, dimensions:] == 0).all()
    for axis in position.T[:dimensions]:
        assert {*(axis / 5 + (side - 1) / 2)} <= {*range(side)}
    assert len(np.unique(position, axis=0)) == n
    moved = positions_on_grid(n, 5.0, rng(), dimensions=dimensions, jitter_um=1.0) - position
    assert 0.5 < np.abs(moved).max() <= 1
    assert (moved[:, dimensions:] == 0).all()


@given(n=st.integers(0, 200), fraction=st.floats(0, 1))
def test_dale_signs(n: int, fraction: float) -> None:
    sign = dale_signs(n, fraction, rng())
    assert (sign == 1).sum() == round(n * fraction)
    assert (sign == -1).sum() == n - round(n * fraction)


def test_dales_signs_are_in_random_places() -> None:
    """Each place is as likely as another to be excitatory: within four standard deviations."""
    random = rng()
    drawn = np.array([dale_signs(5, 0.6, random) for _ in range(2000)])
    assert np.abs((drawn > 0).mean(0) - 0.6).max() < 4 * np.sqrt(0.6 * 0.4 / 2000)


# Weights and delays


@pytest.mark.parametrize(
    ("distribution", "law"),
    [
        (Normal(5.0, 2.0), scipy.stats.norm(5, 2)),
        (Normal(5.0, 2.0, low=0.0), scipy.stats.truncnorm(-2.5, np.inf, 5, 2)),
        (Normal(0.0, 1.0, low=-1.0, high=0.5), scipy.stats.truncnorm(-1, 0.5)),
        (Normal(0.0, 1.0, low=6.0), scipy.stats.truncnorm(6, np.inf)),
        (Normal(0.0, 1.0, high=-9.0), scipy.stats.truncnorm(-np.inf, -9)),
        (Normal(1.0, 3.0, low=0.0, high=2.0), scipy.stats.truncnorm(-1 / 3, 1 / 3, 1, 3)),
        (LogNormal(20.0, 5.0), scipy.stats.lognorm(math.sqrt(math.log(1 + 1 / 16)), 0, 20 / math.sqrt(1 + 1 / 16))),
    ],
)
def test_distributions(distribution: Distribution, law: Any) -> None:
    values = distribution.draw(20_000, rng())
    assert scipy.stats.kstest(values, law.cdf).pvalue > ALPHA
    assert np.isfinite(values).all()


def test_lognormal_has_the_mean_and_sd_asked_for() -> None:
    values = LogNormal(20.0, 5.0).draw(10**6, rng())
    assert values.mean() == pytest.approx(20, rel=0.001)
    assert values.std() == pytest.approx(5, rel=0.01)


@pytest.mark.parametrize("weight_pa", [3.0, Normal(3.0, 2.0), LogNormal(3.0, 1.0)])
def test_weights_have_dales_sign(weight_pa: Any) -> None:
    region = replace(ball("a", 60), sign=dale_signs(60, 0.8, rng()))
    edges = wire(region, region, Bernoulli(0.5), weight_pa=weight_pa, g=4.0, rng=rng())
    Connectome.of([region], [edges])  # checks Dale's rule
    plus = region.sign[edges.source] > 0
    assert edges.weight[plus].min() >= 0 >= edges.weight[~plus].max()
    assert -edges.weight[~plus].mean() == pytest.approx(4 * edges.weight[plus].mean(), rel=0.1)


def test_weights_without_dales_sign_may_have_either() -> None:
    region = replace(Region("a", 4), sign=np.array([0, 0, 1, -1], np.int8))
    edges = wire(region, region, AllToAll(True), weight_pa=Normal(0.0, 1.0), rng=rng())
    sign = region.sign[edges.source]
    assert edges.weight[sign == 0].min() < 0 < edges.weight[sign == 0].max()
    assert (edges.weight * sign >= 0).all()
    free = Region("b", 3)
    assert (wire(free, free, AllToAll(), weight_pa=-2.0, rng=rng()).weight == -2).all()
    with pytest.raises(ConnectomeError, match="must be >= 0: a strength"):
        wire(region, region, AllToAll(), weight_pa=-2.0, rng=rng())


def test_constant_columns_cost_no_memory() -> None:
    region = replace(ball("a", 50), sign=np.full(50, -1, np.int8))
    edges = wire(region, region, AllToAll(), weight_pa=2.0, g=3.0, delay_ms=1.5, rng=rng())
    assert edges.weight.strides == edges.delay_steps.strides == (0,)
    assert (edges.weight[0], edges.delay_steps[0]) == (-6, 15)


def test_delays_by_conduction() -> None:
    a, b = ball("a", 20), ball("b", 30, seed=4)
    edges = wire(a, b, AllToAll(), weight_pa=1.0, delay_ms=Conduction(0.05, minimum_ms=1.0), rng=rng())
    mm = np.linalg.norm(a.position_um[edges.source] - b.position_um[edges.target], axis=1) / 1000
    np.testing.assert_allclose(edges.delay, np.maximum(mm / 0.05, 1.0), atol=0.05 + 1e-9)
    assert edges.delay.min() == 1.0
    assert edges.delay.max() > 2
    fast = wire(a, b, AllToAll(), weight_pa=1.0, delay_ms=Conduction(1e6), rng=rng())
    assert (fast.delay_steps == 1).all()


def test_weights_do_not_depend_on_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Edges are ordered by delay and weights drawn in that order: the two stay independent, and each keeps its law."""
    monkeypatch.setattr(connection_rules, "BLOCK_EDGES", 1000)
    a = Region("a", 200, sign=dale_signs(200, 0.5, rng()))
    edges = wire(
        a,
        a,
        Bernoulli(0.5),
        weight_pa=Normal(1.0, 0.2, low=0.0),
        g=3.0,
        delay_ms=Normal(1.5, 0.5, low=0.05),
        rng=rng(3),
    )
    sign = a.sign[edges.source]
    weight = np.where(sign > 0, edges.weight, edges.weight / -3)
    assert scipy.stats.kstest(weight, scipy.stats.truncnorm(-5, np.inf, 1, 0.2).cdf).pvalue > ALPHA
    step, count = np.unique(edges.delay_steps, return_counts=True)
    law = scipy.stats.truncnorm(-2.9, np.inf, 15, 5)
    expected = law.cdf(step + 0.5) - law.cdf(step - 0.5)
    expected[0], expected[-1] = law.cdf(step[0] + 0.5), law.sf(step[-1] - 0.5)
    many = expected * len(edges) > 10
    assert many.sum() > 20
    statistic = ((count - expected * len(edges)) ** 2 / (expected * len(edges)))[many].sum()
    assert ALPHA < scipy.stats.chi2.cdf(statistic, many.sum()) < 1 - ALPHA
    assert scipy.stats.pearsonr(edges.delay_steps, weight).pvalue > ALPHA
    assert scipy.stats.pearsonr(edges.delay_steps, edges.target).pvalue > ALPHA


def test_a_rule_that_names_no_neuron_is_refused_before_its_distances() -> None:
    class Wrong:
        def pairs(self, source: Region, target: Region, rng: np.random.Generator) -> Any:
            return np.array([0, 3]), np.array([0, 1])

        def over_produced(self, factor: float) -> Wrong:
            return self

    a = Region("a", 3)
    with pytest.raises(ConnectomeError, match=r"source must be in 0 \.\. 2"):
        wire(a, a, Wrong(), weight_pa=1.0, delay_ms=Conduction(1.0), rng=rng())
    with pytest.raises(ConnectomeError, match="as long as source"):
        wire(a, a, ([0, 1], [1]), weight_pa=1.0, delay_ms=Conduction(1.0), rng=rng())


def test_random_delays_are_at_least_one_step() -> None:
    a = Region("a", 60)
    edges = wire(a, a, AllToAll(), weight_pa=1.0, delay_ms=Normal(1.5, 0.75), dt_ms=0.5, rng=rng())
    assert edges.delay_steps.min() == 1
    assert edges.delay.mean() == pytest.approx(1.5, abs=0.1)
    with pytest.raises(ConnectomeError, match="delay_ms"):
        wire(a, a, AllToAll(), weight_pa=1.0, delay_ms=0.0, rng=rng())


# wire


def test_wire_finds_the_kind() -> None:
    a, b, eye, hand = Region("a", 3), Region("b", 3), Region("eye", 3, "sensor"), Region("hand", 3, "effector")
    kinds = {(a, a): "local", (a, b): "long_range", (eye, a): "afferent", (b, hand): "efferent"}
    for (s, t), kind in kinds.items():
        edges = wire(s, t, OneToOne(), weight_pa=1.0, birth_stage=2, rng=rng())
        assert edges.key == (s.name, kind, t.name)
        assert (edges.birth_stage == 2).all()
    for s, t in ((hand, a), (a, eye), (eye, eye), (eye, hand)):
        with pytest.raises(ConnectomeError, match="must go from"):
            wire(s, t, OneToOne(), weight_pa=1.0, rng=rng())


def test_wire_takes_given_pairs_in_any_order() -> None:
    a = Region("a", 4)
    edges = wire(a, a, ([3, 0, 0], [1, 2, 2]), weight_pa=[1.0, -2.0, 3.0], delay_ms=[0.3, 0.2, 0.1], rng=rng())
    assert edges.source.tolist() == [0, 0, 3]
    assert edges.target.tolist() == [2, 2, 1]
    assert edges.weight.tolist() == [3, -2, 1]  # by delay
    assert edges.delay_steps.tolist() == [1, 2, 3]
    for bad in (([4], [0]), ([-1], [0]), ([0.5], [0]), ([0, 1], [0])):
        with pytest.raises(ConnectomeError):
            wire(a, a, bad, weight_pa=1.0, rng=rng())


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Bernoulli(0.2), Bernoulli(0.2 * 1.5)),
        (ByDistance(60.0, p0=0.4), ByDistance(60.0, p0=0.4 * 1.5)),
        (ByDistance(60.0, density=0.1), ByDistance(60.0, density=0.1 * 1.5)),
        (FixedInDegree(10), FixedInDegree(15)),
        (FixedOutDegree(10), FixedOutDegree(15)),
        (FixedTotalNumber(100), FixedTotalNumber(150)),
        (SmallWorld(8, 0.1), SmallWorld(12, 0.1)),
    ],
)
def test_over_production(rule: Any, expected: ConnectionRule) -> None:
    made = rule.over_produced(1.5)
    assert made == expected
    a = ball("a", 60)
    more = wire(a, a, rule, weight_pa=1.0, over_production=1.5, rng=rng())
    assert len(more) == len(wire(a, a, made, weight_pa=1.0, rng=rng()))
    assert len(more) == pytest.approx(1.5 * len(wire(a, a, rule, weight_pa=1.0, rng=rng())), rel=0.2)


@pytest.mark.parametrize(
    ("rule", "factor"),
    [
        (Bernoulli(0.6), 2.0), (ByDistance(10.0, p0=0.6), 2.0), (ByDistance(1e3, density=0.6), 2.0),
        (FixedInDegree(40), 2.0), (SmallWorld(40, 0.0), 2.0), (AllToAll(), 1.5), (OneToOne(), 2.0),
        (Bernoulli(0.1), 0.5), (Bernoulli(0.1), math.nan), (Bernoulli(0.1), math.inf), (([0], [1]), 2.0),
    ],
)  # fmt: skip
def test_over_production_refused(rule: Any, factor: float) -> None:
    a = ball("a", 60)
    with pytest.raises(ConnectomeError):
        wire(a, a, rule, weight_pa=1.0, over_production=factor, rng=rng())


@pytest.mark.parametrize(
    "make",
    [
        lambda: Bernoulli(1.1), lambda: Bernoulli(math.nan), lambda: Bernoulli(cast(Any, "0.1")),
        lambda: Bernoulli(True), lambda: ByDistance(0.0, p0=0.5),
        lambda: ByDistance(1.0), lambda: ByDistance(1.0, p0=0.5, density=0.5),
        lambda: ByDistance(1.0, p0=2.0), lambda: ByDistance(1.0, p0=0.5, profile=cast(Any, "box")),
        lambda: FixedInDegree(-1),
        lambda: FixedOutDegree(cast(Any, 2.5)), lambda: FixedTotalNumber(-1), lambda: SmallWorld(3, 0.1),
        lambda: SmallWorld(4, 1.5), lambda: Normal(math.nan, 1.0), lambda: Normal(0.0, -1.0),
        lambda: Normal(0.0, 1.0, low=2.0, high=1.0), lambda: Normal(0.0, 0.0, low=1.0), lambda: LogNormal(0.0, 1.0),
        lambda: Normal(0.0, 1.0, low=50.0).draw(1, rng()), lambda: Conduction(0.0), lambda: Conduction(1.0, -1.0),
        lambda: positions_in_sphere(-1, 1.0, rng()), lambda: positions_in_box(1, (1, 1), rng()),
        lambda: positions_in_box(1, (1, 1, -1), rng()), lambda: positions_on_grid(1, math.inf, rng()),
        lambda: dale_signs(10, 1.5, rng()), lambda: OneToOne().pairs(Region("a", 2), Region("b", 3), rng()),
        lambda: SmallWorld(4, 0.0).pairs(Region("a", 4), Region("a", 4), rng()),
        lambda: SmallWorld(2, 0.0).pairs(Region("a", 4), Region("b", 4), rng()),
        lambda: FixedTotalNumber(91).pairs(Region("a", 10), Region("a", 10), rng()),
        lambda: wire(Region("a", 3), Region("a", 3), AllToAll(), weight_pa=1.0, g=-1.0, rng=rng()),
    ],
)  # fmt: skip
def test_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ConnectomeError):
        make()


# From data


MATRIX = np.array([[0, 2, 0, 1], [0, 0, -1, 0], [3, 0, 5, 0], [0, 0, 4, 0.5]])


def dense_of(c: Connectome) -> NDArray[np.float32]:
    dense: NDArray[np.float32] = c.to_scipy().toarray()
    return dense


def test_matrix_in_one_region() -> None:
    for matrix in (MATRIX, MATRIX.tolist(), scipy.sparse.csr_array(MATRIX), scipy.sparse.csc_matrix(MATRIX)):
        c = from_matrix(matrix)
        assert list(c.regions) == ["all"]
        np.testing.assert_array_equal(dense_of(c), MATRIX)


def test_names_of_a_matrix_may_be_numbers_and_those_of_pandas() -> None:
    numbers = [101, 102, 7, 9]
    frame = pandas.DataFrame(MATRIX, numbers, numbers)
    given: list[Any] = [numbers, np.array(numbers)]
    for c in (from_matrix(frame), *(from_matrix(MATRIX, node_labels=names) for names in given)):
        assert c.regions["all"].label.tolist() == ["101", "102", "7", "9"]  # type: ignore[union-attr]
    assert list(from_matrix(MATRIX, [1, 2, 1, 2]).regions) == ["1", "2"]  # type: ignore[list-item]
    assert from_matrix(pandas.DataFrame(MATRIX)).regions["all"].label is None
    with pytest.raises(ConnectomeError, match="matrix must name its rows and its columns alike"):
        from_matrix(pandas.DataFrame(MATRIX, numbers, numbers[::-1]))


def test_matrix_with_a_region_for_each_label() -> None:
    c = from_matrix(MATRIX, ["v1", "v2", "mt", "fef"])
    assert [r.size for r in c.regions.values()] == [1, 1, 1, 1]
    np.testing.assert_array_equal(dense_of(c), MATRIX)
    assert {k.kind for k in c.edges if k.source == k.target} == {"local"}
    assert c.n_edges == 7


def test_matrix_with_labels_that_repeat() -> None:
    position = np.arange(12.0).reshape(4, 3)
    c = from_matrix(MATRIX, ["b", "a", "b", "a"], position_um=position, sign=[1, -1, 1, 1])
    order = [0, 2, 1, 3]
    np.testing.assert_array_equal(dense_of(c), MATRIX[order][:, order])
    np.testing.assert_array_equal(c.regions["a"].position_um, position[[1, 3]])
    assert c.regions["a"].sign.tolist() == [-1, 1]


def test_matrix_delays() -> None:
    tract = np.arange(16.0).reshape(4, 4)
    c = from_matrix(MATRIX, tract_length_mm=tract, delay_ms=Conduction(5.0, minimum_ms=0.5))
    edges = c.edges[EdgeKey("all", "local", "all")]
    np.testing.assert_allclose(edges.delay, np.maximum(tract[edges.source, edges.target] / 5, 0.5))
    position = np.array([[0, 0, 0], [1000, 0, 0], [0, 2000, 0], [0, 0, 9000]])
    edges = from_matrix(MATRIX, position_um=position, delay_ms=Conduction(1.0)).edges[EdgeKey("all", "local", "all")]
    assert edges.delay[:2] == pytest.approx([1.0, 9.0])
    assert (from_matrix(MATRIX, delay_ms=2.0).edges[EdgeKey("all", "local", "all")].delay == 2).all()


@pytest.mark.parametrize(
    "options",
    [
        {"labels": ["a", "b"]}, {"labels": ["a", "b", "c", 4.5]}, {"labels": ["a", "b", "c", None]},
        {"labels": ["a", "b", "c", "no name"]}, {"labels": ["a", "b", "c", ["d"]]}, {"position_um": np.zeros((4, 2))},
        {"position_um": np.full((4, 3), math.inf)}, {"sign": [1, 1, 1]}, {"sign": [-1, 1, 1, 1]},
        {"sign": list("++--")},
        {"tract_length_mm": -np.ones((4, 4))}, {"tract_length_mm": np.eye(3), "delay_ms": Conduction(1.0)},
        {"node_labels": ["a"]}, {"node_labels": ["a", "b", "c", "\n"]},
        {"delay_ms": Conduction(1.0)}, {"delay_ms": -1.0}, {"delay_ms": "slow"}, {"dt_ms": 0.0},
        {"tract_length_mm": np.full((4, 4), math.nan), "delay_ms": Conduction(1.0)},
        {"tract_length_mm": np.full((4, 4), "a"), "delay_ms": Conduction(1.0)},
    ],
)  # fmt: skip
def test_matrix_refuses(options: dict[str, Any]) -> None:
    with pytest.raises(ConnectomeError):
        from_matrix(MATRIX, **options)


@pytest.mark.parametrize("bad", [np.zeros((2, 3)), np.zeros(4), "matrix", [[math.inf]], None])
def test_matrix_must_be_one(bad: Any) -> None:
    with pytest.raises(ConnectomeError):
        from_matrix(bad)


def test_edge_list_of_names() -> None:
    c = from_edge_list(["AVAL", "AVAR", "AVAL"], ["VA1", "AVAL", "AVAR"], [2.0, -1.0, 3.0])
    np.testing.assert_array_equal(dense_of(c), [[0, 3, 2], [-1, 0, 0], [0, 0, 0]])
    region_of = {"AVAL": "command", "AVAR": "command", "VA1": "motor"}
    c = from_edge_list(["AVAL", "AVAR", "AVAL"], ["VA1", "AVAL", "AVAR"], region_of=region_of, delay_ms=0.5)
    assert {n: r.size for n, r in c.regions.items()} == {"command": 2, "motor": 1}
    assert c.edges[EdgeKey("command", "long_range", "motor")].delay.tolist() == [0.5]
    assert from_edge_list([10, 30], [30, 20]).regions["all"].size == 3
    assert from_edge_list([], []).n_neurons == 0


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        ((["a"], ["b", "c"]), {}), ((["a"], [1]), {}), (([0.5], [1.0]), {}), (([["a"]], [["b"]]), {}),
        ((["a"], ["b"], [1.0, 2.0]), {}), ((["a"], ["b"], "strong"), {}), ((["a"], ["b"]), {"region_of": {"a": "x"}}),
        ((["a"], ["b"]), {"delay_ms": [1.0, 2.0]}),
    ],
)  # fmt: skip
def test_edge_list_refuses(arguments: Any, options: Any) -> None:
    with pytest.raises(ConnectomeError):
        from_edge_list(*arguments, **options)


def test_memory_follows_the_edges() -> None:
    """1e5 x 1e5 pairs would be 1e10 numbers."""
    import tracemalloc

    a = Region("a", 100_000, position_um=positions_in_box(100_000, (1000, 1000, 1000), rng()))
    rules: list[ConnectionRule] = [
        Bernoulli(1e-5),
        ByDistance(200.0, p0=1e-4),
        FixedOutDegree(1),
        FixedTotalNumber(10**5),
    ]
    for rule in rules:
        tracemalloc.start()
        source, _ = rule.pairs(a, a, rng())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert 5e4 < source.size < 2e5
        assert peak < 20e6


def test_matrix_keeps_names_and_tract_lengths() -> None:
    matrix, length = np.array([[0, 2.0], [1.0, 0]]), np.array([[0, 1.5], [3.0, math.nan]])
    c = from_matrix(matrix, ["x", "y"], node_labels=["n1", "n2"], tract_length_mm=length, delay_ms=0.7)
    assert [r.label.tolist() for r in c.regions.values() if r.label is not None] == [["n1"], ["n2"]]
    found = {(k.source, k.target): e for k, e in c.edges.items()}
    assert found["x", "y"].state["tract_length_um"].tolist() == [1500]
    assert found["y", "x"].state["tract_length_um"].tolist() == [3000]
    assert found["x", "y"].delay.tolist() == pytest.approx([0.7])


def test_names_of_an_edge_list_are_labels() -> None:
    c = from_edge_list(["b", "c"], ["a", "b"], region_of={"a": "x", "b": "y", "c": "x"})
    assert {r.name: r.label.tolist() for r in c.regions.values() if r.label is not None} == {
        "x": ["a", "c"],
        "y": ["b"],
    }
    assert from_edge_list([3, 5], [5, 7]).regions["all"].label is None
