"""Plasticity inside a run: closed forms of the pair rule, a slow reference, threads, and what is refused."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, NeuronParameters, Region
from connectome.simulate import event_engine
from connectome.simulate.runs import Poisson, Stimulus, run
from connectome.simulate.stdp import PairSTDP, TripletSTDP, learnt
from tests.reference import exact_step

EYE = EdgeKey("eye", "afferent", "a")
RULE = PairSTDP(
    tau_plus_ms=20.0, tau_minus_ms=15.0, a_plus_pa=1.0, a_minus_pa=1.2, w_min_pa=0.0, w_max_pa=100.0
)  # fmt: skip
PULSE_PA = 1e6  # to threshold within one step


def weights(result: xr.Dataset, key: EdgeKey = EYE) -> NDArray[np.float32]:
    """Of an edge set after the run."""
    return np.asarray(result[f"weight_pa {':'.join(key)}"].values)


def pair(weight_pa: float, delay_ms: float = 1.0, dt_ms: float = 0.1, sensors: int = 1) -> Connectome:
    """Sensor neurons, each with an edge to the one neuron, which may fire in every step."""
    edges = EdgeSet.from_arrays(
        EYE, range(sensors), [0] * sensors, weight_pa, n_source=sensors, n_target=1, dt_ms=dt_ms, delay_ms=delay_ms
    )
    neuron = NeuronParameters(t_ref_ms=0.0)
    return Connectome.of([Region("eye", sensors, "sensor"), Region("a", 1, neuron=neuron)], [edges], dt_ms=dt_ms)


def forced(
    connectome: Connectome, duration_ms: float, pre_ms: Any, post_ms: Any, rule: PairSTDP | TripletSTDP, **more: Any
) -> xr.Dataset:
    """A run in which the sensor, or its neurons in turn, and the neuron fire when they are told to."""
    dt, n = connectome.dt_ms, connectome.regions["eye"].size
    pulses = np.zeros((round(duration_ms / dt), 1))
    pulses[np.rint(np.asarray(post_ms) / dt).astype(int) - 1] = PULSE_PA
    which = np.arange(len(pre_ms)) if n > 1 else np.zeros(len(pre_ms), int)
    stimulus = Stimulus(spikes={"eye": (pre_ms, which)}, current_pa={"a": pulses})
    result: xr.Dataset = run(connectome, duration_ms, stimulus, plasticity={EYE: rule}, **more)
    fired = result.spike_time_ms.values[result.spike_region.values == 1]
    np.testing.assert_allclose(fired, np.sort(post_ms))  # and nothing else made it fire
    return result


# The pair rule, against its closed form.


@pytest.mark.parametrize("delay_ms", [0.1, 1.5, 30.0])
def test_a_pair_changes_the_weight_by_its_window(delay_ms: float) -> None:
    difference = np.array([-200.0, -40.0, -15.0, -0.5, -0.1, 0.0, 0.1, 0.5, 20.0, 60.0, 250.0])  # target minus arrival
    post_ms = 290.0
    connectome = pair(50.0, delay_ms, sensors=difference.size)
    result = forced(connectome, 500.0, post_ms - difference - delay_ms, [post_ms], RULE)
    window = np.where(difference > 0, np.exp(-difference / 20.0), -1.2 * np.exp(difference / 15.0))
    wanted = 50.0 + np.where(difference == 0, 0.0, window)
    np.testing.assert_allclose(weights(result), wanted, rtol=1e-6)
    assert weights(result)[5] == 50.0


@pytest.mark.parametrize("low", [0.0, 20.0])
def test_multiplicative_pairs_are_scaled_by_the_room_that_is_left(low: float) -> None:
    rule = replace(RULE, dependence="multiplicative", w_min_pa=low)
    for weight in (20.0, 35.0, 99.0, 100.0):
        result = forced(pair(weight, sensors=2), 100.0, [39.0, 59.0], [50.0], rule)  # 10 ms before and after
        up, down = math.exp(-0.5) * (100 - weight), 1.2 * math.exp(-10 / 15) * (weight - low)
        np.testing.assert_allclose(weights(result), [weight + up / (100 - low), weight - down / (100 - low)], rtol=1e-6)


def all_pairs(pre: NDArray[Any], post: NDArray[Any]) -> float:
    """The sum over all pairs of arrivals and spikes of the target, additive, unbounded."""
    difference = post[None] - pre[:, None]
    change = np.where(difference > 0, np.exp(-difference / 20.0), -1.2 * np.exp(difference / 15.0))
    return float(change[np.abs(difference) > 1e-9].sum())


@pytest.mark.parametrize("dt_ms", [0.1, 0.5])
def test_all_pairs_count(dt_ms: float) -> None:
    rng = np.random.default_rng(0)
    pre, post = (np.sort(rng.choice(np.arange(1, 1800), 40, replace=False)) * dt_ms for _ in range(2))
    result = forced(pair(50.0, 2.0, dt_ms), 2000 * dt_ms, pre, post, RULE)
    assert weights(result)[0] == pytest.approx(50.0 + all_pairs(pre + 2.0, post), rel=1e-6)


def test_traces_last_for_as_long_as_the_rule_says() -> None:
    """Over many times of bringing the traces up to date, and over none in a run."""
    pre, post = np.array([1.0, 700.0, 1400.0]), np.array([3.0, 703.0, 1100.0, 1998.0])
    for tau_ms in (0.001, 0.7, 5000.0, 1e12):
        rule = replace(RULE, tau_plus_ms=tau_ms, tau_minus_ms=tau_ms)
        result = forced(pair(50.0, 1.0), 2000.0, pre, post, rule)
        difference = post[None] - (pre + 1.0)[:, None]
        change = np.where(difference > 0, 1.0, -1.2) * np.exp(-np.abs(difference) / tau_ms)
        assert weights(result)[0] == pytest.approx(50.0 + change.sum(), rel=1e-6)


def test_weights_stay_within_their_bounds() -> None:
    times = np.arange(10.0, 90.0, 2.0)
    up = forced(pair(50.0), 100.0, times, times + 2.0, replace(RULE, w_max_pa=51.0))
    assert weights(up)[0] <= 51.0
    assert weights(up)[0] > 50.0
    down = forced(pair(50.0), 100.0, times + 0.5, times, replace(RULE, w_min_pa=49.0, a_plus_pa=0.0))
    assert weights(down)[0] == 49.0


def test_signs_of_the_amplitudes_and_of_inhibition() -> None:
    anti = replace(RULE, a_plus_pa=-1.0, a_minus_pa=-1.2, dependence="multiplicative")
    result = forced(pair(40.0, sensors=2), 100.0, [39.0, 59.0], [50.0], anti)
    change = -math.exp(-0.5) * 0.4, 1.2 * math.exp(-10 / 15) * 0.6
    np.testing.assert_allclose(weights(result), [40.0 + change[0], 40.0 + change[1]], rtol=1e-6)
    inhibitory = replace(RULE, w_min_pa=-100.0, w_max_pa=0.0)
    result = forced(pair(-40.0, sensors=2), 100.0, [39.0, 59.0], [50.0], inhibitory)
    np.testing.assert_allclose(weights(result), [-40 + math.exp(-0.5), -40 - 1.2 * math.exp(-10 / 15)], rtol=1e-6)


def test_a_spike_acts_with_the_weight_that_it_leaves() -> None:
    rule = replace(RULE, a_minus_pa=30.0)
    result = forced(pair(80.0, delay_ms=0.1), 40.0, [20.0], [10.0], rule, dtype="float64", record_v={"a": "all"})
    static = forced(
        pair(float(weights(result)[0]), delay_ms=0.1), 40.0, [20.0], [10.0], replace(RULE, a_minus_pa=0.0),
        dtype="float64", record_v={"a": "all"},
    )  # fmt: skip
    assert weights(result)[0] == pytest.approx(80.0 - 30.0 * math.exp(-10.1 / 15), rel=1e-6)
    assert (result.v_mv == static.v_mv).all()


# The three-factor form.

THREE = replace(RULE, eligibility_tau_ms=200.0, modulator_per_ms=0.0)


def test_without_a_modulator_only_the_eligibility_changes() -> None:
    result = forced(pair(50.0), 100.0, [9.0, 30.0], [20.0], THREE)
    assert weights(result)[0] == 50.0


def test_a_pulse_of_the_modulator_turns_eligibility_into_weight() -> None:
    modulator = np.zeros(5000)
    modulator[2999] = 30.0  # acts from 299.9 to 300.0 ms
    result = forced(pair(50.0, sensors=2), 500.0, [9.0, 29.0], [20.0], replace(THREE, modulator_per_ms=modulator))
    pairs = np.array([math.exp(-10.0 / 20.0), -1.2 * math.exp(-10.0 / 15.0)])
    then = np.array([20.0, 30.0])  # when the second spike of the pair came
    lasted = np.exp(-(299.9 - then) / 200.0) - np.exp(-(300.0 - then) / 200.0)
    np.testing.assert_allclose(weights(result), 50.0 + 30.0 * 200.0 * pairs * lasted, rtol=1e-7)


def test_a_pair_counts_from_the_step_after_it() -> None:
    modulator = np.zeros(1000)
    modulator[199] = 1.0  # the step that ends at 20.0 ms, when the target fires
    result = forced(pair(50.0), 100.0, [9.0], [20.0], replace(THREE, modulator_per_ms=modulator))
    assert weights(result)[0] == 50.0
    modulator = np.roll(modulator, 1)
    result = forced(pair(50.0), 100.0, [9.0], [20.0], replace(THREE, modulator_per_ms=modulator))
    assert weights(result)[0] > 50.0


@pytest.mark.parametrize("tau_ms", [0.5, 20.0, 1e4])
@pytest.mark.parametrize("strength", [2e-6, -0.01])
def test_a_constant_modulator_integrates_the_eligibility(tau_ms: float, strength: float) -> None:
    rule = replace(THREE, eligibility_tau_ms=tau_ms, modulator_per_ms=strength)
    pre, post = np.array([9.0, 60.0, 300.0]), np.array([20.0, 55.0, 310.0, 470.0])
    result = forced(pair(50.0), 500.0, pre, post, rule)
    wanted = 50.0
    for arrival in pre + 1.0:
        for spike in post:
            change = math.exp((arrival - spike) / 20.0) if spike > arrival else -1.2 * math.exp((spike - arrival) / 15)
            wanted += strength * tau_ms * change * -math.expm1(-(500.0 - max(arrival, spike)) / tau_ms)
    assert weights(result)[0] == pytest.approx(wanted, rel=1e-7)  # steps of 1e-11 of the weight are not lost


def test_the_modulator_keeps_to_the_bounds() -> None:
    for sign in (1.0, -1.0):
        rule = replace(THREE, modulator_per_ms=sign, w_min_pa=49.0, w_max_pa=51.0)
        assert weights(forced(pair(50.0), 100.0, [9.0], [20.0], rule))[0] == 50.0 + sign


# A slow reference: sums over pairs instead of traces, loops over edges instead of streams.

Spike = tuple[int, str, int]


def slow(
    connectome: Connectome, n_steps: int, injected: Mapping[tuple[int, int], int],
    current: Mapping[str, NDArray[np.float64]], rules: Mapping[EdgeKey, PairSTDP],
) -> tuple[list[Spike], dict[EdgeKey, list[float]]]:  # fmt: skip
    """Spikes, and weights after the run. ``injected``: (step, neuron of "eye") -> spikes."""
    dt, static = connectome.dt_ms, PairSTDP(1, 1, 0, 0, 0, 1)
    weight = {k: [float(w) for w in e.weight] for k, e in connectome.edges.items()}
    trace = {k: [0.0] * len(e) for k, e in connectome.edges.items()}
    ends = {
        k: [(int(i), int(j), round(d / dt)) for i, j, d in zip(e.source, e.target, e.delay, strict=True)]
        for k, e in connectome.edges.items()
    }
    neurons = [(r, i) for r in connectome.regions.values() for i in range(r.size)]
    v, i_ex, i_in, waits = ({(r.name, i): 0.0 for r, i in neurons} for _ in range(4))
    fired: dict[tuple[str, int], list[int]] = defaultdict(list)
    spikes = []

    def soft(rule: PairSTDP, w: float, change: float) -> float:
        if rule.dependence == "additive":
            return change
        room = rule.w_max_pa - w if change > 0 else w - rule.w_min_pa
        return change * room / (rule.w_max_pa - rule.w_min_pa)

    def change(key: EdgeKey, e: int, by: float) -> None:
        rule = rules[key]
        side = 1 if rule.w_max_pa > 0 else -1
        if side * weight[key][e] < 0 or side * connectome.regions[key.source].sign[ends[key][e][0]] < 0:
            return
        by = soft(rule, weight[key][e], by)
        if rule.eligibility_tau_ms is None:
            clipped = min(max(weight[key][e] + by, rule.w_min_pa), rule.w_max_pa)
            weight[key][e] = float(np.float32(clipped))
        else:
            trace[key][e] += by

    for t in range(n_steps):
        for key, rule in rules.items():
            tau = rule.eligibility_tau_ms
            if tau is not None:
                m = np.broadcast_to(np.asarray(rule.modulator_per_ms, float), n_steps)[t]
                for e, c in enumerate(trace[key]):
                    grown = weight[key][e] + m * tau * (1 - math.exp(-dt / tau)) * c
                    if c != 0:
                        weight[key][e] = min(max(grown, rule.w_min_pa), rule.w_max_pa)
                    trace[key][e] = c * math.exp(-dt / tau)
        now = []
        for r, i in neurons:
            p, place = r.neuron, (r.name, i)
            if r.role == "sensor":
                now += [place] * injected.get((t, i), 0)
                continue
            if waits[place] > 0:
                waits[place] -= 1
            else:
                drive = p.i_e_pa + current[r.name][i]
                v[place] = exact_step(p, dt, v[place], i_ex[place], i_in[place], drive)
            i_ex[place] *= math.exp(-dt / p.tau_syn_ex_ms)
            i_in[place] *= math.exp(-dt / p.tau_syn_in_ms)
            if v[place] >= p.v_th_mv - p.e_l_mv:
                now.append(place)
                v[place] = p.v_reset_mv - p.e_l_mv
                waits[place] = round(p.t_ref_ms / dt)
        for key in rules:
            for e, (i, j, d) in enumerate(ends[key]):
                if (key.target, j) in now:
                    pairs = sum(math.exp(-(t - s - d) * dt / rules[key].tau_plus_ms)
                                for s in fired[key.source, i] if s + d < t)  # fmt: skip
                    change(key, e, rules[key].a_plus_pa * pairs)
        for place in now:
            fired[place].append(t)
        for key, edges in ends.items():
            rule = rules.get(key, static)
            for e, (i, j, d) in enumerate(edges):
                for _ in range(fired[key.source, i].count(t - d)):
                    if key in rules:
                        pairs = sum(math.exp(-(t - s) * dt / rule.tau_minus_ms)
                                    for s in fired[key.target, j] if s < t)  # fmt: skip
                        change(key, e, -rule.a_minus_pa * pairs)
                    arrives = float(np.float32(weight[key][e]))
                    (i_ex if arrives >= 0 else i_in)[key.target, j] += arrives
        spikes += [(t, *place) for place in now]
    return spikes, weight


@st.composite
def learning(draw: st.DrawFn) -> tuple[Connectome, int, dict[tuple[int, int], int], dict[str, Any], dict[Any, Any]]:
    """A small network that fires, with rules for some of its sets: see :func:`slow`."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dt_ms = draw(st.sampled_from([0.1, 0.5]))
    n_steps = draw(st.integers(2, 70))
    size = {"eye": 3, "e": int(rng.integers(1, 20)), "i": int(rng.integers(1, 4))}
    side = {"eye": 1, "e": 1, "i": -1}
    sign = {name: rng.choice(draw(st.sampled_from([[0], [s], [-1, 0, 1]])), size[name]) for name, s in side.items()}
    quick = NeuronParameters(t_ref_ms=rng.choice([0.0, 1.0]), tau_syn_in_ms=5.0)
    regions = [
        Region("eye", size["eye"], "sensor", sign=sign["eye"]), Region("e", size["e"], neuron=quick, sign=sign["e"]),
        Region("i", size["i"], sign=sign["i"]),
    ]  # fmt: skip
    mixed = draw(st.booleans())  # where a neuron's sign is not set
    sets, rules = [], {}
    for key in (
        EdgeKey("eye", "afferent", "e"), EdgeKey("e", "local", "e"), EdgeKey("e", "long_range", "i"),
        EdgeKey("i", "long_range", "e"), EdgeKey("i", "local", "i"),
    ):  # fmt: skip
        n = int(rng.choice([0, 5, 40]))
        high = float(rng.choice([100.0, 3000.0]))
        source = rng.integers(0, size[key.source], n)
        signed = sign[key.source][source]
        signed = np.where(signed == 0, rng.choice([-1, 1], n) if mixed else side[key.source], signed)
        size_pa = high / 2 if rng.random() < 0.2 else np.maximum(high * rng.uniform(-0.1, 1, n), 0.0)
        edges = EdgeSet.from_arrays(
            key, source, rng.integers(0, size[key.target], n), signed * size_pa, n_source=size[key.source],
            n_target=size[key.target], dt_ms=dt_ms,
            delay_ms=dt_ms * rng.integers(1, 15, None if rng.random() < 0.4 else n),
        )  # fmt: skip
        sets.append(edges)
        may = (side[key.source] * edges.weight >= 0) & (side[key.source] * sign[key.source][edges.source] >= 0)
        if draw(st.booleans()) and (may.any() or not n):
            taus = rng.choice([0.02, 0.1, 2.0, 20.0], 2)
            low, high = sorted((0.0, side[key.source] * high))
            three: dict[str, Any] = {}
            if draw(st.booleans()):
                modulator = rng.normal(size=n_steps) * (rng.random(n_steps) < 0.5)
                three = {
                    "eligibility_tau_ms": rng.choice([0.01, 1.0, 50.0]),
                    "modulator_per_ms": modulator if rng.random() < 0.7 else 0.1,
                }
            amplitude = rng.normal(size=2) * (high - low) / 5
            dependence: Any = draw(st.sampled_from(["additive", "multiplicative"]))
            rules[key] = PairSTDP(taus[0], taus[1], amplitude[0], amplitude[1], low, high, dependence, **three)
    injected = {
        (int(t), int(i)): int(rng.integers(1, 3))
        for t, i in zip(rng.integers(0, n_steps, 20), rng.integers(0, 3, 20), strict=True)
    }
    current = {name: rng.uniform(0, 6000, size[name]) for name in ("e", "i")}
    return Connectome.of(regions, sets, dt_ms=dt_ms), n_steps, injected, current, rules


