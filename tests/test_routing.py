"""Routing by region, a memory of surprising samples, and their trial: closed forms, what is silent costs nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from connectome import Connectome, Region
from connectome.development.birth import NEURON, weight_to_threshold_pa
from connectome.graph.connectome import Edit
from connectome.graph.parts import EdgeKey
from connectome.learning.network import SpikingNetwork
from connectome.mechanisms.one_shot import WRITTEN, OneShot
from connectome.mechanisms.routing import Routing, imbalance
from sims.studies.mechanisms import routing as study


@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 99))
def test_the_k_best_are_recruited(m: int, k: int, seed: int) -> None:
    drive = torch.from_numpy(np.random.default_rng(seed).normal(size=(7, m)))
    found = Routing(k=k).recruited(drive)
    assert (found.sum(1) == min(k, m)).all()
    if k < m:
        assert (drive[found].reshape(7, -1).min(1).values > drive[~found].reshape(7, -1).max(1).values).all()


def test_noise_recruits_by_the_softmax() -> None:
    """With Gumbel noise of scale 1 and k = 1 a region is recruited as often as its softmax says."""
    drive = torch.tensor([[0.0, 1.0, 2.0]]).expand(40000, 3)
    often = Routing(k=1).recruited(drive, np.random.default_rng(0)).double().mean(0)
    torch.testing.assert_close(often, drive[0].double().softmax(0), atol=0.01, rtol=0)


def test_imbalance_lies_between_one_and_the_number_of_regions() -> None:
    assert imbalance(torch.zeros(9, 5)).item() == pytest.approx(1.0)
    one = torch.full((9, 5), -1e9)
    one[:, 3] = 0.0
    assert imbalance(one).item() == pytest.approx(5.0)
    assert imbalance(1e9 * torch.eye(5)).item() == pytest.approx(1.0), "each in its turn is even"


def test_the_routers_gradient_is_the_tasks_through_the_shares_of_the_recruited() -> None:
    """d/dL_j of sum_i k p_i G_i = k p_j (G_j - sum_i p_i G_i) over the recruited; nothing for the others."""
    rng = np.random.default_rng(1)
    drive, slope = (torch.from_numpy(rng.normal(size=(6, 4))) for _ in range(2))
    drive.requires_grad_()
    rule = Routing(k=2, balance=0.0)
    here = rule.recruited(drive)
    rule.loss(drive, here, slope).backward()  # type: ignore[no-untyped-call]
    p = torch.where(here, drive.detach().exp(), 0.0)
    p = p / p.sum(1, keepdim=True)
    assert drive.grad is not None
    torch.testing.assert_close(drive.grad, 2 * p * (slope - (p * slope).sum(1, keepdim=True)))
    drive.grad = None
    Routing(k=4, balance=0.5).loss(drive, torch.ones_like(here), 0 * slope).backward()  # type: ignore[no-untyped-call]
    (exact,) = torch.autograd.grad(0.5 * imbalance(drive), drive)
    torch.testing.assert_close(drive.grad, exact)


def test_whom_nothing_reaches_is_as_if_he_were_not_there() -> None:
    """A region that is masked says nothing: effectors do, bit for bit, what they do without it; with all recruited the
    network is the plain one."""
    connectome = study._matured(0, True)
    spikes = {"image": torch.from_numpy(np.random.default_rng(2).random((5, 20, 64)) < 0.1)}
    whole, part = (SpikingNetwork(connectome, recruit=("image", *names, "task1_class", "task2_class")[:]) for names in
                   (("task1", "task2"), ("task1",)))  # fmt: skip
    with torch.no_grad():
        plain = whole(spikes)
        gained = whole(spikes, gain={"task2": torch.ones(5, 64)}, mask={"task2": torch.ones(5, 64)})
        masked, without = whole(spikes, mask={"task2": torch.zeros(5, 64)}), part(spikes)
    assert torch.equal(gained.potential["task2_class"], plain.potential["task2_class"])
    assert torch.equal(masked.potential["task1_class"], without.potential["task1_class"])
    assert not masked.potential["task2_class"].any()
    assert without.operations < masked.operations < plain.operations


def memory(cells: int = 4) -> tuple[OneShot, Connectome]:
    rule = OneShot(cells=cells)
    born = Connectome.of([Region("eye", 6, "sensor"), Region("gate", 3, "effector", NEURON)], [], dt_ms=1.0)
    return rule, born.apply(Edit(add_regions=(rule.region("hippocampus"),)))


CUES = np.array([[3, 1, 0, 0, 0, 0], [0, 0, 2, 2, 0, 0], [0, 0, 0, 0, 1, 4]])
CONTENT = np.eye(3, dtype=bool)


def test_a_cue_delivers_what_was_asked_and_a_foreign_one_nothing() -> None:
    rule, empty = memory()
    full = empty.apply(rule.write(empty, "hippocampus", "eye", "gate", CUES, CONTENT))
    edges = full.edges[EdgeKey("eye", "afferent", "hippocampus")]
    weight = np.zeros((6, 4))
    weight[edges.source, edges.target] = edges.weight
    w = rule.match * weight_to_threshold_pa(NEURON)
    np.testing.assert_allclose(CUES @ weight, np.concatenate([w * np.eye(3), np.zeros((3, 1))], 1), rtol=1e-6)
    assert full.regions["hippocampus"].state[WRITTEN].tolist() == [1, 2, 3, 0]
    told = full.edges[EdgeKey("hippocampus", "efferent", "gate")]
    assert sorted(zip(told.source.tolist(), told.target.tolist(), strict=True)) == [(0, 0), (1, 1), (2, 2)]
    assert told.weight.tolist() == pytest.approx([rule.recall * weight_to_threshold_pa(NEURON)] * 3)


def test_what_was_shown_once_is_recalled() -> None:
    rule, empty = memory()
    full = empty.apply(rule.write(empty, "hippocampus", "eye", "gate", CUES, CONTENT))
    spikes = torch.zeros(3, 12, 6)
    for b, cue in enumerate(CUES):
        for unit, n in enumerate(cue):
            spikes[b, :n, unit] = 1
    with torch.no_grad():
        said = SpikingNetwork(full)({"eye": spikes}).potential["gate"].mean(1)
    assert said.argmax(1).tolist() == [0, 1, 2]
    assert (said * (1 - torch.eye(3))).abs().max() == 0


def test_the_oldest_gives_way() -> None:
    rule, c = memory(cells=4)
    c = c.apply(rule.write(c, "hippocampus", "eye", "gate", CUES, CONTENT))
    c = c.apply(rule.write(c, "hippocampus", "eye", "gate", CUES[::-1], CONTENT))
    assert c.regions["hippocampus"].state[WRITTEN].tolist() == [5, 6, 3, 4]
    edges = c.edges[EdgeKey("eye", "afferent", "hippocampus")]
    heard = {cell: set(edges.source[edges.target == cell].tolist()) for cell in range(4)}
    assert heard == {3: {4, 5}, 0: {2, 3}, 1: {0, 1}, 2: {4, 5}}
    many = rule.write(c, "hippocampus", "eye", "gate", np.repeat(CUES, 3, 0), np.repeat(CONTENT, 3, 0))
    assert sorted(c.apply(many).regions["hippocampus"].state[WRITTEN].tolist()) == [7, 8, 9, 10]


def test_losses_above_the_mean_by_a_deviation_surprise() -> None:
    assert OneShot(surprise=1.0).surprising([0.5, 1.4, 1.6], 1.0, 0.5).tolist() == [False, False, True]


def test_the_trial_is_judged_by_its_bounds() -> None:
    trial, spread = study.routing, np.array([-0.01, 0.0, 0.01, 0.0, 0.0])

    def held(ours: float, others: float, share: float) -> list[bool]:
        values = {
            c: {"right": (ours if c == trial.conditions[0] else others) + spread[:: 1 if i else -1],
                "operations": np.full(5, 1000.0 * (share if c == trial.conditions[0] else 1)), "knows": spread}
            for i, c in enumerate(trial.conditions)
        }  # fmt: skip
        return [check.holds for check in trial.check(values)]

    assert held(0.9, 0.75, 0.5) == [True] * 5
    assert held(0.75, 0.77, 0.61) == [False] * 5
    assert held(0.75, 0.7505, 0.6) == [True, True, False, False, False]


def test_a_cell_of_each_condition() -> None:
    found = {c: study._run(c, 0, True) for c in study.routing.conditions}
    assert found["all regions"]["knows"] == found["told"]["knows"] == 1
    assert all(f["operations"] < 0.7 * found["all regions"]["operations"] for c, f in found.items() if c[:3] != "all")
    assert found["thalamus and hippocampus"]["operations"] != found["thalamus alone"]["operations"]
