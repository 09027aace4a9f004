"""Streams of tasks: pictures of any size, the order of classes, one choice over all, direct and joint learning."""

from __future__ import annotations

import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image

from connectome import ConnectomeError
from connectome.datasets.image_files import read_pictures
from connectome.datasets.images import Images, load_digits
from connectome.datasets.streams import Joint, one_choice, rotated_tasks
from connectome.datasets.tasks import READOUT_STEPS, Perception, split_tasks
from connectome.learning.network import BatchActivity
from sims.studies.cells import Cell, Study
from sims.studies.streams import METHODS, rotated_mnist, split_cifar100, split_mnist, split_pictures

SMALL = """
[anatomy]
neurons = 20
afferent_density = 0.2
areas = "3x3/2, 4x3/2"
[training]
other = 4
batch = 8
epoch_updates = 2
validation_trials = 4
[rules]
act = ["balanced_birth", "growth", "pruning", "dead_maps"]
[rules.pruning]
unit = "kernel"
[tasks.stream]
tasks = 2
mirrored = 0.5
order = 3
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "small.toml").write_text(SMALL)
    return tmp_path / "small.toml"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Four classes of 40 pictures to learn from and three to be tested with, each of its own size, in colour."""
    rng = np.random.default_rng(0)
    for split, many in (("train", 40), ("test", 3)):
        for name in ("ant", "bee", "cat", "dog"):
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for i in range(many):
                size = rng.integers(20, 60, 2)
                Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "pictures"


def cell(study: Study, condition: str) -> xr.Dataset:
    return study.cell(Cell(condition, 0), {**study.options, "trials": 8})


def table(study: Study, conditions: tuple[str, ...]) -> list[list[str]]:
    found = [cell(study, name).assign_coords(condition=name) for name in conditions]
    results = xr.concat(found, "condition").expand_dims(seed=[0]).transpose("condition", "seed", ...)
    tables = {t.heading: t for t in study.tables(results)}
    assert all(len(row) == len(t.columns) for t in tables.values() for row in t.rows)
    return [list(row) for row in tables["Metrics"].rows]


def test_a_stream_of_pictures_of_any_size(pictures: Path, config: Path) -> None:
    study = split_pictures(False, str(pictures), config)
    assert (study.options["tasks"], study.options["pixels"], study.options["updates"]) == (2, 32, 4)
    rows = table(study, ("development", "direct", "joint"))
    assert [row[0] for row in rows] == ["development", "direct", "joint"]
    assert rows[1][4].startswith("0.0"), "its forward transfer is counted from itself"
    assert rows[0][5]
    assert not rows[1][5], "networks apart have no choice in common"


def test_split_cifar100_runs_on_an_archive_of_the_right_form(tmp_path: Path, config: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "cifar-100-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        names = "\n".join(f"thing{i}" for i in range(100)) + "\n"
        labels = np.arange(100, dtype=np.uint8)
        for name, many in (("train.bin", 300), ("test.bin", 200), ("fine_label_names.txt", 0)):
            rows = rng.integers(0, 256, (many, 2 + 3072), dtype=np.uint8)
            rows[:, 1] = np.resize(labels, many)
            data = rows.tobytes() if many else names.encode()
            info = tarfile.TarInfo(f"cifar-100-binary/{name}")
            info.size = len(data)
            archive.addfile(info, BytesIO(data))
    config.write_text(SMALL.replace("tasks = 2", "tasks = 20"))
    study = split_cifar100(False, str(path), config)
    assert study.options["tasks"] == 20
    study = split_cifar100(False, str(path))
    found = study.cell(Cell("sequential", 0), {**study.options, "updates": 1, "trials": 4, "tasks": 2})
    assert found.one_choice.shape == (2,)


@pytest.mark.parametrize("make", [split_mnist, rotated_mnist])
def test_other_streams_take_a_configuration(make: object, config: Path) -> None:
    text = SMALL if make is rotated_mnist else SMALL.replace("order = 3", "")
    config.write_text(text.replace("order = 3", "").replace("mirrored = 0.5", ""))
    study = make(False, "", config)  # type: ignore[operator]  # a function of three
    found = study.cell(Cell("ewc", 0), {**study.options, "images": "", "trials": 8})
    assert found.one_choice.values.min() >= 0
    config.write_text(SMALL.replace("mirrored", "upside_down"))
    with pytest.raises(ConnectomeError, match=r"must have no keys but tasks, order, .*; found 'upside_down'"):
        make(False, "", config)  # type: ignore[operator]


def test_pictures_without_a_folder_are_refused() -> None:
    with pytest.raises(ConnectomeError, match="--images must name a folder or a zip of pictures"):
        split_pictures(True, "")


def test_a_task_without_images_is_named() -> None:
    digits = load_digits()
    none = Images({**digits.image, "validation": digits.image["validation"][:0]},
                  {**digits.label, "validation": digits.label["validation"][:0]})  # fmt: skip
    with pytest.raises(ConnectomeError, match="images must have some of 4, 5 among those of validation; found none"):
        split_tasks(none, 5)[2].seen("validation", 5, np.random.default_rng(0))


def test_the_middle_of_a_picture_is_taken(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / split / "a").mkdir(parents=True)
        wide = np.zeros((8, 24), np.uint8)
        wide[:, 8:16] = 200
        for i in range(2):
            Image.fromarray(wide).save(tmp_path / split / "a" / f"{i}.png")
    (tmp_path / "train" / "a" / "1.png").unlink()
    Image.fromarray(np.full((50, 30), 90, np.uint8)).save(tmp_path / "train" / "a" / "1.png")
    image = read_pictures(tmp_path, 4)["train"].image
    assert image.shape == (2, 4, 4)
    assert image[0].min() > 180
    assert (image[1] == 90).all()
    with pytest.raises(ConnectomeError, match="must be 24 x 8 pixels, as the first"):
        read_pictures(tmp_path)


def test_the_order_of_classes() -> None:
    images = load_digits()
    assert [t.classes for t in split_tasks(images, 5)] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    drawn = [t.classes for t in split_tasks(images, 5, 7)]
    assert drawn == [t.classes for t in split_tasks(images, 5, 7)]
    assert sorted(c for pair in drawn for c in pair) == list(range(10))
    assert drawn != [t.classes for t in split_tasks(images, 5, 8)]
    assert split_tasks(images, 5, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0])[0].classes == (9, 8)
    with pytest.raises(ConnectomeError, match=r"order must be a seed, or have each of 0 .. 9 once"):
        split_tasks(images, 5, [0] * 10)


