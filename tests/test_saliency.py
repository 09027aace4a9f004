"""Saliency: each criterion against its formula written slowly, curvature against exact second derivatives, edits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from connectome import Connectome, ConnectomeError, EdgeSet, Edit, Region
from connectome.datasets.images import load_digits
from connectome.datasets.tasks import Motor, Perception
from connectome.development.birth import Anatomy, birth
from connectome.graph.parts import EdgeKey
from connectome.learning.network import SpikingNetwork
from connectome.mechanisms.saliency import CRITERIA, Batch, accumulate_feedback, curvature, pruning, saliency

IN, LOCAL, OUT = (
    EdgeKey("image", "afferent", "perception"), EdgeKey("perception", "local", "perception"),
    EdgeKey("perception", "efferent", "digit"),
)  # fmt: skip


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@cache
def trained() -> tuple[Connectome, Perception, tuple[Batch, ...]]:
    """A small region that has learnt three digits somewhat, and batches of its task."""
    task = Perception(load_digits(), classes=(0, 1, 2))
    anatomy = Anatomy(neurons=6, afferent_density=0.1, local_density=0.15, inhibitory_gain=1.0)
    born = birth(None, task, anatomy, 1, (), rng())
    network = SpikingNetwork(born, dtype=torch.float64)
    typical = [float(w.detach().abs().mean()) for w in network.parameters()]
    groups = zip(network.parameters(), typical, strict=True)
    optimizer = torch.optim.Adam([{"params": [w], "lr": 0.05 * t} for w, t in groups])
    sign = {key: torch.from_numpy(born.regions[key.source].sign[e.source]) for key, e in born.edges.items()}
    r = rng(1)
    for _ in range(60):
        spikes, target = task.batch(r, 32)
        optimizer.zero_grad()
        task.loss(network(spikes), target).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimizer.step()
        with torch.no_grad():
            for key, w in network.weight.items():
                w.masked_fill_(w * sign[key] < 0, 0.0)
    return network.to_connectome(), task, tuple(task.batch(r, 8) for _ in range(2))


@cache
def second_derivatives(which: int, samples: int = 8) -> tuple[dict[EdgeKey, Any], dict[EdgeKey, Any]]:
    """Edge set -> (E,): the diagonal of the exact Hessian by autograd's own second pass through the surrogate, and of
    the Gauss-Newton matrix from every class's gradient of every sample, for the first samples of one of the batches."""
    c, task, batches = trained()
    network = SpikingNetwork(c, engine="torch", dtype=torch.float64)
    weights = list(network.weight.values())
    spikes, target = {"image": batches[which][0]["image"][:samples]}, batches[which][1][:samples]
    first = torch.autograd.grad(task.loss(network(spikes), target), weights, create_graph=True)
    exact = {}
    for key, w, g in zip(network.weight, weights, first, strict=True):
        rows = [torch.autograd.grad(g[k], w, retain_graph=True)[0][k] for k in range(len(g))]
        exact[key] = torch.stack(rows).numpy()
    gauss_newton = {key: np.zeros(len(w)) for key, w in network.weight.items()}
    z = 4 * network(spikes).potential["digit"][:, -10:].mean(1) / 15.0
    p = torch.softmax(z.detach(), 1)
    for b in range(len(z)):
        jacobian = [torch.autograd.grad(z[b, k], weights, retain_graph=True) for k in range(z.shape[1])]
        for i, key in enumerate(network.weight):
            j = torch.stack([row[i] for row in jacobian])
            gauss_newton[key] += ((p[b] @ j**2 - (p[b] @ j) ** 2) / len(z)).numpy()
    return exact, gauss_newton


class Even:
    """Stands for a random generator whose numbers are spread evenly: labels come as often as their probability says."""

    def __init__(self, draws: int) -> None:
        self.given = iter((np.arange(draws) + 0.5) / draws)

    def random(self, shape: tuple[int, ...]) -> Any:
        return np.full(shape, next(self.given))


def test_curvature_of_one_sample_is_the_mean_over_its_labels() -> None:
    c, task, (batch, *_) = trained()
    spikes, target = batch[0]["image"], batch[1]
    draws: Any = 100
    total = {key: np.zeros(len(e)) for key, e in c.edges.items()}
    for b in range(2):
        one = {"image": spikes[b : b + 1]}, target[b : b + 1]
        found = curvature(c, task, [one] * draws, Even(draws), torch.float64)  # type: ignore[arg-type]  # it stands for one
        for key, h in found.items():
            total[key] += h / 2
    _, expected = second_derivatives(0, samples=2)
    for key, h in expected.items():
        np.testing.assert_allclose(total[key], h, rtol=0.05, atol=0.02 * h.max())


