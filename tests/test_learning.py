"""Learning on the propagator: spikes as the simulator's, gradients as dense autograd's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from connectome import Connectome, ConnectomeError, EdgeSet, NeuronParameters, Region
from connectome.graph.flat import Engine, flatten, select
from connectome.learning.bundles import lay_out, scratch
from connectome.learning.learning_kernels import DENSE, SPARSE
from connectome.learning.network import SpikingNetwork
from connectome.learning.tiles import ForwardPass
from connectome.simulate.runs import Stimulus, run
from sims.benchmarks import training as benchmark_training
from tests.reference import dense_autograd

STEPS = 37  # more than a chunk of the kernels


@pytest.fixture(params=["numba", "torch"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Both engines."""
    value: Engine = request.param
    return value


def network(
    seed: int, tau_in: float = 2.0, max_delay: int = 4, size: int = 12, density: float | None = None
) -> Connectome:
    """A random connectome that is driven hard enough to fire, with a sensor, two regions that reach each other, one
    that only listens, and effectors. ``density``: of every edge set, instead of different sparse ones."""
    rng = np.random.default_rng(seed)
    neuron = NeuronParameters(tau_m_ms=8.0, t_ref_ms=2.0, tau_syn_in_ms=tau_in, i_e_pa=200.0)
    other = NeuronParameters(tau_m_ms=12.0, t_ref_ms=0.0, tau_syn_in_ms=tau_in, v_reset_mv=-72.0)
    regions = [
        Region("out", 3, "effector", neuron), Region("c", 5, neuron=other), Region("in", 6, "sensor"),
        Region("a", size, neuron=neuron), Region("b", size, neuron=neuron), Region("arm", 2, "effector", other),
    ]  # fmt: skip
    by_name = {r.name: r for r in regions}
    edges = []
    for key, sparse, scale in (
        (("in", "afferent", "a"), 0.5, 3000.0), (("a", "local", "a"), 0.3, 1500.0), (("a", "long_range", "b"), 0.4,
        2500.0), (("b", "long_range", "a"), 0.2, 1500.0), (("b", "long_range", "c"), 0.5, 5000.0),
        (("b", "efferent", "out"), 0.6, 500.0), (("c", "efferent", "arm"), 0.6, 500.0),
    ):  # fmt: skip
        source, target = by_name[key[0]], by_name[key[2]]
        share = sparse if density is None else density
        src, tgt = np.nonzero(rng.random((source.size, target.size)) < share)
        scale *= (sparse / max(share, 0.05)) ** 0.5
        edges.append(
            EdgeSet.from_arrays(
                key, src, tgt, rng.normal(0.3 * scale, scale, src.size), n_source=source.size, n_target=target.size,
                dt_ms=1.0, delay_ms=rng.integers(1, max_delay + 1, src.size).astype(float),
            )
        )  # fmt: skip
    return Connectome.of(regions, edges, dt_ms=1.0)


def spikes(seed: int, batch: int, n: int = 6) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((batch, STEPS, n)) < 0.3)


def a_loss(potential: Tensor, recorded: Tensor) -> Tensor:
    """Uses every step of the effector, and the recorded spikes."""
    ramp = torch.linspace(0.5, 1.5, STEPS, dtype=potential.dtype)[None, :, None]
    return ((potential * ramp).mean(1) ** 2).sum() / 100 + (recorded * ramp).sum(1).pow(2).mean()


def gradients(net: SpikingNetwork, given: Tensor, record: tuple[str, ...] = ("a", "b")) -> Tensor:
    net.zero_grad()
    activity = net({"in": given}, record=record)
    a_loss(activity.potential["out"], torch.cat([activity.spikes[name] for name in record], -1)).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    return torch.cat([torch.zeros(0, dtype=net.dtype)] + [p.grad for p in net.parameters() if p.grad is not None])


