"""The tasks that regions learn: perception (name a digit), motor (reach a goal), interaction (reach where a digit
says).

A task declares the sensors and effectors that its region is wired to, and which regions it recruits. Add one of your
own through the entry point group ``connectome.tasks``: a callable that takes :class:`Images` and gives a task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, ClassVar, Final

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from connectome import plugins
from connectome.arrays import ReadOnly
from connectome.datasets.arm import (
    LIMITS,
    MAX_MOVE,
    MOVES,
    ReachArm,
    forward_kinematics,
    inverse_kinematics,
    random_posture,
    teacher,
)
from connectome.datasets.encoding import ENCODERS, population_code, rate_code
from connectome.datasets.images import Images
from connectome.errors import ConnectomeError
from connectome.graph.maps import Maps
from connectome.learning.network import BatchActivity
from connectome.learning.task import Act, Score, Task

__all__ = [
    "PLACES", "Interaction", "Motor", "Perception", "encode_goal", "encode_image", "encode_joints", "known_tasks",
    "make_motor", "permuted_tasks", "readout", "split_tasks", "stream",
]  # fmt: skip

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
#: Seed of the demonstrations, where their number is limited.
_SHOWN: Final = 20201
#: Images that are scored at once.
_SCORED: Final = 500
#: Readouts are in units of the distance from rest to threshold, mV.
_UNIT_MV: Final = 15.0
#: Where each digit, 0 .. 9, sends the hand: (10, 2), spread over what the arm can reach.
PLACES: Final = forward_kinematics(np.stack(np.meshgrid(np.linspace(-1.2, 1.2, 5), (0.7, 1.8)), -1).reshape(10, 2))


@dataclass(frozen=True, eq=False)
class Perception(ReadOnly):
    """Recognise an image: image -> perception -> one effector per class, the highest mean potential wins.

    Parameters
    ----------
    images : what there is to see; ``classes``, places among theirs, are those to be told apart (default: all)
    jitter : each training image is shifted at random by up to this many pixels
    encoder : how an image reaches the sensor, one of :data:`connectome.datasets.encoding.ENCODERS`
    pixels : (number of pixels,) a permutation that every image undergoes
    degrees : by which every image is turned; mirrored : the part of training images that are, left to right
    earlier : regions that are recruited besides: what they know can be of use
    """

    images: Images
    jitter: float = 0.5
    name: str = "perception"
    effector: str = "digit"
    classes: tuple[int, ...] = ()
    encoder: str = "rate"
    pixels: NDArray[np.int64] | None = None
    earlier: tuple[str, ...] = ()
    degrees: float = 0.0
    mirrored: float = 0.0
    _sensor: ClassVar[str] = "image"

    @property
    def requires(self) -> tuple[str, ...]:
        """The regions that must be there before."""
        return self.earlier

    @property
    def recruits(self) -> tuple[str, ...]:
        """What takes part."""
        return (self._sensor, *self.earlier, self.name, self.effector)

    @property
    def sensors(self) -> Mapping[str, int]:
        """One unit a pixel, and for each colour."""
        return {self._sensor: int(np.prod(self.images.shape))}

    @property
    def maps(self) -> Mapping[str, Maps]:
        """A map for each colour."""
        height, width, *colours = self.images.shape
        return {self._sensor: Maps(colours[0] if colours else 1, height, width)}

    @property
    def effectors(self) -> Mapping[str, int]:
        """One unit a class."""
        return {self.effector: len(self._classes)}

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Mapping[str, Tensor], Any]:
        """Training images, each shifted at random by up to ``jitter`` pixels, some mirrored, and their labels."""
        pick, label = self._of("train")
        chosen = rng.integers(0, len(pick), size)
        image = shifted(self.images.look("train", pick[chosen]), self.jitter, rng)
        if self.mirrored:
            flip = rng.random(size) < self.mirrored
            image[flip] = image[flip, :, ::-1]
        return {self._sensor: self._spikes_of(image, rng)}, torch.from_numpy(label[chosen])

    def outputs(self, activity: BatchActivity) -> Tensor:
        """(B, classes) logits: mean potentials of the effectors."""
        return 4 * readout(activity, self.effector)

    def loss(self, activity: BatchActivity, target: Any) -> Tensor:
        """Cross-entropy of the logits."""
        return torch.nn.functional.cross_entropy(self.outputs(activity), target)

    def score(self, act: Act, split: str, trials: int, rng: np.random.Generator) -> Score:
        """The fraction recognised of ``trials`` images of a split, of all if there are no more."""
        pick, label = self._of(split)
        chosen = np.arange(len(pick)) if trials >= len(pick) else rng.permutation(len(pick))[:trials]
        right = operations = spikes = 0
        for part in np.split(chosen, range(_SCORED, len(chosen), _SCORED)):
            activity = act({self._sensor: self._spikes_of(self.images.look(split, pick[part]), rng)})
            right += int((readout(activity, self.effector).argmax(1).numpy() == label[part]).sum())
            operations, spikes = operations + activity.operations, spikes + activity.n_spikes
        n = len(chosen)
        return Score(right / n, operations / n, spikes / n, right / n)

    def seen(self, split: str, trials: int, rng: np.random.Generator) -> tuple[Mapping[str, Tensor], NDArray[np.int64]]:
        """At most this many images of a split, and their labels."""
        pick, label = self._of(split)
        chosen = rng.permutation(len(pick))[:trials]
        return {self._sensor: self._spikes_of(self.images.look(split, pick[chosen]), rng)}, label[chosen]

    @property
    def _classes(self) -> tuple[int, ...]:
        return self.classes or tuple(range(len(self.images.classes)))

    def _of(self, split: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which images of a split are of the task's classes, and the place of each one's class among them."""
        label = self.images.label[split]
        place = np.full(len(self.images.classes), -1)
        place[list(self._classes)] = np.arange(len(self._classes))
        pick = np.flatnonzero(place[label] >= 0)
        if not pick.size:
            names = ", ".join(self.images.classes[i] for i in self._classes)
            raise ConnectomeError("images", f"must have some of {names} among those of {split}", "none")
        return pick, place[label[pick]]

    def _spikes_of(self, image: Array, rng: np.random.Generator) -> Tensor:
        if self.degrees:
            image = ndimage.rotate(image, self.degrees, axes=(2, 1), reshape=False, order=1)
        return encode_image(image, STEPS, rng, self.encoder, self.pixels)


