"""Weight views: gradients, memory on the graph, pruning, growth; tied weights as one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, Edit, Region, plugins
from connectome.graph.parts import TIED
from connectome.io.snapshot import load, save
from connectome.learning.learner import CHAIN, Learner, names_kept, without
from connectome.learning.network import BatchActivity, SpikingNetwork
from connectome.learning.optimisers import Sgd
from connectome.learning.views import BASE, By, Chained, Moment, Shared, WeightView, shared, weights
from connectome.mechanisms.gate import Gate
from connectome.mechanisms.low_rank import LowRank
from connectome.mechanisms.noisy import Noisy
from connectome.mechanisms.quantised import Quantised
from connectome.mechanisms.variability import Variability
from connectome.mechanisms.weight_gain import WeightGain
from connectome.parameters import from_table
from tests.test_learning import network, spikes
from tests.test_learning_inputs import loss_of

KEY = EdgeKey("a", "long_range", "b")
VIEWS: dict[str, WeightView] = {
    "gain": WeightGain(), "gain of senders": WeightGain(by="source", initial=0.5), "gate": Gate(),
    "hard gate": Gate(hard=True), "grid": Quantised(6), "codebook": Quantised(3, codebook=True), "noisy": Noisy(0.3),
    "variability": Variability(), "low rank": LowRank(2),
    "chained": Chained((LowRank(1), WeightGain(by="set"), Gate())),
}  # fmt: skip
of_each = pytest.mark.parametrize("name", VIEWS)


@dataclass(frozen=True)
class Identity:
    """Makes nothing of the weights."""

    def parameters(self, edges: EdgeSet) -> dict[str, Shared]:
        return {"weight": weights(edges)}

    def __call__(self, values: Mapping[str, Tensor], edges: EdgeSet, moment: Moment) -> Tensor:
        return values["weight"]


def with_view(c: Connectome, view: WeightView, **options: Any) -> SpikingNetwork:
    return SpikingNetwork(c, views={KEY: view}, **options)


def stirred(net: SpikingNetwork, seed: int = 0) -> SpikingNetwork:
    """As after some learning: every parameter of the view is another."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in [net.weight[KEY], *net.beside.get(KEY, {}).values()]:
            p.mul_(0.6 + 0.8 * torch.rand(p.shape, generator=generator, dtype=p.dtype))
            p.add_(p.abs().mean() * 0.01 + 1e-3 * (p == 0))
    return net


def gradients(net: SpikingNetwork, batch: int = 18) -> dict[str, Tensor]:
    """Of the view's parameters."""
    made = {"weight": net.weight[KEY], **net.beside.get(KEY, {})}
    learns = {name: p for name, p in made.items() if p.requires_grad}
    found = torch.autograd.grad(
        loss_of(net({"in": spikes(4, batch)}, ("a", "b"))), list(learns.values()), allow_unused=True
    )
    return {n: torch.zeros_like(p) if g is None else g for (n, p), g in zip(learns.items(), found, strict=True)}


def tied(edges: EdgeSet, groups: int) -> EdgeSet:
    """So many weights for all edges."""
    number = np.arange(len(edges)) % groups
    values = np.random.default_rng(0).normal(1000, 500, groups).astype(np.float32)
    return replace(edges, weight=values[number], state={TIED: number.astype(np.float32)})


# Gradients


@pytest.mark.parametrize("engine", ["numba", "torch"])
def test_a_view_that_makes_nothing_changes_no_byte(engine: Any) -> None:
    c = network(3)
    plain = SpikingNetwork(c, engine=engine)
    same = SpikingNetwork(c, engine=engine, views={key: Identity() for key in c.edges})
    a, b = (net({"in": spikes(1, 9)}, ("a", "b")) for net in (plain, same))
    assert all(torch.equal(a.potential[n], b.potential[n]) for n in a.potential)
    for x, y in zip(
        *(torch.autograd.grad(loss_of(r), list(n.weight.values())) for r, n in ((a, plain), (b, same))), strict=True
    ):
        assert torch.equal(x, y)
    assert same.to_connectome().digest() == plain.to_connectome().digest() == c.digest()


