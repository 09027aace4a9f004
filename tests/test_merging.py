"""Adapters of tasks: how merging draws them together, how one is found; their trial."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from connectome.development.birth import birth
from connectome.graph.parts import EdgeKey
from connectome.learning.learner import Learner
from connectome.learning.optimisers import Adam
from connectome.mechanisms.low_rank import LowRank
from connectome.mechanisms.merging import Gaussians, Merging, retrieve
from sims.studies.mechanisms import adapters as study
from tests.test_development import ANATOMY, toys

LOCAL = EdgeKey("first", "local", "first")


def test_without_a_gradient_what_learns_comes_to_the_mean_by_a_tenth_in_an_update() -> None:
    """Its distance falls as 0.9^n, and in the first stage it stays."""
    task, rng = toys()[0], np.random.default_rng(0)
    born = birth(None, task, ANATOMY, 1, (), rng)
    chain, none = (Adam(), Merging(0.1)), {"efferent": ()}
    batch = task.batch(rng, 4)
    first = Learner(born, task, chain, chains=none)
    for _ in range(3):
        first.step(*batch, lambda key: 0.0)
    still = first.connectome()
    np.testing.assert_array_equal(still.edges[LOCAL].weight, born.edges[LOCAL].weight)
    known = still.apply(Merging(0.1).learnt(still, task, rng))
    half = replace(
        known,
        edges={**known.edges, LOCAL: replace(known.edges[LOCAL], weight=born.edges[LOCAL].weight * np.float32(0.5))},
    )
    second = Learner(half, task, chain, chains=none)
    for n in range(1, 8):
        second.step(*batch, lambda key: 0.0)
        left = (born.edges[LOCAL].weight - second.network.weight[LOCAL].detach().numpy()) / born.edges[LOCAL].weight
        np.testing.assert_allclose(left, 0.5 * 0.9**n, rtol=1e-4)
    after = second.connectome()
    after = after.apply(Merging(0.1).learnt(after, task, rng))
    expected = (born.edges[LOCAL].weight + after.edges[LOCAL].weight) / 2
    np.testing.assert_allclose(after.edges[LOCAL].state["merging_mean"], expected, rtol=1e-5)
    assert set(after.edges[LOCAL].state["merging_count"].tolist()) == {2.0}
    assert not any("merging_mean" in e.state for k, e in after.edges.items() if k.base == "efferent")


def test_adapters_are_merged_and_the_weights_below_them_are_not() -> None:
    task, rng = toys()[0], np.random.default_rng(0)
    born = birth(None, task, ANATOMY, 1, (), rng)
    chains = dict.fromkeys(("afferent", "local", "efferent"), ())
    learner = Learner(born, task, (Adam(), Merging(0.5)), chains=chains, views={LOCAL: LowRank(1)})
    for _ in range(3):
        learner.step(*task.batch(rng, 4), lambda key: 5.0, rate=lambda key: 0.1)
    found = learner.connectome()
    edges = found.apply(Merging(0.5).learnt(found, task, rng)).edges[LOCAL]
    assert {n for n in edges.state if "merging" in n} == {
        f"low_rank_{side}0.merging_{kept}" for side in "uv" for kept in ("mean", "count")
    }
    np.testing.assert_array_equal(edges.state["low_rank_v0.merging_mean"], edges.state["low_rank_v0"])
    assert edges.state["low_rank_v0"].any()


def test_gaussians_are_told_apart_as_by_their_densities() -> None:
    rng = np.random.default_rng(0)
    mean, root = rng.normal(size=(3, 4)), rng.normal(size=(4, 4))
    cov, x = root @ root.T + np.eye(4), rng.normal(size=(9, 4))
    exact = np.stack([multivariate_normal(m, cov).logpdf(x) for m in mean], 1)
    found = Gaussians(mean, cov, 0.0)(x)
    np.testing.assert_allclose(found - found[:, :1], exact - exact[:, :1])
    shrunk = Gaussians(mean, cov, 1.0)(x) * np.trace(cov) / 4
    np.testing.assert_allclose(shrunk[:, 1] - shrunk[:, 0], (x @ mean.T - 0.5 * (mean**2).sum(1))[:, [0, 1]] @ [-1, 1])


@given(st.integers(0, 200), st.integers(1, 6))
def test_retrieval_ends_where_class_and_adapter_agree_or_is_cut(seed: int, rounds: int) -> None:
    rng = np.random.default_rng(seed)
    task_of, first, table = np.array([0, 0, 1, 1, 2]), rng.normal(size=(8, 5)), rng.normal(size=(3, 8, 5))
    chosen, asked, logits = retrieve(first, task_of, lambda which, task: table[task, which], rounds)
    assert ((asked >= 1) & (asked <= rounds)).all()
    for b in range(8):
        steps: list[int] = []
        said = first[b]
        while len(steps) < rounds and (not steps or steps[-1] != task_of[said.argmax()]):
            steps.append(task_of[said.argmax()])
            said = table[steps[-1], b]
        assert (asked[b], chosen[b]) == (len(steps), steps[-1])
        np.testing.assert_array_equal(logits[b], said)


def test_the_trial_is_judged_by_its_bounds() -> None:
    trial, spread = study.adapters, np.array([-0.01, 0.0, 0.01, 0.0, 0.0])

    def held(ours: float, last: float) -> list[bool]:
        values = {
            c: dict.fromkeys(trial.measures, (0.7 if i else ours) + spread[:: 1 if i else -1])
            for i, c in enumerate(trial.conditions)
        }
        values["merged and retrieved"]["last"] = last + spread
        return [check.holds for check in trial.check(values)]

    assert held(0.75, 0.695) == [True] * 6
    assert held(0.68, 0.68) == [False] * 6
    assert held(0.715, 0.68)[:2] == [False, False]


def test_a_cell_of_each_condition() -> None:
    found = {c: study._run(c, 0, True) for c in study.adapters.conditions}
    assert found["told"]["task"] == 1
    assert found["base alone"]["right"] != found["nearest class mean"]["right"]
    assert all(0 <= x <= 1 for of in found.values() for x in of.values())


def test_each_adapter_begins_afresh() -> None:
    base = study._base(0, True)
    way = study._WAYS["merged and retrieved"]
    found, own, plain = study._grown(way._replace(rounds=4, told=False), 0, True)
    assert len(found) == 5
    assert [np.shape(x) for x in own[9]] == [np.shape(x) for x in plain[9]] == [(128,), (128, 128)]
    assert len(own) == len(plain) == 10
    afresh = study._afresh(found[0], base)
    for key, edges in afresh.edges.items():
        np.testing.assert_array_equal(edges.weight, base.edges[key].weight)
        assert all("merging" in name for name in edges.state)
        assert (key.base == "efferent") == (not edges.state)
    assert found[4].edges[EdgeKey("perception", "local", "perception")].state["low_rank_u0.merging_count"].max() == 5
