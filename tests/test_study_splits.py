"""What the cells of studies learn from and are scored on: which images, which split, at which rates."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import xarray as xr

from connectome import Connectome, EdgeKey
from connectome.datasets.images import Images
from connectome.datasets.tasks import Interaction, Motor, Perception
from connectome.development.stage import LearningRates
from connectome.learning.learner import Learner
from connectome.learning.task import Act, Score
from sims.studies import pruning as study_pruning
from sims.studies import sleep as study_sleep
from sims.studies.cells import Cell
from sims.studies.claims import claims
from sims.studies.pruning import fall, hold, matured, pruning
from sims.studies.sleep import sleep
from sims.studies.streams import split_mnist
from sims.studies.transfer import transfer

#: What a task scores, by split.
VALUE = {"validation": 0.25, "test": 0.75}


class Noted:
    """What cells have done so far.

    updates : the task of each update; edges : that are there; batches : its input and what is wanted
    rates : of each edge set, relative to its typical weight when the task was begun
    looked : the splits whose images were seen by a network that learns; scored : task, split and trials of each score
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.updates: list[str] = []
        self.batches: list[tuple[Any, ...]] = []
        self.rates: list[dict[EdgeKey, float]] = []
        self.edges: list[int] = []
        self.looked: set[str] = set()
        self.scored: list[tuple[str, str, int]] = []
        self.scale: dict[tuple[str, EdgeKey], float] = {}
        step, look = Learner.step, Images.look

        def noted_step(learner: Learner, spikes: Any, target: Any, rate_pa: Any, **rest: Any) -> float:
            name = learner.task.name
            self.updates.append(name)
            self.edges.append(learner.network.connectome.n_edges)
            self.batches.append((*(float(s.sum()) for s in spikes.values()), float(target.sum())))
            for key, weight in learner.network.weight.items():
                self.scale.setdefault((name, key), float(weight.detach().square().mean().sqrt()))
            self.rates.append({key: rate_pa(key) / self.scale[name, key] for key in learner.network.weight})
            return step(learner, spikes, target, rate_pa, **rest)

        def noted_look(images: Images, split: str, pick: Any) -> Any:
            self.looked.add(split)
            return look(images, split, pick)

        def score(task: Any, act: Act, split: str, trials: int, rng: np.random.Generator) -> Score:
            self.scored.append((task.name, split, trials))
            return Score(VALUE[split], 1000.0, 10.0, VALUE[split] / 2)

        monkeypatch.setattr(Learner, "step", noted_step)
        monkeypatch.setattr(Images, "look", noted_look)
        for task in (Perception, Motor, Interaction):
            monkeypatch.setattr(task, "score", score)


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Noted]:
    matured.cache_clear()
    yield Noted(monkeypatch)
    matured.cache_clear()


def lower(matrix: xr.DataArray) -> set[float]:
    return set(matrix.values[np.tril_indices(len(matrix))].tolist())


def test_developments_are_scored_on_test_data_and_beside_it_on_validation_data(noted: Noted) -> None:
    small = {"images": "", "training": {"perception": 2, "motor": 3, "interaction": 2}, "trials": 4}
    stream = {
        "kind": "split", "images": "", "tasks": 2, "updates": 2, "trials": 4, "afferent_density": 0.1, "without": [],
    }  # fmt: skip
    claim = claims(True, "").cell(Cell("feedback 80 %", 0), small)
    assert noted.looked == {"train"}
    for cell in (claim, split_mnist(True, "").cell(Cell("ewc", 0), stream)):
        assert lower(cell.score) == set(cell.final.values) == {0.75}
        assert lower(cell.validation) == {0.25}
        assert set(cell.at_end.values) == {0.375}
    names = [*["perception"] * 2, *["motor"] * 3, *["interaction"] * 2, *["task1"] * 2, *["task2"] * 2]
    assert noted.updates == names
    assert noted.looked == {"train", "test"}  # the score of one choice over all classes, which no task's is
    assert {trials for _, split, trials in noted.scored if split == "test"} == {4}
    assert {trials for _, split, trials in noted.scored if split == "validation"} == {4, 96}


@pytest.mark.parametrize("split", ["validation", "test"])
def test_transfer(noted: Noted, split: str) -> None:
    """Its score is of the split that it says; in *whole* everything is plastic, from its first update on."""
    study = transfer(True, "")
    few = {
        **study.options, "demonstrations": [30], "points": [2], "trials": 5, "split": split,
        "training": {"perception": 3},
    }  # fmt: skip
    rates, old = LearningRates(), EdgeKey("perception", "local", "perception")
    afferent = EdgeKey("image", "afferent", "perception")
    for way, updates, local, other in (
        ("staged", ["perception"] * 3 + ["motor"] * 2, rates.mature_local, rates.mature_other),
        ("whole", ["motor"] * 2, 1.0, 1.0), ("whole for longer", ["motor"] * 5, 1.0, 1.0),
    ):  # fmt: skip
        noted.updates.clear()
        noted.rates.clear()
        noted.scale.clear()
        cell = study.cell(Cell(f"guided motor {way}", 0), few)
        assert cell.score.values.tolist() == [[VALUE[split]]]
        assert noted.updates == updates
        n = updates.count("motor")
        cosine = [rates.rate * (0.02 + 0.98 * (1 + np.cos(np.pi * k / n)) / 2) for k in range(n)]
        later = noted.rates[-n:]
        np.testing.assert_allclose([r[old] for r in later], np.array(cosine) * local, rtol=1e-4)
        np.testing.assert_allclose([r[afferent] for r in later], np.array(cosine) * rates.afferent * other, rtol=1e-4)
    assert noted.looked == {"train"}
    assert ("motor", split, 5) in noted.scored


