"""The tasks that regions learn: perception (name a digit), motor (reach a goal), interaction (reach where a digit
says).

A task declares the sensors and effectors that its region is wired to, and which regions it recruits. Add one of your
own through the entry point group ``connectome.tasks``: a callable that takes :class:`Images` and gives a task.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome.datasets.arm import (
    LIMITS,
    MAX_MOVE,
    MOVES,
    ReachArm,
    forward_kinematics,
    inverse_kinematics,
    random_posture,
    teacher,
)  # fmt: skip
from connectome.datasets.encoding import population_code, rate_code
from connectome.datasets.images import Images
from connectome.learning import Activity
from connectome.task import Act, Score, Task

__all__ = ["PLACES", "Interaction", "Motor", "Perception", "known_tasks"]

Array = NDArray[Any]

#: Length of a sample in steps (of 1 ms); a chain of three regions takes longer to settle.
STEPS: Final = 20
CHAIN_STEPS: Final = 30
#: Readouts are means over the last steps of a sample.
READOUT_STEPS: Final = 10
#: Spikes per step of a white pixel.
IMAGE_PEAK: Final = 0.25
#: Units of the population code of one joint or one coordinate.
UNITS: Final = 12
#: Readouts are in units of the distance from rest to threshold, mV.
_UNIT_MV: Final = 15.0
#: Where each digit, 0 .. 9, sends the hand: (10, 2), spread over what the arm can reach.
PLACES: Final = forward_kinematics(np.stack(np.meshgrid(np.linspace(-1.2, 1.2, 5), (0.7, 1.8)), -1).reshape(10, 2))


@dataclass(frozen=True, eq=False)
class Perception:
    """Recognise a handwritten digit: image -> perception -> one effector per digit, the highest mean potential wins."""

    images: Images
    jitter: float = 0.5
    name: str = "perception"
    requires: tuple[str, ...] = ()
    recruits: tuple[str, ...] = ("image", "perception", "digit")
    effectors: Mapping[str, int] = field(default_factory=lambda: {"digit": 10})

    @property
    def sensors(self) -> Mapping[str, int]:
        """One unit a pixel."""
        return {"image": int(np.prod(self.images.shape))}

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Mapping[str, Tensor], Any]:
        """Training images, each shifted at random by up to ``jitter`` pixels, and their labels."""
        pick = rng.integers(0, len(self.images.label["train"]), size)
        image = shifted(self.images.look("train", pick), self.jitter, rng)
        return {"image": _see(image, STEPS)}, torch.from_numpy(self.images.label["train"][pick])

    def loss(self, activity: Activity, target: Any) -> Tensor:
        """Cross-entropy of the effectors' mean potentials."""
        return torch.nn.functional.cross_entropy(4 * _readout(activity, "digit"), target)

    def score(self, act: Act, split: str, trials: int, rng: np.random.Generator) -> Score:
        """The fraction recognised of ``trials`` images of a split, of all if there are no more."""
        label = self.images.label[split]
        pick = np.arange(len(label)) if trials >= len(label) else rng.permutation(len(label))[:trials]
        activity = act({"image": _see(self.images.look(split, pick), STEPS)})
        right = _readout(activity, "digit").argmax(1).numpy() == label[pick]
        value = float(right.mean())
        return Score(value, activity.operations / len(pick), _spikes(activity) / len(pick), value)


class _Reaching:
    """What motor and interaction share: imitation of the teacher to learn, reaching in closed loop to be judged."""

    def loss(self, activity: Activity, target: Any) -> Tensor:
        """Mean squared difference from the teacher's move, in units of the largest move."""
        return torch.nn.functional.mse_loss(_moves(activity), target)

    def _demonstrate(self, goal: Array, rng: np.random.Generator) -> tuple[Array, Tensor]:
        """Postures, half of them anywhere and half near the goal, with the teacher's moves from there."""
        near = inverse_kinematics(goal) + rng.normal(0.0, 0.25, goal.shape)
        joint = np.where(rng.random((len(goal), 1)) < 0.5, near, random_posture(rng, len(goal)))
        joint = np.clip(joint, LIMITS[:, 0], LIMITS[:, 1])
        return joint, torch.from_numpy((teacher(joint, goal) / MAX_MOVE).astype(np.float32))

    def _reach(
        self, act: Act, goals: list[Array | None], sense: Callable[[Array], Mapping[str, Tensor]], seed: int
    ) -> Score:
        """One trial for each goal (None: random). The score is how often the hand came to its goal, ``held`` how
        often it was there when the trial ended."""
        arms = gymnasium.vector.SyncVectorEnv([partial(ReachArm, goal) for goal in goals])
        observation, _ = arms.reset(seed=seed)
        operations = spikes = 0
        reached = np.zeros(len(goals), bool)
        for _ in range(MOVES):
            activity = act(sense(observation))
            operations, spikes = operations + activity.operations, spikes + _spikes(activity)
            observation, _, _, _, info = arms.step(_moves(activity).numpy().astype(np.float64) * MAX_MOVE)
            reached |= info["is_success"]
        arms.close()
        samples, held = MOVES * len(goals), float(np.mean(info["is_success"]))
        return Score(float(reached.mean()), operations / samples, spikes / samples, held)


