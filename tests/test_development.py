"""Development on a toy task: what is plastic, what rules see, what stays with an edge when the graph is edited."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from connectome import Connectome, ConnectomeError, EdgeKey, Edit, RuleRecord, plugins
from connectome.development.birth import Anatomy, birth
from connectome.development.stage import LearningRates, LossContext, Progress, Stage, StageOutcome, StageState
from connectome.development.stages import develop
from connectome.development.training import Training, momentum
from connectome.learning.learner import CHAIN, Learner
from connectome.learning.network import BatchActivity
from connectome.learning.task import Act, Score
from connectome.mechanisms.ewc import Ewc
from connectome.mechanisms.feedback_pruning import FeedbackPruning
from connectome.mechanisms.growth import LongRangeGrowth
from connectome.mechanisms.strengthening import Strengthening
from connectome.rules import Context, Rule

STEPS = 24
ANATOMY = Anatomy(neurons=30, afferent_density=0.8)


@dataclass(frozen=True)
class Toy:
    """Which half of the sensor fires? Read from this region's own effector; ``uses`` names regions that take part."""

    name: str
    uses: tuple[str, ...] = ()
    scale: float = 1.0
    effectors: Mapping[str, int] = field(default_factory=dict)
    sensors: Mapping[str, int] = field(default_factory=dict)

    @property
    def requires(self) -> tuple[str, ...]:
        return self.uses

    @property
    def recruits(self) -> tuple[str, ...]:
        return ("eye", *self.uses, self.name, f"{self.name}_out")

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Mapping[str, Tensor], Any]:
        label = rng.integers(0, 2, size)
        rate = np.where((np.arange(10) < 5)[None] == (label == 0)[:, None], 0.4, 0.02)
        spikes = rng.random((size, STEPS, 10)) < rate[:, None, :]
        return {"eye": torch.from_numpy(spikes)}, torch.from_numpy(label)

    def loss(self, activity: BatchActivity, target: Any) -> Tensor:
        return self.scale * torch.nn.functional.cross_entropy(activity.potential[f"{self.name}_out"].mean(1), target)

    def score(self, act: Act, split: str, trials: int, rng: np.random.Generator) -> Score:
        spikes, label = self.batch(rng, trials)
        activity = act(spikes)
        value = float((activity.potential[f"{self.name}_out"].mean(1).argmax(1) == label).float().mean())
        return Score(value, activity.operations / trials, 0.0, value)


def toys() -> tuple[Toy, Toy]:
    return (
        Toy("first", sensors={"eye": 10}, effectors={"first_out": 2}),
        Toy("second", ("first",), effectors={"second_out": 2}),
    )


def stages(*rules: Rule, updates: int = 30) -> list[Stage]:
    return [Stage(toy, updates, batch=16, epoch_updates=5, rules=rules) for toy in toys()]


def test_a_region_learns_and_the_next_builds_on_it() -> None:
    progress: list[Progress] = []
    outcomes = list(develop(stages(updates=60), ANATOMY, seed=1, on_progress=progress.append, test_trials=100))
    assert outcomes[0].scores["first"].value > 0.9
    assert outcomes[1].scores["second"].value > 0.8
    assert set(outcomes[1].scores) == {"first", "second"}
    assert [p.update for p in progress if p.stage == 1] == list(range(5, 61, 5))
    losses = [p.loss for p in progress if p.stage == 1]
    assert losses[-1] < losses[0] / 2


def test_nothing_is_frozen_and_matured_edges_are_slower() -> None:
    """Matured edge sets change in the second stage, and change more where maturity does not slow them."""
    one, two = develop(stages(), ANATOMY, seed=2, test_trials=8)

    def moved(key: EdgeKey) -> float:
        before, after = one.connectome.edges[key].weight, two.connectome.edges[key].weight
        return float(np.abs(after - before).mean() / np.abs(before).mean())

    local, afferent = EdgeKey("first", "local", "first"), EdgeKey("eye", "afferent", "first")
    assert moved(local) > 0
    assert moved(afferent) > 0
    slow = stages()
    slow[1] = replace(slow[1], learning_rates=replace(slow[1].learning_rates, mature_local=1.0, mature_other=1.0))
    _, plastic = develop(slow, ANATOMY, seed=2, test_trials=8)
    before, after = one.connectome.edges[local].weight, plastic.connectome.edges[local].weight
    assert np.abs(after - before).mean() / np.abs(before).mean() > 2 * moved(local)


