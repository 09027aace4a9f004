"""Published networks against their papers' formulas. Seeds are fixed; each statistical bound is passed by 1 - 1e-6 of
seeds. The peers' equations are written a second time, in mV, and must give the same spikes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any, cast

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, Region, models
from connectome.models import POTJANS_DIESMANN_ACTIVITY, Model, brunel, cuba, potjans_diesmann, random_network
from connectome.simulate.runs import Stimulus, run
from connectome.wiring import connection_rules

ALPHA = 1e-6
POPULATIONS = ("L23E", "L23I", "L4E", "L4I", "L5E", "L5I", "L6E", "L6I")
# NEST's reference implementation, network_params.py: row = target, column = source.
FULL_SIZE = np.array([20683, 5834, 21915, 5479, 4850, 1065, 14395, 2948])
PROBABILITY = [
    [0.1009, 0.1689, 0.0437, 0.0818, 0.0323, 0.0, 0.0076, 0.0],
    [0.1346, 0.1371, 0.0316, 0.0515, 0.0755, 0.0, 0.0042, 0.0],
    [0.0077, 0.0059, 0.0497, 0.135, 0.0067, 0.0003, 0.0453, 0.0],
    [0.0691, 0.0029, 0.0794, 0.1597, 0.0033, 0.0, 0.1057, 0.0],
    [0.1004, 0.0622, 0.0505, 0.0057, 0.0831, 0.3726, 0.0204, 0.0],
    [0.0548, 0.0269, 0.0257, 0.0022, 0.06, 0.3158, 0.0086, 0.0],
    [0.0156, 0.0066, 0.0211, 0.0166, 0.0572, 0.0197, 0.0396, 0.2252],
    [0.0364, 0.001, 0.0034, 0.0005, 0.0277, 0.008, 0.0658, 0.1443],
]
EXTERNAL = np.array([1600, 1500, 2100, 1900, 2000, 1900, 2900, 2100])
RATES_HZ = np.array([0.903, 2.965, 4.414, 5.876, 7.569, 8.633, 1.105, 7.829])
SCALE = 0.1


@cache
def microcircuit() -> Model:
    return potjans_diesmann(SCALE, seed=3)


def full_numbers() -> NDArray[np.float64]:
    """Synapses from each population (column) to each (row), by Potjans & Diesmann's equation 1."""
    return np.array(
        [
            [math.log(1 - p) / math.log((n * m - 1) / (n * m)) for p, m in zip(row, FULL_SIZE.tolist(), strict=True)]
            for row, n in zip(PROBABILITY, FULL_SIZE.tolist(), strict=True)
        ]
    )


def between(model: Model, source: str, target: str) -> tuple[NDArray[Any], ...]:
    """The edges from a population to a population: source and target counted in them, weight, delay in steps."""
    (s, rows), (t, columns) = model.populations[source], model.populations[target]
    edges = next(e for e in model.connectome.edges.values() if (e.key.source, e.key.target) == (s, t))
    i, j = edges.source, edges.target
    here = (i >= rows.start) & (i < rows.stop) & (j >= columns.start) & (j < columns.stop)
    return i[here] - rows.start, j[here] - columns.start, edges.weight[here], edges.delay_steps[here]


# The microcircuit


def test_full_numbers_are_those_of_the_reference() -> None:
    assert FULL_SIZE.sum() == 77_169
    assert np.rint(full_numbers()).sum() == 298_880_968


def test_microcircuit_numbers() -> None:
    model = microcircuit()
    assert list(model.populations) == list(POPULATIONS) == list(POTJANS_DIESMANN_ACTIVITY)
    sizes = [s.stop - s.start for _, s in model.populations.values()]
    assert sizes == np.rint(FULL_SIZE * SCALE).astype(int).tolist()
    expected = np.rint(full_numbers() * SCALE**2).astype(int)
    for b, target in enumerate(POPULATIONS):
        for a, source in enumerate(POPULATIONS):
            assert between(model, source, target)[0].size == expected[b, a]
    assert model.connectome.n_edges == expected.sum()