@pytest.mark.parametrize("frozen", [False, True])
@of_each
def test_engines_agree_on_the_gradients_of_a_view(name: str, frozen: bool) -> None:
    """Where the base weights are frozen too, from which nobody could see that a tape is wanted."""
    found = []
    for engine in ("numba", "torch"):
        net = stirred(with_view(network(3), VIEWS[name], engine=engine, dtype=torch.float64))
        net.moment = (1, 2, 3)
        for weight in net.weight.values():
            weight.requires_grad_(not frozen)
        if frozen and not net.beside:
            return
        for _ in range(2):  # memory of an earlier pass would look like a tape
            found.append(gradients(net))
    assert any(bool(g.any()) for g in found[0].values())
    for other in found[1:]:
        for n, g in found[0].items():
            torch.testing.assert_close(other[n], g, rtol=1e-7, atol=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), by=st.sampled_from(["edge", "source", "target", "set"]), ties=st.booleans())
def test_gradients_are_finite_differences(seed: int, by: By, ties: bool) -> None:
    """Of what is smooth; float64."""
    c = network(seed % 100)
    edges = tied(c.edges[KEY], 5) if ties else c.edges[KEY]
    c = replace(c, edges={**c.edges, KEY: edges})
    for view in (
        WeightGain(by=by),
        Gate(),
        Noisy(),
        LowRank(2, keep_signs=False),
        Chained((LowRank(1, keep_signs=False), WeightGain(by=by), Noisy())),
    ):
        net = stirred(with_view(c, view, dtype=torch.float64), seed)
        made = {"weight": net.weight[KEY], **net.beside.get(KEY, {})}
        leaves = [p.detach().clone().requires_grad_() for p in made.values()]

        def effective(
            *given_values: Tensor,
            view: WeightView = view,
            net: SpikingNetwork = net,
            names: tuple[str, ...] = tuple(made),
        ) -> Tensor:
            by_edge = {n: net.by_edge(KEY, x, n) for n, x in zip(names, given_values, strict=True)}
            return view(by_edge, edges, (seed, 1))

        assert torch.autograd.gradcheck(effective, leaves, eps=1e-4, atol=1e-5, rtol=1e-5)
        assert torch.equal(effective(*leaves), net.effective(KEY, (seed, 1)))


def test_the_gradient_goes_straight_through() -> None:
    """Of rounded weights to those behind them; of a hard gate, as if it were soft."""
    c = network(3)
    plain = SpikingNetwork(with_view(c, VIEWS["codebook"]).to_connectome())
    expected = torch.autograd.grad(loss_of(plain({"in": spikes(4, 18)}, ("a", "b"))), plain.weight[KEY])[0]
    torch.testing.assert_close(gradients(with_view(c, VIEWS["codebook"]))["weight"], expected)
    hard = with_view(c, Gate(hard=True))
    with torch.no_grad():
        hard.beside[KEY]["gate"][::2] = -1.0
    shut = hard.effective(KEY)
    assert not shut[::2].any()
    assert torch.equal(shut[1::2], hard.weight[KEY][1::2])
    (slope,) = torch.autograd.grad(shut.sum(), hard.beside[KEY]["gate"])
    gate = hard.beside[KEY]["gate"].detach()
    soft = hard.weight[KEY].detach() * torch.sigmoid(gate) * torch.sigmoid(-gate)
    torch.testing.assert_close(slope, soft, rtol=1e-5, atol=1e-5)


def test_a_step_that_is_learnt_has_the_published_gradient() -> None:
    """round(x) - x inside the grid, the last level outside (Esser et al. 2020, equation 3)."""
    net = with_view(network(3), Quantised(4), dtype=torch.float64)
    with torch.no_grad():
        net.beside[KEY]["quantum"].mul_(0.5)
    weight, step = net.weight[KEY].detach(), net.beside[KEY]["quantum"].detach()
    (found,) = torch.autograd.grad(net.effective(KEY).sum(), net.beside[KEY]["quantum"])
    x = weight / step
    expected = torch.where(x.abs() <= 3, x.round() - x, 3 * x.sign())
    torch.testing.assert_close(found, expected.sum()[None])


