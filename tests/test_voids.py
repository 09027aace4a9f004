"""Voids: a region whose edges carry nothing is one, by silencing; what a norm says is told apart."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from connectome import Connectome, EdgeSet, Region
from connectome.datasets.tasks import Perception
from connectome.development.birth import Anatomy
from connectome.development.stage import Stage
from connectome.development.stages import develop
from connectome.learning.probe import Probe
from connectome.mechanisms.voids import find_voids, silencing_effect, void_by_norm, void_samples
from sims.studies.development import read_images


@pytest.fixture(scope="module")
def idle() -> tuple[Connectome, Perception]:
    """A region that names digits, and one that it makes fire, whose edges to the effectors have a weight of 0."""
    task = Perception(read_images(""))
    *_, last = develop([Stage(task, 60)], Anatomy(neurons=48), seed=1, test_trials=1)
    c = last.connectome
    every = np.arange(48)
    join = partial(EdgeSet.from_arrays, source=every, n_source=48, dt_ms=c.dt_ms)
    weight = np.where(c.regions["perception"].sign < 0, 0.0, 2000.0)
    heard = join(("perception", "long_range", "idle"), target=every, weight=weight, n_target=48)
    said = join(("idle", "efferent", "digit"), target=every % 10, weight=0.0, n_target=10)
    region = replace(c.regions["perception"], name="idle", state={}, sign=np.ones(48, np.int8))
    whole = Connectome.of([*c.regions.values(), region], [*c.edges.values(), heard, said], dt_ms=c.dt_ms)
    return whole, replace(task, earlier=("idle",))


def test_a_region_whose_edges_carry_nothing_is_a_void(idle: tuple[Connectome, Perception]) -> None:
    """Exactly: not a score changes, and what is saved are the operations of its edges, and of those to it."""
    c, task = idle
    found = find_voids(c, task, trials=100)
    assert found.void == ("idle",)
    assert found.effect["idle"] == 0
    assert found.effect["perception"] < -0.3
    assert found.silenced.value == found.score.value > 0.5
    cut = {k: e for k, e in c.edges.items() if k.source != "idle"}
    alone = find_voids(replace(c, edges=cut), task, trials=100)
    assert found.silenced.operations == alone.score.operations < found.score.operations


def test_with_a_margin_of_all_every_region_is_a_void(idle: tuple[Connectome, Perception]) -> None:
    c, task = idle
    every = find_voids(c, task, trials=50, margin=1.1)
    assert set(every.void) == {"idle", "perception"}
    assert every.silenced.value == pytest.approx(0.1, abs=0.1)
    assert not find_voids(c, task, trials=50, margin=0.0).void, "below the margin, not at it"


def test_a_void_by_norm_does_what_drives_it() -> None:
    """Of norms 3 and 4 that drive a region: 5; a region that nothing drives is left out."""
    regions = [Region("in", 1, role="sensor"), *(Region(n, 1) for n in "abcd")]
    keys = ("in", "afferent", "a"), ("in", "afferent", "c"), ("a", "long_range", "c"), ("c", "long_range", "d")
    edges = [EdgeSet.from_arrays(key, [0], [0], 1.0, n_source=1, n_target=1, dt_ms=1.0) for key in keys]
    c = Connectome.of(regions, edges, dt_ms=1.0)
    rates = {"in": (3, 3), "a": (4, 0), "b": (1, 1), "c": (5, 8), "d": (0, 8)}
    spikes = {n: np.repeat(np.array(r, np.float32)[:, None, None], 2, 1) for n, r in rates.items()}
    found = void_by_norm(c, spikes)
    assert set(found) == {"a", "c", "d"}
    # Changes: a 1, 3; c 0 (of 5), 5 (of 3); d 5, 0.
    assert {n: v.tolist() for n, v in found.items()} == {"a": [True, True], "c": [True, False], "d": [False, True]}
    close = {"in": spikes["in"], "a": 0 * spikes["a"], "c": (3 + 2.5) / 5 * spikes["c"]}
    # Changes: a 3 and c 2.5 in the first sample, 2.5 being above 0.8 of 3; a 3 and c 5.8 in the second.
    assert {n: v.tolist() for n, v in void_by_norm(c, close).items()} == {"a": [False, True], "c": [False, False]}
    assert void_by_norm(c, {"in": spikes["in"]}) == {}


def test_diagnostics_say_it_of_a_batch(idle: tuple[Connectome, Perception]) -> None:
    c, task = idle
    probe = Probe(task, 32, (1, 2))
    assert silencing_effect(c, probe)["idle"] == 0
    share = void_samples(c, probe)
    assert set(share) == {"idle", "perception"}
    assert all(0 <= x <= 1 for x in share.values())
    assert silencing_effect(c, probe) == silencing_effect(c, probe)