def test_microcircuit_layers() -> None:
    c = microcircuit().connectome
    assert list(c.regions) == ["L23", "L4", "L5", "L6"]
    assert len(c.edges) == 16
    assert all((k.kind == "local") == (k.source == k.target) for k in c.edges)
    for name, (layer, here) in microcircuit().populations.items():
        assert name.startswith(layer)
        assert (c.regions[layer].sign[here] == (1 if name.endswith("E") else -1)).all()
    for edges in c.edges.values():
        assert edges.indices.dtype == np.uint16
        assert edges.weight.dtype == np.float32
        assert edges.birth_stage.strides == (0,)
    neuron = c.regions["L5"].neuron
    assert (neuron.tau_m_ms, neuron.c_m_pf, neuron.t_ref_ms) == (10, 250, 2)
    assert (neuron.tau_syn_ex_ms, neuron.tau_syn_in_ms) == (0.5, 0.5)
    assert (neuron.e_l_mv, neuron.v_reset_mv, neuron.v_th_mv) == (-65, -65, -50)


def test_microcircuit_weights() -> None:
    for source, target, mean in (
        ("L23E", "L23E", 87.81), ("L4E", "L23E", 2 * 87.81), ("L4E", "L23I", 87.81), ("L4I", "L23E", -4 * 87.81),
        ("L6I", "L6E", -4 * 87.81), ("L23E", "L5I", 87.81),
    ):  # fmt: skip
        weight = between(microcircuit(), source, target)[2] * math.sqrt(SCALE)
        assert np.all(weight / mean > 0)
        law = scipy.stats.norm(mean, abs(mean) / 10)
        assert scipy.stats.kstest(weight[:100_000], law.cdf).pvalue > ALPHA
        assert weight.mean() == pytest.approx(mean, rel=6 * 0.1 / math.sqrt(weight.size) + 1e-4)


@pytest.mark.parametrize(("source", "mean"), [("L4E", 15.0), ("L4I", 7.5)])
def test_microcircuit_delays(source: str, mean: float) -> None:
    """Normal with half the mean as sd, redrawn below half a step, rounded: by chi-square."""
    steps = between(microcircuit(), source, "L4E")[3]
    assert steps.min() == 1
    law = scipy.stats.truncnorm((0.5 - mean) / (mean / 2), np.inf, mean, mean / 2)
    value = np.arange(1, steps.max() + 1)
    expected = steps.size * (law.cdf(value + 0.5) - law.cdf(value - 0.5))
    many = expected > 10
    statistic = ((np.bincount(steps, minlength=value.size + 1)[1:] - expected) ** 2 / expected)[many].sum()
    assert many.sum() > 2 * mean
    assert ALPHA < scipy.stats.chi2.cdf(statistic, many.sum() - 1) < 1 - ALPHA


@pytest.mark.parametrize(("source", "target"), [("L4E", "L4E"), ("L6E", "L4I"), ("L5I", "L5E"), ("L23E", "L6E")])
def test_microcircuit_pairs_are_random(source: str, target: str) -> None:
    """Degrees are multinomial at both ends, as of pairs drawn one by one; partners do not depend on each other, nor on
    delays and weights."""
    i, j, weight, delay = between(microcircuit(), source, target)
    sizes = {name: s.stop - s.start for name, (_, s) in microcircuit().populations.items()}
    for end, n in ((i, sizes[source]), (j, sizes[target])):
        mean = i.size / n
        statistic = ((np.bincount(end, minlength=n) - mean) ** 2).sum() / (mean * (1 - 1 / n))
        assert ALPHA < scipy.stats.chi2.cdf(statistic, n - 1) < 1 - ALPHA
    _, count = np.unique(i.astype(np.int64) * sizes[target] + j, return_counts=True)
    pairs = sizes[source] * sizes[target]
    distinct = pairs * -math.expm1(i.size * math.log1p(-1 / pairs))
    assert count.size == pytest.approx(distinct, abs=6 * math.sqrt(i.size))
    assert count.max() > 1
    if source == target:
        assert scipy.stats.binomtest(int((i == j).sum()), i.size, 1 / sizes[source]).pvalue > ALPHA
    for a, b in ((i, j), (i, delay), (j, delay), (i, weight), (j, weight), (delay, weight)):
        assert scipy.stats.pearsonr(a, b).pvalue > ALPHA


