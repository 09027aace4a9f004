"""One contract for everything in the registry: pure, the same seed the same bytes, broken and resumed to the same
bytes, Dale's signs, pruning, growth, saving, loading, bad fields."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from connectome import ConnectomeError, plugins
from connectome.development.configuration import read_configuration
from connectome.development.stage import Stage, StageOutcome, StageState
from connectome.development.stages import develop
from connectome.graph.flat import Engine
from connectome.io.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from connectome.io.snapshot import load, save
from connectome.learning.optimisers import Adam, Dale, FromTorch, Sgd
from connectome.mechanisms.feedback_pruning import FeedbackPruning
from connectome.mechanisms.growth import LongRangeGrowth
from connectome.parameters import from_table
from tests.test_development import ANATOMY, toys

#: A region is pruned and another is grown towards it while the mechanism is at work.
RULES = (LongRangeGrowth(edges=9), FeedbackPruning(keep=0.5, grace=1.0, inhibition=0.5))


def chain_with(rule: Any) -> tuple[Any, ...]:
    """A chain that has the rule where it stands."""
    place = getattr(rule, "stands", "after")
    return {
        "before": (rule, Adam(), Dale()), "optimiser": (rule, Dale()), "after": (Adam(), rule, Dale()),
        "end": (Adam(), Dale(), rule),
    }[place]  # fmt: skip


def stages_with(group: str, thing: Any) -> list[Stage]:
    """Two stages that use it."""
    plain = [Stage(toy, 12, batch=8, epoch_updates=5, rules=RULES, validation_trials=8) for toy in toys()]
    if group == "learning":
        return [replace(s, learning=thing if isinstance(thing, tuple) else chain_with(thing)) for s in plain]
    if group == "rules":
        return [replace(s, rules=(*RULES, thing)) for s in plain]
    if group == "views":
        return [replace(s, views=dict.fromkeys(("local", "afferent", "long_range"), thing)) for s in plain]
    if group == "neurons":
        unit = replace(ANATOMY, unit_weight=0.0 if thing.weight_unit == "pA" and hasattr(thing, "v_th_mv") else 5.0)
        return [replace(s, neuron=thing, anatomy=unit) for s in plain]
    if group == "parameters of neurons":
        return [replace(s, learn=dict.fromkeys(("first", "second"), thing)) for s in plain]
    if group == "modes":
        return [replace(s, mode=thing, chains={"local": (), "afferent": ()}) for s in plain]
    if group == "comparators":
        return [thing(s) for s in plain]
    return [replace(s, importance=thing) for s in plain]


def made(group: str) -> Iterator[Any]:
    for name, plugin in plugins.known(group).items():
        thing = plugin.load()
        if name != "generative_growth":  # of ours, but offered as another package's
            made_ = name if group == "importance" else thing() if isinstance(thing, type) else thing
            if name in ("consolidation", "ewc", "refresh") and group == "learning":
                made_ = thing(samples=10)
            if name == "aeif_psc_exp":  # with its exponential, gradients through steps of 1 ms overflow
                made_ = thing(delta_t_mv=0.0)
            yield pytest.param(group, made_, id=f"{group} {name}")


OTHERS = [
    pytest.param("learning", (FromTorch(torch.optim.RMSprop), Dale()), id="RMSprop of torch"),
    pytest.param("learning", (FromTorch(torch.optim.NAdam), Dale()), id="NAdam of torch"),
    pytest.param("learning", (Sgd(momentum=0.9, nesterov=True), Dale()), id="Nesterov"),
    pytest.param("parameters of neurons", ("tau_m_ms", "tau_syn_ex_ms", "v_th_mv", "i_e_pa"), id="neurons learn"),
]
GROUPS = ("rules", "learning", "importance", "comparators", "views", "neurons")
ALL = [
    *(p for group in GROUPS for p in made(group)), *OTHERS, pytest.param("modes", "dawn", id="a mode"),
]  # fmt: skip


def outcomes(plan: Sequence[Stage], **more: Any) -> list[StageOutcome]:
    trains = {"iaf_psc_exp", "alif", "leaky_integrator"}  # event driven
    engine: Engine = "numba" if plan[0].neuron.model in trains else "torch"
    return list(develop(plan, ANATOMY, seed=4, test_trials=8, engine=engine, **more))


def content(found: Sequence[StageOutcome]) -> list[Any]:
    return [(o.connectome.digest(), o.connectome.provenance.rule_log, o.scores, o.links) for o in found]


@pytest.mark.parametrize(("group", "thing"), ALL)
def test_contract(group: str, thing: Any, tmp_path: Path) -> None:
    plan = stages_with(group, thing)
    before = repr(thing)
    states: list[StageState] = []
    whole = outcomes(plan, on_point=lambda state: states.append(state()))
    assert repr(thing) == before, "it keeps something"
    assert content(outcomes(plan)) == content(whole), "the same seed, another outcome"
    # Broken off at an update within an epoch, and in the second stage.
    marks = [3, len(states) - 8]
    for mark in marks:
        checkpoint = Checkpoint(1, ("first", "second"), 4, "numba", "", {}, (), states[mark])
        save_checkpoint(checkpoint, tmp_path)
        resumed, _ = load_checkpoint(tmp_path)
        assert resumed.state is not None
        rest = outcomes(plan, resume=resumed.state)
        assert content(rest) == content(whole)[-len(rest) :], f"broken off at point {mark}"
    last = whole[-1].connectome
    save(last, tmp_path / "last.h5")
    again = load(tmp_path / "last.h5")
    assert again.digest() == last.digest(), "lost when saved"
    for key, edges in again.edges.items():
        sign = again.regions[key.source].sign[edges.source]
        assert (edges.weight * sign >= 0).all(), "not of its neuron's sign"
        assert not {n for n in edges.state if n.startswith("adam_")}, "what lasts for a stage is in the snapshot"
    assert not {n for r in again.regions.values() for n in r.state if "adam_" in n}, "and of regions"


@pytest.mark.parametrize("group", ["rules", "learning", "views"])
def test_bad_fields_are_refused_by_name(group: str) -> None:
    for name, plugin in plugins.known(group).items():
        thing = plugin.load()
        with pytest.raises(ConnectomeError, match=rf"{group}\.{name} must have no keys but "):
            from_table(thing, {"no_such_field": 1}, f"{group}.{name}")
        for field in dataclasses.fields(thing):
            kind: Any = type(field.default)
            if "low" in field.metadata:
                bad = [field.metadata["low"] - 1, field.metadata["high"] * 2 + 1]
                for value in (b for b in bad if math.isfinite(b)):
                    with pytest.raises(ConnectomeError, match=rf"{group}\.{name}\.{field.name} must be "):
                        from_table(thing, {field.name: kind(value)}, f"{group}.{name}")


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        ("['dale']", "must have one optimiser in a chain; found Dale"),
        ("['adam', 'sgd']", "must have one optimiser in a chain; found Adam, Sgd"),
        ("['dale', 'adam']", "must be in the order before, optimiser, after, end; found Dale end, Adam optimiser"),
        ("['adam', 'ewc', 'dale']", "must be in the order before, .*; found Adam optimiser, Ewc before, Dale end"),
    ],
)
def test_a_chain_in_another_order_is_refused(chain: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConnectomeError, match=rf"learning {message}"):
        read_configuration(None, [f"learning.chain={chain}"])
