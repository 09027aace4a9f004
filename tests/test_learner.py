"""The learner: optimisers against torch's, mechanisms against their closed forms, options of a stage."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, Edit
from connectome.development.birth import birth
from connectome.development.stage import Stage, StageState
from connectome.development.stages import develop
from connectome.development.training import Training
from connectome.learning.learner import CHAIN, Learner
from connectome.learning.learning_rule import LearningRule, State, Update, keeps_of, remembers_of
from connectome.learning.modes import mode_key
from connectome.learning.network import SpikingNetwork
from connectome.learning.neuron_parameters import neuron_key
from connectome.learning.optimisers import Adam, Dale, FromTorch, Sgd
from connectome.learning.probe import Probe
from connectome.learning.task import Batch, Score, Task
from connectome.mechanisms.classp import Classp
from connectome.mechanisms.restoration import Restoration
from connectome.mechanisms.teacher import Teacher
from connectome.rules import Context
from tests.test_development import ANATOMY, Toy, stages, toys

P = 500
KEY = EdgeKey("a", "local", "a")


def a_set() -> EdgeSet:
    rng = np.random.default_rng(0)
    return EdgeSet.from_arrays(KEY, rng.integers(0, 40, P), rng.integers(0, 40, P), n_source=40, n_target=40, dt_ms=1.0)


def learn(
    rule: LearningRule, updates: int, gradient: Any, rate: float = 0.1, before: LearningRule | None = None
) -> Any:
    """The weights after each update with one rule (after another), and its state; weights begin as normal numbers."""
    edges, rng = a_set(), np.random.default_rng(1)
    weight = torch.tensor(rng.normal(0, 5, P), dtype=torch.float32)
    sign, pair = torch.zeros(P, dtype=torch.int8), np.arange(P, dtype=np.uint64)
    chain = (rule,) if before is None else (before, rule)
    state: State = {}
    for link in chain:
        for name in (*keeps_of(link), *remembers_of(link)):
            state[name] = torch.zeros(() if name in getattr(link, "one_each", ()) else P)
    seen = [weight.clone()]
    for number in range(1, updates + 1):
        g = gradient(number)
        change = g
        for link in chain:
            change = link(Update(KEY, edges, weight, g, sign, pair, rate, number, (3, 1)), change, state)
        weight = weight + change
        seen.append(weight.clone())
    return torch.stack(seen), state


def noise(number: int) -> Tensor:
    return torch.tensor(np.random.default_rng(number).normal(0, 1, P), dtype=torch.float32)


@pytest.mark.parametrize(
    ("rule", "make"),
    [
        (Adam(), lambda p: torch.optim.Adam(p, lr=0.1, foreach=False)),
        (Adam(beta1=0.5, beta2=0.9, eps=1e-3), lambda p: torch.optim.Adam(p, 0.1, (0.5, 0.9), 1e-3, foreach=False)),
        (Sgd(), lambda p: torch.optim.SGD(p, lr=0.1, foreach=False)),
        (Sgd(momentum=0.9), lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, foreach=False)),
        (Sgd(momentum=0.9, nesterov=True), lambda p: torch.optim.SGD(p, 0.1, 0.9, nesterov=True, foreach=False)),
        (Classp(p=2.0, threshold=0.0, eps=0.0), lambda p: torch.optim.Adagrad(p, lr=0.1, eps=0.0, foreach=False)),
        (FromTorch(torch.optim.RMSprop), lambda p: torch.optim.RMSprop(p, lr=0.1, foreach=False)),
        (FromTorch(torch.optim.AdamW), lambda p: torch.optim.AdamW(p, lr=0.1, foreach=False)),
    ],
)  # fmt: skip
def test_optimisers_are_torchs(rule: LearningRule, make: Any) -> None:
    found, _ = learn(rule, 20, noise)
    weight = torch.nn.Parameter(found[0].clone())
    optimiser = make([weight])
    for number in range(1, 21):
        weight.grad = noise(number)
        optimiser.step()
        torch.testing.assert_close(found[number], weight.detach(), rtol=1e-5, atol=1e-5)
    if isinstance(rule, Adam):
        assert torch.equal(found[-1], weight.detach()), "not to the bit"


def test_classp_moves_nothing_below_its_threshold() -> None:
    """And forgets nothing: the sum lasts, so steps get smaller."""
    gradient = torch.where(torch.arange(P) < 250, 0.1, 2.0)
    found, state = learn(Classp(p=1.0, threshold=1.0, eps=1e-5), 3, lambda number: gradient)
    assert torch.equal(found[-1][:250], found[0][:250])
    assert not state["classp_sum"][:250].any()
    steps = (found[1:] - found[:-1])[:, 250:]
    torch.testing.assert_close(steps[:, 0], -0.1 * 2.0 / torch.tensor([2.0, 4.0, 6.0]), rtol=1e-4, atol=1e-6)


def test_restoration_leaves_a_share_that_was_never_restored() -> None:
    """``(1 - p)^t`` of weights that something moves away; what was restored is the source again."""
    updates, p = 30, 0.05
    moved, state = learn(Restoration(p=p), updates, lambda number: torch.full((P,), 0.25))
    assert torch.equal(state["restoration_source"], moved[0])
    never = ((moved[1:] - moved[0]).abs() > 1e-4).all(0).float().mean()
    expected = (1 - p) ** updates
    assert abs(float(never) - expected) < 4 * np.sqrt(expected * (1 - expected) / P)
    again, _ = learn(Restoration(p=p), updates, lambda number: torch.full((P,), 0.25))
    assert torch.equal(moved, again), "drawn from something else than the update"


def test_a_teacher_follows_at_its_rate() -> None:
    """Of a constant student it has come ``1 - m^t`` of the way."""
    step = torch.full((P,), 8.0)
    found, state = learn(Teacher(m=0.9), 12, lambda number: step if number == 1 else torch.zeros(P))
    way = (state["teacher"] - found[0]) / 8.0
    torch.testing.assert_close(way, torch.full((P,), 1 - 0.9**12), rtol=1e-3, atol=1e-5)


def test_noise_is_of_the_pair_alone() -> None:
    """When an edge goes, what is drawn for the others stays; another update, seed or name gives other numbers."""
    edges = a_set()
    pair = edges.source.astype(np.uint64) << np.uint64(32) | edges.target.astype(np.uint64)
    zero = torch.zeros(P)

    def update(keep: slice, number: int = 1, seed: int = 3) -> Update:
        e, w = edges.take(np.isin(np.arange(P), np.arange(P)[keep])), zero[keep]
        return Update(KEY, e, w, w, w.to(torch.int8), pair[keep], 1.0, number, (seed,))

    whole, part = update(slice(None)), update(slice(1, None, 2))
    assert torch.equal(whole.uniform("a")[1::2], part.uniform("a"))
    assert torch.equal(whole.normal("a")[1::2], part.normal("a"))
    for other in (update(slice(None), 2), update(slice(None), 1, 4)):
        assert not torch.equal(whole.uniform("a"), other.uniform("a"))
    assert not torch.equal(whole.uniform("a"), whole.uniform("b"))
    drawn = torch.cat([update(slice(None), number).normal("a") for number in range(60)])
    assert abs(float(drawn.mean())) < 0.03
    assert abs(float(drawn.std()) - 1) < 0.03


# The options of a stage


def last(plan: list[Stage], **more: Any) -> Connectome:
    *_, outcome = develop(plan, ANATOMY, seed=3, test_trials=8, **more)
    return outcome.connectome


def test_a_kind_of_edge_may_learn_otherwise_or_not_at_all() -> None:
    stage = replace(stages()[0], chains={"local": (), "efferent": (Sgd(), Dale())})
    births: list[Connectome] = []
    after = last([stage], on_birth=births.append)
    local, out = EdgeKey("first", "local", "first"), EdgeKey("first", "efferent", "first_out")
    assert (after.edges[local].weight == births[0].edges[local].weight).all()
    assert (after.edges[out].weight != births[0].edges[out].weight).any()
    plain = last([stages()[0]])
    assert (after.edges[out].weight != plain.edges[out].weight).any()


def test_rules_act_at_birth_and_at_the_end_if_they_say_so() -> None:
    seen: list[tuple[str, int, float]] = []

    class At:
        def __init__(self, when: str) -> None:
            self.when = {when}

        def __call__(self, connectome: Connectome, context: Context, rng: np.random.Generator) -> Edit:
            seen.append((next(iter(self.when)), context.step, context.done))
            weights = {k: e.weight * 0 for k, e in connectome.edges.items() if k.kind == "efferent"}
            return Edit(reweight=weights if self.when == {"end"} else {})

    rules = tuple(At(when) for when in ("end", "birth", "epoch"))
    after = last([replace(stages(updates=10)[0], rules=rules)])
    assert seen == [("birth", 0, 0.0), ("epoch", 5, 0.5), ("epoch", 10, 1.0), ("end", 10, 1.0)]
    assert not after.edges[EdgeKey("first", "efferent", "first_out")].weight.any()


def test_a_stage_ends_early_when_nothing_gets_better() -> None:
    class Stuck(Toy):
        def score(self, act: Any, split: str, trials: int, rng: np.random.Generator) -> Score:
            return Score(0.5, 1.0, 1.0, 0.5)

    toy = toys()[0]
    stuck = Stuck("first", sensors=toy.sensors, effectors=toy.effectors)
    shown: list[int] = []
    stage = Stage(stuck, 100, batch=8, epoch_updates=2, validate_every=2, patience=2)
    last([stage], on_progress=lambda progress: shown.append(progress.update))
    assert shown[-1] == 12, "a first score, and two that are no better"
    states: list[StageState] = []
    last([stage], on_point=lambda state: states.append(state()))
    ended = next(s for s in states if s.finished)
    assert last([stage], resume=ended).digest() == last([stage]).digest()


def test_a_batch_may_be_used_again_and_be_chosen() -> None:
    drawn: list[int] = []

    def select(task: Task, network: SpikingNetwork, rng: np.random.Generator, size: int) -> Batch:
        assert network.connectome.n_edges
        drawn.append(size)
        return task.batch(rng, size)

    stage = replace(stages(updates=12)[0], reuse=4, select=select)
    states: list[StageState] = []
    whole = last([stage], on_point=lambda state: states.append(state()))
    assert drawn == [16] * 3
    for state in states[1:12]:
        assert last([stage], resume=state).digest() == whole.digest(), state.update
    assert whole.digest() != last([replace(stage, reuse=1)]).digest()


def test_links_that_a_stage_begins_with_are_its_choice() -> None:
    plan = stages(updates=2)
    plan[1] = replace(plan[1], first_links=(("first", "second"),))
    kinds = {tuple(key) for key in last(plan).edges if key.kind == "long_range"}
    assert kinds == {("first", "long_range", "second")}
    plan[1] = replace(plan[1], first_links=(("first", "third"),))
    with pytest.raises(
        ConnectomeError, match=r"first_links must join second and one of \['first'\]; found \('first', 'th"
    ):
        last(plan)


def test_every_update_can_be_watched() -> None:
    seen: list[int] = []

    def watch(training: Training) -> None:
        assert training.learner.network.weight
        seen.append(training.update)

    last([stages(updates=4)[0]], on_update=watch)
    assert seen == [1, 2, 3, 4]


def test_a_development_runs_on_the_engine_that_a_device_needs() -> None:
    """Torch's sums have another order, so weights agree up to that."""
    plan = [stages(updates=6)[0]]
    one, two = last(plan), last(plan, engine="torch", device="cpu")
    for key, edges in one.edges.items():
        np.testing.assert_allclose(edges.weight, two.edges[key].weight, rtol=1e-3, atol=1e-3)