def test_microcircuit_drive_and_start() -> None:
    model = microcircuit()
    optimized = {
        "L23E": (-68.28, 5.36), "L23I": (-63.16, 4.57), "L4E": (-63.33, 4.74), "L4I": (-63.45, 4.94),
        "L5E": (-63.11, 4.94), "L5I": (-61.66, 4.55), "L6E": (-66.72, 5.46), "L6I": (-61.43, 4.48),
    }  # fmt: skip
    for p, external in zip(POPULATIONS, EXTERNAL, strict=True):
        layer, here = model.populations[p]
        poisson = model.stimulus.poisson[layer]
        assert (np.asarray(poisson.rate_hz)[here] == 8 * round(external * SCALE)).all()
        assert poisson.weight_pa == pytest.approx(87.81 / math.sqrt(SCALE), rel=1e-4)
        assert scipy.stats.kstest(model.initial_v_mv[layer][here], scipy.stats.norm(*optimized[p]).cdf).pvalue > ALPHA


def test_scale_keeps_mean_and_variance_of_the_input() -> None:
    """At the published rates every population gets the mean and the variance that it gets at full scale; and the mean
    from a steady drive as well."""
    model, steady, unit = microcircuit(), potjans_diesmann(SCALE, drive="dc", seed=3), 87.81
    assert not steady.stimulus.poisson
    weight = np.full((8, 8), unit)
    weight[0, 2] *= 2
    weight[:, 1::2] *= -4
    k = full_numbers() / FULL_SIZE[:, None]
    mean_pa = ((weight * k) @ RATES_HZ + unit * EXTERNAL * 8) * 0.5e-3
    variance = (weight**2 * k) @ RATES_HZ + unit**2 * EXTERNAL * 8
    for b, target in enumerate(POPULATIONS):
        layer, here = model.populations[target]
        n = here.stop - here.start
        poisson = model.stimulus.poisson[layer]
        rate, w = np.asarray(poisson.rate_hz)[here][0], float(cast(float, poisson.weight_pa))
        found_pa, found = rate * w * 0.5e-3, rate * w**2
        current_pa = np.asarray(model.stimulus.current_pa[layer])[here][0]
        constant = np.asarray(steady.stimulus.current_pa[layer])[here][0]
        assert constant == pytest.approx(current_pa + found_pa, abs=0.005 * unit * EXTERNAL[b] * 8 * 0.5e-3)
        found_pa += current_pa
        for a, source in enumerate(POPULATIONS):
            strength = between(model, source, target)[2].astype(np.float64)
            found_pa += strength.sum() / n * RATES_HZ[a] * 0.5e-3
            found += (strength**2).sum() / 1.01 / n * RATES_HZ[a]
        assert found_pa == pytest.approx(mean_pa[b], abs=0.005 * unit * EXTERNAL[b] * 8 * 0.5e-3)
        assert found == pytest.approx(variance[b], rel=0.01)  # L5I has 106 neurons for 106.5


def test_microcircuit_fires_as_published() -> None:
    """A tenth of it fires somewhat less than all of it. NEST 3.10 does so too, with the rates below (two seeds, from
    200 ms on, its own wiring)."""
    model = microcircuit()
    result = run(model.connectome, 600.0, model.stimulus, initial_v_mv=model.initial_v_mv)
    late = result.spike_time_ms.values > 200
    layer_of, neuron = result.region.values[result.spike_region.values], result.spike_neuron.values
    nest = dict(zip(POPULATIONS, (0.43, 2.08, 3.93, 4.97, 6.7, 7.76, 0.82, 7.0), strict=True))
    for name, (layer, here) in model.populations.items():
        mine = late & (layer_of == layer) & (neuron >= here.start) & (neuron < here.stop)
        rate_hz = mine.sum() / (here.stop - here.start) / 0.4
        assert rate_hz == pytest.approx(nest[name], rel=0.15, abs=0.15)
        assert rate_hz == pytest.approx(POTJANS_DIESMANN_ACTIVITY[name].rate_hz[0], rel=0.6)