def assert_as_dense_autograd(c: Connectome, net: SpikingNetwork, given: Tensor, bound: float) -> float:
    """Gradients within a bound of those of dense autograd in float64, which takes the same spikes; their norm."""
    activity = net({"in": given}, record=("a", "b", "c"))
    potential = torch.cat([activity.potential["out"], activity.potential["arm"]], -1)
    recorded = torch.cat([activity.spikes["a"], activity.spikes["c"]], -1)
    a_loss(potential, recorded).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    found = torch.cat([p.grad.double() for p in net.parameters() if p.grad is not None])
    flat = flatten(c)
    span, steps_of = flat.span, given.permute(1, 2, 0).double()
    forced = torch.zeros(given.shape[1], flat.n_neurons, given.shape[0], dtype=torch.float64)
    for name, s in activity.spikes.items():
        forced[:, span[name]] = s.detach().permute(1, 2, 0).double()
    weight = torch.tensor(flat.weight, dtype=torch.float64, requires_grad=True)
    u, s = dense_autograd(flat, weight, steps_of, net.surrogate_width_mv, forced=forced)
    expected_u = torch.cat([u[:, span["out"]], u[:, span["arm"]]], 1).permute(2, 0, 1)
    a_loss(expected_u, torch.cat([s[:, span["a"]], s[:, span["c"]]], 1).permute(2, 0, 1)).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert weight.grad is not None
    expected = torch.empty_like(weight)
    expected[torch.from_numpy(flat.order)] = weight.grad
    torch.testing.assert_close(potential.detach().double(), expected_u.detach(), rtol=0, atol=100 * bound)
    assert float((found - expected).norm()) <= bound * float(expected.norm())
    assert float((found - expected).abs().max()) <= bound * float(expected.abs().max())
    return float(expected.norm())


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6), batch=st.sampled_from([1, 5, 33]), tau_in=st.sampled_from([2.0, 5.0]),
    max_delay=st.sampled_from([1, 4]), density=st.sampled_from([None, 0.1, 0.5, 1.0]),
    double=st.booleans(),
)  # fmt: skip
def test_gradients_equal_dense_autograd(
    seed: int, batch: int, tau_in: float, max_delay: int, density: float | None, double: bool
) -> None:
    """Sparse rows and matrices, one delay and several, one synaptic channel and two, full tiles and others."""
    c = network(seed, tau_in, max_delay, density=density)
    net = SpikingNetwork(c, surrogate_width_mv=12.0, dtype=torch.float64 if double else torch.float32)
    assert_as_dense_autograd(c, net, spikes(seed, batch), 1e-9 if double else 2e-5)


@pytest.mark.parametrize("density", [0.01, 0.1, 1.0])
def test_gradients_where_there_are_several_blocks_of_columns(density: float) -> None:
    """Matrices for spikes, rows for gradients; more targets than a block of columns; a delay longer than a chunk."""
    c = network(2, size=150, max_delay=1, density=density)
    key = next(k for k in c.edges if k.target == "c")
    late = replace(c.edges[key], delay_steps=np.full(len(c.edges[key]), 35, np.uint16))
    c = replace(c, edges={**c.edges, key: late})
    assert assert_as_dense_autograd(c, SpikingNetwork(c, dtype=torch.float64), spikes(3, 18), 1e-9) > 0
    assert assert_as_dense_autograd(c, SpikingNetwork(c), spikes(3, 18), 1e-5) > 0


def test_each_layout_is_used() -> None:
    """The other tests would not notice if all edge sets were stored in one way."""
    used = set()
    for density, tau_in in ((0.01, 2.0), (0.2, 2.0), (1.0, 2.0), (1.0, 5.0)):
        selection = select(network(2, tau_in, max_delay=1, size=150, density=density))
        bundles = lay_out(selection, np.float32, 10.0).net.bundles
        used |= {(tau_in, int(b["forward"]), int(b["backward"])) for b in bundles}
    assert {(2.0, SPARSE, SPARSE), (2.0, DENSE, 0), (2.0, 0, SPARSE), (2.0, DENSE, DENSE)} <= used
    assert {forward for tau_in, forward, _ in used if tau_in == 5.0} == {SPARSE}