@dataclass(frozen=True)
class Noted(Toy):
    """A toy that notes each batch and each score: what was asked of it, and a number that it drew."""

    notes: list[tuple[Any, ...]] = field(default_factory=list)

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Mapping[str, Tensor], Any]:
        self.notes.append(("batch", size))
        return super().batch(rng, size)

    def score(self, act: Act, split: str, trials: int, rng: np.random.Generator) -> Score:
        drawn = rng.integers(2**62)
        regions = len(act(super().batch(np.random.default_rng(0), 2)[0]).counts) - 1  # without the eye
        self.notes.append(("score", self.name, split, trials, regions, drawn))
        return Score({"validation": 0.25, "test": 0.75}[split], 0.0, 0.0, 0.0)


def test_a_stage_trains_on_batches_validates_and_is_tested() -> None:
    """All that tasks are asked for, in order; the trials of a test are the same after each stage, those of a validation
    always others; what is shown during a stage is of validation data, what is yielded of test data."""
    notes: list[tuple[Any, ...]] = []
    plan = [
        Stage(Noted(t.name, t.uses, 1.0, t.effectors, t.sensors, notes), updates, batch=16, epoch_updates=2,
              validate_every=2, validation_trials=5)
        for t, updates in zip(toys(), (5, 4), strict=True)
    ]  # fmt: skip
    shown: list[float] = []
    outcomes = list(develop(plan, ANATOMY, seed=4, on_progress=lambda p: shown.append(p.score), test_trials=7))
    drawn = int(np.random.default_rng([4, 271828]).integers(2**62))
    tested = {
        "first": [("score", "first", "test", 7, 1, drawn)] * 2,
        "second": [("score", name, "test", 7, n, drawn) for name, n in
                   (("first", 1), ("first", 2), ("second", 2), ("second", 2))],
    }  # fmt: skip
    validated = [note[-1] for note in notes if note[2:3] == ("validation",)]
    assert len(set(validated)) == 3
    first, later, second = ([("score", name, "validation", 5, n, at)] for name, n, at in zip(
        ("first", "first", "second"), (1, 1, 2), validated, strict=True
    ))  # fmt: skip
    batch = [("batch", 16)]
    assert notes == [*batch * 4, *first, *batch, *later, *tested["first"], *batch * 4, *second, *tested["second"]]
    assert shown == [pytest.approx(np.nan, nan_ok=True), 0.25, 0.25, pytest.approx(np.nan, nan_ok=True), 0.25]
    assert {s.value for o in outcomes for part in (o.scores, o.scores_all_recruited) for s in part.values()} == {0.75}


