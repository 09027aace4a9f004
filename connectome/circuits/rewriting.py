"""A memory that must be overwritten, in spikes: the endless T-maze (Shchendrigin and others 2026, AAMAS, arXiv
2601.15086) as a trial of cues, delays and junctions.

In each of n corridors a cue says left or right, a delay of D ms follows, and at the junction the effector of that side
must be ahead. The published finding is that networks which hold a cue for long need not be able to replace it by the
next one, but that networks with gates that learn to forget are. Ours is a region of two halves that excite themselves
and inhibit each other: at birth it holds its first cue for good.

A turn counts only if its effector's potential is ahead by 1 mV: effectors leak deterministically, so after ten time
constants a lead of 1e-4 mV would still give the order away, without any memory.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome.arrays import integer
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeSet, Region
from connectome.learning.network import SpikingNetwork
from connectome.neurons.iaf_psc_exp import NeuronParameters
from connectome.neurons.model import NeuronModel

__all__ = [
    "CUE_STEPS", "JUNCTION_STEPS", "MARGIN_MV", "growing_delay", "lead_mv", "learn", "passed", "trials", "two_halves",
]  # fmt: skip

Array = NDArray[Any]
#: Steps, of 1 ms, of a cue and at a junction.
CUE_STEPS: Final = 5
JUNCTION_STEPS: Final = 6
#: By how much an effector must be ahead to count.
MARGIN_MV: Final = 1.0
_CUE, _GO = 20, 10
#: What :func:`growing_delay` begins with, steps.
_FIRST_DELAY: Final = 10
#: How far from the margin a turn still matters to the loss.
_SOFT_MV: Final = 4.0
#: How often a unit of a sensor fires while it is on, a step.
_PEAK: Final = 0.5
_NEURON: Final = NeuronParameters(tau_m_ms=10.0, tau_syn_ex_ms=10.0, tau_syn_in_ms=10.0)


def two_halves(
    neurons: int = 100, *, excitation_pa: float = 80.0, inhibition_pa: float = 60.0, local: bool = True,
    neuron: NeuronModel = _NEURON, seed: int = 0,
) -> Connectome:  # fmt: skip
    """Sensors ``cue`` (20 units, half for each side) and ``go`` (10), a region ``memory``, an effector ``turn`` (2).

    A neuron has edges to 30 % of the others, of mean strength ``excitation_pa`` within its half and ``inhibition_pa``
    between halves at 100 neurons, and in inverse proportion at other sizes; without any if not ``local``. Weights are
    uniform, from half to one and a half times their mean. Neurons have no fixed sign (Dale's law does not hold). Raises
    :class:`ConnectomeError`.
    """
    n = integer("neurons", neurons, 2, 10**5)
    rng = np.random.default_rng(integer("seed", seed, 0, 2**63 - 1))
    side = np.arange(n) * 2 // n
    regions = [
        Region("cue", _CUE, "sensor"), Region("go", _GO, "sensor"), Region("memory", n, "neuron", neuron),
        Region("turn", 2, "effector"),
    ]  # fmt: skip

    def edges(source: str, kind: str, target: str, s: Array, t: Array, mean: Array) -> EdgeSet:
        size = {r.name: r.size for r in regions}
        weight = mean * rng.uniform(0.5, 1.5, mean.size)
        return EdgeSet.from_arrays(
            (source, kind, target), s, t, weight, n_source=size[source], n_target=size[target], dt_ms=1.0
        )

    s, t = np.nonzero(rng.random((_CUE, n)) < 0.5)
    found = [edges("cue", "afferent", "memory", s, t, np.where(s * 2 // _CUE == side[t], 200.0, -100.0))]
    s, t = np.nonzero(rng.random((_GO, n)) < 0.5)
    found.append(edges("go", "afferent", "memory", s, t, rng.normal(0, 5, s.size)))
    s, t = np.nonzero((rng.random((n, n)) < 0.3) & ~np.eye(n, dtype=bool))
    if local:
        mean = np.where(side[s] == side[t], excitation_pa, -inhibition_pa) * 100 / n
        found.append(edges("memory", "local", "memory", s, t, mean))
    s, t = np.nonzero(np.ones((n, 2)))
    found.append(edges("memory", "efferent", "turn", s, t, np.where(side[s] == t, 5.0, -5.0) * 100 / n))
    return Connectome.of(regions, found, dt_ms=1.0)


def trials(rng: np.random.Generator, size: int, corridors: int, delay: int) -> tuple[dict[str, Tensor], Tensor]:
    """Spikes, sensor -> (size, T, units), of ``size`` trials, and the sides (size, corridors), 0 or 1, that their cues
    give; ``delay`` in steps."""
    length = CUE_STEPS + delay + JUNCTION_STEPS
    side = rng.integers(0, 2, (size, corridors))
    cue = np.zeros((size, corridors, length, _CUE), bool)
    go = np.zeros((size, corridors, length, _GO), bool)
    mine = (np.arange(_CUE) * 2 // _CUE) == side[..., None, None]
    cue[:, :, :CUE_STEPS] = (rng.random((size, corridors, CUE_STEPS, _CUE)) < _PEAK) & mine
    go[:, :, -JUNCTION_STEPS:] = rng.random((size, corridors, JUNCTION_STEPS, _GO)) < _PEAK
    spikes = {"cue": torch.tensor(cue.reshape(size, -1, _CUE)), "go": torch.tensor(go.reshape(size, -1, _GO))}
    return spikes, torch.tensor(side)


def lead_mv(potential: Tensor, side: Tensor) -> Tensor:
    """(B, corridors) the mean lead of the correct effector at each junction, mV, from ``potential`` (B, T, 2) and
    ``side`` (B, corridors)."""
    by_corridor = potential.reshape(len(side), side.shape[1], -1, 2)
    at_junction = by_corridor[:, :, -JUNCTION_STEPS:].mean(2)
    lead: Tensor = (at_junction[..., 1] - at_junction[..., 0]) * (2 * side - 1)
    return lead


def passed(network: SpikingNetwork, rng: np.random.Generator, size: int, corridors: int, delay: int) -> Array:
    """(corridors,) the share of trials in which the turn at each junction was right."""
    spikes, side = trials(rng, size, corridors, delay)
    with torch.no_grad():
        lead = lead_mv(network(spikes).potential["turn"], side)
    found: Array = (lead >= MARGIN_MV).double().mean(0).numpy()
    return found


def growing_delay(delay: int, update: int, updates: int) -> int:
    """The delay of an update, in steps: from 10 to the whole ``delay`` over the first 70 % of the updates. Gradients do
    not survive long delays before any activity bridges them."""
    return min(delay, int(_FIRST_DELAY + (delay - _FIRST_DELAY) * update / (0.7 * updates)))


def learn(
    network: SpikingNetwork, corridors: int, delay: int, updates: int, rng: np.random.Generator, *,
    rate_pa: float = 2.0, batch: int = 32,
) -> None:  # fmt: skip
    """Train with Adam, whose rate falls along half a cosine, while the delay grows. The best of twenty checkpoints by
    validation trials is kept, as one step too far can silence the region for good."""
    optimiser = torch.optim.Adam(network.parameters(), rate_pa)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, updates)
    validation = int(rng.integers(2**63))
    best, kept = -1.0, network.state_dict()
    for update in range(updates):
        spikes, side = trials(rng, batch, corridors, growing_delay(delay, update, updates))
        lead = lead_mv(network(spikes).potential["turn"], side)
        loss = torch.nn.functional.softplus((MARGIN_MV - lead) / _SOFT_MV).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()
        falling.step()
        if (update + 1) * 20 // updates > update * 20 // updates:
            score = float(passed(network, np.random.default_rng(validation), 60, corridors, delay).mean())
            if score > best:
                best, kept = score, {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(kept)
