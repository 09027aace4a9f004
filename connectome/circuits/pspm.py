"""Presynaptic pool modification: recurrent weights that reproduce spike trains, found without gradients (Bagley,
Bordelon, Moseley, Wessel 2018, arXiv 1810.03199).

A network of N neurons, all to all, gets a known input; the target is what another network, with unknown weights, fired
under the same input. After each pass, for each neuron j, a target spike without one of j's own within ``window`` is
*missing*, a spike of j without one in the target *spurious*. The presynaptic pool of a spike is the neurons that fired
in the ``pool`` steps before it; a random part ``share`` of the pool gets

    ``w_ij <- w_ij + eta U(0, 1)`` for a missing spike, ``w_ij <- w_ij - eta U(0, 1)`` for a spurious one

and, as homeostasis, ``w_ij <- w_ij + h (n*_j - n_j) |w_ij|`` with the numbers n* and n of spikes that j should fire and
did fire. The best weights of all passes are kept. The paper's abstract has no equation: this form, its constants and
the networks are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.analysis.activity import train_similarity
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, Edit
from connectome.graph.parts import EdgeKey, Region
from connectome.neurons.iaf_psc_exp import NeuronParameters
from connectome.parameters import Parameters, bounded
from connectome.simulate.runs import Stimulus, run
from connectome.wiring.edges import wire

__all__ = [
    "LOCAL", "REGION", "TAU_MS", "Fit", "Pspm", "drive", "fired", "fit", "fit_by_gradient", "network",
    "pool_modification", "reweighted", "similarity",
]  # fmt: skip

Trains = NDArray[np.bool_]
REGION: Final = "network"
LOCAL: Final = EdgeKey(REGION, "local", REGION)
#: Of the filter that trains are compared through.
TAU_MS: Final = 10.0
_DT_MS: Final = 1.0
_NEURON: Final = NeuronParameters(
    tau_m_ms=10.0, c_m_pf=250.0, t_ref_ms=2.0, v_th_mv=-55.0, v_reset_mv=-70.0, e_l_mv=-70.0, tau_syn_ex_ms=3.0,
    tau_syn_in_ms=3.0,
)  # fmt: skip
#: The current that just reaches the threshold.
_RHEOBASE_PA: Final = _NEURON.c_m_pf / _NEURON.tau_m_ms * (_NEURON.v_th_mv - _NEURON.e_l_mv)


@dataclass(frozen=True)
class Pspm(Parameters):
    """The rule's constants.

    Parameters
    ----------
    window, pool : steps: how far apart two spikes count as the same, and how long before a spike its pool fires
    share : the fraction of a pool that changes
    eta_pa : the largest change for one spike; 0: homeostasis only
    homeostasis : h, per spike too many or too few
    """

    window: int = bounded(2, 0, 1000)
    pool: int = bounded(10, 1, 1000)
    share: float = bounded(0.5, 0, 1)
    eta_pa: float = bounded(16.0, 0)
    homeostasis: float = bounded(0.0, 0, 1)


class Fit(NamedTuple):
    """The best network, and (passes,) the similarity of each pass to the target."""

    connectome: Connectome
    passes: NDArray[np.float64]


def network(n: int, rng: np.random.Generator, sd_pa: float = 400.0) -> Connectome:
    """N neurons, each with an edge to every other, with weights from a normal distribution around 0. Raises
    :class:`ConnectomeError`."""
    if n < 2:
        raise ConnectomeError("n", "must be 2 or more", n)
    region = Region(REGION, n, "neuron", _NEURON)
    source, target = np.nonzero(~np.eye(n, dtype=bool))
    weight = rng.normal(0, sd_pa, len(source))
    edges = wire(region, region, (source, target), weight_pa=weight, rng=rng, dt_ms=_DT_MS)
    return Connectome.of([region], [edges], dt_ms=_DT_MS)


def drive(n: int, steps: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(T, N) pA: of each neuron a mean around the current that just reaches the threshold, and noise of 10 ms."""
    noise = np.empty((steps, n))
    now, keep = rng.normal(size=n), np.exp(-_DT_MS / TAU_MS)
    for t in range(steps):
        now = keep * now + np.sqrt(1 - keep**2) * rng.normal(size=n)
        noise[t] = now
    mean: NDArray[np.float64] = _RHEOBASE_PA * (rng.uniform(0.7, 1.1, n) + 0.35 * noise)
    return mean


def fired(connectome: Connectome, current_pa: NDArray[np.float64]) -> Trains:
    """(T, N) spikes of the network under (T, N) currents."""
    steps, n = current_pa.shape
    result = run(connectome, steps * _DT_MS, Stimulus(current_pa={REGION: current_pa}), threads=1)
    trains = np.zeros((steps, n), bool)
    trains[np.rint(result.spike_time_ms.values / _DT_MS).astype(int) - 1, result.spike_neuron.values] = True
    return trains