def test_full_scale_has_no_current(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(key: Any, n_source: Any, n_target: Any, number: Any, *_: Any) -> EdgeSet:
        asked.append(int(number.sum()))
        return EdgeSet.from_arrays(key, [], [], n_source=sum(n_source), n_target=sum(n_target), dt_ms=0.1)

    asked: list[int] = []
    monkeypatch.setattr(models, "_random_rows", none)
    full = potjans_diesmann()
    assert full.connectome.n_neurons == 77_169
    assert sum(asked) == 298_880_968
    assert not full.stimulus.current_pa
    assert full.stimulus.poisson["L6"].weight_pa == pytest.approx(87.81, rel=1e-4)


def test_small_blocks_and_wide_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """However the rows are cut, and whether row, delay and target fit in 32 bits or not: the same numbers of edges."""
    numbers = {k: len(e) for k, e in potjans_diesmann(0.02).connectome.edges.items()}
    for block in (50, 2**40):
        monkeypatch.setattr(connection_rules, "BLOCK_EDGES", block)
        edges = potjans_diesmann(0.02).connectome.edges
        assert {k: len(e) for k, e in edges.items()} == numbers
    monkeypatch.undo()
    # 2**19 rows of one layer need 19 bits, besides 5 for delays and 14 for targets
    size, number = np.array([2**19 - 10, 10]), np.array([[50_000, 500], [60_000, 600]])
    joined = models._random_rows(
        EdgeKey("a", "long_range", "b"), size, np.array([9000, 1000]), number, np.array([[1.0, -4], [2, -4]]),
        np.random.default_rng(1),
    )  # fmt: skip
    assert len(joined) == number.sum()
    excitatory = joined.source < size[0]
    to_e = joined.target < 9000
    for a, b, mean in ((True, True, 1.0), (True, False, 2.0), (False, True, -4.0), (False, False, -4.0)):
        here = (excitatory == a) & (to_e == b)
        assert here.sum() == number[int(not b), int(not a)]
        assert joined.weight[here].mean() == pytest.approx(mean, rel=0.03)
    assert joined.delay_steps[excitatory].mean() == pytest.approx(15.4, rel=0.02)


# What all models keep


MODELS: dict[str, Callable[[int], Model]] = {
    "cuba": lambda seed: cuba(400, 20, seed=seed),
    "cuba, constant": lambda seed: cuba(400, 20, weights="constant", seed=seed),
    "brunel": lambda seed: brunel(500, seed=seed),
    "brunel, dc": lambda seed: brunel(500, drive="dc", seed=seed),
    "brunel, constant": lambda seed: brunel(500, drive="dc", weights="constant", seed=seed),
    "random": lambda seed: random_network(500, 20, seed=seed),
    "random, constant": lambda seed: random_network(500, 20, weights="constant", seed=seed),
    "microcircuit": lambda seed: potjans_diesmann(0.01, seed=seed),
    "microcircuit, dc": lambda seed: potjans_diesmann(0.01, drive="dc", seed=seed),
}


@pytest.mark.parametrize("name", MODELS)
def test_same_seed_same_network(name: str) -> None:
    first, again, other = (MODELS[name](seed) for seed in (4, 4, 5))
    assert first.connectome.digest() == again.connectome.digest() != other.connectome.digest()
    assert first.connectome.provenance.seed == 4
    for region, v in first.initial_v_mv.items():
        np.testing.assert_array_equal(v, again.initial_v_mv[region])
    run(first.connectome, 1.0, first.stimulus, initial_v_mv=first.initial_v_mv)


@pytest.mark.parametrize("name", MODELS)
def test_populations_cover_the_regions(name: str) -> None:
    model = MODELS[name](1)
    for region in model.connectome.regions.values():
        parts = [s for r, s in model.populations.values() if r == region.name]
        assert [i for p in parts for i in range(p.start, p.stop)] == list(range(region.size))
        for p in parts:
            assert np.unique(region.sign[p]).size == 1


@pytest.mark.parametrize("make", [cuba, brunel, random_network])
def test_weights_are_stored_or_constant(make: Any) -> None:
    stored, constant = make(500), make(500, weights="constant")
    assert list(stored.connectome.regions) == ["all"]
    assert list(constant.connectome.regions) == ["E", "I"]
    (edges,) = stored.connectome.edges.values()
    assert edges.weight.strides == (4,)
    assert edges.delay_steps.strides == (0,)
    values = set()
    for e in constant.connectome.edges.values():
        assert e.weight.strides == e.delay_steps.strides == (0,)
        assert e.weight[0] * (1 if e.key.source == "E" else -1) > 0
        values.add(e.weight[0])
    assert {*np.unique(edges.weight)} == values
    assert constant.connectome.n_edges == pytest.approx(stored.connectome.n_edges, rel=0.05)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: cuba(4), "n must be"), (lambda: cuba(50), "k must be an integer in 0 .. 50"),
        (lambda: cuba(100, -1), "k must"), (lambda: cuba(cast(int, 100.0), 10), "n must be an integer"),
        (lambda: cuba(100, 10, weights=cast(Any, "none")), "weights must be one of per_synapse, constant"),
        (lambda: brunel(49), "n must be"), (lambda: brunel(drive=cast(Any, "ac")), "drive must be one of poisson, dc"),
        (lambda: random_network(10, 11), "k must"), (lambda: random_network(10, 0), "k must"),
        (lambda: potjans_diesmann(0.0), "scale must be a number in 0.01 .. 1"),
        (lambda: potjans_diesmann(1.5), "scale must"),
        (lambda: potjans_diesmann(drive=cast(Any, "ac")), "drive must be one of poisson, dc"),
        (lambda: potjans_diesmann(math.nan), "scale must"),
        (lambda: cuba(100, 10, seed=-1), "seed must"), (lambda: potjans_diesmann(seed=cast(int, 0.5)), "seed must"),
    ],
)  # fmt: skip
def test_refused(make: Callable[[], Model], match: str) -> None:
    with pytest.raises(ConnectomeError, match=match):
        make()


