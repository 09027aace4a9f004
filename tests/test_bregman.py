"""The objective: divergences against the definition, its cases against their own papers' terms, what is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, mse_loss

from connectome import Connectome, ConnectomeError, EdgeKey
from connectome.development.birth import birth
from connectome.development.stage import LossContext
from connectome.io.snapshot import load, save
from connectome.learning.network import BatchActivity, SpikingNetwork
from connectome.learning.task import outputs_of
from connectome.mechanisms import bregman
from connectome.mechanisms.bregman import Divergence, Objective
from connectome.mechanisms.comparators import learn
from connectome.mechanisms.feedback_pruning import FeedbackPruning
from connectome.mechanisms.growth import LongRangeGrowth
from tests.test_development import ANATOMY, Toy, stages, toys

SEED = 7
#: Phi, of what, as in the definition.
PHI: dict[str, tuple[Callable[[Tensor], Tensor], bool]] = {
    "square": (lambda h: h.square().sum(1) / 2, False),
    "log_sum_exp": (lambda h: h.logsumexp(1), False),
    "negative_entropy": (lambda p: (p * p.log()).sum(1), True),
}


def logits(rows: int = 3) -> st.SearchStrategy[Tensor]:
    row = st.lists(st.floats(-8, 8), min_size=4, max_size=4)
    return st.lists(row, min_size=rows, max_size=rows).map(lambda x: torch.tensor(x, dtype=torch.float64))


@given(logits(), logits(), st.sampled_from(sorted(PHI)))
def test_divergences_are_bregmans(h: Tensor, z: Tensor, name: str) -> None:
    """Phi(a) - Phi(b) - <grad Phi(b), a - b>."""
    phi, of_probabilities = PHI[name]
    a, b = (x.softmax(1) if of_probabilities else x for x in (h, z))
    (slope,) = torch.autograd.grad(phi(b.requires_grad_()).sum(), b)
    expected = phi(a) - phi(b.detach()) - (slope * (a - b.detach())).sum(1)
    torch.testing.assert_close(bregman.PHI[name](h, z.detach()), expected.detach(), rtol=1e-9, atol=1e-9)


@given(logits(), logits())
def test_divergences_in_closed_form(h: Tensor, z: Tensor) -> None:
    """Half the squared error; the KL divergence, one way and the other; and the cross-entropy at a label's corner."""
    torch.testing.assert_close(bregman.square(h, z).mean(), mse_loss(h, z, reduction="sum") / 2 / len(h))
    q = z.softmax(1)
    told = kl_div(h.log_softmax(1), q, reduction="batchmean")
    torch.testing.assert_close(bregman.log_sum_exp(h, z).mean(), told, rtol=1e-9, atol=1e-9)
    other = kl_div(z.log_softmax(1), h.softmax(1), reduction="batchmean")
    torch.testing.assert_close(bregman.negative_entropy(h, z).mean(), other, rtol=1e-9, atol=1e-9)
    label = torch.tensor([0, 3, 1])
    corner = 100 * torch.eye(4, dtype=torch.float64)[label]
    torch.testing.assert_close(bregman.log_sum_exp(h, corner).mean(), cross_entropy(h, label), rtol=1e-9, atol=1e-9)


def two_tasks() -> list[Toy]:
    """The same region, and other digits of it: halves the other way round."""
    return [toys()[0], replace(toys()[0], scale=0.5)]


@pytest.fixture
def connectome() -> Connectome:
    """One that has learnt two tasks: other weights were there after each."""
    found = birth(None, toys()[0], ANATOMY, 1, (), np.random.default_rng(0))
    rng = np.random.default_rng(1)
    terms = Objective((bregman.dark_experience(), bregman.without_forgetting()))
    for stage in (1, 2):
        found = replace(found, provenance=replace(found.provenance, stage=stage))
        found = found.apply(terms.learnt(found, toys()[0], rng))
        edges = {
            k: replace(e, weight=(e.weight * rng.uniform(0.5, 1.5, len(e))).astype(np.float32))
            for k, e in found.edges.items()
        }
        found = replace(found, edges=edges)
    return found


def context(network: SpikingNetwork, earlier: Sequence[Toy], rng: int = 5) -> LossContext:
    task = toys()[0]
    spikes, _ = task.batch(np.random.default_rng(3), 6)
    activity = network(spikes)
    return LossContext(network, task, spikes, activity, earlier, np.random.default_rng(rng), SEED)


def gradients(network: SpikingNetwork, loss: Tensor) -> dict[EdgeKey, Tensor]:
    found = torch.autograd.grad(loss, list(network.weight.values()))
    return dict(zip(network.weight, found, strict=True))


def same(network: SpikingNetwork, found: Tensor, expected: Tensor) -> None:
    assert float(expected.detach()) != 0
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    ours, theirs = gradients(network, found), gradients(network, expected)
    assert any(g.any() for g in theirs.values())
    for key, gradient in theirs.items():
        torch.testing.assert_close(
            ours[key], gradient, rtol=1e-6, atol=1e-6 * float(gradient.abs().max()), msg=str(key)
        )


