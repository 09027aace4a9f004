"""What goes into a network: currents, gains, masks, clamps, states, sensors that learn, and sets that are blocked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from connectome import Connectome, ConnectomeError, EdgeKey, NeuronParameters, Region
from connectome.graph.flat import Engine, flatten
from connectome.learning.network import BatchActivity, SpikingNetwork
from connectome.simulate.runs import Stimulus, run
from tests.reference import dense_autograd
from tests.test_learning import STEPS, engine, network, spikes

__all__ = ["engine"]
A_B = EdgeKey("a", "long_range", "b")


def nets(c: Connectome, **options: Any) -> tuple[SpikingNetwork, SpikingNetwork]:
    """One of each engine, in float64."""
    return (
        SpikingNetwork(c, dtype=torch.float64, **options),
        SpikingNetwork(c, engine="torch", dtype=torch.float64, **options),
    )


def loss_of(activity: BatchActivity) -> Tensor:
    """Uses every step of both effectors, and the recorded spikes."""
    recorded = torch.cat(list(activity.spikes.values()), -1)
    steps = recorded.shape[1]
    ramp = torch.linspace(0.5, 1.5, steps, dtype=recorded.dtype)[None, :, None]
    potential = torch.cat(list(activity.potential.values()), -1)
    return ((potential * ramp).mean(1) ** 2).sum() / 100 + (recorded * ramp).sum(1).pow(2).mean()


def assert_same(a: BatchActivity, b: BatchActivity, *, exactly: bool = True) -> None:
    for name, u in a.potential.items():
        assert torch.equal(u, b.potential[name]) if exactly else torch.allclose(u, b.potential[name], 0, 1e-9)
    assert all(torch.equal(s, b.spikes[name]) for name, s in a.spikes.items())
    assert all((n == b.counts[name]).all() for name, n in a.counts.items())
    assert a.operations == b.operations


def both(
    c: Connectome,
    given_spikes: Tensor,
    make: Callable[[], dict[str, Any]],
    leaves: Callable[[dict[str, Any]], list[Tensor]],
    **options: Any,
) -> None:
    """Both engines do the same with some input, and give the same gradients of it and of the weights."""
    found = []
    activities = []
    for net in nets(c, **options):
        extra = make()
        activity = net({"in": given_spikes}, ("a", "b", "c"), **extra)
        wanted = [*leaves(extra), *net.parameters()]
        gradient = torch.autograd.grad(loss_of(activity), wanted, allow_unused=True)
        found.append([g if g is not None else torch.zeros_like(w) for g, w in zip(gradient, wanted, strict=True)])
        activities.append(activity)
    assert_same(*activities, exactly=False)
    assert sum(int(s.sum()) for s in activities[0].spikes.values()) > 0
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9 * float(b.norm() + 1))
    assert all(float(g.abs().max()) > 0 for g in found[0][: len(leaves(make()))])


# Currents


@pytest.mark.parametrize("batch", [1, 20])
@pytest.mark.parametrize("tau_in", [2.0, 5.0])
def test_the_gradient_of_a_current_is_dense_autograds(batch: int, tau_in: float) -> None:
    """On both engines, in float64 and float32, beside that of the weights."""
    c, given_spikes = network(3, tau_in), spikes(4, batch)
    flat = flatten(c)
    rng = np.random.default_rng(0)
    drive = {n: torch.tensor(rng.normal(100, 300, (batch, STEPS, c.regions[n].size))) for n in ("a", "arm")}
    for dtype, bound in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        for e in ("numba", "torch"):
            net = SpikingNetwork(c, engine=e, dtype=dtype, surrogate_width_mv=12.0)
            mine = {n: x.to(dtype).requires_grad_() for n, x in drive.items()}
            activity = net({"in": given_spikes}, ("a", "b", "c"), current=mine)
            found = torch.autograd.grad(loss_of(activity), [*mine.values(), *net.parameters()])
            forced = torch.zeros(STEPS, flat.n_neurons, batch, dtype=torch.float64)
            for name, s in activity.spikes.items():
                forced[:, flat.span[name]] = s.detach().permute(1, 2, 0).double()
            current = torch.zeros_like(forced)
            for name, x in drive.items():
                current[:, flat.span[name]] = x.permute(1, 2, 0)
            current.requires_grad_()
            weight = torch.tensor(flat.weight, dtype=torch.float64, requires_grad=True)
            u, s = dense_autograd(
                flat, weight, given_spikes.permute(1, 2, 0).double(), 12.0, current=current, forced=forced
            )
            expected = BatchActivity(
                {n: u[:, flat.span[n]].permute(2, 0, 1) for n in activity.potential},
                {n: s[:, flat.span[n]].permute(2, 0, 1) for n in activity.spikes}, {}, 0,
            )  # fmt: skip
            g_current, g_weight = torch.autograd.grad(loss_of(expected), [current, weight])
            wanted = [g_current[:, flat.span[n]].permute(2, 0, 1) for n in drive]
            for a, b in zip(found, wanted, strict=False):
                assert float(b.norm()) > 0
                assert float((a.double() - b).norm() / b.norm()) <= bound
            by_set = torch.empty_like(g_weight)
            by_set[torch.from_numpy(flat.order)] = g_weight
            flat_found = torch.cat([g.double() for g in found[len(drive) :]])
            assert float((flat_found - by_set).norm() / by_set.norm()) <= bound


def test_a_current_is_the_simulators(engine: Engine) -> None:
    """A constant current is what run() drives a region with."""
    c = network(11)
    given_spikes = spikes(12, 3)
    net = SpikingNetwork(c, engine=engine, dtype=torch.float64)
    activity = net({"in": given_spikes}, ("a", "b"), current={"a": torch.tensor(150.0)})
    assert_same(activity, net({"in": given_spikes}, ("a", "b"), current={"a": torch.full((3, STEPS, 12), 150.0)}))
    step, neuron = np.nonzero(given_spikes[1].numpy())
    stimulus = Stimulus(spikes={"in": ((step + 1.0), neuron)}, current_pa={"a": 150.0})
    result = run(c, float(STEPS), stimulus, dtype="float64")
    for name in ("a", "b"):
        mine = result.region.values[result.spike_region.values] == name
        steps = np.rint(result.spike_time_ms.values[mine]).astype(int) - 1
        expected = np.zeros((STEPS, 12))
        expected[steps, result.spike_neuron.values[mine]] = 1
        assert (activity.spikes[name][1].detach().numpy() == expected).all()


def test_a_current_alone_says_how_long_a_run_is(engine: Engine) -> None:
    net = SpikingNetwork(network(1), engine=engine)
    activity = net({}, ("a",), current={"a": torch.full((2, 9, 12), 900.0)})
    assert activity.spikes["a"].shape == (2, 9, 12)
    assert activity.spikes["a"].sum() > 0


# Gains, masks, clamps


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6), batch=st.sampled_from([1, 17]), tau_in=st.sampled_from([2.0, 5.0]),
    of_sample=st.booleans(), density=st.sampled_from([None, 1.0]),
)  # fmt: skip
def test_engines_agree_on_gains(seed: int, batch: int, tau_in: float, of_sample: bool, density: float | None) -> None:
    c = network(seed % 1000, tau_in, density=density)
    shape = (batch, 12) if of_sample else (12,)
    values = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 0.5

    def make() -> dict[str, Any]:
        return {"gain": {"a": values.clone().requires_grad_(), "out": torch.full((3,), 1.5, dtype=torch.float64)}}

    both(c, spikes(seed, batch), make, lambda extra: [extra["gain"]["a"]])


def test_a_gain_of_each_sample_is_the_gain_of_all(engine: Engine) -> None:
    """Up to rounding; a gain of one changes no bit."""
    net = SpikingNetwork(network(3, 5.0), engine=engine, dtype=torch.float64)
    x, g = {"in": spikes(1, 18)}, torch.rand(12, dtype=torch.float64) + 0.5
    same = net(x, ("a", "b"), gain={"b": g.expand(18, 12)})
    assert_same(net(x, ("a", "b"), gain={"b": g}), same, exactly=False)
    assert_same(net(x, ("a", "b")), net(x, ("a", "b"), gain={"b": torch.ones(18, 12)}))
    one, two = (
        torch.autograd.grad(loss_of(net(x, ("a", "b"), gain={"b": y})), list(net.parameters()))
        for y in (g, g.expand(18, 12))
    )
    for p, q in zip(one, two, strict=True):
        torch.testing.assert_close(p, q, rtol=1e-8, atol=1e-9)


def test_a_gain_is_a_threshold(engine: Engine) -> None:
    """Twice the distance to the threshold is half the gain, spike for spike (no constant current, reset to rest)."""
    low = NeuronParameters(tau_m_ms=8.0)
    high = NeuronParameters(tau_m_ms=8.0, v_th_mv=-40.0)
    c = network(5)

    def of(neuron: NeuronParameters) -> Connectome:
        regions = [
            Region(r.name, r.size, r.role, neuron if r.name in ("a", "b") else r.neuron) for r in c.regions.values()
        ]
        return Connectome.of(regions, c.edges.values(), dt_ms=1.0)

    x = {"in": spikes(6, 20)}
    expected = SpikingNetwork(of(high), engine=engine, dtype=torch.float64)(x, ("a", "b"))
    half = {name: torch.full((12,), 0.5) for name in ("a", "b")}
    found = SpikingNetwork(of(low), engine=engine, dtype=torch.float64)(x, ("a", "b"), gain=half)
    assert expected.spikes["b"].sum() > 100
    assert all(torch.equal(expected.spikes[n], found.spikes[n]) for n in ("a", "b"))


@pytest.mark.parametrize("tau_in", [2.0, 5.0])
def test_clamping_to_the_same_spikes_changes_nothing(engine: Engine, tau_in: float) -> None:
    """Bit for bit; and what is replaced passes no gradient back."""
    net = SpikingNetwork(network(7, tau_in), engine=engine, dtype=torch.float64)
    x = {"in": spikes(8, 21)}
    free = net(x, ("a", "b", "c"))
    who = torch.rand(21, 12, generator=torch.Generator().manual_seed(1)) < 0.5
    for mask in (torch.ones(12), who, who[:, None].expand(21, STEPS, 12)):
        held = net(x, ("a", "b", "c"), clamp={"a": (mask, free.spikes["a"].detach())})
        assert_same(free, held)
    held = net(x, ("a", "b", "c"), clamp={"a": (torch.ones(12), free.spikes["a"])})
    gradient = torch.autograd.grad(loss_of(held), list(net.parameters()), allow_unused=True)
    size = {key: 0.0 if g is None else float(g.abs().sum()) for key, g in zip(net.weight, gradient, strict=True)}
    assert size[EdgeKey("a", "local", "a")] == size[EdgeKey("in", "afferent", "a")] == 0
    assert size[A_B] > 0


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), silent=st.booleans(), tau_in=st.sampled_from([2.0, 5.0]))
def test_engines_agree_on_clamps_and_masks(seed: int, silent: bool, tau_in: float) -> None:
    """Neurons that are made to fire when they please, refractory or not; neurons that take no part; released ones."""
    c = network(seed % 1000, tau_in)
    rng = torch.Generator().manual_seed(seed)
    played = None if silent else torch.rand(19, STEPS, 12, generator=rng) < 0.3
    who = torch.rand(19, STEPS, 12, generator=rng) < 0.5
    out = (torch.rand(19, 12, generator=rng) < 0.7).float()
    both(c, spikes(seed, 19), lambda: {"clamp": {"b": (who, played)}, "mask": {"a": out, "b": out[0]}}, lambda _: [])
    activity = SpikingNetwork(c)({"in": spikes(seed, 19)}, ("a", "b"), clamp={"b": (who, played)}, mask={"a": out})
    assert float((activity.spikes["a"].detach() * (1 - out)[:, None]).sum()) == 0
    assert torch.equal(
        activity.spikes["b"][who], torch.zeros(int(who.sum())) if played is None else played[who].float()
    )


# Sensors that learn


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6), batch=st.sampled_from([1, 17]), tau_in=st.sampled_from([2.0, 5.0]),
    density=st.sampled_from([None, 1.0]), blocked=st.booleans(), gained=st.booleans(),
)  # fmt: skip
def test_the_gradient_of_a_sensors_spikes(
    seed: int, batch: int, tau_in: float, density: float | None, blocked: bool, gained: bool
) -> None:
    """The torch engine's, whose spikes may be any real numbers: its own gradient is autograd's."""
    c = network(seed % 1000, tau_in, density=density)
    options: dict[str, Any] = {"block": {EdgeKey("a", "local", "a")}} if blocked else {}
    if gained:
        options["gain"] = {"a": torch.rand(batch, 12, dtype=torch.float64) + 0.5}
    found = []
    for net in nets(c):
        x = spikes(seed, batch).double().requires_grad_()
        found.append(torch.autograd.grad(loss_of(net({"in": x}, ("a", "b"), **options)), x)[0])
    assert float(found[0].norm()) > 0
    torch.testing.assert_close(found[0], found[1], rtol=1e-7, atol=1e-9 * float(found[1].abs().max()))
    for net in nets(c):
        x = spikes(seed, batch).double().requires_grad_()
        activity = net({"in": x}, ("a", "b"), block={EdgeKey("in", "afferent", "a")})
        assert not torch.autograd.grad(loss_of(activity), x)[0].any()


def test_a_module_before_the_sensor_learns(engine: Engine) -> None:
    """Its gradient, through a step with a surrogate, is that of finite differences of the line that the sensor sees."""
    c = network(9)
    net = SpikingNetwork(c, engine=engine, dtype=torch.float32)
    x = spikes(2, 4).float()
    scale = torch.ones(6, requires_grad=True)
    loss_of(net({"in": x * scale}, ("a",))).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    leaf = x.clone().requires_grad_()
    loss_of(net({"in": leaf}, ("a",))).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert scale.grad is not None
    assert leaf.grad is not None
    torch.testing.assert_close(scale.grad, (leaf.grad * x).sum((0, 1)))
    assert float(scale.grad.norm()) > 0


# States


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10**6), tau_in=st.sampled_from([2.0, 5.0]), delay=st.sampled_from([1, 4, 40]),
    cuts=st.lists(st.integers(1, 99), min_size=1, max_size=3, unique=True), density=st.sampled_from([None, 1.0]),
    double=st.booleans(),
)  # fmt: skip
def test_several_runs_are_one(
    seed: int, tau_in: float, delay: int, cuts: list[int], density: float | None, double: bool
) -> None:
    """Bit for bit, wherever it is cut: spikes on their way, and sums in the order of one run."""
    c = network(seed % 1000, tau_in, delay, density=density)
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.random((3, 100, 6)) < 0.3)
    drive = torch.from_numpy(rng.normal(50, 200, (3, 100, 12)).astype(np.float32))
    record = ("a", "b", "c")
    for e in ("numba", "torch"):
        net = SpikingNetwork(c, engine=e, dtype=torch.float64 if double else torch.float32)
        with torch.no_grad():
            whole = net({"in": x}, record, current={"b": drive})
            parts, state = [], None
            for first, last in zip([0, *sorted(cuts)], [*sorted(cuts), 100], strict=True):
                parts.append(
                    net(
                        {"in": x[:, first:last]}, record, current={"b": drive[:, first:last]}, state=state,
                        return_state=True,
                    )
                )  # fmt: skip
                state = parts[-1].state
        for name, u in whole.potential.items():
            assert torch.equal(u, torch.cat([p.potential[name] for p in parts], 1))
        for name, s in whole.spikes.items():
            assert torch.equal(s, torch.cat([p.spikes[name] for p in parts], 1))
        assert all((n == sum(p.counts[name] for p in parts)).all() for name, n in whole.counts.items())


@pytest.mark.parametrize("tau_in", [2.0, 5.0])
@pytest.mark.parametrize("cut", [5, 40])
def test_engines_agree_on_what_follows_a_state(tau_in: float, cut: int) -> None:
    """Truncated gradients, weights of spikes on their way included; and either engine goes on from the other's."""
    c = network(21, tau_in, 6)
    x = torch.from_numpy(np.random.default_rng(1).random((18, 80, 6)) < 0.3)
    found = []
    for first, second in ((0, 0), (1, 1), (0, 1), (1, 0)):
        of = nets(c)
        state = of[first]({"in": x[:, :cut]}, return_state=True).state
        assert state is not None
        activity = of[second]({"in": x[:, cut:]}, ("a", "b"), state=state.detach())
        found.append((activity, torch.cat(torch.autograd.grad(loss_of(activity), list(of[second].parameters())[:6]))))
    for activity, gradient in found[1:]:
        assert_same(found[0][0], activity, exactly=False)
        torch.testing.assert_close(gradient, found[0][1], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("tau_in", "density", "cut"), [(2.0, None, 20), (5.0, 1.0, 33), (2.0, 0.2, 5)])
