"""Models of neurons: parameters, both engines, kernels against steps, published patterns, files."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import pickle
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from connectome import Connectome, ConnectomeError, EdgeSet, NeuronParameters, Region, SpikingNetwork, load, save
from connectome.graph.flat import Engine
from connectome.graph.pyg_view import from_pyg, to_pyg
from connectome.graph.views import from_networkx, to_networkx
from connectome.io.circuits import read_circuit
from connectome.io.exchange import read
from connectome.io.graph_files import write_graphml
from connectome.jit import kernel
from connectome.lanes_kernels import exp2_lanes, load_lanes, store_lanes
from connectome.neurons import (
    AeifPscExp,
    Alif,
    Arrivals,
    IafCondExp,
    IafPscAlpha,
    Izhikevich,
    LeakyIntegrator,
    NeuronModel,
    Shiu2024,
    draw,
    register,
)
from connectome.neurons.model import from_table, model_named, spiking, to_table
from connectome.neurons.step_kernels import FIRE, FREE, HELD, SILENT
from connectome.simulate import Poisson, Stimulus, run
from connectome.simulate.cells import make_cells, names_of
from connectome.simulate.clamp import Clamped
from connectome.wiring.edges import LogNormal, Normal

#: Those that there were when the archived file was written come first.
MODELS: tuple[type[NeuronModel], ...] = (
    NeuronParameters, IafCondExp, Alif, Izhikevich, AeifPscExp, LeakyIntegrator, Shiu2024, IafPscAlpha,
)  # fmt: skip
#: Of each model: a weight that matters, and a current that makes it fire now and then.
SCALE = {
    "iaf_psc_exp": (100.0, 400.0), "iaf_cond_exp": (8.0, 350.0), "alif": (100.0, 300.0), "izhikevich": (2.0, 10.0),
    "aeif_psc_exp": (300.0, 800.0), "leaky_integrator": (100.0, 100.0), "shiu2024": (100.0, 8.0),
    "iaf_psc_alpha": (50.0, 400.0),
}  # fmt: skip


def unlike(model: type[NeuronModel], n: int, seed: int = 0) -> NeuronModel:
    """Every parameter a little different for each of n neurons."""
    rng = np.random.default_rng(seed)
    return model(**{
        name: np.round(value * rng.uniform(0.98, 1.02, n), 6) if value else rng.uniform(0, 0.1, n)
        for name, value in model().parameters().items()
    })  # fmt: skip


def network(neuron: NeuronModel, n: int = 40, weight: float | None = None) -> tuple[Connectome, Stimulus]:
    """A sensor, a region of the model and one of iaf_psc_exp, which excite and inhibit each other."""
    rng = np.random.default_rng(0)
    size = {"eye": 10, "a": n, "b": 20}
    scale, current = SCALE[neuron.model]
    w = scale if weight is None else weight

    def wire(source: str, kind: str, target: str, edges: int, pa: float) -> EdgeSet:
        return EdgeSet.from_arrays(
            (source, kind, target), rng.integers(0, size[source], edges), rng.integers(0, size[target], edges),
            pa * rng.normal(1, 1, edges), n_source=size[source], n_target=size[target], dt_ms=0.1,
            delay_ms=rng.integers(1, 30, edges) * 0.1,
        )  # fmt: skip

    connectome = Connectome.of(
        [Region("eye", 10, "sensor"), Region("a", n, neuron=neuron), Region("b", 20)],
        [
            wire("eye", "afferent", "a", 100, w), wire("a", "local", "a", 200, w / 2),
            wire("a", "long_range", "b", 200, 200.0), wire("b", "long_range", "a", 100, -w),
        ],
    )  # fmt: skip
    stimulus = Stimulus(
        spikes={"eye": (rng.uniform(0.1, 50, 100), rng.integers(0, 10, 100))},
        current_pa={"a": rng.uniform(0.5, 1.2, n) * current},
        poisson={"a": Poisson(500.0, w / 4), "b": Poisson(900.0, 80.0)},
    )  # fmt: skip
    return connectome, stimulus


def same_spikes(a: xr.Dataset, b: xr.Dataset) -> None:
    for name in ("spike_region", "spike_neuron", "spike_time_ms"):
        np.testing.assert_array_equal(a[name].values, b[name].values)


# Engines and kernels


@pytest.mark.parametrize("per_neuron", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_engines_agree(model: type[NeuronModel], per_neuron: bool) -> None:
    connectome, stimulus = network(unlike(model, 40) if per_neuron else model())
    ours = [
        run(connectome, 50.0, stimulus, engine=engine, dtype="float64", record_v={"a": "all", "b": [3]}, seed=3)
        for engine in ("numba", "torch")
    ]  # fmt: skip
    assert ours[0].n_spikes.values[1] > 20 or not model.fires
    same_spikes(*ours)
    np.testing.assert_allclose(ours[0].v_mv.values, ours[1].v_mv.values, rtol=0, atol=1e-8)


@pytest.mark.parametrize("model", MODELS)
def test_threads_give_the_same_bits(model: type[NeuronModel]) -> None:
    connectome, stimulus = network(unlike(model, 100), 100)
    one = run(connectome, 50.0, stimulus, threads=1, record_v={"a": "all"})
    for threads in (2, 3):
        assert run(connectome, 50.0, stimulus, threads=threads, record_v={"a": "all"}).identical(one)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("model", MODELS)
def test_unlike_neurons_are_regions_of_one(model: type[NeuronModel], dtype: Any) -> None:
    """Bit for bit, on the kernel for like neurons too."""
    n, (weight, current) = 12, SCALE[model.model]
    neuron, rng = unlike(model, n), np.random.default_rng(1)
    spikes = (rng.uniform(0.1, 200, 300), rng.integers(0, n, 300))
    pa = rng.uniform(0.5, 1.3, n) * current

    def edges(target: str, neurons: NDArray[Any]) -> EdgeSet:
        return EdgeSet.from_arrays(
            ("eye", "afferent", target), neurons, np.arange(neurons.size), np.where(neurons % 3, weight, -weight),
            n_source=n, n_target=neurons.size, dt_ms=0.1,
        )  # fmt: skip

    eye, each = Region("eye", n, "sensor"), [np.array([k]) for k in range(n)]
    whole = Connectome.of([eye, Region("a", n, neuron=neuron)], [edges("a", np.arange(n))])
    apart = Connectome.of(
        [eye, *(Region(f"a{k}", 1, neuron=scalar(neuron, k)) for k in range(n))],
        [edges(f"a{k}", rows) for k, rows in enumerate(each)],
    )
    a = run(whole, 200.0, Stimulus({"eye": spikes}, {"a": pa}), dtype=dtype, record_v={"a": "all"})
    b = run(
        apart, 200.0, Stimulus({"eye": spikes}, {f"a{k}": pa[k] for k in range(n)}), dtype=dtype,
        record_v={f"a{k}": "all" for k in range(n)},
    )  # fmt: skip
    assert a.attrs["n_spikes"] > 320 or not model.fires
    np.testing.assert_array_equal(a.v_mv.values, b.v_mv.values)
    assert a.attrs["n_spikes"] == b.attrs["n_spikes"]


def scalar(neuron: NeuronModel, k: int) -> NeuronModel:
    """One neuron's parameters as numbers."""
    return type(neuron)(**{name: float(values[k]) for name, values in neuron.parameters().items()})