def test_a_low_rank_change_keeps_signs() -> None:
    net = with_view(network(3), LowRank(2))
    before = net.weight[KEY].detach()
    with torch.no_grad():
        for name, p in net.beside[KEY].items():
            p.fill_(-30.0 if "v" in name else 30.0)
    made = net.effective(KEY).detach()
    assert ((made == 0) == (before <= 1800)).float().mean() > 0.1
    assert (made * before >= 0).all()
    torch.testing.assert_close(made[before < 0], before[before < 0] - 1800)


def test_few_values_are_few() -> None:
    """And a codebook fits them better than a grid of as many."""
    c = network(3, size=60)
    error = {}
    for codebook in (False, True):
        net = with_view(c, Quantised(8, codebook))
        made = net.effective(KEY).detach()
        assert np.unique(made.abs().numpy()).size <= 8
        assert (made * net.weight[KEY].detach() >= 0).all()
        error[codebook] = float((made - net.weight[KEY].detach()).square().mean())
        with torch.no_grad():
            net.weight[KEY][::3] = 0  # which no value of a sign can be
        assert np.unique(net.effective(KEY).detach().abs().numpy()).size <= 8
    assert error[True] < 0.8 * error[False]


# Memory on the graph


@of_each
def test_a_view_goes_on_from_the_graph(name: str, tmp_path: Path) -> None:
    """To the same bytes, through a file; and who does not know it runs the same network."""
    net = stirred(with_view(network(3), VIEWS[name]))
    c = net.to_connectome()
    save(c, tmp_path / "c.h5")
    again = with_view(load(tmp_path / "c.h5"), VIEWS[name])
    assert torch.equal(again.weight[KEY], net.weight[KEY])
    assert all(torch.equal(again.beside[KEY][n], p) for n, p in net.beside.get(KEY, {}).items())
    assert again.to_connectome().digest() == c.digest()
    x = {"in": spikes(5, 7)}
    potential = [n(x).potential["out"] for n in (net, again, SpikingNetwork(c))]
    assert torch.equal(potential[0], potential[1])
    assert torch.equal(potential[0], potential[2])
    assert set(c.edges[KEY].state) <= {BASE, *getattr(VIEWS[name], "keeps", c.edges[KEY].state)}