def test_the_smallest_networks_run() -> None:
    for model in (cuba(5, 5), brunel(50), random_network(5, 1), random_network(5, 5), potjans_diesmann(0.01)):
        run(model.connectome, 5.0, model.stimulus, initial_v_mv=model.initial_v_mv)


# Against the peers' equations


def trains(model: Model, duration_ms: float, **options: Any) -> list[tuple[int, int]]:
    """(step, neuron) of each spike, in order."""
    result = run(
        model.connectome, duration_ms, model.stimulus, initial_v_mv=model.initial_v_mv, dtype="float64", **options
    )
    step = np.rint(result.spike_time_ms.values / 0.1).astype(int) - 1
    return sorted(zip(step.tolist(), result.spike_neuron.values.tolist(), strict=True))


def matrices(model: Model) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """How many excitatory and how many inhibitory synapses (target, source)."""
    (edges,) = model.connectome.edges.values()
    found = []
    for positive in (True, False):
        matrix = np.zeros((edges.n_target, edges.n_source), np.int64)
        np.add.at(matrix, (edges.target, edges.source), (edges.weight > 0) == positive)
        found.append(matrix)
    return found[0], found[1]


def test_cuba_is_the_peers_equations() -> None:
    """dv/dt = (ge + gi - (v - El)) / taum, dge/dt = -ge / taue, dgi/dt = -gi / taui, in mV; ge += 1.62, gi -= 9."""
    model = cuba(600, 40, seed=2)
    excitatory, inhibitory = matrices(model)
    v, dt, n = model.initial_v_mv["all"] + 49, 0.1, 600
    ge, gi, wait = np.zeros(n), np.zeros(n), np.zeros(n, int)
    m, e, i = (math.exp(-dt / tau) for tau in (20, 5, 10))
    spikes, before = [], np.zeros(n, bool)
    for step in range(1000):
        to_v_e, to_v_i = (e - m) / (1 - 20 / 5) * -1, (i - m) / (1 - 20 / 10) * -1
        new = v * m - ge * to_v_e - gi * to_v_i
        v = np.where(wait > 0, -11.0, new)
        wait = np.maximum(wait - 1, 0)
        ge, gi = ge * e + 1.62 * (excitatory @ before), gi * i - 9 * (inhibitory @ before)
        before = v >= -1
        v, wait = np.where(before, -11.0, v), np.where(before, 50, wait)
        spikes += [(step, j) for j in np.flatnonzero(before).tolist()]
    assert len(spikes) > 200
    assert trains(model, 100.0) == spikes


