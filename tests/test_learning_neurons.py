"""Neurons at learning: ALIF and leaky integrators event driven, every model in torch, parameters that learn."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from connectome import Connectome, ConnectomeError, EdgeSet, NeuronParameters, Region, load, run, save
from connectome.graph.flat import select
from connectome.learning.bundles import lay_out
from connectome.learning.network import BatchActivity, SpikingNetwork
from connectome.learning.neuron_parameters import parameter_values
from connectome.neurons import (
    AeifPscExp,
    Alif,
    Arrivals,
    IafCondExp,
    Izhikevich,
    LeakyIntegrator,
    NeuronModel,
    register,
)
from connectome.neurons.functions import mean_decay, ordered
from connectome.simulate import Stimulus
from tests.test_learning import STEPS, network, spikes
from tests.test_learning_inputs import assert_same, both, loss_of, nets


def with_alif(c: Connectome, **parameters: float) -> Connectome:
    """Regions a and c are ALIF, b as it was; the effector arm is a leaky integrator."""
    regions = dict(c.regions)
    for name, tau, beta in (("a", 30.0, 3.0), ("c", 5.0, 1.0)):
        given = {**c.regions[name].neuron.parameters(), "adapt_tau_ms": tau, "adapt_beta_mv": beta, **parameters}
        regions[name] = replace(c.regions[name], neuron=Alif(**given))
    arm = c.regions["arm"].neuron
    leaky = {f.name: getattr(arm, f.name) for f in fields(LeakyIntegrator)}
    regions["arm"] = replace(c.regions["arm"], neuron=LeakyIntegrator(**leaky))
    return replace(c, regions=regions)


# ALIF, event driven


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6), batch=st.sampled_from([1, 5, 33]), tau_in=st.sampled_from([2.0, 5.0]),
    max_delay=st.sampled_from([1, 4]), density=st.sampled_from([None, 0.5, 1.0]), width=st.sampled_from([12.0, 30.0]),
)  # fmt: skip
def test_alif_learns_event_driven_as_in_torch(
    seed: int, batch: int, tau_in: float, max_delay: int, density: float | None, width: float
) -> None:
    """Mixed with other models; a support so wide that the hold at the reset lies inside it, too."""
    c = with_alif(network(seed, tau_in, max_delay, density=density))
    both(c, spikes(seed, batch), dict, lambda _: [], surrogate_width_mv=width)


def test_gradients_pass_through_the_adaptation() -> None:
    """Without that path they would be others by far."""

    class Cut(Alif):
        model: ClassVar[str] = "cut_alif"

        def step(self, constants: Any, state: Any, arrivals: Any, threshold: Any) -> Any:
            return super().step(constants, {**state, "a": state["a"].detach()}, arrivals, threshold)

    register(dataclass(frozen=True, eq=False, repr=False)(Cut))
    c = with_alif(network(3))
    neuron = c.regions["a"].neuron
    cut = replace(c, regions={**c.regions, "a": replace(c.regions["a"], neuron=Cut(**neuron.parameters()))})
    found = []
    for net in (*nets(c), nets_of_torch(cut)):
        activity = net({"in": spikes(4, 20)}, ("a", "b", "c"))
        found.append(torch.cat(torch.autograd.grad(loss_of(activity), list(net.parameters()))))
    ours, whole, without = found
    assert float((ours - whole).norm()) < 1e-12 * float(whole.norm())
    assert float((without - whole).norm()) > 0.01 * float(whole.norm())


def nets_of_torch(c: Connectome, **options: Any) -> SpikingNetwork:
    return SpikingNetwork(c, engine="torch", dtype=torch.float64, **options)


def test_alif_in_float32_is_near_float64() -> None:
    c, found = with_alif(network(3)), []
    for dtype in (torch.float32, torch.float64):
        net = SpikingNetwork(c, dtype=dtype)
        activity = net({"in": spikes(4, 20)}, ("a", "b", "c"))
        found.append((activity, torch.autograd.grad(loss_of(activity), list(net.parameters()))))
    (a, g), (b, h) = found
    assert all((a.counts[name] == b.counts[name]).all() for name in a.counts)
    for x, y in zip(g, h, strict=True):
        assert float((x.double() - y).norm()) <= 1e-5 * float(y.norm())


def test_alif_on_any_number_of_threads() -> None:
    c, found = with_alif(network(5)), []
    for threads in (1, 2):
        net = SpikingNetwork(c, threads=threads)
        activity = net({"in": spikes(4, 50)}, ("a",))
        found.append([*activity.potential.values(), *torch.autograd.grad(loss_of(activity), list(net.parameters()))])
    assert all(torch.equal(x, y) for x, y in zip(*found, strict=True))


def test_networks_without_alif_have_no_record_of_it() -> None:
    """So the kernels are compiled without it."""
    assert lay_out(select(network(1)), np.float32, 10.0).adaptation is None
    rho, beta = lay_out(select(with_alif(network(1))), np.float64, 10.0).adaptation  # type: ignore[misc]
    assert sorted(set(beta.tolist())) == [0, 1, 3]
    assert sorted(set(rho.tolist())) == pytest.approx([0, math.exp(-1 / 5), math.exp(-1 / 30)])


@pytest.mark.parametrize("beta", [0.0, 3.0])
def test_alif_fires_as_in_a_run(beta: float) -> None:
    """And with beta = 0 as ``iaf_psc_exp``, to the bit."""
    plain = network(7)
    c, given_spikes = with_alif(plain, adapt_beta_mv=beta), spikes(2, 3)
    activity = SpikingNetwork(c, dtype=torch.float64)({"in": given_spikes}, ("a", "b", "c"))
    step, neuron = np.nonzero(given_spikes[1].numpy())
    result = run(c, float(STEPS), Stimulus(spikes={"in": (step + 1.0, neuron)}), dtype="float64")
    for name in ("a", "b", "c"):
        mine = result.region.values[result.spike_region.values] == name
        expected = np.zeros((STEPS, c.regions[name].size))
        at = np.rint(result.spike_time_ms.values[mine]).astype(int) - 1
        expected[at, result.spike_neuron.values[mine]] = 1
        assert (activity.spikes[name][1].detach().numpy() == expected).all()
        assert expected.sum() > 0
    if beta == 0:
        same = SpikingNetwork(plain, dtype=torch.float64)({"in": given_spikes}, ("a", "b", "c"))
        assert all(torch.equal(activity.spikes[name], same.spikes[name]) for name in ("a", "b", "c"))
        assert torch.equal(activity.potential["out"], same.potential["out"])


@pytest.mark.parametrize("tau_in", [2.0, 5.0])
def test_alif_with_currents_gains_and_clamps(tau_in: float) -> None:
    """The same spikes and gradients on both engines; a neuron that is made to fire raises its threshold as well."""
    c, generator = with_alif(network(9, tau_in)), torch.Generator().manual_seed(1)
    who = torch.rand(12, generator=generator) < 0.3
    played = torch.rand(20, STEPS, 12, generator=generator) < 0.2

    def make() -> dict[str, Any]:
        seeded = torch.Generator().manual_seed(2)
        return {
            "current": {"a": (200 * torch.rand(20, STEPS, 12, generator=seeded)).double().requires_grad_()},
            "gain": {"a": (0.5 + torch.rand(20, 12, generator=seeded)).double().requires_grad_()},
            "clamp": {"a": (who, played)},
            "mask": {"c": torch.tensor([1, 1, 0, 1, 1])},
        }

    both(c, spikes(4, 20), make, lambda extra: [extra["current"]["a"], extra["gain"]["a"]])


# States


@pytest.mark.parametrize("cut", [1, 20, 33])
def test_alif_goes_on_from_a_state(cut: int) -> None:
    """Two runs are one, to the bit event driven; and either engine goes on from the other's."""
    c, x = with_alif(network(3)), spikes(4, 20)
    event, message = nets(c)
    whole = event({"in": x}, ("a", "b", "c"))
    states = {}
    for name, net in (("numba", event), ("torch", message)):
        states[name] = net({"in": x[:, :cut]}, return_state=True).state
        assert states[name] is not None
    for name, state in states.items():
        for other in (event, message):
            assert state is not None
            then = other({"in": x[:, cut:]}, ("a", "b", "c"), state=state.detach())
            for region in ("a", "b", "c"):
                assert torch.equal(then.spikes[region], whole.spikes[region][:, cut:])
            exact = name == "numba" and other is event
            for effector, u in then.potential.items():
                torch.testing.assert_close(u, whole.potential[effector][:, cut:], rtol=0, atol=0 if exact else 1e-9)
    ours, theirs = states["numba"], states["torch"]
    assert ours is not None
    assert theirs is not None
    for region in ("a", "c"):
        torch.testing.assert_close(ours.models[region]["a"], theirs.models[region]["a"].detach())
        assert torch.equal(ours.models[region]["refractory"], theirs.models[region]["refractory"].int())
        assert cut == 1 or float(ours.models[region]["a"].max()) > 0.5


