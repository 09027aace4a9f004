"""Comparators: each is what it says, on the toy tasks of test_development."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from connectome import Connectome, ConnectomeError, EdgeKey, Edit, plugins
from connectome.development.birth import Anatomy, birth
from connectome.development.stage import StageOutcome
from connectome.learning.learner import without
from connectome.learning.learning_rule import Update
from connectome.learning.network import SpikingNetwork
from connectome.learning.optimisers import Adam, Dale
from connectome.mechanisms import comparators
from connectome.mechanisms.bregman import Objective, confidence_penalty, dark_experience, experience_replay
from connectome.mechanisms.bregman import without_forgetting as lwf
from connectome.mechanisms.comparators import learn, sparse_from_birth
from connectome.mechanisms.consolidation import Consolidation
from connectome.mechanisms.ewc import Ewc, empirical_fisher
from connectome.mechanisms.feedback_pruning import FeedbackPruning
from connectome.mechanisms.growth import LongRangeGrowth
from connectome.mechanisms.refresh import Refresh
from tests.test_development import ANATOMY, stages, toys

FIRST = EdgeKey("first", "local", "first")
SPARSE = FeedbackPruning(keep=0.4, keep_long_range=0.5, keep_afferent=0.7)


def learnt(method: str, **rest: Any) -> list[StageOutcome]:
    plan = stages(LongRangeGrowth(edges=30, last_epoch=1), SPARSE, updates=20)
    return list(learn(method, plan, ANATOMY, seed=3, test_trials=16, **rest))


@pytest.fixture(scope="module")
def every() -> dict[str, list[StageOutcome]]:
    return {method: learnt(method) for method in plugins.known("comparators")}


def sizes(connectome: Connectome) -> dict[EdgeKey, int]:
    return {key: len(edges) for key, edges in connectome.edges.items()}


def test_comparators_are_the_stage_but_for_what_they_say() -> None:
    (stage, _), growth = stages(LongRangeGrowth(edges=30), SPARSE), LongRangeGrowth(edges=30)
    stage = replace(stage, batch=24, learning_rates=replace(stage.learning_rates, mature_local=0.3, mature_other=0.2))
    plastic = replace(stage, rules=(), learning_rates=replace(stage.learning_rates, mature_local=1.0, mature_other=1.0))
    still = replace(stage.learning_rates, mature_local=0.0, mature_other=0.0)
    expected = {
        comparators.development: stage,
        comparators.blind: replace(stage, importance="random"),
        comparators.magnitude: replace(stage, importance="magnitude"),
        comparators.unpruned: replace(stage, rules=(growth,)),
        comparators.sequential: plastic,
        comparators.frozen: replace(plastic, learning_rates=still),
        comparators.ewc: replace(plastic, learning=(Ewc(strength=100.0), *stage.learning)),
        comparators.replay: replace(plastic, extra_loss=Objective((experience_replay(kept=0, batch=24),))),
    }
    terms = {
        comparators.er: (experience_replay(),), comparators.der: (dark_experience(),), comparators.lwf: (lwf(),),
        comparators.derpp: (dark_experience(), experience_replay()), comparators.cpr: (confidence_penalty(),),
    }  # fmt: skip
    expected |= {method: replace(plastic, extra_loss=Objective(of)) for method, of in terms.items()}
    for method, wanted in expected.items():
        assert method(stage) == wanted, method.__name__


def test_pruning_comparators_end_with_the_same_numbers_of_other_edges(every: dict[str, list[StageOutcome]]) -> None:
    ends = {m: every[m][-1].connectome for m in ("development", "blind", "magnitude")}
    counts = [sum(n for key, n in sizes(c).items() if key.kind == "local") for c in ends.values()]
    assert counts[0] == counts[1] == counts[2]
    kept = [
        set(zip(c.edges[FIRST].source.tolist(), c.edges[FIRST].target.tolist(), strict=True)) for c in ends.values()
    ]
    assert kept[0] != kept[1] != kept[2] != kept[0]
    assert sizes(every["unpruned"][-1].connectome)[FIRST] > 2 * sizes(ends["development"])[FIRST]


def test_without_rules_nothing_grows_or_goes_and_frozen_weights_stay(every: dict[str, list[StageOutcome]]) -> None:
    for method in ("sequential", "frozen", "ewc", "replay", "er", "der", "derpp", "lwf", "cpr", "refresh"):
        one, two = every[method]
        assert not two.connectome.provenance.rule_log
        old = [key for key in one.connectome.edges if "second" not in (key.source, key.target)]
        same = [(one.connectome.edges[k].weight == two.connectome.edges[k].weight).all() for k in old]
        assert all(same) == (method == "frozen")


def test_all_begin_alike_and_differ_after_the_first_stage(every: dict[str, list[StageOutcome]]) -> None:
    """In the first stage there is nothing to forget."""
    methods = ("sequential", "frozen", "ewc", "replay", "er", "der", "derpp", "lwf")
    firsts = {m: every[m][0].connectome for m in methods}
    kept = (*Ewc.remembers, "bregman_1", "bregman_last")
    digests = {m: without(c, kept).digest() for m, c in firsts.items()}
    assert len(set(digests.values())) == 1
    ends = {m: without(every[m][1].connectome, (*kept, "bregman_2")).digest() for m in digests}
    assert len(set(ends.values())) == len(methods)
    again = learnt("replay")
    assert without(again[1].connectome, kept).digest() == ends["replay"], "the same seed, another outcome"


def a_network(seed: int = 0) -> SpikingNetwork:
    return SpikingNetwork(birth(None, toys()[0], ANATOMY, 1, (), np.random.default_rng(seed)))


def test_ewc_pulls_back_by_the_fisher_information() -> None:
    """Against its definition, sample by sample; two tasks learnt add up."""
    task, network = toys()[0], a_network()
    ewc = Ewc(strength=3.0, samples=5)
    connectome = network.connectome
    expected = {key: torch.zeros_like(w) for key, w in network.weight.items()}
    for seed in (1, 2):
        connectome = connectome.apply(ewc.learnt(connectome, task, np.random.default_rng(seed)))
        rng = np.random.default_rng(seed)
        for _ in range(5):
            spikes, target = task.batch(rng, 1)
            network.zero_grad()
            task.loss(network(spikes), target).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            for key, w in network.weight.items():
                assert w.grad is not None
                expected[key] += 3.0 * w.grad.square() / 5 * 7.0
    assert any(e.any() for e in expected.values())
    for key, w in network.weight.items():
        edges, none = connectome.edges[key], torch.zeros_like(w)
        sign = torch.zeros(len(edges), dtype=torch.int8)
        update = Update(key, edges, w.detach() + 7.0, none, sign, np.zeros(len(edges), np.uint64), 1.0, 1)
        kept = {name: torch.tensor(edges.state[name]) for name in ewc.remembers}
        torch.testing.assert_close(ewc(update, none, kept), expected[key], rtol=1e-3, atol=1e-9)
        assert not ewc(update, none, dict.fromkeys(ewc.remembers, none)).any(), "nothing learnt, nothing pulls"


def test_consolidation_divides_the_steps_of_edges_that_are_needed() -> None:
    """After two tasks by their Fisher information over its mean, added up; where nothing was learnt, by 1."""
    task, connectome = toys()[0], a_network().connectome
    rule = Consolidation(strength=3.0, samples=5)
    expected: dict[EdgeKey, Any] = dict.fromkeys(connectome.edges, 1.0)
    for seed in (1, 2):
        fisher = empirical_fisher(connectome, task, 5, np.random.default_rng(seed))
        mean = np.concatenate(list(fisher.values())).mean()
        assert mean > 0
        expected = {key: expected[key] + 3.0 * f / mean for key, f in fisher.items()}
        connectome = connectome.apply(rule.learnt(connectome, task, np.random.default_rng(seed)))
    for key, edges in connectome.edges.items():
        none = torch.zeros(len(edges))
        update = Update(key, edges, none, none, none.to(torch.int8), np.zeros(len(edges), np.uint64), 1.0, 1)
        step = torch.full((len(edges),), 6.0)
        found = rule(update, step, {"need": torch.tensor(edges.state["need"])})
        np.testing.assert_allclose(found, 6.0 / expected[key], rtol=1e-5)
        torch.testing.assert_close(rule(update, step, {"need": none}), step)


def test_a_task_that_needs_no_edge_consolidates_none() -> None:
    silent = a_network().connectome
    silent = silent.apply(Edit(reweight={key: 0 * edges.weight for key, edges in silent.edges.items()}))
    after = silent.apply(Consolidation(samples=2).learnt(silent, toys()[0], np.random.default_rng(0)))
    assert not after.edges[FIRST].state["need"].any()


def test_refresh_unlearns_before_each_update_wherever_adam_learns() -> None:
    (stage, _) = stages()
    stage = replace(stage, chains={"local": (Adam(beta1=0.5), Dale()), "afferent": ()}, reuse=3)
    found, er = comparators.refresh(stage), comparators.er(stage)
    assert found.learning == (Refresh(), Dale())
    assert found.chains == {"local": (Refresh(beta1=0.5), Dale()), "afferent": ()}
    assert (found.updates, found.epoch_updates, found.reuse) == (2 * stage.updates, 2 * stage.epoch_updates, 6)
    assert replace(found, learning=stage.learning, chains=stage.chains, updates=stage.updates, reuse=3,
                   epoch_updates=stage.epoch_updates) == er  # fmt: skip


def test_sparse_from_birth_in_closed_form() -> None:
    """Two links each way to the first region, four more to the third; nothing grows in the first stage, which has no
    links, and in the others for as many epochs as growth lasts or the stage has."""
    grow, cut = LongRangeGrowth(edges=90, last_epoch=3), SPARSE
    one, two = stages(grow, cut, updates=20)  # four epochs
    plan = [one, replace(two, updates=6), two]  # the second has two
    a = replace(ANATOMY, neurons=60)
    sparse = sparse_from_birth(a, plan)
    grown = 90 * (2 + 3) / (6 * 60**2)
    assert sparse.long_range_density == pytest.approx((a.long_range_density + grown) * 0.5)
    assert sparse.local_density * sparse.over_production == pytest.approx(a.local_density * a.over_production * 0.4)
    assert sparse.afferent_density == pytest.approx(a.afferent_density * 0.7)
    unpruned = sparse_from_birth(a, [replace(s, rules=()) for s in plan])
    assert unpruned.long_range_density == a.long_range_density
    assert unpruned.local_density * unpruned.over_production == pytest.approx(a.local_density * a.over_production)


def test_sparse_from_birth_has_as_many_edges_as_development_ends_with() -> None:
    """On average: within four standard deviations of binomial counts."""
    plan = stages(LongRangeGrowth(edges=30, last_epoch=1), SPARSE, updates=20)
    anatomy = replace(ANATOMY, neurons=60)
    *_, dense = learn("development", plan, anatomy, seed=3, test_trials=4)
    *_, sparse = learn("sequential", plan, sparse_from_birth(anatomy, plan), seed=3, test_trials=4)
    for kind in ("local", "long_range", "afferent", "efferent"):
        wanted, found = dense.connectome.count(kind), sparse.connectome.count(kind)
        assert abs(found - wanted) <= 4 * math.sqrt(wanted) + 1, kind
    assert (
        sparse_from_birth(Anatomy(), [replace(s, rules=()) for s in plan]).afferent_density
        == Anatomy().afferent_density
    )


def test_a_method_that_is_not_there() -> None:
    with pytest.raises(ConnectomeError, match=r"method must be among development, .*; found 'luck'"):
        list(learn("luck", stages(), ANATOMY))