def test_curvature_of_a_batch_is_without_bias() -> None:
    """What samples do together averages out: labels are drawn for each by itself."""
    c, task, batches = trained()
    _, expected = second_derivatives(0)
    found = curvature(c, task, [batches[0]] * 150, rng(2), torch.float64)
    for key in (IN, LOCAL, OUT):
        assert found[key].sum() == pytest.approx(expected[key].sum(), rel=0.2)


def test_gauss_newton_is_the_exact_second_derivative_for_edges_to_effectors() -> None:
    """Also by central differences of the event-driven gradient: no spike changes with these weights."""
    c, task, (batch, *_) = trained()
    exact, gauss_newton = second_derivatives(0)
    np.testing.assert_allclose(gauss_newton[OUT], exact[OUT], rtol=1e-9, atol=1e-18)
    network = SpikingNetwork(c, dtype=torch.float64)
    w = network.weight[OUT]
    for k in range(0, len(w), 5):
        slopes = []
        for step in (-1.0, 1.0):
            with torch.no_grad():
                w[k] += step
            slopes.append(float(torch.autograd.grad(task.loss(network(batch[0]), batch[1]), w)[0][k]))
            with torch.no_grad():
                w[k] -= step
        assert (slopes[1] - slopes[0]) / 2 == pytest.approx(exact[OUT][k], rel=1e-3, abs=1e-12)


def test_gauss_newton_ranks_hidden_edges_as_the_exact_second_derivative_does() -> None:
    """It leaves out the slope of the surrogate's flanks, so it is not equal; what OBD does with it is to rank."""
    c, *_ = trained()
    both = [second_derivatives(k) for k in range(2)]
    for key in (IN, LOCAL):
        w2 = c.edges[key].weight.astype(float) ** 2
        exact, gauss_newton = (np.mean([pair[i][key] for pair in both], 0) for i in (0, 1))
        assert (gauss_newton >= 0).all()
        assert spearmanr(exact * w2, gauss_newton * w2).statistic > 0.7


def test_obd_is_half_of_curvature_times_squared_weight() -> None:
    c, task, batches = trained()
    h, found = curvature(c, task, batches, rng(3)), saliency("obd", c, task, batches, rng(3))
    for key, values in found.items():
        np.testing.assert_allclose(values, 0.5 * h[key] * c.edges[key].weight.astype(float) ** 2)
    assert found[IN].any()


def test_taylor_is_the_mean_over_batches_of_weight_times_gradient() -> None:
    """By the other engine."""
    c, task, batches = trained()
    network = SpikingNetwork(c, engine="torch", dtype=torch.float64)
    expected = {key: np.zeros(len(w)) for key, w in network.weight.items()}
    for spikes, target in batches:
        grads = torch.autograd.grad(task.loss(network(spikes), target), list(network.weight.values()))
        for (key, w), g in zip(network.weight.items(), grads, strict=True):
            expected[key] += np.abs(w.detach().numpy() * g.numpy()) / len(batches)
    for key, values in saliency("taylor", c, task, batches, rng()).items():
        np.testing.assert_allclose(values, expected[key], rtol=1e-4, atol=1e-6 * expected[key].max())


def test_bcm_and_activity_as_loops_over_edges_and_steps() -> None:
    c, task, batches = trained()
    network = SpikingNetwork(c)
    spikes: dict[str, list[Any]] = {"image": [], "perception": []}
    with torch.no_grad():
        for given_spikes, _ in batches:
            activity = network(given_spikes, record=["perception"])
            spikes["image"] += list(given_spikes["image"].numpy().astype(float))
            spikes["perception"] += list(activity.spikes["perception"].numpy())
    trace: dict[str, list[Any]] = {name: [] for name in spikes}
    for name, samples in spikes.items():
        for sample in samples:
            last = np.zeros(sample.shape[1])
            for row in sample:
                last = 0.5 * last + row
                trace[name].append(last)
    pre, post = (np.array(trace[name]) for name in ("image", "perception"))
    bcm, rates = saliency("bcm", c, task, batches, rng()), saliency("activity", c, task, batches, rng())
    mean = {name: np.concatenate(samples).mean(0) for name, samples in spikes.items()}
    for e, (i, j) in enumerate(zip(c.edges[IN].source, c.edges[IN].target, strict=True)):
        value = np.mean([post[t, j] * (post[t, j] - post[:, j].mean()) * pre[t, i] for t in range(len(pre))])
        assert bcm[IN][e] == pytest.approx(max(value, 0.0), rel=1e-4, abs=1e-6)
        assert rates[IN][e] == pytest.approx(mean["image"][i] * mean["perception"][j], rel=1e-4)
    np.testing.assert_allclose(bcm[OUT], post.mean(0)[c.edges[OUT].source], rtol=1e-4)
    np.testing.assert_allclose(rates[OUT], mean["perception"][c.edges[OUT].source], rtol=1e-4)
    assert bcm[IN].any()