def test_a_states_gradient_goes_on_through_the_adaptation() -> None:
    """On the torch engine: that of two runs is that of one."""
    c, x = with_alif(network(3)), spikes(4, 5)
    net = nets_of_torch(c)
    whole = torch.autograd.grad(loss_of(net({"in": x}, ("a", "b", "c"))), list(net.parameters()))
    first = net({"in": x[:, :17]}, ("a", "b", "c"), return_state=True)
    then = net({"in": x[:, 17:]}, ("a", "b", "c"), state=first.state)
    parts = [
        {n: torch.cat([p[n], q[n]], 1) for n in p}
        for p, q in ((first.potential, then.potential), (first.spikes, then.spikes))
    ]
    joined = torch.autograd.grad(loss_of(BatchActivity(parts[0], parts[1], {}, 0)), list(net.parameters()))
    for a, b in zip(whole, joined, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert first.state is not None
    assert first.state.requires_grad
    assert not first.state.detach().requires_grad


@pytest.mark.parametrize("learn", [{}, {"a": ("tau_m_ms",)}])
def test_no_gradient_goes_through_a_state_that_is_more_than_potentials_and_currents(learn: dict[str, Any]) -> None:
    """Of thresholds that rise and of parameters that learn none is known, so that none is given, and one is refused."""
    c, x = network(3) if learn else with_alif(network(3)), spikes(4, 5)
    net = SpikingNetwork(c, learn=learn)
    state = net({"in": x}, return_state=True).state
    assert state is not None
    assert not state.requires_grad
    v = {name: u.clone().requires_grad_() for name, u in state.v.items()}
    with pytest.raises(ConnectomeError, match=r"^state must carry no gradient on the engine 'numba' where.*state.det"):
        net({"in": x}, state=state._replace(v=v))


def test_a_state_of_other_models_is_refused() -> None:
    state = SpikingNetwork(network(3))({"in": spikes(4, 5)}, return_state=True).state
    with pytest.raises(ConnectomeError, match=r"state.models must be of .*'a'.*refractory"):
        SpikingNetwork(with_alif(network(3)))({"in": spikes(4, 5)}, state=state)


# Parameters that differ between neurons, event driven


def varied(c: Connectome, seed: int) -> Connectome:
    """Every parameter of every neuron is its own, refractory times of 0 to 3 steps among them."""
    rng, regions = np.random.default_rng(seed), dict(c.regions)
    for name, r in c.regions.items():
        own = {}
        for k, v in r.neuron.parameters().items() if r.role != "sensor" else ():
            if k == "t_ref_ms":
                own[k] = rng.integers(0, 4, r.size).astype(float)
            elif k.endswith("_pa") or (k.endswith("_mv") and k != "adapt_beta_mv"):
                own[k] = v + rng.normal(0, 1, r.size)
            else:
                own[k] = v * rng.uniform(0.7, 1.4, r.size)
        regions[name] = replace(r, neuron=replace(r.neuron, **own))
    return replace(c, regions=regions)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 10**6), batch=st.sampled_from([1, 33]), max_delay=st.sampled_from([1, 4]),
    learns=st.booleans(), width=st.sampled_from([12.0, 30.0]),
)  # fmt: skip
def test_neurons_of_their_own_learn_event_driven_as_in_torch(
    seed: int, batch: int, max_delay: int, learns: bool, width: float
) -> None:
    """The same spikes, potentials and gradients of weights, and of the neurons' parameters where they learn."""
    c = varied(with_alif(network(seed, 5.0, max_delay)), seed)
    learn = {n: able(r.neuron, r.role) for n, r in c.regions.items() if r.role != "sensor"} if learns else {}
    both(c, spikes(seed, batch), dict, lambda _: [], surrogate_width_mv=width, learn=learn)


