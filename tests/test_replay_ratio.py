"""The adaptive replay ratio: the share of active units, when it switches, what is drawn then; its trial."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from connectome import plugins
from connectome.development.stage import REUSE, StageState
from connectome.development.stages import develop
from connectome.learning.network import SpikingNetwork
from connectome.learning.task import Task
from connectome.mechanisms.replay_ratio import ReplayRatio, active_share
from sims.studies.mechanisms import plasticity_loss as study
from tests.test_development import ANATOMY, stages


def test_the_share_of_threshold_units_is_that_of_their_drive_above_it() -> None:
    """Of a Gaussian drive and a threshold: 1 - Phi(theta)."""
    theta = np.array([-1.0, 0.0, 0.5, 2.0])
    drive = np.random.default_rng(0).normal(size=(40000, 1, 4))
    exact = [0.5 * math.erfc(t / math.sqrt(2)) for t in theta]
    np.testing.assert_allclose(active_share(drive > theta), exact, atol=0.01)
    twice = np.concatenate([drive > theta, drive > theta], 1)
    assert active_share(twice).tolist() == active_share(drive > theta).tolist(), "a spike or two are one"


def test_the_diagnostic_is_the_share_over_neurons_and_samples() -> None:
    class Spikes:
        def spikes(self, connectome: Any) -> dict[str, Any]:
            s = np.zeros((4, 3, 24))
            s[0, :, :12] = s[2, 1, 0] = 1
            return {"first": s}

    (last,) = develop([replace(stages(updates=2)[0])], ANATOMY, seed=1, test_trials=4)
    found = plugins.load("diagnostics", "active_units", "")(last.connectome, Spikes())
    assert found == {"first": pytest.approx(13 / (4 * 24))}


def drawn(tolerance: float, **more: Any) -> tuple[list[int], Any]:
    """The updates before which batches are drawn, in epochs of 5, and the connectome at the end."""
    at: list[int] = []
    count = [0]

    def select(task: Task, network: SpikingNetwork, rng: np.random.Generator, size: int) -> Any:
        at.append(count[0])
        return task.batch(rng, size)

    class Counted:
        def __call__(self, now: Any) -> torch.Tensor:
            count[0] += 1
            return torch.zeros(())

    stage = replace(
        stages(updates=20)[0], epoch_updates=5, rules=(ReplayRatio(3, tolerance),), select=select,
        extra_loss=Counted(), **more,
    )  # fmt: skip
    (last,) = develop([stage], ANATOMY, seed=1, test_trials=4)
    return at, last.connectome


def test_batches_are_used_more_often_when_activity_has_settled() -> None:
    """Two epochs at least, as one has nothing before it. After the switch a batch is drawn at once, then whenever the
    number of updates divides."""
    at, last = drawn(1.0)
    assert at == [*range(10), 10, 12, 15, 18]
    assert set(last.regions["first"].state[REUSE].tolist()) == {3.0}
    at, last = drawn(0.0)
    assert at == list(range(20)) or REUSE in last.regions["first"].state
    at, _ = drawn(1.0, reuse=2)
    assert at == [0, 2, 4, 6, 8, 10, 12, 15, 18]


@pytest.mark.parametrize("at", [9, 10, 11, 13])
def test_a_run_goes_on_to_the_same_bytes_after_the_switch(at: int) -> None:
    stage = replace(stages(updates=16)[0], epoch_updates=5, rules=(ReplayRatio(4, 1.0),))
    states: list[StageState] = []
    (whole,) = develop([stage], ANATOMY, seed=1, test_trials=4, on_point=lambda state: states.append(state()))
    here = next(state for state in states if state.update == at)
    (rest,) = develop([stage], ANATOMY, seed=1, test_trials=4, resume=here)
    assert rest.connectome.digest() == whole.connectome.digest()
    (never,) = develop([replace(stage, rules=())], ANATOMY, seed=1, test_trials=4)
    assert not np.array_equal(
        next(iter(never.connectome.edges.values())).weight, next(iter(whole.connectome.edges.values())).weight
    )


def test_the_trial_is_judged_by_its_bounds() -> None:
    trial, spread = study.plasticity_loss, np.array([-0.001, 0.0, 0.001, 0.0, 0.0])

    def held(ours: float, at: float) -> list[bool]:
        values = {
            c: dict.fromkeys(trial.measures, (ours if c == "adaptive" else 0.6) + spread[:: 1 if i else -1])
            for i, c in enumerate(trial.conditions)
        }
        values["adaptive"] = values["adaptive"] | {"switched at": np.full(5, at)}
        return [check.holds for check in trial.check(values)]

    assert held(0.7, 0.3) == [True] * 5
    assert held(0.59, 1.0) == [False] * 5
    assert held(0.597, 0.3) == [True, False, False, True, False]


def test_a_cell_of_each_condition() -> None:
    found = {c: study._run(c, 0, True) for c in study.plasticity_loss.conditions}
    for name, of in found.items():
        if name.endswith(("update", "updates")):
            assert of["updates"] == int(name.split()[0])
            assert "switched at" not in of
    assert found["told when"]["switched at"] == pytest.approx(0.25, abs=0.1)
    assert all(0 <= of["never fire"] <= 1 - of["active units"] for of in found.values())