@of_each
def test_a_view_survives_pruning_and_growth(name: str) -> None:
    """What stays keeps its parameters and its weight; what is new has the weight that it came with."""
    net = stirred(with_view(network(3, size=20), VIEWS[name]))
    c = net.to_connectome()
    edges = c.edges[KEY]
    stay = np.random.default_rng(1).random(len(edges)) < 0.7
    free = np.argwhere(~np.isin(np.arange(400), edges.source * 20 + edges.target))[:9, 0]
    new = EdgeSet.from_arrays(KEY, free // 20, free % 20, 33.0, n_source=20, n_target=20, dt_ms=1.0)
    edited = c.apply(Edit(remove={KEY: ~stay}, add=(new,)))
    again = with_view(edited, VIEWS[name])
    old = np.isin(edited.edges[KEY].source * 20 + edited.edges[KEY].target, (edges.source * 20 + edges.target)[stay])
    parameters = {"weight": net.weight[KEY], **net.beside.get(KEY, {})}
    for n, p in {"weight": again.weight[KEY], **again.beside.get(KEY, {})}.items():
        torch.testing.assert_close(
            again.by_edge(KEY, p, n)[old], net.by_edge(KEY, parameters[n], n)[stay], rtol=0, atol=0
        )
    made = again.effective(KEY).detach().numpy()
    if name == "codebook":
        return  # its values follow the weights that there are
    np.testing.assert_array_equal(made[old], edges.weight[stay])
    np.testing.assert_allclose(
        made[~old], 33.0, rtol=1e-5, atol=float(again.beside[KEY]["quantum"].detach()) / 2 if name == "grid" else 0
    )


@pytest.mark.parametrize("name", ["gain", "gain of senders", "gate", "low rank", "chained", "noisy"])
def test_what_a_rule_does_to_a_weight_is_done(name: str) -> None:
    """The weight behind the view follows; other edges' does not change."""
    c = stirred(with_view(network(3), VIEWS[name])).to_connectome()
    weight = c.edges[KEY].weight.copy()
    weight[3:6] *= 1.5
    net = with_view(c.apply(Edit(reweight={KEY: weight})), VIEWS[name])
    np.testing.assert_allclose(net.effective(KEY).detach().numpy(), weight, rtol=1e-5)
    before = with_view(c, VIEWS[name]).weight[KEY]
    changed = (net.weight[KEY] != before).numpy()
    assert changed[3:6].all()
    assert changed.sum() == 3


def test_a_network_that_shares_has_the_view() -> None:
    c = network(3)
    net = stirred(with_view(c, VIEWS["gain"]))
    other = net.sharing(("in", "a", "b", "out"))
    assert other.weight[KEY] is net.weight[KEY]
    assert other.beside[KEY]["log_gain"] is net.beside[KEY]["log_gain"]
    assert torch.equal(other.effective(KEY), net.effective(KEY))


# Noise


def test_noise_is_of_its_moment_and_of_the_pair() -> None:
    c = network(3)
    net = with_view(c, Noisy(0.3))
    net.moment = (0, 1, 2)
    x = {"in": spikes(1, 5)}
    first = net(x).potential["out"]
    assert torch.equal(first, net(x).potential["out"])
    noise = net.effective(KEY, net.moment) / net.weight[KEY]
    assert not torch.equal(noise, net.effective(KEY, (0, 1, 3)) / net.weight[KEY])
    pruned = replace(c, edges={**c.edges, KEY: c.edges[KEY].take(np.arange(len(c.edges[KEY])) != 4)})
    others = with_view(pruned, Noisy(0.3))
    torch.testing.assert_close(
        others.effective(KEY, net.moment) / others.weight[KEY], torch.cat([noise[:4], noise[5:]])
    )
    clean = SpikingNetwork(c)(x).potential["out"]
    assert not torch.equal(first, clean)
    assert torch.equal(net.eval()(x).potential["out"], clean)
    assert net.to_connectome().digest() == c.digest()
    net.train()
    net.moment = None
    assert torch.equal(net(x).potential["out"], clean)


def test_noise_has_its_distribution() -> None:
    n = 200
    source, target = (x.ravel() for x in np.indices((n, n)))
    edges = EdgeSet.from_arrays(("a", "local", "a"), source, target, 1.0, n_source=n, n_target=n, dt_ms=1.0)
    made = Noisy(0.5)({"weight": torch.ones(n * n, dtype=torch.float64)}, edges, (3, 4)).numpy()
    z = np.log(made) / 0.5 + 0.25
    assert abs(made.mean() - 1) < 0.01
    assert abs(z.mean()) < 0.02
    assert abs(z.std() - 1) < 0.02
    assert abs(np.corrcoef(z[:-1], z[1:])[0, 1]) < 0.02


def test_variability_has_its_variance_and_keeps_signs() -> None:
    """In units of the root mean square weight; where a sign would change, 0."""
    n = 200
    source, target = (x.ravel() for x in np.indices((n, n)))
    weight = np.random.default_rng(1).normal(0, 3, n * n)
    edges = EdgeSet.from_arrays(("a", "local", "a"), source, target, weight, n_source=n, n_target=n, dt_ms=1.0)
    given = {"weight": torch.tensor(weight)}
    free = Variability(0.5, keep_signs=False)(given, edges, (3, 4)) - given["weight"]
    assert abs(free.mean()) < 0.03
    assert free.std() == pytest.approx(0.5 * np.sqrt(np.square(weight).mean()), rel=0.01)
    assert abs(np.corrcoef(free, weight)[0, 1]) < 0.02
    kept = Variability(0.5)(given, edges, (3, 4))
    whole = given["weight"] + free
    torch.testing.assert_close(kept, torch.where(whole * given["weight"] > 0, whole, 0.0))
    assert torch.equal(Variability(0.5)(given, edges, None), given["weight"])


def test_a_step_of_variability_is_the_published_one() -> None:
    """``w - eta grad L(w + e)``: the gradient of the noisy weights moves those without noise."""
    c = network(3)
    chain, seed, rate = (Sgd(),), (5, 1), 1e3
    learner = Learner(c, ATask(), chain, seed=seed, views={KEY: Variability(keep_signs=False)})  # type: ignore[arg-type]  # as much of a task as is needed
    x = {"in": spikes(1, 9)}
    learner.step(x, None, lambda key: rate)
    noisy = with_view(c, Variability(keep_signs=False)).effective(KEY, (*seed, 1)).detach()
    there = SpikingNetwork(c, recruit=ATask.recruits)
    with torch.no_grad():
        there.weight[KEY].copy_(noisy)
    ATask().loss(there(x), None).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    gradient = there.weight[KEY].grad
    assert gradient is not None
    assert gradient.any()
    before = SpikingNetwork(c).weight[KEY].detach()
    torch.testing.assert_close(learner.network.weight[KEY].detach(), before - rate * gradient, rtol=1e-6, atol=1e-4)


# In the learner


class ATask:
    """The potentials of two effectors are to be 1 mV."""

    name = "b"
    recruits = ("in", "a", "b", "c", "out", "arm")

    def loss(self, activity: BatchActivity, target: Any) -> Tensor:
        return sum((u.mean(1) - 1.0).square().mean() for u in activity.potential.values())  # type: ignore[return-value]  # of one or more


def learner_of(c: Connectome, view: WeightView | None, number: int = 0, frozen: bool = False) -> Learner:
    chains = dict.fromkeys(("afferent", "local", "long_range", "efferent"), ()) if frozen else None
    views = None if view is None else {KEY: view}
    return Learner(c, ATask(), chains=chains, seed=(5, 1), number=number, views=views)  # type: ignore[arg-type]  # as much of a task as is needed


def learn(learner: Learner, updates: int, rate: float = 0.02) -> list[float]:
    return [
        learner.step({"in": spikes(learner.number, 8)}, None, lambda key: 20.0, rate=lambda key: rate)
        for _ in range(updates)
    ]


@of_each
def test_a_view_learns_and_goes_on_to_the_same_bytes(name: str) -> None:
    """Its parameters, what an optimiser keeps of them and its noise: broken off at each update."""
    whole = learner_of(network(3), VIEWS[name])
    learn(whole, 4)
    broken = learner_of(network(3), VIEWS[name])
    for number in range(1, 5):
        learn(broken, 1)
        broken = learner_of(broken.connectome(), VIEWS[name], number)
    assert whole.network.moment is None, "noise when it is scored"
    assert broken.connectome().digest() == whole.connectome().digest()
    beside = whole.network.beside.get(KEY, {})
    assert all(
        not torch.equal(p, learner_of(network(3), VIEWS[name]).network.beside[KEY][n]) for n, p in beside.items()
    )
    kept = without(whole.connectome(), names_kept(CHAIN)).edges[KEY].state
    assert set(kept) <= {BASE, *getattr(VIEWS[name], "keeps", kept)}


@pytest.mark.parametrize("name", ["gain", "gate", "low rank"])
def test_a_view_learns_where_nothing_else_does(name: str) -> None:
    learner = learner_of(network(3), VIEWS[name], frozen=True)
    losses = learn(learner, 25, 0.5 if name == "gate" else 0.02)
    assert np.mean(losses[-5:]) < 0.95 * np.mean(losses[:5])
    after = learner.connectome()
    for key, edges in network(3).edges.items():
        assert ((after.edges[key].weight == edges.weight).mean() > 0.9) == (key != KEY)
    assert torch.equal(learner.network.weight[KEY].detach(), torch.from_numpy(network(3).edges[KEY].weight.copy()))


def test_views_do_not_change_how_others_learn() -> None:
    plain, same = learner_of(network(3), None), learner_of(network(3), Identity())
    assert learn(plain, 3) == learn(same, 3)
    assert plain.connectome().digest() == same.connectome().digest()


# Tied weights


def tied_network() -> Connectome:
    regions = [Region("in", 4, "sensor"), Region("a", 5)]
    source, target = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 2, 2, 3])
    edges = EdgeSet.from_arrays(
        ("in", "afferent", "a"), source, target, [1.0, 2.0] * 3, n_source=4, n_target=5, dt_ms=1.0,
        state={TIED: np.array([0, 1] * 3)},
    )  # fmt: skip
    return Connectome.of(regions, [edges], dt_ms=1.0)


