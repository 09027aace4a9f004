"""The torch engine on a GPU: the same spikes, and gradients, as on the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from connectome import Connectome, EdgeSet, Region
from connectome.development.stages import develop
from connectome.learning.network import SpikingNetwork
from connectome.simulate.runs import Poisson, Stimulus, run
from connectome.wiring.edges import Bernoulli, wire
from tests.test_development import ANATOMY, stages

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def network() -> Connectome:
    rng = np.random.default_rng(0)
    eye, cells, hand = Region("eye", 20, "sensor"), Region("cells", 50), Region("hand", 3, "effector")
    pairs: list[tuple[Region, Region]] = [(eye, cells), (cells, cells), (cells, hand)]
    edges: list[EdgeSet] = [wire(a, b, Bernoulli(0.3), weight_pa=60.0, delay_ms=1.5, rng=rng) for a, b in pairs]
    return Connectome.of([eye, cells, hand], edges)


def test_a_run_on_the_gpu_has_the_spikes_of_the_cpu() -> None:
    stimulus = Stimulus(poisson={"eye": Poisson(300.0)}, current_pa={"cells": 300.0})
    wanted = run(network(), 50.0, stimulus, dtype="float64")
    found = run(network(), 50.0, stimulus, dtype="float64", engine="torch", device="cuda")
    for name in ("spike_time_ms", "spike_region", "spike_neuron"):
        np.testing.assert_array_equal(found[name], wanted[name])


def test_gradients_on_the_gpu_are_those_of_the_cpu() -> None:
    given = {"eye": (torch.rand(4, 30, 20, generator=torch.Generator().manual_seed(0)) < 0.3).float()}
    grads = []
    for device in ("cpu", "cuda"):
        module = SpikingNetwork(network(), engine="torch", dtype=torch.float64).to(device)
        module({"eye": given["eye"].to(device)}).potential["hand"].square().sum().backward()
        grads.append([w.grad.cpu() for w in module.weight.values() if w.grad is not None])
    assert len(grads[0]) == 3
    for cpu, cuda in zip(*grads, strict=True):
        torch.testing.assert_close(cuda, cpu, rtol=1e-9, atol=1e-12)


def test_a_development_on_the_gpu_learns() -> None:
    """Not with the CPU's bits: sums there have no fixed order."""
    *_, last = develop(stages(updates=60), ANATOMY, seed=1, test_trials=100, engine="torch", device="cuda")
    assert all(score.value > 0.8 for score in last.scores.values())


def test_the_event_driven_engine_stays_on_the_cpu() -> None:
    with pytest.raises(Exception, match="must be 'torch' where the weights are on cuda"):
        SpikingNetwork(network()).to("cuda")({"eye": torch.zeros(1, 2, 20)})
