"""Regions of a development that are taken from a measured connectome: what is kept at birth, what grows and is pruned,
the control, and every refusal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, Region
from connectome.analysis.shuffled import Shuffled
from connectome.datasets.images import load_digits
from connectome.datasets.tasks import Interaction, Motor, Perception
from connectome.development.birth import NEURON, Anatomy, birth, new_links, weight_to_threshold_pa
from connectome.development.configuration import Configuration, Training, plan_stages
from connectome.development.measured import account_of, measured_regions
from connectome.development.stages import develop
from connectome.experiment import animate, physiology_from
from connectome.learning.task import Task
from connectome.mechanisms.growth import LongRangeGrowth
from sims.benchmarks.fly import fly_like

N, EDGES = 90, 900
CLASSES = ("sensory", "inter", "motor")
SEE = "class == 'sensory' and side == 'left'"
ACT = "class == 'motor' and side == 'left'"
LEFT = "side == 'left'"
RIGHT = "side == 'right'"


def larva(seed: int = 1) -> Connectome:
    """A made brain with a larva's degrees and counts, its cells with a class, a side and a transmitter."""
    fly = fly_like(N, EDGES, seed)
    known: dict[str, Any] = {
        "class": [CLASSES[i // 2 % 3] for i in range(N)], "side": ["left", "right"] * (N // 2),
        "transmitter": np.where(fly.sign < 0, "GABA", "acetylcholine").tolist(),
    }  # fmt: skip
    brain = Region("brain", N, label=np.array([f"cell{i}" for i in range(N)]), attributes=known)
    edges = EdgeSet.from_arrays(
        ("brain", "local", "brain"), fly.source, fly.target, fly.synapses, n_source=N, n_target=N, dt_ms=0.1
    )
    return Connectome.of([brain], [edges])


def signed(wiring: Connectome) -> Connectome:
    return animate(wiring, physiology_from({"signs": "fly"}))[0]


DIGITS = load_digits()
TASKS: dict[str, Task] = {"perception": Perception(DIGITS), "motor": Motor(), "interaction": Interaction(DIGITS)}
SIDES = {
    "perception": Anatomy(wiring="x", cells=LEFT, sensory=SEE, output=ACT), "motor": Anatomy(wiring="x", cells=RIGHT),
}  # fmt: skip


def taken_of(wiring: Connectome, anatomies: Mapping[str, Anatomy] = SIDES) -> Connectome:
    return measured_regions(wiring, [TASKS[name] for name in anatomies], anatomies)


def born(taken: Connectome, anatomies: Mapping[str, Anatomy] = SIDES) -> Connectome:
    """Regions born one after the other."""
    found: Connectome | None = None
    for stage, (name, anatomy) in enumerate(anatomies.items(), 1):
        links = new_links(found, name)
        found = birth(found, TASKS[name], anatomy, stage, links, np.random.default_rng(stage), taken)
    assert found is not None
    return found


def by_label(c: Connectome, key: EdgeKey, weight: bool = True) -> dict[tuple[str, str], float]:
    e = c.edges[key]
    names = [c.regions[end].label for end in (key.source, key.target)]
    assert names[0] is not None
    assert names[1] is not None
    ends = zip(names[0][e.source].tolist(), names[1][e.target].tolist(), strict=True)
    return dict(zip(ends, e.weight.tolist() if weight else [0.0] * len(e), strict=True))


@pytest.mark.parametrize("has_signs", [True, False])
def test_wiring_is_kept_edge_for_edge(has_signs: bool) -> None:
    """Who is joined to whom in each region and between them, the ratios of weights, the mean of a drawn set."""
    wiring = signed(larva()) if has_signs else larva()
    c = born(taken_of(wiring))
    given = by_label(wiring, EdgeKey("brain", "local", "brain"))
    side = {f"cell{i}": ("perception", "motor")[i % 2] for i in range(N)}
    seen = 0
    for source in ("perception", "motor"):
        for target in ("perception", "motor"):
            key = EdgeKey(source, "local" if source == target else "long_range", target)
            mine = {pair: w for pair, w in given.items() if (side[pair[0]], side[pair[1]]) == (source, target)}
            found = by_label(c, key)
            assert found.keys() == mine.keys()
            seen += len(found)
            sign = dict(zip(c.regions[source].label.tolist(), c.regions[source].sign.tolist(), strict=True))  # type: ignore[union-attr]  # it has
            assert all(np.sign(w) == sign[pair[0]] for pair, w in found.items())
            factor = {name: Anatomy().inhibitory_gain if s < 0 and not has_signs else 1.0 for name, s in sign.items()}
            ratio = [abs(w / mine[pair]) / factor[pair[0]] for pair, w in found.items()]
            assert max(ratio) == pytest.approx(min(ratio), rel=1e-5)
            gain = Anatomy().local_gain if source == target else Anatomy().long_range_gain
            n = c.regions[target].size
            mean = gain * weight_to_threshold_pa(NEURON) * math.sqrt(2 / math.pi) / math.sqrt(max(len(mine) / n, 1))
            count = np.mean([abs(w) for w in mine.values()])
            assert ratio[0] * count == pytest.approx(mean, rel=1e-5)
    assert seen == EDGES
    if has_signs:
        released = {
            f"cell{i}": -1 if t == "GABA" else 1
            for i, t in enumerate(larva().regions["brain"].attributes["transmitter"].tolist())
        }
        for name in ("perception", "motor"):
            r = c.regions[name]
            assert r.label is not None
            assert r.sign.tolist() == [released[label] for label in r.label.tolist()]


def test_the_border_is_where_queries_say() -> None:
    c = born(taken_of(larva()))
    classes = np.array(c.regions["perception"].attributes["class"].tolist())
    afferent = c.edges[EdgeKey("image", "afferent", "perception")]
    efferent = c.edges[EdgeKey("perception", "efferent", "digit")]
    assert {*np.unique(afferent.target).tolist()} == {*np.flatnonzero(classes == "sensory").tolist()}
    assert {*np.unique(efferent.source).tolist()} == {*np.flatnonzero(classes == "motor").tolist()}
    assert len(efferent) == 10 * (classes == "motor").sum()
    # As many inputs of the same strength as a region of such cells alone would have.
    assert len(afferent) == pytest.approx(64 * (classes == "sensory").sum() * Anatomy().afferent_density, rel=0.15)
    whole = c.edges[EdgeKey("goal", "afferent", "motor")]
    assert np.unique(whole.target).size == c.regions["motor"].size, "without a query all cells are at the border"


def test_regions_of_the_file_are_kept_as_an_attribute() -> None:
    regions = [Region("eye", 3), Region("arm", 2), Region("retina", 4, "sensor")]
    edges = [
        EdgeSet.from_arrays(("eye", "long_range", "arm"), [0, 2], [1, 0], [3, 4], n_source=3, n_target=2, dt_ms=0.1),
        EdgeSet.from_arrays(("retina", "afferent", "eye"), [0], [1], [9.0], n_source=4, n_target=3, dt_ms=0.1),
    ]  # fmt: skip
    anatomy = {"perception": Anatomy(wiring="x", sensory="region == 'eye'", output="region == 'arm'")}
    taken = taken_of(Connectome.of(regions, edges), anatomy)
    region = taken.regions["perception"]
    assert region.attributes["former_region"].tolist() == ["eye"] * 3 + ["arm"] * 2
    assert [*taken.edges] == [EdgeKey("perception", "local", "perception")]
    assert account_of(taken) == [
        "perception: 5 cells, 3 sensory, 2 output; edges: 2 local to perception",
        "Signs are not known: they are drawn at birth.",
    ]
    sign = [-1 if t == "GABA" else 1 for t in larva().regions["brain"].attributes["transmitter"].tolist()]
    inhibits = int((np.array(sign)[larva().edges[EdgeKey("brain", "local", "brain")].source] < 0).sum())
    account = account_of(taken_of(signed(larva()), {"perception": Anatomy(wiring="x")}))
    assert account[-1] == f"Signs: {EDGES - inhibits} edges excite, {inhibits} inhibit."


def test_copies_of_the_same_cells_have_drawn_links() -> None:
    same = {name: Anatomy(wiring="x", cells=LEFT) for name in ("perception", "motor")}
    taken = taken_of(larva(), same)
    assert {key.kind for key in taken.edges} == {"local"}
    c = born(taken, same)
    local = [by_label(c, EdgeKey(name, "local", name), weight=False) for name in same]
    assert local[0] == local[1]
    link, n = c.edges[EdgeKey("perception", "long_range", "motor")], c.regions["motor"].size
    assert len(link) == pytest.approx(Anatomy().long_range_density * n * n, rel=0.3)


def test_a_region_may_be_drawn_beside_measured_ones() -> None:
    mixed = {**SIDES, "motor": Anatomy(neurons=30)}
    taken = taken_of(larva(), mixed)
    assert [*taken.regions] == ["perception"]
    c = born(taken, mixed)
    assert c.regions["motor"].size == 30
    assert c.regions["motor"].label is None
    assert len(c.edges[EdgeKey("motor", "long_range", "perception")])


def development(*rules: Any, updates: int = 24) -> list[Connectome]:
    """The configuration's way: cells and border from tables, growth as told, feedback pruning as ever."""
    own = {"perception": {"cells": LEFT, "sensory": SEE, "output": ACT}, "motor": {"cells": RIGHT}}
    configuration = Configuration(
        Anatomy(wiring="x"),
        Training(
            perception=updates,
            motor=updates,
            batch=8,
            epoch_updates=updates // 8,
            validate_every=9,
            validation_trials=2,
        ),
        regions=own,
    )
    tasks = {name: TASKS[name] for name in own}
    anatomies = {name: configuration.anatomy_of(name) for name in own}
    taken = measured_regions(signed(larva()), list(tasks.values()), anatomies)
    named = {f"rule{i}": rule for i, rule in enumerate(rules)}
    configuration = replace(configuration, rules={**configuration.rules, "growth": LongRangeGrowth(edges=0), **named})
    stages = plan_stages([*own], tasks, configuration, taken)
    newborn: list[Connectome] = []
    found = [o.connectome for o in develop(stages, Anatomy(), seed=2, test_trials=4, on_birth=newborn.append)]
    return [*newborn, *found]


def test_what_is_pruned_is_that_wiring() -> None:
    """Without growth a development ends with fewer of the measured edges, and no other; signs stay."""
    _, _, end = development()
    given = by_label(larva(), EdgeKey("brain", "local", "brain"))
    total = 0
    for key, e in end.edges.items():
        if key.base in ("local", "long_range"):
            total += len(e)
            assert by_label(end, key).keys() <= given.keys()
            assert (e.weight * end.regions[key.source].sign[e.source] >= 0).all()
    assert 0.2 * EDGES < total < 0.6 * EDGES
    assert {record.rule for record in end.provenance.rule_log} == {"feedback_pruning", "homeostasis"}


def test_growth_adds_to_it() -> None:
    _, _, end = development(LongRangeGrowth(edges=11))
    grown = [r for r in end.provenance.rule_log if r.rule == "growth"]
    assert sum(r.added for r in grown) == 11 * 8


def test_the_control_keeps_degrees_signs_and_weights() -> None:
    """At each birth, what the new region has, and nothing of what has developed before."""
    plain, *_ = development(updates=8)
    other, first, second = development(Shuffled(), updates=8)
    key = EdgeKey("perception", "local", "perception")
    one, two = plain.edges[key], other.edges[key]
    for end in ("source", "target"):
        assert np.bincount(getattr(one, end)).tolist() == np.bincount(getattr(two, end)).tolist()
    for c, e in ((plain, one), (other, two)):
        assert (np.sign(e.weight) == c.regions["perception"].sign[e.source]).all()
    order = [np.lexsort((e.weight, e.source)) for e in (one, two)]
    assert one.weight[order[0]].tolist() == two.weight[order[1]].tolist()
    assert np.isin(one.pair, two.pair).mean() < 0.5
    assert {k: len(e) for k, e in plain.edges.items()} == {k: len(e) for k, e in other.edges.items()}
    for c in (first, second):  # perception does not change when motor is born
        assert np.isin(c.edges[key].pair, two.pair).all()
    assert not any(record.rule == "shuffled" for record in second.provenance.rule_log)


def loose() -> Connectome:
    """Two halves without an edge between them."""
    pairs = np.array([[0, 1], [1, 2], [3, 4], [4, 5]])
    source, target = pairs.T
    e = EdgeSet.from_arrays(("b", "local", "b"), source, target, 1.0, n_source=6, n_target=6, dt_ms=0.1)
    half: dict[str, Any] = {"half": ["one"] * 3 + ["two"] * 3}
    return Connectome.of([Region("b", 6, attributes=half)], [e])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cells": "class == 'KC'"}, r"^cells of perception must hold for some of 90 neurons; found "),
        ({"cells": "clas == 'KC'"}, r"^cells of perception: query .* must name a column; found clas "),
        ({"cells": "class =="}, r"^cells of perception: query"),
        ({"cells": LEFT, "sensory": "side == 'right'"}, r"^sensory cells of perception must be some of its 45 cells"),
        ({"cells": LEFT, "output": "side == 'right'"}, r"^output cells of perception must be some of its 45 cells"),
        ({"sensory": "klass == 'x'"}, r"^sensory cells of perception: query .* must name a column; found klass "),
    ],
)  # fmt: skip
def test_queries_that_find_nothing(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConnectomeError, match=message):
        taken_of(larva(), {"perception": replace(Anatomy(wiring="x"), **changes)})


