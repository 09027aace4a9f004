"""The configuration: there and back through TOML, every field checked, every order of regions checked."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_type_hints

import numpy as np
import pytest
import tomli_w

from connectome import Connectome, Edit, plugins
from connectome.development.configuration import Configuration, Training, plan_stages, read_configuration
from connectome.errors import ConnectomeError
from connectome.learning.optimisers import Adam, Dale, Sgd
from connectome.learning.task import Task
from connectome.mechanisms.ewc import Ewc
from connectome.mechanisms.gradient_clusters import GradientClusters
from connectome.mechanisms.growth import LongRangeGrowth
from connectome.mechanisms.weight_gain import WeightGain
from connectome.parameters import Parameters, bounded
from connectome.rules import Context


def read(tmp_path: Path, text: str | bytes) -> Configuration:
    path = tmp_path / "c.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_configuration(path)


def parts(configuration: Configuration) -> Iterator[tuple[str, Any]]:
    """Every table of a configuration: its name in TOML and what it became."""
    for field in dataclasses.fields(configuration):
        value = getattr(configuration, field.name)
        if isinstance(value, Parameters):
            yield field.name, value
        elif field.name in ("rules", "learning"):
            yield from ((f"{field.name}.{name}", rule) for name, rule in value.items())


FIELDS = [(table, part, f) for table, part in parts(Configuration()) for f in dataclasses.fields(part)]
NAMES = [f"{table}.{f.name}" for table, _, f in FIELDS]


def as_dict(configuration: Configuration) -> dict[str, Any]:
    return dict(parts(configuration))


# There and back


def test_defaults_go_through_toml_unchanged(tmp_path: Path) -> None:
    default = Configuration()
    found = read(tmp_path, tomli_w.dumps(default.table()))
    assert as_dict(found) == as_dict(default)
    assert found.table() == default.table()
    assert list(found.rules) == list(default.rules) == ["growth", "strengthening", "pruning", "homeostasis"]


def test_an_empty_file_is_the_default(tmp_path: Path) -> None:
    assert as_dict(read(tmp_path, "")) == as_dict(Configuration())


@pytest.mark.parametrize(("table", "part", "field"), FIELDS, ids=NAMES)
def test_every_field_can_be_set(tmp_path: Path, table: str, part: Any, field: dataclasses.Field[Any]) -> None:
    """To another value within its range; nothing else changes."""
    old = getattr(part, field.name)
    low, high = field.metadata.get("low"), field.metadata.get("high")
    if field.name in ("importance", "method", "diagnostics"):
        group = {"importance": "importance", "method": "comparators", "diagnostics": "diagnostics"}[field.name]
        new: Any = next(name for name in plugins.known(group) if name != old)
    elif isinstance(old, str):
        new = {"areas": "4x3/2", "first_layer": "copy", "unit": "kernel"}.get(field.name, old + "x")
    else:
        assert low is not None, "a number without bounds"
        new = low if old != low else min(high, low + 1)
        new = type(old)(new)
    found = read(tmp_path, tomli_w.dumps(nest(table, {field.name: new})))
    assert getattr(as_dict(found)[table], field.name) == new
    assert type(getattr(as_dict(found)[table], field.name)) is type(old)
    for name, other in parts(found):
        same = dataclasses.asdict(as_dict(Configuration())[name])
        assert dataclasses.asdict(other) == ({**same, field.name: new} if name == table else same)


def nest(table: str, values: dict[str, Any]) -> dict[str, Any]:
    for name in reversed(table.split(".")):
        values = {name: values}
    return values


def test_defaults_are_within_their_bounds() -> None:
    for table, part, field in FIELDS:
        value = getattr(part, field.name)
        if isinstance(value, (int, float)):
            assert field.metadata["low"] <= value <= field.metadata["high"], f"{table}.{field.name}"


# What is refused


@pytest.mark.parametrize(("table", "part", "field"), FIELDS, ids=NAMES)
def test_every_field_refuses_what_does_not_fit(
    tmp_path: Path, table: str, part: Any, field: dataclasses.Field[Any]
) -> None:
    kind = get_type_hints(type(part))[field.name]
    wrong: list[object] = [[1], {"a": 1}]
    if kind in (int, float):
        low, high = field.metadata["low"], field.metadata["high"]
        wrong += ["1", True, low - 1 if kind is int else low - 1e-3, math.nan, math.inf, 2**70]
        if math.isfinite(high):
            wrong += [high + 1 if kind is int else high * (1 + 1e-9)]
        if kind is int:
            wrong += [float(low) + 0.5, float(low)]
    elif kind is str:
        wrong += [1, 1.5, True]
    else:
        raise AssertionError(f"a field of a type that this test does not know: {kind}")
    for value in wrong:
        text = tomli_w.dumps(nest(table, {field.name: value}))
        with pytest.raises(ConnectomeError) as caught:
            read(tmp_path, text)
        assert caught.value.field.endswith(f"c.toml: {table}.{field.name}"), value
        assert "\n" not in str(caught.value)
        with pytest.raises(ConnectomeError) as caught:
            type(part)(**{field.name: value})
        assert caught.value.field == f"{type(part).__name__}.{field.name}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[anatomy]\nneuron = 9", r": anatomy must have no keys but neurons, .* 'neuron'\. Did you mean 'neurons'\?"),
        ("[rules.pruning]\nkeeep = 1", r": rules\.pruning must have no keys but .* 'keeep'\. Did you mean 'keep'\?$"),
        ("[anatmy]\nneurons = 9", r"\.toml must have no tables but anatomy, .*, training, views; found 'anatmy'"),
        ("neurons = 9", r"c\.toml must have no tables but .*; found 'neurons'"),
        ("anatomy = 9", r": anatomy must be a table; found 9, a int"),
        ("rules = 9", r": rules must be a table; found 9"),
        ("[rules]\npruning = 9", r": rules\.pruning must be a table; found 9, a int"),
        ("[[rules]]\n", r": rules must be a table; found \[\{\}\]"),
        ("[rules.prunning]\n", r": rules must be among growth, strengthening, pruning, .*; found 'prunning'"),
        ("[rules]\nact = 'growth'", r": rules\.act must be a list of names; found 'growth'"),
        ("[rules]\nact = ['growth', 'growth']", r": rules\.act must name each once; found growth"),
        ("[rules]\nact = []\n[rules.growth]\n", r": rules\.growth must be in rules\.act, or have no table; found"),
        ("[learning]\nchain = ['adamm']", r": learning must be among adam, sgd, dale, .*; found 'adamm'"),
        ("[learning.ewc]\nstrength = 1", r": learning\.ewc must be in learning\.chain, or have no table"),
        ("[edges.local]\nlearn = 'sgd'", r": edges\.local\.learn must be a list of names; found 'sgd'"),
        ("[edges.lokal]\n", r": edges\.lokal must be about one of local, .*; found 'lokal'"),
        ("[edges.local]\nblock = 1", r": edges\.local\.block must be true or false; found 1"),
        ("[edges.local]\nview = 'gains'", r": views must be among gain, .*; found 'gains'"),
        ("[edges.local]\nchain = []", r": edges\.local must have no keys but learn, view, block; found 'chain'"),
        ("[views.gain]\n", r": views\.gain must be in a table of edges, or have no table"),
        ("[select]\nby = 1", r": select\.by must be a name; found 1"),
        ("[select]\nby = 'chance'", r": select must be among gradient_clusters; found 'chance'"),
        ("[select.gradient_clusters]\npool = 3", r": select\.gradient_clusters must be in select\.by"),
        ("[neuron]\ntau_m_ms = -1", r": neuron\.tau_m_ms must be > 0; found -1"),
        ("[neuron]\nmodel = 'lif'", r": neuron\.model must be .*; found 'lif'"),
        ("[regions.motor.neuron]\ntau = 1", r": regions\.motor\.neuron must hold parameters of iaf_psc_exp alone"),
        ("[neuron]\nlearn = 'tau_m_ms'", r": neuron\.learn must be names of parameters; found 'tau_m_ms'"),
        ("[neuron]\nlearn = {tau_m_ms = 1}", r": neuron\.learn must be names of parameters; found \{'tau_m_ms': 1\}"),
        ("[neuron]\nlearn = [1]", r": neuron\.learn must name parameters of tau_m_ms, .*; found 1"),
        ("[neuron]\nlearn = ['t_ref_ms']", r": neuron\.learn must name parameters of tau_m_ms, .*; found 't_ref_ms'"),
        (
            "[regions.motor.neuron]\nlearn = ['tau']",
            r": regions\.motor\.neuron\.learn must name parameters of tau_m_ms, .*; found 'tau'",
        ),
        (
            "[neuron]\nmodel = 'alif'\nadapt_beta_mv = 0\nlearn = ['adapt_beta_mv']",
            r": neuron\.learn must name parameters that are not at their bound 0; found 'adapt_beta_mv'",
        ),
        ("[regions.motor]\nmode = 1", r": regions\.motor\.mode must be a name; found 1"),
        ("[training]\ndiagnostics = 'luck'", r": training\.diagnostics must be among mean_rate, .*; found 'luck'"),
        ("[training]\nmethod = 'luck'", r": training\.method must be among development, .*; found 'luck'"),
        ("[regions.motor]\nneurons = 0", r": regions\.motor\.neurons must be at least 1|must be in 1 \.\. "),
        ("[regions.motor]\nneuron = 9", r": regions\.motor\.neuron must be a table; found 9"),
        ("[regions.motor]\nupdates = 0", r": regions\.motor\.updates must be an integer of at least 1; found 0"),
        ("[regions.motor]\nlinks = ['a']", r": regions\.motor\.links must be a list of \[source, target\]"),
        ("[regions.motor]\nwiring = 'a'", r": regions\.motor\.wiring must be left out, .*Set anatomy\.wiring"),
        ("regions = 9", r": regions must be a table; found 9"),
        ("[tasks]\nmotor = 9", r": tasks\.motor must be a table; found 9"),
        ("[training]\nimportance = 'luck'", r": training\.importance must be among feedback, .*; found 'luck'"),
        ("[anatomy\n", r"c\.toml must be a readable TOML file; found "),
        ("[anatomy]\n[anatomy]\n", r"must be a readable TOML file; found "),
        ("[anatomy]\nneurons = " + "9" * 5000, r"must be a readable TOML file; found "),
        ("a = " + "[" * 10**5, r"must be a readable TOML file; found .*recursion"),
        (b"a = '\xff'", r"must be a readable TOML file; found .*decode byte 0xff"),
        (b"\x89HDF\r\n\x1a\n", r"must be a readable TOML file; found "),
    ],
)  # fmt: skip
def test_files_that_do_not_fit(tmp_path: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(ConnectomeError, match=message) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path, "a\0b"):
        with pytest.raises(ConnectomeError, match="must be a readable TOML file"):
            read_configuration(path)


def test_what_acts_and_what_learns_are_named_in_order(tmp_path: Path) -> None:
    text = """
        [rules]
        act = ["pruning", "growth"]
        [rules.growth]
        edges = 7
        [learning]
        chain = ["ewc", "sgd", "dale"]
        [learning.sgd]
        momentum = 0.5
        [learning.adam]
        beta1 = 0.8
        [edges.local]
        learn = ["adam"]
        view = "gain"
        [edges.efferent]
        learn = []
        block = true
        [views.gain]
        initial = 0.5
        [select]
        by = "gradient_clusters"
        [select.gradient_clusters]
        pool = 3
    """
    found = read(tmp_path, text)
    assert list(found.rules) == ["pruning", "growth"]
    assert list(found.learning) == ["ewc", "sgd", "dale"]
    assert found.learning["sgd"] == Sgd(momentum=0.5)
    assert {kind: list(chain) for kind, chain in found.chains.items()} == {"local": ["adam"], "efferent": []}
    again = read(tmp_path, tomli_w.dumps(found.table()))
    assert again == found
    stage = found.stage(tasks()["motor"])
    assert [type(rule).__name__ for rule in stage.rules] == ["FeedbackPruning", "LongRangeGrowth"]
    assert stage.learning == (Ewc(), Sgd(momentum=0.5), Dale())
    assert stage.chains == {"local": (Adam(beta1=0.8),), "efferent": ()}
    assert stage.views == {"local": WeightGain(initial=0.5)}
    assert stage.block == ("efferent",)
    assert stage.select == GradientClusters(pool=3)
    assert read(tmp_path, "").stage(tasks()["motor"]).select is None
    assert read(tmp_path, "[rules]\nact = []").rules == {}, "all switched off"


def test_parameters_of_neurons_learn_where_they_are_named(tmp_path: Path) -> None:
    """In all regions, unless one names its own or is of another model."""
    text = """
        [neuron]
        learn = ["tau_m_ms", "v_th_mv"]
        [regions.motor.neuron]
        learn = ["tau_syn_ex_ms"]
        [regions.interaction.neuron]
        model = "alif"
    """
    found = read(tmp_path, text)
    assert read(tmp_path, tomli_w.dumps(found.table())) == found
    known = tasks()
    assert found.stage(known["perception"]).learn["perception"] == ("tau_m_ms", "v_th_mv")
    assert found.stage(known["motor"]).learn["motor"] == ("tau_syn_ex_ms",)
    assert found.stage(known["motor"]).neuron == found.neuron
    both = found.stage(known["interaction"]).learn
    assert "interaction" not in both
    assert both["motor"] == ("tau_syn_ex_ms",)
    off = read(tmp_path, text.replace('["tau_syn_ex_ms"]', "[]"))
    assert "motor" not in off.stage(known["motor"]).learn


def test_regions_have_anatomies_lengths_and_links_of_their_own(tmp_path: Path) -> None:
    text = "[anatomy]\nneurons = 50\n[regions.motor]\nneurons = 20\nupdates = 3\nlinks = [['perception', 'motor']]"
    found = read(tmp_path, text)
    first, second = plan_stages(["perception", "motor"], tasks(), found)
    assert first.anatomy is None
    assert second.anatomy == replace(found.anatomy, neurons=20)
    assert (second.updates, second.first_links) == (3, (("perception", "motor"),))
    assert read(tmp_path, tomli_w.dumps(found.table())) == found
    with pytest.raises(ConnectomeError, match=r"^regions\.motor must be about one of perception; found 'motor'"):
        plan_stages(["perception"], tasks(), found)


def test_changes_come_last_and_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("[training]\nperception = 7\nmotor = 8")
    changes = ["training.perception=9", "rules.growth.edges = 3", "learning.chain=['sgd']", "training.method=blind"]
    found = read_configuration(path, changes)
    assert (found.training.perception, found.training.motor, found.training.method) == (9, 8, "blind")
    assert found.rules["growth"] == LongRangeGrowth(edges=3)
    assert read_configuration(None, changes).training.motor == Training().motor
    for change, message in (
        ("perception=9", r"--set must be table\.key=value; found 'perception=9'"), ("training.=9", "--set must be"),
        ("training.perception", "--set must be"), ("training.perception.x=1", "--set must lead through tables"),
        ("training.perception='x'", r"^configuration .*: training\.perception must be of type int; found 'x'"),
        ("nothing.x=1", "must have no tables but"),
    ):  # fmt: skip
        with pytest.raises(ConnectomeError, match=message):
            read_configuration(path, [change])


# Rules of other packages


@dataclasses.dataclass(frozen=True)
class Luck(Parameters):
    """A rule that a package offers."""

    chance: float = bounded(0.5, 0, 1)

    def __call__(self, connectome: Connectome, context: Context, rng: np.random.Generator) -> Edit:
        return Edit()


def test_rules_of_other_packages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """They act when the configuration names them, and cannot take the place of ours."""

    monkeypatch.setitem(sys.modules, "luck_of_another_package", SimpleNamespace(Luck=Luck))
    offered = dict.fromkeys(("luck", "pruning"), "luck_of_another_package:Luck") | {"broken": "no_such_module:X"}

    def entries(group: str) -> list[importlib.metadata.EntryPoint]:
        found = offered if group == "connectome.rules" else {}
        return [importlib.metadata.EntryPoint(name, value, group) for name, value in found.items()]

    monkeypatch.setattr(importlib.metadata, "entry_points", entries)
    assert list(plugins.known("rules")) == [
        *Configuration().rules,
        "shuffled",
        "low_rank_birth",
        "dead_maps",
        "balanced_birth",
        "replay_ratio",
        "broken",
        "luck",
    ]
    assert plugins.load("rules", "pruning", "rules") is not Luck
    assert "luck" not in Configuration().rules
    found = read(tmp_path, "[rules.luck]\nchance = 0.25")
    assert list(found.rules)[-1] == "luck"
    assert found.rules["luck"] == Luck(0.25)
    with pytest.raises(ConnectomeError, match=r"\.toml: rules\.luck\.chance must be in 0 \.\. 1; found 2"):
        read(tmp_path, "[rules.luck]\nchance = 2")
    with pytest.raises(ConnectomeError, match=r"rules\.broken must be something that can be imported; found no_such_m"):
        read(tmp_path, "[rules.broken]")


# Stages


def tasks() -> Mapping[str, Task]:
    known: Any = {
        "perception": SimpleNamespace(name="perception", requires=(), recruits=("image", "perception", "digit")),
        "motor": SimpleNamespace(name="motor", requires=(), recruits=("motor", "muscles")),
        "interaction": SimpleNamespace(
            name="interaction", requires=("perception", "motor"), recruits=("perception", "motor", "interaction")
        ),
        "smell": SimpleNamespace(name="smell", requires=(), recruits=("smell",)),
    }
    checked: Mapping[str, Task] = known
    return checked


@pytest.mark.parametrize(
    "regions",
    [
        ["perception"], ["motor", "perception"], ["perception", "motor", "interaction"],
        ["smell", "motor", "perception", "interaction"],
    ],
)  # fmt: skip
def test_orders_that_can_be(regions: list[str]) -> None:
    configuration = Configuration(
        training=Training(perception=3, motor=4, interaction=5, other=6, batch=7, epoch_updates=8)
    )
    updates = {"perception": 3, "motor": 4, "interaction": 5, "smell": 6}
    stages = plan_stages(regions, tasks(), configuration)
    assert [s.task.name for s in stages] == regions
    assert [s.updates for s in stages] == [updates[r] for r in regions]
    for stage in stages:
        assert (stage.batch, stage.epoch_updates, stage.importance) == (7, 8, configuration.training.importance)
        assert stage.rules == tuple(configuration.rules.values())
        assert (stage.learning_rates, stage.links) == (configuration.learning_rates, configuration.links)


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        ([], r"must name at least one region, separated by commas; found ''"),
        ([""], r"must name at least one region, separated by commas; found ''"),
        (["perception", "", "motor"], r"must name at least one region.*; found 'perception,,motor'"),
        (["perceptron"], r"must be known; found 'perceptron'"),
        (["perception", "Motor"], r"must be known; found 'Motor'"),
        (["motor", "perception", "motor"], r"must not repeat; found 'motor'"),
        (["interaction"], r"must have perception and motor before interaction.*; found 'interaction'"),
        (["motor", "interaction", "perception"], r"must have perception before interaction.* 'motor,interaction,perc"),
    ],
)  # fmt: skip
def test_orders_that_cannot_be_list_what_there_is(regions: list[str], message: str) -> None:
    with pytest.raises(ConnectomeError, match=r"^regions " + message) as caught:
        plan_stages(regions, tasks(), Configuration())
    assert str(caught.value).endswith(
        " Known regions: perception, motor, interaction, smell, events, adaptation, bits2, bits3, bits4, bits5, bits6."
    )
    assert "\n" not in str(caught.value)
