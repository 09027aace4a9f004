"""One training step, ours and plain torch's, on the same network: what ``python -m sims.benchmark`` compares.

Both do all of it: forward pass, cross entropy of the effector's mean potential, backward pass, all gradients and Adam.
The network in torch is the same one: the same neurons, weights, surrogate and delays. Torch goes layer by layer, with
one matrix product for all steps of a layer where there is no recurrence; its cost does not fall with sparsity, because
a sparse matrix product is slower there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from connectome import Connectome, EdgeSet, NeuronParameters, Region
from connectome.learning.network import SpikingNetwork
from connectome.neurons.iaf_psc_exp import propagators

__all__ = [
    "CLASSES",
    "INPUT_RATE",
    "NEURON",
    "WIDTH_MV",
    "Layers",
    "Steps",
    "feed_forward",
    "recurrent",
    "steps",
    "trained",
]

#: Time constants for steps of 1 ms. The threshold is 15 mV above rest.
NEURON = NeuronParameters(tau_m_ms=10.0, t_ref_ms=1.0, tau_syn_ex_ms=4.0, tau_syn_in_ms=4.0)
_DT_MS = 1.0
WIDTH_MV = 10.0
INPUT_RATE = 0.05
CLASSES = 10


class Steps(NamedTuple):
    """Two callables that each make one training step and return the loss; ``rates``: region -> spikes a step."""

    ours: Callable[[], float]
    torch: Callable[[], float]
    rates: Callable[[], dict[str, float]]


def feed_forward(density: float, seed: int = 0) -> Connectome:
    """784 image, 512, 512, 10, at a density, with weights under which 1 to 5 % of the hidden neurons fire in a step."""
    sizes = {"image": 784, "hidden1": 512, "hidden2": 512, "out": CLASSES}
    return _connect(sizes, [("image", "hidden1", 1900.0), ("hidden1", "hidden2", 4200.0), ("hidden2", "out", 500.0)],
                    density, seed)  # fmt: skip


def recurrent(n: int, density: float, seed: int = 0) -> Connectome:
    """64 image, n hidden neurons joined at a density, 10; about 1.5 % of the hidden neurons fire in a step."""
    sizes = {"image": 64, "hidden": n, "out": CLASSES}
    return _connect(sizes, [("image", "hidden", 1700.0), ("hidden", "hidden", 1000.0), ("hidden", "out", 500.0)],
                    density, seed)  # fmt: skip


def steps(connectome: Connectome, n_steps: int, batch: int, seed: int = 0, **options: Any) -> Steps:
    """Training steps on the same batches of random spikes. ``options`` are :class:`SpikingNetwork`'s."""
    generator = torch.Generator().manual_seed(seed)
    size = connectome.regions["image"].size
    x = (torch.rand(batch, n_steps, size, generator=generator) < INPUT_RATE).float()
    y = torch.randint(0, CLASSES, (batch,), generator=generator)
    network = SpikingNetwork(connectome, surrogate_width_mv=WIDTH_MV, **options)
    peer = _Dense(connectome)
    x_time_first = x.permute(1, 0, 2).contiguous()
    seen: dict[str, float] = {}

    def answers() -> Tensor:
        activity = network({"image": x})
        seen.update({name: float(count.mean()) / (n_steps * batch) for name, count in activity.counts.items()})
        found: Tensor = activity.potential["out"].mean(1)
        return found

    return Steps(
        trained(network.parameters(), 1e-3, answers, y),
        trained(peer.weight.values(), 1e-3, lambda: peer(x_time_first), y), lambda: seen,
    )  # fmt: skip