def spikes_of(result: xr.Dataset) -> list[Spike]:
    names = result.region.values[result.spike_region.values]
    step = np.rint(result.spike_time_ms.values / result.attrs["dt_ms"]).astype(int) - 1
    return [(int(t), str(r), int(i)) for t, r, i in zip(step, names, result.spike_neuron.values, strict=True)]


def told(connectome: Connectome, injected: Mapping[tuple[int, int], int], current: Mapping[str, Any]) -> Stimulus:
    """What :func:`slow` is told, for :func:`run`."""
    sent = [(t, i) for (t, i), n in injected.items() for _ in range(n)]
    times = (np.array([t for t, _ in sent]) + 1) * connectome.dt_ms
    return Stimulus(spikes={"eye": (times, [i for _, i in sent])}, current_pa=dict(current))


@settings(max_examples=60)
@given(learning())
def test_spikes_and_weights_equal_the_reference(case: tuple[Any, ...]) -> None:
    connectome, n_steps, injected, current, rules = case
    before = connectome.digest()
    stimulus = told(connectome, injected, current)
    results = [
        run(connectome, n_steps * connectome.dt_ms, stimulus, dtype="float64", plasticity=rules, threads=threads)
        for threads in (1, 2, 3)
    ]
    spikes, wanted = slow(*case)
    assert spikes_of(results[0]) == spikes
    for key in rules:
        np.testing.assert_allclose(weights(results[0], key), wanted[key], rtol=2e-6, atol=1e-6)
    assert results[1].identical(results[0])
    assert results[2].identical(results[0])
    assert connectome.digest() == before


