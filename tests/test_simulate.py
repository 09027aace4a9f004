from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, Edit, NeuronParameters, Region, memory
from connectome.graph.flat import Engine, flatten
from connectome.neurons import NeuronModel
from connectome.simulate import PairSTDP, event_engine, merging, torch_runs
from connectome.simulate import streams as layout
from connectome.simulate.runs import Poisson, Stimulus, run
from connectome.simulate.table_kernels import bounds_in_groups
from connectome.simulate.torch_engine import at_rest, propagate, triangle
from tests import reference, strategies

Spike = tuple[int, str, int]


@pytest.fixture(scope="module", params=["numba", "torch"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return cast(Engine, request.param)


def spikes(result: xr.Dataset) -> list[Spike]:
    """(step, region, neuron) of each spike, in the order given."""
    names = result.region.values[result.spike_region.values]
    step = np.rint(result.spike_time_ms.values / result.attrs["dt_ms"]).astype(int) - 1
    return [(int(t), str(r), int(i)) for t, r, i in zip(step, names, result.spike_neuron.values, strict=True)]


def chain(
    weight_pa: float = 1.0, delay_ms: float = 1.0, dt_ms: float = 0.1, neuron: NeuronParameters | None = None
) -> Connectome:
    """One sensor neuron, one edge, one neuron."""
    edge = EdgeSet.from_arrays(
        ("eye", "afferent", "a"), [0], [0], weight_pa, n_source=1, n_target=1, dt_ms=dt_ms, delay_ms=delay_ms
    )
    return Connectome.of(
        [Region("eye", 1, "sensor"), Region("a", 1, neuron=neuron or NeuronParameters())], [edge], dt_ms=dt_ms
    )


def balanced(n: int, duration_ms: float) -> tuple[Connectome, Stimulus]:
    """A sensor, an excitatory and an inhibitory region, an effector; some hundred spikes in 20 ms."""
    rng = np.random.default_rng(0)
    size = {"eye": 20, "e": n, "i": n // 4, "hand": 3}

    def wire(source: str, kind: str, target: str, edges: int, weight: float) -> EdgeSet:
        return EdgeSet.from_arrays(
            (source, kind, target), rng.integers(0, size[source], edges), rng.integers(0, size[target], edges),
            weight * rng.uniform(0.5, 1.5, edges), n_source=size[source], n_target=size[target],
            dt_ms=0.1, delay_ms=rng.integers(1, 30, edges) * 0.1,
        )  # fmt: skip

    connectome = Connectome.of(
        [Region("eye", 20, "sensor"), Region("e", n), Region("i", n // 4), Region("hand", 3, "effector")],
        [
            wire("eye", "afferent", "e", 20 * n // 2, 200.0), wire("e", "local", "e", 10 * n, 60.0),
            wire("e", "long_range", "i", 5 * n, 80.0), wire("i", "long_range", "e", 5 * n, -200.0),
            wire("e", "efferent", "hand", n, 30.0),
        ],
    )  # fmt: skip
    stimulus = Stimulus(
        spikes={"eye": (rng.uniform(0.1, duration_ms, 60), rng.integers(0, 20, 60))},
        current_pa={"e": rng.uniform(200, 380, n), "hand": 5.0},
        poisson={"e": Poisson(3000.0, 40.0), "i": Poisson(rng.uniform(0, 9000, n // 4), 60.0), "eye": Poisson(20.0)},
    )
    return connectome, stimulus


@st.composite
def driven(draw: st.DrawFn) -> tuple[Connectome, Stimulus, int, int]:
    """Any small connectome with weights and drives that matter, a duration in steps and a seed."""
    connectome = draw(strategies.connectomes(max_size=4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_steps = draw(st.integers(1, 50))
    dt = connectome.dt_ms

    def scale(p: NeuronModel) -> float:
        return float((p.v_th_mv - p.e_l_mv) * p.c_m_pf)  # pA ms: the charge that takes it to threshold

    strong = {
        k: (np.sign(e.weight) * rng.exponential(scale(connectome.regions[k.target].neuron), len(e))).astype(np.float32)
        for k, e in connectome.edges.items()
    }
    connectome = connectome.apply(Edit(reweight=strong))
    injected, current, poisson = {}, {}, {}
    for r in connectome.regions.values():
        rate = rng.choice([0.0, 0.02, 0.7, 40.0], r.size) / dt * 1000
        if r.role == "sensor":
            m = int(rng.integers(0, 12)) if r.size else 0
            injected[r.name] = (rng.integers(1, n_steps + 1, m) * dt, rng.integers(0, max(r.size, 1), m))
            if rng.random() < 0.5:
                poisson[r.name] = Poisson(rate / 10)
            continue
        if rng.random() < 0.7:
            shape = [(), (r.size,), (n_steps, r.size), (n_steps, 1)][rng.integers(4)]
            current[r.name] = rng.uniform(-0.5, 3.0, shape) * scale(r.neuron) / r.neuron.tau_m_ms
        if rng.random() < 0.5:
            poisson[r.name] = Poisson(rate, rng.normal(0, 0.1, r.size) * scale(r.neuron) / (1 + rate * dt / 1000))
    return connectome, Stimulus(injected, current, poisson), n_steps, int(rng.integers(0, 2**62))


def by_reference(connectome: Connectome, stimulus: Stimulus, n_steps: int, seed: int) -> reference.Reference:
    """The same run by the reference simulator, with the Poisson counts in plain Python."""
    dt = connectome.dt_ms
    injected: dict[Spike, int] = {}
    arrivals: dict[Spike, float] = {}
    for name, (times, neurons) in stimulus.spikes.items():
        for time, i in zip(cast(NDArray[Any], times), cast(NDArray[Any], neurons), strict=True):
            key = (round(time / dt) - 1, name, int(i))
            injected[key] = injected.get(key, 0) + 1
    first = 0
    for r in connectome.regions.values():
        if r.name in stimulus.poisson:
            drive = stimulus.poisson[r.name]
            rate = np.broadcast_to(np.asarray(drive.rate_hz, float), (r.size,))
            weight = np.broadcast_to(
                np.asarray(drive.weight_pa or 0.0 if np.isscalar(drive.weight_pa) else 0.0), r.size
            )
            if drive.weight_pa is not None:
                weight = np.broadcast_to(np.asarray(drive.weight_pa, float), (r.size,))
            for i in range(r.size):
                for t in range(n_steps):
                    count = reference.poisson_count(seed, first + i, t, rate[i] * dt / 1000) if rate[i] else 0
                    if count and r.role == "sensor":
                        injected[t, r.name, i] = injected.get((t, r.name, i), 0) + count
                    elif count:
                        arrivals[t, r.name, i] = count * weight[i]
        first += r.size
    rows = {
        name: np.broadcast_to(np.asarray(pa, float), (n_steps, connectome.regions[name].size))
        for name, pa in stimulus.current_pa.items()
    }
    return reference.simulate(
        connectome, n_steps, injected=injected, arrivals=arrivals,
        current=lambda t, name, i: float(rows[name][t, i]) if name in rows else 0.0,
    )  # fmt: skip


@settings(max_examples=30)
@given(driven())
def test_spikes_and_potentials_equal_the_reference(engine: Engine, case: tuple[Connectome, Stimulus, int, int]) -> None:
    connectome, stimulus, n_steps, seed = case
    wanted = by_reference(*case)
    everyone = {r.name: "all" for r in connectome.regions.values() if r.role != "sensor"}
    result = run(
        connectome, n_steps * connectome.dt_ms, stimulus, engine=engine, seed=seed, dtype="float64", record_v=everyone
    )
    assert spikes(result) == wanted.spikes
    if engine == "numba":
        for threads in (2, 3):
            shared = run(
                connectome, n_steps * connectome.dt_ms, stimulus, seed=seed, dtype="float64", record_v=everyone,
                threads=threads,
            )  # fmt: skip
            assert shared.identical(result)
    assert result.attrs["n_spikes"] == len(wanted.spikes) == int(result.n_spikes.sum())
    assert result.attrs["synaptic_operations"] == wanted.synaptic_operations
    for name in everyone:
        found = result.v_mv.values[:, result.recorded_region.values == name]
        np.testing.assert_allclose(found, wanted.v_mv[name], rtol=1e-10, atol=1e-9)


def test_engines_agree_on_a_larger_network() -> None:
    connectome, stimulus = balanced(120, 40.0)
    results = [run(connectome, 40.0, stimulus, engine=e, seed=3, dtype="float64") for e in ("numba", "torch")]
    assert spikes(results[0]) == spikes(results[1])
    assert results[0].n_spikes.sel(region="e") > 200
    assert results[0].n_spikes.sel(region="hand") == 0


# The membrane, against closed forms.


def test_constant_current_charges_the_membrane(engine: Engine) -> None:
    connectome = Connectome.of([Region("a", 3)])
    current = np.array([-100.0, 0.0, 370.0])
    result = run(
        connectome, 60.0, Stimulus(current_pa={"a": current}), engine=engine, dtype="float64", record_v={"a": "all"},
        initial_v_mv={"a": [-70.0, -60.0, -80.0]},
    )  # fmt: skip
    v0, decay = np.array([0.0, 10.0, -10.0]), np.exp(-result.time_ms.values[:, None] / 10.0)
    assert np.abs(result.v_mv.values - (-70.0 + v0 * decay + current * 10.0 / 250.0 * (1 - decay))).max() < 1e-9


def psp_mv(weight_pa: float, time_ms: NDArray[np.float64], p: NeuronParameters) -> NDArray[np.float64]:
    """The potential above rest, a time after the arrival of one spike."""
    tau = p.tau_syn_ex_ms if weight_pa > 0 else p.tau_syn_in_ms
    s = np.maximum(time_ms, 0.0)
    rate = 1 / tau - 1 / p.tau_m_ms
    area = -np.expm1(-rate * s) / rate if rate else s  # expm1: nearly equal time constants cancel
    return np.asarray(weight_pa / p.c_m_pf * np.exp(-s / p.tau_m_ms) * area, np.float64)


@pytest.mark.parametrize("dt_ms", [0.05, 0.1, 0.5])
@pytest.mark.parametrize("weight_pa", [300.0, -300.0])
@pytest.mark.parametrize("tau_m_ms", [10.0, 2.0, 2.0 + 1e-9, 5.0])
def test_postsynaptic_potential_is_exact_at_any_resolution(
    engine: Engine, dt_ms: float, weight_pa: float, tau_m_ms: float
) -> None:
    p = NeuronParameters(tau_m_ms=tau_m_ms, tau_syn_ex_ms=2.0, tau_syn_in_ms=5.0)
    connectome = chain(weight_pa, delay_ms=1.5, dt_ms=dt_ms, neuron=p)
    stimulus = Stimulus(spikes={"eye": ([2.0, 2.0, 6.5], [0, 0, 0])})
    result = run(connectome, 30.0, stimulus, engine=engine, dtype="float64", record_v={"a": [0]})
    t = result.time_ms.values
    wanted = -70.0 + 2 * psp_mv(weight_pa, t - 3.5, p) + psp_mv(weight_pa, t - 8.0, p)
    assert np.abs(result.v_mv.values[:, 0] - wanted).max() < 1e-9


def test_time_of_the_first_spike_converges_with_order_one(engine: Engine) -> None:
    current = np.linspace(400.0, 900.0, 101)  # pA; at rest the threshold is crossed at tau ln(I / (I - 375))
    crossing = 10.0 * np.log(current / (current - 375.0))
    errors = []
    for dt_ms in (0.2, 0.1, 0.05, 0.025):
        connectome = Connectome.of([Region("a", 101, neuron=NeuronParameters(t_ref_ms=100.0))], dt_ms=dt_ms)
        stimulus = Stimulus(current_pa={"a": current})
        result = run(connectome, 30.0, stimulus, engine=engine, dtype="float64").sortby("spike_neuron")
        error = result.spike_time_ms.values - crossing
        assert (error > -1e-9).all()
        assert (error < dt_ms + 1e-9).all()
        errors.append(error.mean())
    order = [math.log2(coarse / fine) for coarse, fine in pairwise(errors)]
    assert order == pytest.approx([1.0] * 3, abs=0.15)


@pytest.mark.parametrize("ref_steps", [0, 1, 20])
def test_refractory_period_is_exact(engine: Engine, ref_steps: int) -> None:
    p = NeuronParameters(t_ref_ms=ref_steps * 0.1, v_reset_mv=-75.0)
    stimulus = Stimulus(current_pa={"a": 1e6})  # to threshold in one step
    result = run(Connectome.of([Region("a", 1, neuron=p)]), 6.3, stimulus, engine=engine, record_v={"a": "all"})
    assert [t for t, _, _ in spikes(result)] == list(range(0, 63, ref_steps + 1))
    assert (result.v_mv.values == -75.0).all()


def test_arrivals_during_the_refractory_period_are_kept_as_current(engine: Engine) -> None:
    p = NeuronParameters(t_ref_ms=2.0)
    connectome = chain(300.0, delay_ms=0.1, neuron=p)
    pulse = np.zeros((100, 1))
    pulse[0] = 1e6
    stimulus = Stimulus(spikes={"eye": ([1.0], [0])}, current_pa={"a": pulse})
    result = run(connectome, 10.0, stimulus, engine=engine, dtype="float64", record_v={"a": "all"})
    assert spikes(result) == [(0, "a", 0), (9, "eye", 0)]
    v = result.v_mv.values[:, 0]
    assert (v[:21] == -70.0).all()
    # It arrives at 1.1 ms; the membrane is let go at 2.1 ms, with the current that has been decaying meanwhile.
    s = result.time_ms.values[21:] - 2.1
    np.testing.assert_allclose(v[21:], -70.0 + math.exp(-0.5) * psp_mv(300.0, s, p), rtol=0, atol=1e-9)


@pytest.mark.parametrize("delay", [1, 2, 3, 64, 1500])
def test_a_spike_arrives_exactly_its_delay_later(engine: Engine, delay: int) -> None:
    connectome = chain(1e7, delay_ms=delay * 0.1)
    result = run(connectome, (delay + 5) * 0.1, Stimulus(spikes={"eye": ([0.1], [0])}), engine=engine)
    # Sent in step 0, in i_ex at the end of step `delay`, at the threshold at the end of the next.
    assert spikes(result)[:2] == [(0, "eye", 0), (delay + 1, "a", 0)]


def test_effectors_integrate_and_never_fire(engine: Engine) -> None:
    edge = EdgeSet.from_arrays(("a", "efferent", "hand"), [0], [0], 1e5, n_source=1, n_target=1, dt_ms=0.1)
    connectome = Connectome.of([Region("a", 1), Region("hand", 1, "effector")], [edge])
    stimulus = Stimulus(current_pa={"a": 1e6})
    result = run(connectome, 5.0, stimulus, engine=engine, record_v={"hand": "all"})
    assert set(result.region.values[result.spike_region.values]) == {"a"}
    assert result.v_mv.values.max() > 100.0


# What a run is made of.


@pytest.mark.parametrize("regions", [[], [Region("a", 0)], [Region("a", 0), Region("b", 1), Region("c", 0)]])
def test_empty_networks_run(engine: Engine, regions: list[Region]) -> None:
    drive = {r.name: Poisson(100.0, 1.0) for r in regions}
    result = run(
        Connectome.of(regions), 1.0, Stimulus(poisson=drive), engine=engine, record_v={r.name: "all" for r in regions}
    )
    assert result.sizes["spike"] == 0
    assert result.attrs["synaptic_operations"] == 0
    assert list(result.region.values) == [r.name for r in regions]
    if regions:
        assert result.v_mv.shape == (10, sum(r.size for r in regions))


def test_result_carries_units_and_parameters(engine: Engine) -> None:
    connectome, stimulus = balanced(20, 2.0)
    result = run(connectome, 2.0, stimulus, engine=engine, seed=7, record_v={"e": range(2, 5), "hand": [1]})
    assert result.spike_time_ms.attrs["units"] == "ms"
    assert result.v_mv.attrs["units"] == "mV"
    assert result.v_mv.dtype == np.float32
    assert result.v_mv.dims == ("time_ms", "recorded")
    assert list(result.recorded_region.values) == ["e", "e", "e", "hand"]
    assert list(result.recorded_neuron.values) == [2, 3, 4, 1]
    np.testing.assert_allclose(result.time_ms, np.arange(1, 21) * 0.1)
    wanted = {"duration_ms": 2.0, "dt_ms": 0.1, "engine": engine, "dtype": "float32", "seed": 7}
    assert {k: result.attrs[k] for k in wanted} == wanted


def test_same_seed_same_run_other_seed_another(engine: Engine) -> None:
    connectome, stimulus = balanced(60, 20.0)
    first, again, other = (run(connectome, 20.0, stimulus, engine=engine, seed=s) for s in (1, 1, 2))
    assert first.identical(again)
    assert spikes(first) != spikes(other)
    assert spikes(first) != spikes(run(connectome, 20.0, stimulus, engine=engine, seed=1 + 2**32))


def test_size_of_the_blocks_does_not_matter(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    connectome, stimulus = balanced(60, 20.0)
    stimulus = Stimulus(
        stimulus.spikes, {**stimulus.current_pa, "i": np.linspace(0, 400, 200)[:, None]}, stimulus.poisson
    )

    def result() -> xr.Dataset:
        return run(connectome, 20.0, stimulus, engine=engine, record_v={"e": [0, 5]})

    whole = result()
    for name, value in (("_CALL_S", 0.0), ("_SPIKES", 1), ("_CALL_S", 1.0), ("_SPIKES", 7 * connectome.n_neurons)):
        monkeypatch.setattr(event_engine, name, value)
        assert result().identical(whole)
    for values in (1, 7 * connectome.n_neurons):
        for module in (torch_runs, event_engine):
            monkeypatch.setattr(module, "_BLOCK_VALUES", values)
        assert result().identical(whole)
    monkeypatch.setattr(torch_runs, "_BLOCK_STEPS", 3)
    assert result().identical(whole)


@settings(max_examples=30)
@given(driven())
def test_tables_may_be_coarse(case: tuple[Connectome, Stimulus, int, int]) -> None:
    connectome, stimulus, n_steps, seed = case

    def result(threads: int) -> xr.Dataset:
        return run(connectome, n_steps * connectome.dt_ms, stimulus, seed=seed, dtype="float64", threads=threads)

    fine = result(1)
    with pytest.MonkeyPatch.context() as patch:
        for size in (0, 24 * max(connectome.n_neurons, 1)):  # one column, and a few
            patch.setattr(layout, "_TABLE_BYTES", size)
            for threads in (1, 2, 3):
                assert result(threads).identical(fine)


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_coarse_tables_serve_threads_that_share_a_region(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    """Every source reaches every neuron of a region that threads share, with several delays: also the neurons at which
    one thread's share ends and the next one's begins."""
    monkeypatch.setattr(layout, "_TABLE_BYTES", 0)
    rng, n = np.random.default_rng(3), 100
    source, target = (i.ravel() for i in np.indices((n, n)))
    edges = EdgeSet.from_arrays(
        ("a", "local", "a"), source, target, rng.normal(0, 10, n * n), n_source=n, n_target=n, dt_ms=0.1,
        delay_ms=rng.integers(1, 6, n * n) / 10,
    )  # fmt: skip
    connectome = Connectome.of([Region("a", n)], [edges])
    stimulus = Stimulus(current_pa={"a": rng.uniform(400, 900, n)})

    def result(count: int) -> xr.Dataset:
        return run(connectome, 60, stimulus, dtype="float64", threads=count)

    whole = result(1)
    assert whole.sizes["spike"] > n
    assert result(threads).identical(whole)


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.lists(st.integers(0, 20), max_size=3, unique=True).map(sorted))
def test_tables_say_where_delays_and_cuts_begin(seed: int, groups: int, cuts: list[int]) -> None:
    """Against a plain count. A thread that took an edge beyond its cut would do another's work, and the sum is right
    all the same."""
    rng = np.random.default_rng(seed)
    rows = [sorted(rng.integers([0, 0], [groups, 20], (rng.integers(0, 9), 2)).tolist()) for _ in range(4)]
    ends = np.cumsum([0, *map(len, rows)])
    delay, target = np.array([edge for row in rows for edge in row], np.int64).reshape(-1, 2).T
    table = np.empty((4, groups * (len(cuts) + 1) + 1), np.uint32)
    bounds_in_groups(
        ends, target.astype(np.int32), (delay if delay.size > 1 else np.append(delay, [0, 0])).astype(np.uint16),
        np.arange(groups, dtype=np.uint32), np.array(cuts, np.uint64), table,
    )  # fmt: skip
    places = [(d, cut) for d in range(groups) for cut in (-1, *cuts)]
    for row, start, found in zip(rows, ends, table, strict=False):
        expected = [start + sum((d, t) < (group, cut) for d, t in row) for group, cut in places]
        assert found.tolist() == [*expected, start + len(row)]


def merged_or_not(merge: bool, **asked: Any) -> xr.Dataset:
    """A run with edge sets merged wherever they may be, or nowhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "_pays", lambda group, duration_ms: merge)
        result: xr.Dataset = run(**asked)
        return result


@settings(max_examples=30)
@given(driven())
def test_merged_edge_sets_are_as_those_apart(case: tuple[Connectome, Stimulus, int, int]) -> None:
    connectome, stimulus, n_steps, seed = case
    asked = dict(connectome=connectome, duration_ms=n_steps * connectome.dt_ms, stimulus=stimulus, seed=seed)
    asked["record_v"] = {r.name: "all" for r in connectome.regions.values() if r.role != "sensor"}
    apart = merged_or_not(False, **asked)
    for size in (layout._TABLE_BYTES, 0):  # of tables: fine, and coarse
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(layout, "_TABLE_BYTES", size)
            for threads in (1, 2, 3):
                assert merged_or_not(True, threads=threads, **asked).identical(apart)


@pytest.mark.parametrize("weight", ["one", "each"])
@pytest.mark.parametrize("delay", ["one", "each"])
def test_merged_regions_share_threads_and_learn_as_those_apart(weight: str, delay: str) -> None:
    """Regions that several threads own; sums of many arrivals, in single precision; and one set that learns."""
    connectome, stimulus = balanced(150, 40.0)
    rng, regions = np.random.default_rng(1), {**connectome.regions, "f": Region("f", 90), "big": Region("big", 70_000)}
    edges = []
    for e in connectome.edges.values():
        for name in ("i", "f", "big") if e.key.target == "i" else (e.key.target,):
            n = regions[name].size
            ends = (e.source, rng.integers(0, n, len(e)))
            edges.append(
                EdgeSet.from_arrays(
                    (e.key.source, e.key.kind, name), *ends, float(e.weight[0]) if weight == "one" else e.weight,
                    n_source=e.n_source, n_target=n, dt_ms=0.1,
                    delay_ms=1.5 if delay == "one" else e.delay_steps * 0.1,
                )
            )  # fmt: skip
    network = Connectome.of(regions.values(), edges)
    rule = PairSTDP(20.0, 20.0, 0.1, 0.1, 0.0, 300.0)
    for plasticity in ({}, {("e", "local", "e"): rule}):
        asked = dict(connectome=network, duration_ms=40.0, stimulus=stimulus, plasticity=plasticity)
        apart = merged_or_not(False, **asked)
        assert apart.attrs["n_spikes"] > 300
        for threads in (1, 3):
            assert merged_or_not(True, threads=threads, **asked).identical(apart)


def one_edge(source: str, target: str, kind: str = "local", **given: Any) -> EdgeSet:
    return EdgeSet.from_arrays(
        (source, f"local-{kind}" if source == target else f"long_range-{kind}", target), [0, 1], [0, 0],
        given.pop("weight", [1.0, 2.0]), n_source=2, n_target=1, dt_ms=0.1, delay_ms=[0.1, 0.2], **given,
    )  # fmt: skip


@given(st.lists(st.tuples(*map(st.sampled_from, ("ab", "abc", ("x", "y")))), unique=True))
def test_merging_keeps_the_order_of_sets_into_a_region(keys: list[tuple[str, str, str]]) -> None:
    edges, start = [one_edge(*key) for key in keys], {"a": 0, "b": 16, "c": 32}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "_pays", lambda group, duration_ms: True)
        groups = merging.grouped(edges, {e.key: 0 for e in edges}, start, 1.0)
    for name in start:
        into = [e for group in groups for e in group if e.key.target == name]
        assert into == [e for e in edges if e.key.target == name]
    for group in groups:
        targets = [e.key.target for e in group]
        assert len({e.key.source for e in group}) == 1
        assert targets == sorted(set(targets))
    if len({kind for *_, kind in keys}) == 1 and keys == sorted(keys):
        assert len(groups) == len({source for source, *_ in keys})


def test_what_is_merged_and_when(monkeypatch: pytest.MonkeyPatch) -> None:
    start = {"a": 0, "b": 16, "c": 32}
    sets = [one_edge("a", "a"), one_edge("a", "b"), one_edge("b", "a"), one_edge("a", "c", weight=3.0)]
    alike: dict[EdgeKey, Any] = {e.key: 0 for e in sets}

    def sizes(duration_ms: float) -> list[int]:
        return [len(group) for group in merging.grouped(sets, alike, start, duration_ms)]

    assert sizes(10.0) == [1, 1, 1, 1]  # a short run does not pay for it
    assert sizes(1e6) == [2, 1, 1]  # one weight for all is kept as one
    assert [len(g) for g in merging.grouped(sets, alike | {sets[1].key: 1}, start, 1e6)] == [1, 1, 1, 1]
    monkeypatch.setattr(memory, "free_bytes", lambda: 100)
    assert sizes(1e6) == [1, 1, 1, 1]  # no room
    made = merging.rows_of(sets[:2], start)
    assert sizes(10.0) == [2, 1, 1]  # it is there already
    assert merging.rows_of(sets[:2], start) is made
    assert merging.rows_of(sets[:2], start | {"b": 32}).indices.tolist() == [0, 32, 0, 32]
    assert made.indices.tolist() == [0, 16, 0, 16]
    assert made.weight.tolist() == [1, 1, 2, 2]
    assert made.delay_steps.tolist() == [1, 1, 2, 2]
    assert len(merging._MERGED) == 1
    sets.clear()
    assert len(merging._MERGED) == 0


def test_float32_stays_close_to_float64(engine: Engine) -> None:
    connectome, stimulus = balanced(60, 40.0)
    quiet = Stimulus(stimulus.spikes, {}, {"e": Poisson(2000.0, 10.0)})
    single, double = (
        run(connectome, 40.0, quiet, engine=engine, dtype=d, record_v={"e": "all"}) for d in ("float32", "float64")
    )
    assert spikes(single) == spikes(double)
    assert np.abs(single.v_mv - double.v_mv).max() < 1e-3


def test_regions_that_are_not_recruited_are_silent(engine: Engine) -> None:
    connectome, _ = balanced(60, 20.0)
    alone = Stimulus(current_pa={"e": 300.0}, poisson={"e": Poisson(6000.0, 60.0)})
    result = run(connectome, 20.0, alone, engine=engine, recruit=["e", "hand"], seed=4)
    kept = [k for k in connectome.edges if k.source == "e" and k.target in ("e", "hand")]
    small = Connectome.of([connectome.regions["e"], connectome.regions["hand"]], [connectome.edges[k] for k in kept])
    assert list(result.region.values) == ["e", "hand"]
    assert result.attrs["n_spikes"] > 100
    # The drive is that of the whole connectome, where e has other neurons before it.
    assert spikes(result) != spikes(run(small, 20.0, alone, engine=engine, seed=4))
    unwired = Connectome.of(connectome.regions.values(), [connectome.edges[k] for k in kept])
    assert spikes(result) == spikes(run(unwired, 20.0, alone, engine=engine, seed=4))


def test_a_run_starts_at_rest_so_that_no_spike_outlives_an_edit(engine: Engine) -> None:
    before = chain(1e7, delay_ms=1.0).apply(Edit(remove={k: np.ones(1, bool) for k in chain().edges}))
    fired = Stimulus(spikes={"eye": ([0.1], [0])})
    assert spikes(run(before, 0.5, fired, engine=engine)) == [(0, "eye", 0)]
    after = before.apply(Edit(add=tuple(chain(1e7, delay_ms=1.0).edges.values())))
    assert spikes(run(after, 5.0, engine=engine)) == []


BAD: Mapping[str, tuple[dict[str, Any], str]] = {
    "no duration": ({"duration_ms": 0.0}, "duration_ms"),
    "negative duration": ({"duration_ms": -1.0}, "duration_ms"),
    "endless": ({"duration_ms": math.inf}, "duration_ms"),
    "not a number": ({"duration_ms": "1"}, "duration_ms"),
    "part of a step": ({"duration_ms": 1.04}, "duration_ms"),
    "too long": ({"duration_ms": 1e9}, "duration_ms"),
    "engine": ({"engine": "nest"}, "engine"),
    "dtype": ({"dtype": "float16"}, "dtype"),
    "seed": ({"seed": -1}, "seed"),
    "recruit": ({"recruit": ["nowhere"]}, "recruit"),
    "record nowhere": ({"record_v": {"b": "all"}}, "record_v"),
    "record a sensor": ({"record_v": {"eye": "all"}}, "record_v"),
    "record beyond": ({"record_v": {"a": [1]}}, "record_v[a]"),
    "record by name": ({"record_v": {"a": "some"}}, "record_v[a]"),
    "record what is asleep": ({"record_v": {"a": "all"}, "recruit": ["eye"]}, "record_v"),
    "potential of a sensor": ({"initial_v_mv": {"eye": -70.0}}, "initial_v_mv"),
    "potential nan": ({"initial_v_mv": {"a": math.nan}}, "initial_v_mv[a]"),
    "current shape": ({"stimulus": Stimulus(current_pa={"a": [1.0, 2.0]})}, "stimulus.current_pa[a]"),
    "current steps": ({"stimulus": Stimulus(current_pa={"a": np.ones((9, 1))})}, "stimulus.current_pa[a]"),
    "current inf": ({"stimulus": Stimulus(current_pa={"a": math.inf})}, "stimulus.current_pa[a]"),
    "current text": ({"stimulus": Stimulus(current_pa={"a": "much"})}, "stimulus.current_pa[a]"),
    "current of a sensor": ({"stimulus": Stimulus(current_pa={"eye": 1.0})}, "stimulus.current_pa"),
    "current nowhere": ({"stimulus": Stimulus(current_pa={"b": 1.0})}, "stimulus.current_pa"),
    "spikes of neurons": ({"stimulus": Stimulus(spikes={"a": ([0.1], [0])})}, "stimulus.spikes"),
    "spikes not a pair": ({"stimulus": Stimulus(spikes=cast(Any, {"eye": [0.1]}))}, "stimulus.spikes[eye]"),
    "spikes lengths": ({"stimulus": Stimulus(spikes={"eye": ([0.1, 0.2], [0])})}, "stimulus.spikes[eye]"),
    "spikes at zero": ({"stimulus": Stimulus(spikes={"eye": ([0.0], [0])})}, "stimulus.spikes[eye] times_ms"),
    "spikes late": ({"stimulus": Stimulus(spikes={"eye": ([1.1], [0])})}, "stimulus.spikes[eye] times_ms"),
    "spikes nan": ({"stimulus": Stimulus(spikes={"eye": ([math.nan], [0])})}, "stimulus.spikes[eye] times_ms"),
    "spikes beyond": ({"stimulus": Stimulus(spikes={"eye": ([0.5], [1])})}, "stimulus.spikes[eye] neurons"),
    "spikes of half": ({"stimulus": Stimulus(spikes={"eye": ([0.5], [0.5])})}, "stimulus.spikes[eye] neurons"),
    "no mapping": ({"stimulus": Stimulus(poisson=cast(Any, 10.0))}, "stimulus.poisson"),
    "rate": ({"stimulus": Stimulus(poisson={"a": Poisson(-1.0, 1.0)})}, "stimulus.poisson[a].rate_hz"),
    "bare rate": ({"stimulus": Stimulus(poisson=cast(Any, {"a": 10.0}))}, "stimulus.poisson[a]"),
    "no weight": ({"stimulus": Stimulus(poisson={"a": Poisson(1.0)})}, "stimulus.poisson[a].weight_pa"),
    "weight": ({"stimulus": Stimulus(poisson={"eye": Poisson(1.0, 1.0)})}, "stimulus.poisson[eye].weight_pa"),
    "weights": ({"stimulus": Stimulus(poisson={"a": Poisson(1.0, [1.0] * 2)})}, "stimulus.poisson[a].weight_pa"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_name(case: str) -> None:
    given, field = BAD[case]
    with pytest.raises(ConnectomeError) as caught:
        run(chain(), **{"duration_ms": 1.0, **given})
    assert caught.value.field == field
    assert str(caught.value.found) in str(caught.value)


def test_poisson_sensors_fire_at_their_rate(engine: Engine) -> None:
    rate = np.array([0.0, 100.0, 1000.0])
    connectome = Connectome.of([Region("a", 2), Region("eye", 3, "sensor")])
    result = run(connectome, 500.0, Stimulus(poisson={"eye": Poisson(rate)}), engine=engine)
    counts = np.bincount(result.spike_neuron.values, minlength=3)
    assert (np.abs(counts - rate / 2) <= 5 * np.sqrt(rate / 2)).all()
    assert set(result.spike_region.values) == {1}


# The torch engine, as learning uses it.


@st.composite
def batches(draw: st.DrawFn) -> tuple[Any, ...]:
    """A flat network with weights of both signs, sensor spikes (T, S, B), current and arrivals (T, N, B)."""
    connectome = draw(strategies.connectomes(max_size=5))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    flat = flatten(connectome)
    theta = np.where(np.isfinite(flat.dynamics.theta), flat.dynamics.theta, 10.0)
    charge = torch.as_tensor(theta / flat.dynamics.p20)  # pA for one step to threshold
    n, t, b = flat.n_neurons, draw(st.integers(1, 25)), draw(st.integers(1, 3))

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    weight = normal(flat.target.size) * charge[torch.as_tensor(flat.target.astype(np.int64))]
    sensor = (torch.rand((t, int(flat.is_sensor.sum()), b), generator=rng) < 0.3).double()
    current = (normal(t, n, b) * 0.5 + 0.3) * charge[:, None] - torch.as_tensor(flat.dynamics.i_e)[:, None]
    return flat, weight, sensor, current, normal(t, n, b) * charge[:, None] * 0.1


@settings(max_examples=25)
@given(batches())
def test_gradients_equal_dense_autograd(case: tuple[Any, ...]) -> None:
    flat, *leaves = case
    width = torch.linspace(2.0, 20.0, flat.n_neurons, dtype=torch.float64)
    results = []
    for dense in (False, True):
        weight, sensor, current, arrivals = (x.clone().requires_grad_() for x in leaves)
        if dense:
            u, s = reference.dense_autograd(flat, weight, sensor, width[:, None], current=current, arrivals=arrivals)
        else:
            u, s, _ = propagate(flat, weight, sensor, current=current, arrivals=arrivals, surrogate=triangle(width))
        mix = torch.sin(torch.arange(s.numel(), dtype=torch.float64)).reshape(s.shape)
        ((u * mix).sum() * 0.01 + (s * mix.flip(0)).sum()).backward()  # type: ignore[no-untyped-call]
        grads = [torch.zeros_like(x) if x.grad is None else x.grad for x in (weight, sensor, current, arrivals)]
        results.append((u.detach(), s.detach(), *grads))
    for ours, wanted in zip(*results, strict=True):
        largest = float(wanted.abs().max()) if wanted.numel() else 0.0
        torch.testing.assert_close(ours, wanted, rtol=1e-9, atol=1e-11 * largest)


@settings(max_examples=15)
@given(batches(), st.integers(1, 24))
def test_state_carries_on_and_samples_are_independent(case: tuple[Any, ...], cut: int) -> None:
    flat, weight, sensor, current, arrivals = case
    u, s, end = propagate(flat, weight, sensor, current=current, arrivals=arrivals)
    cut = min(cut, len(u) - 1)
    if cut:
        state = None
        parts = []
        for piece in (slice(0, cut), slice(cut, None)):
            *part, state = propagate(
                flat, weight, sensor[piece], current=current[piece], arrivals=arrivals[piece], state=state
            )
            parts.append(part)
        assert state is not None
        assert torch.equal(torch.cat([p[0] for p in parts]), u)
        assert torch.equal(torch.cat([p[1] for p in parts]), s)
        assert torch.equal(state.v, end.v)
    last = propagate(flat, weight, sensor[..., -1:], current=current[..., -1:], arrivals=arrivals[..., -1:])
    assert torch.equal(last.spikes, s[..., -1:])


def test_triangle_has_compact_support() -> None:
    distance = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, -math.inf], requires_grad=True)
    fired = triangle(2.0)(distance[:, None] * 2)
    assert fired[:, 0].tolist() == [0, 0, 0, 1, 1, 1, 1, 0]
    fired.sum().backward()  # type: ignore[no-untyped-call]
    assert distance.grad is not None
    assert distance.grad.tolist() == [0, 0, 0.5, 1.0, 0.5, 0, 0, 0]


def test_propagate_refuses_wrong_shapes() -> None:
    flat = flatten(chain())
    weight, sent = torch.ones(1), torch.zeros(3, 1, 2)
    assert propagate(flat, weight, sent).u.shape == (3, 2, 2)
    assert at_rest(flat, weight, 2).v.shape == (2, 2)
    for bad_weight, bad_sent in (
        (torch.ones(2), sent),
        (weight, sent[0]),
        (weight, torch.zeros(3, 2, 2)),
        (weight, sent[:0]),
    ):
        with pytest.raises(ConnectomeError, match="must have"):
            propagate(flat, bad_weight, bad_sent)


def test_what_would_overflow_is_refused_on_both_engines(engine: Engine) -> None:
    """3e38 and -3e38 pA at once gave -70 mV on one and nan on the other."""
    graph = chain()
    stimuli = (
        Stimulus(current_pa={"a": 1e39}), Stimulus(current_pa={"a": -2e30}),
        Stimulus(poisson={"a": Poisson(100.0, 3e38)}),
    )  # fmt: skip
    for stimulus in stimuli:
        with pytest.raises(ConnectomeError, match=r"\[a\].* must be below 1e\+30 in size: sums overflow"):
            run(graph, 1.0, stimulus, engine=engine)
    for weight in (3e38, -1e30):
        with pytest.raises(ConnectomeError, match=r"edges\[eye -afferent-> a\].weight must be below 1e\+30"):
            run(chain(weight), 1.0, engine=engine)
    assert np.isfinite(run(chain(9e29), 1.0, record_v={"a": "all"}, engine=engine).v_mv).all()