def test_rates_fall_along_half_a_cosine_from_a_typical_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate of every edge set at every update, relative to its weights when the stage began."""
    rates = LearningRates(rate=0.03, final=0.1, afferent=1.5, efferent=0.7, mature_local=0.2, mature_other=0.05)
    found: list[dict[EdgeKey, float]] = []
    others: list[float] = []
    began: dict[tuple[int, EdgeKey], float] = {}
    real = Learner.step

    def step(self: Learner, spikes: Any, target: Any, rate_pa: Any, **rest: Any) -> float:
        weights = self.network.weight
        for key, weight in weights.items():
            began.setdefault((len(found) // 8, key), float(weight.detach().square().mean().sqrt()))
        found.append({key: rate_pa(key) for key in weights})
        others.append(rest["rate"](next(iter(weights))))
        return real(self, spikes, target, rate_pa, **rest)

    monkeypatch.setattr(Learner, "step", step)
    list(develop([replace(s, learning_rates=rates) for s in stages(updates=8)], ANATOMY, seed=2, test_trials=2))
    factor = {
        ("eye", "afferent", "first"): (1.5, 1.5 * 0.05), ("first", "local", "first"): (1.0, 0.2),
        ("first", "efferent", "first_out"): (0.7, 0.7 * 0.05), ("first", "long_range", "second"): (0, 1.0),
        ("second", "long_range", "first"): (0, 1.0), ("second", "local", "second"): (0, 1.0),
        ("second", "efferent", "second_out"): (0, 0.7),
    }  # fmt: skip
    for update, by_set in enumerate(found):
        stage, done = divmod(update, 8)
        falls = 0.1 + 0.9 * (1 + np.cos(np.pi * done / 8)) / 2
        expected = {k: 0.03 * falls * factor[k][stage] * began[stage, k] for k in by_set}
        assert by_set == pytest.approx(expected, rel=1e-5), update
        assert others[update] == pytest.approx(rates.gain * falls)
    assert len(found) == 16
    assert {key for by_set in found for key in by_set} <= set(factor)


def test_importance_is_its_mean_over_an_epochs_updates() -> None:
    """Of the weights that an update found, not of those that it left."""
    key = EdgeKey("first", "local", "first")
    weights: list[Any] = []
    found: list[Any] = []

    def note(connectome: Connectome, context: Context, rng: np.random.Generator) -> Edit:
        found.append(connectome.edges[key].state["importance"])
        return Edit()

    stage = replace(stages(updates=6)[0], importance="magnitude", epoch_updates=4, rules=(note,))
    list(develop(
        [stage], ANATOMY, seed=2, on_birth=lambda c: weights.append(c.edges[key].weight),
        on_update=lambda training: weights.append(training.learner.connectome().edges[key].weight), test_trials=2,
    ))  # fmt: skip
    size = np.abs(weights)
    np.testing.assert_allclose(found[0], size[:4].mean(0), rtol=1e-5)
    np.testing.assert_allclose(found[1], size[4:6].mean(0), rtol=1e-5)


def test_importance_by_activity_is_of_an_edges_own_ends() -> None:
    """The sum over updates of the product of the two neurons' rates, while the epoch lasts."""
    before: dict[str, Any] = {}
    total: dict[EdgeKey, Any] = {}

    def watch(training: Training) -> None:
        rate = {name: value - before.get(name, 0) for name, value in training.rate.items()}
        before.update({name: value.copy() for name, value in training.rate.items()})
        if training.update == 5:  # the epoch has ended
            return
        for key, importance in training.importance.items():
            edges = training.connectome.edges[key]
            total[key] = total.get(key, 0) + rate[key.source][edges.source] * rate[key.target][edges.target]
            np.testing.assert_allclose(importance, total[key], rtol=1e-5, atol=1e-9)
            assert len(np.unique(importance)) > 5

    stage = replace(stages(updates=5)[0], importance="activity", epoch_updates=9)
    list(develop([stage], ANATOMY, seed=2, on_update=watch, test_trials=2))
    assert set(total) == {EdgeKey("eye", "afferent", "first"), EdgeKey("first", "local", "first")}


def test_the_most_local_edges_are_those_of_any_epoch_of_any_stage() -> None:
    shown: list[Progress] = []
    plan = stages(FeedbackPruning(keep=0.3, keep_own=0.3, grace=0), updates=20)
    one, two = develop(plan, ANATOMY, seed=3, on_progress=shown.append, test_trials=2)
    first = max(p.local_edges for p in shown if p.stage == 1)
    assert one.peak_local_edges == first > one.connectome.count("local")
    assert two.peak_local_edges == max(p.local_edges for p in shown) > two.connectome.count("local")


def test_the_mean_rate_is_a_running_mean() -> None:
    """A tenth of each update's rate, and nine of what was; the first update of a stage begins it. Regions and sensors
    have one, effectors never fire."""
    sums: list[dict[str, Any]] = []
    means: list[dict[str, Any]] = []

    def watch(training: Training) -> None:
        sums.append({name: rate.copy() for name, rate in training.rate.items() if name in training.mean_rate})
        means.append({name: rate.copy() for name, rate in training.mean_rate.items()})

    plan = [replace(stage, epoch_updates=9) for stage in stages(updates=6)]
    list(develop(plan, ANATOMY, seed=2, on_update=watch, test_trials=2))
    assert [set(mean) for mean in means] == [{"eye", "first"}] * 6 + [{"eye", "first", "second"}] * 6
    for stage in (0, 6):
        mean: dict[str, Any] = {}
        for update in range(stage, stage + 5):  # with the sixth the epoch ends, and its sum goes
            for name, total in sums[update].items():
                rate = total - (sums[update - 1][name] if update > stage else 0)
                mean[name] = 0.9 * mean[name] + 0.1 * rate if update > stage else rate
                np.testing.assert_allclose(means[update][name], mean[name], rtol=1e-9, atol=1e-12)
            assert mean["first"].any()


