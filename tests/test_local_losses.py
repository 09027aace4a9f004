"""Losses of regions alone: what they are, and that no weight learns from what is above or below."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from connectome import Connectome, ConnectomeError, Region
from connectome.datasets.tasks import Perception
from connectome.development.birth import NEURON, weight_to_threshold_pa
from connectome.graph.parts import EdgeKey
from connectome.learning.network import SpikingNetwork
from connectome.mechanisms.direct_feedback import DirectFeedback
from connectome.mechanisms.local_losses import (
    LABEL,
    CounterCurrent,
    code_loss,
    crossing,
    in_a_chain,
    mirrors,
)  # fmt: skip
from sims.studies.development import read_images
from sims.studies.mechanisms import counter_current as trial
from tests.test_learning_trials import SPREAD, failed, values

LEVELS = ("low", "perception")
IN, UP, OUT = (
    EdgeKey("image", "afferent", "low"), EdgeKey("low", "long_range", "perception"),
    EdgeKey("perception", "efferent", "digit"),
)  # fmt: skip
DOWN = EdgeKey("perception_mirror", "long_range", "low_mirror")


def two_ways() -> CounterCurrent:
    return CounterCurrent(Perception(read_images(""), earlier=("low",)), LEVELS, classes=10)


def two_regions() -> Connectome:
    parts = [Region("image", 64, "sensor"), *(Region(n, 20, neuron=NEURON) for n in LEVELS)]
    parts.append(Region("digit", 10, "effector", NEURON))
    return Connectome.of(parts, in_a_chain(parts, 2.0, 1.0, np.random.default_rng(0)), dt_ms=1.0)


def gradients(network: SpikingNetwork, of: Any, batch: Any) -> dict[EdgeKey, Tensor]:
    spikes, target = batch
    network.zero_grad()
    torch.autograd.backward(of.loss(network(spikes, record=of.record), target))
    return {key: w.grad.clone() for key, w in network.weight.items() if w.grad is not None}


def test_codes_of_one_direction_have_no_loss() -> None:
    """Rates that are multiples of a class's, and equal for classes at right angles; their mean does not count."""
    code = torch.tensor([[1.0, -1, 0, 0], [0, 0, 1, -1]]) + 3
    label = torch.tensor([0, 1, 1])
    own = torch.stack([2 * code[0] + 1, code[1], 5 * code[1] - 2])
    assert float(code_loss(own, code, label)) == pytest.approx(0, abs=1e-12)
    assert float(code_loss(own, code, 1 - label)) == pytest.approx(1)
    assert float(code_loss(torch.zeros(3, 4), code, label)) == pytest.approx(0.5), "silence"


def test_the_classes_are_shown_behind_the_samples() -> None:
    two = two_ways()
    spikes, label = two.batch(np.random.default_rng(0), 5)
    alone, same = two.task.batch(np.random.default_rng(0), 5)
    assert torch.equal(spikes["image"][:5], alone["image"])
    assert not spikes["image"][5:].any()
    assert torch.equal(label, same)
    assert not spikes[LABEL][:5].any()
    assert torch.equal(spikes[LABEL][5:].any(1), torch.eye(10, dtype=torch.bool))


def test_what_is_above_changes_nothing_below() -> None:
    """Other weights above, or to the effectors, and the gradients below are the same numbers; of both networks."""
    two, c = two_ways(), two_regions()
    c = c.grow(*mirrors(c, two, np.random.default_rng(1), 2.0))
    batch = two.batch(np.random.default_rng(2), 8)
    network = SpikingNetwork(c, block=crossing(c))
    before = gradients(network, two, batch)
    assert all(g.any() for g in before.values())
    for changed, same in ((OUT, {IN, UP, DOWN}), (UP, {IN, DOWN}), (DOWN, {UP, OUT})):
        with torch.no_grad():
            network.weight[changed].mul_(1.5)
        after = gradients(network, two, batch)
        for key in same:
            assert torch.equal(after[key], before[key]), (changed, key)
        assert not torch.equal(after[changed], before[changed])
        before = after