def test_wirings_that_will_not_do() -> None:
    apart = Anatomy(wiring="x", sensory="half == 'one'", output="half == 'two'")
    with pytest.raises(
        ConnectomeError, match=r"^output cells of perception must have some that edges lead to from sens"
    ):
        taken_of(loose(), {"perception": apart})
    overlap = {"perception": Anatomy(wiring="x", cells=LEFT), "motor": Anatomy(wiring="x", cells="index < 30")}
    with pytest.raises(
        ConnectomeError, match=r"^cells of motor must be none of perception's, or all of .* 15 cells in"
    ):
        taken_of(larva(), overlap)
    with pytest.raises(ConnectomeError, match=r"^anatomy\.wiring must have neurons"):
        taken_of(Connectome.of([Region("eye", 3, "sensor")]))


@pytest.mark.parametrize(
    ("configuration", "message"),
    [
        (Configuration(Anatomy(cells="x")), r"^anatomy\.cells must go with anatomy\.wiring; found 'x'"),
        (Configuration(Anatomy(signs="fly")), r"^anatomy\.signs must go with anatomy\.wiring"),
        (Configuration(regions={"motor": {"output": "x"}}), r"^regions\.motor\.output must go with anatomy\.wiring"),
        (
            Configuration(Anatomy(wiring="x")),
            r"^anatomy\.wiring must go with what was taken from it for motor; found nothing",
        ),
    ],
)
def test_plans_without_a_wiring(configuration: Configuration, message: str) -> None:
    with pytest.raises(ConnectomeError, match=message):
        plan_stages(["motor"], {"motor": TASKS["motor"]}, configuration)
