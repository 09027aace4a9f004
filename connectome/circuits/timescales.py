"""Timescales by curriculum: networks that learn to remember the last N bits, for larger and larger N, with time
constants that learn (Khajehabdollahi, Zeraati, Giannakakis, Schäfer, Martius & Levina 2024, ICLR, "Emergent mechanisms
for long timescales depend on training curriculum and affect performance in memory tasks", arXiv 2309.12927).

The published units, :class:`LeakyUnits`, have a state h, a time constant tau >= 1 each and no edge to themselves:

    ``h <- phi((1 - 1 / tau) h + (W h + W_in x + b) / tau)``,  phi(z) = z above 0 and 0.01 z below

from h = 0.1 U(0, 1), tau from U(1, 2); a linear head of two classes for each N reads h after the last bit. An isolated
unit driven by noise has the autocorrelation (1 - 1 / tau)^k, whose time constant is -1 / ln(1 - 1 / tau). Its decay
time within the network is tau_net (:func:`connectome.analysis.activity.decay_time`).

A curriculum says what is trained once N is solved, that is, once the newest head, and all heads on average, are right
in more than 98 % of sequences. ``"single"``: N + 1 only. ``"multi"``: N + 1 and all N so far. ``"sliding"``: the last
ten. The claim is that a single head makes time constants longer with N and forgets; many heads keep them short,
remember by recurrence, learn faster and get further.

In spikes, which is ours: :func:`bit_memory` is a region of ``iaf_psc_exp`` neurons with membrane time constants that
learn, one effector a head. The task is :class:`connectome.circuits.bits.BitMemory`; learning is by Adam (our choice),
restarted for each N.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from connectome.arrays import integer
from connectome.circuits.bits import BitMemory, Curriculum, asked_next, cross_entropy
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeSet, Region
from connectome.learning.network import SpikingNetwork
from connectome.neurons.iaf_psc_exp import NeuronParameters
from connectome.neurons.leaky_integrator import LeakyIntegrator

__all__ = ["MEMORY", "SOLVED", "LeakyUnits", "Solved", "answers", "bit_memory", "learn"]

MEMORY: Final = "memory"
SOLVED: Final = 0.98
_SLOPE: Final = 0.01
#: Updates whose sequences, each new, are what a network is judged by on the way.
_JUDGED: Final = 50
_CLIPPED: Final = 2.0  # the norm of gradients
#: Rates at which free numbers of neurons learn, a step of 0.01 being one of 1 %.
_NEURON_RATE: Final = 0.01


class LeakyUnits(nn.Module):
    """N units and heads for N = 2 .. ``largest``. Parameters: ``w`` (N, N), row = source, its diagonal 0; ``w_in``
    (N,), ``b`` (N,), ``tau`` (N,) >= 1, in bits; ``out`` (heads, N, 2), ``out_b`` (heads, 1, 2)."""

    def __init__(self, n: int, largest: int, rng: np.random.Generator) -> None:
        super().__init__()

        def drawn(low: float, high: float, *shape: int) -> nn.Parameter:
            return nn.Parameter(torch.tensor(rng.uniform(low, high, shape), dtype=torch.float32))

        k = 1 / math.sqrt(integer("n", n, 2, 10**5))
        heads = integer("largest", largest, 2, 1000) - 1
        self.w, self.w_in, self.b = drawn(-k, k, n, n), drawn(-1, 1, n), drawn(-k, k, n)
        self.tau, self.out, self.out_b = drawn(1, 2, n), drawn(-k, k, heads, n, 2), drawn(-k, k, heads, 1, 2)
        self._first = rng
        self.keep_bounds()

    def states(self, x: Tensor, *, every: bool = False) -> Tensor:
        """(B, N) after the last of (B, T) inputs, or (B, T, N) after each."""
        share = 1 / self.tau
        w, own = self.w * share, 1 - share
        drive = (x[:, :, None] * self.w_in + self.b) * share
        h = torch.tensor(self._first.uniform(0, 0.1, (len(x), len(self.b))), dtype=x.dtype)
        found = []
        for t in range(x.shape[1]):
            h = nn.functional.leaky_relu(torch.addmm(torch.addcmul(drive[:, t], own, h), h, w), _SLOPE)
            if every:
                found.append(h)
        return torch.stack(found, 1) if every else h

    def forward(self, x: Tensor, heads: Collection[int]) -> Tensor:
        """(B, heads, 2) outputs of the heads for these N. Raises :class:`ConnectomeError`."""
        if not all(2 <= n < len(self.out) + 2 for n in heads):
            raise ConnectomeError("heads", f"must be in 2 .. {len(self.out) + 1}", tuple(heads))
        at = [n - 2 for n in heads]
        return (self.states(x) @ self.out[at] + self.out_b[at]).transpose(0, 1)

    def keep_bounds(self) -> None:
        """Keep time constants at 1 or more, and no edge from a unit to itself, after an update."""
        with torch.no_grad():
            self.tau.clamp_(min=1)
            self.w.fill_diagonal_(0)


def bit_memory(
    neurons: int = 100, largest: int = 6, *, tau_ms: tuple[float, float] = (5.0, 20.0), input_pa: float = 300.0,
    local_pa: float = 80.0, task: BitMemory | None = None, seed: int = 0,
) -> Connectome:  # fmt: skip
    """A sensor ``bit``, a fully connected region ``memory``, effectors ``head2`` to the head for ``largest``.

    Membrane time constants are drawn uniformly from the range ``tau_ms``. Weights are normal: those from the sensor,
    which has half of all possible edges, with mean 0.3 and standard deviation 1 times ``input_pa``; local ones with
    mean 0 and standard deviation ``local_pa`` at 100 neurons, in inverse proportion to the root of their number.
    Neurons have no fixed sign (Dale's law does not hold). ``task`` says how many units the sensor has. Raises
    :class:`ConnectomeError`."""
    n = integer("neurons", neurons, 2, 10**5)
    rng = np.random.default_rng(integer("seed", seed, 0, 2**63 - 1))
    asked = replace(task or BitMemory(), heads=tuple(range(2, integer("largest", largest, 2, 1000) + 1)))
    low, high = tau_ms
    if not 0 < low <= high < math.inf:
        raise ConnectomeError("tau_ms", "must be > 0, from where to where", tau_ms)
    neuron = NeuronParameters(tau_m_ms=rng.uniform(low, high, n), tau_syn_ex_ms=5.0, tau_syn_in_ms=5.0, i_e_pa=200.0)
    reader = LeakyIntegrator(tau_m_ms=3.0, tau_syn_ex_ms=2.0, tau_syn_in_ms=2.0)
    (sensor, units), = asked.sensors.items()  # fmt: skip
    regions = [Region(sensor, units, "sensor"), Region(MEMORY, n, "neuron", neuron)]
    regions += [Region(name, 2, "effector", reader) for name in asked.effectors]
    size = {r.name: r.size for r in regions}

    def edges(source: str, kind: str, target: str, there: NDArray[np.bool_], mean: float, sd: float) -> EdgeSet:
        s, t = np.nonzero(there)
        weight = rng.normal(mean, sd, s.size)
        return EdgeSet.from_arrays(
            (source, kind, target), s, t, weight, n_source=size[source], n_target=size[target], dt_ms=1.0
        )

    found = [
        edges(sensor, "afferent", MEMORY, rng.random((units, n)) < 0.5, 0.3 * input_pa, input_pa),
        edges(MEMORY, "local", MEMORY, ~np.eye(n, dtype=bool), 0.0, local_pa * math.sqrt(100 / n)),
    ]
    found += [edges(MEMORY, "efferent", name, np.ones((n, 2), bool), 0.0, 60.0) for name in asked.effectors]
    return Connectome.of(regions, found, dt_ms=1.0)


def answers(network: LeakyUnits | SpikingNetwork, task: BitMemory, bits: NDArray[np.bool_]) -> Tensor:
    """(B, heads, 2) for (B, M) bits."""
    if isinstance(network, SpikingNetwork):
        return task.answers(network.sharing(task.recruits)(task.spikes(bits)))
    found: Tensor = network(torch.from_numpy(bits.astype(np.float32)), task.heads)
    return found


class Solved(NamedTuple):
    """An N that was solved: the update after which it was, and the network at that point (its ``state_dict``)."""

    n: int
    update: int
    state: dict[str, Tensor]


def learn(
    network: LeakyUnits | SpikingNetwork, task: BitMemory, curriculum: Curriculum | None, updates: int,
    rng: np.random.Generator, *, rate: float, batch: int = 64, largest: int = 1000,
) -> list[Solved]:  # fmt: skip
    """The N that are solved in ``updates`` updates, from the heads of ``task`` on, by a curriculum; if that is None,
    learning ends when the task's heads are solved. ``rate``: Adam's, in pA for spiking neurons; ``largest``: the N to
    end with."""
    found: list[Solved] = []
    optimiser, right = _optimiser(network, rate), deque[NDArray[np.float64]](maxlen=_JUDGED)
    for update in range(1, updates + 1):
        bits = task.bits(rng, batch)
        label, given = task.labels(bits), answers(network, task, bits)
        optimiser.zero_grad()
        cross_entropy(given, label).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(network.parameters(), _CLIPPED)
        optimiser.step()
        if isinstance(network, LeakyUnits):
            network.keep_bounds()
        right.append((given.argmax(2) == label).double().mean(0).numpy())
        share = np.mean(right, 0) if len(right) == _JUDGED else np.zeros(1)
        if share[-1] > SOLVED and share.mean() > SOLVED:
            found.append(Solved(task.heads[-1], update, {k: v.clone() for k, v in network.state_dict().items()}))
            if curriculum is None or task.heads[-1] == largest:
                break
            task = replace(task, heads=asked_next(curriculum, task.heads))
            optimiser = _optimiser(network, rate)
            right.clear()
    return found


def _optimiser(network: LeakyUnits | SpikingNetwork, rate: float) -> torch.optim.Optimizer:
    if isinstance(network, LeakyUnits):
        return torch.optim.Adam(network.parameters(), rate)
    neurons = [p for free in network.neuron.values() for p in free.values()]
    groups: list[dict[str, Any]] = [{"params": list(network.weight.values())}, {"params": neurons, "lr": _NEURON_RATE}]
    return torch.optim.Adam([g for g in groups if g["params"]], rate)