@pytest.mark.parametrize("block", [[], [A_B]])
def test_gradients_go_through_a_state(
    engine: Engine, tau_in: float, density: float | None, cut: int, block: list[EdgeKey]
) -> None:
    """Those of two runs are those of one."""
    net = SpikingNetwork(network(22, tau_in, density=density), engine=engine, dtype=torch.float64, block=block)
    x = {"in": spikes(3, 18)}
    weights = list(net.parameters())
    whole = torch.autograd.grad(loss_of(net(x, ("a", "b"))), weights, allow_unused=True)
    first = net({"in": x["in"][:, :cut]}, ("a", "b"), return_state=True)
    second = net({"in": x["in"][:, cut:]}, ("a", "b"), state=first.state)
    joined = BatchActivity(
        {n: torch.cat([u, second.potential[n]], 1) for n, u in first.potential.items()},
        {n: torch.cat([s, second.spikes[n]], 1) for n, s in first.spikes.items()}, {}, 0,
    )  # fmt: skip
    parts = torch.autograd.grad(loss_of(joined), weights, allow_unused=True)
    for a, b in zip(whole, parts, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert first.state is not None
    assert first.state.requires_grad


def test_a_state_of_others_is_refused(engine: Engine) -> None:
    net = SpikingNetwork(network(1), engine=engine)
    state = net({"in": spikes(1, 3)}, return_state=True).state
    with pytest.raises(ConnectomeError, match=r"^state\.v\[.*must be of 2 samples and .*found \(3, "):
        net({"in": spikes(1, 2)}, state=state)
    with pytest.raises(ConnectomeError, match=r"^state\.v must be of \['a'\], which take part; found"):
        SpikingNetwork(network(1), recruit=("in", "a"), engine=engine)({"in": spikes(1, 3)}, state=state)
    with pytest.raises(ConnectomeError, match=r"^state must be a NetworkState; found int. Ask for it"):
        net({"in": spikes(1, 3)}, state=3)


# Blocked edge sets


@pytest.mark.parametrize(("tau_in", "density"), [(2.0, 1.0), (2.0, 0.2), (5.0, None)])
def test_blocked_everywhere_a_set_learns_as_one_layer(engine: Engine, tau_in: float, density: float | None) -> None:
    """Its gradient is that of a network of this set alone, with the recorded spikes of its source as a sensor's."""
    c = network(15, tau_in, density=density)
    net = SpikingNetwork(c, engine=engine, dtype=torch.float64)
    x = spikes(16, 3)
    activity = net({"in": x}, ("a", "b", "c"), block=set(net.weight))
    found = dict(zip(net.weight, torch.autograd.grad(loss_of(activity), list(net.parameters())), strict=True))
    flat = flatten(c)
    forced = torch.zeros(STEPS, flat.n_neurons, 3, dtype=torch.float64)
    for name, s in activity.spikes.items():
        forced[:, flat.span[name]] = s.detach().permute(1, 2, 0)
    forced[:, flat.span["in"]] = x.permute(1, 2, 0).double()
    order, used = torch.from_numpy(flat.order), 0
    for i, key in enumerate(flat.keys):
        # A network in which every other set delivers what it did, as a constant; its source's spikes too.
        mine = (order >= flat.set_start[i]) & (order < flat.set_start[i + 1])
        weight = torch.tensor(flat.weight, dtype=torch.float64, requires_grad=True)
        u, s = one_layer(c, key, weight, forced, net.surrogate_width_mv)
        expected = BatchActivity(
            {n: u[:, flat.span[n]].permute(2, 0, 1) for n in activity.potential},
            {n: s[:, flat.span[n]].permute(2, 0, 1) for n in activity.spikes}, {}, 0,
        )  # fmt: skip
        gradient = torch.autograd.grad(loss_of(expected), weight)[0][mine]
        wanted = torch.empty_like(gradient)
        wanted[order[mine] - int(flat.set_start[i])] = gradient
        assert float((found[key] - wanted).norm()) <= 1e-6 * float(wanted.norm())
        used += bool(wanted.any())
    assert used >= 4


def one_layer(c: Connectome, key: EdgeKey, weight: Tensor, forced: Tensor, width: float) -> tuple[Tensor, Tensor]:
    """Potentials and spikes (T, N, B) in which nothing but membranes carries a gradient from step to step."""
    flat = flatten(c)
    source = torch.from_numpy(np.repeat(np.arange(flat.n_neurons), np.diff(flat.indptr)))
    target, steps = torch.from_numpy(flat.target.astype(np.int64)), forced.shape[0]
    p = {k: torch.as_tensor(x).double()[:, None] for k, x in flat.dynamics._asdict().items()}
    membrane = torch.from_numpy(~flat.is_sensor)[:, None]
    v = i_ex = i_in = wait = torch.zeros(forced.shape[1:], dtype=torch.float64)
    us, ss = [], []
    for t in range(steps):
        u = p["p22"] * v + p["p21_ex"] * i_ex + p["p21_in"] * i_in + p["p20"] * p["i_e"]
        u = torch.where(wait > 0, p["v_reset"].expand_as(u), u) * membrane
        arrived = [torch.zeros_like(u), torch.zeros_like(u)]
        for sign in (0, 1):
            for d in np.unique(flat.delay):
                mine = torch.from_numpy(flat.delay == d) & ((weight.detach() < 0) == bool(sign))
                if t >= d:
                    arrived[sign] = arrived[sign].index_add(
                        0, target[mine], weight[mine][:, None] * forced[t - int(d)][source[mine]]
                    )
        i_ex, i_in = p["p11_ex"] * i_ex + arrived[0], p["p11_in"] * i_in + arrived[1]
        slope = torch.relu(1 - (u - p["theta"]).detach().abs() / width) / width
        fired = forced[t] * membrane
        ss.append(fired + slope * (u - u.detach()))
        v = u * (1 - fired) + p["v_reset"] * fired
        wait = torch.where(fired > 0, p["ref_steps"], (wait - 1).relu())
        us.append(u)
    return torch.stack(us), torch.stack(ss)


@pytest.mark.parametrize(("tau_in", "density"), [(2.0, 0.3), (5.0, 1.0)])
def test_a_blocked_set_is_detach(engine: Engine, tau_in: float, density: float) -> None:
    """As if its target heard the detached spikes of another network that ends with its source."""
    given = network(21, tau_in, density=density)
    gone = EdgeKey("b", "long_range", "a")
    c = replace(given, edges={key: e for key, e in given.edges.items() if key != gone})
    heard = {
        key: replace(e, key=EdgeKey("a", "afferent", "b")) if key == A_B else e
        for key, e in c.edges.items() if key.source in "abc" and key.target != "a"
    }  # fmt: skip
    above = Connectome.of(
        [Region("a", 12, "sensor") if r.name == "a" else r for r in c.regions.values() if r.name != "in"],
        heard.values(), dt_ms=1.0,
    )  # fmt: skip
    x = {"in": spikes(22, 18)}
    options: dict[str, Any] = {"engine": engine, "dtype": torch.float64}
    whole = SpikingNetwork(c, block=[A_B], **options)
    first, second = SpikingNetwork(c, recruit=("in", "a"), **options), SpikingNetwork(above, **options)
    found = torch.autograd.grad(loss_of(whole(x, ("a", "b", "c"))), [whole.weight[key] for key in c.edges])
    below = first(x, ("a",))
    then = second({"a": below.spikes["a"].detach()}, ("b", "c"))
    loss = loss_of(then._replace(spikes={**below.spikes, **then.spikes}))
    own = [first.weight[key] if key in first.weight else second.weight[heard[key].key] for key in c.edges]
    for a, b in zip(found, torch.autograd.grad(loss, own), strict=True):
        assert float(b.norm()) > 0
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(b.norm()))
    through = torch.autograd.grad(loss_of(whole(x, ("b", "c"))), [whole.weight[EdgeKey("in", "afferent", "a")]])
    assert not through[0].any()


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 10**6), tau_in=st.sampled_from([2.0, 5.0]), density=st.sampled_from([None, 0.2, 1.0]),
    chosen=st.lists(st.integers(0, 6), min_size=1, max_size=4, unique=True),
)  # fmt: skip
def test_engines_agree_on_blocked_sets(seed: int, tau_in: float, density: float | None, chosen: list[int]) -> None:
    c = network(seed % 1000, tau_in, density=density)
    blocked = {list(c.edges)[i] for i in chosen}
    both(c, spikes(seed, 18), lambda: {"block": blocked}, lambda _: [])
    net = SpikingNetwork(c, block=blocked)
    assert_same(net({"in": spikes(1, 2)}), net({"in": spikes(1, 2)}, block=()))


