"""Areas: layers of maps below a region, from their birth to the maps that leave."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, Edit, KernelSet, Maps, Region
from connectome.development.areas import Layer, parse_areas
from connectome.development.birth import Anatomy, birth, new_links, weight_to_threshold_pa
from connectome.development.configuration import Configuration, plan_stages, read_configuration
from connectome.development.stage import Stage, StageOutcome, StageState
from connectome.development.stages import develop
from connectome.graph.flat import select
from connectome.graph.pyg_view import from_pyg
from connectome.io.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from connectome.io.snapshot import load, open_snapshot, save
from connectome.learning.network import BatchActivity
from connectome.learning.probe import Probe
from connectome.learning.task import Act, Score
from connectome.mechanisms.balanced_birth import BalancedBirth
from connectome.mechanisms.dead_maps import DeadMaps
from connectome.mechanisms.feedback_pruning import FeedbackPruning
from connectome.mechanisms.growth import LongRangeGrowth
from connectome.mechanisms.homeostasis import Homeostasis
from connectome.rules import Context

STEPS = 16
EYE = Maps(2, 6, 6)
ANATOMY = Anatomy(neurons=20, afferent_density=0.5, areas="3x3, 4x3/2", kernel_gain=3.0)
LAYERS = ("first.maps1", "first.maps2")


@dataclass(frozen=True)
class Bars:
    """Is the bar upright? Seen by an eye of two maps."""

    name: str
    uses: tuple[str, ...] = ()
    effectors: Mapping[str, int] = field(default_factory=dict)
    sensors: Mapping[str, int] = field(default_factory=lambda: {"eye": EYE.size})
    maps: Mapping[str, Maps] = field(default_factory=lambda: {"eye": EYE})

    @property
    def requires(self) -> tuple[str, ...]:
        return self.uses

    @property
    def recruits(self) -> tuple[str, ...]:
        return ("eye", *self.uses, self.name, f"{self.name}_out")

    def batch(self, rng: np.random.Generator, size: int) -> tuple[Mapping[str, Tensor], Any]:
        label, at = rng.integers(0, 2, (2, size)) * [[1], [3]]
        image = np.full((size, 2, 6, 6), 0.05)
        image[np.arange(size), 0, at] = 0.6
        image = np.where(label[:, None, None, None] == 1, image.swapaxes(2, 3), image)
        spikes = rng.random((size, STEPS, EYE.size)) < image.reshape(size, 1, -1)
        return {"eye": torch.from_numpy(spikes)}, torch.from_numpy(label)

    def loss(self, activity: BatchActivity, target: Any) -> Tensor:
        return torch.nn.functional.cross_entropy(activity.potential[f"{self.name}_out"].mean(1), target)

    def score(self, act: Act, split: str, trials: int, rng: np.random.Generator) -> Score:
        spikes, label = self.batch(rng, trials)
        activity = act(spikes)
        value = float((activity.potential[f"{self.name}_out"].mean(1).argmax(1) == label).float().mean())
        return Score(value, activity.operations / trials, 0.0, value)


def tasks() -> tuple[Bars, Bars]:
    return Bars("first", effectors={"first_out": 2}), Bars("second", ("first",), effectors={"second_out": 2})


def born(anatomy: Anatomy = ANATOMY, seed: int = 0) -> Connectome:
    """Both areas, new."""
    first, second = tasks()
    rng = np.random.default_rng(seed)
    one = birth(None, first, anatomy, 1, (), rng)
    return birth(one, second, anatomy, 2, new_links(one, "second"), rng)


def test_a_region_with_layers_is_an_area() -> None:
    c = born()
    assert [n for n in c.regions if n.startswith("first")] == [*LAYERS, "first", "first_out"]
    assert c.regions["eye"].maps == EYE
    assert c.regions["first.maps1"].maps == Maps(3, 6, 6)
    assert c.regions["first.maps2"].maps == Maps(4, 3, 3)
    assert [c.area_of(n) for n in (*LAYERS, "first", "eye")] == ["first", "first", "first", "eye"]
    inside = [("eye", "afferent", LAYERS[0]), (LAYERS[0], "local", LAYERS[1]), (LAYERS[1], "local", "first")]
    kernels = [c.edges[EdgeKey(*key)] for key in inside]
    assert [isinstance(e, KernelSet) for e in kernels] == [True, True, False]
    assert [len(e) for e in kernels[:2]] == [3 * 2 * 9, 4 * 3 * 9]
    assert [len(e) for e in (kernels[2],)] == pytest.approx([36 * 20 * 0.5], rel=0.2)
    assert EdgeKey("eye", "afferent", "first") not in c.edges
    assert {(k.source, k.target) for k in c.edges if k.base == "long_range"} == {
        ("first", "second"),
        ("second", "first"),
    }
    unit = weight_to_threshold_pa(c.regions["first"].neuron)
    for e, inputs in zip(kernels, (2 * 9, 3 * 9), strict=False):
        assert e.weight.std() == pytest.approx(ANATOMY.kernel_gain * unit / np.sqrt(inputs), rel=0.25)
    assert set(select(c, ["eye", "first"]).regions) == {"eye", "first", *LAYERS}


def test_without_layers_all_is_as_it_was() -> None:
    plain = replace(ANATOMY, areas="")
    c = born(plain)
    assert list(c.regions) == ["eye", "first", "first_out", "second", "second_out"]
    assert c.regions["eye"].maps is None
    assert c.edges[EdgeKey("eye", "afferent", "first")].key.kind == "afferent"


def test_layers_are_read() -> None:
    assert parse_areas(" 24x5/2,48x3 ") == (Layer(24, 5, 2), Layer(48, 3, 1))
    assert parse_areas("") == ()
    for bad in ("24", "0x3", "24x5/0", "24x5;3x3", "24x5,,3", "-2x3"):
        with pytest.raises(ConnectomeError, match="must be layers of maps, MAPSxSIDE"):
            Anatomy(areas=bad)
    with pytest.raises(ConnectomeError, match="first_layer must be one of new, copy, share; found 'old'"):
        Anatomy(first_layer="old")


def test_a_region_that_sees_no_maps_is_refused_by_name() -> None:
    blind = replace(tasks()[0], maps={})
    configuration = replace(Configuration(), anatomy=ANATOMY)
    with pytest.raises(
        ConnectomeError, match=r"anatomy.areas must be of regions with one sensor .*; found first, with"
    ):
        plan_stages(["first"], {"first": blind}, configuration)
    own = read_configuration(None, ['anatomy.areas="3x3"', 'regions.first.areas=""'])
    assert own.anatomy_of("first").areas == ""
    assert own.anatomy_of("second").areas == "3x3"


def test_what_joins_layers_is_local_and_areas_long_range() -> None:
    one, two = Region("a.low", 2, area="a"), Region("a", 2)
    there: dict[str, Any] = {"n_source": 2, "n_target": 2, "dt_ms": 1.0}
    Connectome.of([one, two], [EdgeSet.from_arrays(("a.low", "local", "a"), [0], [1], **there)], dt_ms=1.0)
    wrong = EdgeSet.from_arrays(("a.low", "long_range", "a"), [0], [1], **there)
    with pytest.raises(ConnectomeError, match="must be 'local' inside one region and only there"):
        Connectome.of([one, two], [wrong], dt_ms=1.0)
    with pytest.raises(ConnectomeError, match=r"regions\[eye\].area must be of neurons"):
        Region("eye", 2, "sensor", area="a")
    assert (
        Connectome.of([one, two], dt_ms=1.0).digest() != Connectome.of([replace(one, area=""), two], dt_ms=1.0).digest()
    )


def test_areas_are_kept_by_files_and_views(tmp_path: Path) -> None:
    c = born()
    save(c, tmp_path / "c.h5")
    assert load(tmp_path / "c.h5").digest() == c.digest()
    summary = open_snapshot(tmp_path / "c.h5").region_connectivity()
    assert int(summary.n_edges.loc[LAYERS[0], "local", LAYERS[1]]) == 4 * 3 * 9
    assert np.isnan(summary.density.loc[LAYERS[0], "long_range", LAYERS[1]])
    assert from_pyg(c.to_pyg()).regions["first.maps1"].area == "first"


@pytest.mark.parametrize("first", ["copy", "share"])
def test_a_first_layer_may_be_an_earlier_ones(first: str) -> None:
    c = born(replace(ANATOMY, first_layer=first))
    old = c.edges[EdgeKey("eye", "afferent", "first.maps1")]
    if first == "copy":
        new = c.edges[EdgeKey("eye", "afferent", "second.maps1")]
        assert (new.weight == old.weight).all()
        assert (new.birth_stage == 2).all()
        assert (old.birth_stage == 1).all()
        assert EdgeKey("second.maps1", "local", "second.maps2") in c.edges
    else:
        assert "second.maps1" not in c.regions
        assert isinstance(c.edges[EdgeKey("first.maps1", "long_range", "second.maps2")], KernelSet)
    other = birth(
        born(replace(ANATOMY, areas="5x3")), Bars("third", ("first",), {"third_out": 2}),
        replace(ANATOMY, first_layer=first), 3, (), np.random.default_rng(0),
    )  # fmt: skip
    assert "third.maps1" in other.regions, "there is none that is like it"


def test_at_a_balanced_birth_each_layer_fires_alike() -> None:
    first, _ = tasks()
    c = birth(None, first, replace(ANATOMY, kernel_gain=0.2), 1, (), np.random.default_rng(1))
    probe = Probe(first, 64, (3,))
    rule = BalancedBirth(rate=0.08)
    context = Context(1, 0, 0, "first", probe=probe)
    made = c.apply(rule(c, context, np.random.default_rng(0)))
    assert probe.spikes(c)["first.maps2"].mean() < 0.01
    rates = {name: float(s.mean()) for name, s in probe.spikes(made).items() if name != "eye"}
    assert rates == pytest.approx(dict.fromkeys(rates, 0.08), rel=0.2)
    for key, e in made.edges.items():
        part = e.weight / c.edges[key].weight
        assert np.ptp(part) < 1e-5
        assert (key.target in (*LAYERS, "first") and key.source != "first") == (part[0] != 1)


def developed(first: str = "new", **more: Any) -> list[StageOutcome]:
    pruning = FeedbackPruning(keep=0.4, keep_own=0.4, grace=1.0, inhibition=0.5, unit="kernel")
    rules = (BalancedBirth(), LongRangeGrowth(edges=9), pruning, Homeostasis(), DeadMaps())
    stages = [Stage(t, 12, batch=8, epoch_updates=3, rules=rules, validation_trials=8) for t in tasks()]
    return list(develop(stages, replace(ANATOMY, first_layer=first), seed=4, test_trials=8, **more))


@pytest.mark.parametrize("first", ["new", "copy", "share"])
def test_a_development_of_areas_goes_on_to_the_same_bytes(first: str, tmp_path: Path) -> None:
    states: list[StageState] = []
    whole = developed(first, on_point=lambda state: states.append(state()))
    for mark in (2, 9, len(states) - 6):
        save_checkpoint(Checkpoint(1, ("first", "second"), 4, "numba", "", {}, (), states[mark]), tmp_path)
        state = load_checkpoint(tmp_path)[0].state
        rest = developed(first, resume=state)
        assert [o.connectome.digest() for o in rest] == [o.connectome.digest() for o in whole][-len(rest) :]
    last = whole[-1].connectome
    save(last, tmp_path / "last.h5")
    assert load(tmp_path / "last.h5").digest() == last.digest()
    log = last.provenance.rule_log
    assert {r.rule for r in log if r.source == "eye" and r.removed} >= {"feedback_pruning"}
    for key, e in last.edges.items():
        if isinstance(e, KernelSet):
            assert (np.bincount(e.kernel) == 9).all(), f"{key} lost a part of a kernel"


def test_areas_learn() -> None:
    rules = (BalancedBirth(),)
    stages = [Stage(t, 40, batch=16, epoch_updates=10, rules=rules, validation_trials=8) for t in tasks()]
    last = list(develop(stages, ANATOMY, seed=1, test_trials=200))[-1]
    assert min(score.value for score in last.scores.values()) > 0.8


def test_kernels_are_inhibited_and_go_whole() -> None:
    c = born()
    key = EdgeKey(LAYERS[0], "local", LAYERS[1])
    e = c.edges[key]
    assert isinstance(e, KernelSet)
    value = np.random.default_rng(0).random(len(e)).astype(np.float32)
    c = c.apply(Edit(state={key: {"importance": value}}))
    context = Context(1, 50, 50, "first", ever={k: len(s) for k, s in c.edges.items()}, done=1.0)
    rule = FeedbackPruning(keep_own=0.4, keep_afferent=1.0, unit="kernel")
    edit = rule(c, context, np.random.default_rng(0))
    gone = np.bincount(e.kernel, edit.remove[key])
    by_value = np.argsort(value.reshape(12, 9).mean(1))
    assert gone[by_value].tolist() == [9] * 7 + [0] * 5, "5 of 12 are 0.4, rounded up"
    assert replace(rule, unit="weight")(c, context, np.random.default_rng(0)).remove[key].sum() == len(e) - 44


def test_another_unit_is_refused() -> None:
    with pytest.raises(ConnectomeError, match="unit must be 'weight' or 'kernel'; found 'map'"):
        FeedbackPruning(unit="map")


def test_dead_maps_leave_and_nothing_else_changes() -> None:
    c = born()
    first, second = c.edges[EdgeKey("eye", "afferent", LAYERS[0])], c.edges[EdgeKey(LAYERS[0], "local", LAYERS[1])]
    assert isinstance(first, KernelSet)
    assert isinstance(second, KernelSet)
    # Map 1 of the first layer hears nothing; what alone it reached, map 2 of the second, is dead without it.
    dead = c.apply(
        Edit(
            remove={
                first.key: first.out_map == 1,
                second.key: (second.out_map == 2) & (second.in_map != 1) | (second.out_map == 0) & (second.in_map == 0),
            }
        )
    )
    context = Context(1, 1, 1, "first")
    edit = DeadMaps()(dead, context, np.random.default_rng(0))
    less = dead.apply(edit)
    assert less.regions[LAYERS[0]].maps == Maps(2, 6, 6)
    assert less.regions[LAYERS[1]].maps == Maps(3, 3, 3)
    probe = Probe(tasks()[0], 16, (1,))
    before, after = probe.spikes(dead), probe.spikes(less)
    assert (before["first"] == after["first"]).all()
    assert before["first"].any()
    kept = np.repeat([True, False, True], 36)
    assert (before[LAYERS[0]][..., kept] == after[LAYERS[0]]).all()
    counts = {(r.source, r.target): r.removed for r in edit.records}
    assert counts[LAYERS] == 4 * 9, "those from map 1 to all"
    assert sum(len(e) for e in less.edges.values()) == sum(len(e) for e in dead.edges.values()) - sum(
        r.removed for r in edit.records
    )
    assert not DeadMaps()(c, context, np.random.default_rng(0)).neurons


def test_a_layer_that_is_all_dead_stays() -> None:
    c = born()
    key = EdgeKey("eye", "afferent", LAYERS[0])
    none = c.apply(Edit(remove={key: np.ones(len(c.edges[key]), bool)}))
    assert not DeadMaps()(none, Context(1, 1, 1, "first"), np.random.default_rng(0)).neurons


def test_neurons_leave_by_an_edit() -> None:
    c = born()
    stay = np.arange(20) % 3 > 0
    less = c.apply(Edit(neurons={"first": stay}))
    old, new = (x.edges[EdgeKey("first", "local", "first")] for x in (c, less))
    dense = np.zeros((20, 20))
    dense[old.source, old.target] = old.weight
    found = np.zeros((13, 13))
    found[new.source, new.target] = new.weight
    assert (found == dense[stay][:, stay]).all()
    assert less.regions["first"].size == 13
    with pytest.raises(ConnectomeError, match=re.escape("must keep whole maps")):
        c.apply(Edit(neurons={LAYERS[0]: np.arange(108) > 0}))
    with pytest.raises(ConnectomeError, match="must name regions of"):
        c.apply(Edit(neurons={"nobody": stay}))