def test_magnitude_random_and_feedback() -> None:
    c, task, batches = trained()
    found = saliency("magnitude", c, task, batches, rng())
    np.testing.assert_array_equal(np.argsort(found[LOCAL]), np.argsort(np.abs(c.edges[LOCAL].weight)))
    one, same, other = (saliency("random", c, task, batches, rng(seed))[IN] for seed in (1, 1, 2))
    assert (one == same).all()
    assert (one != other).all()
    with pytest.raises(ConnectomeError, match=r"must have 'feedback'.*Use accumulate_feedback"):
        saliency("feedback", c, task, batches, rng())
    ramp = {key: np.arange(len(e), dtype=float) for key, e in c.edges.items()}
    twice = c.apply(accumulate_feedback(c, ramp))
    twice = twice.apply(accumulate_feedback(twice, {key: 7 * v for key, v in ramp.items()}))
    got = saliency("feedback", twice, task, batches, rng())[OUT]
    expected = np.clip(np.arange(len(got)) / np.quantile(np.arange(len(got)), 0.75), 0, 1)
    np.testing.assert_allclose(got, 2 * expected, rtol=1e-6)  # each epoch counts the same, whatever its units


def test_every_criterion_gives_a_number_of_0_or_more_for_every_edge() -> None:
    c, task, batches = trained()
    c = c.apply(accumulate_feedback(c, {key: np.ones(len(e)) for key, e in c.edges.items()}))
    for criterion in CRITERIA:
        found = saliency(criterion, c, task, batches, rng())
        assert {key: v.shape for key, v in found.items()} == {key: (len(e),) for key, e in c.edges.items()}
        assert all((v >= 0).all() for v in found.values())


def test_importances_of_the_registry_are_criteria_too() -> None:
    """By name; what taylor is there, it is here."""
    connectome, task, batches = trained()
    found = saliency("gradient", connectome, task, batches, rng())
    taylor = saliency("taylor", connectome, task, batches, rng())
    assert found.keys() == taylor.keys()
    one = saliency("gradient", connectome, task, batches[:1], rng())
    same = saliency("taylor", connectome, task, batches[:1], rng())
    for key, edges in connectome.edges.items():
        np.testing.assert_allclose(np.abs(edges.weight) * one[key], same[key], rtol=1e-4, atol=1e-12)
        assert found[key].any()


def graph(local: Mapping[tuple[int, int], float], n: int = 4) -> tuple[Connectome, dict[EdgeKey, Any]]:
    """A sensor that reaches every neuron of a region, local edges with these saliencies, an effector."""
    regions = [Region("image", 2, "sensor"), Region("perception", n), Region("digit", 1, "effector")]
    pairs = {IN: [(i, j) for i in range(2) for j in range(n)], LOCAL: list(local), OUT: [(i, 0) for i in range(n)]}
    size = {r.name: r.size for r in regions}
    sets = []
    for key, ends in pairs.items():
        source, target = np.array(ends, int).reshape(-1, 2).T
        state = {"saliency": np.array([local[end] if key is LOCAL else 1.0 for end in ends], np.float32)}
        sets.append(
            EdgeSet.from_arrays(
                key, source, target, 1.0, n_source=size[key.source], n_target=size[key.target], dt_ms=1.0, state=state
            )
        )
    c = Connectome.of(regions, sets, dt_ms=1.0)
    return c, {key: e.state["saliency"].astype(float) for key, e in c.edges.items()}


