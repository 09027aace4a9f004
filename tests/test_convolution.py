"""Convolutions as edge sets with tied weights, against torch's conv2d."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, NeuronParameters, Region
from connectome.graph.flat import Engine
from connectome.graph.parts import TIED
from connectome.learning.network import SpikingNetwork
from connectome.wiring.convolution import convolution, convolved_shape

#: A relay fires one step after its sensor, once for each of its spikes.
RELAY = NeuronParameters(tau_m_ms=1.0, t_ref_ms=0.0, tau_syn_ex_ms=0.01)
READOUT = NeuronParameters(tau_m_ms=7.0, tau_syn_ex_ms=3.0, tau_syn_in_ms=3.0)
Case = tuple[tuple[int, int, int], NDArray[np.float32], int, int]
KEY = EdgeKey("relay", "efferent", "readout")


def network(edges: EdgeSet, shape: tuple[int, int, int]) -> Connectome:
    n = int(np.prod(shape))
    regions = [
        Region("image", n, "sensor"),
        Region("relay", n, neuron=RELAY),
        Region("readout", edges.n_target, "effector", READOUT),
    ]
    one = np.arange(n)
    relay = EdgeSet.from_arrays(("image", "afferent", "relay"), one, one, 1e6, n_source=n, n_target=n, dt_ms=1.0)
    return Connectome.of(regions, [relay, edges], dt_ms=1.0)


@st.composite
def convolutions(draw: st.DrawFn) -> Case:
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    padding, stride = draw(st.integers(0, 2)), draw(st.integers(1, 3))
    size = [draw(st.integers(1, min(3, n + 2 * padding))) for n in shape[1:]]
    seed = draw(st.integers(0, 2**32 - 1))
    kernel = np.random.default_rng(seed).normal(0, 100, (draw(st.integers(1, 3)), shape[0], *size))
    return shape, kernel.astype(np.float32), stride, padding


@given(convolutions())
def test_each_step_delivers_conv2d_of_the_spikes(case: Case) -> None:
    shape, kernel, stride, padding = case
    out = convolved_shape(shape, kernel.shape, stride=stride, padding=padding)
    source, target = Region("relay", int(np.prod(shape))), Region("readout", int(np.prod(out)), "effector")
    edges = convolution(source, target, shape, kernel, stride=stride, padding=padding)
    spikes = np.random.default_rng(1).random(shape) < 0.5
    delivered = np.bincount(edges.target, edges.weight * spikes.ravel()[edges.source], target.size)
    wanted = torch.nn.functional.conv2d(
        torch.tensor(spikes[None], dtype=torch.float64), torch.tensor(kernel, dtype=torch.float64),
        stride=stride, padding=padding,
    )  # fmt: skip
    np.testing.assert_allclose(delivered, wanted.numpy().ravel(), rtol=1e-6, atol=1e-4)
    assert edges.weight.tolist() == kernel.ravel()[edges.state[TIED].astype(int)].tolist()


def potentials(kernel: Tensor, spikes: Tensor, stride: int, padding: int) -> Tensor:
    """(B, T, N) mV of the readout: conv2d of what the relay fires, then the exact solution of two exponentials."""
    p, dt = READOUT, 1.0
    syn, leak = np.exp(-dt / p.tau_syn_ex_ms), np.exp(-dt / p.tau_m_ms)
    push = (leak - syn) / (1 / p.tau_syn_ex_ms - 1 / p.tau_m_ms) / p.c_m_pf
    u: Tensor | float = 0.0
    current = torch.zeros(())
    steps = []
    for t in range(spikes.shape[1]):
        u = leak * u + push * current
        current = syn * current + torch.nn.functional.conv2d(spikes[:, t], kernel, stride=stride, padding=padding)
        steps.append(u)
    return torch.stack([(torch.zeros_like(current) + u).flatten(1) for u in steps], 1)


@pytest.mark.parametrize("engine", ["numba", "torch"])
@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 1), (2, 1)])
def test_a_trained_convolution_is_conv2d(engine: Engine, stride: int, padding: int) -> None:
    """Potentials, and the gradient of the kernel, in float64."""
    shape, rng = (2, 7, 6), np.random.default_rng(3)
    kernel = rng.normal(0, 50, (3, 2, 3, 3)).astype(np.float32)
    out = convolved_shape(shape, kernel.shape, stride=stride, padding=padding)
    source, target = (
        Region("relay", int(np.prod(shape)), neuron=RELAY),
        Region("readout", int(np.prod(out)), "effector", READOUT),
    )
    edges = convolution(source, target, shape, kernel, stride=stride, padding=padding, dt_ms=1.0)
    net = SpikingNetwork(network(edges, shape), engine=engine, dtype=torch.float64)
    image = torch.from_numpy(rng.random((4, 9, *shape)) < 0.3)
    activity = net({"image": image.flatten(2)}, record=["relay"])
    fired = activity.spikes["relay"].detach().reshape(4, 9, *shape)
    assert fired.sum() > 100
    theta = torch.tensor(kernel, dtype=torch.float64, requires_grad=True)
    arrived = torch.cat([torch.zeros_like(fired[:, :1]), fired[:, :-1]], 1)  # the delay of one step
    wanted = potentials(theta, arrived, stride, padding)
    found = activity.potential["readout"]
    assert net.weight[KEY].shape == (kernel.size,)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    target_mv = torch.from_numpy(rng.normal(0, 1, found.shape))
    torch.autograd.backward(((found - target_mv) ** 2).sum())
    torch.autograd.backward(((wanted - target_mv) ** 2).sum())
    assert net.weight[KEY].grad is not None
    assert theta.grad is not None
    torch.testing.assert_close(net.weight[KEY].grad, theta.grad.ravel(), rtol=1e-7, atol=1e-9)


def test_weights_that_are_tied_stay_equal() -> None:
    shape, rng = (1, 5, 5), np.random.default_rng(4)
    kernel = rng.normal(0, 50, (2, 1, 3, 3)).astype(np.float32)
    edges = convolution(Region("relay", 25), Region("readout", 18, "effector"), shape, kernel, dt_ms=1.0)
    net = SpikingNetwork(network(edges, shape))
    optimizer = torch.optim.Adam(net.parameters(), lr=5.0)
    for _ in range(3):
        loss = net({"image": torch.from_numpy(rng.random((8, 6, 25)) < 0.4)}).potential["readout"].square().mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    learnt = net.to_connectome().edges[KEY]
    assert (learnt.weight != edges.weight).all()
    assert len(set(zip(learnt.state[TIED].tolist(), learnt.weight.tolist(), strict=True))) == kernel.size
    assert learnt.take(learnt.state[TIED] > 4).state[TIED].min() == 5, "pruning a weight leaves the others' numbers"


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_gradient_of_a_tie_is_the_sum_of_its_edges(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (1, 4, 4)
    edges = convolution(
        Region("relay", 16), Region("readout", 9, "effector"), shape, rng.normal(0, 9, (1, 1, 2, 2)), dt_ms=1.0
    )
    loose = EdgeSet.from_arrays(edges.key, edges.source, edges.target, edges.weight, n_source=16, n_target=9, dt_ms=1.0)
    image = {"image": torch.from_numpy(rng.random((2, 5, 16)) < 0.5)}
    gradient = []
    for each in (edges, loose):
        net = SpikingNetwork(network(each, shape), dtype=torch.float64)
        loss = net(image).potential["readout"].square().sum()
        gradient.append(torch.autograd.grad(loss, net.weight[KEY])[0].numpy())
    np.testing.assert_allclose(
        gradient[0], np.bincount(edges.state[TIED].astype(int), gradient[1]), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize(
    ("shape", "kernel", "options", "message"),
    [
        ((1, 4, 4), (1, 2, 2, 2), {}, r"kernel must have shape \(outputs, 1, height, width\)"),
        ((1, 4, 4), (1, 1, 5, 5), {}, r"kernel must fit into \(4, 4\) with a padding of 0; found \(5, 5\)"),
        ((1, 4, 4), (1, 1, 2, 2), {"stride": 0}, r"stride must be an integer in 1 .. "),
        ((1, 4, 4), (1, 1, 2, 2), {"padding": 1}, r"regions\[readout\].size must be 25, for \(1, 5, 5\); found 9"),
        ((1, 4, 3), (1, 1, 2, 2), {}, r"regions\[relay\].size must be 12, for \(1, 4, 3\); found 16"),
    ],
)
def test_convolutions_that_cannot_be(
    shape: tuple[int, int, int], kernel: tuple[int, ...], options: dict[str, int], message: str
) -> None:
    with pytest.raises(ConnectomeError, match=message):
        convolution(Region("relay", 16), Region("readout", 9, "effector"), shape, np.ones(kernel), **options)