def balanced(n: int = 160) -> tuple[Connectome, Stimulus, dict[EdgeKey, PairSTDP]]:
    """Three sets of which one learns by pairs and one with a modulator, over several blocks of neurons."""
    rng = np.random.default_rng(3)
    size = {"eye": 30, "e": n, "i": n // 4}

    def wire(source: str, kind: str, target: str, edges: int, weight: float, delays: int) -> EdgeSet:
        return EdgeSet.from_arrays(
            (source, kind, target), rng.integers(0, size[source], edges), rng.integers(0, size[target], edges),
            weight * rng.uniform(0.2, 1.0, edges), n_source=size[source], n_target=size[target], dt_ms=0.1,
            delay_ms=rng.integers(1, 1 + delays, edges) * 0.1,
        )  # fmt: skip

    connectome = Connectome.of(
        [Region("eye", 30, "sensor"), Region("e", n), Region("i", n // 4)],
        [
            wire("eye", "afferent", "e", 15 * n, 200.0, 20), wire("e", "local", "e", 10 * n, 60.0, 30),
            wire("e", "long_range", "i", 5 * n, 80.0, 1), wire("i", "long_range", "e", 5 * n, -200.0, 5),
        ],
    )  # fmt: skip
    current = {"e": rng.uniform(250, 650, n), "i": rng.uniform(250, 500, n // 4)}
    stimulus = Stimulus(current_pa=current, poisson={"eye": Poisson(60.0)})
    modulator = np.random.default_rng(4).normal(size=600) * (np.arange(600) % 7 == 0)
    rule = PairSTDP(15.0, 25.0, 5.0, 4.0, 0.0, 250.0)
    return connectome, stimulus, {
        EdgeKey("eye", "afferent", "e"): replace(rule, dependence="multiplicative"),
        EdgeKey("e", "local", "e"): replace(rule, eligibility_tau_ms=30.0, modulator_per_ms=modulator),
        EdgeKey("e", "long_range", "i"): rule,
        EdgeKey("i", "long_range", "e"): replace(rule, w_min_pa=-250.0, w_max_pa=0.0),
    }  # fmt: skip


def test_threads_and_blocks_of_steps_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    connectome, stimulus, rules = balanced()
    whole = run(connectome, 60.0, stimulus, plasticity=rules, threads=1)
    assert whole.n_spikes.sel(region="e") > 200
    for key in rules:
        assert (weights(whole, key) != connectome.edges[key].weight).mean() > 0.3
    for threads in (2, 3):
        assert run(connectome, 60.0, stimulus, plasticity=rules, threads=threads).identical(whole)
    for name, value in (("_CALL_S", 0.0), ("_SPIKES", 1), ("_BLOCK_VALUES", 7 * connectome.n_neurons)):
        monkeypatch.setattr(event_engine, name, value)
        assert run(connectome, 60.0, stimulus, plasticity=rules, threads=2).identical(whole)


def test_a_rule_without_amplitudes_changes_nothing() -> None:
    connectome, stimulus, rules = balanced()
    static = run(connectome, 40.0, stimulus)
    key = EdgeKey("e", "long_range", "i")  # the only set that leads there: sums are in the same order
    rule = replace(rules[key], a_plus_pa=0.0, a_minus_pa=0.0)
    result = run(connectome, 40.0, stimulus, plasticity={key: rule})
    assert (weights(result, key) == connectome.edges[key].weight).all()
    assert result.drop_vars(f"weight_pa {':'.join(key)}").identical(static)


def test_weights_of_uncorrelated_inputs_fall_until_the_rate_settles() -> None:
    """Song, Miller & Abbott (2000): depression outweighs potentiation over all pairs, so that too strong an input is
    made weaker until the target fires at a moderate rate, irregularly."""
    n = 100
    edges = EdgeSet.from_arrays(
        EYE, np.tile(np.arange(n), 4), np.repeat(np.arange(4), n), 90.0, n_source=n, n_target=4, dt_ms=0.5
    )
    connectome = Connectome.of([Region("eye", n, "sensor"), Region("a", 4)], [edges], dt_ms=0.5)
    rule = PairSTDP(20.0, 20.0, 2.0, 2.2, 0.0, 100.0)
    stimulus = Stimulus(poisson={"eye": Poisson(40.0)})
    before_hz = float(run(connectome, 5000.0, stimulus).n_spikes.sel(region="a")) / (4 * 5)
    result = run(connectome, 60_000.0, stimulus, plasticity={EYE: rule})
    of_target = result.spike_time_ms.values[result.spike_region.values == 1]
    rate_hz = np.histogram(of_target, [20_000, 40_000, 60_000])[0] / (4 * 20)
    assert weights(result).mean() < 60.0
    assert 2.0 < rate_hz[1] < 0.25 * before_hz
    assert rate_hz[1] == pytest.approx(rate_hz[0], rel=0.25)


# What a run gives, and takes.


def test_what_was_learnt_is_a_connectome() -> None:
    connectome, stimulus, rules = balanced(40)
    result = run(connectome, 60.0, stimulus, plasticity=rules)
    after = learnt(connectome, result)
    for key, edges in after.edges.items():
        assert (edges.weight == weights(result, key)).all()
        assert (edges.indices == connectome.edges[key].indices).all()
    log = after.provenance.rule_log
    assert {(r.rule, EdgeKey(r.source, r.kind, r.target)) for r in log} == {("stdp", k) for k in rules}
    for r, key in zip(log, rules, strict=True):
        assert r.strengthened == (np.abs(after.edges[key].weight) > np.abs(connectome.edges[key].weight)).sum() > 0
    variable = result["weight_pa eye:afferent:e"]
    assert variable.attrs["units"] == "pA"
    assert variable.attrs["tau_plus_ms"] == 15.0
    assert variable.attrs["dependence"] == "multiplicative"
    with pytest.raises(ConnectomeError, match="run with plasticity"):
        learnt(connectome, run(connectome, 1.0))
    with pytest.raises(ConnectomeError, match="the one that has run"):
        learnt(pair(1.0), result)
    with pytest.raises(ConnectomeError, match="the one that has run"):
        learnt(balanced(44)[0], result)


def test_a_set_without_edges_learns_nothing() -> None:
    empty = pair(1.0, sensors=0)
    result = run(empty, 1.0, plasticity={EYE: RULE})
    assert weights(result).shape == (0,)
    assert learnt(empty, result).edges[EYE].n_source == 0


BAD_RULES: Mapping[str, tuple[dict[str, Any], str]] = {
    "tau_plus": ({"tau_plus_ms": 0.0}, "tau_plus_ms"),
    "tau_minus": ({"tau_minus_ms": -1.0}, "tau_minus_ms"),
    "eligibility": ({"eligibility_tau_ms": 0.0, "modulator_per_ms": 1.0}, "eligibility_tau_ms"),
    "nan": ({"a_plus_pa": math.nan}, "a_plus_pa"),
    "text": ({"a_minus_pa": "1"}, "a_minus_pa"),
    "bounds": ({"w_min_pa": 5.0, "w_max_pa": 4.0}, "w_max_pa"),
    "one point": ({"w_min_pa": 5.0, "w_max_pa": 5.0 + 1e-12}, "w_max_pa"),
    "too large": ({"w_max_pa": 1e300}, "w_max_pa"),
    "two signs": ({"w_min_pa": -5.0}, "w_min_pa"),
    "dependence": ({"dependence": "soft"}, "dependence"),
    "modulator alone": ({"modulator_per_ms": 1.0}, "modulator_per_ms"),
    "no modulator": ({"eligibility_tau_ms": 1.0}, "modulator_per_ms"),
}


@pytest.mark.parametrize("case", BAD_RULES)
def test_bad_rules_are_refused_by_name(case: str) -> None:
    given, field = BAD_RULES[case]
    with pytest.raises(ConnectomeError) as caught:
        replace(RULE, **given)
    assert caught.value.field == f"PairSTDP.{field}"


HAND = EdgeKey("a", "efferent", "hand")
BAD_RUNS: Mapping[str, tuple[Any, Mapping[str, Any], str]] = {
    "no mapping": (RULE, {}, "plasticity"),
    "unknown": ({("eye", "afferent", "b"): RULE}, {}, "plasticity"),
    "asleep": ({EYE: RULE}, {"recruit": ["a"]}, "plasticity"),
    "no rule": ({EYE: 1.0}, {}, f"plasticity[{EYE}]"),
    "effector": ({HAND: RULE}, {}, f"plasticity[{HAND}]"),
    "above": ({EYE: replace(RULE, w_max_pa=40.0)}, {}, f"plasticity[{EYE}]"),
    "below": ({EYE: replace(RULE, w_min_pa=60.0)}, {}, f"plasticity[{EYE}]"),
    "length": ({EYE: replace(THREE, modulator_per_ms=np.zeros(9))}, {}, f"plasticity[{EYE}].modulator_per_ms"),
    "shape": ({EYE: replace(THREE, modulator_per_ms=np.zeros((10, 1)))}, {}, f"plasticity[{EYE}].modulator_per_ms"),
    "infinite": ({EYE: replace(THREE, modulator_per_ms=math.inf)}, {}, f"plasticity[{EYE}].modulator_per_ms"),
    "engine": ({EYE: RULE}, {"engine": "torch"}, "plasticity"),
}


@pytest.mark.parametrize("case", BAD_RUNS)
def test_bad_plasticity_is_refused_by_name(case: str) -> None:
    plasticity, more, field = BAD_RUNS[case]
    edges = [
        *pair(50.0).edges.values(),
        EdgeSet.from_arrays(HAND, [0], [0], 50.0, n_source=1, n_target=1, dt_ms=0.1),
    ]
    regions = [Region("eye", 1, "sensor"), Region("a", 1), Region("hand", 1, "effector")]
    with pytest.raises(ConnectomeError) as caught:
        run(Connectome.of(regions, edges), 1.0, plasticity=plasticity, **more)
    assert caught.value.field == field


def test_edges_of_the_other_sign_do_not_learn() -> None:
    signs = np.array([1, 1, -1, -1])
    edges = EdgeSet.from_arrays(EYE, range(4), [0] * 4, [50.0, 0.0, -50.0, 0.0], n_source=4, n_target=1, dt_ms=0.1)
    quick = Region("a", 1, neuron=NeuronParameters(t_ref_ms=0.0))
    for sign, learns in ((signs, [1, 1, 0, 0]), (0 * signs, [1, 1, 0, 1])):
        connectome = Connectome.of([Region("eye", 4, "sensor", sign=sign), quick], [edges])
        after = learnt(connectome, forced(connectome, 100.0, [40.0] * 4, [50.0, 60.0], RULE))
        assert ((after.edges[EYE].weight != edges.weight) == learns).all()
    inhibitory = Connectome.of(
        [Region("eye", 4, "sensor", sign=-np.abs(signs)), quick], [replace(edges, weight=-np.abs(edges.weight))]
    )
    with pytest.raises(ConnectomeError, match="the sign of its edges"):
        run(inhibitory, 1.0, plasticity={EYE: RULE})


STATIC = """
from numba import types
from connectome import Connectome, Region
from connectome.simulate import error_kernels, plastic_kernels, run, simulate_kernels, stdp_kernels
run(Connectome.of([Region("a", 1)]), 1.0)
assert simulate_kernels.advance.signatures
assert {signature[-4] for signature in simulate_kernels.advance.signatures} == {types.none}
for module in (error_kernels, plastic_kernels, stdp_kernels):
    for name in dir(module):
        assert not getattr(getattr(module, name), "signatures", []), name
"""


def in_another_process(program: str, environment: Mapping[str, str] = MappingProxyType({})) -> None:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=Path(__file__).parents[1], env={**os.environ, **environment}, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_run_without_plasticity_is_another_program() -> None:
    in_another_process(STATIC)


@pytest.mark.slow
def test_a_run_without_plasticity_compiles_none_of_it(tmp_path: Path) -> None:
    in_another_process(STATIC, {"NUMBA_CACHE_DIR": str(tmp_path)})