def test_unstructured_pruning_keeps_the_largest_shares() -> None:
    """LAMP by hand: 4, 3, 2, 1 have shares 1, 3/7, 2/9, 1/10; a set of equals has 1, 1/2, 1/3, ..."""
    c, found = graph({(0, 1): 1.0, (1, 2): 4.0, (2, 3): 2.0, (3, 0): 3.0})
    left = c.apply(pruning(c, found, 7, structured=False))
    # The shares in order: 1, 1, 1, 1/2, 1/2, 3/7 (the local 3), 1/3, 1/3, ...
    assert {key: len(e) for key, e in left.edges.items()} == {IN: 3, LOCAL: 2, OUT: 2}
    assert sorted(left.edges[LOCAL].state["saliency"]) == [3.0, 4.0]
    assert SpikingNetwork(left).weight[LOCAL].shape == (2,)
    assert c.apply(pruning(c, found, 99, structured=False)).n_edges == c.n_edges
    assert c.apply(pruning(c, found, 0, structured=False)).n_edges == 0


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), edges=st.integers(0, 60))
def test_pruning_leaves_as_many_as_asked_for_and_does_not_see_units(seed: int, edges: int) -> None:
    r = rng(seed)
    c, found = graph({(i, j): float(r.random()) for i in range(6) for j in range(6) if r.random() < 0.7}, 6)
    found = {key: r.random(len(v)) ** 3 for key, v in found.items()}
    delta = pruning(c, found, edges, structured=False)
    left = c.apply(delta)
    assert left.n_edges == min(edges, c.n_edges)
    if edges >= 3:
        assert all(len(e) for e in left.edges.values()), "the best edge of every set stays"
    for key, gone in delta.remove.items():
        assert not gone.any() or gone.all() or found[key][gone].max() <= found[key][~gone].min()
    scaled = {key: v * 10.0 ** r.integers(-5, 6) for key, v in found.items()}
    again = pruning(c, scaled, edges, structured=False).remove
    assert all((again[key] == gone).all() for key, gone in delta.remove.items())


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), edges=st.integers(0, 60))
def test_structured_pruning_takes_whole_neurons_and_no_more_than_it_must(seed: int, edges: int) -> None:
    r = rng(seed)
    c, found = graph({(i, j): float(r.random()) for i in range(6) for j in range(6) if r.random() < 0.7}, 6)
    found = {key: r.random(len(v)) for key, v in found.items()}
    left = c.apply(pruning(c, found, edges, structured=True))

    def touched(graph: Connectome) -> list[int]:
        count = np.zeros(6, np.int64)
        for e, ends in ((graph.edges[IN], "target"), (graph.edges[OUT], "source")):
            count += np.bincount(getattr(e, ends), minlength=6)
        local = graph.edges[LOCAL]
        for i, j in zip(local.source, local.target, strict=True):
            count[[i, j] if i != j else [i]] += 1
        return [int(n) for n in count]

    # Slowly: shares, sums, neurons one by one.
    share = {}
    for key, v in found.items():
        share[key] = np.array([x / v[v >= x].sum() for x in v])
    total = np.zeros(6)
    for key, e in c.edges.items():
        for k, (i, j) in enumerate(zip(e.source, e.target, strict=True)):
            ends = {int(n) for n, name in ((i, key.source), (j, key.target)) if name == "perception"}
            total[list(ends)] += share[key][k]
    order, expected = list(np.argsort(total)), c
    while expected.n_edges > edges and len(order) > 1:
        n = order.pop(0)
        masks = {
            key: (e.source == n) & (key.source == "perception") | (e.target == n) & (key.target == "perception")
            for key, e in expected.edges.items()
        }
        expected = expected.apply(Edit(remove=masks))
    assert left.digest() == expected.digest()
    assert any(touched(left)), "the last neuron stays"


def test_an_edge_of_a_neuron_to_itself_counts_once() -> None:
    c, found = graph({(0, 0): 5.0, (1, 2): 3.0, (2, 3): 3.0, (3, 1): 3.0})
    for key in (IN, OUT):
        found[key][:] = 0.0
    # Shares 1, then 3/8, 3/11, 3/14: neuron 0 has 1 once, not 2; the others 3/8 + 3/14 and so on: all below 1.
    gone = pruning(c, found, c.n_edges - 1, structured=True).remove
    edges = c.edges[LOCAL]
    assert {int(edges.source[e]) for e in np.flatnonzero(gone[LOCAL])} | {1, 2, 3} == {1, 2, 3}
    found[LOCAL][edges.source == 0] = 1e-9
    gone = pruning(c, found, c.n_edges - 1, structured=True).remove
    assert gone[LOCAL].tolist() == (edges.source == 0).tolist()


def test_what_cannot_be_is_refused() -> None:
    c, task, batches = trained()
    with pytest.raises(ConnectomeError, match=r"criterion must be among activity, .*; found 'size'"):
        saliency("size", c, task, batches, rng())
    with pytest.raises(ConnectomeError, match=r"batches must be one or more"):
        saliency("taylor", c, task, [], rng())
    with pytest.raises(ConnectomeError, match=r"edges must be 0 or more; found -1"):
        pruning(c, {}, -1, structured=False)
    with pytest.raises(ConnectomeError, match=r"must have one value for each edge"):
        pruning(c, {IN: np.ones(3)}, 1, structured=False)
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(ConnectomeError, match=r"must be finite and 0 or more"):
            pruning(c, {OUT: np.full(len(c.edges[OUT]), bad)}, 1, structured=False)
    motor = Motor()
    body = birth(None, motor, Anatomy(neurons=4), 1, (), rng())
    with pytest.raises(ConnectomeError, match=r"must have labels as targets.*Use taylor"):
        saliency("obd", body, motor, [motor.batch(rng(), 2)], rng())


def test_no_saliency_no_edit() -> None:
    c, *_ = trained()
    for structured in (False, True):
        assert c.apply(pruning(c, {}, 0, structured=structured)).digest() == c.digest()
