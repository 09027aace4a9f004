"""Convolutions against torch's conv2d; kernel sets in training against their list of connections, on every engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, KernelSet, Maps, NeuronParameters, Region
from connectome.graph.flat import Engine
from connectome.graph.parts import TIED
from connectome.learning.network import SpikingNetwork
from connectome.simulate import Stimulus, run
from connectome.simulate.torch_convolution import Convolution
from connectome.wiring.convolution import convolution, convolved, offset_kernels
from tests.strategies import kernel_sets

#: A relay fires one step after its sensor, once for each of its spikes.
RELAY = NeuronParameters(tau_m_ms=1.0, t_ref_ms=0.0, tau_syn_ex_ms=0.01)
READOUT = NeuronParameters(tau_m_ms=7.0, tau_syn_ex_ms=3.0, tau_syn_in_ms=3.0)
FIRING = NeuronParameters(tau_m_ms=10.0, t_ref_ms=1.0, tau_syn_ex_ms=4.0, tau_syn_in_ms=4.0)
Case = tuple[Maps, NDArray[np.float32], int, int]
KEY = EdgeKey("relay", "efferent", "readout")


def relayed(kernels: EdgeSet, maps: Maps, made: Maps) -> Connectome:
    regions = [
        Region("image", maps.size, "sensor"),
        Region("relay", maps.size, neuron=RELAY, maps=maps),
        Region("readout", made.size, "effector", READOUT, maps=made),
    ]
    one = np.arange(maps.size)
    relay = EdgeSet.from_arrays(
        ("image", "afferent", "relay"), one, one, 1e6, n_source=maps.size, n_target=maps.size, dt_ms=kernels.dt_ms
    )
    return Connectome.of(regions, [relay, kernels], dt_ms=kernels.dt_ms)


def ends(maps: Maps, kernel: NDArray[np.float32], stride: int, padding: int) -> tuple[Region, Region]:
    made = convolved(maps, kernel.shape, stride=stride, padding=padding)
    return Region("relay", maps.size, maps=maps), Region("readout", made.size, "effector", maps=made)


@st.composite
def convolutions(draw: st.DrawFn) -> Case:
    maps = Maps(draw(st.integers(1, 3)), draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    padding, stride = draw(st.integers(0, 2)), draw(st.integers(1, 3))
    size = [draw(st.integers(1, min(3, n + 2 * padding))) for n in (maps.height, maps.width)]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kernel = rng.normal(0, 100, (draw(st.sampled_from([1, 2, 3, 17, 33])), maps.count, *size))
    return maps, kernel.astype(np.float32), stride, padding


@given(convolutions())
def test_a_set_is_conv2d_of_the_spikes(case: Case) -> None:
    """The list of connections, and the convolution in torch."""
    maps, kernel, stride, padding = case
    source, target = ends(*case)
    kernels = convolution(source, target, kernel, stride=stride, padding=padding)
    spikes = np.random.default_rng(1).random(maps.size) < 0.5
    image = torch.tensor(spikes.reshape(1, maps.count, maps.height, maps.width), dtype=torch.float64)
    wanted = torch.nn.functional.conv2d(
        image, torch.tensor(kernel, dtype=torch.float64), stride=stride, padding=padding
    ).numpy()  # fmt: skip
    edges = kernels.to_edges()
    delivered = np.bincount(edges.target, edges.weight * spikes[edges.source], target.size)
    np.testing.assert_allclose(delivered, wanted.ravel(), rtol=1e-6, atol=1e-4)
    found = Convolution(kernels, torch.tensor(kernels.weight, dtype=torch.float64))(torch.tensor(spikes)[None].double())
    np.testing.assert_allclose(found.numpy().ravel(), wanted.ravel(), rtol=1e-9, atol=1e-9)
    assert kernels.weight.tolist() == kernel.ravel().tolist()


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


def trained_as_conv2d(case: Case, engine: Engine, dtype: torch.dtype, tolerance: float) -> None:
    """Potentials of a readout, and the gradients of the kernel and of the relay's spikes."""
    maps, kernel, stride, padding = case
    source, target = ends(*case)
    kernels = convolution(source, target, kernel, stride=stride, padding=padding, dt_ms=1.0)
    assert target.maps is not None
    network = SpikingNetwork(relayed(kernels, maps, target.maps), engine=engine, dtype=dtype)
    rng = np.random.default_rng(3)
    image = torch.from_numpy(rng.random((18, 7, maps.size)) < 0.3)
    shape = (18, 7, maps.count, maps.height, maps.width)
    activity = network({"image": image}, record=["relay"])
    fired = activity.spikes["relay"].detach().to(torch.float64).reshape(shape)
    theta = torch.tensor(kernel, dtype=torch.float64, requires_grad=True)
    arrived = torch.cat([torch.zeros_like(fired[:, :1]), fired[:, :-1]], 1)  # the delay of one step
    wanted, found = potentials(theta, arrived, stride, padding), activity.potential["readout"]

    def close(a: Tensor, b: Tensor) -> None:
        assert (a - b).abs().max() <= tolerance * max(1e-6, float(b.abs().max()))

    close(found.detach(), wanted.detach())
    sent_back = torch.from_numpy(rng.normal(0, 1, found.shape))
    torch.autograd.backward((found * sent_back.to(dtype)).sum())
    torch.autograd.backward((wanted * sent_back).sum())
    grad = network.weight[KEY].grad
    assert grad is not None
    assert theta.grad is not None
    close(grad, theta.grad.ravel())