@pytest.mark.parametrize("model", MODELS)
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_kernel_is_the_step(model: type[NeuronModel], seed: int) -> None:
    """From any state, for neurons that are free, silent, made to fire or held."""
    import ctypes

    rng, n = np.random.default_rng(seed), 250
    neuron = unlike(model, n, seed) if seed % 3 else model()
    low = np.asarray(neuron.rest().get("v", 0.0)) + np.zeros(n)
    state = {k: np.zeros(n) for k in neuron.state}
    # Of AdEx more than sixteen are about to reach their peak; from there a step makes rounding errors larger.
    high, error = (40, 1e-6) if model is AeifPscExp else (25, 1e-9)
    state["v"] = low + rng.uniform(-10, high, n) * (rng.random(n) < 0.9)
    for name in neuron.state[1:]:
        if name == "refractory":
            state[name] = rng.integers(0, 3, n).astype(np.float64)
        elif name not in neuron.synapses:
            state[name] = neuron.rest().get(name, 0.0) + rng.uniform(0, 5, n)
    weight, current = SCALE[neuron.model]
    state[neuron.synapses[0]] = rng.uniform(0, 2 * weight, n)
    state[neuron.synapses[1]] = -rng.uniform(0, 2 * weight, n)
    pa = rng.uniform(0, 2 * current, n)
    code = rng.choice(np.array([FREE, FREE, SILENT, HELD, *([FIRE] if model.fires else [])], np.uint8), n)
    held = low + rng.uniform(-5, 5, n)

    place, none = 16, np.zeros(0, np.int64)
    clamp = {"a": Clamped(code, held, none, none)} if model.fires or (code == HELD).any() else {}
    region, row = Region("a", n, neuron=neuron), 256
    cells = make_cells([region], {"a": place}, clamp, {"a": state}, np.dtype(np.float64), 0.1)
    cells.clamp_block(0, 1)
    v, ex, inh = (np.concatenate([state[k], np.zeros(row - n)]) for k in ("v", *neuron.synapses))
    drive = np.concatenate([pa, np.zeros(row - n)])
    if neuron.one_accumulator:
        ex, inh = ex + inh, 0 * inh
    fired, c = np.zeros(n, np.uint32), cells.records[0]
    for name, array in (("excitatory", ex), ("inhibitory", inh), ("drive", drive), ("fired", fired)):
        c[name] = array.ctypes.data
    c["last"], c["varies"] = n, 1
    call = ctypes.CFUNCTYPE(ctypes.c_uint64, *[ctypes.c_uint64] * 2)(int(c["update"]))
    count = call(cells.records.ctypes.data, v.ctypes.data)

    distances = []

    def threshold(distance: torch.Tensor) -> torch.Tensor:
        distances.append(distance)
        free = spiking(distance)
        wanted = torch.as_tensor(code)
        return torch.where(wanted == FREE, free, (wanted == FIRE).to(free.dtype)) if clamp else free

    column = {k: torch.as_tensor(np.array(x, np.float64)) for k, x in neuron.constants(0.1).items()}
    zero = torch.zeros(n, dtype=torch.float64)
    after, spikes = neuron.step(
        column, {k: torch.as_tensor(x) for k, x in state.items()}, Arrivals(zero, zero, torch.as_tensor(pa)), threshold
    )
    wanted_v = after["v"].numpy()
    if distances and clamp:
        wanted_v = wanted_v - np.where((code == SILENT) & (spikes.numpy() == 0), distances[0].clamp(min=0).numpy(), 0)
    if clamp:
        wanted_v = np.where(code == HELD, held, wanted_v)
    np.testing.assert_array_equal(np.sort(fired[:count]), place + np.flatnonzero(spikes.numpy()))
    np.testing.assert_allclose(v[:n], wanted_v, rtol=error, atol=error)
    both = (after[neuron.synapses[0]] + after[neuron.synapses[1]]).numpy()
    np.testing.assert_allclose((ex + inh)[:n], both, rtol=error, atol=error)
    for k, name in enumerate(names_of(region)):
        np.testing.assert_allclose(cells.state[0][k, :n], after[name].numpy(), rtol=error, atol=error)


