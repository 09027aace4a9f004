"""Modes: gains and thresholds of neurons, by name, in one connectome."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from connectome import Connectome, ConnectomeError, Edit, NeuronParameters
from connectome.development.birth import birth
from connectome.development.stages import develop, perform
from connectome.io.snapshot import load, save
from connectome.learning.learner import Learner
from connectome.learning.modes import modes_of, with_mode
from connectome.learning.network import SpikingNetwork
from tests.test_development import ANATOMY, stages, toys

FROZEN = dict.fromkeys(("local", "afferent", "efferent", "long_range"), ())


def born() -> Connectome:
    return birth(None, toys()[0], ANATOMY, 1, (), np.random.default_rng(2))


def test_a_mode_is_what_the_weights_times_its_gains_do() -> None:
    """Spike for spike, and so a gain divides a threshold: the reset is to rest and no current flows."""
    c, rng = born(), np.random.default_rng(0)
    gain, output = rng.normal(0, 0.3, 30).astype(np.float32), rng.normal(0, 0.3, 30).astype(np.float32)
    state = {"first": {"mode-dusk-log_gain": gain, "mode-dusk-log_output_gain": output}}
    held = c.apply(Edit(region_state=state))
    assert modes_of(held) == ["dusk"]
    spikes, _ = toys()[0].batch(rng, 16)
    named = {"record": ["first"]}
    through = SpikingNetwork(held, dtype=torch.float64)(
        spikes, **named, gain={"first": torch.tensor(gain).exp()}, output_gain={"first": torch.tensor(output).exp()}
    )
    baked = SpikingNetwork(with_mode(held, "dusk"), dtype=torch.float64)(spikes, **named)
    assert torch.equal(through.spikes["first"], baked.spikes["first"])
    assert through.spikes["first"].any()
    torch.testing.assert_close(through.potential["first_out"], baked.potential["first_out"], rtol=1e-5, atol=1e-5)
    region = held.regions["first"]
    lower = replace(
        region,
        neuron=replace(cast(NeuronParameters, region.neuron), v_th_mv=-70 + 15 / np.exp(gain.astype(np.float64))),
        state={},
    )
    by_threshold = Connectome.of(
        [lower if r.name == "first" else r for r in c.regions.values()],
        [e for e in c.edges.values() if e.key.base != "efferent"], dt_ms=1.0,
    )  # fmt: skip
    plain = SpikingNetwork(by_threshold, dtype=torch.float64, engine="torch")(spikes, **named)
    only = SpikingNetwork(c, dtype=torch.float64)(spikes, **named, gain={"first": torch.tensor(gain).exp()})
    assert torch.equal(plain.spikes["first"], only.spikes["first"])


def test_gradients_of_a_mode_are_those_of_its_numbers() -> None:
    """Against torch's own, in float64, on the message-passing engine."""
    found = []
    for engine in ("numba", "torch"):
        learner = Learner(born(), toys()[0], mode="dawn", engine=engine)
        spikes, target = toys()[0].batch(np.random.default_rng(1), 16)
        activity = learner.network(spikes, **learner.inputs(spikes))
        toys()[0].loss(activity, target).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        assert learner.mode is not None
        found.append([p.grad for p in learner.mode.parameters.values()])
    for one, two in zip(*found, strict=True):
        assert one is not None
        assert one.any()
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-5)


def test_a_stage_learns_a_mode_and_leaves_the_weights(tmp_path: Path) -> None:
    """With weights that do not learn a mode alone makes the loss fall; the snapshot holds it beside others."""
    stage = replace(
        stages(updates=40)[0], chains=FROZEN, mode="dawn", learning_rates=replace(stages()[0].learning_rates, gain=0.1)
    )
    births: list[Connectome] = []
    losses: list[float] = []
    (outcome,) = develop(
        [stage], ANATOMY, seed=3, test_trials=64, on_birth=births.append, on_progress=lambda p: losses.append(p.loss)
    )
    after = outcome.connectome
    for key, edges in after.edges.items():
        assert (edges.weight == births[0].edges[key].weight).all()
        assert not edges.state
    assert losses[-1] < 0.8 * losses[0]
    assert modes_of(after) == ["dawn"]
    assert set(after.regions["first"].state) == {"mode-dawn-log_gain", "mode-dawn-log_output_gain"}
    save(after, tmp_path / "a.h5")
    again = load(tmp_path / "a.h5")
    assert again.digest() == after.digest()
    in_mode = perform(with_mode(again, "dawn"), toys()[0], "test", 64, [3, 271828])
    assert in_mode.value == pytest.approx(outcome.scores["first"].value, abs=0.05)
    with pytest.raises(ConnectomeError, match=r"mode must be one of \['dawn'\]; found 'dusk'"):
        with_mode(again, "dusk")


def test_masks_and_clamps_hold_in_training_and_scoring() -> None:
    none = torch.zeros(30)
    silent = replace(stages(updates=6)[0], inputs={"mask": {"first": none}}, diagnostics=("mean_rate", "gradient_norm"))
    (outcome,) = develop([silent], ANATOMY, seed=3, test_trials=64)
    (plain,) = develop([replace(silent, inputs={})], ANATOMY, seed=3, test_trials=64)
    assert outcome.scores["first"].operations < plain.scores["first"].operations
    assert set(plain.diagnostics) == {"mean_rate", "gradient_norm"}
    assert 0 < plain.diagnostics["mean_rate"]["first"] < 1
    assert plain.diagnostics["gradient_norm"][""] > 0