@pytest.mark.parametrize("tau_in", [2.0, 5.0])
@pytest.mark.parametrize("names", [("tau_m_ms", "v_th_mv"), ("tau_syn_in_ms",), ("e_l_mv", "c_m_pf", "i_e_pa")])
def test_parameters_learn_beside_currents_gains_and_clamps(tau_in: float, names: tuple[str, ...]) -> None:
    """Of neurons that are alike at first, with one synaptic time constant, which may part, or two; and from a state."""
    c, generator = with_alif(network(9, tau_in)), torch.Generator().manual_seed(1)
    who = torch.rand(12, generator=generator) < 0.3
    played = torch.rand(20, STEPS, 12, generator=generator) < 0.2
    learn = {"a": names, "b": names, "arm": tuple(k for k in names if k not in ("v_th_mv", "e_l_mv"))}
    message = nets_of_torch(c)
    first = message({"in": spikes(5, 20)}, return_state=True).state
    assert first is not None

    def make() -> dict[str, Any]:
        seeded = torch.Generator().manual_seed(2)
        return {
            "current": {"a": (200 * torch.rand(20, STEPS, 12, generator=seeded)).double().requires_grad_()},
            "gain": {"a": (0.5 + torch.rand(20, 12, generator=seeded)).double().requires_grad_()},
            "clamp": {"a": (who, played)},
            "mask": {"c": torch.tensor([1, 1, 0, 1, 1])},
            "state": first.detach(),
        }

    both(c, spikes(4, 20), make, lambda extra: [extra["current"]["a"], extra["gain"]["a"]], learn=learn)