def trained(parameters: Iterable[Tensor], rate: float, answers: Callable[[], Tensor], y: Tensor) -> Callable[[], float]:
    """A training step by Adam, which gives its loss: cross entropy of (B, classes) answers."""
    optimizer = torch.optim.Adam(parameters, rate)

    def step() -> float:
        loss = functional.cross_entropy(answers(), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        return loss.item()

    return step


def _connect(sizes: dict[str, int], links: list[tuple[str, str, float]], density: float, seed: int) -> Connectome:
    rng = np.random.default_rng(seed)
    role = {"image": "sensor", "out": "effector"}
    regions = [Region(name, size, role.get(name, "neuron"), NEURON) for name, size in sizes.items()]  # type: ignore[arg-type]  # the values are roles
    edges = []
    for source, target, scale in links:
        kind = "local" if source == target else {"image": "afferent"}.get(source, "long_range")
        kind = "efferent" if target == "out" else kind
        fraction = 1.0 if "hidden" in sizes and source != target else density
        src, tgt = np.nonzero(rng.random((sizes[source], sizes[target])) < fraction)
        weight = rng.normal(0.0, scale / np.sqrt(fraction * sizes[source]), src.size)
        edges.append(
            EdgeSet.from_arrays(
                (source, kind, target), src, tgt, weight, n_source=sizes[source], n_target=sizes[target], dt_ms=_DT_MS
            )
        )
    return Connectome.of(regions, edges, dt_ms=_DT_MS)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, distance: Tensor) -> Tensor:
        ctx.save_for_backward(distance)
        return (distance >= 0).float()

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> Tensor:
        (distance,) = ctx.saved_tensors
        slope: Tensor = (1 - distance.abs() / WIDTH_MV).clamp(min=0) / WIDTH_MV
        return grad[0] * slope


class Layers:
    """Layers of neurons in plain torch. Time is the first axis; every delay is one step."""

    def __init__(self) -> None:
        p = propagators(NEURON, _DT_MS)
        self.p22, self.p21, self.p11, self.theta = (float(x) for x in (p.p22, p.p21_ex, p.p11_ex, p.theta))

    def _layer(self, arrivals: Tensor, recurrence: Tensor | None) -> Tensor:
        """Spikes of a layer. What is sent in step t arrives in step t + 1; a spike resets and holds for one step."""
        zero = torch.zeros_like(arrivals[0])
        u, current, fired, spike = zero, zero, zero.bool(), zero
        out = []
        arriving = (zero, *arrivals.unbind(0)[:-1])
        for arrival in arriving:
            held = fired
            u = (self.p22 * u + self.p21 * current).masked_fill(held, 0.0)
            current = self.p11 * current + arrival
            if recurrence is not None:
                current = current + functional.linear(spike, recurrence)
            spike = _Spike.apply(u - self.theta)  # type: ignore[no-untyped-call]  # torch leaves it untyped
            fired = u >= self.theta
            u = u.masked_fill(fired, 0.0)
            out.append(spike)
        return torch.stack(out)

    def _readout(self, arrivals: Tensor) -> Tensor:
        zero = torch.zeros_like(arrivals[0])
        u, current, total = zero, zero, zero
        for arrival in (zero, *arrivals.unbind(0)[:-1]):
            u = self.p22 * u + self.p21 * current
            current = self.p11 * current + arrival
            total = total + u
        return total / len(arrivals)


class _Dense(Layers):
    """The same network in plain torch."""

    def __init__(self, connectome: Connectome) -> None:
        super().__init__()
        self.links = [(k.source, k.target) for k in connectome.edges]
        self.weight = {(k.source, k.target): _matrix(e).requires_grad_() for k, e in connectome.edges.items()}

    def __call__(self, x: Tensor) -> Tensor:
        """(T, B, n) spikes of the image to the mean potential of the effector, (B, 10) mV."""
        layers = ["hidden"] if ("hidden", "hidden") in self.weight else ["hidden1", "hidden2"]
        before = "image"
        for layer in layers:
            x = self._layer(self._deliver(x, self.weight[before, layer]), self.weight.get((layer, layer)))
            before = layer
        return self._readout(self._deliver(x, self.weight[before, "out"]))

    def _deliver(self, spikes: Tensor, weight: Tensor) -> Tensor:
        n_steps, batch, n = spikes.shape
        return functional.linear(spikes.reshape(-1, n), weight).view(n_steps, batch, -1)


def _matrix(edges: EdgeSet) -> Tensor:
    """(n_target, n_source) weights."""
    matrix: NDArray[np.float32] = np.zeros((edges.n_target, edges.n_source), np.float32)
    np.add.at(matrix, (edges.target, edges.source), edges.weight)
    return torch.from_numpy(matrix)
