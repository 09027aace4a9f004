"""What a network of leaky units has learnt: how slow its units and the network are, and what they bear."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from connectome.circuits.bits import BitMemory, BitTask
    from connectome.circuits.timescales import LeakyUnits, Solved
    from connectome.learning.network import SpikingNetwork

__all__ = ["BOTH", "network_timescale", "right_answers", "robustness", "time_constants"]

#: Where both curricula are compared: single-head networks solved it on the seeds that this was chosen on, 100 and 101.
BOTH: Final = 7
#: Time constants fall from where they are drawn, until about here: how they change with N is looked at from it on.
_FROM: Final = 5
_SLOWEST: Final = 10
#: How much larger an N is learnt anew, and in how many updates.
_AHEAD: Final = (2, 4)
_AGAIN: Final = 150
_SEQUENCES: Final = 1000


def right_answers(network: LeakyUnits | SpikingNetwork, task: BitMemory, seed: int) -> NDArray[np.float64]:
    """(heads,) the share of new sequences that each head answers rightly."""
    import torch

    from connectome.circuits.timescales import answers

    bits = task.bits(np.random.default_rng([seed, 2]), _SEQUENCES)
    with torch.no_grad():
        right = answers(network, task, bits).argmax(2) == task.labels(bits)
    return np.asarray(right.double().mean(0).numpy(), np.float64)


def time_constants(network: LeakyUnits, solved: Sequence[Solved]) -> dict[str, float]:
    """What units have learnt, their mean, and what the network makes of it."""
    tau = {found.n: float(found.state["tau"].mean()) for found in solved}
    late = [n for n in tau if n >= _FROM]
    net = {}
    for found in [f for f in solved if f.n in (_FROM, solved[-1].n)]:
        network.load_state_dict(found.state)
        net[found.n] = network_timescale(network)
    return {
        "tau": tau[solved[-1].n], "tau at 7": tau.get(BOTH, np.nan), "tau_net": net[solved[-1].n],
        "slope": float(np.polyfit(late, [tau[n] for n in late], 1)[0]) if len(late) > 1 else np.nan,
        "tau_net grows": net[solved[-1].n] / net[_FROM] if _FROM in net and len(net) > 1 else np.nan,
    }  # fmt: skip


def network_timescale(network: LeakyUnits) -> float:
    """tau_net, in bits, the mean of the units, in ten trials of random bits."""
    import torch

    from connectome.analysis.activity import autocorrelation, decay_time

    rng = np.random.default_rng(3)
    bits = rng.random((10, 3100)) < rng.random((10, 1))
    with torch.no_grad():
        h = network.states(torch.from_numpy(bits.astype(np.float32)), every=True).numpy()[:, 100:]
    found = [decay_time(autocorrelation(h[:, :, i], 30)) for i in range(h.shape[2])]
    return float(np.nanmean(found))


def robustness(
    network: LeakyUnits, kind: BitTask, solved: Sequence[Solved], rate: float, seed: int
) -> dict[str, float]:
    """What is left of the accuracy above chance at N = 7 after units are cut out, one of the slowest at a time, after
    noise of 1 to 100 % of the norm on W or on tau, and after N + 2 and N + 4 are learnt with one head."""
    import torch

    from connectome.circuits.bits import BitMemory
    from connectome.circuits.timescales import learn

    there = [found.state for found in solved if found.n == BOTH]
    if not there:
        return {}
    task = BitMemory(kind, (BOTH,))
    network.load_state_dict(there[0])
    before, rng = right_answers(network, task, seed)[0] - 0.5, np.random.default_rng([seed, 4])

    def left(changed: LeakyUnits, asked: BitMemory = task) -> float:
        return float((right_answers(changed, asked, seed)[0] - 0.5) / before)

    def noisy(name: str, size: float) -> float:
        changed = deepcopy(network)
        of: torch.Tensor = getattr(changed, name).data
        noise = torch.tensor(rng.standard_normal(of.shape), dtype=of.dtype)
        noise = noise.abs() if name == "tau" else noise.fill_diagonal_(0)
        of += size * of.norm() / noise.norm() * noise
        return left(changed)

    def without(unit: int) -> float:
        changed = deepcopy(network)
        for of, axis in ((changed.w, 0), (changed.w, 1), (changed.out, 1)):
            of.data.index_fill_(axis, torch.tensor([unit]), 0)
        return left(changed)

    def again(n: int) -> float:
        changed, asked = deepcopy(network), replace(task, heads=(n,))
        learn(changed, asked, None, _AGAIN, np.random.default_rng([seed, 5]), rate=rate)
        return left(changed, asked)

    sizes = np.geomspace(0.01, 1, 7)
    return {
        "ablated": float(np.mean([without(int(i)) for i in network.tau.detach().argsort()[-_SLOWEST:]])),
        "W noisy": float(np.mean([noisy("w", size) for size in sizes])),
        "tau noisy": float(np.mean([noisy("tau", size) for size in sizes])),
        "retrained": float(np.mean([again(BOTH + k) for k in _AHEAD])),
    }  # fmt: skip
