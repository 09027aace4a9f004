"""One region that learns to name digits: what trials of how weights learn stand on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from connectome.development.birth import Anatomy
from connectome.development.stage import LearningRates, Stage
from connectome.development.stages import develop
from connectome.learning.learner import CHAIN
from connectome.learning.network import SpikingNetwork
from connectome.learning.task import acting

if TYPE_CHECKING:
    from connectome.development.stage import Select
    from connectome.graph.connectome import Connectome
    from connectome.learning.learner import Chain
    from connectome.learning.task import Act, Task
    from connectome.learning.views import WeightView

__all__ = ["matured", "matured_region", "unsigned"]


def matured(
    task: Task,
    seed: int,
    updates: int,
    rate: float,
    chain: Chain = CHAIN,
    views: Mapping[str, WeightView] | None = None,
) -> Act:
    """What a region as below makes of spikes."""
    return acting(SpikingNetwork(matured_region(task, seed, updates, rate, chain, views), recruit=task.recruits))


def matured_region(
    task: Task,
    seed: int,
    updates: int,
    rate: float,
    chain: Chain = CHAIN,
    views: Mapping[str, WeightView] | None = None,
    select: Select | None = None,
) -> Connectome:
    """A region of 128 neurons after so many updates, without rules."""
    stage = Stage(
        task, updates, learning_rates=LearningRates(rate), learning=chain, views=views or {}, validate_every=10**6,
        validation_trials=1, select=select,
    )  # fmt: skip
    *_, last = develop([stage], Anatomy(neurons=128), seed=seed, test_trials=1)
    return last.connectome


def unsigned(connectome: Connectome, name: str) -> Connectome:
    """The same, but that the neurons of a region may excite and inhibit."""
    region = connectome.regions[name]
    free = replace(region, sign=np.zeros(region.size, np.int8))
    return replace(connectome, regions={**connectome.regions, name: free})
