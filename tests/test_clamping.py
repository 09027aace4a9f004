"""Clamping through training: the closed form, and regions that play what a teacher does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from connectome import ConnectomeError
from connectome.circuits.clamping import contraction, descend, playing
from connectome.development.stages import develop
from connectome.graph.connectome import Edit
from connectome.graph.parts import EdgeKey
from connectome.learning.network import SpikingNetwork
from connectome.learning.task import acting
from tests.test_development import ANATOMY, stages


def test_the_loss_contracts_as_the_closed_form_says() -> None:
    truth, start = np.random.default_rng(4).standard_normal((2, 3, 20))
    losses = descend(truth, start, (1, 2), 60)
    np.testing.assert_allclose(losses[1:] / losses[:-1], contraction(truth, 0), rtol=1e-9)
    assert descend(truth, truth, (), 3).max() < 1e-15
    # the first step, free, by differences of the loss itself
    tensors = [torch.tensor(v, requires_grad=True) for v in start]
    target = torch.einsum("i,j,k->ijk", *(torch.tensor(v) for v in truth))
    loss = 0.5 * ((torch.einsum("i,j,k->ijk", *tensors) - target) ** 2).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    step = [(v - v.grad).detach().numpy() for v in tensors if v.grad is not None]
    assert descend(truth, start, (), 0)[0] == pytest.approx(loss.item())
    assert descend(truth, start, (), 1)[1] == pytest.approx(descend(truth, step, (), 0)[0])


def test_a_region_plays_what_the_teacher_does() -> None:
    """A network whose edges into the region are gone does as the teacher, with the region played; and so in a stage:
    the region's edges have no gradient, the others do."""
    first, second = stages(updates=10)
    *_, outcome = develop([first, second], ANATOMY, seed=2, test_trials=4)
    teacher, task = outcome.connectome, second.task
    into = EdgeKey("eye", "afferent", "first")
    deaf = teacher.apply(Edit(reweight={into: np.zeros_like(teacher.edges[into].weight)}))
    spikes, _ = task.batch(np.random.default_rng(0), 5)
    right, wrong, played, late = (
        acting(SpikingNetwork(net, recruit=task.recruits), inputs)(spikes).potential["second_out"]
        for net, inputs in (
            (teacher, {}), (deaf, {}), (deaf, playing(teacher, task.recruits, ["first"])),
            (deaf, playing(teacher, task.recruits, ["first"], shift=1)),
        )
    )  # fmt: skip
    assert torch.equal(right, played)
    assert not torch.equal(right, wrong)
    assert not torch.equal(right, late)
    held = replace(second, updates=3, inputs=playing(teacher, task.recruits, ["first"]))
    one, two = develop([first, held], ANATOMY, seed=2, test_trials=4)
    sets = [(k, e.weight, two.connectome.edges[k].weight) for k, e in one.connectome.edges.items()]
    same = {key for key, before, after in sets if np.array_equal(before, after)}
    assert into in same
    assert EdgeKey("first", "local", "first") in same
    *_, shorter = develop([first, replace(held, updates=1)], ANATOMY, seed=2, test_trials=4)
    new = EdgeKey("second", "efferent", "second_out")
    assert not np.array_equal(shorter.connectome.edges[new].weight, two.connectome.edges[new].weight), "it learns"


def test_regions_must_take_part() -> None:
    (outcome,) = develop(stages(updates=2)[:1], ANATOMY, seed=2, test_trials=4)
    with pytest.raises(ConnectomeError, match="regions"):
        playing(outcome.connectome, ("first",), ["second"])
