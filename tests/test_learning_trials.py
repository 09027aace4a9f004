"""Trials of how weights learn: what they set beside each other, and how they judge."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from connectome.development.birth import birth
from connectome.graph.parts import EdgeKey
from connectome.learning.learning_rule import Update
from connectome.mechanisms.consolidation import Consolidation
from sims.studies.development import read_images
from sims.studies.mechanisms import (
    bricks,
    codebooks,
    concept_shift,
    consolidation,
    devices,
    memory_momentum,
    modes,
    one_region,
    running_mean,
    selection,
    spike_code,
    variability,
    voids,
)
from sims.studies.published import Trial
from tests.test_development import ANATOMY, toys

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


def test_devices_are_judged() -> None:
    trial = devices.devices
    v = {c: {"right": (0.93 if c.endswith("two-way") else 0.95) + SPREAD} for c in trial.conditions}
    assert failed(trial, v) == []
    v["software"] = {"right": 0.956 + SPREAD}
    v["16 states two-way"] = {"right": 0.945 + SPREAD}
    assert len(failed(trial, v)) == 2
    v["256 states varied"] = {"right": 0.94 + SPREAD}
    assert len(failed(trial, v)) == 3


def test_codebooks_are_judged() -> None:
    trial = codebooks.codebooks
    v = values(trial, {"right": 0.95, "bits": 3.2}, {"right": 0.93, "bits": 32})
    v["float"]["right"] = 0.955 + SPREAD
    assert failed(trial, v) == []
    v["2 bits"] = {"right": 0.92 + SPREAD, "bits": SPREAD}
    v["3 bits grid"] = v["3 bits rounded"] = {"right": 0.95 - SPREAD, "bits": SPREAD}
    assert len(failed(trial, v)) == 3
    v["3 bits"] = {"right": 0.946 + SPREAD, "bits": np.array([3.2, 3.6, 3.2, 3.2, 3.2])}
    assert len(failed(trial, v)) == 4


def test_few_values_take_few_bits() -> None:
    way = codebooks._WAYS["3 bits rounded"]
    found = codebooks.learn(way, 1, True)
    assert 3 < found["bits"] < 3.6
    assert 0.1 < found["right"] < 1


def test_a_concept_shifts() -> None:
    task = concept_shift.Renamed(read_images(""), 0.0)
    rng = np.random.default_rng(0)
    other = task.swapped(rng)
    changed = [name for name, now in zip(task.names, other.names, strict=True) if name != now]
    assert len(changed) == 2
    assert sorted(other.names) == list(range(10))
    before, after = (t.batch(np.random.default_rng(1), 200)[1].numpy() for t in (task, other))
    np.testing.assert_array_equal(np.array(other.names)[before], after)
    with pytest.raises(ValueError, match="larger sample"):
        concept_shift.Renamed(read_images(""), names=(0,)).swapped(rng)


def test_a_rate_is_controlled_by_what_does_better() -> None:
    """It stays within steps of a tenth of the first; a rule of chance takes another half of the time."""
    for by in ("", "need", "chance"):
        found = concept_shift.prequential(concept_shift.Way(1e5, by), 5, 1, 12)
        assert 0 <= found["right"] <= 1
        assert (found["rate"] == 1) == (not by)


def test_concept_shift_is_judged() -> None:
    trial = concept_shift.concept_shift
    worth = {"need": 0.8, "hypergradient": 0.8, "constant": 0.7, "chance": 0.6, "need low": 0.3, "constant low": 0.2}
    v = {c: {"right": worth[c.split(" (")[0]] + SPREAD * i, "rate": SPREAD} for i, c in enumerate(trial.conditions)}
    assert failed(trial, v) == []
    v["need (30)"]["right"] = 0.7 + 9 * SPREAD
    assert len(failed(trial, v)) == 1
    v["hypergradient (10)"] = v["need low (10)"] = {"right": 0.2 + SPREAD, "rate": SPREAD}
    assert len(failed(trial, v)) == 3


def test_bricks_are_judged() -> None:
    trial = bricks.bricks
    v = values(trial, {"change": -0.02, "operations saved": 0.3}, {"change": -0.06, "operations saved": 0.3})
    v["bricks"], v["merged matched"] = v["function"], {"change": SPREAD, "operations saved": SPREAD}
    v["merged as they are"] = {"change": -0.3 + SPREAD, "operations saved": SPREAD}
    assert failed(trial, v) == []
    v["rate"] = {"change": -0.03 + SPREAD, "operations saved": SPREAD}
    assert len(failed(trial, v)) == 2
    v["merged matched"] = {"change": 7 * SPREAD, "operations saved": SPREAD}
    assert len(failed(trial, v)) == 3


def test_running_means_are_judged() -> None:
    trial = running_mean.running_mean
    v = values(trial, {"average": 0.8, "change": -0.01}, {"average": 0.7, "change": -0.05})
    assert failed(trial, v) == []
    v["1"] = {"average": 0.8 - SPREAD, "change": -0.01 + SPREAD}
    assert len(failed(trial, v)) == 2
    v["1"] = {"average": 0.9 - SPREAD, "change": 0.0 + SPREAD}
    v["by chance"] = v["1"]
    assert len(failed(trial, v)) == 4


def test_consolidation_is_judged() -> None:
    trial = consolidation.consolidation
    ours, others = {"accuracy": 0.9 + SPREAD}, {"accuracy": 0.8 - SPREAD}
    v = dict.fromkeys(trial.conditions, others) | {"consolidation": ours, "development: consolidation": ours}
    assert failed(trial, v) == []
    v["replay"] = v["elastic weights"] = v["development: elastic weights"] = {"accuracy": 0.91 - SPREAD}
    assert len(failed(trial, v)) == 3
    v["needs shuffled"] = v["development: needs shuffled"] = v["sequential"] = {"accuracy": 0.9 - SPREAD}
    assert len(failed(trial, v)) == 6


def test_shuffled_needs_are_the_same_needs_elsewhere() -> None:
    task = toys()[0]
    born = birth(None, task, ANATOMY, 1, (), np.random.default_rng(0))
    found = {}
    for rule in (Consolidation(samples=4), consolidation.Shuffled(samples=4)):
        once = born.apply(rule.learnt(born, task, np.random.default_rng(1)))
        found[type(rule)] = {key: edges.state["need"] for key, edges in once.edges.items()}
        twice = once.apply(rule.learnt(once, task, np.random.default_rng(2)))
        for key, edges in twice.edges.items():
            assert (edges.state["need"] >= once.edges[key].state["need"] - 1e-6).all()
    for key, needs in found[Consolidation].items():
        np.testing.assert_array_equal(np.sort(needs), np.sort(found[consolidation.Shuffled][key]))
    assert any((needs != found[consolidation.Shuffled][key]).any() for key, needs in found[Consolidation].items())


def test_half_of_the_neurons_are_kept_by_what_they_do() -> None:
    rates = np.array([[4.0, 5.0, 0.0, 3.0], [1.0, 4.0, 2.0, 3.0]])
    activity = np.random.default_rng(0).normal(size=(9, 4))
    found = {by: bricks.kept(by, rates, activity, 0) for by in ("rate", "function", "random")}
    assert found["rate"].tolist() == [[True, True, False, False], [False, True, False, True]]
    assert found["function"].tolist() == [[True, True, False, False], [False, False, True, True]]
    assert found["random"].sum(1).tolist() == [2, 2]


def test_some_digits_are_rare_and_each_kind_is_scored() -> None:
    task = selection.Uneven(read_images(""))
    label = task._of("train")[1]
    assert 0.02 < (label >= 5).mean() < 0.1
    assert {*task._of("test")[1].tolist()} == {*range(10)}
    assert {*selection.Uneven(read_images(""), asked=(3, 7))._of("test")[1].tolist()} == {3, 7}
    chance = selection.learn(selection._WAYS["random"], 1, True)
    assert 0.5 < chance["share"] < 1.6
    assert chance["all"] == pytest.approx(chance["common"], abs=0.1)


def test_selection_is_judged() -> None:
    trial = selection.selection
    v = values(trial, {"rare": 0.6, "all": 0.9, "share": 4}, {"rare": 0.5, "all": 0.9, "share": 1})
    assert failed(trial, v) == []
    v["hardest"]["rare"] = 0.61 + SPREAD
    v["random"] = {"rare": 0.58 + SPREAD, "all": 0.906 + SPREAD, "share": SPREAD}
    assert len(failed(trial, v)) == 3
    v["clusters"]["share"] = 2.9 + SPREAD
    assert len(failed(trial, v)) == 4


def test_codes_of_pictures_are_judged_at_equal_spikes() -> None:
    trial = spike_code.spike_code
    v = {c: {"right": 0.95 + SPREAD * i, "spikes": 3 + SPREAD} for i, c in enumerate(trial.conditions)}
    assert failed(trial, v) == []
    v["rate (k = 3.0)"]["right"] = v["latency"]["right"] = 0.96 + SPREAD
    assert len(failed(trial, v)) == 2
    mean = {}
    for name, way in spike_code._WAYS.items():
        task = spike_code.Coded(read_images(""), 0.0, code=way.code, number=way.number)
        spikes, _ = task.batch(np.random.default_rng(0), 300)
        mean[name] = float(spikes["image"].double().sum(1).mean())
    for k in spike_code._PEAKS:
        assert mean[f"adaptive (k = {k})"] == pytest.approx(mean[f"rate (k = {k})"], rel=0.05)
