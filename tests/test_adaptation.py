"""Test-time adaptation: corruptions, and each part of it in closed form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from connectome import Connectome, ConnectomeError, EdgeSet
from connectome.datasets.corruptions import CORRUPTIONS, Adaptation, Corrupted, corrupt, entropy
from connectome.datasets.images import Images, load_digits
from connectome.datasets.tasks import Perception
from connectome.development.birth import Anatomy, birth, new_links
from connectome.development.stage import LossContext, Stage
from connectome.development.stages import develop
from connectome.graph.connectome import Edit
from connectome.graph.parts import EdgeKey
from connectome.learning.learner import Learner
from connectome.learning.learning_rule import State, Update
from connectome.learning.network import BatchActivity, SpikingNetwork
from connectome.learning.optimisers import Adam
from connectome.learning.task import outputs_of
from connectome.mechanisms.comparators import cotta, ecotta
from connectome.mechanisms.cotta import Cotta
from connectome.mechanisms.rate_matching import RateMatching
from connectome.mechanisms.restoration import Restoration
from connectome.mechanisms.self_distillation import SelfDistillation
from connectome.mechanisms.soft_hebb import SoftHebb
from connectome.mechanisms.teacher import Teacher
from sims.studies.mechanisms import adaptation as trial

SMALL = Anatomy(neurons=24)


@pytest.fixture(scope="module")
def digits() -> Images:
    return load_digits()


def born(task: Perception, seed: int = 0) -> Connectome:
    return birth(None, task, SMALL, 1, (), np.random.default_rng(seed))


def alone(digits: Images, **more: Any) -> Adaptation:
    return Adaptation(digits, name="perception", earlier=(), **more)


# Corruptions


@pytest.mark.parametrize("shape", [(40, 20, 20), (40, 20, 20, 3)])
def test_corruptions_do_what_they_say(shape: tuple[int, ...]) -> None:
    grey = np.full(shape, 0.5, np.float32)
    made = {kind: corrupt(grey, kind, 0.2, np.random.default_rng(0)) for kind in CORRUPTIONS}
    for image in made.values():
        assert image.shape == shape
        assert image.dtype == np.float32
    assert made["noise"].std() == pytest.approx(0.1, rel=0.02)
    assert made["brightness"].mean() == pytest.approx(0.6)
    assert (made["impulse"] == 0).mean() == pytest.approx(0.03, rel=0.1)
    assert (made["impulse"] == 1).mean() == pytest.approx(0.03, rel=0.1)
    point = np.zeros(shape, np.float32)
    point[:, 10, 10] = 1
    blurred = corrupt(point, "blur", 0.5, np.random.default_rng(0))[0].reshape(20, 20, -1)[..., 0]
    across = (blurred.sum(1) * (np.arange(20) - 10) ** 2).sum()
    assert across == pytest.approx((0.15 * 0.5 * 20) ** 2, rel=0.05)
    low = corrupt(point, "contrast", 1.0, np.random.default_rng(0))
    assert np.ptp(low) == pytest.approx(0.2)
    assert low.mean() == pytest.approx(point.mean())
    corner = np.zeros((1, 21, 21), np.float32)
    corner[0, 10, 18] = 1
    row, column = np.unravel_index(corrupt(corner, "rotation", 1.0, np.random.default_rng(0)).argmax(), (1, 21, 21))[1:]
    assert (abs(int(row) - 10), int(column) - 10) == (4, 7)


def test_nothing_is_corrupted_at_a_severity_of_0_and_mistakes_are_named(digits: Images) -> None:
    image = digits.image["test"][:5]
    for kind in CORRUPTIONS:
        np.testing.assert_array_equal(corrupt(image, kind, 0.0, np.random.default_rng(0)), image)
    with pytest.raises(ConnectomeError, match=r"corruption must be among noise, blur, .*; found 'fog'"):
        Corrupted(digits, corruption="fog").batch(np.random.default_rng(0), 2)
    with pytest.raises(ConnectomeError, match=r"severity must be finite and at least 0; found -1"):
        corrupt(image, "noise", -1.0, np.random.default_rng(0))


def test_labels_are_for_scores_alone(digits: Images) -> None:
    spikes, label = Adaptation(digits, corruption="brightness").batch(np.random.default_rng(0), 8)
    assert label is None
    clear, _ = Perception(digits).batch(np.random.default_rng(0), 8)
    assert spikes["image"].sum() > clear["image"].sum()
    assert Adaptation(digits).recruits == ("image", "perception", "adaptation", "digit")
    assert not Adaptation(digits).effectors
    assert alone(digits).effectors == {"digit": 10}


def test_the_loss_is_the_entropy_of_what_is_sure(digits: Images) -> None:
    logits = torch.tensor([[0.0] * 10, [30.0] + [0.0] * 9, [2.0] + [0.0] * 9])
    p = math.exp(2) / (math.exp(2) + 9)
    each = [math.log(10), 0.0, -p * math.log(p) - (1 - p) * math.log((1 - p) / 9)]
    np.testing.assert_allclose(entropy(logits), each, atol=1e-5)
    potential = (logits * 15 / 4)[:, None].expand(-1, 20, -1)
    activity = BatchActivity({"digit": potential}, {}, {}, 0)
    assert float(alone(digits).loss(activity, None)) == pytest.approx(np.mean(each), rel=1e-5)
    assert float(alone(digits, below=0.9).loss(activity, None)) == pytest.approx(np.mean(each[1:]), rel=1e-5)
    assert float(alone(digits, below=0.9, strength=0.5).loss(activity, None)) == pytest.approx(each[2] / 4, rel=1e-5)
    assert float(alone(digits, below=0.0).loss(activity._replace(potential={"digit": potential[:1]}), None)) == 0


# Soft competition


def heard(x: Tensor, weight: Tensor, rate: float = 1.0) -> Update:
    """All sources to all targets; x (B, n) rates of 0 and 1 over one step."""
    n, m = weight.shape
    source, target = np.divmod(np.arange(n * m), m)
    edges = EdgeSet.from_arrays(EdgeKey("a", "local", "b"), source, target, 1.0, n_source=n, n_target=m, dt_ms=1.0)
    flat, zero = weight.flatten(), torch.zeros(n * m)
    return Update(edges.key, edges, flat, zero, zero.to(torch.int8), edges.pair, rate, 1, (), x[:, None], None)


def test_soft_hebb_is_its_equation() -> None:
    """Weights are in units of the norm at the beginning, also when they have changed."""
    rng = torch.Generator().manual_seed(0)
    x, first = (torch.rand(7, 5, generator=rng) > 0.5), torch.randn(5, 3, generator=rng)
    state: State = {"hebb_norm": torch.zeros(15)}
    for weight in (first, 0.5 * first):
        found = SoftHebb(tau=0.5)(heard(x, weight, 2.0), torch.zeros(15), state).reshape(5, 3)
        w = weight / first.norm(dim=0)
        expected = torch.zeros(5, 3)
        for sample in x.float():
            unit = sample / sample.norm().clamp(min=1)
            u = unit @ w
            y = torch.softmax(u / 0.5, 0)
            expected += 2.0 * y * (unit[:, None] - u * w) / 7
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(state["hebb_norm"].reshape(5, 3), first.norm(dim=0).expand(5, 3))


def test_soft_hebb_leads_to_what_is_heard_at_the_norm_of_the_beginning() -> None:
    x, weight = torch.tensor([[1, 1, 0, 0], [0, 0, 1, 1]]).bool(), torch.tensor([[3.0, 0], [3, 1], [0, 2], [1, 2]])
    norm, state = weight.norm(dim=0), {"hebb_norm": torch.zeros(8)}
    for _ in range(800):
        weight = weight + SoftHebb(tau=0.02)(heard(x, weight, 0.2), torch.zeros(8), state).reshape(4, 2)
    half = math.sqrt(0.5)
    expected = torch.tensor([[half, 0], [half, 0], [0, half], [0, half]])
    torch.testing.assert_close(weight / norm, expected, atol=2e-3, rtol=0)


def test_soft_hebb_leaves_what_is_no_weight() -> None:
    update, none = heard(torch.ones(2, 4).bool(), torch.ones(4, 2)), torch.ones(8)
    for other in (update._replace(edges=None), update._replace(pre=None), update._replace(name="log_gain")):
        assert not SoftHebb()(other, none, {"hebb_norm": torch.zeros(8)}).any()


# Rates that are matched


def test_a_neuron_goes_back_to_what_it_fired(digits: Images) -> None:
    """The equation; then with all its input weaker, until rates are those of before."""
    task = Perception(digits, 0.0)
    connectome = born(task)
    known = connectome.apply(RateMatching().learnt(connectome, task, np.random.default_rng(1)))
    key = next(k for k in known.edges if k.base == "afferent")
    rates = known.edges[key].state["matched_rate"]
    again = known.apply(RateMatching().learnt(known, alone(digits), np.random.default_rng(2)))
    np.testing.assert_array_equal(again.edges[key].state["matched_rate"], rates)
    weaker = known.apply(Edit(reweight={k: 0.6 * e.weight for k, e in known.edges.items() if k.base != "efferent"}))
    learner = Learner(weaker, alone(digits, jitter=0.0, severity=0.0), (Adam(), RateMatching(2.0)), seed=(0,))
    assert all("matched_rate" not in weaker.edges[k].state for k in weaker.edges if k.base == "efferent")
    rng, seen = np.random.default_rng(3), list[Any]()
    for _ in range(150):
        before = learner.network.weight[key].detach().clone()
        learner.step(*learner.task.batch(rng, 128), lambda key: 0.0, watch=seen.append)
        fired = seen[-1].spikes["perception"].detach().float().mean((0, 1)).numpy()
        factor = 1 + 2.0 * (rates - fired[known.edges[key].target])
        np.testing.assert_allclose(learner.network.weight[key].detach().numpy(), before.numpy() * factor, rtol=1e-4)
    target = known.edges[key].target
    wanted = np.zeros(24)
    wanted[target] = rates
    first = seen[0].spikes["perception"].detach().float().mean((0, 1)).numpy()
    there = np.isin(np.arange(24), target)
    assert np.abs(first - wanted)[there].mean() > 3 * np.abs(fired - wanted)[there].mean()


# CoTTA


def context(learner: Learner, spikes: Mapping[str, Tensor], activity: BatchActivity) -> LossContext:
    return LossContext(learner.network, learner.task, spikes, activity, (), np.random.default_rng(5), 0)


def test_the_teacher_and_the_source_are_the_states_of_the_chain(digits: Images) -> None:
    """What they say is what networks with these weights say; before the first update, the network."""
    task = alone(digits, strength=0.0)
    connectome = born(task)
    learner = Learner(connectome, task, (Adam(), Restoration(0.5), Teacher(0.5)), seed=(0,))
    rng, loss, told = np.random.default_rng(0), Cotta(sure=0.0), list[tuple[Tensor, Tensor]]()
    for _ in range(3):
        spikes, _ = task.batch(rng, 6)
        kept = {k: state["teacher"].copy() for k, state in learner.edge_state().items()}

        def more(activity: BatchActivity, spikes: Any = spikes) -> Tensor:
            now = context(learner, spikes, activity)
            told.append((loss.answer(now), loss(now)))
            return told[-1][1]

        learner.step(spikes, None, lambda key: 1.0, extra_loss=more)
        weights = {k: w if len(told) > 1 else connectome.edges[k].weight for k, w in kept.items()}
        teacher = SpikingNetwork(connectome.apply(Edit(reweight=weights)))
        torch.testing.assert_close(told[-1][0], outputs_of(task, teacher(spikes)).softmax(1).detach())
    source = learner.network.remembered("restoration_source", task.recruits)
    for key, edges in connectome.edges.items():
        np.testing.assert_array_equal(source.weight[key].detach(), edges.weight)


def test_an_unsure_source_asks_the_teacher_of_copies(digits: Images) -> None:
    task = alone(digits)
    learner = Learner(born(task), task, (Adam(), Restoration(), Teacher()))
    spikes, _ = task.batch(np.random.default_rng(0), 6)
    with torch.no_grad():
        activity = learner.network(spikes)
    now, plain = context(learner, spikes, activity), outputs_of(task, activity).softmax(1)
    sure = float(plain.amax(1).mean())
    torch.testing.assert_close(Cotta(sure=sure - 1e-4).answer(now), plain)
    torch.testing.assert_close(Cotta(sure=1.0, drop=0.0).answer(now), plain)
    silent = learner.network({"image": torch.zeros_like(spikes["image"])})
    torch.testing.assert_close(Cotta(sure=1.0, drop=1.0).answer(now), outputs_of(task, silent).softmax(1).detach())
    logs = outputs_of(task, activity).log_softmax(1)
    assert float(Cotta(sure=0.0)(now)) == pytest.approx(float(-(plain * logs).sum(1).mean()), rel=1e-5)
    with pytest.raises(ConnectomeError, match=r"learning must have restoration and teacher .*; found a chain without"):
        Cotta()(context(Learner(born(task), task, (Adam(), Teacher())), spikes, activity))


# EcoTTA


def test_a_silent_side_region_changes_nothing_and_another_is_told_by_rates(digits: Images) -> None:
    task = Adaptation(digits)
    base = born(Perception(digits))
    whole = birth(base, task, Anatomy(neurons=9), 2, new_links(base, task.name), np.random.default_rng(1))
    out = EdgeKey("adaptation", "long_range", "perception")
    silent = whole.apply(Edit(reweight={out: 0 * whole.edges[out].weight}))
    spikes, _ = task.batch(np.random.default_rng(2), 10)
    recruits = ("image", "perception", "digit")
    seen = {}
    for name, connectome in (("base", base), ("silent", silent), ("whole", whole)):
        network = SpikingNetwork(connectome, recruit=recruits if name == "base" else task.recruits)
        with torch.no_grad():
            seen[name] = network(spikes, record=("perception",))
        learner = Learner(connectome, task if name != "base" else alone(digits))
        term = float(SelfDistillation(3.0)(context(learner, spikes, seen[name])))
        rates = [seen[n].spikes["perception"].mean(1) for n in (name, "base")]
        assert term == pytest.approx(3.0 * float((rates[0] - rates[1]).abs().mean()), rel=1e-5)
        assert (term > 0) == (name == "whole")
    assert torch.equal(seen["silent"].potential["digit"], seen["base"].potential["digit"])


# In development


def test_a_development_adapts_where_there_are_no_labels(digits: Images) -> None:
    plain = [
        Stage(task, 6, batch=8, epoch_updates=3, validation_trials=8)
        for task in (Perception(digits), Adaptation(digits))
    ]
    for method in (cotta, ecotta):
        first, last = (method(stage) for stage in plain)
        assert first is plain[0]
        outcomes = list(develop([first, last], SMALL, seed=1, test_trials=20))
        before, after = (o.connectome for o in outcomes)
        moved = {k for k, e in before.edges.items() if not np.array_equal(e.weight, after.edges[k].weight)}
        assert moved == (set(before.edges) if method is cotta else set())
        gains = [name for name in after.regions["perception"].state if name.startswith("mode-adaptation")]
        assert bool(gains) == (method is ecotta)
        assert {"perception", "adaptation"} == set(outcomes[-1].scores)


# The trial


def test_every_way_meets_the_same_stream_and_only_what_is_to_learn_does() -> None:
    found = {name: trial.adapt(trial._WAYS[name], 1, True, "validation") for name in trial._WAYS}
    assert found["source"] == trial.adapt(trial.Way("all"), 1, True, "validation") | {"learns": 0}
    assert found["source"]["right"] == found["source"]["first"] == found["source"]["last"]
    assert found["source"]["right"] < found["source"]["clean"] - 0.1
    assert found["CoTTA"]["learns"] == 1
    assert 0 < found["EcoTTA"]["learns"] < 0.12
    assert all(found[name]["right"] != found["source"]["right"] for name in ("CoTTA copies", "EcoTTA", "statistics"))


def test_adaptation_is_judged() -> None:
    spread = np.array([-0.001, 0.0, 0.001, 0.0, 0.0])
    ours = ("CoTTA", "EcoTTA", "NHL")
    v = {c: dict.fromkeys(trial.adaptation.measures, 0.5 + spread) for c in trial.adaptation.conditions}
    v |= {c: dict.fromkeys(trial.adaptation.measures, 0.52 - spread) for c in ours}
    for name, learns in (("CoTTA", 1.0), ("EcoTTA", 0.09)):
        v[name] = {**v[name], "learns": np.full(5, learns)}
    assert [c.claim for c in trial.adaptation.check(v) if not c.holds] == []
    v["CoTTA"] |= {"right": 0.509 + spread, "last": 0.4 + spread, "clean": 0.5 + spread}
    v["EcoTTA"] |= {"clean": 0.48 + spread, "right": 0.4 + spread}
    v["NHL"] |= dict.fromkeys(list(CORRUPTIONS)[:4], 0.5 + spread) | {"clean": 0.49 + spread}
    failed = [c.claim for c in trial.adaptation.check(v) if not c.holds]
    assert len(failed) == 10, failed
