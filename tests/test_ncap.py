"""The swimming circuit: equations by hand, the same in spikes, its four numbers in files and on both engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from connectome import ConnectomeError, run
from connectome.circuits import ncap as circuit
from connectome.circuits.ncap import SWIMMING, Weights
from connectome.graph.parts import TIED
from connectome.io.snapshot import load, save
from connectome.learning.evolution import evolve
from connectome.simulate import Stimulus

POSTURE = np.array([0.5, -0.8, 0.0, 1.3])


def test_the_equations_by_hand() -> None:
    """Each segment bends as the one before; the first as the oscillator says; signs decide."""
    np.testing.assert_allclose(circuit.graded()(POSTURE, 0), [1.0, 0.5, -0.8, 0.0])
    np.testing.assert_allclose(circuit.graded()(POSTURE, 30), [-1.0, 0.5, -0.8, 0.0])
    np.testing.assert_allclose(circuit.graded(period=20)(POSTURE, 10)[0], -1.0)
    weights = Weights(proprioception=0.5, oscillator=2.0, ipsilateral=0.9, contralateral=-0.3)
    np.testing.assert_allclose(circuit.graded(weights)(POSTURE, 0), [0.9, 0.225, -0.36, 0.0])
    np.testing.assert_allclose(circuit.graded(SWIMMING._replace(contralateral=1.0))(POSTURE, 0), 0.0)


@settings(max_examples=10, deadline=None)
@given(
    q=st.lists(st.floats(-1, 1), min_size=3, max_size=3),
    weights=st.tuples(st.floats(0.2, 1), st.floats(0.2, 1), st.floats(0.2, 1), st.floats(-1, 0)),
)
@example(q=[0.0, 0.0, 0.0], weights=(1.0, 1.0, 1.0, 0.0))
def test_spikes_carry_the_equations(q: list[float], weights: tuple[float, ...]) -> None:
    """Of a posture that is held: means of ten moves, after five in which muscles come to rest. What takes a neuron
    beyond its threshold is lost with the reset: a tenth where all fire each step."""
    controller = circuit.in_spikes(circuit.swimming_circuit(3, weights))
    found = [controller(np.array(q), 0) for _ in range(15)][5:]
    np.testing.assert_allclose(np.mean(found, 0), circuit.graded(weights)(np.array(q), 0), rtol=0.12, atol=0.03)


def test_four_numbers_are_all_there_is(tmp_path: Path) -> None:
    """They are shared by all edges of a kind, kept in a file, and read back."""
    weights = Weights(0.7, 1.2, 0.9, -0.4)
    worm = circuit.with_weights(circuit.swimming_circuit(5), weights)
    assert circuit.shared_weights(worm) == pytest.approx(weights)
    assert circuit.shared_weights(circuit.swimming_circuit(5)) == pytest.approx(SWIMMING)
    tied = [e for e in worm.edges.values() if TIED in e.state]
    assert len(tied) == 4
    assert all(np.unique(e.weight).size == np.unique(e.state[TIED]).size == 1 for e in tied)
    save(worm, tmp_path / "worm.h5")
    assert circuit.shared_weights(load(tmp_path / "worm.h5")) == pytest.approx(weights)


def test_each_side_moves_its_muscle() -> None:
    worm = circuit.swimming_circuit(2)
    told = Stimulus(
        spikes={"proprioception": (np.arange(1.0, 61), np.arange(60) % 10), "oscillator": ([3.0, 9.0], [4, 13])}
    )
    muscles = run(worm, 60.0, told, record_v={"muscles": np.arange(4)}).v_mv.values
    assert muscles[-10:, 2].mean() > 0.5  # of the second joint's dorsal side
    assert muscles[-10:, 3].mean() < -0.5


def test_no_spike_is_lost_between_moves() -> None:
    """What is left of one is kept: a quarter of 30 spikes, ten times, is 75."""
    left, turn = np.zeros(2), np.zeros(2, int)
    times, neurons = zip(*(circuit._spikes(np.array([0.25, 0.0]), left, turn) for _ in range(10)), strict=True)
    assert sum(map(len, times)) == 75
    assert all(((t >= 1) & (t <= 30)).all() for t in times)
    np.testing.assert_array_equal(np.bincount(np.concatenate(neurons)), [8] * 5 + [7] * 5)


def test_it_swims_untrained_and_not_without_its_parts() -> None:
    pytest.importorskip("mujoco")
    from connectome.datasets.swimmer import Swimmer

    def swims(weights: Weights, links: int = 6) -> float:
        return circuit.swim(circuit.graded(weights), Swimmer(links), 0)

    assert swims(SWIMMING) > 700
    assert swims(SWIMMING, 8) > 800
    assert swims(SWIMMING._replace(contralateral=1.0)) < 200
    assert swims(SWIMMING._replace(oscillator=0.0)) < 200
    assert circuit.swim(circuit.in_spikes(circuit.swimming_circuit(5)), Swimmer(6, 150), 0) > 50


def test_evolution_climbs() -> None:
    """A hill: to its top, from any side, and not with a rate of 0."""
    top = np.array([1.0, -2.0, 0.5])

    def height(numbers: np.ndarray, seed: int) -> float:
        return -float(((numbers - top) ** 2).sum())

    climbs = evolve(height, np.zeros(3), np.random.default_rng(0), rate=0.1, sigma=0.1)
    found = [next(climbs) for _ in range(150)]
    np.testing.assert_allclose(np.mean(found[-50:], 0), top, atol=0.1)
    np.testing.assert_array_equal(next(evolve(height, top, np.random.default_rng(0), rate=0.0)), top)
    np.testing.assert_allclose(next(evolve(height, top, np.random.default_rng(0), rate=0.1, decay=10.0)), 0, atol=0.11)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: circuit.swimming_circuit(0), "joints"),
        (lambda: circuit.swimming_circuit(3, (1, 1, 1)), "weights"),
        (lambda: circuit.with_weights(circuit.swimming_circuit(3), (1, 1, 1, 1)), "sign"),
        (lambda: next(evolve(lambda w, s: 0.0, [0.0], np.random.default_rng(0), sigma=0.0)), "sigma"),
        (lambda: next(evolve(lambda w, s: 0.0, [0.0], np.random.default_rng(0), pairs=0)), "pairs"),
    ],
)
def test_what_does_not_fit_is_refused(call: object, field: str) -> None:
    with pytest.raises(ConnectomeError, match=field):
        call()  # type: ignore[operator]