def split_tasks(
    images: Images, tasks: int, order: Sequence[int] | int | None = None, **options: Any
) -> list[Perception]:
    """The classes of a set dealt out, in order, to this many tasks (split MNIST: Zenke et al. 2017): each a region of
    its own, ``task1`` .., which may make use of those before. Which task an image is of is known. ``order`` : numbers
    of all classes in another order, or the seed of a random one.

    ``options`` are those of :class:`Perception`. Raises :class:`ConnectomeError` if the classes do not divide evenly.
    """
    n = len(images.classes)
    if tasks < 1 or n % tasks:
        raise ConnectomeError("tasks", f"must divide {n}, the number of classes", tasks)
    if order is None or isinstance(order, int):
        order = range(n) if order is None else np.random.default_rng(order).permutation(n).tolist()
    if sorted(order) != list(range(n)):
        raise ConnectomeError("order", f"must be a seed, or have each of 0 .. {n - 1} once", list(order))
    return stream(images, [{"classes": tuple(part)} for part in np.reshape(order, (tasks, -1)).tolist()], options)


def permuted_tasks(images: Images, tasks: int, seed: int = 0, **options: Any) -> list[Perception]:
    """All classes in each of this many tasks, whose pixels change places (permuted MNIST: Goodfellow et al. 2013): not
    in the first, and by a random permutation of its own in each of the others. Otherwise as :func:`split_tasks`.
    """
    rng = np.random.default_rng(seed)
    n = int(np.prod(images.shape))
    return stream(images, [{"pixels": rng.permutation(n) if i else None} for i in range(tasks)], options)