def test_runs_keep_apart() -> None:
    """Forward passes share memory only when the graph of one is gone: two graphs, in either order, and one twice."""
    net = SpikingNetwork(network(4), dtype=torch.float64)
    given_spikes = [spikes(seed, 20) for seed in (1, 2)]
    alone = [gradients(net, x) for x in given_spikes]
    for order in ((0, 1), (1, 0)):
        losses = []
        for x in given_spikes:
            activity = net({"in": x}, record=("a", "b"))
            losses.append(a_loss(activity.potential["out"], torch.cat(list(activity.spikes.values()), -1)))
        for i in order:
            found = torch.autograd.grad(losses[i], list(net.parameters()), retain_graph=True)
            with torch.no_grad():
                net({"in": given_spikes[1 - i]})
            again = torch.autograd.grad(losses[i], list(net.parameters()))
            assert torch.equal(torch.cat(found), torch.cat(again))
            assert torch.equal(torch.cat(found), alone[i])
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(losses[0], list(net.parameters()))


def test_frozen_weights_pass_on_the_gradient_of_what_made_them() -> None:
    """The tape is kept for the weights that edges have in the end, whoever learns: it was not, with any gradient."""

    class Scaled(SpikingNetwork):
        scale = torch.ones(3, dtype=torch.float64, requires_grad=True)

        def _by_edge(self) -> list[Tensor]:
            return [w * self.scale[i % 3] for i, w in enumerate(super()._by_edge())]

    found = []
    for engine in ("numba", "torch"):
        net = Scaled(network(3), engine=engine, dtype=torch.float64).requires_grad_(False)
        given_spikes = spikes(4, 20)
        for _ in range(2):  # memory of an earlier pass would look like a tape
            activity = net({"in": given_spikes}, record=("a", "b"))
            loss = a_loss(activity.potential["out"], torch.cat(list(activity.spikes.values()), -1))
            found.append(torch.autograd.grad(loss, Scaled.scale)[0])
    assert found[0].abs().min() > 0
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32, torch.float64, torch.int64])
def test_spikes_of_any_type(dtype: torch.dtype) -> None:
    """Whatever is not 0 is a spike, in any memory order; but a real number must be 0 or 1: it may mean a current."""
    c = network(6)
    given_spikes = spikes(1, 5)
    expected = SpikingNetwork(c)({"in": given_spikes}).potential["out"]
    found = given_spikes.permute(2, 0, 1).contiguous().permute(1, 2, 0).to(dtype)
    assert torch.equal(SpikingNetwork(c)({"in": found}).potential["out"], expected)
    if dtype in (torch.uint8, torch.int64):
        assert torch.equal(SpikingNetwork(c)({"in": found * 3}).potential["out"], expected)
    elif dtype != torch.bool:
        with pytest.raises(
            ConnectomeError, match=r"0 or 1 where they are real numbers; found 0.5 of .*Give .* current="
        ):
            SpikingNetwork(c)({"in": found / 2})


def test_the_benchmarks_step_is_torchs() -> None:
    """What the benchmark compares does the same work: losses of both networks, over some steps of Adam."""
    for c in (benchmark_training.feed_forward(0.1), benchmark_training.recurrent(128, 0.1)):
        both = benchmark_training.steps(c, 12, 17)
        for _ in range(3):
            assert both.ours() == pytest.approx(both.torch(), rel=5e-3)
        assert all(rate > 0.001 for rate in both.rates().values())