def test_gradients_of_parameters_in_float32_on_any_number_of_threads() -> None:
    """Near those of float64, and the same bits."""
    c, found = varied(with_alif(network(3)), 3), []
    learn = {n: able(c.regions[n].neuron) for n in ("a", "b")}
    for dtype, threads in ((torch.float32, 1), (torch.float32, 2), (torch.float64, 1)):
        net = SpikingNetwork(c, dtype=dtype, threads=threads, learn=learn)
        activity = net({"in": spikes(4, 50)}, ("a", "b", "c"))
        found.append((activity, torch.autograd.grad(loss_of(activity), list(net.parameters()))))
    (a, g), (_, same), (b, h) = found
    assert all((a.counts[name] == b.counts[name]).all() for name in a.counts)
    assert all(torch.equal(x, y) for x, y in zip(g, same, strict=True))
    for x, y in zip(g, h, strict=True):
        assert float((x.double() - y).norm()) <= 1e-5 * float(y.norm())


def test_neurons_of_their_own_go_on_from_a_state_and_fire_as_in_a_run() -> None:
    c, x = varied(with_alif(network(7)), 7), spikes(2, 3)
    net = SpikingNetwork(c, dtype=torch.float64)
    whole = net({"in": x}, ("a", "b", "c"))
    first = net({"in": x[:, :20]}, return_state=True)
    then = net({"in": x[:, 20:]}, ("a", "b", "c"), state=first.state)
    step, neuron = np.nonzero(x[1].numpy())
    result = run(c, float(STEPS), Stimulus(spikes={"in": (step + 1.0, neuron)}), dtype="float64")
    for name in ("a", "b", "c"):
        assert torch.equal(then.spikes[name], whole.spikes[name][:, 20:])
        mine = result.region.values[result.spike_region.values] == name
        expected = np.zeros((STEPS, c.regions[name].size))
        at = np.rint(result.spike_time_ms.values[mine]).astype(int) - 1
        expected[at, result.spike_neuron.values[mine]] = 1
        assert (whole.spikes[name][1].detach().numpy() == expected).all()
        assert expected.sum() > 0
    for effector, u in then.potential.items():
        assert torch.equal(u, whole.potential[effector][:, 20:])


def test_networks_of_neurons_alike_have_no_record_of_each() -> None:
    """So the kernels are compiled without it; one that differs is enough."""
    c = with_alif(network(1))
    assert lay_out(select(c), np.float32, 10.0).own is None
    one: Any = c.regions["b"].neuron
    b = replace(c.regions["b"], neuron=replace(one, v_th_mv=np.linspace(-60, -50, 12)))
    own = lay_out(select(replace(c, regions={**c.regions, "b": b})), np.float64, 10.0).own
    assert own is not None
    assert sorted(own["theta"][np.isfinite(own["theta"])])[-1] == 20