def test_edges_that_come_during_a_stage_begin_without_memory() -> None:
    """A set that did not exist when the stage began learns like the others."""
    new = EdgeKey("first", "long_range", "second")

    def add(connectome: Connectome, context: Context, rng: np.random.Generator) -> Edit:
        if context.epoch != 1 or context.region != "second":
            return Edit()
        n = connectome.regions["first"].size
        pairs = np.arange(20)
        weight = 900.0 * np.where(connectome.regions["first"].sign[pairs] < 0, -1, 1)
        made = EdgeSet.from_arrays(new, pairs, pairs, weight, n_source=n, n_target=n, dt_ms=1.0, birth_stage=2)
        return Edit(add=(made,))

    plan = [replace(s, rules=(add,)) for s in stages(updates=15)]
    plan[1] = replace(plan[1], first_links=())
    after = last(plan)
    assert len(after.edges[new]) == 20
    assert (np.abs(after.edges[new].weight) != 900).any()


def test_a_probe_knows_the_gradient_of_candidates() -> None:
    """Of edges that are not there: the loss's own difference quotient, in float32 a few per cent."""
    task = toys()[0]
    c = birth(None, task, ANATOMY, 1, (), np.random.default_rng(2))
    key = EdgeKey("first", "efferent", "first_out")
    n = c.regions["first"].size
    there = set(zip(c.edges[key].source.tolist(), c.edges[key].target.tolist(), strict=True))
    assert len(there) == 2 * n, "all pairs"
    cut = c.apply(Edit(remove={key: c.edges[key].source < 4}))
    probe = Probe(task, 32, (1, 2, 3))
    candidates = EdgeSet.from_arrays(key, [0, 1], [0, 1], 0.0, n_source=n, n_target=2, dt_ms=1.0)
    wide = cut.apply(Edit(add=(candidates,)))
    gradient = probe.gradients(wide)[key]
    for edge in np.flatnonzero(wide.edges[key].source < 4):
        losses = []
        for side in (-1, 1):
            weight = wide.edges[key].weight.copy()
            weight[edge] += side * 20.0
            moved = SpikingNetwork(
                Connectome.of(
                    [replace(r, sign=np.zeros(r.size, np.int8)) for r in wide.regions.values()],
                    [replace(e, weight=weight) if k == key else e for k, e in wide.edges.items()], dt_ms=1.0,
                ),
                recruit=task.recruits,
            )  # fmt: skip
            spikes, target = probe.batch
            losses.append(float(task.loss(moved(spikes), target).detach()))
        assert gradient[edge] == pytest.approx((losses[1] - losses[0]) / 40.0, rel=0.1, abs=1e-7)
    fired = probe.spikes(c)
    assert set(fired) == {"eye", "first"}
    assert fired["first"].shape[0] == 32