@pytest.mark.parametrize("tau_in", [2.0, 5.0])
def test_engines_agree(tau_in: float) -> None:
    """Potentials, spikes, counts, operations and gradients of the two engines."""
    c = network(3, tau_in)
    nets = [SpikingNetwork(c, engine=e, dtype=torch.float64) for e in ("numba", "torch")]
    given_spikes = spikes(4, 40)
    a, b = (net({"in": given_spikes}, record=("b",)) for net in nets)
    torch.testing.assert_close(a.potential["out"], b.potential["out"], rtol=0, atol=1e-9)
    assert torch.equal(a.spikes["b"], b.spikes["b"])
    assert a.spikes["b"].sum() > 0
    assert a.operations == b.operations
    assert all((a.counts[name] == b.counts[name]).all() for name in ("in", "a", "b"))
    one, two = (gradients(net, given_spikes) for net in nets)
    torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)


def test_spikes_are_the_simulators(engine: Engine) -> None:
    """A sample of a batch does what run() does with the same sensor spikes."""
    c = network(11)
    given_spikes = spikes(12, 35)
    activity = SpikingNetwork(c, engine=engine, dtype=torch.float64)({"in": given_spikes}, record=("a", "b"))
    for sample in (0, 31, 32, 34):
        step, neuron = np.nonzero(given_spikes[sample].numpy())
        result = run(c, float(STEPS), Stimulus(spikes={"in": ((step + 1.0), neuron)}), dtype="float64")
        for name in ("a", "b"):
            expected = np.zeros((STEPS, c.regions[name].size))
            mine = result.region.values[result.spike_region.values] == name
            steps = np.rint(result.spike_time_ms.values[mine]).astype(int) - 1
            expected[steps, result.spike_neuron.values[mine]] = 1
            assert (activity.spikes[name][sample].detach().numpy() == expected).all()


def test_operations_and_counts(engine: Engine) -> None:
    """Operations are spikes times out-degree, padded lanes not counted."""
    c = network(5)
    activity = SpikingNetwork(c, engine=engine)({"in": spikes(6, 7)})
    degree = {n: np.zeros(r.size, int) for n, r in c.regions.items()}
    for e in c.edges.values():
        degree[e.key.source] += np.diff(e.indptr)
    assert activity.operations == sum(int(n @ degree[name]) for name, n in activity.counts.items())
    assert activity.counts["in"].sum() == int(spikes(6, 7).sum())


@pytest.mark.parametrize("density", [None, 1.0])
def test_threads_and_repeats_change_nothing(density: float | None) -> None:
    c = network(7, size=40, max_delay=1, density=density)
    given_spikes = spikes(8, 130)
    runs = [gradients(SpikingNetwork(c, threads=threads), given_spikes) for threads in (1, 2, 3, 1)]
    assert all(torch.equal(runs[0], other) for other in runs[1:])


def test_a_sample_does_not_depend_on_its_batch() -> None:
    c = network(9)
    net = SpikingNetwork(c)
    given_spikes = spikes(10, 70)
    whole = net({"in": given_spikes}).potential["out"]
    assert torch.equal(whole[40:45], net({"in": given_spikes[40:45]}).potential["out"])


def test_recruits_only_what_is_named(engine: Engine) -> None:
    c = network(13)
    net = SpikingNetwork(c, recruit=("in", "a"), engine=engine)
    assert {k.target for k in net.weight} == {"a"}
    assert set(net({"in": spikes(1, 3)}).counts) == {"in", "a"}


def test_learns_with_any_optimiser(engine: Engine) -> None:
    """Plain SGD and Adam both lower a loss; the result goes back into a connectome."""
    c = network(17)
    given_spikes, goal = spikes(18, 8), torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    for make in (lambda p: torch.optim.SGD(p, lr=2e4), lambda p: torch.optim.Adam(p, lr=100.0)):
        net = SpikingNetwork(c, engine=engine)
        optimiser = make(net.parameters())
        losses = []
        for _ in range(12):
            loss = torch.nn.functional.mse_loss(net({"in": given_spikes}).potential["out"].mean(1), goal)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            optimiser.step()
            losses.append(loss.item())
        assert losses[-1] < 0.9 * losses[0]
        learnt = net.to_connectome()
        assert all((learnt.edges[k].weight == w.detach().numpy()).all() for k, w in net.weight.items())
        assert learnt.digest() != c.digest()