def test_edges_that_are_new_share_no_weight() -> None:
    """They came into the first tie, and its weight of 1.0 became the mean, 5.67."""
    c, key = tied_network(), EdgeKey("in", "afferent", "a")
    new = EdgeSet.from_arrays(key, [3, 3], [0, 4], [15.0, 9.0], n_source=4, n_target=5, dt_ms=1.0)
    for grown in (c.edges[key].join(new), new.join(c.edges[key])):
        again = SpikingNetwork(replace(c, edges={key: grown}))
        assert again.weight[key].tolist() == [1.0, 2.0, 15.0, 9.0]
        assert again.to_connectome().edges[key].weight.tolist() == grown.weight.tolist()
        assert sorted(grown.state[TIED].tolist()) == [0, 0, 0, 1, 1, 1, 2, 3]
    with_tie = replace(new, state={TIED: np.array([1, 7])})
    assert sorted(c.edges[key].join(with_tie).state[TIED].tolist()) == [0, 0, 0, 1, 1, 1, 1, 7]
    last = replace(c.edges[key], state={TIED: np.full(6, 2.0**24 - 2)})
    with pytest.raises(
        ConnectomeError, match=r"state\[tied\] must be below 16777216, new edges included; found 16777216"
    ):
        last.join(new)


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_pruning_does_not_change_what_is_tied(seed: int) -> None:
    """The mean of a weight's edges is the weight, to the last bit, however many are left."""
    rng = np.random.default_rng(seed)
    edges = network(3, size=40).edges[KEY]
    edges = replace(tied(edges, int(rng.integers(1, 9))))
    values = rng.normal(0, 10.0 ** rng.integers(-6, 6), 9).astype(np.float32)
    edges = replace(edges, weight=values[edges.state[TIED].astype(int)])
    left = edges.take(rng.random(len(edges)) < 0.5)
    c = network(3, size=40)
    net = SpikingNetwork(replace(c, edges={**c.edges, KEY: left}))
    assert (net.to_connectome().edges[KEY].weight == left.weight).all()