def test_images_are_turned_and_mirrored() -> None:
    images = load_digits()
    upright, turned = rotated_tasks(images, 2)
    seen = [t.seen("test", 50, np.random.default_rng(0))[0]["image"].float().mean(1) for t in (upright, turned)]
    there = seen[0].reshape(50, 8, 8)
    error = [float((seen[1].reshape(50, 8, 8) - torch.rot90(there, k, (1, 2))).square().mean()) for k in range(4)]
    assert int(np.argmin(error)) == 1, "by a quarter of a turn"
    assert error[1] < 0.2 * min(error[0], *error[2:])
    plain = Perception(images, jitter=0.0)
    rows = [t.batch(np.random.default_rng(1), 9)[0]["image"].float().mean(1).reshape(9, 8, 8).sum(1)
            for t in (plain, Perception(images, jitter=0.0, mirrored=1.0))]  # fmt: skip
    torch.testing.assert_close(rows[1], rows[0].flip(1), atol=0.5, rtol=0)


def says(tasks: list[Perception], louder: int):  # type: ignore[no-untyped-def]
    """A network whose effectors of each task say the first class, one of them louder."""

    def act(spikes: object) -> BatchActivity:
        batch = next(iter(spikes.values())).shape[0]  # type: ignore[attr-defined]
        potential = {}
        for number, task in enumerate(tasks):
            u = torch.zeros(batch, READOUT_STEPS, len(task.classes or range(10)))
            u[..., 0] = 15.0 * (1 + (number == louder))
            potential[task.effector] = u
        return BatchActivity(potential, {}, {}, 0)

    return act


def test_one_choice_is_over_all_classes() -> None:
    """The loud task's first class is chosen always; where all tasks have the same classes, the first one."""
    images = load_digits()
    for tasks, loud in ((split_tasks(images, 5), [2]), (rotated_tasks(images, 2), [0, 1])):
        found = one_choice(says(tasks, 2), tasks, "test", 200, np.random.default_rng(0))
        rng = np.random.default_rng(0)
        labels = [task.seen("test", 200 // len(tasks), rng)[1] for task in tasks]
        right = sum(int((labels[number] == 0).sum()) for number in loud)
        assert found == right / sum(len(label) for label in labels)


def test_joint_is_of_all_tasks() -> None:
    tasks = split_tasks(load_digits(), 5)
    joint = Joint(tasks)
    drawn = [joint.batch(np.random.default_rng(seed), 4)[1][0] for seed in range(60)]
    assert set(drawn) == set(range(5))
    assert set(joint.recruits) == {n for t in tasks for n in t.recruits}
    assert joint.name == "task5"
    assert METHODS[-2:] == ("direct", "joint")