def test_a_learner_goes_on_from_what_its_edges_remember() -> None:
    task = toys()[0]
    c = birth(None, task, ANATOMY, 1, (), np.random.default_rng(2))
    rng = np.random.default_rng(4)
    batches = [task.batch(rng, 8) for _ in range(6)]
    whole, first = Learner(c, task, CHAIN), Learner(c, task, CHAIN)
    for batch in batches:
        whole.step(*batch, lambda key: 0.5)
    for batch in batches[:3]:
        first.step(*batch, lambda key: 0.5)
    second = Learner(first.connectome(), task, CHAIN, number=first.number)
    for batch in batches[3:]:
        second.step(*batch, lambda key: 0.5)
    assert second.connectome().digest() == whole.connectome().digest()


def learning_neurons(chain: tuple[LearningRule, ...], rate: float, updates: int, **more: Any) -> Learner:
    """A learner of the first toy whose neurons learn, and nothing else, after some updates."""
    connectome = birth(None, toys()[0], ANATOMY, 1, (), np.random.default_rng(2))
    learn = {"first": ("tau_m_ms", "v_th_mv"), "first_out": ("tau_m_ms",)}
    learner, rng = Learner(connectome, toys()[0], chain, learn=learn, **more), np.random.default_rng(1)
    for _ in range(updates):
        learner.step(*toys()[0].batch(rng, 16), lambda key: 0.0, rate=lambda key: rate)
    return learner


