"""Liquid time constants: the closed forms, in spikes on both engines and in graded cells; the series; the trial."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from connectome import Connectome, ConnectomeError, EdgeSet, Region, run
from connectome.circuits import liquid as circuit
from connectome.circuits.liquid import LiquidCells
from connectome.datasets.series import failed, link_loads
from connectome.graph.flat import Engine
from connectome.neurons.iaf_cond_exp import IafCondExp
from connectome.simulate.runs import Stimulus
from sims.studies.circuits import forecasters
from sims.studies.circuits import liquid as trial


def cells(seed: int, inputs: int = 3, n: int = 5) -> LiquidCells:
    return LiquidCells(inputs, n, 2, np.random.default_rng(seed)).double()


@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_conductances_say_how_fast_a_cell_is_and_where_it_rests(engine: Engine) -> None:
    """Conductances that stay: the potential goes to its rest along an exponential, to 1e-6 of the way."""
    born = circuit.liquid(1, 2).regions["liquid"].neuron
    assert isinstance(born, IafCondExp)
    neuron = replace(born, v_th_mv=1e3, tau_syn_ex_ms=1e12, tau_syn_in_ms=1e12)
    g_ex, g_in = np.array([0.0, 1.0, 10.0, 10.0]), np.array([0.0, 2.0, 0.0, 40.0])
    both = [EdgeSet.from_arrays(("in", "afferent", "a"), [0, 1] * 4, np.repeat(range(4), 2),
                                np.stack([g_ex, -g_in], 1).ravel(), n_source=2, n_target=4, dt_ms=0.1)]  # fmt: skip
    c = Connectome.of([Region("in", 2, "sensor"), Region("a", 4, "neuron", neuron)], both)
    told = Stimulus(spikes={"in": ([0.1, 0.1], [0, 1])})
    v = run(c, 60.0, told, engine=engine, dtype="float64", record_v={"a": "all"}).v_mv.values
    tau, rest = circuit.membrane(neuron, g_ex, g_in)
    np.testing.assert_allclose(tau, 250 / (2.5 + g_ex + g_in))
    since = np.maximum(
        0.1 * np.arange(-1, len(v) - 1)[:, None], 0
    )  # they have arrived at 0.2 ms, the second step's end
    np.testing.assert_allclose(v, rest + (neuron.e_l_mv - rest) * np.exp(-since / tau), atol=1e-6)
    assert np.abs(rest - neuron.e_l_mv).max() > 30


def test_the_fused_rule_is_the_equation() -> None:
    """Against an integrator, for short steps; and it rests where the closed form says, whatever the step."""
    net, rng = cells(1), np.random.default_rng(1)
    x = torch.tensor(rng.uniform(0, 1, (1, 3)))

    def slope(t: float, v: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            g = net.conductances(x, torch.tensor(v[None]))
            pull = net.g_l * (net.v_l - torch.tensor(v)) + (g[0] * (net.e - torch.tensor(v))).sum(0)
            return np.asarray(pull / net.c)

    wanted = solve_ivp(slope, (0, 2), np.zeros(5), rtol=1e-9, atol=1e-9).y[:, -1]
    with torch.no_grad():
        v = torch.zeros(1, 5, dtype=torch.float64)
        for _ in range(20_000):
            v = net.step(x, v, 1e-4)
        np.testing.assert_allclose(v[0], wanted, atol=1e-4)
        for h in (0.1, 1.0, 100.0):
            v = torch.zeros(1, 5, dtype=torch.float64)
            for _ in range(4000):
                v = net.step(x, v, h)
            g = net.conductances(x, v)[0]
            np.testing.assert_allclose(v[0], (net.g_l * net.v_l + (g * net.e).sum(0)) / (net.g_l + g.sum(0)), atol=1e-6)
        np.testing.assert_allclose(net.time_constant(x, v)[0], net.c / (net.g_l + g.sum(0)), rtol=1e-12)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(0.1, 50), h=st.floats(1e-3, 1e3))
def test_cells_stay_within_their_bounds(seed: int, scale: float, h: float) -> None:
    """Under random inputs, of any size, for any step."""
    net, rng = cells(seed), np.random.default_rng(seed)
    with torch.no_grad():
        low, high = torch.minimum(net.e.min(0).values, net.v_l), torch.maximum(net.e.max(0).values, net.v_l)
        fastest, v = net.c / (net.g_l + net.w.sum(0)), torch.zeros(4, 5, dtype=torch.float64).clamp(low, high)
        for _ in range(30):
            x = torch.tensor(scale * rng.standard_normal((4, 3)))
            tau = net.time_constant(x, v)
            assert (tau <= net.c / net.g_l + 1e-12).all()
            assert (tau >= fastest - 1e-12).all()
            v = net.step(x, v, h)
            assert (v >= low - 1e-12).all()
            assert (v <= high + 1e-12).all()


def test_a_pass_goes_on_where_it_was_and_bounds_are_kept() -> None:
    net = cells(2)
    x = torch.tensor(np.random.default_rng(2).uniform(0, 1, (2, 6, 3)))
    with torch.no_grad():
        whole, end = net(x)
        first, middle = net(x[:, :4])
        second, last = net(x[:, 4:], middle)
        assert torch.equal(torch.cat([first, second], 1), whole)
        assert torch.equal(last, end)
        v = torch.zeros(2, 5, dtype=torch.float64)
        for _ in range(6):
            v = net.step(x[:, 0], v)
        assert torch.equal(net.out(v), whole[:, 0])
        net.w.sub_(1)
        net.c.mul_(1e6)
        net.keep_bounds()
        assert net.w.min() == pytest.approx(1e-5)
        assert net.c.max() == 1000
        assert ((net.e == 1) | (net.e == -1)).all()


def test_more_input_makes_cells_faster() -> None:
    """In spikes; and the sensor's are as many as they should be."""
    born = circuit.liquid(2, 30, seed=3)
    x = np.repeat([[0.1, 0.1], [0.8, 0.3], [0.8, 1.2]], 20, axis=0)
    tau = circuit.time_constants(born, x).mean(1).reshape(3, 20).mean(1)
    assert (np.diff(tau) < 0).all()
    assert tau[0] < 100
    spikes = circuit.spikes(x)
    time, unit = (np.asarray(part) for part in spikes.spikes["input"])
    counts = [np.bincount(unit[(time > a) & (time <= a + 200)] // 20, minlength=2) for a in (0, 200, 400)]
    np.testing.assert_allclose(counts, x[::20] * 200 * 20 * 0.2, atol=1)
    for network in (born, circuit.liquid(2, 30, synapses="currents", seed=3)):
        found = circuit.states(network, x)
        assert found.shape == (60, 60)
        one = run(network, 600.0, spikes)
        mine = one.spike_neuron.values[one.spike_region.values == 1]
        assert mine.size > 10
        first = np.bincount(mine[one.spike_time_ms.values[one.spike_region.values == 1] <= 10], minlength=30)
        np.testing.assert_allclose(found[0, 30:], first * 1000 / 30)


def test_currents_are_those_of_the_conductances() -> None:
    """Of the same draws: half way between rest and threshold they push as much."""
    one, other = (circuit.liquid(2, 20, synapses=s, seed=4) for s in ("conductances", "currents"))
    for key, e in one.edges.items():
        np.testing.assert_array_equal(e.target, other.edges[key].target)
        pull = np.where(e.weight > 0, 0, -85) + 57.5
        np.testing.assert_allclose(other.edges[key].weight, np.abs(e.weight) * pull, rtol=1e-5)


def test_loads_keep_their_week_and_failures_share_them_out() -> None:
    loads = link_loads(24 * 7 * 60, 3, np.random.default_rng(0))
    weeks = loads.reshape(60, 7, 24, 3).mean(0)
    np.testing.assert_allclose(weeks[5:].mean((0, 1)) / weeks[:5].mean((0, 1)), 0.7, atol=0.03)
    assert np.ptp(weeks[:5].mean(0), axis=0) / weeks[:5].mean((0, 1)) == pytest.approx(1, abs=0.1)
    rest = (loads.reshape(60, 168, 3) - loads.reshape(60, 168, 3).mean(0)).reshape(-1, 3)
    assert rest.std() == pytest.approx(0.05, rel=0.1)
    assert np.corrcoef(rest[1:, 0], rest[:-1, 0])[0, 1] == pytest.approx(0.8, abs=0.03)
    after = failed(loads, 1, 100)
    np.testing.assert_array_equal(after[:100], loads[:100])
    assert (after[100:, 1] == 0).all()
    np.testing.assert_allclose(after.sum(1), loads.sum(1))
    np.testing.assert_allclose(after[100:, 0] - loads[100:, 0], loads[100:, 1] / 2)


def test_forecasters_learn_and_are_refitted_on_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ridge regression of a wave that a lag tells exactly; after a failure it errs until it is refitted."""
    t = np.arange(700)
    wave = 0.5 + 0.3 * np.sin(t[:, None] * np.array([0.3, 0.3, 0.7]))
    wave[:, 1] += 0.1
    fitted = forecasters.linear(lambda s: forecasters.lagged(5, s), 1e-9, wave[:400])
    assert forecasters.errors(fitted, wave[395:])[5:].max() < 1e-4
    for condition in (forecasters.GRADED, forecasters.GRU):
        told, drawn = (forecasters.trained(condition, rate, 0, 20, wave[:400]) for rate in (0.03, 1e-9))
        assert forecasters.errors(told, wave[400:]).mean() < 0.85 * forecasters.errors(drawn, wave[400:]).mean()
    world = trial._World(wave[:400], wave[:400], [failed(wave, 0, 590)[400:641]])
    for name, value in (("_BEFORE", 150), ("_REFITTED", 20)):
        monkeypatch.setattr(trial, name, value)
    once, anew = (
        trial._judged(condition, (5, 1e-9), 0, True, world.calm, world)[0]
        for condition in ("ridge", "ridge (refitted)")
    )
    assert once.size == anew.size == 150
    np.testing.assert_allclose(once[:80], anew[:80], atol=1e-4)
    assert once[99] > 0.05, "that of the first failed sample"
    assert anew[-30:].mean() < 0.5 * once[-30:].mean()


def test_the_trial_judges() -> None:
    values = {c: {m: np.full(5, 0.03) for m in trial.liquid.measures} for c in trial.liquid.conditions}
    assert [check.holds for check in trial.liquid.check(values)] == [True] * 5
    values["ridge (refitted)"]["after"] = np.array([0.02, 0.02, 0.04, 0.04, 0.04])
    assert [check.holds for check in trial.liquid.check(values)] == [False, False, True, True, True]


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: circuit.liquid(synapses="wires"), "synapses"),  # type: ignore[arg-type]
        (lambda: circuit.liquid(0), "inputs"),
        (lambda: circuit.liquid(2, 1), "n "),
        (lambda: circuit.spikes(-np.ones((3, 2))), "x"),
        (lambda: circuit.states(circuit.liquid(2, 10), np.ones((3, 3))), "x"),
        (lambda: circuit.time_constants(circuit.liquid(2, 10, synapses="currents"), np.ones((3, 2))), "connectome"),
        (lambda: link_loads(0, 3, np.random.default_rng(0)), "hours"),
        (lambda: failed(np.ones((5, 3)), 3, 2), "link"),
        (lambda: failed(np.ones((5, 3)), 0, 6), "at"),
    ],
)
def test_what_does_not_fit_is_refused(call: object, field: str) -> None:
    with pytest.raises(ConnectomeError, match=field):
        call()  # type: ignore[operator]
