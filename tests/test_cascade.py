"""Cascade correlation: what candidates raise, what of them stays, and what never changes again."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from connectome import Connectome, Region
from connectome.datasets.tasks import Perception
from connectome.development.birth import NEURON
from connectome.graph.parts import EdgeKey
from connectome.learning.learner import Learner
from connectome.learning.optimisers import Sgd
from connectome.mechanisms.cascade import Candidates, candidates, covariance, keep
from connectome.mechanisms.local_losses import crossing
from sims.studies.development import read_images
from sims.studies.mechanisms import cascade as trial
from tests.test_learning_trials import SPREAD, failed

IN, OUT = EdgeKey("image", "afferent", "units"), EdgeKey("units", "efferent", "digit")


def pool(n: int = 6) -> tuple[Connectome, Perception]:
    bare = Connectome.of([Region("image", 64, "sensor"), Region("digit", 10, "effector", NEURON)], dt_ms=1.0)
    rng = np.random.default_rng(0)
    return bare.grow(*candidates(bare, "units", n, ["image"], NEURON, rng)), Perception(read_images(""), name="units")


def test_covariance_is_numpys() -> None:
    rng = np.random.default_rng(0)
    v, e = rng.normal(size=(50, 3)), rng.normal(size=(50, 4))
    wanted = [sum(abs(np.cov(v[:, i], e[:, o], bias=True)[0, 1]) for o in range(4)) for i in range(3)]
    np.testing.assert_allclose(covariance(torch.from_numpy(v), torch.from_numpy(e)), wanted, rtol=1e-12)


def test_the_gradient_is_fahlmans() -> None:
    """dS/dw = sum_o sign_o mean_p (E_p,o - mean E_o) dV_p/dw: no gradient flows through means or errors."""
    rng = torch.Generator().manual_seed(1)
    v, e = torch.rand(20, 3, generator=rng).requires_grad_(), torch.rand(20, 4, generator=rng)
    covariance(v, e).sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    off = e - e.mean(0)
    sign = ((v - v.mean(0)).T @ off).sign().detach()
    torch.testing.assert_close(v.grad, off @ sign.T / 20)


def test_the_error_of_silent_effectors_is_of_even_odds() -> None:
    """So that S is that of the rates with the labels, in the units of a logit: 4/15 of a mV's."""
    connectome, task = pool()
    new = Candidates(task, ("units",))
    spikes, label = task.batch(np.random.default_rng(1), 64)
    activity = Learner(connectome, new, (Sgd(),), block=crossing(connectome)).network(spikes, record=new.record)
    assert not activity.potential["digit"].any()
    off = torch.full((64, 10), 0.1) - torch.eye(10)[label]
    wanted = covariance(activity.spikes["units"][:, -10:].mean(1), off * 4 / 15)
    torch.testing.assert_close(new.score_of(activity, label), wanted, rtol=1e-4, atol=1e-7)
    assert float(wanted.detach().max()) > 0


def test_candidates_learn_to_go_with_the_error() -> None:
    connectome, task = pool()
    new = Candidates(task, ("units",))
    learner = Learner(connectome, new, (Sgd(),), block=crossing(connectome))
    spikes, label = task.batch(np.random.default_rng(1), 64)
    loss = [learner.step(spikes, label, lambda key: 6e4) for _ in range(8)]
    assert loss[-1] < 1.2 * loss[0] < 0


def test_the_best_stay_as_they_were() -> None:
    connectome, task = pool()
    kept = keep(connectome, "units", np.array([1, 4]), task.effectors)
    assert set(kept.regions) == {"image", "units", "digit"}
    assert kept.regions["units"].size == 2
    was, now = connectome.edges[IN], kept.edges[IN]
    for new, old in enumerate((1, 4)):
        np.testing.assert_array_equal(now.weight[now.target == new], was.weight[was.target == old])
    assert len(kept.edges[OUT]) == 20
    assert not kept.edges[OUT].weight.any()
    assert set(keep(connectome, "units", np.arange(6), task.effectors).regions) == {"image", "units", "digit"}


def test_what_has_been_added_never_changes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each group the inputs are in the end what they were when it was kept."""
    seen: list[Connectome] = []

    def watched(*args: object) -> Connectome:
        seen.append(keep(*args))  # type: ignore[arg-type]
        return seen[-1]

    last: list[Connectome] = []

    def asked(connectome: Connectome, *_: object) -> float:
        last.append(connectome)
        return 0.0

    monkeypatch.setattr(trial, "keep", watched)
    monkeypatch.setattr(trial, "_right", asked)
    trial.learn(trial._WAYS["cascade"], 1, True)
    assert len(seen) == 4
    for group, then in enumerate(seen):
        inputs = [key for key in then.edges if key.target == f"units{group}"]
        assert len(inputs) == 1 + group
        assert all(np.array_equal(then.edges[key].weight, last[-1].edges[key].weight) for key in inputs)
    efferent = [e for key, e in last[-1].edges.items() if key.base == "efferent"]
    assert len(efferent) == 4
    assert all(e.weight.any() for e in efferent)


def test_cascade_correlation_is_judged() -> None:
    made = trial.cascade
    right = {"cascade": 0.9, "from the start": 0.9, "random added": 0.7}
    v = {c: {"right": r + SPREAD, "one group": r - 0.2 + SPREAD[::-1]} for c, r in right.items()}
    assert failed(made, v) == []
    for name, part, value, n in (
        ("random added", "right", 0.91, 1), ("from the start", "right", 0.92, 1), ("random added", "one group", 0.8, 1),
        ("cascade", "one group", 0.9, 1),
    ):  # fmt: skip
        assert len(failed(made, {**v, name: v[name] | {part: value + SPREAD[::-1]}})) == n, name
