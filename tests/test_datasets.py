"""Tasks and what they are made of: images and their split, the arm and its teacher, codes, scores."""

from __future__ import annotations

import importlib.metadata
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from connectome.datasets import tasks
from connectome.datasets.arm import (
    LIMITS,
    MAX_MOVE,
    MOVES,
    TOLERANCE,
    ReachArm,
    forward_kinematics,
    inverse_kinematics,
    random_posture,
    teacher,
)
from connectome.datasets.encoding import (
    ENCODERS,
    current_code,
    latency_code,
    poisson_code,
    population_code,
    rate_code,
)
from connectome.datasets.images import Images
from connectome.datasets.tasks import PLACES, Interaction, Motor, Perception, known_tasks, shifted
from connectome.errors import ConnectomeError
from connectome.learning.network import BatchActivity
from connectome.learning.task import Score

SPLITS = ("train", "validation", "test")
SIZES = {"train": 40, "validation": 20, "test": 30}
seeds = st.integers(0, 2**32 - 1)


# Arm


def test_the_arm_is_a_gymnasium_environment() -> None:
    check_env(ReachArm(), skip_render_check=True)
    check_env(ReachArm(np.array([1.0, 0.5])), skip_render_check=True)


@given(seeds)
def test_kinematics_are_inverses_within_the_limits(seed: int) -> None:
    corners = np.stack(np.meshgrid(*LIMITS), -1).reshape(-1, 2)
    joint = np.concatenate([random_posture(np.random.default_rng(seed), 100), corners])
    assert (joint >= LIMITS[:, 0]).all()
    assert (joint <= LIMITS[:, 1]).all()
    np.testing.assert_allclose(inverse_kinematics(forward_kinematics(joint)), joint, rtol=0, atol=1e-12)


def test_forward_kinematics_by_hand() -> None:
    joint = np.array([[0.0, np.pi / 2], [np.pi / 2, 0.0], [np.pi / 2, np.pi]])
    np.testing.assert_allclose(forward_kinematics(joint), [[1, 1], [0, 2], [0, 0]], rtol=0, atol=1e-15)
    assert inverse_kinematics(np.array([9.0, 0.0])).tolist() == [0.0, 0.0], "out of reach: stretched towards it"


def test_the_teacher_reaches_every_goal() -> None:
    """It is what the networks imitate, so its success is the most that they can have."""
    rng = np.random.default_rng(1)
    joint, goal = random_posture(rng, 2000), forward_kinematics(random_posture(rng, 2000))
    for _ in range(MOVES):
        move = teacher(joint, goal)
        assert np.abs(move).max() <= MAX_MOVE * (1 + 1e-12)
        joint = np.clip(joint + move, LIMITS[:, 0], LIMITS[:, 1])
    assert np.linalg.norm(forward_kinematics(joint) - goal, axis=1).max() <= TOLERANCE