def test_parameters_of_neurons_learn_as_by_torchs_adam() -> None:
    """On the network's free numbers, which begin at 0 and go on: what is counted from where makes no difference."""
    learner = learning_neurons((Adam(),), 0.02, 12)
    born = birth(None, toys()[0], ANATOMY, 1, (), np.random.default_rng(2))
    network = SpikingNetwork(born, learn={"first": ("tau_m_ms", "v_th_mv"), "first_out": ("tau_m_ms",)})
    optimiser = torch.optim.Adam([x for free in network.neuron.values() for x in free.values()], 0.02)
    rng, losses = np.random.default_rng(1), []
    for _ in range(12):
        spikes, label = toys()[0].batch(rng, 16)
        loss = toys()[0].loss(network(spikes), label)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()
        losses.append(float(loss.detach()))
    after = learner.connectome()
    for region, free in network.neuron.items():
        for name, values in network.neuron_values(region).items():
            found = getattr(after.regions[region].neuron, name)
            assert np.ptp(found) > 0
            np.testing.assert_allclose(found, values.detach().numpy(), rtol=2e-5)
        assert {f"neuron-{name}.adam_mean" for name in free} <= set(after.regions[region].state)
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    assert all((e.weight == born.edges[key].weight).all() for key, e in after.edges.items())