def test_blocked_for_good_is_blocked_in_each_call(engine: Engine) -> None:
    c, x = network(3), {"in": spikes(4, 9)}
    one = SpikingNetwork(c, engine=engine, block=[A_B])
    two = SpikingNetwork(c, engine=engine)
    g = [
        torch.autograd.grad(loss_of(a), list(n.parameters()))
        for n, a in ((one, one(x, ("a", "b"))), (two, two(x, ("a", "b"), block=[A_B])))
    ]
    assert all(torch.equal(a, b) for a, b in zip(*g, strict=True))
    other = torch.autograd.grad(loss_of(two(x, ("a", "b"))), list(two.parameters()))
    assert not all(torch.equal(a, b) for a, b in zip(other, g[0], strict=True))
    with pytest.raises(ConnectomeError, match=r"^block must name edge sets that take part; found .*nowhere"):
        SpikingNetwork(c, block=[EdgeKey("a", "long_range", "nowhere")])


# What does not fit


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"current": {"nowhere": torch.ones(1)}}, r"^current must name regions or effectors of .*; found 'nowhere'"),
        ({"current": {"in": torch.ones(1)}}, r"^current must name regions or effectors"),
        ({"current": {"a": torch.ones(2, 3, 12)}}, r"^current\[a\] must broadcast to \(batch, steps"),
        ({"current": {"a": np.ones(12)}}, r"^current\[a\] must be a torch tensor; found ndarray. Use torch.as_tensor"),
        ({"current": torch.ones(2)}, r"^current must be a mapping of names to tensors; found Tensor"),
        ({"gain": {"a": torch.ones(11)}}, r"^gain\[a\] must broadcast to \(neurons,\), \(12,\); found \(11,\)"),
        ({"gain": {"a": torch.ones(3, 12)}}, r"^gain\[a\] must broadcast to \(batch, neurons\), .*; found \(3, 12\)"),
        ({"gain": {"a": -torch.ones(12)}}, r"^gain\[a\] must be 0 or more; found -1"),
        ({"mask": {"out": torch.ones(3)}}, r"^mask must name regions of neurons"),
        ({"mask": {"a": torch.full((12,), 0.5)}}, r"^mask\[a\] must be 0 or 1; found 0.5"),
        ({"clamp": {"a": torch.ones(12)}}, r"^clamp\[a\] must be \(mask, spikes\).*found Tensor"),
        ({"clamp": {"a": (torch.ones(12), torch.ones(2, 3, 12))}}, r"^clamp\[a\].spikes must broadcast to"),
        ({"clamp": {"a": (torch.ones(5), None)}}, r"^clamp\[a\].mask must broadcast to"),
    ],
)  # fmt: skip
def test_bad_input_is_named(options: dict[str, Any], message: str, engine: Engine) -> None:
    with pytest.raises(ConnectomeError, match=message) as error:
        SpikingNetwork(network(1), engine=engine)({"in": spikes(1, 2)}, **options)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given_spikes", "message"),
    [
        (np.ones((2, 3, 6)), r"^sensor_spikes must be a mapping of names to tensors; found ndarray"),
        ({"in": np.ones((2, 3, 6))}, r"^sensor_spikes\[in\] must be a torch tensor; found ndarray"),
        ({"in": torch.rand(2, 3, 6)}, r"^sensor_spikes\[in\] must be 0 or 1 where .*; found .*current="),
        ({"in": torch.ones(2, 3, 6, dtype=torch.complex64)}, r"^sensor_spikes\[in\] must be .*found torch.complex64"),
    ],
)  # fmt: skip
def test_bad_spikes_are_named(given_spikes: Any, message: str) -> None:
    with pytest.raises(ConnectomeError, match=message):
        SpikingNetwork(network(1))(given_spikes)