@dataclass(frozen=True, eq=False)
class Motor(_Reaching):
    """Reach a goal with a two-joint arm: joints and goal, in population code -> motor -> a pair of muscles for each
    joint."""

    name: str = "motor"
    requires: tuple[str, ...] = ()
    recruits: tuple[str, ...] = ("joints", "goal", "motor", "muscles")
    sensors: Mapping[str, int] = field(default_factory=lambda: {"joints": 2 * UNITS, "goal": 2 * UNITS})
    effectors: Mapping[str, int] = field(default_factory=lambda: {"muscles": 4})

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Mapping[str, Tensor], Any]:
        """Postures and goals, and the teacher's moves."""
        goal = forward_kinematics(random_posture(rng, size))
        joint, move = self._demonstrate(goal, rng)
        return {"joints": _feel(joint, STEPS), "goal": _aim(goal)}, move

    def score(self, act: Act, split: str, trials: int, rng: np.random.Generator) -> Score:
        """The fraction of ``trials`` random goals reached; splits are the same, since every trial is new."""
        return self._reach(
            act,
            [None] * trials,
            lambda seen: {"joints": _feel(seen[:, :2], STEPS), "goal": _aim(seen[:, 2:])},
            _seed(rng),
        )


@dataclass(frozen=True, eq=False)
class Interaction(_Reaching):
    """See a digit and reach to the place that it names, through motor's muscles: the goal is never given."""

    images: Images
    jitter: float = 0.5
    name: str = "interaction"
    requires: tuple[str, ...] = ("perception", "motor")
    recruits: tuple[str, ...] = ("image", "joints", "perception", "motor", "interaction", "muscles")
    sensors: Mapping[str, int] = field(default_factory=dict)
    effectors: Mapping[str, int] = field(default_factory=dict)

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Mapping[str, Tensor], Any]:
        """Training images and postures, and the teacher's moves to the digits' places."""
        pick = rng.integers(0, len(self.images.label["train"]), size)
        joint, move = self._demonstrate(PLACES[self.images.label["train"][pick]], rng)
        image = shifted(self.images.look("train", pick), self.jitter, rng)
        return {"joints": _feel(joint, CHAIN_STEPS), "image": _see(image, CHAIN_STEPS)}, move

    def score(self, act: Act, split: str, trials: int, rng: np.random.Generator) -> Score:
        """The fraction of ``trials`` digits of a split whose place is reached; one trial a digit at most."""
        label = self.images.label[split]
        pick = rng.permutation(len(label))[:trials]
        image = _see(self.images.look(split, pick), CHAIN_STEPS)
        return self._reach(
            act,
            list(PLACES[label[pick]]),
            lambda seen: {"joints": _feel(seen[:, :2], CHAIN_STEPS), "image": image},
            _seed(rng),
        )


def known_tasks() -> dict[str, Callable[[Images, float], Task]]:
    """Every task there is, by name: ours and those that installed packages offer as ``connectome.tasks``."""
    ours: dict[str, Callable[[Images, float], Task]] = {
        "perception": Perception, "motor": lambda images, jitter: Motor(), "interaction": Interaction,
    }  # fmt: skip
    offered = {e.name: e.load() for e in importlib.metadata.entry_points(group="connectome.tasks")}
    return ours | {name: make for name, make in offered.items() if name not in ours}


def shifted(image: Array, reach: float, rng: np.random.Generator) -> Array:
    """(B, height, width[, 3]) images, each moved by up to ``reach`` pixels each way, with bilinear weights and black
    borders."""
    batch, height, width = image.shape[:3]
    shift = rng.uniform(-reach, reach, (2, batch))
    whole = np.floor(shift).astype(int)
    part = shift - whole
    pad = int(np.ceil(reach)) + 1
    padded = np.pad(image, ((0, 0), (pad, pad), (pad, pad), *((0, 0),) * (image.ndim - 3)))
    which = np.arange(batch)[:, None, None]
    moved = np.zeros_like(image)
    for right in (0, 1):
        for down in (0, 1):
            share = np.abs(1 - down - part[0]) * np.abs(1 - right - part[1])
            rows = np.arange(height)[None, :, None] + (pad + whole[0] + down)[:, None, None]
            columns = np.arange(width)[None, None, :] + (pad + whole[1] + right)[:, None, None]
            moved += (share.reshape(-1, *(1,) * (image.ndim - 1)) * padded[which, rows, columns]).astype(image.dtype)
    return moved


def _see(image: Array, steps: int) -> Tensor:
    return rate_code(image.reshape(len(image), -1), steps, IMAGE_PEAK)


def _feel(joint: Array, steps: int) -> Tensor:
    parts = [population_code(joint[:, i], LIMITS[i, 0], LIMITS[i, 1], UNITS) for i in (0, 1)]
    return rate_code(np.concatenate(parts, 1), steps)


def _aim(goal: Array) -> Tensor:
    return rate_code(np.concatenate([population_code(goal[:, i], -2.0, 2.0, UNITS) for i in (0, 1)], 1), STEPS)


def _readout(activity: Activity, effector: str) -> Tensor:
    """(B, N) mean potential at the end of a sample, 1 where it is at a neuron's threshold."""
    return activity.potential[effector][:, -READOUT_STEPS:].mean(1) / _UNIT_MV


def _moves(activity: Activity) -> Tensor:
    """(B, 2) joint changes in units of the largest: flexor less extensor of each joint."""
    muscles = _readout(activity, "muscles")
    return 2 * (muscles[:, 0::2] - muscles[:, 1::2])


def _spikes(activity: Activity) -> int:
    return int(sum(count.sum() for count in activity.counts.values()))


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