@settings(max_examples=30)
@given(convolutions())
def test_training_is_conv2d(case: Case) -> None:
    trained_as_conv2d(case, "numba", torch.float32, 1e-5)


@settings(max_examples=10)
@given(convolutions())
def test_training_is_conv2d_in_torch(case: Case) -> None:
    trained_as_conv2d(case, "torch", torch.float64, 1e-9)


def two_layers(kernels: KernelSet, inhibition_ms: float) -> Connectome:
    """Sensor, a first layer that the kernels leave from, a second that they reach and that is joined to itself."""
    s, t = kernels.source_maps, kernels.target_maps
    neuron = replace(FIRING, tau_syn_in_ms=inhibition_ms)
    rng, relay, dt = np.random.default_rng(5), np.arange(s.size), kernels.dt_ms
    regions = [
        Region("image", s.size, "sensor", maps=s), Region("a", s.size, neuron=neuron, maps=s),
        Region("b", t.size, neuron=neuron, maps=t), Region("out", 3, "effector", FIRING),
    ]  # fmt: skip
    weight = rng.normal(0, 300, (t.count, t.count, 2))
    sets = [
        EdgeSet.from_arrays(("image", "afferent", "a"), relay, relay, 9e3, n_source=s.size, n_target=s.size, dt_ms=dt),
        kernels,
        offset_kernels(regions[2], regions[2], [[0, 1], [-1, 0]], weight, dt_ms=dt, delay_ms=2 * dt),
        EdgeSet.from_arrays(
            ("b", "efferent", "out"), np.arange(t.size), np.arange(t.size) % 3, rng.normal(100, 50, t.size),
            n_source=t.size, n_target=3, dt_ms=dt,
        ),
    ]  # fmt: skip
    return Connectome.of(regions, sets, dt_ms=dt)


def gradients(
    c: Connectome, image: Tensor, *, engine: Engine = "numba", threads: int = 1, dtype: torch.dtype = torch.float64
) -> tuple[dict[str, Tensor], dict[EdgeKey, Tensor], Tensor, int]:
    network = SpikingNetwork(c, engine=engine, threads=threads, dtype=dtype)
    given = image.to(dtype).requires_grad_()
    gain = torch.linspace(0.5, 1.5, c.regions["b"].size, dtype=dtype)
    activity = network({"image": given}, record=("a", "b"), gain={"b": gain})
    loss = activity.potential["out"].square().sum() + (activity.spikes["b"] * gain).sum()
    torch.autograd.backward(loss)
    found = {key: w.grad for key, w in network.weight.items() if w.grad is not None}
    assert given.grad is not None
    return activity.spikes, found, given.grad, activity.operations


