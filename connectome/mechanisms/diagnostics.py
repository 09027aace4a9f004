"""Diagnostics of a stage: what is measured when it has ended, by region, into the results of a run.

Each is a function of the connectome and a probe, which has a batch of the stage's task and its gradients, that gives a
number for each region, or for ``""``, all. A package adds its own by an entry point of ``connectome.diagnostics``.
"""

from __future__ import annotations

import numpy as np

from connectome.graph.connectome import Connectome
from connectome.mechanisms.replay_ratio import active_share
from connectome.rules import Probe

__all__ = ["active_fraction", "active_units", "gradient_norm", "mean_rate", "silent_neurons"]


def mean_rate(connectome: Connectome, probe: Probe) -> dict[str, float]:
    """Mean spikes per step of a region's neurons."""
    return {name: float(s.mean()) for name, s in _neurons(connectome, probe).items()}


def active_fraction(connectome: Connectome, probe: Probe) -> dict[str, float]:
    """Share of a region's neurons that fire at all."""
    return {name: float(s.any(axis=(0, 1)).mean()) for name, s in _neurons(connectome, probe).items()}


def active_units(connectome: Connectome, probe: Probe) -> dict[str, float]:
    """Share of pairs of a neuron of a region and a sample in which the neuron fires (Ma et al. 2024, arXiv 2310.07418):
    where it falls, a region loses its plasticity."""
    return {name: float(active_share(s).mean()) for name, s in _neurons(connectome, probe).items()}


def silent_neurons(connectome: Connectome, probe: Probe) -> dict[str, float]:
    """How many of a region's neurons never fire."""
    return {name: float((~s.any(axis=(0, 1))).sum()) for name, s in _neurons(connectome, probe).items()}


def gradient_norm(connectome: Connectome, probe: Probe) -> dict[str, float]:
    """Root of the summed squares of the loss's gradient for the weights of all edges, 1/pA."""
    squares = [np.square(g, dtype=np.float64).sum() for g in probe.gradients(connectome).values()]
    return {"": float(np.sqrt(sum(squares)))}


def _neurons(connectome: Connectome, probe: Probe) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    spikes = probe.spikes(connectome)
    return {name: s > 0 for name, s in spikes.items() if connectome.regions[name].role == "neuron"}