@pytest.mark.parametrize("model", MODELS)
def test_kernels_name_what_they_are_given_in_its_order(model: type[NeuronModel]) -> None:
    module = importlib.import_module(model.kernel.partition(":")[0])
    assert module.Constants._fields == tuple(model().constants(0.1))
    assert module.Memory._fields == tuple(names_of(Region("a", 1, neuron=model())))


@kernel
def powers(x: NDArray[Any], out: NDArray[Any]) -> None:
    for i in range(np.uint64(0), np.uint64(x.size), np.uint64(16)):
        store_lanes(out, i, exp2_lanes(load_lanes(x, i, 16)))


@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_powers_side_by_side(real: Any) -> None:
    x = np.linspace(-120, 120, 160_000).astype(real)
    out = np.zeros_like(x)
    powers(x, out)
    exact = np.exp2(x.astype(np.longdouble))
    assert (np.abs(out - exact) <= 1.5 * np.spacing(exact.astype(real))).all()
    powers(np.arange(-120.0, 120).astype(real), out)
    np.testing.assert_array_equal(out[:240], 2.0 ** np.arange(-120, 120))


def test_effectors_integrate_and_never_fire() -> None:
    for neuron in (NeuronParameters(), IafCondExp(), Alif(), LeakyIntegrator()):
        hand = Region("hand", 3, "effector", replace(neuron, e_l_mv=np.array([-70.0, -71.0, -72.0])))
        stimulus = Stimulus(current_pa={"hand": 3000.0})
        ours = [
            run(Connectome.of([hand]), 100.0, stimulus, engine=engine, dtype="float64", record_v={"hand": "all"})
            for engine in ("numba", "torch")
        ]  # fmt: skip
        assert ours[0].attrs["n_spikes"] == ours[1].attrs["n_spikes"] == 0
        assert (ours[0].v_mv.values[-1] > 0).all(), neuron.model
        np.testing.assert_allclose(ours[0].v_mv.values, ours[1].v_mv.values, atol=1e-9)
    for diverges in (Izhikevich(), AeifPscExp()):
        with pytest.raises(ConnectomeError, match="can run without spikes"):
            Region("hand", 3, "effector", diverges)