@pytest.mark.parametrize("kappa", [0.0, 0.4, 1.0])
def test_the_momentum_of_a_running_mean_is_that_of_the_recurrence(kappa: float) -> None:
    """AdaB2N's, whose weights of the past sum to 1; 1 is the exponential mean, bit by bit, 0 the mean of all."""
    eta, q, weights = 0.1**kappa, 0.9**kappa, [1.0]
    for t in range(1, 400):
        assert momentum(t, kappa) == pytest.approx(eta, rel=1e-12)
        weights = [*((1 - eta) * w for w in weights), eta] if t > 1 else weights
        eta = eta / (eta + q)
    assert sum(weights) == pytest.approx(1, abs=1e-12)
    assert momentum(400, kappa) == pytest.approx(1 - q if kappa else 1 / 400, rel=1e-5)
    if kappa == 0:
        np.testing.assert_allclose(weights, 1 / 399, rtol=1e-12)
    if kappa == 1:
        assert momentum(7, kappa) == 0.1


def test_a_mean_of_all_keeps_what_an_exponential_one_forgets() -> None:
    """A stream of two tasks, ten of one (rate 1), then ninety of the other (rate 0)."""
    mean = {0.0: 1.0, 1.0: 1.0}
    for t in range(1, 101):
        for kappa in mean:
            mean[kappa] += momentum(t, kappa) * ((t <= 10) - mean[kappa])
    assert mean[0.0] == pytest.approx(0.1, abs=1e-12)
    assert mean[1.0] == pytest.approx(0.9**90, abs=1e-12)


def test_a_development_with_kappa_0_has_the_mean_of_all_updates() -> None:
    rates: list[Any] = []

    def watch(training: Training) -> None:
        rates.append((training.rate["first"].copy(), training.mean_rate["first"].copy()))

    one = replace(stages(updates=6)[0], epoch_updates=9, kappa=0.0)
    list(develop([one], ANATOMY, seed=2, on_update=watch, test_trials=2))
    for n, (total, mean) in enumerate(rates[:5], 1):
        np.testing.assert_allclose(mean, total / n, rtol=1e-9)
    assert rates[4][1].any()


def test_plasticity_is_slowed_by_maturity_never_stopped() -> None:
    p = LearningRates(afferent=3.0, efferent=2.0, mature_local=0.2, mature_other=0.01)
    assert p.factor(EdgeKey("new", "local", "new"), "new") == 1.0
    assert p.factor(EdgeKey("old", "long_range", "new"), "new") == 1.0
    assert p.factor(EdgeKey("eye", "afferent", "new"), "new") == 3.0
    assert p.factor(EdgeKey("old", "local", "old"), "new") == 0.2
    assert p.factor(EdgeKey("old", "efferent", "out"), "new") == pytest.approx(0.02)
    for bad in (1.5, -1.0):
        with pytest.raises(ConnectomeError, match=r"LearningRates.mature_local must be"):
            LearningRates(mature_local=bad)


def test_dales_signs_hold_throughout() -> None:
    """The connectome itself refuses a weight of the wrong sign; some weights do stop at 0."""
    *_, last = develop(stages(updates=60), ANATOMY, seed=3, test_trials=8)
    weights = np.concatenate([e.weight for k, e in last.connectome.edges.items() if k.kind == "local"])
    assert (weights == 0).any()
    assert (weights > 0).any()
    assert (weights < 0).any()


def test_rules_see_evidence_of_what_took_part() -> None:
    seen: list[tuple[Connectome, Context]] = []

    def watch(connectome: Connectome, context: Context, rng: np.random.Generator) -> Edit:
        seen.append((connectome, context))
        return Edit()

    outcomes = list(develop(stages(watch), ANATOMY, seed=4, test_trials=8))
    assert [(e.stage, e.epoch) for _, e in seen] == [(s, n) for s in (1, 2) for n in range(1, 7)]
    connectome, context = seen[-1]
    assert context.region == "second"
    assert context.prunable == ("first", "second")  # the last stage settles its own region too
    assert seen[0][1].prunable == ()
    assert context.rate["first"].shape == (30,)
    assert ((context.rate["first"] >= 0) & (context.rate["first"] <= 1)).all()
    for key, edges in connectome.edges.items():
        assert ("importance" in edges.state) == (key.kind != "efferent")
    assert {(k.source, k.target) for k in context.links} == {("first", "second"), ("second", "first")}
    left = {name for e in outcomes[-1].connectome.edges.values() for name in e.state}
    assert left == set()  # context and Adam's moments do not end up in the snapshot


def beginning(stage: Stage, seed: int) -> StageState:
    """A first stage's state at birth."""
    connectome = birth(None, stage.task, ANATOMY, 1, (), np.random.default_rng(seed))
    random = dict(zip(("batch", "rules", "score", "end"), np.random.default_rng(seed + 1).spawn(4), strict=True))
    return StageState(1, connectome, (), random)


