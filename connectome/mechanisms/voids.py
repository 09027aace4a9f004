"""Voids: regions that take part in a task and make no difference to it, told by their norm and by silencing them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from connectome.development.stages import perform
from connectome.graph.connectome import Connectome
from connectome.learning.probe import Probe
from connectome.learning.task import Score, Task

__all__ = ["Voids", "find_voids", "silencing_effect", "void_by_norm", "void_samples"]

#: Of the largest change of the norm: below it a region is void in a sample.
ALPHA: Final = 0.8
#: Of the score: what silencing a void changes it by, at most.
MARGIN: Final = 0.005
_TRIALS = 300


class Voids(NamedTuple):
    """What silencing regions one by one, and then all voids together, does to a task.

    ``effect[region]`` : the score with the region silent, less the score; ``void`` : the regions whose effect is below
    the margin either way; ``score``, ``silenced`` : as it is, and with all of these silent
    """

    effect: Mapping[str, float]
    void: tuple[str, ...]
    score: Score
    silenced: Score


def find_voids(
    connectome: Connectome, task: Task, *, recruits: Sequence[str] | None = None, split: str = "validation",
    trials: int = _TRIALS, seed: Sequence[int] = (0,), margin: float = MARGIN,
) -> Voids:  # fmt: skip
    """The regions of a task without which it is done as well: clamped to silence, one after the other, on the same
    trials. ``recruits`` : who takes part, by default whom the task recruits."""
    there = task.recruits if recruits is None else recruits
    regions = [name for name in there if connectome.regions[name].role == "neuron"]

    def without(silent: Collection[str]) -> Score:
        mask = {name: torch.zeros(connectome.regions[name].size) for name in silent}
        return perform(connectome, task, split, trials, seed, recruits=there, inputs={"mask": mask})

    score = without(())
    effect = {name: without((name,)).value - score.value for name in regions}
    void = tuple(name for name, change in effect.items() if abs(change) < margin)
    return Voids(effect, void, score, without(void))


def silencing_effect(connectome: Connectome, probe: Probe) -> dict[str, float]:
    """The score on validation data with a region silent, less the score as it is: 0 of a void."""
    return dict(find_voids(connectome, probe.task, seed=probe.seed).effect)


def void_samples(connectome: Connectome, probe: Probe) -> dict[str, float]:
    """Share of samples in which a region is a void by its norm: :func:`void_by_norm`."""
    return {name: float(void.mean()) for name, void in void_by_norm(connectome, probe.spikes(connectome)).items()}


def void_by_norm(connectome: Connectome, spikes: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.bool_]]:
    """Region -> (B,) the samples in which it is a void, of (B, T, N) spikes of regions and sensors: the norm of its
    rates differs from that of what drives it by less than 0.8 of what it does in the region where most (after
    Shemiranifar 2025, arXiv 2505.14467).

    Ours: the paper goes from layer to layer; here all regions and sensors with edges to a region drive it. A region
    that nothing drives is left out."""
    square = {name: np.square(s.mean(1, dtype=np.float64)).sum(1) for name, s in spikes.items()}
    change: dict[str, NDArray[np.float64]] = {}
    for name in spikes:
        joined = {key.source for key, edges in connectome.edges.items() if key.target == name and len(edges)}
        drive = [square[source] for source in square if source in joined - {name}]
        if drive and connectome.regions[name].role == "neuron":
            change[name] = np.abs(np.sqrt(square[name]) - np.sqrt(np.sum(drive, axis=0)))
    most = np.maximum.reduce(list(change.values())) if change else 0.0
    return {name: x < ALPHA * most for name, x in change.items()}