def test_alif_threshold_by_hand() -> None:
    """The same membrane, and a threshold that is looked up in the spikes so far."""
    alif = Alif(i_e_pa=400.0, adapt_tau_ms=100.0, adapt_beta_mv=3.0, t_ref_ms=0.5)
    found = run(Connectome.of([Region("a", 1, neuron=alif)]), 300.0, dtype="float64")
    v, a, waits, times = 0.0, 0.0, 0, []
    for t in range(3000):
        decay = np.exp(-0.1 / 20.0)
        v = 0.0 if waits else v * decay + 400.0 * 20.0 / 250.0 * (1 - decay)
        waits = max(waits - 1, 0)
        fires = v >= 15.0 + 3.0 * a
        a = a * np.exp(-0.1 / 100.0) + fires
        if fires:
            v, waits = 0.0, 5
            times.append(t + 1)
    np.testing.assert_array_equal(np.rint(found.spike_time_ms.values / 0.1), times)
    gaps = np.diff(times)
    assert len(times) > 10
    assert gaps[-1] > 1.5 * gaps[0], "it adapts"


# Published patterns: intervals of the response to a step of current


def intervals(
    neuron: NeuronModel, current: float, duration_ms: float = 1000.0, engine: Engine = "numba"
) -> NDArray[Any]:
    """Between spikes, ms."""
    connectome = Connectome.of([Region("a", 1, neuron=neuron)])
    result = run(connectome, duration_ms, Stimulus(current_pa={"a": current}), dtype="float64", engine=engine)
    return np.diff(result.spike_time_ms.values)


def test_izhikevich_regular_spiking() -> None:
    gaps = intervals(Izhikevich(0.02, 0.2, -65.0, 8.0), 10.0)
    assert gaps[0] < 0.7 * gaps[1], "a short first interval"
    assert np.ptp(gaps[3:]) < 2.0
    assert 20 < gaps[-1] < 60


def test_izhikevich_intrinsically_bursting() -> None:
    gaps = intervals(Izhikevich(0.02, 0.2, -55.0, 4.0), 10.0)
    assert (gaps[:2] < 8).all(), "it begins with a burst"
    assert (gaps[4:] > 2.5 * gaps[0]).all(), "and goes on with single spikes"
    assert np.ptp(gaps[6:]) < 2.0


def test_izhikevich_chattering() -> None:
    gaps = intervals(Izhikevich(0.02, 0.2, -50.0, 2.0), 10.0)
    short, long = gaps < 10, gaps > 20
    assert (short | long).all(), "spikes in bursts, and silence"
    assert long.sum() >= 5
    assert short.sum() > 2 * long.sum()