def test_adams_moments_stay_with_their_edges() -> None:
    """An edit in the middle of training: kept edges keep their moments, new ones start at zero."""
    key = EdgeKey("first", "local", "first")

    def halve(connectome: Connectome, context: Context, rng: np.random.Generator) -> Edit:
        return Edit(remove={key: np.arange(len(connectome.edges[key])) % 2 == 1})

    stage = Stage(toys()[0], 4, batch=8, epoch_updates=2, rules=(halve,))
    training = Training(beginning(stage, 5), stage, (), "numba", 0, last=False)
    plain = Training(beginning(stage, 5), replace(stage, rules=()), (), "numba", 0, last=False)
    watched: dict[str, np.ndarray[Any, Any]] = {}
    for trained, name in ((training, "halved"), (plain, "plain")):
        assert trained.step() is None
        assert trained.step() is not None
        state = trained.state().connectome.edges[key].state
        watched[name] = np.stack([state["adam_mean"], state["adam_square"]])
        assert set(state["adam_step"]) == {2.0}
    assert (watched["halved"] == watched["plain"][:, ::2]).all()
    assert watched["plain"].any()


def content(state: StageState) -> list[Any]:
    """All of a state, to compare. ``scale`` as a list: its order is what was given."""
    random = {name: (g.bit_generator.state, g.bit_generator.seed_seq.state) for name, g in state.random.items()}  # type: ignore[attr-defined]  # NumPy says ISeedSequence
    rates = [{name: rate.tolist() for name, rate in rates.items()} for rates in (state.mean_rate, state.rate)]
    numbers = [state.stage, state.update, state.seen, state.loss, repr(state.score), state.peak_local_edges]
    edges = [state.connectome.digest(), state.connectome.provenance, dict(state.scale), state.links]
    return [*numbers, *edges, random, *rates]


@pytest.mark.parametrize("importance", plugins.known("importance"))
def test_a_stage_goes_on_from_any_update_to_the_same_bytes(importance: str) -> None:
    """A state made after each update, in an epoch and at its end, is all that the rest of the stage depends on."""

    def draw(connectome: Connectome, context: Context, rng: np.random.Generator) -> Edit:
        """A rule that uses all that it is given: what was drawn, also by a generator of its own, ends in the log."""
        noise = int(rng.spawn(1)[0].integers(1000)) + int(1000 * rng.random())
        rates = sum(float(rate.sum()) for rate in context.rate.values())
        return Edit(records=(RuleRecord(1, context.step, repr(rates), "a", "local", "a", added=noise),))

    rules = (draw, FeedbackPruning(keep=0.5, inhibition=0.5))
    stage = Stage(toys()[0], 12, batch=8, epoch_updates=5, rules=rules, importance=importance)
    whole = Training(beginning(stage, 7), stage, (), "numba", 0, last=True)
    states = [whole.state()]
    while not whole.finished:
        whole.step()
        states.append(whole.state())
    kept = [content(state) for state in states]
    for update, state in enumerate(states):
        training = Training(state, stage, (), "numba", 0, last=True)
        assert content(training.state()) == kept[update]
        for later in kept[update + 1 :]:
            training.step()
            assert content(training.state()) == later
    assert [content(state) for state in states] == kept  # a state is not changed by what goes on from it


def test_development_goes_on_from_any_point_to_the_same_outcomes() -> None:
    plan = stages(LongRangeGrowth(edges=9), FeedbackPruning(keep=0.5, inhibition=0.5), updates=12)
    points: list[StageState] = []
    shown: list[Progress] = []
    at: list[int] = []  # how much was shown before each point

    def keep(state: Callable[[], StageState]) -> None:
        points.append(state())
        at.append(len(shown))

    def outcome(o: StageOutcome) -> tuple[Any, ...]:
        return (o.connectome.digest(), o.connectome.provenance, o.scores, o.links, o.peak_local_edges)

    whole = [
        outcome(o) for o in develop(plan, ANATOMY, seed=11, test_trials=4, on_point=keep, on_progress=shown.append)
    ]
    assert len(points) == 2 * 13 + 2 + 4  # birth and updates of both stages; one test, two of each task
    for point in [0, 1, 7, 12, 13, 14, 15, 16, 22, 27, 28, 31]:
        rest: list[Progress] = []
        state = points[point]
        again = develop(plan, ANATOMY, seed=11, test_trials=4, resume=state, on_progress=rest.append)
        assert [outcome(o) for o in again] == whole[state.stage - 1 :]
        assert repr(shown[: at[point]] + rest) == repr(shown)  # repr: nan is nan