# What does not fit


@dataclass(frozen=True)
class Broken:
    made: dict[str, Shared]

    def parameters(self, edges: EdgeSet) -> dict[str, Shared]:
        return self.made

    def __call__(self, values: Mapping[str, Tensor], edges: EdgeSet, moment: Moment) -> Tensor:
        return values["weight"]


def test_views_that_do_not_fit_are_named() -> None:
    c = network(3)
    n = len(c.edges[KEY])
    for made, message in (
        ({}, r"^views\[a -long_range-> b\] must have a parameter 'weight'; found \[\]. Use views.weights"),
        ({"weight": Shared(np.ones(3))}, rf"\.weight must have one value for each of {n} edges; found \(3,\)"),
        ({"weight": Shared(np.ones(n)), "base": Shared(np.ones(n))}, r"\.base must have another name; found 'base'"),
    ):
        with pytest.raises(ConnectomeError, match=message):
            with_view(c, Broken(made))
    with pytest.raises(ConnectomeError, match=r"^views must be of edge sets that exist; found .*nowhere"):
        SpikingNetwork(c, views={EdgeKey("a", "long_range", "nowhere"): Identity()})
    with pytest.raises(ConnectomeError, match=r"^WeightGain.by must be one of edge, source, target, set; found 'all'"):
        WeightGain(by="all")
    with pytest.raises(ConnectomeError, match=r"^gain.by must be one of"):
        shared(c.edges[KEY], "gain", "all", 1.0)  # type: ignore[arg-type]  # the point of the test
    with pytest.raises(ConnectomeError, match=r"^views must have parameters of different names; found 'log_gain'"):
        with_view(c, Chained((WeightGain(), WeightGain())))


@pytest.mark.parametrize("name", plugins.known("views"))
def test_views_are_known_by_name(name: str) -> None:
    view = from_table(plugins.load("views", name, "views"), {}, f"views.{name}")
    assert with_view(network(3), view).to_connectome().edges[KEY].weight.shape == network(3).edges[KEY].weight.shape
    with pytest.raises(ConnectomeError, match=rf"^views.{name} must have no keys but"):
        from_table(type(view), {"nonsense": 1}, f"views.{name}")