def pool_modification(
    connectome: Connectome, target: Trains, own: Trains, rng: np.random.Generator, rule: Pspm
) -> Edit:
    """The edit of one pass, from (T, N) trains. Raises :class:`ConnectomeError`."""
    if own.shape != target.shape:
        raise ConnectomeError("target", f"must have shape {own.shape}, as the spikes fired", str(target.shape))
    edges = connectome.edges[LOCAL]
    weight = edges.weight.astype(float)
    n = own.shape[1]
    before = np.roll(_near(own, rule.pool, 0), 1, axis=0)
    before[0] = False
    change = np.zeros((n, n))
    for step, (spikes, others) in ((rule.eta_pa, (target, own)), (-rule.eta_pa, (own, target))):
        at, who = np.nonzero(spikes & ~_near(others, rule.window + 1, rule.window))
        drawn = before[at] & (rng.random((len(at), n)) < rule.share)
        np.add.at(change.T, who, step * drawn * rng.random((len(at), n)))
    lacking = target.sum(0, dtype=float) - own.sum(0)
    weight += change[edges.source, edges.target]
    weight += rule.homeostasis * lacking[edges.target] * np.abs(weight)
    return Edit(reweight={LOCAL: weight.astype(np.float32)})


def fit(
    connectome: Connectome, current_pa: NDArray[np.float64], target: Trains, passes: int, rng: np.random.Generator,
    rule: Pspm,
) -> Fit:  # fmt: skip
    """Fit pass by pass, from the present weights. Raises :class:`ConnectomeError`."""
    best, found = connectome, np.empty(passes)
    for k in range(passes):
        own = fired(connectome, current_pa)
        found[k] = similarity(own, target)
        if found[k] >= found[:k].max(initial=0):
            best = connectome
        connectome = connectome.apply(pool_modification(connectome, target, own, rng, rule))
    return Fit(best, found)


def fit_by_gradient(
    connectome: Connectome, current_pa: NDArray[np.float64], target: Trains, passes: int, *, rate_pa: float = 15.0,
    width_mv: float = 20.0, through_time: bool = False,
) -> Fit:  # fmt: skip
    """The same by Adam on surrogate gradients of the squared difference of filtered trains. Unless ``through_time``, no
    gradient flows from a neuron to those that made it fire: each takes the others' spikes as given. Raises
    :class:`ConnectomeError`."""
    import torch

    from connectome.learning.network import SpikingNetwork

    block = () if through_time else (LOCAL,)
    net = SpikingNetwork(connectome, surrogate_width_mv=width_mv, block=block, threads=1)
    optimiser = torch.optim.Adam([net.weight[LOCAL]], lr=rate_pa)
    lags = torch.arange(int(6 * TAU_MS / _DT_MS), dtype=torch.float32).flip(0)
    kernel = torch.exp(-lags * _DT_MS / TAU_MS)[None, None]

    def filtered(trains: torch.Tensor) -> torch.Tensor:
        padded = torch.nn.functional.pad(trains.T[:, None], (len(lags) - 1, 0))
        return torch.nn.functional.conv1d(padded, kernel)

    current = {REGION: torch.tensor(current_pa[None], dtype=torch.float32)}
    wanted = filtered(torch.tensor(target, dtype=torch.float32))
    best, found = connectome, np.empty(passes)
    for k in range(passes):
        own = net({}, record=(REGION,), current=current).spikes[REGION][0]
        found[k] = similarity(own.detach().numpy(), target)
        if found[k] >= found[:k].max(initial=0):
            best = reweighted(connectome, net.weight[LOCAL].detach().numpy())
        optimiser.zero_grad()
        loss: torch.Tensor = ((filtered(own) - wanted) ** 2).mean()
        torch.autograd.backward(loss)
        optimiser.step()
    return Fit(best, found)


def similarity(first: NDArray[Any], second: NDArray[Any]) -> float:
    """See :func:`connectome.analysis.activity.train_similarity`."""
    return train_similarity(first, second, TAU_MS / _DT_MS)


def reweighted(connectome: Connectome, weight_pa: ArrayLike) -> Connectome:
    """The network with other weights, (E,) or one for all."""
    weight = np.broadcast_to(np.asarray(weight_pa, np.float32), len(connectome.edges[LOCAL]))
    return connectome.apply(Edit(reweight={LOCAL: weight}))


def _near(trains: Trains, before: int, after: int) -> Trains:
    """(T, N) whether there is a spike among those ``before`` steps that end here, or in the ``after`` steps that
    follow."""
    total = np.vstack([np.zeros((1, trains.shape[1]), int), trains.cumsum(0)])
    t = np.arange(len(trains))
    near: Trains = total[np.minimum(t + after + 1, len(trains))] > total[np.maximum(t + 1 - before, 0)]
    return near