# Every model, and all of its parameters that can learn, against finite differences


class Relaxed:
    """A threshold whose finite differences are the surrogate gradient: the first pass is that of a triangle, and those
    after it give the same spikes, changed by the integral of the triangle between the distance then and now."""

    def __init__(self, width: float) -> None:
        self.width, self.seen, self.at = width, list[tuple[Tensor, Tensor]](), -1

    def __call__(self, distance: Tensor) -> Tensor:
        if self.at < 0:
            hard = (distance >= 0).double()
            self.seen.append((self._integral(distance), hard))
            return hard
        before, hard = self.seen[self.at]
        self.at += 1
        return hard + self._integral(distance) - before

    def _integral(self, distance: Tensor) -> Tensor:
        x = (distance / self.width).clamp(-1, 1)
        return torch.where(x < 0, (1 + x) ** 2 / 2, 1 - (1 - x) ** 2 / 2)


#: Of each model: its parameters, ms a step, weights, a current, and the width of the surrogate, which is less than the
#: distance from the reset to the threshold. The effectors of each are leaky integrators.
CASES: dict[str, tuple[NeuronModel, float, float, float, float]] = {
    "iaf_psc_exp": (NeuronParameters(i_e_pa=10.0, tau_syn_in_ms=5.0), 1.0, 900.0, 300.0, 10.0),
    "equal": (NeuronParameters(tau_m_ms=10.0, tau_syn_ex_ms=10.0), 1.0, 900.0, 300.0, 10.0),
    "alif": (Alif(adapt_tau_ms=20.0, adapt_beta_mv=2.0), 1.0, 1200.0, 500.0, 10.0),
    "iaf_cond_exp": (IafCondExp(v_reset_mv=-68.0), 0.5, 60.0, 700.0, 8.0),
    "izhikevich": (Izhikevich(), 0.2, 6.0, 15.0, 20.0),
    "aeif_psc_exp": (AeifPscExp(t_ref_ms=1.0, tau_syn_ex_ms=2.0), 0.2, 1500.0, 2500.0, 55.0),
}  # fmt: skip


def small(neuron: NeuronModel, dt_ms: float, scale: float) -> Connectome:
    """Four sensors, six neurons joined among themselves, two leaky effectors."""
    rng = np.random.default_rng(0)
    regions = [
        Region("in", 4, "sensor"),
        Region("a", 6, neuron=neuron),
        Region("out", 2, "effector", LeakyIntegrator()),
    ]
    sizes = {r.name: r.size for r in regions}
    edges = []
    for source, kind, target, size in (
        ("in", "afferent", "a", scale), ("a", "local", "a", scale / 2), ("a", "efferent", "out", 300.0),
    ):  # fmt: skip
        src, tgt = np.nonzero(np.ones((sizes[source], sizes[target])))
        edges.append(
            EdgeSet.from_arrays(
                (source, kind, target), src, tgt, rng.normal(0.4 * size, size, src.size), n_source=sizes[source],
                n_target=sizes[target], dt_ms=dt_ms, delay_ms=dt_ms * rng.integers(1, 4, src.size),
            )
        )  # fmt: skip
    return Connectome.of(regions, edges, dt_ms=dt_ms)


def able(neuron: NeuronModel, role: str = "neuron") -> tuple[str, ...]:
    """All parameters of a model that can learn, where they are not at a bound."""
    known = [f for f in fields(neuron) if role == "neuron" or "over" not in f.metadata]
    return tuple(f.name for f in known if f.metadata.get("learnt", True))