def test_izhikevich_fast_spiking() -> None:
    gaps = intervals(Izhikevich(0.1, 0.2, -65.0, 2.0), 10.0)
    assert gaps.size > 60, "fast"
    assert np.ptp(gaps[2:]) < 1.0, "without adaptation"


#: Naud, Marcille, Clopath & Gerstner (2008), table 1: C, g_L, E_L, V_T, Delta_T, a, tau_w, b, V_r, and the current.
NAUD = {
    "tonic": (200, 10, -70, -50, 2, 2, 30, 0, -58, 500), "adapting": (200, 12, -70, -50, 2, 2, 300, 60, -58, 500),
    "initial burst": (130, 18, -58, -50, 2, 4, 150, 120, -50, 400),
    "regular bursting": (200, 10, -58, -50, 2, 2, 120, 100, -46, 210),
}  # fmt: skip


def adex(pattern: str) -> NDArray[Any]:
    c, g, e, t, d, a, tau, b, r, current = NAUD[pattern]
    neuron = AeifPscExp(
        c_m_pf=c, g_l_ns=g, e_l_mv=e, v_th_mv=t, delta_t_mv=d, a_ns=a, tau_w_ms=tau, b_pa=b, v_reset_mv=r, v_peak_mv=0.0
    )
    return intervals(neuron, current)


def test_adex_tonic() -> None:
    gaps = adex("tonic")
    assert gaps.size > 20
    assert np.ptp(gaps[5:]) < 0.25


def test_adex_adapting() -> None:
    gaps = adex("adapting")
    assert (np.diff(gaps) > -0.11).all(), "each interval is as long as the one before, or longer"
    assert gaps[-1] > 2 * gaps[0]


def test_adex_initial_burst() -> None:
    gaps = adex("initial burst")
    assert (gaps[:2] < 15).all()
    assert (gaps[4:] > 3 * gaps[0]).all()
    assert np.ptp(gaps[6:]) < 1.0


def test_adex_regular_bursting() -> None:
    gaps = adex("regular bursting")
    long = gaps > 4 * np.median(gaps)
    assert long.sum() >= 3
    number = np.diff(np.flatnonzero(long))  # spikes a burst
    assert (number > 1).all()
    assert np.ptp(number[1:]) <= 1, "and each burst has as many"


# Parameters


@pytest.mark.parametrize("model", MODELS)
def test_bad_parameters_are_refused_by_name(model: type[NeuronModel]) -> None:
    for f in fields(model):
        for bad in (np.nan, np.inf, "5", None, True, [[1.0]], [1.0, np.nan], np.zeros((2, 2))):
            with pytest.raises(ConnectomeError, match=rf"neuron\.{f.name} must be a finite number"):
                model(**{f.name: bad})
        if "above" in f.metadata or "low" in f.metadata:
            with pytest.raises(ConnectomeError, match=rf"neuron\.{f.name} must be >.*-1"):
                model(**{f.name: -1.0})
            with pytest.raises(ConnectomeError, match=rf"neuron\.{f.name} must be >.*-1.0 of neuron 1"):
                model(**{f.name: [1.0, -1.0]})
        with pytest.raises(ConnectomeError, match=rf"regions\[a\]\.neuron\.{f.name} must be a number or have shape"):
            Region("a", 3, neuron=replace(model(), **{f.name: np.full(2, f.default)}))