def stream(images: Images, each: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> list[Perception]:
    """Tasks that come one after the other, ``task1`` .., of what is said of each and of all."""
    names = [f"task{i}" for i in range(1, len(each) + 1)]
    return [
        Perception(images, name=name, effector=f"{name}_class", earlier=tuple(names[:i]), **what, **options)
        for i, (name, what) in enumerate(zip(names, each, strict=True))
    ]


class _Reaching:
    """What motor and interaction share: imitation of the teacher to learn, reaching in closed loop to be judged."""

    def outputs(self, activity: BatchActivity) -> Tensor:
        """(B, 2) changes of the joints, in units of the largest move."""
        return _moves(activity)

    def loss(self, activity: BatchActivity, target: Any) -> Tensor:
        """Mean squared difference from the teacher's move, in units of the largest move."""
        return torch.nn.functional.mse_loss(self.outputs(activity), target)

    def _demonstrate(self, goal: Array, rng: np.random.Generator) -> tuple[Array, Tensor]:
        """Postures, half of them anywhere and half near the goal, with the teacher's moves from there."""
        near = inverse_kinematics(goal) + rng.normal(0.0, 0.25, goal.shape)
        joint = np.where(rng.random((len(goal), 1)) < 0.5, near, random_posture(rng, len(goal)))
        joint = np.clip(joint, LIMITS[:, 0], LIMITS[:, 1])
        return joint, torch.from_numpy((teacher(joint, goal) / MAX_MOVE).astype(np.float32))

    def _reach(
        self, act: Act, goals: list[Array | None], sense: Callable[[Array], Mapping[str, Tensor]], seed: int
    ) -> Score:
        """One trial for each goal (None: random). The score is how often the hand came to its goal, ``at_end`` how
        often it was there when the trial ended."""
        arms = gymnasium.vector.SyncVectorEnv([partial(ReachArm, goal) for goal in goals])
        observation, _ = arms.reset(seed=seed)
        operations = spikes = 0
        reached = np.zeros(len(goals), bool)
        for _ in range(MOVES):
            activity = act(sense(observation))
            operations, spikes = operations + activity.operations, spikes + activity.n_spikes
            observation, _, _, _, info = arms.step(_moves(activity).numpy().astype(np.float64) * MAX_MOVE)
            reached |= info["is_success"]
        arms.close()
        samples, at_end = MOVES * len(goals), float(np.mean(info["is_success"]))
        return Score(float(reached.mean()), operations / samples, spikes / samples, at_end)


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
        return {"joints": encode_joints(joint, STEPS), "goal": encode_goal(goal)}, move

    def score(self, act: Act, split: str, trials: int, rng: np.random.Generator) -> Score:
        """The fraction of ``trials`` random goals reached; splits are the same, since every trial is new."""
        return self._reach(
            act,
            [None] * trials,
            lambda seen: {"joints": encode_joints(seen[:, :2], STEPS), "goal": encode_goal(seen[:, 2:])},
            _seed(rng),
        )


@dataclass(frozen=True, eq=False)
class Interaction(_Reaching, ReadOnly):
    """See a digit and reach to the place that it names, through motor's muscles: the goal is never given.

    With other ``requires``, ``sensors`` and ``effectors`` the same task falls to another set of regions: to one that
    has eyes and muscles of its own, say. ``demonstrations``, if above 0, is how many different ones there are to learn
    from: an image, a posture and the teacher's move each.
    """

    images: Images
    jitter: float = 0.5
    name: str = "interaction"
    requires: tuple[str, ...] = ("perception", "motor")
    sensors: Mapping[str, int] = field(default_factory=dict)
    effectors: Mapping[str, int] = field(default_factory=dict)
    demonstrations: int = 0

    @property
    def recruits(self) -> tuple[str, ...]:
        """What takes part."""
        return ("image", "joints", *self.requires, self.name, "muscles")

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Mapping[str, Tensor], Any]:
        """Training images and postures, and the teacher's moves to the digits' places."""
        if self.demonstrations:
            chosen = rng.integers(0, self.demonstrations, size)
            shown, postures, moves = self._shown
            pick, joint, move = shown[chosen], postures[chosen], moves[chosen]
        else:
            pick, joint, move = self._show(rng, size)
        image = shifted(self.images.look("train", pick), self.jitter, rng)
        return {"joints": encode_joints(joint, CHAIN_STEPS), "image": encode_image(image, CHAIN_STEPS, rng)}, move

    def _show(self, rng: np.random.Generator, size: int) -> tuple[NDArray[np.int64], Array, Tensor]:
        pick = rng.integers(0, len(self.images.label["train"]), size)
        return pick, *self._demonstrate(self._places("train", pick), rng)

    @cached_property
    def _shown(self) -> tuple[NDArray[np.int64], Array, Tensor]:
        """The demonstrations that there are, the same for every seed: more of them include fewer."""
        rng = np.random.default_rng(_SHOWN)
        parts = [self._show(rng, 1) for _ in range(self.demonstrations)]
        pick, joint, move = zip(*parts, strict=True)
        return np.concatenate(pick), np.concatenate(joint), torch.cat(move)

    def score(self, act: Act, split: str, trials: int, rng: np.random.Generator) -> Score:
        """The fraction of ``trials`` digits of a split whose place is reached; one trial a digit at most."""
        pick = rng.permutation(len(self.images.label[split]))[:trials]
        image = encode_image(self.images.look(split, pick), CHAIN_STEPS, rng)
        return self._reach(
            act,
            list(self._places(split, pick)),
            lambda seen: {"joints": encode_joints(seen[:, :2], CHAIN_STEPS), "image": image},
            _seed(rng),
        )

    def _places(self, split: str, pick: NDArray[np.int64]) -> Array:
        if len(self.images.classes) > len(PLACES):
            found = f"{len(self.images.classes)} classes"
            raise ConnectomeError("images", f"must be of at most {len(PLACES)} classes, one for each place", found)
        return PLACES[self.images.label[split][pick]]