@pytest.mark.parametrize("name", CASES)
def test_gradients_of_every_model_are_finite_differences(name: str) -> None:
    """Of weights and of all parameters of neurons, time constants among them; to 1e-5, in float64."""
    neuron, dt_ms, scale, drive, width = CASES[name]
    c, steps = small(neuron, dt_ms, scale), 40
    effector = c.regions["out"].neuron
    net = nets_of_torch(c, surrogate_width_mv=width, learn={"a": able(neuron), "out": able(effector)})
    rng = np.random.default_rng(1)
    given_spikes = torch.from_numpy(rng.random((3, steps, 4)) < 0.15)
    current = {"a": torch.from_numpy(rng.uniform(0, drive, (3, 1, 6)))}

    def loss() -> tuple[Tensor, BatchActivity]:
        activity = net({"in": given_spikes}, ("a",), current=current)
        return loss_of(activity), activity

    value, activity = loss()
    assert 15 < activity.counts["a"].sum() < 600
    value.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    relaxed = Relaxed(width)
    net.__dict__["_surrogate"] = relaxed
    with torch.no_grad():
        assert float(loss()[0]) == float(value)
        groups = {str(key): w for key, w in net.weight.items()}
        groups |= {f"{region}.{n}": x for region, free in net.neuron.items() for n, x in free.items()}
        for group, parameter in groups.items():
            assert parameter.grad is not None, group
            direction = torch.from_numpy(rng.normal(size=parameter.shape))
            own, pa = "." in group, group.startswith("out.") or group.endswith("_pa")
            direction *= 1e-5 if pa else 1e-7 if own else 1e-6 * scale
            ends = []
            for sign in (1, -1):
                parameter.add_(direction, alpha=sign)
                relaxed.at = 0
                ends.append(float(loss()[0]))
                parameter.sub_(direction, alpha=sign)
            found = (ends[0] - ends[1]) / 2
            expected = float((parameter.grad * direction).sum())
            size = float(parameter.grad.norm() * direction.norm())
            assert abs(found - expected) <= 1e-5 * size + 1e-13 * abs(float(value)), (group, found, expected)
            assert size > 0, group


def test_the_mean_decay_has_its_gradient_everywhere() -> None:
    """Where two time constants are equal, close, and far apart; and numbers are as tensors."""
    for x in (0.0, 1e-12, 1e-9, 1e-3, 9.99e-3, 0.0101, 0.3, 5.0, 900.0):
        t = torch.tensor([x], dtype=torch.float64, requires_grad=True)
        value = mean_decay(t)
        (slope,) = torch.autograd.grad(value.sum(), t)
        assert float(value.detach()) == pytest.approx(mean_decay(x), rel=1e-14)
        exact = (math.exp(-x) * (1 + x) - 1) / x**2 if x > 0.05 else -1 / 2 + x / 3 - x**2 / 8 + x**3 / 30
        assert float(slope) == pytest.approx(exact, rel=1e-7)
    a, b = (torch.tensor([0.4], dtype=torch.float64, requires_grad=True) for _ in range(2))

    def p21(a: Any, b: Any) -> Any:
        least, more = ordered(a, b)
        return torch.exp(-least) * mean_decay(more)

    assert torch.autograd.gradcheck(lambda a: p21(a, 0.4000001), a)
    half = math.exp(-0.4) / 2
    assert [float(g) for g in torch.autograd.grad(p21(a, b), (a, b))] == pytest.approx([-half, -half])


# Parameters that learn

LEARN: dict[str, tuple[str, ...]] = {
    "a": ("tau_m_ms", "v_th_mv", "adapt_tau_ms", "adapt_beta_mv"), "b": ("tau_syn_ex_ms", "v_th_mv", "e_l_mv"),
    "arm": ("tau_m_ms",),
}  # fmt: skip


def test_parameters_that_learn_begin_as_they_are() -> None:
    c, x = with_alif(network(3)), spikes(4, 5)
    for dtype in (torch.float32, torch.float64):
        plain = SpikingNetwork(c, engine="torch", dtype=dtype)({"in": x}, ("a", "b"))
        learning = SpikingNetwork(c, engine="torch", dtype=dtype, learn=LEARN)({"in": x}, ("a", "b"))
        assert_same(plain, learning)
    event, learning = (SpikingNetwork(c, dtype=torch.float64, learn=k)({"in": x}, ("a", "b")) for k in ({}, LEARN))
    assert_same(event, learning, exactly=False)