def relative(noted: Noted) -> list[float]:
    """Each update's rate, relative to a new region's: the same for all edge sets."""
    rates = LearningRates()
    found = []
    for by_set in noted.rates:
        each = {rate / rates.rate / rates.factor(key, "perception") for key, rate in by_set.items()}
        found.append(float(np.mean(list(each))))
        np.testing.assert_allclose(list(each), found[-1], rtol=1e-4)
    return found


def test_pruning(noted: Noted) -> None:
    """All schedules have the same batches at the same rates; saliency is measured on training images."""
    study, split = pruning(True, ""), "validation"  # what it reports if it is asked to
    assert study.options["split"] == "test"
    tiny = {
        **study.options, "neurons": 12, "updates": 20, "fine_tuning": 8, "removed": [0.5, 0.7], "trials": 40,
        "split": split,
    }  # fmt: skip
    cell = study.cell(Cell("taylor unstructured", 3), tiny)
    assert (
        set(cell.accuracy.values.ravel()) == set(cell.before.values) == {float(cell.whole_accuracy)} == {VALUE[split]}
    )
    assert set(noted.scored) == {("perception", split, 40)}
    assert noted.looked == {"train"}
    rates, batches = relative(noted), noted.batches
    rest = hold(8, 2.0)
    # Each level: one-shot, gradual, iterative; the path has half of its updates at the first level, and goes on.
    wanted = fall(20) + rest * 2 + rest + rest * 2 + rest[4:]
    np.testing.assert_allclose(rates, wanted, rtol=1e-3, atol=1e-9)
    n = int(cell.whole_edges)
    marks = [round(8 * 0.6 * step / 10) for step in range(10)]
    steps = [sum(mark <= update for mark in marks) for update in range(8)]  # of ten, that have been made
    gone = [1 - (1 - step / 10) ** 3 for step in steps]
    assert noted.edges[20:44] == [
        *[round(n * 0.5)] * 8, *(round(n * (1 - 0.5 * part)) for part in gone), *[round(n * 0.5)] * 8
    ]  # fmt: skip
    tuned = batches[20:28]
    assert len(set(tuned)) == 8
    assert batches[20:] == [*tuned * 5, *tuned[4:]]


def test_sleep(noted: Noted, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors are of test data; beside them are those that the best number of iterations is chosen by. A way has as many
    edges as another: of the frozen, half are for the first task, whose score is of these alone. The second task is the
    first with its pixels permuted, for each seed otherwise."""
    edges_of: list[tuple[bool, int]] = []
    pixels: list[Any] = []

    def score(connectome: Connectome, task: Perception, *rest: Any) -> tuple[float, float]:
        edges_of.append((task.pixels is not None, connectome.n_edges))
        if task.pixels is not None:
            pixels.append(task.pixels)
        return study_pruning.score(connectome, task, *rest)

    monkeypatch.setattr(study_sleep, "score", score)
    study = sleep(True, "")
    tiny = {
        **study.options, "neurons": 12, "day": 20, "night": 8, "second_day": 6, "short_night": 4,
        "short_iterations": 2, "weights": [0.5], "compression": [0.5], "trials": 40, "rate": 0.7,
    }  # fmt: skip
    one = study.cell(Cell("2 iterations", 3), tiny)
    assert one.validation_error.values.tolist() == [0.75]
    assert one.error.values.tolist() == [0.25]
    night = [0.7] * 4
    np.testing.assert_allclose(relative(noted), fall(20) + 2 * night, rtol=1e-3)
    assert noted.batches[20:] == [
        (float(spikes["image"].sum()), float(target.sum())) for spikes, target in study_pruning.matured(
            "", 12, 20, 8, 3
        ).batches
    ]  # fmt: skip
    apart = night + fall(6) + night
    for way, wanted in (("frozen", apart), ("not frozen", apart), ("together", fall(26) + 2 * night)):
        noted.rates.clear()
        edges_of.clear()
        two = study.cell(Cell(way, 3), tiny)
        half, both = (round(int(two.edges) * weights) for weights in (0.25, 0.5))
        assert edges_of == [(False, half if way == "frozen" else both), (True, both)]
        assert (*two.first_error.values, *two.second_error.values) == (0.25, 0.25)
        np.testing.assert_allclose(relative(noted), wanted, rtol=1e-3)
    assert noted.looked == {"train"}
    assert {split for _, split, _ in noted.scored} == {"validation", "test"}
    study.cell(Cell("frozen", 4), tiny)
    same = [(a == b).all() for a, b in pairwise(pixels)]
    assert same == [True, True, False], "a permutation for each seed, the same for each way"
    assert sorted(pixels[0].tolist()) == list(range(64))