@pytest.mark.parametrize("engine", ["numba", "torch"])
@pytest.mark.parametrize(
    ("neuron", "field", "rule"),
    [
        (NeuronParameters(t_ref_ms=1e9), "neuron.t_ref_ms", "fewer than 2^31 steps of 0.1 ms"),
        (Shiu2024(t_ref_ms=[1.0, 1e9]), "neuron.t_ref_ms", "fewer than 2^31 steps of 0.1 ms"),
        (NeuronParameters(c_m_pf=1e-300), "neuron of region a", "single precision can hold (p21_ex is not finite)"),
        (NeuronParameters(c_m_pf=5e-324), "neuron of region a", "single precision can hold (p21_ex is not finite)"),
        (NeuronParameters(i_e_pa=1e300), "neuron of region a", "single precision can hold (i_e is not finite)"),
        (Izhikevich(d_mv_per_ms=1e39), "neuron of region a", "single precision can hold (d is not finite)"),
        (NeuronParameters(i_e_pa=3e38, c_m_pf=1e-3), "neuron of region a", "(p20 i_e is not finite)"),
    ],
)  # fmt: skip
def test_steps_that_no_engine_can_hold(neuron: NeuronModel, field: str, rule: str, engine: Engine) -> None:
    c = Connectome.of([Region("a", 2, neuron=neuron)], dt_ms=0.1)
    with pytest.raises(ConnectomeError, match=re.escape(rule)) as caught:
        run(c, 1.0, engine=engine)
    assert caught.value.field == field


@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_a_region_without_neurons_runs(engine: Engine) -> None:
    """Whose parameters, one for each neuron, are none."""
    c = Connectome.of([Region("none", 0, neuron=NeuronParameters(t_ref_ms=[])), Region("a", 2)], dt_ms=0.1)
    assert run(c, 1.0, engine=engine).n_spikes.values.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: NeuronParameters(v_reset_mv=-50.0), "neuron.v_reset_mv"),
        (lambda: Alif(v_th_mv=-80.0), "neuron.v_reset_mv"),
        (lambda: IafCondExp(v_reset_mv=-50.0), "neuron.v_reset_mv"),
        (lambda: Izhikevich(c_mv=40.0), "neuron.c_mv"),
        (lambda: Shiu2024(v_reset_mv=-40.0), "neuron.v_reset_mv"),
        (lambda: AeifPscExp(v_peak_mv=-60.0), "neuron.v_reset_mv"),
        (lambda: AeifPscExp(delta_t_mv=0.1), "neuron.delta_t_mv"),
        (lambda: AeifPscExp(v_peak_mv=-55.0), "neuron.v_peak_mv"),
    ],
)  # fmt: skip
def test_parameters_that_do_not_go_together(make: Callable[[], NeuronModel], field: str) -> None:
    with pytest.raises(ConnectomeError) as caught:
        make()
    assert caught.value.field == field


@pytest.mark.parametrize("model", MODELS)
def test_models_are_values(model: type[NeuronModel]) -> None:
    """Equal, hashed, pickled and shown by what they hold; nobody can write to them."""
    neuron = unlike(model, 4)
    assert neuron == unlike(model, 4) != unlike(model, 4, 1)
    assert hash(neuron) == hash(unlike(model, 4))
    assert pickle.loads(pickle.dumps(neuron)) == neuron
    assert from_table(json.loads(json.dumps(to_table(neuron))), "neuron") == neuron
    assert neuron.take([2, 0]).take([1]) == neuron.take(np.array([True, False, False, False]))
    assert model() != unlike(model, 4)
    first = fields(model)[0].name
    assert f"{first}=(4,)" in repr(neuron)
    with pytest.raises(ValueError, match="read-only"):
        getattr(neuron, first)[0] = 1.0


def test_parameters_are_drawn() -> None:
    rng = np.random.default_rng(3)
    drawn = draw(NeuronParameters(), 1000, rng, v_th_mv=Normal(-55, 1, -58), tau_m_ms=LogNormal(10, 2))
    assert abs(drawn.v_th_mv.mean() + 55) < 0.2
    assert drawn.v_th_mv.min() >= -58
    assert abs(drawn.tau_m_ms.mean() - 10) < 0.3
    assert drawn == draw(
        NeuronParameters(), 1000, np.random.default_rng(3), v_th_mv=Normal(-55, 1, -58), tau_m_ms=LogNormal(10, 2)
    )
    with pytest.raises(ConnectomeError, match=r"must have a parameter of .*'v_thresh'"):
        draw(NeuronParameters(), 3, rng, v_thresh=Normal(0, 1))
    with pytest.raises(ConnectomeError, match=r"neuron\.tau_m_ms must be > 0"):
        draw(NeuronParameters(), 100, rng, tau_m_ms=Normal(0, 1))