def chunk(rng: int, kept: int, batch: int, earlier: Sequence[Toy]) -> tuple[int, Any]:
    """By the docstring: a generator of seed, stage and chunk; any chunk as often."""
    number = int(np.random.default_rng(rng).integers(kept // batch))
    which, part = number % len(earlier), number // len(earlier)
    return which, earlier[which].batch(np.random.default_rng([SEED, which + 1, part, bregman._KEPT]), batch)


def before(connectome: Connectome, state: str) -> SpikingNetwork:
    edges = {k: replace(e, weight=e.state[state]) for k, e in connectome.edges.items()}
    assert all((e.weight != connectome.edges[k].weight).any() for k, e in edges.items())
    return SpikingNetwork(replace(connectome, edges=edges))


def test_experience_replay_is_the_loss_of_kept_samples(connectome: Connectome) -> None:
    network, earlier = SpikingNetwork(connectome), two_tasks()
    for rng in range(4):
        which, (spikes, target) = chunk(rng, 20, 5, earlier)
        expected = 0.7 * earlier[which].loss(network(spikes), target)
        same(network, bregman.experience_replay(0.7, 20, 5)(context(network, earlier, rng)), expected)


def test_unbounded_it_is_a_batch_of_any_earlier_task(connectome: Connectome) -> None:
    network, earlier, term = SpikingNetwork(connectome), two_tasks(), bregman.experience_replay(kept=0, batch=6)
    seen = set()
    for number in range(4):
        rng = np.random.default_rng(number)
        which = int(rng.integers(2))
        spikes, target = earlier[which].batch(rng, 6)
        seen.add(which)
        same(network, term(context(network, earlier, number)), earlier[which].loss(network(spikes), target))
    assert seen == {0, 1}


def test_dark_experience_is_half_the_squared_error_of_outputs(connectome: Connectome) -> None:
    """From what was said by the weights at the end of the stage whose samples they are."""
    network, earlier, seen = SpikingNetwork(connectome), two_tasks(), set[int]()
    for rng in range(8):
        which, (spikes, _) = chunk(rng, 20, 5, earlier)
        seen.add(which)
        h, z = (outputs_of(toys()[0], n(spikes)) for n in (network, before(connectome, f"bregman_{which + 1}")))
        expected = 0.3 * mse_loss(h, z.detach(), reduction="sum") / 2 / 5
        same(network, bregman.dark_experience(0.3, 20, 5)(context(network, earlier, rng)), expected)
    assert seen == {0, 1}


def test_der_plus_plus_is_der_and_er(connectome: Connectome) -> None:
    network, earlier = SpikingNetwork(connectome), two_tasks()
    der, er = bregman.dark_experience(0.3, 20, 5), bregman.experience_replay(0.7, 20, 5)
    now = context(network, earlier)
    apart = der(now) + er(now)
    same(network, Objective((der, er))(context(network, earlier)), apart)


def test_without_forgetting_is_distillation_of_new_samples(connectome: Connectome) -> None:
    network = SpikingNetwork(connectome)
    now = context(network, two_tasks())
    h, z = (outputs_of(now.task, n(now.spikes)) / 2 for n in (network, before(connectome, "bregman_last")))
    expected = 0.3 * kl_div(h.log_softmax(1), z.detach().softmax(1), reduction="batchmean")
    same(network, bregman.without_forgetting(0.3, temperature=2.0)(now), expected)
    # Of outputs its gradient is softmax less softmax.
    outputs = (2 * h).detach().requires_grad_()
    divergence = bregman.log_sum_exp(outputs / 2, z.detach()).mean()
    (slope,) = torch.autograd.grad(divergence, outputs)
    expected = ((outputs / 2).softmax(1) - z.softmax(1)).detach() / 2 / len(h)
    torch.testing.assert_close(slope, expected, rtol=1e-5, atol=1e-8)


def test_the_confidence_penalty_is_minus_the_entropy(connectome: Connectome) -> None:
    network = SpikingNetwork(connectome)
    now = context(network, ())
    p = outputs_of(now.task, now.activity).softmax(1)
    entropy = -(p * p.log()).sum(1).mean()
    found = bregman.confidence_penalty(0.3)(now)
    assert float(found.detach()) == pytest.approx(0.3 * (np.log(2) - float(entropy.detach())), rel=1e-4)
    ours, theirs = (torch.autograd.grad(x, now.activity.potential["first_out"], retain_graph=True)[0]
                    for x in (found, -0.3 * entropy))  # fmt: skip
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-9)


def test_where_nothing_is_earlier_nothing_is_added(connectome: Connectome) -> None:
    network = SpikingNetwork(connectome)
    for term in (bregman.experience_replay(), bregman.dark_experience(), bregman.without_forgetting()):
        assert float(term(context(network, ()))) == 0


def test_old_outputs_are_of_every_set_of_regions_that_sees_the_samples() -> None:
    """Of two tasks that recruit the same, one; of one that does not see, none."""
    heard: list[tuple[str, ...]] = []

    class Heard(Toy):
        def outputs(self, activity: BatchActivity) -> Tensor:
            heard.append(tuple(activity.potential))
            return next(iter(activity.potential.values())).mean(1)

    class Deaf(Heard):
        recruits = ("ear", "first", "first_out")

    first, second = (Heard(t.name, t.uses, 1.0, t.effectors, t.sensors) for t in toys())
    born = birth(None, first, ANATOMY, 1, (), np.random.default_rng(0))
    born = birth(born, second, ANATOMY, 2, (), np.random.default_rng(0))
    now = context(SpikingNetwork(born, recruit=first.recruits), ())
    deaf = Deaf(first.name, (), 1.0, first.effectors, first.sensors)
    bregman.without_forgetting()(now._replace(earlier=(first, second, first, deaf)))
    assert sorted(heard) == [("first_out",)] * 2 + [("second_out",)] * 2


@given(st.integers(1, 60), st.integers(1, 12), st.integers(1, 9))
def test_a_buffer_is_bounded_and_gives_up_the_last(chunks: int, batch: int, tasks: int) -> None:
    """So many chunks in all; of each task the same number, to one; those of fewer tasks are there with more."""

    class Numbered(Toy):
        def batch(self, rng: np.random.Generator, size: int) -> Any:
            return {}, (size, int(rng.integers(2**62)))

    kept, term = chunks * batch, Divergence(kept=chunks * batch + batch - 1, batch=batch)

    class Each:
        """A generator that says this number."""

        def __init__(self, number: int) -> None:
            self.number = number

        def integers(self, n: int) -> int:
            assert n == chunks
            return self.number

    def buffer(n: int) -> list[set[int]]:
        found: list[set[int]] = [set() for _ in range(n)]
        for number in range(chunks):
            now = LossContext(*(None,) * 4, [Numbered("x")] * n, Each(number), SEED)  # type: ignore[arg-type]
            which, (_, (size, sample)) = term.kept_batch(now)
            assert size == batch
            found[which].add(sample)
        return found

    here, later = buffer(tasks), buffer(tasks + 1)
    assert sum(map(len, here)) * batch == kept
    assert max(map(len, here)) - min(map(len, here)) <= 1
    assert all(a >= b for a, b in zip(here, later, strict=False))


def test_what_is_kept_of_edges_goes_with_them(tmp_path: Path) -> None:
    """Pruned, grown, saved: an edge that is left has the weight that it had when its stage ended, a new one 0."""
    rules = (LongRangeGrowth(edges=9), FeedbackPruning(keep=0.5, grace=1.0, inhibition=0.5))
    plan = [
        replace(s, extra_loss=Objective((bregman.dark_experience(kept=16, batch=8),)))
        for s in stages(*rules, updates=10)
    ]
    plan[0] = replace(plan[0], rules=())
    one, two = learn("development", plan, ANATOMY, seed=3, test_trials=4)
    save(two.connectome, tmp_path / "two.h5")
    last = load(tmp_path / "two.h5")
    key = EdgeKey("first", "local", "first")
    then, now = one.connectome.edges[key], last.edges[key]
    assert len(now) < len(then)
    old = dict(zip(then.pair.tolist(), then.weight.tolist(), strict=True))
    kept = dict(zip(now.pair.tolist(), now.state["bregman_1"].tolist(), strict=True))
    assert kept == {pair: old[pair] for pair in kept}
    assert (now.state["bregman_1"] != now.weight).any()
    assert (now.state["bregman_2"] == now.weight).all()
    new = EdgeKey("first", "long_range", "second")
    assert "bregman_1" not in last.edges[new].state
    network = SpikingNetwork(last, recruit=("eye", "first", "first_out"))
    remembered = network.remembered("bregman_1", ("eye", "first", "second", "second_out"))
    assert remembered is network.remembered("bregman_1", ("eye", "first", "second", "second_out"))
    assert not remembered.weight[new].any()
    assert remembered.weight[key].tolist() == now.state["bregman_1"].tolist()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"of": "old"}, "Divergence.of must be among kept, new; found 'old'"),
        ({"z": "logits"}, "Divergence.z must be among labels, old, uniform; found 'logits'"),
        ({"phi": "cube"}, "Divergence.phi must be among square, log_sum_exp, negative_entropy; found 'cube'"),
        ({"of": "new"}, "Divergence.z must be labels or old of kept samples, .*; found 'labels' of new ones"),
        ({"z": "uniform"}, "Divergence.z must be labels or old of kept samples, .*; found 'uniform' of kept ones"),
        ({"kept": 20}, "Divergence.kept must be 0, or at least a batch; found 20 of 25"),
        ({"z": "old", "kept": 0}, "Divergence.kept must be above 0 where z are old outputs"),
    ],
)
def test_what_is_no_term_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConnectomeError, match=message):
        Divergence(**fields)
