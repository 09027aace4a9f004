"""Trials of how weights learn: what they set beside each other, and how they judge."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from connectome.graph.parts import EdgeKey
from connectome.learning.learning_rule import Update
from sims.studies.development import read_images
from sims.studies.mechanisms import memory_momentum, modes, one_region, variability, voids
from sims.studies.published import Trial

SPREAD = np.array([-0.001, 0.0, 0.001, 0.0, 0.0])


def values(
    trial: Trial, ours: Mapping[str, float], others: Mapping[str, float]
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """The first condition's measures, and those of all others."""
    first, names = trial.conditions[0], trial.measures
    rest = {c: {m: others.get(m, np.nan) - SPREAD for m in names} for c in trial.conditions[1:]}
    return {first: {m: ours.get(m, np.nan) + SPREAD for m in names}, **rest}


def failed(trial: Trial, v: Mapping[str, Mapping[str, NDArray[np.float64]]]) -> list[str]:
    return [check.claim for check in trial.check(v) if not check.holds]


def test_two_fifths_of_the_labels_are_those_of_the_next_class() -> None:
    images = read_images("")
    told, wrong = variability.relabelled(images, 3)
    was, label = images.label["train"], told.label["train"]
    assert len(wrong) == round(0.4 * len(was)) == (was != label).sum()
    np.testing.assert_array_equal(label[wrong], (was[wrong] + 1) % 10)
    assert told.label["test"] is images.label["test"] or (told.label["test"] == images.label["test"]).all()
    assert (variability.relabelled(images, 4)[1] != wrong).any()


def test_a_walk_is_as_long_as_one_noise() -> None:
    n, seed = 3000, (1,)
    weight = torch.full((n,), 4.0)
    pair, none = np.arange(n, dtype=np.uint64), torch.zeros(n, dtype=torch.int8)
    start = weight.clone()
    for number in range(1, 301):
        update = Update(EdgeKey("a", "local", "a"), None, start, none, none, pair, 1.0, number, seed)
        weight = weight + variability.Walk(2.0)(update, torch.zeros(n), {})
    assert float((weight - start).std()) == pytest.approx(2.0 * 4.0 * (300 / 1500) ** 0.5, rel=0.05)


def test_what_a_region_has_memorised_is_told_from_what_is_right() -> None:
    """After a few updates next to nothing is memorised."""
    found = variability.learn(variability.Way(0.02, updates=400), 1, True)
    assert set(found) == {"right", "memorised"}
    assert found["right"] > found["memorised"]


def test_variability_is_judged() -> None:
    trial = variability.variability
    ours = {"right": 0.9, "memorised": 0.2, "change": -0.1, "at the end": 0.8}
    v = values(trial, ours, {"right": 0.84, "memorised": 0.5, "change": -0.2, "at the end": 0.8})
    v["stream with noise"]["change"] = -0.1 + SPREAD
    assert failed(trial, v) == []
    for part, value, n in (("right", 0.88, 1), ("memorised", 0.26, 1), ("right", 0.84, 4)):
        assert len(failed(trial, {**v, "variability": v["variability"] | {part: value + SPREAD}})) == n, part
    v["stream with noise"]["at the end"] = 0.7 + SPREAD
    assert len(failed(trial, v)) == 1, "less is forgotten, but only as less is learnt"


def test_adaptive_momentum_is_judged_at_each_rate() -> None:
    trial = memory_momentum.memory_momentum
    v = {c: {"right": (0.9 if c.startswith("adaptive") else 0.88) + SPREAD * i} for i, c in enumerate(trial.conditions)}
    assert failed(trial, v) == []
    v["0.5 at 0.08"] = {"right": 0.906 + SPREAD}
    assert len(failed(trial, v)) == 1
    v["0 at 0.02"] = {"right": 0.99 + SPREAD}
    assert len(failed(trial, v)) == 3
    assert memory_momentum._run("adaptive at 0.02", 1, True)["right"] > 0.3


def test_voids_are_judged() -> None:
    trial = voids.voids
    v = values(
        trial, {"worst change": 0.004, "rank correlation": 0.5}, {"worst change": -0.005, "rank correlation": 0.5}
    )
    assert failed(trial, v) == []
    v["silencing"]["worst change"] = np.array([0.0, -0.011, 0, 0, 0])
    v["silencing"]["rank correlation"] = np.array([1.0, -1.0, 1.0, -1.0, 0.5])
    v["norm"]["worst change"] = np.array([0.0, 0.3, 0, 0, 0])
    assert len(failed(trial, v)) == 3


def test_a_region_matures_by_its_chain() -> None:
    """With no rate it stays as it was born: at chance."""
    from connectome.datasets.tasks import Perception

    task = Perception(read_images(""))
    scores = [
        task.score(one_region.matured(task, 1, 30, rate), "validation", 300, np.random.default_rng(0)).value
        for rate in (1e-9, 0.02)
    ]
    assert scores[0] < 0.25 < scores[1]


def test_turned_digits_are_others_and_turned_by_0_the_same() -> None:
    images = read_images("")
    same, other = modes.turned(0).images, modes.turned(90).images
    np.testing.assert_array_equal(same.image["test"], images.image["test"])
    np.testing.assert_allclose(other.image["test"], np.rot90(images.image["test"], axes=(1, 2)), atol=1e-6)


def test_a_mode_leaves_the_weights_and_low_rank_is_another_way() -> None:
    found = {name: modes.learn(modes._WAYS[name], "upright", 1, True) for name in ("base", "mode", "low rank")}
    assert found["mode"] != found["base"] != found["low rank"]
    assert all(0 < of["neurons used"] <= 1 for of in found.values())


def test_modes_are_judged() -> None:
    trial = modes.modes
    v = values(trial, {"turned": 0.4}, {"turned": 0.2})
    v["mode (mixture)"]["turned"] = 0.21 + SPREAD
    assert failed(trial, v) == []
    v["low rank (upright)"]["turned"] = 0.6 + SPREAD
    v["mode (mixture)"]["turned"] = 0.21 + 20 * SPREAD
    v["base (upright)"]["turned"] = 0.31 + SPREAD
    assert len(failed(trial, v)) == 3
