"""flatten() against a loop over edges; propagators() against the matrix exponential, closed forms and an ODE solver."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from connectome import Connectome, ConnectomeError, EdgeSet, NeuronParameters, Region
from connectome.graph.flat import flatten
from connectome.neurons.iaf_psc_exp import propagators
from tests.strategies import connectomes, neuron_parameters


@given(connectomes(), st.data())
def test_flatten_against_a_loop_over_edges(connectome: Connectome, data: st.DataObject) -> None:
    recruit = data.draw(
        st.none() | st.sets(st.sampled_from([*connectome.regions])) if connectome.regions else st.none()
    )
    flat = flatten(connectome, recruit)
    regions = [r for r in connectome.regions.values() if recruit is None or r.name in recruit]
    neurons = [(r, i) for r in regions for i in range(r.size)]
    number = {(r.name, i): n for n, (r, i) in enumerate(neurons)}
    assert flat.n_neurons == len(neurons)
    for r in regions:
        assert list(range(flat.n_neurons))[flat.span[r.name]] == [number[r.name, i] for i in range(r.size)]
    sets = [e for e in connectome.edges.values() if e.key.source in flat.span and e.key.target in flat.span]
    assert flat.keys == tuple(e.key for e in sets)
    edges = []  # (source, target, weight, delay), numbered as the sets are: one after the other
    for e in sets:
        for i in range(len(e)):
            source, target = number[e.key.source, e.source[i]], number[e.key.target, e.target[i]]
            edges.append((source, target, e.weight[i], e.delay_steps[i]))
    assert flat.set_start.tolist() == [sum(len(e) for e in sets[:k]) for k in range(len(sets) + 1)]
    rows = sorted(range(len(edges)), key=lambda j: edges[j][0])  # stable: within a row, set after set
    assert flat.order.tolist() == rows
    row = np.repeat(np.arange(flat.n_neurons), np.diff(flat.indptr))
    columns: tuple[NDArray[Any], ...] = (row, flat.target, flat.weight, flat.delay)
    assert list(zip(*(c.tolist() for c in columns), strict=True)) == [edges[j] for j in rows]
    assert flat.max_delay == max([1, *(delay for *_, delay in edges)])
    assert flat.dt_ms == connectome.dt_ms
    assert flat.is_sensor.tolist() == [r.role == "sensor" for r, _ in neurons]
    for n, (r, _) in enumerate(neurons):
        alone = propagators(r.neuron, connectome.dt_ms, fires=r.role == "neuron")
        assert [column[n] for column in flat.dynamics] == list(alone)
        assert (flat.dynamics.theta[n] == math.inf) == (r.role != "neuron")
    for name, column in flat.dynamics._asdict().items():
        assert column.dtype == (np.int32 if name == "ref_steps" else np.float64)
        assert column.shape == (flat.n_neurons,)


def test_no_regions() -> None:
    flat = flatten(Connectome.of([]))
    assert (flat.n_neurons, flat.max_delay, flat.indptr.tolist(), flat.keys) == (0, 1, [0], ())


def test_recruit_names_regions() -> None:
    with pytest.raises(ConnectomeError, match=r"recruit must name regions of \['a'\]; found 'b'"):
        flatten(Connectome.of([Region("a", 1)]), ["a", "b"])


def test_ten_thousand_neurons_in_two_regions() -> None:
    rng = np.random.default_rng(0)
    n, e = 5000, 200_000
    source, target = rng.integers(0, n, (2, e))
    regions = [Region("a", n), Region("b", n)]
    keys = [("a", "local", "a"), ("a", "long_range", "b"), ("b", "long_range", "a")]
    sets = [
        EdgeSet.from_arrays(
            k, source, target, rng.random(e, np.float32), n_source=n, n_target=n, dt_ms=0.1, delay_ms=1.0
        )
        for k in keys
    ]
    flat = flatten(Connectome.of(regions, sets))
    start = {"a": 0, "b": n}
    held = [flat_set for k in flat.keys for flat_set in sets if flat_set.key == k]
    together = np.concatenate([s.weight for s in held])
    np.testing.assert_array_equal(flat.weight, together[flat.order])
    np.testing.assert_array_equal(
        flat.target, np.concatenate([s.target + start[s.key.target] for s in held])[flat.order]
    )
    np.testing.assert_array_equal(np.sort(flat.order), np.arange(3 * e))


def generator(p: NeuronParameters, tau_syn: float) -> NDArray[np.float64]:
    """d/dt of (v, i_syn, 1) under a constant current of 1 pA beside the synaptic one, and of that alone."""
    return np.array(
        [[-1 / p.tau_m_ms, 1 / p.c_m_pf, 1 / p.c_m_pf], [0, -1 / tau_syn, 0], [0, 0, 0]]
    )  # fmt: skip


TAUS = st.sampled_from([0.1, 0.5, 2.0, 2.0 + 1e-9, 2.0 - 1e-6, 10.0, 100.0])


@given(TAUS, TAUS, TAUS, st.sampled_from([1.0, 250.0]), st.sampled_from([0.01, 0.1, 1.0]))
def test_propagators_are_the_matrix_exponential(
    tau_m: float, tau_ex: float, tau_in: float, c: float, dt: float
) -> None:
    p = NeuronParameters(tau_m_ms=tau_m, tau_syn_ex_ms=tau_ex, tau_syn_in_ms=tau_in, c_m_pf=c)
    step = propagators(p, dt)
    for tau, p21, p11 in ((tau_ex, step.p21_ex, step.p11_ex), (tau_in, step.p21_in, step.p11_in)):
        exact = scipy.linalg.expm(generator(p, tau) * dt)
        np.testing.assert_allclose([step.p22, p21, step.p20], exact[0], rtol=1e-12)
        np.testing.assert_allclose(p11, exact[1, 1], rtol=1e-12)


@given(st.floats(0.5, 50), st.floats(0.5, 50))
def test_propagators_against_the_closed_form(tau_m: float, tau_syn: float) -> None:
    dt, c = 0.1, 250.0
    step = propagators(NeuronParameters(tau_m_ms=tau_m, tau_syn_ex_ms=tau_syn, c_m_pf=c), dt)
    if abs(tau_m - tau_syn) > 1e-2:  # nearer than that the textbook form cancels
        beta = tau_m * tau_syn / (tau_m - tau_syn)
        textbook = beta / c * (math.exp(-dt / tau_m) - math.exp(-dt / tau_syn))
        assert step.p21_ex == pytest.approx(textbook, rel=1e-8)
    low, high = sorted((tau_m, tau_syn))  # between the two alpha functions of equal constants
    assert dt / c * math.exp(-dt / low) <= step.p21_ex * (1 + 1e-14)
    assert step.p21_ex <= dt / c * math.exp(-dt / high) * (1 + 1e-14)


def test_equal_time_constants_are_the_limit() -> None:
    for tau in (0.5, 2.0, 20.0):
        step = propagators(
            NeuronParameters(tau_m_ms=tau, tau_syn_ex_ms=tau, tau_syn_in_ms=math.nextafter(tau, 99)), 0.1
        )
        assert step.p21_ex == pytest.approx(0.1 / 250 * math.exp(-0.1 / tau), rel=1e-15)
        assert step.p21_in == pytest.approx(float(step.p21_ex), rel=1e-14)


@given(neuron_parameters())
def test_one_step_is_many_small_steps(p: NeuronParameters) -> None:
    """Exactness: a step of 1 ms equals 64 steps of 1/64 ms, whatever the step."""

    def advance(dt: float, steps: int) -> tuple[float, float, float]:
        step, v, ex, inh = propagators(p, dt), 3.0, 40.0, -70.0
        for _ in range(steps):
            v = float(step.p22 * v + step.p21_ex * ex + step.p21_in * inh + step.p20 * p.i_e_pa)
            ex, inh = float(step.p11_ex * ex), float(step.p11_in * inh)
        return v, ex, inh

    assert advance(1.0, 1) == pytest.approx(advance(1 / 64, 64), rel=1e-11, abs=1e-11)


def test_against_an_ode_solver() -> None:
    p = NeuronParameters(tau_m_ms=10, tau_syn_ex_ms=2, c_m_pf=250, i_e_pa=120)
    step = propagators(p, 0.1)
    v, ex = 0.0, 500.0
    for _ in range(300):
        v, ex = float(step.p22 * v + step.p21_ex * ex + step.p20 * p.i_e_pa), float(step.p11_ex * ex)
    solved = scipy.integrate.solve_ivp(
        lambda t, y: [-y[0] / p.tau_m_ms + (500 * math.exp(-t / 2) + p.i_e_pa) / p.c_m_pf], (0, 30), [0.0],
        method="DOP853", rtol=1e-12, atol=1e-12,
    )  # fmt: skip
    assert v == pytest.approx(solved.y[0, -1], abs=1e-9)


@pytest.mark.parametrize(("tau_m", "tau_syn"), [(1e-4, 100.0), (100.0, 1e-4), (1e-4, 1e-4), (1e9, 1e9), (1e9, 1e-4)])
def test_extreme_time_constants_stay_finite(tau_m: float, tau_syn: float) -> None:
    p = NeuronParameters(tau_m_ms=tau_m, tau_syn_ex_ms=tau_syn, tau_syn_in_ms=tau_syn)
    step = propagators(p, 0.1)
    assert all(np.isfinite(value) for value in step)
    assert 0 <= step.p21_ex <= 0.1 / p.c_m_pf


def test_thresholds_and_refractory_steps() -> None:
    p = NeuronParameters(v_th_mv=-50, v_reset_mv=-65, e_l_mv=-70, t_ref_ms=2.04, i_e_pa=7)
    step = propagators(p, 0.1)
    assert [float(x) for x in (step.theta, step.v_reset, step.e_l, step.i_e, step.ref_steps)] == [20, 5, -70, 7, 20]
    assert propagators(p, 0.1, fires=False).theta == math.inf