@settings(max_examples=30)
@given(kernel_sets(most_maps=18), st.sampled_from([4.0, 7.0]), st.integers(0, 2**32 - 1))
def test_training_is_that_of_the_list_of_connections(kernels: KernelSet, inhibition_ms: float, seed: int) -> None:
    """Spikes, and the gradients of weights and of spikes: on both engines, on one and two threads, with one synaptic
    time constant and with two."""
    c = two_layers(kernels, inhibition_ms)
    image = torch.from_numpy(np.random.default_rng(seed).random((18, 8, kernels.source_maps.size)) < 0.2)
    listed = c.expanded()
    spikes, wanted, of_image, operations = gradients(listed, image)
    same = gradients(c, image)
    for key, gradient in gradients(c, image, threads=2)[1].items():
        assert torch.equal(gradient, same[1][key]), "the same bits on two threads"
    for found in (same, gradients(c, image, engine="torch")):
        assert all(torch.equal(found[0][name], spikes[name]) for name in spikes)
        assert found[3] == operations
        torch.testing.assert_close(found[2], of_image, rtol=1e-9, atol=1e-12)
        for key, edges in listed.edges.items():
            if isinstance(c.edges[key], KernelSet):
                gradient = torch.zeros(len(c.edges[key]), dtype=torch.float64)
                gradient[np.unique(edges.state[TIED]).astype(int)] = wanted[key]
            else:
                gradient = wanted[key]
            torch.testing.assert_close(found[1][key], gradient, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_many_of_a_row_near_their_threshold(stride: int) -> None:
    """Gradients of spikes are found for up to four of a row at once."""
    rng, place = np.random.default_rng(stride), np.indices((17, 2, 3, 3)).reshape(4, -1)
    kernels = KernelSet.from_arrays(
        ("a", "long_range", "b"), place[1], place[0], place[2] - 1, place[3] - 1, rng.normal(20, 60, place.shape[1]),
        source_maps=Maps(2, 3, 23), target_maps=Maps(17, 3, 23), stride=stride, dt_ms=1.0,
    )  # fmt: skip
    c = two_layers(kernels, 4.0)
    image = torch.from_numpy(rng.random((16, 10, 138)) < 0.4)
    found, wanted = gradients(c, image), gradients(c.expanded(), image)
    torch.testing.assert_close(found[2], wanted[2], rtol=1e-9, atol=1e-12)
    first = EdgeKey("image", "afferent", "a")
    torch.testing.assert_close(found[1][first], wanted[1][first], rtol=1e-9, atol=1e-12)
    assert (wanted[2] != 0).any(dim=1).double().mean() > 0.2, "of 23 columns, several at once"


@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_a_run_is_that_of_the_list_of_connections(engine: Engine) -> None:
    rng = np.random.default_rng(0)
    maps = Maps(2, 5, 4)
    made = convolved(maps, (3, 2, 3, 3), stride=2, padding=1)
    a, b = Region("a", maps.size, maps=maps), Region("b", made.size, maps=made)
    kernels = convolution(a, b, rng.normal(300, 500, (3, 2, 3, 3)), stride=2, padding=1)
    c = Connectome.of([a, b], [kernels])
    stimulus = Stimulus(current_pa={"a": rng.uniform(0, 900, maps.size)})
    results = [run(each, 60.0, stimulus, engine=engine) for each in (c, c.expanded())]
    assert results[0].n_spikes.values.min() > 20
    np.testing.assert_array_equal(results[0].spike_time_ms, results[1].spike_time_ms)
    np.testing.assert_array_equal(results[0].spike_neuron, results[1].spike_neuron)
    assert results[0].attrs["synaptic_operations"] == results[1].attrs["synaptic_operations"]


def test_a_weight_learns_once_for_all_its_connections() -> None:
    maps, rng = Maps(1, 5, 5), np.random.default_rng(4)
    kernel = rng.normal(0, 50, (2, 1, 3, 3)).astype(np.float32)
    source, target = ends(maps, kernel, 1, 0)
    kernels = convolution(source, target, kernel, dt_ms=1.0)
    assert target.maps is not None
    network = SpikingNetwork(relayed(kernels, maps, target.maps))
    optimizer = torch.optim.Adam(network.parameters(), lr=5.0)
    for _ in range(3):
        loss = network({"image": torch.from_numpy(rng.random((8, 6, 25)) < 0.4)}).potential["readout"].square().mean()
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
    learnt = network.to_connectome().edges[KEY]
    assert isinstance(learnt, KernelSet)
    assert (learnt.weight != kernels.weight).all()
    listed = learnt.to_edges()
    assert listed.weight.tolist() == learnt.weight[listed.state[TIED].astype(int)].tolist()


@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_a_blocked_set_passes_no_gradient_back(engine: Engine) -> None:
    kernels = KernelSet.from_arrays(
        ("a", "long_range", "b"), 0, [0, 1], 0, [0, 1], 900.0, source_maps=Maps(1, 3, 3), target_maps=Maps(2, 3, 3),
        dt_ms=1.0,
    )  # fmt: skip
    c = two_layers(kernels, 4.0)
    image = {"image": torch.from_numpy(np.random.default_rng(0).random((4, 12, 9)) < 0.5)}
    first = EdgeKey("image", "afferent", "a")
    for block in ((), (kernels.key,)):
        network = SpikingNetwork(c, engine=engine, dtype=torch.float64, block=block)
        torch.autograd.backward(network(image).potential["out"].sum())
        found = {key: w.grad for key, w in network.weight.items()}
        assert bool((found[first] == 0).all()) == bool(block)  # type: ignore[union-attr]
        assert bool((found[kernels.key] != 0).all()), "its own weights learn"  # type: ignore[union-attr]
    with pytest.raises(
        ConnectomeError, match=r"output_gain\[a\] must leave out regions whose maps' kernels are shared"
    ):
        network(image, output_gain={"a": torch.ones(9)})


def test_signs_are_kept_by_map() -> None:
    maps, kernel = Maps(2, 3, 3), np.array([3.0, -2.0], np.float32).reshape(1, 2, 1, 1)
    source, target = ends(maps, kernel, 1, 0)
    assert target.maps is not None
    c = relayed(convolution(source, target, kernel, dt_ms=1.0), maps, target.maps)
    signs = np.repeat(np.array([1, -1], np.int8), 9)
    network = SpikingNetwork(replace(c, regions={**c.regions, "relay": replace(c.regions["relay"], sign=signs)}))
    with torch.no_grad():
        network.weight[KEY].mul_(torch.tensor([-1.0, 1.0]))
    network.keep_signs()
    assert network.weight[KEY].tolist() == [0, -2]


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_gradient_of_a_tie_is_the_sum_of_its_edges(seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps, kernel = Maps(1, 4, 4), rng.normal(0, 9, (1, 1, 2, 2)).astype(np.float32)
    source, target = ends(maps, kernel, 1, 0)
    edges = convolution(source, target, kernel, dt_ms=1.0).to_edges()
    loose = replace(edges, state={})
    image = {"image": torch.from_numpy(rng.random((2, 5, 16)) < 0.5)}
    gradient = []
    for each in (edges, loose):
        assert target.maps is not None
        network = SpikingNetwork(relayed(each, maps, target.maps), dtype=torch.float64)
        loss = network(image).potential["readout"].square().sum()
        gradient.append(torch.autograd.grad(loss, network.weight[KEY])[0].numpy())
    np.testing.assert_allclose(
        gradient[0], np.bincount(edges.state[TIED].astype(int), gradient[1]), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize(
    ("kernel", "options", "message"),
    [
        ((1, 2, 2, 2), {}, r"kernel must have shape \(maps made, 1, height, width\)"),
        ((1, 1, 5, 5), {}, r"kernel must fit into \(4, 4\) with a padding of 0; found \(5, 5\)"),
        ((1, 1, 2, 2), {"stride": 0}, r"stride must be an integer in 1 .. "),
        (
            (1, 1, 2, 2),
            {"padding": 1},
            r"regions\[readout\].maps must be what the kernel makes, Maps\(count=1, height=5",
        ),
    ],
)
def test_convolutions_that_cannot_be(kernel: tuple[int, ...], options: dict[str, int], message: str) -> None:
    source = Region("relay", 16, maps=Maps(1, 4, 4))
    target = Region("readout", 9, "effector", maps=Maps(1, 3, 3))
    with pytest.raises(ConnectomeError, match=message):
        convolution(source, target, np.ones(kernel), **options)
    with pytest.raises(ConnectomeError, match=r"regions\[relay\].maps must say how its neurons form maps"):
        convolution(replace(source, maps=None), target, np.ones(kernel), **options)


@pytest.mark.parametrize(
    ("offsets", "weight", "message"),
    [
        ([1, 2], [1.0], r"offsets must have shape \(offsets, 2\)"),
        ([[0, 1]], [1.0, 2.0], r"weight_pa must have shape \(1,\) or \(1, 2, 1\)"),
        ([[0, 1], [0, 1]], [1.0, 2.0], r"must have each of"),
    ],
)
def test_offsets_that_cannot_be(offsets: list[list[int]], weight: list[float], message: str) -> None:
    source, target = (Region(n, Maps.hexagon(k, 1).size, maps=Maps.hexagon(k, 1)) for n, k in (("a", 2), ("b", 1)))
    with pytest.raises(ConnectomeError, match=message):
        offset_kernels(source, target, offsets, weight)