def known_tasks() -> dict[str, Callable[..., Task]]:
    """How every task is made, by name, from images and how far training images are shifted, in pixels: ours and those
    that installed packages offer as ``connectome.tasks``. Nothing is imported before a task is made."""

    def maker(task: plugins.Plugin) -> Callable[..., Task]:
        def make(images: Images, jitter: float, **table: Any) -> Task:
            try:
                made: Task = task.load()(images, jitter, **table)
            except TypeError as error:
                found = f"{', '.join(table) or 'none'}: {error}"
                raise ConnectomeError(f"tasks.{task.name}", "must have keys that the task takes", found) from error
            return made

        return make

    return {name: maker(task) for name, task in plugins.known("tasks").items()}


def make_motor(images: Images, jitter: float) -> Motor:
    """Reach with a two-joint arm: joints and goal -> motor -> muscles; it sees nothing."""
    return Motor()


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


def encode_image(
    image: Array, steps: int, rng: np.random.Generator, encoder: str = "rate", pixels: NDArray[np.int64] | None = None
) -> Tensor:
    """Spikes of the sensor: colour by colour, row by row; permuted if ``pixels`` says how."""
    flat = np.moveaxis(image, -1, 1).reshape(len(image), -1) if image.ndim == 4 else image.reshape(len(image), -1)
    return ENCODERS[encoder](flat if pixels is None else flat[:, pixels], steps, IMAGE_PEAK, rng)


def encode_joints(joint: Array, steps: int) -> Tensor:
    """Spikes of a population for each joint's angle, (B, steps, 2 UNITS)."""
    parts = [population_code(joint[:, i], LIMITS[i, 0], LIMITS[i, 1], UNITS) for i in (0, 1)]
    return rate_code(np.concatenate(parts, 1), steps)


def encode_goal(goal: Array) -> Tensor:
    """Spikes of a population for each coordinate of a goal, (B, STEPS, 2 UNITS)."""
    return rate_code(np.concatenate([population_code(goal[:, i], -2.0, 2.0, UNITS) for i in (0, 1)], 1), STEPS)


def readout(activity: BatchActivity, effector: str) -> Tensor:
    """(B, N) mean potential at the end of a sample, 1 where it is at a neuron's threshold."""
    return activity.potential[effector][:, -READOUT_STEPS:].mean(1) / _UNIT_MV


def _moves(activity: BatchActivity) -> Tensor:
    """(B, 2) joint changes in units of the largest: flexor less extensor of each joint."""
    muscles = readout(activity, "muscles")
    return 2 * (muscles[:, 0::2] - muscles[:, 1::2])


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