def test_weight_that_changes_sign_changes_channel() -> None:
    """With two synaptic time constants, what counts is the sign that a weight has now."""
    c = network(19, tau_in=6.0)
    flipped = Connectome.of(c.regions.values(), [replace(e, weight=-e.weight) for e in c.edges.values()], dt_ms=c.dt_ms)
    net = SpikingNetwork(c, dtype=torch.float64)
    with torch.no_grad():
        for weight in net.weight.values():
            weight.neg_()
    expected = SpikingNetwork(flipped, dtype=torch.float64)({"in": spikes(2, 4)})
    assert torch.equal(net({"in": spikes(2, 4)}).potential["out"], expected.potential["out"])


def test_no_edges_and_no_effectors(engine: Engine) -> None:
    c = Connectome.of([Region("in", 2, "sensor"), Region("a", 3), Region("none", 0)], dt_ms=1.0)
    activity = SpikingNetwork(c, engine=engine)({"in": torch.ones(2, 5, 2)}, record=("a",))
    assert activity.potential == {}
    assert activity.spikes["a"].shape == (2, 5, 3)
    assert activity.operations == 0


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"nowhere": torch.ones(1, 2, 6)}, "sensor_spikes must name sensors of \\['in'\\]; found 'nowhere'"),
        ({"in": torch.ones(1, 2, 5)}, "must have shape \\(batch, steps, 6\\); found \\(1, 2, 5\\)"),
        ({"in": torch.ones(0, 2, 6)}, "must share one non-empty"),
        ({}, "must share one non-empty"),
    ],
)
def test_bad_input_is_named(bad: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ConnectomeError, match=message):
        SpikingNetwork(network(1))(bad)


def test_bad_options_are_named() -> None:
    c = network(1)
    with pytest.raises(ConnectomeError, match="engine must be 'numba' or 'torch'; found 'jax'"):
        SpikingNetwork(c, engine="jax")  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(ConnectomeError, match="surrogate_width_mv"):
        SpikingNetwork(c, surrogate_width_mv=0.0)
    with pytest.raises(ConnectomeError, match="dtype"):
        SpikingNetwork(c, dtype=torch.float16)
    with pytest.raises(ConnectomeError, match="recruit"):
        SpikingNetwork(c, recruit=("nowhere",))
    with pytest.raises(ConnectomeError, match="record"):
        SpikingNetwork(c)({"in": spikes(1, 1)}, record=("out",))


def test_buffers_and_matrices_begin_with_a_cache_line() -> None:
    layout = lay_out(select(benchmark_training.recurrent(64, 0.02)), np.float32, 10.0)
    run, buffers = ForwardPass(2, STEPS, layout, layout.real, keep=True), scratch(layout, STEPS)
    for array in (run.weight, run.tape.slope, buffers.ring, buffers.back, buffers.state, buffers.panel):
        assert array.ctypes.data % 64 == 0
    dense = layout.net.bundles[layout.net.bundles["forward"] == DENSE]
    assert dense["matrix"].any()  # behind sparse edges
    assert not (4 * dense["matrix"] % 64).any()


def test_inside_a_component_a_matrix_that_no_cache_holds_must_be_denser(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(density: float) -> int:
        bundles = lay_out(select(benchmark_training.recurrent(64, density)), np.float32, 10.0).net.bundles
        return int(bundles["forward"][(bundles["source"] == 0) & (bundles["target"] == 0)].max())

    assert forward(0.1) == DENSE
    monkeypatch.setattr("connectome.learning.bundles._CACHED_PLACES", 0)
    assert forward(0.1) == SPARSE
    assert forward(0.2) == DENSE