def test_digest_knows_the_model_and_every_value() -> None:
    made = [
        NeuronParameters(),
        NeuronParameters(tau_m_ms=[10.0, 10.0]),
        NeuronParameters(tau_m_ms=[10.0, 10.1]),
        Alif(),
    ]
    digests = {Connectome.of([Region("a", 2, neuron=neuron)]).digest() for neuron in made}
    assert len(digests) == 4


# Models of other packages


@dataclass(frozen=True, eq=False, repr=False)
class Relu(NeuronModel):
    """Spikes as often as its input is large: a model of one step, in torch alone."""

    model: ClassVar[str] = "relu"
    state: ClassVar[tuple[str, ...]] = ("v", "i_ex", "i_in")
    leak_per_step: Any = 0.1

    def constants(self, dt_ms: float) -> dict[str, Any]:
        return {"leak": self.leak_per_step}

    def step(
        self, constants: Mapping[str, Any], state: Mapping[str, torch.Tensor], arrivals: Arrivals,
        threshold: Callable[[torch.Tensor], torch.Tensor],
    ) -> tuple[dict[str, torch.Tensor], torch.Tensor]:  # fmt: skip
        v = (1 - constants["leak"]) * state["v"] + state["i_ex"] + state["i_in"] + arrivals.current_pa
        spikes = threshold(v - 1)
        return {"v": v - spikes.detach(), "i_ex": arrivals.excitatory, "i_in": arrivals.inhibitory}, spikes


def offer(monkeypatch: pytest.MonkeyPatch, **models: str) -> None:
    """As if a package were installed."""

    def entries(group: str) -> list[importlib.metadata.EntryPoint]:
        if group != "connectome.neurons":
            return []
        return [importlib.metadata.EntryPoint(name, value, group) for name, value in models.items()]

    monkeypatch.setattr(importlib.metadata, "entry_points", entries)