def test_the_teacher_goes_straight_and_stays() -> None:
    joint, goal = (
        random_posture(np.random.default_rng(2), 50),
        forward_kinematics(random_posture(np.random.default_rng(3), 50)),
    )
    move, way = teacher(joint, goal), inverse_kinematics(goal) - joint
    np.testing.assert_allclose(move[:, 0] * way[:, 1], move[:, 1] * way[:, 0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(teacher(inverse_kinematics(goal), goal), 0, rtol=0, atol=1e-12)


def test_a_trial_of_the_arm() -> None:
    arm = ReachArm()
    for seed in range(20):
        (seen, info), done = arm.reset(seed=seed), False
        for move in range(1, MOVES + 1):
            assert not done
            before = seen
            seen, reward, terminated, done, info = arm.step(teacher(seen[:2], seen[2:]))
            assert not terminated
            assert done == (move == MOVES)
            assert (seen[2:] == before[2:]).all(), "the goal moved"
            distance = float(np.linalg.norm(forward_kinematics(seen[:2]) - seen[2:]))
            assert -reward == info["distance"] == pytest.approx(distance, abs=1e-12)
            assert info["is_success"] == (distance <= TOLERANCE)
        assert info["is_success"]


def test_moves_and_joints_are_bounded() -> None:
    arm = ReachArm()
    seen, _ = arm.reset(seed=0)
    for action in ([9.0, -9.0], [np.inf, 9.0], [-9.0, -9.0], [9.0, 9.0]):
        for _ in range(20):
            before, (seen, *_) = seen, arm.step(np.array(action))
            assert (np.abs(seen[:2] - before[:2]) <= MAX_MOVE + 1e-12).all()
            assert arm.observation_space.contains(seen)
        expected = np.where(np.array(action) > 0, LIMITS[:, 1], LIMITS[:, 0])
        np.testing.assert_array_equal(seen[:2], expected)


def test_a_given_goal_is_every_trials_goal() -> None:
    arm = ReachArm(np.array([1.0, 0.5]))
    starts = [arm.reset(seed=seed)[0] for seed in range(5)]
    assert all(seen[2:].tolist() == [1.0, 0.5] for seen in starts)
    assert len({seen[:2].tobytes() for seen in starts}) == 5


def test_every_digit_has_a_place_within_reach() -> None:
    joint = inverse_kinematics(PLACES)
    assert PLACES.shape == (10, 2)
    assert ((joint > LIMITS[:, 0]) & (joint < LIMITS[:, 1])).all()
    apart = np.linalg.norm(PLACES[:, None] - PLACES[None], axis=2)[~np.eye(10, dtype=bool)]
    assert apart.min() > 2 * TOLERANCE, "a hand between two places would have reached both"


# Codes


@given(seed=seeds, steps=st.integers(1, 60), peak=st.floats(0.05, 1.0), units=st.integers(1, 30))
def test_rate_code_counts(seed: int, steps: int, peak: float, units: int) -> None:
    rng = np.random.default_rng(seed)
    activity = rng.choice([0.0, 1.0, 0.5, *rng.random(5)], (7, units))
    spikes = rate_code(activity, steps, peak)
    assert spikes.shape == (7, steps, units)
    assert spikes.dtype == torch.bool, "at most one spike a step"
    count = spikes.sum(1).numpy()
    assert (np.abs(count - np.round(activity * peak * steps)) <= 1).all()
    assert (count[activity == 0] == 0).all()


def test_rate_code_is_even_and_clips() -> None:
    spikes = rate_code(np.full((1, 50), 0.5), 40, peak=0.5)[0].numpy()
    for unit in spikes.T:
        assert (np.diff(np.flatnonzero(unit)) == 4).all()
    assert len({unit.tobytes() for unit in spikes.T}) == 4, "units of one rate fire together"
    assert torch.equal(rate_code(np.array([[7.0, -3.0]]), 10), rate_code(np.array([[1.0, 0.0]]), 10))


def test_current_code_is_the_rate_of_a_leaky_integrator() -> None:
    """Intervals from the closed form of its charging, in whole steps."""
    peak, decay = 0.25, math.exp(-1 / 10)
    full = 1 / (1 - math.exp(-1 / (peak * 10)))
    for x in (1.0, 0.7, 0.5, 0.4):
        spikes = current_code(np.array([[x]]), 200, peak)[0, :, 0].numpy()
        interval = math.ceil(math.log(1 - 1 / (x * full)) / math.log(decay) - 1e-6)
        assert (np.flatnonzero(spikes) + 1).tolist() == list(range(interval, 201, interval))
    assert not current_code(np.array([[0.3, 0.0, -1.0]]), 500, peak).any(), "too weak to reach threshold"


def test_latency_code_is_one_spike_the_sooner_the_stronger() -> None:
    spikes = latency_code(np.array([[1.0, 0.5, 0.01, 0.0, 7.0]]), 11)[0].numpy()
    assert spikes.sum(0).tolist() == [1, 1, 1, 0, 1]
    assert spikes.argmax(0)[[0, 1, 2, 4]].tolist() == [0, 5, 10, 0]


def test_poisson_code_has_the_mean_and_the_variance() -> None:
    activity = np.array([[0.0, 0.2, 1.0, 3.0]])
    counts = poisson_code(np.repeat(activity, 4000, 0), 20, 0.4, np.random.default_rng(1)).sum(1).numpy()
    chance = np.array([0.0, 0.08, 0.4, 0.4])
    np.testing.assert_allclose(counts.mean(0), 20 * chance, atol=5 * np.sqrt(20 * 0.24 / 4000))
    np.testing.assert_allclose(counts.var(0), 20 * chance * (1 - chance), rtol=0.15)


@pytest.mark.parametrize("name", ENCODERS)
def test_every_encoder_has_one_shape(name: str) -> None:
    rng = np.random.default_rng(2)
    spikes = ENCODERS[name](rng.random((3, 7)), 20, 0.25, rng)
    assert spikes.shape == (3, 20, 7)
    assert spikes.dtype == torch.bool
    assert spikes.any()


@given(seed=seeds, units=st.integers(2, 40))
def test_population_code_peaks_at_its_unit(seed: int, units: int) -> None:
    low, high = -2.0, 3.0
    centre = np.linspace(low, high, units)
    np.testing.assert_array_equal(population_code(centre, low, high, units).argmax(1), np.arange(units))
    np.testing.assert_array_equal(np.diag(population_code(centre, low, high, units)), 1.0)
    value = np.random.default_rng(seed).uniform(low, high, 20)
    code = population_code(value, low, high, units)
    width = (high - low) / (units - 1)
    expected = [[np.exp(-(((v - c) / width) ** 2) / 2) for c in centre] for v in value]
    np.testing.assert_allclose(code, expected, rtol=1e-9)
    assert (np.abs(centre[code.argmax(1)] - value) <= width / 2 + 1e-12).all()


# Shifts of an image


class Given:
    """Stands in for a generator: every draw is the same."""

    def __init__(self, down: float, right: float) -> None:
        self.shift = np.array([[down], [right]])

    def uniform(self, low: float, high: float, size: tuple[int, ...]) -> NDArray[np.float64]:
        assert (self.shift >= low).all()
        assert (self.shift <= high).all()
        return np.broadcast_to(self.shift, size)


def image_of(seed: int, height: int, width: int, border: int = 0) -> NDArray[np.float32]:
    inside = np.random.default_rng(seed).random((3, height, width)).astype(np.float32)
    return np.pad(inside, ((0, 0), (border, border), (border, border)))


@given(seed=seeds, height=st.integers(1, 9), width=st.integers(1, 9))
def test_no_reach_is_no_shift(seed: int, height: int, width: int) -> None:
    image = image_of(seed, height, width)
    found = shifted(image, 0.0, np.random.default_rng(seed))
    np.testing.assert_array_equal(found, image)
    assert found.dtype == image.dtype


@given(seed=seeds, down=st.integers(-4, 4), right=st.integers(-4, 4), height=st.integers(1, 7), width=st.integers(1, 7))
def test_shifts_by_whole_pixels_are_exact(seed: int, down: int, right: int, height: int, width: int) -> None:
    """Up to the corners of what may be drawn; black comes in at the border."""
    image = image_of(seed, height, width)
    rng: Any = Given(down, right)
    found = shifted(image, 4.0, rng)
    for y in range(height):
        for x in range(width):
            inside = 0 <= y + down < height and 0 <= x + right < width
            expected = image[:, y + down, x + right] if inside else np.zeros(3)
            np.testing.assert_array_equal(found[:, y, x], expected)


@given(seed=seeds, reach=st.floats(0.0, 3.0))
def test_shifts_keep_what_stays_inside(seed: int, reach: float) -> None:
    image = image_of(seed, 4, 5, border=4)
    before = image.copy()
    found = shifted(image, reach, np.random.default_rng(seed))
    np.testing.assert_allclose(found.sum((1, 2)), image.sum((1, 2)), rtol=1e-5)
    assert found.min() >= 0.0
    assert found.max() <= 1.0 + 1e-6
    np.testing.assert_array_equal(image, before)
    axis = np.arange(image.shape[1])
    centre, moved = ((i.sum(2) * axis).sum(1) / i.sum((1, 2)) for i in (image, found))
    assert (np.abs(moved - centre) <= reach + 1e-4).all()


# Tasks


class Watched(dict[str, Any]):
    """Remembers which splits were looked at."""

    def __init__(self, parts: Mapping[str, Any]) -> None:
        super().__init__(parts)
        self.seen: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.seen.add(key)
        return super().__getitem__(key)

    def get(self, *_: Any) -> Any:
        raise AssertionError("reads past the watch")

    values = items = get


class Watch:
    """Images of 4 x 4 whose first ten pixels say the label and whose next one says which image it is."""

    def __init__(self) -> None:
        image, label = {}, {}
        rng = np.random.default_rng(5)
        self.split_of: dict[int, str] = {}
        for split, size in SIZES.items():
            label[split] = rng.permutation(np.arange(size) % 10)
            pixels = np.zeros((size, 16), np.float32)
            for row in range(size):
                number = len(self.split_of)
                self.split_of[number] = split
                pixels[row, label[split][row]] = 1.0
                pixels[row, 10] = number / 128
            image[split] = pixels.reshape(-1, 4, 4)
        self.image, self.label = Watched(image), Watched(label)
        self.images = Images(self.image, self.label)
        _ = self.images.shape
        self.image.seen.clear()

    def seen(self) -> set[str]:
        """The splits looked at, images and labels alike."""
        assert self.image.seen == self.label.seen
        return self.image.seen

    def splits(self, image: NDArray[Any]) -> set[str]:
        """The splits that images come from."""
        return {self.split_of[round(float(n) * 128)] for n in image.reshape(len(image), 16)[:, 10]}


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.mark.parametrize("split", SPLITS)
def test_split_tasks_share_out_classes_and_images(watch: Watch, split: str) -> None:
    stream = tasks.split_tasks(watch.images, 5)
    assert [t.name for t in stream] == [f"task{i}" for i in range(1, 6)]
    assert stream[2].recruits == ("image", "task1", "task2", "task3", "task3_class")
    assert stream[2].requires == ("task1", "task2")
    picks = []
    for i, task in enumerate(stream):
        pick, label = task._of(split)
        assert (watch.images.label[split][pick] == 2 * i + label).all()
        assert set(label) == {0, 1}
        picks.append(pick)
    assert sorted(np.concatenate(picks)) == list(range(SIZES[split]))


def test_split_tasks_need_an_even_number_of_classes(watch: Watch) -> None:
    with pytest.raises(ConnectomeError, match="tasks must divide 10, the number of classes; found 3"):
        tasks.split_tasks(watch.images, 3)


def test_demonstrations_can_be_few(watch: Watch) -> None:
    """No more than there are, the same for every seed, and fewer of them are among more."""

    def seen(demonstrations: int, seed: int) -> set[bytes]:
        task = tasks.Interaction(watch.images, 0.0, demonstrations=demonstrations)
        spikes, move = task.batch(np.random.default_rng(seed), 200)
        rows = zip(spikes["joints"].numpy(), spikes["image"].numpy(), move.numpy(), strict=True)
        return {joints.tobytes() + image.tobytes() + moves.tobytes() for joints, image, moves in rows}

    assert len(seen(7, 0)) == 7
    assert seen(7, 0) == seen(7, 1) < seen(12, 0)
    assert len(seen(0, 0)) > 190


def test_a_region_of_its_own_can_interact(watch: Watch) -> None:
    alone = tasks.Interaction(watch.images, requires=(), sensors={"image": 16, "joints": 24}, effectors={"muscles": 4})
    assert alone.recruits == ("image", "joints", "interaction", "muscles")


def test_interaction_has_ten_places(watch: Watch) -> None:
    eleven = replace(watch.images, classes=tuple("0123456789x"))
    with pytest.raises(ConnectomeError, match="images must be of at most 10 classes, one for each place"):
        tasks.Interaction(eleven).batch(np.random.default_rng(0), 4)


def test_permuted_tasks_see_the_same_pixels_elsewhere(watch: Watch) -> None:
    one, two, three = tasks.permuted_tasks(watch.images, 3, seed=4, encoder="latency")
    image = watch.images.look("train", np.arange(6))
    plain, moved, again = (t._spikes_of(image, np.random.default_rng(0)) for t in (one, two, three))
    assert two.pixels is not None
    assert torch.equal(moved, plain[:, :, torch.from_numpy(two.pixels)])
    assert not torch.equal(moved, again)
    assert tasks.permuted_tasks(watch.images, 2, seed=4)[1].pixels.tolist() == two.pixels.tolist()  # type: ignore[union-attr]  # it has some


def test_colour_images_reach_the_sensor_colour_by_colour() -> None:
    image = np.zeros((1, 2, 3, 3), np.float32)
    image[0, 1, 2, 1] = 1.0  # green, last row, last column
    spikes = tasks.encode_image(image, 9, np.random.default_rng(0), "latency")
    assert spikes[0].any(0).nonzero().ravel().tolist() == [6 + 5]


def every_task(images: Images) -> dict[str, Any]:
    return {name: make(images, 0.5) for name, make in known_tasks().items()}


def test_known_tasks_are_ours_and_those_installed(monkeypatch: pytest.MonkeyPatch, watch: Watch) -> None:
    assert {"perception", "motor", "interaction"} <= set(known_tasks())
    made: dict[str, Any] = {name: make(watch.images, 0.25) for name, make in known_tasks().items()}
    assert all(task.name == name for name, task in made.items())
    assert made["perception"].jitter == made["interaction"].jitter == 0.25

    def offered(group: str) -> list[importlib.metadata.EntryPoint]:
        return [
            importlib.metadata.EntryPoint(name, "another_package:smell", group)
            for name in ("smell", "motor")
            if group == "connectome.tasks"
        ]

    monkeypatch.setitem(sys.modules, "another_package", SimpleNamespace(smell=lambda images, jitter: "smell!"))
    monkeypatch.setattr(importlib.metadata, "entry_points", offered)
    make: Any = known_tasks()
    assert make["smell"](watch.images, 0.5) == "smell!"
    assert make["motor"](watch.images, 0.5).name == "motor", "a package may add tasks, not replace ours in silence"


def test_tasks_recruit_what_they_are_wired_to(watch: Watch) -> None:
    """Sensors and effectors come with the task itself or with one that it requires."""
    known = every_task(watch.images)
    for name in ("perception", "motor", "interaction"):
        task = known[name]
        before = [known[need] for need in task.requires]
        body = {part for t in (task, *before) for part in (*t.sensors, *t.effectors)}
        regions = {name, *task.requires}
        assert regions <= set(task.recruits) <= regions | body
        assert {*task.sensors, *task.effectors} <= set(task.recruits)
        assert len(set(task.recruits)) == len(task.recruits)
    assert not known["interaction"].effectors, "interaction acts through motor's"


@pytest.mark.parametrize("name", ["perception", "motor", "interaction"])
def test_batches_have_the_declared_shape(watch: Watch, name: str) -> None:
    known = every_task(watch.images)
    task = known[name]
    sizes = {s: n for t in known.values() for s, n in t.sensors.items()}
    spikes, target = task.batch(np.random.default_rng(0), 9)
    assert set(spikes) == set(task.recruits) & set(sizes)
    assert {s: tuple(x.shape)[::2] for s, x in spikes.items()} == {s: (9, sizes[s]) for s in spikes}
    assert len({x.shape[1] for x in spikes.values()}) == 1
    assert all(x.dtype == torch.bool and x.any() for x in spikes.values())
    assert len(target) == 9
    again, same = task.batch(np.random.default_rng(0), 9)
    assert all(torch.equal(spikes[s], again[s]) for s in spikes)
    assert torch.equal(target, same)


@pytest.mark.parametrize("kind", [Perception, Interaction])
def test_training_sees_training_images_alone(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, kind: Callable[[Images, float], Perception | Interaction]
) -> None:
    """Neither an image nor a label of another split is even looked at."""
    taken: list[NDArray[Any]] = []

    def spy(image: NDArray[Any], reach: float, rng: np.random.Generator) -> NDArray[Any]:
        taken.append(image.copy())
        assert reach == 2.0
        return shifted(image, reach, rng)

    monkeypatch.setattr(tasks, "shifted", spy)
    task, rng = kind(watch.images, 2.0), np.random.default_rng(0)
    for _ in range(40):
        task.batch(rng, 32)
    images = np.concatenate(taken)
    assert watch.seen() == {"train"}
    assert watch.splits(images) == {"train"}
    assert len(np.unique(images, axis=0)) == SIZES["train"], "some training images are never seen"


def test_perception_is_taught_the_labels(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "shifted", lambda image, reach, rng: image)
    spikes, target = Perception(watch.images).batch(np.random.default_rng(0), 50)
    np.testing.assert_array_equal(spikes["image"][:, :, :10].sum(1).argmax(1), target)


@pytest.mark.parametrize("name", ["motor", "interaction"])
def test_reaching_is_taught_by_the_teacher(watch: Watch, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    seen = Senses(monkeypatch)
    monkeypatch.setattr(tasks, "shifted", lambda image, reach, rng: image)
    _, move = every_task(watch.images)[name].batch(np.random.default_rng(0), 200)
    goal = seen.goal if name == "motor" else PLACES[seen.digit]
    assert ((seen.joint >= LIMITS[:, 0]) & (seen.joint <= LIMITS[:, 1])).all()
    np.testing.assert_allclose(move.numpy() * MAX_MOVE, teacher(seen.joint, goal), atol=1e-6)
    assert np.abs(move.numpy()).max() <= 1 + 1e-6


class Senses:
    """Taps what the senses are given before it becomes spikes."""

    joint: NDArray[Any]
    goal: NDArray[Any]
    digit: NDArray[Any]

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        feel, aim, see = tasks.encode_joints, tasks.encode_goal, tasks.encode_image

        def tapencode_joints(joint: NDArray[Any], steps: int) -> Tensor:
            self.joint = joint
            return feel(joint, steps)

        def tap_aim(goal: NDArray[Any]) -> Tensor:
            self.goal = goal
            return aim(goal)

        def tap_see(image: NDArray[Any], *rest: Any) -> Tensor:
            self.digit = image.reshape(len(image), -1)[:, :10].argmax(1)
            return see(image, *rest)

        monkeypatch.setattr(tasks, "encode_joints", tapencode_joints)
        monkeypatch.setattr(tasks, "encode_goal", tap_aim)
        monkeypatch.setattr(tasks, "encode_image", tap_see)


STEPS = 25


def activity(effector: str, potential: NDArray[Any]) -> BatchActivity:
    """(B, N) mV held for the whole sample; 3 spikes and 5 operations a sample."""
    held = torch.from_numpy(np.repeat(potential[:, None].astype(np.float32), STEPS, 1))
    counts = {"motor": np.array([len(potential), 2 * len(potential)])}
    return BatchActivity({effector: held}, {}, counts, 5 * len(potential))


def pulls(move: NDArray[Any]) -> NDArray[Any]:
    """(B, 4) potentials that move the joints so, in units of the largest move, found by trying the muscles out."""
    gain = tasks._moves(activity("muscles", np.array([[1.0, 0.0, 1.0, 0.0]])))[0].numpy()
    assert (tasks._moves(activity("muscles", np.ones((1, 4))))[0] == 0).all(), (
        "muscles of a joint pull against each other"
    )
    return np.stack([move[:, 0] / gain[0], 0 * move[:, 0], move[:, 1] / gain[1], 0 * move[:, 1]], 1)


@pytest.fixture(params=["validation", "test"])
def split(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.mark.parametrize("trials", [7, 1000])
def test_score_of_perception(watch: Watch, split: Any, trials: int) -> None:
    task, n = Perception(watch.images), min(trials, SIZES[split])

    def perfect(spikes: Mapping[str, Tensor]) -> BatchActivity:
        count = spikes["image"].sum(1).numpy()
        assert len(count) == n
        return activity("digit", count[:, :10].astype(float))

    score = task.score(perfect, split, trials, np.random.default_rng(0))
    assert score == Score(1.0, operations=5.0, spikes=3.0, at_end=1.0)
    assert watch.seen() == {split}

    def wrong(spikes: Mapping[str, Tensor]) -> BatchActivity:
        return activity("digit", -spikes["image"].sum(1).numpy()[:, :10].astype(float))

    missed = task.score(wrong, split, trials, np.random.default_rng(0))
    assert missed.value == missed.at_end == 0.0
    silent = task.score(
        lambda s: activity("digit", np.zeros((len(s["image"]), 10))), split, 99, np.random.default_rng(0)
    )
    assert silent.value == pytest.approx(0.1), "one answer for all is right for one digit in ten"


def test_score_of_a_task_of_some_classes(watch: Watch, split: Any) -> None:
    """Its images are those of its classes, and its effectors are numbered among them."""
    task = tasks.split_tasks(watch.images, 5)[2]

    def perfect(spikes: Mapping[str, Tensor]) -> BatchActivity:
        count = spikes["image"].sum(1).numpy()
        assert not count[:, [0, 1, 2, 3, 6, 7, 8, 9]].any()
        return activity(task.effector, count[:, 4:6].astype(float))

    assert task.score(perfect, split, 99, np.random.default_rng(0)).value == 1.0


@pytest.mark.parametrize("name", ["motor", "interaction"])
def test_score_of_reaching(watch: Watch, monkeypatch: pytest.MonkeyPatch, name: str, split: Any) -> None:
    """In closed loop: a policy that does as the teacher does reaches every time, one that does nothing hardly ever."""
    task, n = every_task(watch.images)[name], SIZES[split]
    seen = Senses(monkeypatch)
    calls = []

    def perfect(spikes: Mapping[str, Tensor]) -> BatchActivity:
        calls.append(len(seen.joint))
        goal = seen.goal if name == "motor" else PLACES[seen.digit]
        return activity("muscles", pulls(teacher(seen.joint, goal) / MAX_MOVE))

    score = task.score(perfect, split, n, np.random.default_rng(0))
    assert score == Score(1.0, operations=5.0, spikes=3.0, at_end=1.0)
    assert calls == [n] * MOVES
    assert watch.seen() == (set() if name == "motor" else {split})
    silent = task.score(lambda s: activity("muscles", np.zeros((n, 4))), split, n, np.random.default_rng(0))
    assert silent.value <= 0.15
    assert task.score(perfect, split, 7, np.random.default_rng(3)).value == 1.0

    def passes_by(spikes: Mapping[str, Tensor]) -> BatchActivity:
        last = len(calls) % MOVES == MOVES - 1
        found = perfect(spikes)
        return activity("muscles", pulls(np.ones((n, 2)))) if last else found

    calls.clear()
    passed = task.score(passes_by, split, n, np.random.default_rng(0))
    assert passed.value == 1.0
    assert passed.at_end < 0.5, "the hand left its goal with the last move"


def test_the_goal_of_an_interaction_is_not_given(watch: Watch) -> None:
    """Only the digit says it, so a policy that is blind to digits cannot know."""
    task = Interaction(watch.images)
    assert "goal" not in task.recruits
    spikes, _ = task.batch(np.random.default_rng(0), 4)
    assert set(spikes) == {"image", "joints"}


def test_answers_are_read_from_the_last_ten_steps() -> None:
    """However long the sample is. A unit is the way from rest to threshold, 15 mV."""
    for steps in (tasks.STEPS, tasks.CHAIN_STEPS):
        late = torch.zeros(1, steps, 2)
        late[:, -10:] = torch.linspace(0.0, 27.0, 10)[None, :, None] * torch.tensor([1.0, -1.0])
        late[:, :-10] = 1000.0
        found = tasks.readout(BatchActivity({"digit": late}, {}, {}, 0), "digit")
        torch.testing.assert_close(found, torch.tensor([[0.9, -0.9]]))


def test_losses_in_closed_form(watch: Watch) -> None:
    """Cross-entropy of four times the potentials, in units of the threshold; the mean square of what is missing in a
    move, of which an extensor takes away twice what a flexor's potential is in these units."""
    potential = np.array([[15.0, 0.0, *[-30.0] * 8], [0.0, 30.0, *[0.0] * 8]])
    z = 4 * potential / 15
    expected = np.mean([np.log(np.exp(row).sum()) - row[at] for row, at in zip(z, (1, 1), strict=True)])
    loss = Perception(watch.images).loss(activity("digit", potential), torch.tensor([1, 1]))
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    muscles = np.array([[15.0, 30.0, 7.5, 0.0]])  # moves of -2 and of 1
    found = tasks.Motor().loss(activity("muscles", muscles), torch.tensor([[-1.0, 3.0]]))
    assert float(found) == pytest.approx((1 + 4) / 2)


def test_postures_are_half_of_them_near_the_goal() -> None:
    """The others are anywhere, and seldom as near."""
    rng, n = np.random.default_rng(4), 4000
    goal = np.repeat(PLACES[:1], n, 0)
    joint, _ = tasks.Motor()._demonstrate(goal, rng)
    away = np.abs(joint - inverse_kinematics(goal)).max(1)
    anywhere = np.abs(random_posture(rng, n) - inverse_kinematics(goal)).max(1)
    by_chance = float((anywhere < 0.75).mean())
    near = float((away < 0.75).mean())
    assert near == pytest.approx(0.5 * 0.995 + 0.5 * by_chance, abs=4 * 0.5 / np.sqrt(n) + 0.005)


def test_training_images_are_shifted_and_scored_ones_are_not(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    reach: list[float] = []

    def noted(image: NDArray[Any], by: float, rng: np.random.Generator) -> NDArray[Any]:
        reach.append(by)
        return image

    monkeypatch.setattr(tasks, "shifted", noted)
    for task in (Perception(watch.images, jitter=0.7), Interaction(watch.images, jitter=0.7)):
        task.batch(np.random.default_rng(0), 3)
    assert reach == [0.7, 0.7]
    Perception(watch.images).score(
        lambda s: activity("digit", np.zeros((len(s["image"]), 10))), "test", 5, np.random.default_rng(0)
    )
    assert len(reach) == 2


def test_every_demonstration_is_shown(watch: Watch) -> None:
    task = Interaction(watch.images, demonstrations=3)
    _, moves = task.batch(np.random.default_rng(0), 60)
    assert len(np.unique(moves.numpy(), axis=0)) == 3


def test_loss_is_least_where_the_answer_is_right(watch: Watch) -> None:
    label = torch.tensor([3, 0])
    good, bad = (torch.nn.functional.one_hot(label, 10).numpy() * s * 15.0 for s in (1.0, -1.0))
    loss = Perception(watch.images).loss
    assert (
        loss(activity("digit", good), label)
        < loss(activity("digit", 0 * good), label)
        < loss(activity("digit", bad), label)
    )
    move = np.array([[0.5, -1.0], [0.0, 1.0]], np.float32)
    assert float(Motor().loss(activity("muscles", pulls(move)), torch.from_numpy(move))) == pytest.approx(0, abs=1e-10)
    off = Motor().loss(activity("muscles", pulls(move + 0.5)), torch.from_numpy(move))
    assert float(off) == pytest.approx(0.25, rel=1e-4)
