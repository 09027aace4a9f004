"""Dynamics from sparse recordings: the teacher's linear dynamics, rates, readouts; a student learns; the trial is
whole."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from connectome import ConnectomeError, run
from connectome.analysis.readout import predictions
from connectome.circuits import sparse_recordings as circuit
from connectome.circuits.sparse_fits import Reach, fit
from connectome.graph.parts import EdgeKey
from connectome.learning.task import acting
from connectome.neurons.iaf_psc_exp import NeuronParameters
from sims.studies.circuits import sparse_recordings as trial

N = 60
LOCAL = EdgeKey(circuit.REGION, "local", circuit.REGION)
EFFERENT = EdgeKey(circuit.REGION, "efferent", circuit.HAND)


def test_rates_are_those_of_the_neurons() -> None:
    """A student without recurrence has what its neurons get from outside as their currents."""
    alone = circuit.student(N, np.random.default_rng(0), strength=0.0)
    neuron = alone.regions[circuit.REGION].neuron
    assert isinstance(neuron, NeuronParameters)
    current = np.asarray(neuron.i_e_pa)
    result = run(alone, 10_000.0)
    found = np.bincount(result.spike_neuron.values, minlength=N) / 10
    interval = 1000 / circuit.rate_hz(current)
    assert (interval.min(), interval.max()) == (pytest.approx(18, abs=1), pytest.approx(38, abs=2))
    assert (found <= 1000 / interval + 0.1).all()
    assert (found >= 1000 / (interval + 2) - 0.1).all()  # a spike comes at the end of a step
    steps = (circuit.rate_hz(current + 0.01) - circuit.rate_hz(current - 0.01)) / 0.02
    np.testing.assert_allclose(circuit.slope_hz_per_pa(current), steps, rtol=1e-5)


def test_the_teacher_is_linear_with_growing_oscillations() -> None:
    """Near rest a pA more in j makes w_ij tau_s g_j more in i: of rank 4 but for edges to oneself, which are not there,
    with the eigenvalues of 1 + tau_s A."""
    n, seed = 200, 3
    made = circuit.teacher(n, np.random.default_rng(seed))
    edges, w = made.edges[LOCAL], np.zeros((n, n))
    w[edges.target, edges.source] = edges.weight
    current = 187.5 * np.random.default_rng(seed).uniform(1.2, 1.8, n)  # what is drawn first
    linear = w * 0.05 * circuit.slope_hz_per_pa(current)
    neuron = made.regions[circuit.REGION].neuron
    assert isinstance(neuron, NeuronParameters)
    np.testing.assert_allclose(neuron.i_e_pa, current - 0.05 * w @ circuit.rate_hz(current), rtol=1e-4)
    found = np.linalg.eigvals(linear)
    largest = found[np.argsort(-np.abs(found))][:4]
    expected = [1 + 50 * complex(1 / 140, sign * 2 * np.pi * f / 1000) for f in (4, 2) for sign in (1, -1)]
    off = np.abs(largest[:, None] - np.array(expected)).min(0)
    assert off.max() < 0.06  # of the diagonal, tr / n = 0.03
    assert np.abs(np.sort(np.abs(found))[:-4]).max() < 0.15


def test_the_hand_reads_the_first_oscillation_alone() -> None:
    """Weights of the hand lie in the plane of its eigenvectors, times what takes rates to currents."""
    n, seed = 200, 3
    made = circuit.teacher(n, np.random.default_rng(seed))
    rng = np.random.default_rng(seed)
    gain = circuit.slope_hz_per_pa(187.5 * rng.uniform(1.2, 1.8, n))
    u = np.linalg.qr(rng.normal(size=(n, 4)))[0]
    hand = np.zeros((2, n))
    hand[made.edges[EFFERENT].target, made.edges[EFFERENT].source] = made.edges[EFFERENT].weight
    reads = (hand * gain) @ u
    assert np.abs(reads[:, 2:]).max() < 1e-5 * np.abs(reads[:, :2]).min()
    both = circuit.teacher(n, np.random.default_rng(seed), read=2).edges[EFFERENT].weight.reshape(n, 2)
    assert np.abs(both.T * gain @ u[:, 2:]).min() > 0


@given(st.floats(-10, 10))
def test_goals_are_shown_by_tuned_units(angle: float) -> None:
    spikes = circuit.goals([angle])[0].numpy()
    tuned = np.exp(np.cos(np.arange(32) * 2 * np.pi / 32 - angle) - 1)
    np.testing.assert_array_less(np.abs(spikes.sum(0) - 10 * tuned), 1 + 1e-6)  # 100 Hz for 100 ms
    assert not spikes[50:].any()
    assert set(np.unique(spikes)) <= {0, 1}


def test_rates_are_read_out_over_directions() -> None:
    rng = np.random.default_rng(0)
    by, by_new = rng.normal(size=(8, 20, 5)), rng.normal(size=(3, 20, 5))
    mix = rng.normal(size=(5, 4))
    found = circuit.predicted(by, by @ mix + 2, by_new)
    assert circuit.explained(by_new @ mix + 2, found) == pytest.approx(1, abs=1e-6)
    assert circuit.explained(by, by) == 1
    assert circuit.explained(by, np.broadcast_to(by.mean((0, 1)), by.shape)) == pytest.approx(0)
    constant = circuit.rates(torch.ones(1, circuit.STEPS, 2))
    np.testing.assert_allclose(constant[0, -1], 500, rtol=1e-4)  # each step of 2 ms
    assert constant.shape == (1, 40, 2)


def test_trials_are_left_out_whole() -> None:
    """States that tell of nothing but their own trial: one left out alone is known by its neighbours."""
    rng = np.random.default_rng(0)
    trials = np.repeat(np.arange(13), 30)
    states = rng.normal(size=(13, 40))[trials] + 0.01 * rng.normal(size=(390, 40))
    target = rng.normal(size=(13, 3))[trials]
    train, test = slice(0, 360), slice(360, 390)
    by_state, by_trial = (predictions(states, target, train, test, t) for t in (None, trials))
    assert (by_trial**2).mean() < 0.5 * (by_state**2).mean()


def test_a_student_learns() -> None:
    rng = np.random.default_rng(0)
    teacher, student = circuit.teacher(N, rng), circuit.student(N, rng)
    goals = circuit.goals(np.arange(4) * np.pi / 2)
    trains, hand = circuit.activity(teacher, goals)
    task = Reach(goals, hand)
    who = np.array([7, 3, 50])
    fitted, loss = fit(student, task, trains, who, 30, rate_pa=0.3)
    assert loss[-1] < 0.7 * loss[0]
    from connectome.learning.network import SpikingNetwork

    before, after = (task.score(acting(SpikingNetwork(c)), "test", 4, rng).value for c in (student, fitted))
    assert after > before + 0.1
    assert all(not edges.state for edges in fitted.edges.values())
    alone = fit(student, task, trains, who, 3, performs=False).connectome
    assert np.array_equal(alone.edges[EFFERENT].weight, student.edges[EFFERENT].weight)
    moved = np.abs(alone.edges[LOCAL].weight - student.edges[LOCAL].weight) > 0
    assert set(alone.edges[LOCAL].target[moved]) == set(who)


def test_the_trial_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "_N", 40)
    monkeypatch.setattr(trial, "_UPDATES", 8)
    monkeypatch.setattr(trial, "_fit", trial._fit.__wrapped__)
    found = {c: trial._run(c, 0, quick=True) for c in trial.sparse_recordings.conditions}
    names = trial.sparse_recordings.measures
    values = {c: {m: np.array([of.get(m, np.nan)] * 2) for m in names} for c, of in found.items()}
    assert len(trial.sparse_recordings.check(values)) == 6
    assert np.isfinite([of["unrecorded R2"] for of in found.values()]).all()
    assert found["25 % recorded"]["they themselves"] > 0.6
    assert "recorded R2" not in found["outputs alone"]
    (figure,) = trial.sparse_recordings.draw(True).values()
    assert len(figure.axes) == 7  # type: ignore[union-attr]


def test_the_shrinkage_is_the_librarys() -> None:
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import GroupKFold

    rng = np.random.default_rng(1)
    trials = np.repeat(np.arange(9), 10)
    states = rng.normal(size=(90, 30)) @ rng.normal(size=(30, 30))
    target = states @ rng.normal(size=(30, 2)) + 40 * rng.normal(size=(90, 2))
    train, test = slice(0, 80), slice(80, 90)
    z = (states - states[train].mean(0)) / states[train].std(0)
    splits = list(GroupKFold(4).split(z[train], groups=trials[train]))
    ridge = RidgeCV(np.logspace(-8, 4, 13), cv=splits, scoring="neg_mean_squared_error").fit(z[train], target[train])
    assert 1e-7 < ridge.alpha_ < 1e3
    found = predictions(states, target, train, test, trials)
    np.testing.assert_allclose(found, ridge.predict(z[test]), rtol=1e-6)


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("n must be", lambda rng: circuit.teacher(3, rng)),
        ("read must be", lambda rng: circuit.teacher(10, rng, read=3)),
        ("n must be", lambda rng: circuit.student(1, rng)),
        ("trial must be 2 or more", lambda rng: circuit.predicted(*[np.ones((1, 9, 2))] * 3)),
    ],
)
def test_what_does_not_fit(message: str, call: Callable[[np.random.Generator], object]) -> None:
    with pytest.raises(ConnectomeError, match=message):
        call(np.random.default_rng(0))