def test_rules_know_where_a_neurons_parameter_stands() -> None:
    """The logarithm of its distance from its bound, though what is free is counted anew after each update; so
    restoration finds the way back."""
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def watch(update: Update, change: Tensor, state: State) -> Tensor:
        if update.key == neuron_key("first"):
            seen.setdefault(update.name, []).append((update.weight.clone(), change.clone()))
        return change

    learner = learning_neurons((Adam(), Restoration(p=0.5), watch), 0.05, 4)
    neuron: Any = learner.connectome().regions["first"].neuron
    for name, now in (("tau_m_ms", np.log(neuron.tau_m_ms)), ("v_th_mv", np.log(neuron.v_th_mv + 70))):
        ends = [weight + change for weight, change in seen[name]]
        begins = [weight for weight, _ in seen[name]]
        np.testing.assert_allclose(begins[0], np.log({"tau_m_ms": 10, "v_th_mv": 15}[name]), rtol=1e-6)
        for end, begin in zip(ends, [*begins[1:], torch.from_numpy(now)], strict=True):
            np.testing.assert_allclose(end, begin, rtol=1e-6)
        back = (ends[-1] - begins[0]).abs() < 1e-5
        away = (begins[-1] - begins[0]).abs() > 1e-2
        assert (back & away).any()


def test_neurons_that_learn_too_fast_are_refused_in_one_line() -> None:
    with pytest.raises(ConnectomeError, match=r"stage first: neuron\.\w+ must be .* at update 1\. Lower ") as caught:
        learning_neurons((Adam(),), 1e4, 2)
    assert "\n" not in str(caught.value)


def test_matured_neurons_learn_more_slowly() -> None:
    rates = replace(stages()[0].learning_rates, neuron=0.03, mature_local=0.5)
    assert rates.step(neuron_key("new"), "new") == 0.03
    assert rates.step(neuron_key("old"), "new") == 0.015
    assert rates.step(mode_key("new"), "new") == rates.gain


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": lambda self, activity, target: 1.0}, "task first must give a tensor as its loss; found float"),
        (
            {"loss": lambda self, activity, target: activity.potential["first_out"].mean((1, 2))},
            r"task first must give a scalar loss of floats; found shape \(8,\), torch.float32\. Take its mean",
        ),
        ({"score": lambda self, *rest: 0.5}, "task first must give a connectome.learning.Score; found 0.5, a float"),
    ],
)  # fmt: skip
def test_what_a_task_gives_is_checked(change: dict[str, Any], message: str) -> None:
    toy = toys()[0]
    other = type("Other", (Toy,), change)("first", sensors=toy.sensors, effectors=toy.effectors)
    with pytest.raises(ConnectomeError, match=message):
        last([Stage(other, 2, batch=8, epoch_updates=1, validate_every=1)])
