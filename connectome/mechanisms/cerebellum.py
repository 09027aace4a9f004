"""A cerebellum that predicts feedback: truncated backpropagation through time that knows what comes after the cut.

Pemberton, Boven, Apps & Costa, NeurIPS 2021 ("Cortico-cerebellar networks as decoupling neural interfaces"), after the
synthetic gradients of Jaderberg et al. 2017 (arXiv 1608.05343). A sequence is run chunk by chunk, and no gradient of
the network's own crosses from one to the next. At the end of chunk k stands the state h_k; the cerebellum C, a network
of two hidden layers, says from it what the gradient of all later losses by h_k will be, and the weights learn from

    L_k + factor <h_k, C(h_k)>        (C(h_k) taken as given)

C learns to say, where the chunk begins, the gradient of just this by h_{k-1}: what is true inside the chunk and, behind
it, its own word. Its last layer begins at 0, so that at first nothing is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from connectome.errors import ConnectomeError
from connectome.learning.network import BatchActivity, SpikingNetwork
from connectome.learning.propagation import look_back
from connectome.learning.state import NetworkState

__all__ = ["Cerebellum", "Feedback", "later_feedback", "learn_in_chunks"]

#: In what membranes and currents are seen, so that numbers are near 1: mV and pA.
_MV, _PA = 15.0, 500.0
#: (number of a chunk, what it did) -> its loss, a mean over samples; 0 where nothing is told.
Loss = Callable[[int, BatchActivity], Tensor]


class Feedback(NamedTuple):
    """Of a sequence: its loss, and (K - 1, B, H) what was predicted at the cuts and what it should have been."""

    loss: float
    predicted: Tensor
    wanted: Tensor


class Cerebellum(nn.Sequential):
    """(B, H) state of a network -> (B, H) gradient of what is still to come. Unless it is ``silent`` at first, its last
    layer begins at random, too."""

    def __init__(self, network: SpikingNetwork, hidden: int = 128, seed: int = 0, silent: bool = True) -> None:
        regions, of = network.selection.regions.values(), _Parts(network)
        size = (2 + of.two) * sum(r.size for r in regions if r.role != "sensor")
        size += of.look * sum(r.size for r in regions if r.role == "neuron")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            last = nn.Linear(hidden, size)
            super().__init__(nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), last)
        if silent:
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)


class _Parts:
    """The parts of a network's states that learning flows through: potentials, currents (where both kinds decay alike,
    the event-driven engine has their sum) and the spikes of the last ``look`` steps, which may be on their way."""

    def __init__(self, network: SpikingNetwork) -> None:
        parameters = [r.neuron.parameters() for r in network.selection.regions.values() if r.role != "sensor"]
        self.two = network.engine == "torch" or any(p["tau_syn_ex_ms"] != p["tau_syn_in_ms"] for p in parameters)
        self.look = look_back(network.selection)

    def short(self, state: NetworkState) -> NetworkState:
        """Without the spikes that have arrived."""
        return state._replace(spikes={name: x[:, -self.look :] for name, x in state.spikes.items()})

    def leaves(self, state: NetworkState) -> NetworkState:
        """The same state, cut, so that what learns next says what it would have of it."""
        cut = self.short(state.detach())
        for x, _ in self.of(cut):
            x.requires_grad_()
        return cut

    def of(self, state: NetworkState) -> list[tuple[Tensor, float]]:
        """Each with its unit."""
        currents = [*state.i_ex.values(), *(state.i_in.values() if self.two else ())]
        fired = [x for name, x in state.spikes.items() if name in state.v]
        units = ((state.v.values(), _MV), (currents, _PA), (fired, 1.0))
        return [(x, unit) for xs, unit in units for x in xs]

    def seen(self, state: NetworkState) -> Tensor:
        """(B, H) in their units."""
        return torch.cat([x.flatten(1) / unit for x, unit in self.of(state)], 1)


def learn_in_chunks(
    network: SpikingNetwork, sensor_spikes: Mapping[str, Tensor], chunk_steps: int, loss_of: Loss,
    cerebellum: Cerebellum | None = None, factor: float = 0.1, record: tuple[str, ...] = (),
) -> Feedback:  # fmt: skip
    """Add the gradients of a sequence, (B, T, N) by sensor, to those of the network's weights and of the cerebellum's;
    without one it is truncated backpropagation through time. Raises :class:`ConnectomeError` unless chunks divide the
    sequence and are as long as the longest delay."""
    batch, n, of = _chunks(network, sensor_spikes, chunk_steps)
    state: NetworkState | None = None
    total = 0.0
    said: list[Tensor] = []
    wanted: list[Tensor] = []
    for number in range(n):
        before = None if state is None else of.leaves(state)
        activity = network(_part(sensor_spikes, number, chunk_steps), record, state=before, return_state=True)
        state = activity.state
        assert state is not None
        own = loss = loss_of(number, activity)
        if cerebellum is not None:
            if before is not None:
                said.append(cerebellum(of.seen(before).detach()))
            if number < n - 1:
                h = of.seen(of.short(state))
                loss = loss + factor / batch * (h * cerebellum(h.detach()).detach()).sum()
        if loss.requires_grad:
            torch.autograd.backward(loss)
        if cerebellum is not None and before is not None:
            wanted.append(_gradient([(x.grad, x, unit) for x, unit in of.of(before)], batch))
        total += float(own.detach())
    if not said:
        return Feedback(total, torch.empty(0), torch.empty(0))
    predicted, true = torch.stack(said), torch.stack(wanted)
    torch.autograd.backward((predicted - true).square().sum(-1).mean())
    return Feedback(total, predicted.detach(), true)


def later_feedback(
    network: SpikingNetwork, sensor_spikes: Mapping[str, Tensor], chunk_steps: int, loss_of: Loss,
    cerebellum: Cerebellum, record: tuple[str, ...] = (),
) -> Feedback:  # fmt: skip
    """What is said at the cuts beside the exact gradient of all later losses, by backpropagation through time without a
    cut. Nothing learns. Raises as :func:`learn_in_chunks` does."""
    batch, n, of = _chunks(network, sensor_spikes, chunk_steps)
    state: NetworkState | None = None
    total = torch.zeros(())
    cuts: list[NetworkState] = []
    for number in range(n):
        activity = network(_part(sensor_spikes, number, chunk_steps), record, state=state, return_state=True)
        total = total + loss_of(number, activity)
        assert activity.state is not None
        state = of.short(activity.state)
        cuts.append(state)
    with torch.no_grad():
        said = [cerebellum(of.seen(cut)) for cut in cuts[:-1]]
    wanted = []
    for cut in cuts[:-1]:
        parts = of.of(cut)
        grads = torch.autograd.grad(total, [x for x, _ in parts], retain_graph=True, allow_unused=True)
        wanted.append(_gradient([(g, x, unit) for g, (x, unit) in zip(grads, parts, strict=True)], batch))
    return Feedback(float(total.detach()), torch.stack(said), torch.stack(wanted))


def _chunks(
    network: SpikingNetwork, sensor_spikes: Mapping[str, Tensor], chunk_steps: int
) -> tuple[int, int, _Parts]:  # fmt: skip
    """The samples, the chunks, and what crosses from one to the next."""
    batch, steps = next(iter(sensor_spikes.values())).shape[:2]
    of = _Parts(network)
    if steps % chunk_steps or not of.look <= chunk_steps <= steps:
        rule = f"must divide the {steps} steps of the sequence, and be {of.look} or more, the longest delay"
        raise ConnectomeError("chunk_steps", rule, chunk_steps)
    return batch, steps // chunk_steps, of


def _part(sensor_spikes: Mapping[str, Tensor], number: int, steps: int) -> dict[str, Tensor]:
    return {name: x[:, number * steps : (number + 1) * steps] for name, x in sensor_spikes.items()}


def _gradient(parts: list[tuple[Tensor | None, Tensor, float]], batch: int) -> Tensor:
    """(B, H) of each sample, from the gradients of a mean over B."""
    found = [torch.zeros_like(x) if g is None else g * unit for g, x, unit in parts]
    return batch * torch.cat([g.flatten(1) for g in found], 1)