def test_rules_edit_between_epochs_and_the_log_accounts() -> None:
    rules = (
        LongRangeGrowth(edges=40),
        Strengthening(rate=0.05),
        FeedbackPruning(keep=0.5, keep_own=1.0, inhibition=0.5),
    )
    one, two = develop(stages(*rules, updates=60), ANATOMY, seed=7, test_trials=8)
    key = EdgeKey("first", "local", "first")
    assert len(one.connectome.edges[key]) == one.peak_local_edges  # nothing prunes the first region in its own stage
    assert len(two.connectome.edges[key]) < len(one.connectome.edges[key])
    assert len(two.connectome.edges[key]) >= 0.5 * len(one.connectome.edges[key])
    log = [r for r in two.connectome.provenance.rule_log if (r.source, r.kind, r.target) == key]
    assert sum(r.removed for r in log) == len(one.connectome.edges[key]) - len(two.connectome.edges[key])
    grown = [r for r in two.connectome.provenance.rule_log if r.rule == "growth"]
    assert sum(r.added for r in grown) == 12 * 40  # all pairs are free, all epochs before the last one that grows
    assert sum(link.probability for link in two.links) == pytest.approx(1)


def test_the_same_seed_is_the_same_development() -> None:
    digests = []
    for seed in (8, 8, 9):
        outcomes = develop(stages(LongRangeGrowth(edges=9)), ANATOMY, seed=seed, test_trials=4)
        digests.append([outcome.connectome.digest() for outcome in outcomes])
    assert digests[0] == digests[1] != digests[2]


def test_a_loss_that_is_not_finite_is_named() -> None:
    toy = replace(toys()[0], scale=float("inf"))
    with pytest.raises(ConnectomeError, match=r"stage first must have a finite loss; found .* at update 0"):
        list(develop([Stage(toy, 4)], ANATOMY))


def test_what_is_added_to_a_loss_sees_the_batch_and_is_told_of_the_end() -> None:
    seen: list[tuple[Any, ...]] = []

    class Noting:
        def __call__(self, now: LossContext) -> Tensor:
            potential = now.activity.potential[f"{now.task.name}_out"]
            fired = int(now.activity.counts["eye"].sum())
            whole = fired == int(now.spikes["eye"].sum()) and potential.requires_grad
            earlier = tuple(t.name for t in now.earlier)
            seen.append((now.task.name, earlier, len(potential), whole, now.network.weight.keys(), now.seed))
            return 0.0 * now.rng.random() * potential.sum()

        def learnt(self, connectome: Connectome, task: Toy, rng: np.random.Generator) -> Edit:
            seen.append(("learnt", task.name, connectome.provenance.stage))
            return Edit(state={key: {"noted": e.weight} for key, e in connectome.edges.items()})

    plan = [replace(s, extra_loss=Noting()) for s in stages(updates=5)]
    one, two = develop(plan, ANATOMY, seed=9, test_trials=4)
    (first, *_), end, (second, *_) = seen[0], seen[5], seen[6]
    assert (first, end, second) == ("first", ("learnt", "first", 1), "second")
    assert seen[0] == ("first", (), 16, True, one.connectome.edges.keys(), 9)
    assert seen[6] == ("second", ("first",), 16, True, two.connectome.edges.keys() - {_READOUT}, 9)
    assert all((e.state["noted"] == e.weight).all() for e in two.connectome.edges.values())


_READOUT = EdgeKey("first", "efferent", "first_out")  # which the second does not recruit


def test_a_rule_in_the_chain_of_a_kind_is_told_of_what_was_learnt() -> None:
    """For the sets of that kind alone; and once, whatever chains it is in."""
    ewc = Ewc(samples=3)
    chain = (ewc, *CHAIN)

    def learnt(**how: Any) -> Connectome:
        (only,) = develop([replace(stages(updates=5)[0], **how)], ANATOMY, seed=2, test_trials=4)
        return only.connectome

    of_a_kind, everywhere = learnt(chains={"local": chain}), learnt(learning=chain)
    for key, edges in of_a_kind.edges.items():
        assert ("ewc_fisher" in edges.state) == (key.kind == "local")
        if key.kind == "local":
            assert edges.state["ewc_fisher"].any()
            np.testing.assert_array_equal(edges.state["ewc_fisher"], everywhere.edges[key].state["ewc_fisher"])
    assert learnt(learning=chain, chains={"local": chain, "efferent": chain}).digest() == everywhere.digest()