def test_a_package_adds_a_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Which runs on the torch engine, is trained there, saved and read; nothing here knows of it."""
    monkeypatch.setattr("connectome.neurons.model._KNOWN", set())
    with pytest.raises(ConnectomeError, match=r"regions\[a\]\.neuron must be NeuronParameters or another registered"):
        Region("a", 2, neuron=Relu())
    offer(monkeypatch, relu=f"{__name__}:Relu")
    region = Region("a", 2, neuron=Relu(leak_per_step=[0.0, 0.5]))
    connectome = Connectome.of([region])
    result = run(connectome, 1.0, Stimulus(current_pa={"a": 0.5}), engine="torch", record_v={"a": "all"})
    np.testing.assert_allclose(result.spike_time_ms.values, [0.2, 0.4, 0.6, 0.8, 1.0])
    assert set(result.spike_neuron.values) == {0}
    with pytest.raises(ConnectomeError, match="engine must be 'torch' for region 'a', whose model has no kernel"):
        run(connectome, 1.0)
    save(connectome, tmp_path / "a.h5")
    assert load(tmp_path / "a.h5").regions["a"].neuron == region.neuron


def test_subclasses_and_other_things_are_refused() -> None:
    class Sly(NeuronParameters):
        pass

    for bad in (Sly(), Relu(), None, "iaf_psc_exp", NeuronParameters, {"tau_m_ms": 10.0}):
        with pytest.raises(ConnectomeError, match=r"regions\[a\]\.neuron must be NeuronParameters or another"):
            Region("a", 2, neuron=bad)  # type: ignore[arg-type]


def test_a_model_is_registered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectome.neurons.model._REGISTERED", {})
    monkeypatch.setattr("connectome.neurons.model._KNOWN", set())
    assert register(Relu) is register(Relu) is model_named("relu", "x") is Relu
    assert Region("a", 1, neuron=Relu()).neuron == Relu()

    class Other(Relu):
        pass

    class Fake(NeuronParameters):
        pass

    for taken in (Other, Fake):
        with pytest.raises(ConnectomeError, match="a name that no other model has"):
            register(taken)
    again = type("Relu", (Relu,), {"__module__": Relu.__module__})  # its cell in a notebook is run again
    assert register(again) is model_named("relu", "x") is again
    assert Region("a", 1, neuron=again()).neuron == again()
    with pytest.raises(ConnectomeError, match="another registered"):
        Region("a", 1, neuron=Relu())
    with pytest.raises(ConnectomeError, match=r"neuron must be among iaf_psc_exp, iaf_cond_exp, .*'nothing'"):
        model_named("nothing", "neuron")


# Files and views


@pytest.mark.parametrize("per_neuron", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_files_and_views_keep_the_model(model: type[NeuronModel], per_neuron: bool, tmp_path: Path) -> None:
    neuron = unlike(model, 40) if per_neuron else from_table({"model": model.model, "i_e_pa": 123.0}, "a")
    connectome, _ = network(neuron)
    save(connectome, tmp_path / "a.h5")
    write_graphml(connectome, tmp_path / "a.graphml")
    found = {
        "snapshot": load(tmp_path / "a.h5"), "networkx": from_networkx(to_networkx(connectome)),
        "pyg": from_pyg(to_pyg(connectome)), "graphml": read(tmp_path / "a.graphml"),
        "sonata": read_circuit(tmp_path / "a.sonata" / "circuit_config.json"),
    }  # fmt: skip
    for name, one in found.items():
        assert one.regions["a"].neuron == neuron, name
    assert found["snapshot"].digest() == connectome.digest()


def test_an_archived_file_of_models_still_opens() -> None:
    found = load(Path(__file__).parent / "archives" / "format_3_models.h5")
    for k, model in enumerate(MODELS[:6]):
        assert found.regions[f"{model.model}_1"].neuron == model()
        assert found.regions[f"{model.model}_4"].neuron == unlike(model, 4, k)


def write_archive(path: Path) -> None:
    """How it was made: once."""
    regions = [Region(f"{m.model}_1", 1, neuron=m()) for m in MODELS[:6]]
    regions += [Region(f"{m.model}_4", 4, neuron=unlike(m, 4, k)) for k, m in enumerate(MODELS[:6])]
    save(Connectome.of(regions), path)


# Training


@pytest.mark.parametrize("model", [IafCondExp, Izhikevich, AeifPscExp])
def test_other_models_train_on_the_torch_engine(model: type[NeuronModel]) -> None:
    connectome, _ = network(unlike(model, 40))
    with pytest.raises(ConnectomeError, match="engine must be 'torch' to train region 'a'"):
        SpikingNetwork(connectome, engine="numba")
    trained = SpikingNetwork(connectome, engine="torch", dtype=torch.float64, surrogate_width_mv=30.0)
    sent = torch.as_tensor(np.random.default_rng(0).random((2, 60, 10)) < 0.2, dtype=torch.float64)
    counts = trained({"eye": sent}, record=["b"]).spikes["b"]
    assert torch.isfinite(counts).all()


def test_leaky_integrators_train_event_driven() -> None:
    """As effectors and as regions; the gradient is that of the torch engine."""
    rng = np.random.default_rng(0)
    eye, hand = Region("eye", 5, "sensor"), Region("hand", 2, "effector", LeakyIntegrator(tau_m_ms=20.0))
    a = Region("a", 8)
    size = {"eye": 5, "a": 8, "hand": 2}
    w = [
        EdgeSet.from_arrays(
            (s, kind, t), rng.integers(0, size[s], m), rng.integers(0, size[t], m), pa, n_source=size[s],
            n_target=size[t], dt_ms=0.5,
        )
        for s, kind, t, m, pa in (("eye", "afferent", "a", 40, 300.0), ("a", "efferent", "hand", 16, 50.0))
    ]  # fmt: skip
    connectome = Connectome.of([eye, a, hand], w, dt_ms=0.5)
    sent = torch.as_tensor(rng.random((3, 40, 5)) < 0.3, dtype=torch.float64)
    gradients = []
    for engine in ("numba", "torch"):
        trained = SpikingNetwork(connectome, engine=engine, dtype=torch.float64)
        trained({"eye": sent}).potential["hand"].square().sum().backward()
        gradients.append(torch.cat([x.grad for x in trained.weight.values() if x.grad is not None]))
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)