def test_what_was_learnt_goes_into_the_connectome(tmp_path: Path) -> None:
    """Positive and above the reset whatever an optimiser does; saved, loaded, run, trained on."""
    c, x = with_alif(network(3)), spikes(4, 5)
    net = nets_of_torch(c, learn=LEARN)
    optimizer = torch.optim.Adam(net.parameters(), 0.3)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = loss_of(net({"in": x}, ("a", "b", "c")))
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[1:]) < losses[0]
    for region, names in LEARN.items():
        assert all(float(net.neuron[region][name].detach().abs().max()) > 0 for name in names)
    learnt = net.to_connectome()
    a = learnt.regions["a"].neuron
    assert a.tau_m_ms.shape == (12,)
    assert a.tau_m_ms.min() > 0
    assert np.ptp(a.tau_m_ms) > 0
    assert (a.v_th_mv > a.v_reset_mv).all()
    assert a.t_ref_ms == c.regions["a"].neuron.t_ref_ms
    activity = net({"in": x}, ("a", "b", "c"))
    save(learnt, tmp_path / "learnt.h5")
    again = nets_of_torch(load(tmp_path / "learnt.h5"), learn={"b": ("tau_m_ms",)})
    found = again({"in": x}, ("a", "b", "c"))
    for name, u in activity.potential.items():  # weights are float32 in a connectome
        torch.testing.assert_close(u, found.potential[name], rtol=1e-4, atol=1e-3)
    with torch.no_grad():
        net.neuron["a"]["tau_m_ms"].sub_(600)
        assert float(net.neuron_values("a")["tau_m_ms"].min()) > 0


@pytest.mark.parametrize("name", CASES)
def test_what_was_learnt_runs_the_same(name: str) -> None:
    """As parameters of the model, where it begins among them: the same spikes and potentials, for every model."""
    neuron, dt_ms, scale, drive, _ = CASES[name]
    c, rng = small(neuron, dt_ms, scale), np.random.default_rng(1)
    net = nets_of_torch(c, learn={"a": able(neuron), "out": able(c.regions["out"].neuron)})
    x = torch.from_numpy(rng.random((3, 40, 4)) < 0.15)
    current = {"a": torch.from_numpy(rng.uniform(0, drive, (3, 1, 6)))}
    before = net({"in": x}, ("a",), current=current)
    with torch.no_grad():
        for free in (p for part in net.neuron.values() for p in part.values()):
            free.add_(torch.from_numpy(rng.uniform(0.01, 0.05, free.shape)))
        found = net({"in": x}, ("a",), current=current)
        again = nets_of_torch(net.to_connectome())({"in": x}, ("a",), current=current)
    assert_same(found, again, exactly=False)
    assert not torch.equal(found.potential["out"], before.potential["out"])


def test_networks_that_share_learn_the_same_parameters() -> None:
    c = with_alif(network(3))
    net = nets_of_torch(c, learn=LEARN)
    other = net.sharing(["in", "a", "b", "out"])
    assert other.neuron["a"]["tau_m_ms"] is net.neuron["a"]["tau_m_ms"]
    assert set(other.neuron) == {"a", "b"}
    assert not set(net.state_dict()) ^ set(nets_of_torch(c, learn=LEARN).state_dict())


def test_time_constants_are_found_by_learning() -> None:
    """A leaky effector learns its teacher's time constants, from its potential."""
    c = small(NeuronParameters(), 1.0, 900.0)
    want = replace(LeakyIntegrator(), tau_m_ms=np.array([14.0, 7.0]), tau_syn_ex_ms=np.array([3.0, 1.5]))
    teacher = nets_of_torch(replace(c, regions={**c.regions, "out": replace(c.regions["out"], neuron=want)}))
    net = nets_of_torch(c, learn={"out": ("tau_m_ms", "tau_syn_ex_ms")})
    x = torch.from_numpy(np.random.default_rng(1).random((8, 60, 4)) < 0.15)
    target = teacher({"in": x}).potential["out"].detach()
    optimizer = torch.optim.LBFGS(net.neuron["out"].values(), max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Any:
        optimizer.zero_grad()
        loss = (net({"in": x}).potential["out"] - target).pow(2).mean()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]  # torch leaves it untyped
    for name, value in net.neuron_values("out").items():
        np.testing.assert_allclose(value.detach().numpy(), getattr(want, name), rtol=1e-3)