def test_labels_do_not_reach_the_forward_network() -> None:
    two, c = two_ways(), two_regions()
    c = c.grow(*mirrors(c, two, np.random.default_rng(1), 2.0))
    spikes, _ = two.batch(np.random.default_rng(2), 4)
    activity = SpikingNetwork(c)(spikes, record=two.record)
    assert not any(activity.spikes[name][4:].any() for name in LEVELS)
    assert not any(activity.spikes[f"{name}_mirror"][:4].any() for name in LEVELS)
    assert activity.spikes["low_mirror"][4:].any()


def test_the_error_goes_to_each_region_by_a_fixed_matrix() -> None:
    """The gradient of a region's weights is that of the rates, times the error of the effectors, times the matrix."""
    sent, c = DirectFeedback(Perception(read_images(""), earlier=("low",)), LEVELS), two_regions()
    spikes, label = sent.batch(np.random.default_rng(2), 8)
    network = SpikingNetwork(c, block=crossing(c), dtype=torch.float64)
    found = gradients(network, sent, (spikes, label))
    activity = network(spikes, record=LEVELS)
    logits = Perception(read_images("")).outputs(activity)
    # Logits are 4 x the mean of ten steps, in units of 15 mV: over all steps potentials have the logits' error times
    error = (logits.softmax(1) - torch.eye(10)[label]).detach() / 8 * 4 / 15
    matrix = np.random.default_rng(0).standard_normal((2, 10, 20))
    for level, b, key in zip(LEVELS, matrix, (IN, UP), strict=True):
        rates = activity.spikes[level][:, -10:].mean(1)
        product = (rates * (error @ torch.from_numpy(b))).sum()
        wanted = torch.autograd.grad(product, network.weight[key], retain_graph=True)[0]
        assert float(wanted.norm()) > 0
        torch.testing.assert_close(found[key], wanted, rtol=1e-6, atol=1e-12)


def test_weights_in_a_chain() -> None:
    c = two_regions()
    scale = 2.0 * weight_to_threshold_pa(NEURON) / 8
    assert len(c.edges[IN]) == 64 * 20
    assert float(c.edges[IN].weight.std()) == pytest.approx(scale, rel=0.1)


def test_a_level_must_take_part() -> None:
    with pytest.raises(ConnectomeError, match=r"^levels must be regions that perception recruits; found 'high'"):
        CounterCurrent(Perception(read_images("")), ("high",), classes=10)


def test_layers_learn_from_their_own_losses() -> None:
    """The gradient of a layer, written out for one of d = 2 units and two classes in place of ten."""
    rng = torch.Generator().manual_seed(0)
    sizes = ((3, 2), (2, 10)), ((10, 2), (2, 3))
    forth, back = ([torch.randn(*s, generator=rng).requires_grad_() for s in of] for of in sizes)
    x, label = torch.randn(4, 3, generator=rng), torch.tensor([0, 3, 3, 9])
    torch.autograd.backward(trial.layers_loss(x, label, forth, back, "counter-current"))
    with torch.no_grad():
        z = x @ forth[0]
        a, b = torch.nn.functional.elu(z), torch.nn.functional.elu(back[0])
        off = a @ b.T - torch.eye(10)[label]
        slope = torch.where(z > 0, 1.0, z.exp())
        wanted = x.T @ (0.5 * 128 * 2 / off.numel() * (off @ b) * slope)
    torch.testing.assert_close(forth[0].grad, wanted)


def test_counter_current_learning_is_judged() -> None:
    made = trial.counter_current
    v = values(made, {"right": 0.9}, {"right": 0.78})
    v["layers: counter-current"] = {"right": 0.9 + SPREAD}
    assert failed(made, v) == []
    for name, right, n in (
        ("readout alone", 0.86, 1), ("backpropagation", 0.92, 1), ("direct feedback", 0.91, 1),
        ("layers: backpropagation", 0.92, 1), ("layers: readout alone", 0.82, 1),
    ):  # fmt: skip
        assert len(failed(made, {**v, name: {"right": right + SPREAD[::-1]}})) == n, name


def test_each_way_learns() -> None:
    """In a tenth of the updates better than chance, which is one in ten."""
    for condition in trial.counter_current.conditions:
        assert trial._run(condition, 1, True)["right"] > 0.15, condition
