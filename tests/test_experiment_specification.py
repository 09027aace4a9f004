"""Specifications: one door for TOML and Python, one line for what does not fit."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import tomli_w

from connectome import Connectome, ConnectomeError, EdgeSet, Region
from connectome.experiment import Condition, Experiment
from connectome.experiment.draft import draft
from connectome.experiment.parts import Silencing, Stimulation
from connectome.experiment.trials import prepare
from tests.experiments import brain, experiment

TEXT = """
connectome = "larva.csv"
physiology = "shiu2024"
seeds = 4
[condition.sugar]
stimulate = [{cells = "class == 'gustatory'", rate_hz = 150, from_ms = 100, to_ms = 600}]
[condition.without]
from = "sugar"
silence = "label == 'IN1'"
hold = {cells = "class == 'LN'", v_mv = -70}
scale = [{edges = "source.transmitter == 'gaba'", by = 0.5}]
lesion = ["class == 'PN'"]
cut = "source.class == 'KC'"
[condition.more]
from = "without"
silence = {cells = "label == 'IN2'", from_ms = 10}
[sweep]
silence_each = "class == 'KC'"
from = "without"
[paths]
to = "class == 'motor'"
from = "class == 'PN'"
"""


def test_a_file_and_python_mean_the_same() -> None:
    read = Experiment.of(tomllib.loads(TEXT))
    drive = Stimulation("class == 'gustatory'", 100.0, 600.0, rate_hz=150.0)
    assert read.conditions["sugar"] == Condition(stimulate=(drive,))
    assert read.reference == "sugar"
    assert read.physiology == {"preset": "shiu2024"}
    assert read.controls.names == ("measured", "shuffled", "random-targets")
    whole = read.whole("more")
    assert whole.stimulate == (drive,)
    assert whole.silence == (Silencing("label == 'IN1'"), Silencing("label == 'IN2'", 10.0))
    assert whole.lesion == ("class == 'PN'",)
    assert [read.against(name) for name in read.conditions] == ["", "sugar", "without"]
    assert read.sweep is not None
    assert read.sweep.base == "without"
    again = Experiment.of(tomllib.loads(tomli_w.dumps(read.table())))
    assert again == read
    assert again.table() == read.table()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"condition": {}}, r"condition must have one table or more"),
        ({"conditions": {}}, r"experiment must have no keys but .*condition,.*; found 'conditions'"),
        ({"seeds": 0}, r"seeds must be an integer in 1"),
        ({"duration_ms": -1}, r"duration_ms must be a finite number > 0; found -1"),
        ({"duration_ms": 10**400}, r"duration_ms must be a finite number > 0; found 1000"),
        ({"test": "z"}, r"test must be one of t, permutation, wilcoxon; found 'z'"),
        ({"reference": "rest"}, r"reference must be a condition: driven, quiet, without; found 'rest'"),
        ({"readouts": {"bin_ms": 0}}, r"readouts.bin_ms must be a finite number > 0"),
        ({"readouts": {"by": []}}, r"readouts.by must name region or attributes"),
        ({"readouts": {"from_ms": 80}}, r"readouts.from_ms must be within duration_ms, 60"),
        ({"controls": {"shuffled": 1}}, r"controls.shuffled must be of type bool"),
        ({"sweep": {}}, r"sweep must have silence_each"),
        ({"sweep": {"silence_each": "x", "from": "y"}}, r"sweep.from must be a condition"),
        ({"paths": {"to": ""}}, r"paths.to must be a query"),
        ({"condition": {"a b": {}}}, r"condition must have names of letters"),
        ({"condition": {"a": {"silnce": "x"}}}, r"condition.a must have no keys but from, about, stimulate"),
        ({"condition": {"a": {"from": "a"}}}, r"condition.a.from must not lead back; found a from a"),
        ({"condition": {"a": {"from": "b"}, "b": {"from": "a"}}}, r"must not lead back; found a from b from a"),
        ({"condition": {"a": {"stimulate": "x"}}}, r"rate_hz must be given, or else current_pa; found neither"),
        ({"condition": {"a": {"stimulate": {"cells": "x", "rate_hz": 1, "current_pa": 1}}}}, r"found both"),
        ({"condition": {"a": {"stimulate": {"cells": "x", "rate_hz": -1}}}}, r"rate_hz must be a finite number >= 0"),
        ({"condition": {"a": {"stimulate": {"rate_hz": 5}}}}, r"condition.a.stimulate must have cells"),
        ({"condition": {"a": {"hold": "x"}}}, r"condition.a.hold.v_mv must be a finite number"),
        ({"condition": {"a": {"silence": {"cells": "x", "from_ms": 5, "to_ms": 5}}}}, r"to_ms must be later than"),
        ({"condition": {"a": {"silence": {"cells": "x", "to_ms": 500}}}}, r"condition.a.silence must be within"),
        ({"condition": {"a": {"scale": {"edges": "x"}}}}, r"condition.a.scale must have by"),
        ({"condition": {"a": {"cut": 5}}}, r"condition.a.cut must be a query"),
    ],
)  # fmt: skip
def test_what_does_not_fit(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConnectomeError, match=message):
        experiment(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"condition": {"a": {"silence": "clas == 'KC'"}}}, r"condition.a.silence: query .* must name a column"),
        ({"condition": {"a": {"silence": "class == 'QQ'"}}}, r"condition.a.silence must find at least one cell"),
        ({"condition": {"a": {"cut": "weight > 1e9"}}}, r"condition.a.cut must find at least one edge"),
        ({"condition": {"a": {"silence": "region == 'hand'"}}}, r"cells that fire: no effectors; found cells of"),
        ({"condition": {"a": {"hold": {"cells": "region == 'eye'", "v_mv": 0}}}}, r"cells with a membrane: no sensors"),
        ({"condition": {"a": {"stimulate": {"cells": "region == 'a'", "rate_hz": 5}}}}, r"given if no physio"),
        ({"condition": {"a": {"stimulate": [{"cells": "region == 'a'", "rate_hz": 5, "weight": w} for w in (1, 2)]}}},
         r"stimulate.weight must be one number for a cell at a time"),
        ({"readouts": {"by": ["clas"]}}, r"readouts.by must be region, or attributes of the neurons: age, class, side"),
        ({"readouts": {"cells": "class == 'QQ'"}}, r"readouts.cells must find at least one cell"),
        ({"sweep": {"silence_each": "class == 'QQ'"}}, r"sweep.silence_each must find at least one cell"),
        ({"duration_ms": 1e308}, r"duration_ms must be at most 2147483647 steps of 0.1 ms; found 1e\+308"),
        ({"duration_ms": 60.05}, r"duration_ms must be a whole number of steps of 0.1 ms"),
        ({"physiology": "no"}, r"physiology must be among"),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_connectome(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConnectomeError, match=message):
        prepare(experiment(**change), brain())


@pytest.mark.parametrize("regions", [[], [Region("eye", 3, "sensor")], [Region("none", 0)]])
def test_a_draft_needs_neurons(regions: list[Region]) -> None:
    with pytest.raises(ConnectomeError, match="regions must hold neurons, to be stimulated"):
        draft(Connectome.of(regions, dt_ms=0.1), "brain.h5")


def test_a_draft_of_a_graph_without_annotation_makes_it_live() -> None:
    edges = EdgeSet.from_arrays(("all", "local", "all"), [0, 1], [1, 2], [3.0, 4.0], n_source=3, n_target=3, dt_ms=0.1)
    bare = Connectome.of([Region("all", 3)], [edges])
    text = draft(bare, "mine.csv")
    assert prepare(Experiment.of(tomllib.loads(text)), bare).own("silenced").names_anything
    with pytest.raises(ConnectomeError, match="sign_by must name an attribute"):
        prepare(Experiment.of(tomllib.loads(text.replace('sign_by = ""', ""))), bare)


def test_a_draft_is_an_experiment() -> None:
    text = draft(brain(), "brain.h5")
    assert "#   class: KC, LN, PN" in text
    for before, after in (
        ('preset = "shiu2024"', "preset = 'mammal'\nsign_by = ''"),
        ("rate_hz = 150", "rate_hz = 15"),
    ):
        assert before in text
        text = text.replace(before, after)
    drafted = Experiment.of(tomllib.loads(text))
    assert list(drafted.conditions) == ["stimulated", "silenced"]
    setup = prepare(drafted, brain())
    assert setup.own("silenced").names_anything
