"""A memory that must be overwritten, in spikes: the trials, the margin, what a region of two halves holds at birth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from connectome import ConnectomeError
from connectome.circuits import rewriting as circuit
from connectome.io.snapshot import load, save
from connectome.learning.network import SpikingNetwork

LENGTH = circuit.CUE_STEPS + 20 + circuit.JUNCTION_STEPS


def test_trials_cue_wait_and_ask() -> None:
    spikes, side = circuit.trials(np.random.default_rng(1), 40, 3, 20)
    cue, go = (spikes[name].reshape(40, 3, LENGTH, -1).numpy() for name in ("cue", "go"))
    halves = cue.reshape(40, 3, LENGTH, 2, 10).sum(4)
    assert not halves[:, :, circuit.CUE_STEPS :].any()
    said = halves[:, :, : circuit.CUE_STEPS].sum(2)
    assert np.array_equal(said.argmax(2), side.numpy())
    assert not said.min(2).any(), "one side alone"
    assert said.max(2).mean() == pytest.approx(0.5 * 10 * circuit.CUE_STEPS, rel=0.05)
    assert not go[:, :, : -circuit.JUNCTION_STEPS].any()
    assert go[:, :, -circuit.JUNCTION_STEPS :].mean() == pytest.approx(0.5, abs=0.02)


def test_the_lead_is_at_the_junction() -> None:
    potential = torch.zeros(1, 2 * LENGTH, 2)
    potential[0, LENGTH - circuit.JUNCTION_STEPS : LENGTH, 1] = 3.0
    potential[0, -circuit.JUNCTION_STEPS :, 0] = 0.5
    assert circuit.lead_mv(potential, torch.tensor([[1, 0]])).tolist() == [[3.0, 0.5]]
    assert circuit.lead_mv(potential, torch.tensor([[0, 1]])).tolist() == [[-3.0, -0.5]]


def test_at_birth_the_first_cue_stays_and_local_edges_hold_it(tmp_path: Path) -> None:
    """Saved and loaded: retention without rewriting, over ten time constants."""
    born = circuit.two_halves(seed=1)
    save(born, tmp_path / "memory.h5")
    there = circuit.passed(SpikingNetwork(load(tmp_path / "memory.h5")), np.random.default_rng(0), 60, 3, 100)
    assert there[0] > 0.95
    assert there[1:].mean() < 0.7
    bare = SpikingNetwork(circuit.two_halves(seed=1, local=False))
    assert circuit.passed(bare, np.random.default_rng(0), 60, 1, 100)[0] < 0.1


def test_it_learns_what_a_readout_needs() -> None:
    """Of a network that knows nothing of sides yet, over a short delay."""
    born = circuit.two_halves(40, seed=2)
    key = next(key for key in born.edges if key.target == "turn")
    rng = np.random.default_rng(0)
    from connectome import Edit

    blank = born.apply(Edit(reweight={key: rng.normal(0, 1, len(born.edges[key])).astype(np.float32)}))
    network = SpikingNetwork(blank, surrogate_width_mv=20.0)
    before = circuit.passed(network, np.random.default_rng(5), 100, 1, 20)
    circuit.learn(network, 1, 20, 40, np.random.default_rng(3), rate_pa=1.0)
    after = circuit.passed(network, np.random.default_rng(5), 100, 1, 20)
    assert before[0] < 0.8
    assert after[0] > 0.95


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConnectomeError, match="neurons"):
        circuit.two_halves(1)
