"""Samples chosen by their gradients: shares, gradients, whom they favour."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from connectome.datasets.tasks import Perception
from connectome.development.birth import Anatomy, birth
from connectome.development.stage import Stage
from connectome.development.stages import develop
from connectome.learning.network import SpikingNetwork
from connectome.mechanisms.gradient_clusters import GradientClusters, _stratified, sample_gradients, shares
from sims.studies.development import read_images


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(0, 200))
def test_each_gives_as_many_as_far_as_it_has_them(counts: list[int], n: int) -> None:
    count = np.array(counts)
    found = shares(count, n)
    assert found.sum() == min(n, count.sum())
    assert ((found >= 0) & (found <= count)).all()
    not_all = found[found < count]
    if not_all.size:
        assert not_all.max() - not_all.min() <= 1
        assert found.max() <= not_all.min() + 1


def test_each_interval_gives_its_share_exactly() -> None:
    rng = np.random.default_rng(0)
    score = np.concatenate([rng.uniform(0, 1, 50), rng.uniform(4, 5, 7), [10.0, 9.5]])
    chosen = _stratified(score, 12, 10, rng)
    assert len({*chosen.tolist()}) == 12
    counts = [int(((score[chosen] >= low) & (score[chosen] < high)).sum()) for low, high in ((0, 1), (4, 5), (9, 11))]
    assert counts == [5, 5, 2]
    assert _stratified(np.ones(5), 3, 10, rng).size == 3
    assert _stratified(np.ones(5), 0, 10, rng).size == 0


def born(task: Perception) -> SpikingNetwork:
    rng = np.random.default_rng(0)
    return SpikingNetwork(birth(None, task, Anatomy(neurons=40), 1, (), rng), recruit=task.recruits)


def test_gradients_of_samples_are_those_of_the_weights_to_the_effectors() -> None:
    """As what the loss of one sample gives: cosines of whole gradients, on average over projections."""
    task = Perception(read_images(""))
    network = born(task)
    spikes, label = task.batch(np.random.default_rng(1), 6)
    found = sample_gradients(task, network, spikes, label, 60000, np.random.default_rng(2))
    exact = []
    for i in range(6):
        one = {name: s[i : i + 1] for name, s in spikes.items()}
        with torch.no_grad():
            activity = network(one, record=(task.name,))
        potential = activity.potential[task.effector].detach().requires_grad_()
        loss = task.loss(activity._replace(potential={task.effector: potential}), label[i : i + 1])
        (error,) = torch.autograd.grad(loss, potential)
        error, rate = error.sum(1)[0].double(), activity.spikes[task.name].double().mean(1)[0]
        exact.append(torch.outer(rate, error).flatten().numpy())
    expected = np.array(exact) @ np.array(exact).T
    np.testing.assert_allclose(found @ found.T, expected, atol=0.05 * expected.max())


@dataclass(frozen=True, eq=False)
class Few(Perception):
    """Twos are one in thirty."""

    def _of(self, split: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        pick, label = super()._of(split)
        kept = (label != 2) | (np.arange(len(label)) % 30 == 0)
        return (pick[kept], label[kept]) if split == "train" else (pick, label)


def test_what_is_rare_is_chosen_more_often() -> None:
    task, rng = Few(read_images(""), classes=(0, 1, 2)), np.random.default_rng(0)
    network, select = born(task), GradientClusters(clusters=3)
    chosen = np.concatenate([select(task, network, rng, 20)[1].numpy() for _ in range(8)])
    drawn = task.batch(rng, 2000)[1].numpy()
    assert len(chosen) == 160
    assert (chosen == 2).mean() > 2 * (drawn == 2).mean()


def test_a_stage_selects_and_the_same_seed_does_the_same() -> None:
    task = Perception(read_images(""))
    stage = Stage(task, 6, batch=8, select=GradientClusters(pool=3), validation_trials=8)
    digests = []
    for plan in (stage, stage, replace(stage, select=None)):
        (outcome,) = develop([plan], Anatomy(neurons=24), seed=1, test_trials=8)
        digests.append(outcome.connectome.digest())
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("target", [torch.arange(4), {"a": torch.arange(4)}, (torch.arange(4), torch.arange(4))])
def test_any_target_is_picked_from(target: Any) -> None:
    from connectome.mechanisms.gradient_clusters import _picked

    found = _picked(target, torch.tensor([2, 0]))
    for part in found.values() if isinstance(found, dict) else [found] if isinstance(found, torch.Tensor) else found:
        assert part.tolist() == [2, 0]
