"""Memory that must be overwritten, in space: colour cubes (Shchendrigin and others 2026, AAMAS, arXiv 2601.15086) as
sequences to imitate.

The positions of the cubes are shown only at events; an agent goes to the cube of the target's colour, then to the next.
In :class:`connectome.datasets.rewriting.ColourCubes` cubes stay (``trivial``), teleport (``medium``), or do so while
their colours are not shown (``extreme``): then what was known about one place must be replaced, and all else kept.

The paper's agents learn by reinforcement. Ours imitate an expert that knows where every cube is: in each move, from
places that the expert and random moves led to, the loss is ``-log sum over a of p(a)`` for the moves a that lead nearer
to the target, p the softmax of the effectors' potentials. The small grid and trials of a fixed number of moves, without
an end state, are ours as well. An agent is judged by the cubes that it finds in its own play.

The circuit is ours: a recurrent region ``memory`` of neurons whose thresholds rise with their spikes and fall over
200 ms (after Bellec and others 2018, NeurIPS), and a region ``choice`` between it and four effectors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome.arrays import integer
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeSet, Region
from connectome.learning.network import SpikingNetwork
from connectome.neurons.alif import Alif
from connectome.neurons.iaf_psc_exp import NeuronParameters

__all__ = [
    "CUBES", "MOVE_STEPS", "READ_STEPS", "SIZE", "Array", "Demonstrations", "Play", "cube_memory", "imitation_loss",
    "leads", "learn", "player", "spikes",
]  # fmt: skip

Array = NDArray[Any]
#: (B, D) observations -> (B,) moves; it remembers what it has seen.
Play = Callable[[Array], Array]
#: Places on a side of the grid.
SIZE: Final = 3
CUBES: Final = 2
#: Steps, of 1 ms, of a move; of those at its end in which effectors are read.
MOVE_STEPS: Final = 10
READ_STEPS: Final = 4
#: Units of a sensor for each thing that there is to see; how often one fires, a step, while it is seen.
_UNITS, _PEAK = 4, 0.5
_SELF: Final = _UNITS * (2 * SIZE + CUBES)
_SHOWN: Final = _UNITS * 2 * SIZE * CUBES
#: Potentials are read in units of this.
_SOFT_MV: Final = 2.0
_TIMES: Final = {"tau_m_ms": 5.0, "tau_syn_ex_ms": 5.0, "tau_syn_in_ms": 5.0}


def cube_memory(memory: int = 120, choice: int = 100, *, adapt_beta_mv: float = 3.0, seed: int = 0) -> Connectome:
    """Sensors ``self`` (where the agent is, and the target) and ``cubes``, regions ``memory`` and ``choice``, an
    effector ``move`` (4). Half of all pairs are joined, with random weights. Raises :class:`ConnectomeError`."""
    rng = np.random.default_rng(integer("seed", seed, 0, 2**63 - 1))
    regions = [
        Region("self", _SELF, "sensor"), Region("cubes", _SHOWN, "sensor"),
        Region("memory", integer("memory", memory, 1, 10**5), "neuron", Alif(adapt_beta_mv=adapt_beta_mv, **_TIMES)),
        Region("choice", integer("choice", choice, 1, 10**5), "neuron", NeuronParameters(**_TIMES)),
        Region("move", 4, "effector"),
    ]  # fmt: skip
    size = {region.name: region.size for region in regions}

    def edges(source: str, kind: str, target: str, mean: float, sd: float, share: float = 0.5) -> EdgeSet:
        joined = rng.random((size[source], size[target])) < share
        if source == target:
            np.fill_diagonal(joined, False)
        s, t = np.nonzero(joined)
        weight, n, m = rng.normal(mean, sd, s.size), size[source], size[target]
        return EdgeSet.from_arrays((source, kind, target), s, t, weight, n_source=n, n_target=m, dt_ms=1.0)

    found = [
        edges("cubes", "afferent", "memory", 0, 80), edges("self", "afferent", "memory", 25, 200),
        edges("memory", "local", "memory", 0, 30), edges("memory", "long_range", "choice", 50, 150),
        edges("self", "afferent", "choice", 60, 200), edges("choice", "efferent", "move", 0, 10, 1.0),
        edges("memory", "efferent", "move", 0, 2, 1.0),
    ]  # fmt: skip
    return Connectome.of(regions, found, dt_ms=1.0)


class Demonstrations(NamedTuple):
    """Observations of B trials of M moves, (B, M, D), and which of the four moves lead nearer to the target, (B, M,
    4)."""

    seen: Array
    nearer: NDArray[np.bool_]


def spikes(seen: Array, rng: np.random.Generator) -> dict[str, Tensor]:
    """Sensor -> (B, T, units) spikes for (B, M, D) observations. Each observable has units of its own: the agent's
    column and row, the target's colour; each cube's column and row, at events."""

    def place(x: Array) -> Array:
        found: Array = np.eye(SIZE)[np.rint(x * (SIZE - 1)).astype(int)]
        return found.reshape(*seen.shape[:2], -1)

    cubes = seen[..., 2 + CUBES :].reshape(*seen.shape[:2], CUBES, 3)
    parts = {
        "self": np.concatenate([place(seen[..., :2]), seen[..., 2 : 2 + CUBES]], 2),
        "cubes": place(cubes[..., :2]) * cubes[..., :1, 2],
    }
    rate = {name: np.repeat(_PEAK * on, _UNITS, 2)[:, :, None] for name, on in parts.items()}
    fired = {n: rng.random((*p.shape[:2], MOVE_STEPS, p.shape[3]), np.float32) < p for n, p in rate.items()}
    return {name: torch.from_numpy(of.reshape(len(seen), -1, of.shape[3])) for name, of in fired.items()}


def leads(potential: Tensor) -> Tensor:
    """(B, M, 4) the evidence for each move: the mean of the (B, T, 4) potentials at the end of the move."""
    by_move = potential.reshape(len(potential), -1, MOVE_STEPS, 4)
    return by_move[:, :, -READ_STEPS:].mean(2) / _SOFT_MV


def imitation_loss(lead: Tensor, nearer: Tensor) -> Tensor:
    """Minus the log of the probability that a move which leads nearer is chosen, averaged over the moves at which there
    is one."""
    log_p = torch.log_softmax(lead, 2).masked_fill(~nearer, -torch.inf)
    loss: Tensor = -torch.logsumexp(log_p[nearer.any(2)], 1).mean()
    return loss


def learn(
    network: torch.nn.Module, lead: Callable[[Array], Tensor], shown: Demonstrations, updates: int, rate: float,
    rng: np.random.Generator, *, batch: int = 32,
) -> None:  # fmt: skip
    """Train on demonstrations with Adam, whose rate falls along half a cosine. ``lead``: (B, M, D) -> (B, M, 4)."""
    optimiser = torch.optim.Adam(network.parameters(), rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, updates)
    nearer = torch.from_numpy(shown.nearer)
    for _ in range(updates):
        at = rng.integers(0, len(nearer), batch)
        loss = imitation_loss(lead(shown.seen[at]), nearer[at])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()
        falling.step()


def player(network: SpikingNetwork, rng: np.random.Generator) -> Play:
    """A player that moves as a network says; the network's state continues from move to move."""
    state: dict[str, Any] = {}

    def move(seen: Array) -> Array:
        with torch.no_grad():
            found = network(spikes(seen[:, None], rng), **state, return_state=True)
        state["state"] = found.state
        chosen: Array = leads(found.potential["move"])[:, -1].argmax(1).numpy()
        return chosen

    return move
