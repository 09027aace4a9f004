"""A cerebellum that predicts feedback: one that says the truth gives the gradients of the whole sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from connectome import ConnectomeError
from connectome.learning.network import BatchActivity, SpikingNetwork
from connectome.mechanisms.cerebellum import Cerebellum, later_feedback, learn_in_chunks
from tests.test_learning import network

CHUNK, CHUNKS = 6, 4


class Said(nn.Module):
    """Says at each cut what it is told to, twice: when the chunk ends, and when the next begins."""

    def __init__(self, words: Tensor) -> None:
        super().__init__()
        self.words = words.repeat_interleave(2, 0)
        self.bias = nn.Parameter(torch.zeros(1, dtype=words.dtype))

    def forward(self, state: Tensor) -> Tensor:
        said, self.words = self.words[0], self.words[1:]
        return said + self.bias


def loss_of(number: int, activity: BatchActivity) -> Tensor:
    potential = torch.cat(list(activity.potential.values()), -1)
    return (number + 1) * (potential / 10).square().mean() + activity.spikes["a"].sum(1).square().mean()


def sequence() -> dict[str, Tensor]:
    return {"in": torch.from_numpy(np.random.default_rng(1).random((3, CHUNK * CHUNKS, 6)) < 0.3)}


def gradients(net: SpikingNetwork, **options: Any) -> tuple[list[Tensor], Any]:
    net.zero_grad()
    found = learn_in_chunks(net, sequence(), CHUNK, loss_of, record=("a",), **options)
    return [p.grad.clone() for p in net.parameters() if p.grad is not None], found


def whole(net: SpikingNetwork) -> list[Tensor]:
    activity = net(sequence(), ("a",))
    parts = [slice(k * CHUNK, (k + 1) * CHUNK) for k in range(CHUNKS)]
    losses = [
        loss_of(k, activity._replace(
            potential={n: u[:, part] for n, u in activity.potential.items()},
            spikes={n: s[:, part] for n, s in activity.spikes.items()},
        )) for k, part in enumerate(parts)
    ]  # fmt: skip
    return list(torch.autograd.grad(sum(losses, torch.zeros(())), list(net.parameters())))


@pytest.mark.parametrize("tau_in", [2.0, 5.0])
def test_who_says_the_truth_gives_the_gradients_of_the_whole_sequence(tau_in: float) -> None:
    """And is told at each cut what it said."""
    net = SpikingNetwork(network(22, tau_in), dtype=torch.float64)
    first = Cerebellum(net).double()
    true = later_feedback(net, sequence(), CHUNK, loss_of, first, ("a",)).wanted
    assert float(true.norm()) > 0
    said = Said(true)
    found, feedback = gradients(net, cerebellum=said, factor=1.0)
    for a, b in zip(found, whole(net), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(b.norm()))
    torch.testing.assert_close(feedback.wanted, true, rtol=1e-9, atol=1e-9 * float(true.norm()))
    assert said.bias.grad is not None
    assert abs(float(said.bias.grad)) < 1e-9, "nothing is left to learn"


def test_a_silent_one_changes_nothing_and_learns() -> None:
    net = SpikingNetwork(network(22), dtype=torch.float64)
    silent = Cerebellum(net).double()
    alone, _ = gradients(net)
    beside, feedback = gradients(net, cerebellum=silent, factor=1.0)
    assert all(torch.equal(a, b) for a, b in zip(alone, beside, strict=True))
    assert not all(torch.allclose(a, b) for a, b in zip(alone, whole(net), strict=True))
    assert not feedback.predicted.any()
    true = later_feedback(net, sequence(), CHUNK, loss_of, silent, ("a",)).wanted
    torch.testing.assert_close(feedback.wanted[-1], true[-1], rtol=1e-9, atol=1e-12)
    last = silent[-1]
    assert isinstance(last, nn.Linear)
    # The error is the mean over cuts and samples of |0 - wanted|^2.
    torch.testing.assert_close(last.bias.grad, -2 * feedback.wanted.mean((0, 1)), rtol=1e-9, atol=1e-12)


def test_chunks_divide_the_sequence() -> None:
    net = SpikingNetwork(network(22))
    for steps in (7, 2, 48):
        with pytest.raises(ConnectomeError, match=r"^chunk_steps must divide the 24 steps .* be 4 or more.*found"):
            learn_in_chunks(net, sequence(), steps, loss_of)
