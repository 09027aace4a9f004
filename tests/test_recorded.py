"""The loss on recorded activity: the filter, the loss and its balance in closed form; the task that has it beside its
own."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter
from torch import Tensor

from connectome import Connectome, ConnectomeError
from connectome.development.birth import birth
from connectome.development.stage import Stage
from connectome.development.stages import develop
from connectome.learning.learner import Learner
from connectome.learning.network import SpikingNetwork
from connectome.learning.recorded import Recorded, balance, filtered, recorded_loss
from connectome.learning.task import Batch, Task
from tests.test_development import ANATOMY, Toy, stages

WHO = [4, 0]


@given(st.integers(1, 700), st.floats(0.1, 1e4), st.integers(0, 2**32 - 1))
def test_the_filter_is_a_recursion(steps: int, tau: float, seed: int) -> None:
    trains = np.random.default_rng(seed).random((2, steps, 3)) < 0.2
    expected = lfilter([1.0], [1.0, -np.exp(-1 / tau)], trains.astype(float), axis=1)
    np.testing.assert_allclose(filtered(torch.tensor(trains).double(), tau).numpy(), expected, rtol=1e-9, atol=1e-12)


def test_the_loss_in_closed_form() -> None:
    """A spike that comes d steps late leaves k - k(. - d)."""
    steps, tau, late = 40, 5.0, 3
    spikes, trains = torch.zeros(1, steps, 6, dtype=torch.float64), torch.zeros(1, steps, 2)
    trains[0, 10, 0], spikes[0, 10 + late, WHO[0]], spikes[0, 7, 5] = 1, 1, 1
    keep = np.exp(-1 / tau)
    lag = np.arange(steps) - 10
    left = np.where(lag >= 0, keep**lag, 0) - np.where(lag >= late, keep ** (lag - late), 0)
    found = recorded_loss(spikes, trains, WHO, tau)
    assert found.item() == pytest.approx((left**2).sum() / (2 * steps))
    spikes[0, 10 + late, WHO[0]], spikes[0, 10, WHO[0]] = 0, 1
    assert recorded_loss(spikes, trains, WHO, tau).item() == 0
    some = torch.rand(2, 9, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: recorded_loss(s, trains[:, :9].expand(2, -1, -1), WHO, tau), some)


def test_balanced_gradients_are_alike() -> None:
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    aside = torch.tensor([1.0], requires_grad=True)
    first, second = (weight * torch.tensor([3.0, 4.0])).sum() + 12 * aside.sum(), 0.5 * weight[1]
    assert balance([weight, aside], first, second) == pytest.approx(13 / 0.5)
    with pytest.raises(ConnectomeError, match="of_recorded must have a finite gradient"):
        balance([weight], first, (0 * weight).sum())


def toy(alpha: float, performs: bool = True) -> tuple[Connectome, Toy, Recorded]:
    """A region and a task of the tests of development, and what neurons of a region with other weights fired in it."""
    task = stages()[0].task
    assert isinstance(task, Toy)
    born, another = (birth(None, task, ANATOMY, 1, (), np.random.default_rng(seed)) for seed in (0, 4))
    other = SpikingNetwork(another, recruit=task.recruits)

    def recordings(spikes: dict[str, Tensor], target: object) -> Tensor:
        with torch.no_grad():
            fired: Tensor = other(spikes, record=(task.name,)).spikes[task.name]
        return fired[..., WHO]

    return born, task, Recorded(task, task.name, WHO, recordings, alpha, 3.0, performs)  # type: ignore[arg-type]


def steps(connectome: Connectome, task: Task, updates: int = 30) -> tuple[Connectome, list[float]]:
    learner, rng = Learner(connectome, task), np.random.default_rng(1)
    losses = [learner.step(*task.batch(rng, 8), lambda key: 5.0) for _ in range(updates)]
    return learner.connectome(), losses


def recorded_error(connectome: Connectome, beside: Recorded) -> float:
    batch: Batch = beside.batch(np.random.default_rng(2), 32)
    with torch.no_grad():
        activity = SpikingNetwork(connectome, recruit=beside.recruits)(batch[0], record=beside.record)
        return float(beside.losses(activity, batch[1])[1])


def test_a_learner_learns_what_was_recorded_beside_its_task() -> None:
    born, task, beside = toy(1.0)
    assert beside.record == (task.name,)
    assert steps(born, toy(0.0)[2])[0].digest() == steps(born, task)[0].digest()
    without = recorded_error(steps(born, task)[0], beside)
    assert recorded_error(steps(born, beside)[0], beside) < 0.8 * without
    (outcome,) = develop([Stage(beside, 30, batch=8, epoch_updates=10)], ANATOMY, seed=0, test_trials=8)
    (plain,) = develop([Stage(task, 30, batch=8, epoch_updates=10)], ANATOMY, seed=0, test_trials=8)
    assert recorded_error(outcome.connectome, beside) < 0.8 * recorded_error(plain.connectome, beside)
    alone, _ = steps(born, toy(1.0, performs=False)[2])
    for key, edges in alone.edges.items():
        assert np.array_equal(edges.weight, born.edges[key].weight) == (key.kind == "efferent"), key


@pytest.mark.parametrize(
    ("message", "call"),
    [
        ("tau_steps must be finite", lambda s: filtered(s, 0)),
        ("neurons must be one or more different", lambda s: recorded_loss(s, s, [1, 1, 2], 5)),
        ("neurons must be one or more different", lambda s: recorded_loss(s, s, [0, 1, 3], 5)),
        ("neurons must be one or more different", lambda s: recorded_loss(s, s[..., :0], [], 5)),
        ("trains must have shape", lambda s: recorded_loss(s, s, [0], 5)),
        ("alpha must be finite", lambda s: toy(-1.0)),
        ("region must be one that", lambda s: Recorded(SimpleNamespace(recruits=(), name="a"), "b", [0], s, 1, 1)),
    ],
)
def test_what_does_not_fit(message: str, call: Callable[[Tensor], object]) -> None:
    with pytest.raises(ConnectomeError, match=message):
        call(torch.zeros(1, 4, 3))
