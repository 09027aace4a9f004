"""Gain control: the optimum in closed form, what recurrence is for, the same equations in spikes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

from connectome import ConnectomeError, run
from connectome.circuits import gain_control as circuit
from connectome.io.snapshot import load, save
from connectome.simulate.runs import Stimulus

N = 12


def test_gains_are_at_the_minimum() -> None:
    """Against a numerical optimiser, which knows the objective alone."""
    v1, f, p = circuit.orientation_ring(N, kappa=2.0), circuit.tuning(N), circuit.adapter(N, at=3, share=0.4)
    assert p.sum() == pytest.approx(1)
    assert p[3] == pytest.approx(0.2 + 0.6 / N)
    found = circuit.optimal_gains(v1, f, p)
    numerical = minimize(lambda g: circuit.objective(v1, f, p, g), np.ones(N), tol=1e-12).x
    np.testing.assert_allclose(found, numerical, atol=1e-4)
    online = circuit.online_gains(v1, f, p, 40_000, np.random.default_rng(0))
    assert np.abs(online - found).max() < 0.1 * np.abs(found - 1).max()


def test_peaks_move_away_by_recurrence_alone() -> None:
    f, p = circuit.tuning(36), circuit.adapter(36)
    even = np.full(36, 1 / 36)
    moved = {}
    for eigenvalue in (0.0, 0.7):
        v1 = circuit.orientation_ring(36, eigenvalue=eigenvalue)
        before, after = (circuit.responses(v1, f, circuit.optimal_gains(v1, f, q)) for q in (even, p))
        moved[eigenvalue] = circuit.tuning_peaks(after)[1:10] - circuit.tuning_peaks(before)[1:10]
        assert after[0, 0] < before[0, 0]
    np.testing.assert_allclose(moved[0.0], 0, atol=1e-9)
    assert (moved[0.7] > 0.5).all()


def test_spikes_carry_the_same_equations(tmp_path: Path) -> None:
    """Rates of the saved and loaded region graph are the responses, on its own."""
    v1, f = circuit.orientation_ring(N, kappa=2.0), circuit.tuning(N)
    gains = circuit.optimal_gains(v1, f, circuit.adapter(N))
    path = tmp_path / "v1.h5"
    save(circuit.adapted(v1, gains), path)
    kept = load(path)
    gain = kept.regions[circuit.REGION].state["gain"]
    drive = Stimulus(current_pa={circuit.REGION: circuit.UNIT_PA * gain * f[2]})
    result = run(kept, 4000.0, drive)
    late = result.spike_neuron.values[result.spike_time_ms.values >= 1000.0]
    rates = np.bincount(late, minlength=N) / 3.0
    np.testing.assert_allclose(rates, circuit.RATE_HZ * circuit.responses(v1, f, gains)[2], rtol=0.03, atol=0.5)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: circuit.orientation_ring(eigenvalue=1.0), "eigenvalue"),
        (lambda: circuit.tuning(2), "tuning"),
        (lambda: circuit.responses(circuit.orientation_ring(N), np.ones((3, N + 1))), "drive"),
        (lambda: circuit.optimal_gains(circuit.orientation_ring(N), circuit.tuning(N), np.ones(N)), "p"),
        (lambda: circuit.adapted(circuit.orientation_ring(N), np.ones(3)), "gains"),
    ],
)
def test_what_does_not_fit_is_refused(call: object, field: str) -> None:
    with pytest.raises(ConnectomeError, match=field):
        call()  # type: ignore[operator]