def test_brunel_is_the_peers_equations() -> None:
    """dv/dt = (mu - v) / tau, and v += J 1.5 ms after a spike unless the neuron is refractory."""
    model = brunel(600, drive="dc", seed=2)
    excitatory, inhibitory = matrices(model)
    assert (excitatory.sum(axis=1) == 48).all()
    assert (inhibitory.sum(axis=1) == 12).all()
    v, decay, n = model.initial_v_mv["all"], math.exp(-0.1 / 20), 600
    wait = np.zeros(n, int)
    fired: list[NDArray[np.bool_]] = []
    spikes = []
    for step in range(1000):
        v = 40 + (v - 40) * decay
        if step >= 15:
            v = v + 0.1 * (excitatory @ fired[step - 15]) - 0.5 * (inhibitory @ fired[step - 15])
        v = np.where(wait > 0, 0.0, v)
        wait = np.maximum(wait - 1, 0)
        fired.append(v >= 20)
        v, wait = np.where(fired[-1], 0.0, v), np.where(fired[-1], 20, wait)
        spikes += [(step, j) for j in np.flatnonzero(fired[-1]).tolist()]
    assert len(spikes) > 1000
    assert trains(model, 100.0) == spikes


def test_brunel_jumps_in_closed_form() -> None:
    """One spike moves v by J within one step, 1.5 ms later, and it decays with tau_m alone."""
    model = brunel(50)
    (edges,) = model.connectome.edges.values()
    plus, minus = np.unique(edges.weight)[[1, 0]]
    neuron = model.connectome.regions["all"].neuron
    assert plus == pytest.approx(0.1 * (1 / 1e-4 - 1 / 20) / math.exp(-0.1 / 20), rel=1e-7)
    sensor, region = Region("s", 2, "sensor"), Region("r", 1, neuron=neuron)
    link = EdgeSet.from_arrays(
        ("s", "afferent", "r"), [0, 1], [0, 0], [plus, minus], n_source=2, n_target=1, dt_ms=0.1,
        delay_ms=edges.delay[0],
    )  # fmt: skip
    result = run(
        Connectome.of([sensor, region], [link]), 30.0, Stimulus(spikes={"s": ([2.0, 12.0], [0, 1])}), dtype="float64",
        record_v={"r": "all"},
    )  # fmt: skip
    t = result.time_ms.values
    expected = np.where(t > 3.45, 0.1 * np.exp(-(t - 3.5) / 20), 0) - np.where(
        t > 13.45, 0.5 * np.exp(-(t - 13.5) / 20), 0
    )
    np.testing.assert_allclose(result.v_mv.values[:, 0], expected, atol=1e-7)


def test_brunel_poisson_drive_is_1000_inputs_of_20_hz() -> None:
    """Below threshold v has the mean 40 mV and the variance tau J^2 nu / 2 of shot noise."""
    model = brunel(50)
    neuron: Any = model.connectome.regions["all"].neuron
    region = Region("all", 2000, neuron=replace(neuron, v_th_mv=1000.0))
    result = run(Connectome.of([region]), 200.0, model.stimulus, record_v={"all": "all"}, seed=1)
    v = result.v_mv.values[-1]
    variance = 0.02 * 20_000 * 0.1**2 / 2
    assert v.mean() == pytest.approx(40 * -math.expm1(-10), abs=6 * math.sqrt(variance / 2000))
    assert v.var() == pytest.approx(variance, rel=6 * math.sqrt(2 / 2000))


def test_random_network() -> None:
    model = random_network(2000, 100, seed=1)
    (edges,) = model.connectome.edges.values()
    assert (np.diff(edges.indptr) == 100).all()
    assert np.unique(edges.source.astype(np.int64) * 2000 + edges.target).size == 200_000
    assert {*np.unique(edges.weight)} == {80.0, -640.0}
    result = run(model.connectome, 500.0, model.stimulus, initial_v_mv=model.initial_v_mv)
    assert 3 < result.n_spikes.sum() / 2000 / 0.5 < 15
