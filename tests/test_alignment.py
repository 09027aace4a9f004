"""Rich or lazy: alignment of kernels against closed forms; regions that begin with few directions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from connectome import EdgeKey
from connectome.learning.network import SpikingNetwork
from connectome.learning.task import outputs_of
from connectome.mechanisms.alignment import (
    alignment,
    effective_rank,
    kernel_alignment,
    representation_alignment,
    tangent,
)
from connectome.mechanisms.low_rank_birth import LowRankBirth
from connectome.rules import Context
from sims.studies.mechanisms import rich_lazy as trial


@given(seed=st.integers(0, 10**6), factor=st.floats(0.1, 10))
def test_what_is_turned_or_scaled_is_as_it_was(seed: int, factor: float) -> None:
    """K = H H' is the same however H is turned; of other samples it is another; it is never above 1."""
    rng = np.random.default_rng(seed)
    h = rng.normal(size=(6, 4))
    turn = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    assert alignment(h, factor * h @ turn) == pytest.approx(1)
    other = rng.normal(size=(6, 9))
    assert 0 <= alignment(h, other) < 1
    assert alignment(h, other) == pytest.approx(alignment(other, h))


def test_samples_that_have_nothing_in_common_any_more() -> None:
    assert alignment(np.eye(4)[:, :2], np.eye(4)[:, 2:]) == 0
    assert np.isnan(alignment(np.zeros((3, 2)), np.ones((3, 2))))


def test_nothing_learnt_is_lazy_and_a_tangent_is_a_difference() -> None:
    before, task = trial._born(3, 1)
    key = trial._KEY
    rng = [np.random.default_rng(0) for _ in range(4)]
    assert kernel_alignment(before, before, task, key, rng[0], samples=2) == pytest.approx(1)
    assert representation_alignment(before, before, task, task.name, rng[1], samples=8) == pytest.approx(1)
    shuffled = before.edges[key].weight[np.random.default_rng(1).permutation(len(before.edges[key]))]
    after = replace(before, edges={**before.edges, key: replace(before.edges[key], weight=20 * shuffled)})
    assert representation_alignment(before, after, task, task.name, rng[2], samples=32) < 0.999
    efferent = EdgeKey("perception", "efferent", "digit")
    spikes, _ = task.batch(rng[3], 2)
    slope = tangent(before, task, efferent, spikes, 3)
    assert slope.shape == (6, len(before.edges[efferent]))
    # What effectors say is linear in the weights of their own edges, so a difference is exact.
    network = SpikingNetwork(before, recruit=task.recruits)
    edge = int(np.argmax(np.abs(slope[4])))
    with torch.no_grad():
        first = outputs_of(task, network(spikes))
        network.weight[efferent][edge] += 50.0
        change = (outputs_of(task, network(spikes)) - first) / 50.0
    assert float(change[1, 1]) == pytest.approx(float(slope[4, edge]), rel=1e-3)


def test_a_region_is_born_with_few_directions_at_the_same_norm() -> None:
    born = {rank: trial._born(rank, 2)[0] for rank in (1, 10, 100)}
    key = trial._KEY
    ranks = []
    for c in born.values():
        edges = c.edges[key]
        matrix = np.zeros((100, 100))
        matrix[edges.source, edges.target] = edges.weight
        ranks.append(effective_rank(matrix))
    assert ranks[0] < 6 < ranks[1] < 20 < ranks[2]
    c = born[100]
    again = c.apply(LowRankBirth(2)(c, Context(1, 0, 0, "perception"), np.random.default_rng(0)))
    assert not np.array_equal(again.edges[key].weight, c.edges[key].weight)
    norms = [np.linalg.norm(x.edges[key].weight) for x in (c, again)]
    assert norms[1] == pytest.approx(norms[0], rel=1e-5)
    assert effective_rank(np.outer([1, 2], [3, 4])) == pytest.approx(1)
    assert effective_rank(np.eye(5)) == pytest.approx(5)
    assert effective_rank(np.zeros((2, 2))) == 0


def test_signs_of_sources_stay_and_other_sets_too() -> None:
    c, task = trial._born(100, 2)
    sign = np.where(np.arange(100) % 4 == 0, -1, 1).astype(np.int8)
    region = replace(c.regions[task.name], sign=sign)
    edges = c.edges[trial._KEY]
    told = replace(edges, weight=np.abs(edges.weight) * edges.at_source(sign))
    others = {k: e for k, e in c.edges.items() if k.source != task.name}
    c = replace(c, regions={**c.regions, task.name: region}, edges={**others, trial._KEY: told})
    edit = LowRankBirth(1)(c, Context(1, 0, 0, task.name), np.random.default_rng(0))
    assert set(edit.reweight) == {trial._KEY}
    assert (c.apply(edit).edges[trial._KEY].weight * edges.at_source(sign) >= 0).all()
    assert not LowRankBirth(1)(c, Context(1, 0, 0, "other"), np.random.default_rng(0)).reweight


def test_the_trial_judges_each_part() -> None:
    spread = np.array([-0.01, 0.0, 0.01, 0.0, 0.0])
    v = {}
    for i, c in enumerate(trial.rich_lazy.conditions):
        means = {"kernel": 0.4 + 0.1 * i, "representation": 0.7 + 0.05 * i, "loss": 0.8 + 0.01 * i}
        v[c] = {m: x + spread for m, x in means.items()}
    assert all(check.holds for check in trial.rich_lazy.check(v))
    v["rank 10"] = {"kernel": 0.71 + spread, "representation": 0.7 + spread, "loss": 1.2 + spread}
    assert [check.holds for check in trial.rich_lazy.check(v)] == [True, True, False, False]
    v["full rank"] = {"kernel": 0.55 + spread, "representation": 0.75 + spread, "loss": 0.8 + spread}
    assert not any(check.holds for check in trial.rich_lazy.check(v))