def test_a_model_of_ones_own_learns() -> None:
    """As the page of the room has it: nothing is asked of it but arithmetic."""

    @register
    @dataclass(frozen=True, eq=False, repr=False)
    class Perfect(NeuronModel):
        model: ClassVar[str] = "perfect_that_learns"
        state: ClassVar[tuple[str, ...]] = ("v", "i_ex", "i_in")
        c_m_pf: Any = field(default=250.0, metadata={"above": 0})
        v_th_mv: Any = 15.0

        def constants(self, dt_ms: float) -> dict[str, Any]:
            return {"gain": dt_ms / self.c_m_pf, "theta": self.v_th_mv}

        def step(
            self, c: Mapping[str, Any], state: Mapping[str, Tensor], arrivals: Arrivals, threshold: Any
        ) -> tuple[dict[str, Tensor], Tensor]:
            v = state["v"] + c["gain"] * (state["i_ex"] + state["i_in"] + arrivals.current_pa)
            fired = threshold(v - c["theta"])
            after = {"v": v - fired.detach() * c["theta"], "i_ex": arrivals.excitatory, "i_in": arrivals.inhibitory}
            return after, fired

    net = nets_of_torch(small(Perfect(), 1.0, 3000.0), learn={"a": ("c_m_pf", "v_th_mv")})
    x = torch.from_numpy(np.random.default_rng(1).random((3, 40, 4)) < 0.3)
    first = net({"in": x}, ("a",), return_state=True)
    loss_of(first).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert all(p.grad is not None and float(p.grad.abs().sum()) > 0 for p in net.neuron["a"].values())
    net({"in": x}, state=first.state)


@pytest.mark.parametrize(
    ("learn", "message"),
    [
        ({"in": ("tau_m_ms",)}, r"learn must name regions or effectors that take part; found 'in'"),
        ({"x": ("tau_m_ms",)}, r"learn must name regions or effectors that take part; found 'x'"),
        ({"a": "tau_m_ms"}, r"learn\[a\] must be names of parameters; found 'tau_m_ms'. Use \('tau_m_ms',\)"),
        ({"a": ("tau",)}, r"learn\[a\] must name parameters of tau_m_ms, .*; found 'tau'"),
        ({"a": ("t_ref_ms",)}, r"learn\[a\] must name parameters of .*; found 't_ref_ms'"),
        ({"a": ("v_reset_mv",)}, r"learn\[a\] must name parameters of .*; found 'v_reset_mv'"),
        ({"out": ("v_th_mv",)}, r"learn\[out\] must name parameters of .*; found 'v_th_mv'"),
        (
            {"c": ("adapt_beta_mv",)},
            r"learn\[c\] must name parameters that are not at their bound 0; found 'adapt_beta",
        ),
    ],
)
def test_what_cannot_learn_is_refused(learn: dict[str, Any], message: str) -> None:
    c = with_alif(network(3), adapt_beta_mv=0.0)
    with pytest.raises(ConnectomeError, match=message):
        SpikingNetwork(c, engine="torch", learn=learn)


def test_settled_networks_are_as_they_were() -> None:
    """What is free is 0, and what it stood for is in the model, to the last bit; again changes nothing."""
    c, x = with_alif(network(3)), spikes(4, 5)
    net = SpikingNetwork(c, dtype=torch.float64, learn=LEARN)
    with torch.no_grad():
        for free in (p for part in net.neuron.values() for p in part.values()):
            free.add_(torch.randn(free.shape, generator=torch.Generator().manual_seed(1)).double() / 10)
    before, learnt = net({"in": x}, ("a", "b")), net.to_connectome()
    for _ in range(2):
        net.settle()
        assert not any(bool(p.any()) for part in net.neuron.values() for p in part.values())
        assert net.to_connectome().digest() == learnt.digest()
        assert_same(net({"in": x}, ("a", "b")), before)
    fresh = SpikingNetwork(learnt, dtype=torch.float64, learn=LEARN)
    for region in LEARN:
        for name, value in net.neuron_values(region).items():
            assert torch.equal(value, fresh.neuron_values(region)[name])
    odd = NeuronParameters(v_th_mv=np.linspace(-5, 5, 999))  # whose distance from the reset is rounded
    as_it_is = parameter_values(odd, {"v_th_mv": torch.zeros(999)})
    assert torch.equal(as_it_is["v_th_mv"], torch.tensor(odd.v_th_mv))
