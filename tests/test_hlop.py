"""Hebbian orthogonal projection: Oja's rule, the projected step, what is kept, and how its trial judges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from connectome import ConnectomeError, EdgeKey, EdgeSet
from connectome.learning.learning_rule import State, Update
from connectome.mechanisms.hlop import Hlop, oja, rows_of, synaptic_traces
from connectome.mechanisms.projection import outside
from sims.studies.mechanisms import hlop as trial
from sims.studies.mechanisms import one_head

KEY = EdgeKey("a", "long_range", "b")
N, M = 12, 7


def edges_of(mask: Any) -> EdgeSet:
    source, target = np.nonzero(mask)
    return EdgeSet.from_arrays(KEY, source, target, n_source=N, n_target=M, dt_ms=1.0)


SETS = {
    "dense": edges_of(np.ones((N, M))),
    "some sources without edges": edges_of(np.arange(N)[:, None] * np.ones(M) > 2),
    "sparse": edges_of(np.random.default_rng(3).random((N, M)) < 0.6),
    "pairs joined twice": edges_of(np.ones((N, M))).join(edges_of(np.eye(N, M))),
}


def traces_in(rank: int, samples: int = 400, seed: int = 0) -> Tensor:
    """(S, N) in a subspace of this rank, with very different variances."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(N, rank)))[0].T
    return torch.from_numpy(rng.normal(size=(samples, rank)) * np.geomspace(3, 0.7, rank) @ axes)


def spikes_like(seed: int, batch: int = 16, steps: int = 10) -> Tensor:
    """(B, T, N) of which the units of each half have one rate in a sample."""
    rng = np.random.default_rng(seed)
    rate = rng.random((batch, 1, 2)).repeat(N // 2, 2) * 0.8
    return torch.from_numpy((rng.random((batch, steps, N)) < rate).astype(np.float32))


def begin(rule: Hlop, edges: EdgeSet) -> State:
    return {n: torch.zeros(() if n in rule.one_each else len(edges)) for n in rule.remembers}


def update_of(edges: EdgeSet, number: int, spikes: Tensor, weight: Tensor | None = None, seed: int = 1) -> Update:
    n = len(edges) if weight is None else len(weight)
    pair, sign = np.arange(n, dtype=np.uint64), torch.zeros(n, dtype=torch.int8)
    weight = torch.zeros(n) if weight is None else weight
    return Update(KEY, edges, weight, torch.zeros(n), sign, pair, 1.0, number, (seed,), spikes)


def stage(rule: Hlop, edges: EdgeSet, state: State, updates: int = 80, seed: int = 1) -> None:
    for number in range(1, updates + 1):
        rule(update_of(edges, number, spikes_like(100 * seed + number), seed=seed), torch.zeros(len(edges)), state)


def test_traces_are_sums_of_what_is_left_of_spikes() -> None:
    spikes = spikes_like(0)
    found = synaptic_traces(spikes, 4.0)
    t = np.arange(spikes.shape[1])
    left = np.exp(-(t[:, None] - t) / 4.0) * (t[:, None] >= t)
    np.testing.assert_allclose(found.numpy(), np.einsum("ts,bsn->btn", left, spikes.numpy()), atol=1e-12)
    assert spikes.max() == 1, "the spikes themselves have changed"


def test_ojas_rule_finds_the_principal_subspace() -> None:
    """Orthonormal rows that hold what as many principal components do."""
    x = traces_in(N)
    for rank in (1, 4):
        start = torch.linalg.qr(torch.from_numpy(np.random.default_rng(5).normal(size=(N, rank)))).Q.T
        rows = oja(start, 0, x, 0.5, 4000)
        value, vector = np.linalg.eigh((x.T @ x).numpy())
        best = vector[:, ::-1][:, :rank]
        assert (rows @ rows.T - torch.eye(rank)).abs().max() < 1e-4
        np.testing.assert_allclose((rows.T @ rows).numpy(), best @ best.T, atol=1e-3)
        assert float((x @ rows.T).square().sum()) == pytest.approx(value[::-1][:rank].sum(), rel=1e-6)


def test_one_pass_of_ojas_rule_is_as_published() -> None:
    """With traces of mean square length 1, which old rows explain in part: all rows take part in H^T y."""
    x = traces_in(N)
    rows = torch.linalg.qr(torch.from_numpy(np.random.default_rng(6).normal(size=(N, 3)))).Q.T
    old, new = rows[:2], rows[2:]
    left = x - x @ old.T @ old
    length = left.square().sum(1).mean().sqrt()
    y = x @ rows.T
    step = 0.3 * ((y[:, 2:].T @ (x - y @ rows)) / len(x)) / length**2
    torch.testing.assert_close(oja(rows, 2, x, 0.3, 1), new + step, rtol=1e-5, atol=1e-6)


def test_where_nothing_is_left_of_traces_nothing_is_learnt() -> None:
    x = traces_in(2)
    old = torch.linalg.svd(x, full_matrices=False).Vh[:2]
    new = torch.linalg.qr(torch.from_numpy(np.random.default_rng(6).normal(size=(N, 1)))).Q.T
    assert torch.equal(oja(torch.cat([old, new]), 2, x, 0.5, 5), new)


@pytest.mark.parametrize("more", [0, N])
@pytest.mark.parametrize("name", SETS)
def test_a_step_is_projected_at_each_targets_own_sources(name: str, more: int) -> None:
    """Against least squares, target by target; with all sources and orthonormal rows it is dw - H^T H dw. Also with
    more rows than a target has edges, which span no more."""
    edges, rng = SETS[name], np.random.default_rng(8)
    rows = np.linalg.qr(rng.normal(size=(N, 3)))[0].T
    rows = np.concatenate([rows, rng.normal(size=(more, 3)) @ rows])
    change = rng.normal(size=len(edges))
    expected = np.empty(len(edges))
    for j in range(M):
        here = edges.target == j
        a = rows[:, edges.source[here]]
        expected[here] = change[here] - a.T @ np.linalg.lstsq(a.T, change[here], rcond=None)[0]
    found = outside(torch.from_numpy(rows), torch.from_numpy(change), edges).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-5)
    if name == "dense" and not more:
        matrix = change.reshape(N, M)
        np.testing.assert_allclose(found.reshape(N, M), matrix - rows.T @ rows @ matrix, atol=2e-5)


def test_a_target_with_fewer_sources_than_rows_keeps_still() -> None:
    edges = edges_of(np.arange(N)[:, None] * np.ones(M) < 3)
    rows = torch.linalg.qr(torch.from_numpy(np.random.default_rng(9).normal(size=(N, 6)))).Q.T
    assert outside(rows, torch.ones(len(edges)), edges).abs().max() < 1e-4


@pytest.mark.parametrize("name", SETS)
def test_what_arrives_from_earlier_traces_stays(name: str) -> None:
    """All directions of the first stage's traces in H: a later step moves what they bring by less than 1 % of what it
    would have."""
    edges, rule = SETS[name], Hlop(first=0.25, more=0.2, rows=8)
    state = begin(rule, edges)
    stage(rule, edges, state)
    first = rows_of(edges, state)
    assert len(first) == round(0.25 * np.unique(edges.source).size)
    assert (first @ first.T - torch.eye(len(first))).abs().max() < 0.01
    raw = torch.from_numpy(np.random.default_rng(2).normal(size=len(edges)).astype(np.float32))
    step = rule(update_of(edges, 1, spikes_like(7), seed=2), raw, state)
    seen = first.numpy()  # traces that lie in the rows

    def arrives(change: Tensor) -> Any:
        found = np.zeros((len(seen), M))
        for j in range(M):
            here = edges.target == j
            found[:, j] = seen[:, edges.source[here]] @ change.numpy()[here]
        return np.abs(found).max()

    assert arrives(step) < 0.01 * arrives(raw)
    assert step.norm() > 0.3 * raw.norm()


def test_rows_of_earlier_stages_stay_and_new_ones_come() -> None:
    edges, rule = SETS["dense"], Hlop(first=0.25, more=0.17, rows=6)
    state = begin(rule, edges)
    counts = []
    kept = torch.zeros((0, N), dtype=torch.float64)
    for seed in range(1, 5):
        stage(rule, edges, state, updates=4, seed=seed)
        rows = rows_of(edges, state)
        assert torch.equal(rows[: len(kept)], kept)
        assert (rows[len(kept) :] @ kept.T).abs().max() < 1e-5 if len(kept) and len(rows) > len(kept) else True
        assert int(state["hlop_old"]) == len(kept)
        kept = rows
        counts.append(len(rows))
    assert counts == [3, 5, 6, 6], "no more than there is room for"


def test_in_the_first_stage_a_step_is_as_it_was_and_rows_of_rate_0_stay() -> None:
    edges, rule = SETS["sparse"], Hlop(first=0.25, rate=0.0)
    state, change = begin(rule, edges), torch.randn(len(edges), generator=torch.Generator().manual_seed(1))
    assert torch.equal(rule(update_of(edges, 1, spikes_like(1)), change, state), change)
    rows = rows_of(edges, state)
    assert (rows @ rows.T - torch.eye(len(rows))).abs().max() < 1e-6
    rule(update_of(edges, 2, spikes_like(2)), change, state)
    assert torch.equal(rows_of(edges, state), rows)


def test_rows_learn_in_one_of_so_many_updates_and_steps_are_projected_in_all() -> None:
    edges, often, seldom = SETS["sparse"], Hlop(first=0.25, more=0.2), Hlop(first=0.25, more=0.2, every=2)
    state = begin(often, edges)
    stage(often, edges, state, updates=3)
    other, change = {n: v.clone() for n, v in state.items()}, torch.ones(len(edges))
    for k in (1, 2):
        update = update_of(edges, k, spikes_like(k))
        step = often(update, change, state)
        assert torch.equal(seldom(update, change, other), step)
        assert not torch.equal(step, change)
    assert not torch.equal(rows_of(edges, state), rows_of(edges, other)), "the second update was not for learning"


def test_new_edges_have_what_others_of_their_source_have() -> None:
    edges, rule = SETS["sparse"], Hlop(first=0.25)
    state = begin(rule, edges)
    stage(rule, edges, state, updates=3)
    rows = rows_of(edges, state)
    lost = np.zeros(len(edges), bool)
    lost[edges.indptr[:-1][np.diff(edges.indptr) > 1]] = True  # one of each source that has another
    later = {n: v if v.ndim == 0 else torch.where(torch.from_numpy(lost), 0.0, v) for n, v in state.items()}
    assert torch.equal(rows_of(edges, later), rows)
    Hlop(first=0.25, rate=0.0)(update_of(edges, 5, spikes_like(1)), torch.zeros(len(edges)), later)
    for name, value in state.items():
        assert torch.equal(later[name], value), name


def test_torch_has_one_thread_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no bit of a sum or a factorisation depends on how many there are; then it has as many as before."""
    edges, rule, before, seen = SETS["dense"], Hlop(first=0.25), torch.get_num_threads(), []

    def watched(*given: Any) -> Tensor:
        seen.append(torch.get_num_threads())
        return oja(*given)

    monkeypatch.setattr("connectome.mechanisms.hlop.oja", watched)
    torch.set_num_threads(2)
    rule(update_of(edges, 1, spikes_like(1)), torch.zeros(len(edges)), begin(rule, edges))
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert seen == [1]
    assert after == 2


def test_shared_weights_are_refused_and_other_parameters_left_alone() -> None:
    edges, rule = SETS["dense"], Hlop()
    with pytest.raises(ConnectomeError, match="learning must have hlop for sets only whose edges have own weights"):
        rule(update_of(edges, 1, spikes_like(1), weight=torch.zeros(5)), torch.zeros(5), begin(rule, edges))
    change = torch.ones(5)
    gain = update_of(edges, 1, spikes_like(1), weight=torch.zeros(5))._replace(name="gain")
    assert rule(gain, change, begin(rule, edges)) is change


def test_components_are_what_a_decomposition_gives() -> None:
    x = traces_in(N).numpy()
    held = np.linalg.svd(x, full_matrices=False)[2]
    found = one_head.components(x, 3, held[:2])
    np.testing.assert_allclose(np.abs(found @ held[2:5].T), np.eye(3), atol=1e-6)


def test_scores_are_summed_up() -> None:
    scores = np.array([[0.9, 0.1, 0.1], [0.7, 0.8, 0.1], [0.6, 0.5, 0.9]])
    found = one_head.summary(scores)
    assert found["accuracy"] == pytest.approx(2.0 / 3)
    assert found["change"] == pytest.approx((-0.3 - 0.3) / 2)
    assert found["new tasks"] == pytest.approx(0.85)


def values(**ours: float) -> dict[str, dict[str, Any]]:
    spread = np.array([-0.001, 0.0, 0.001, 0.0, 0.0])
    best = {"accuracy": 0.9, "change": -0.02, "new tasks": 0.9, "orthonormal to": 0.002, "captured": 0.98} | ours
    other = {"accuracy": 0.7, "change": -0.3, "new tasks": 0.91}
    return {c: {m: x + spread for m, x in (best if "HLOP" in c else other).items()} for c in trial.hlop.conditions}


def test_the_trial_judges_each_part() -> None:
    assert all(check.holds for check in trial.hlop.check(values()))
    worse = {"change": -0.031, "new tasks": 0.889, "orthonormal to": 0.011, "captured": 0.94, "accuracy": 0.7}
    for part, value in worse.items():
        failed = [c.claim for c in trial.hlop.check(values(**{part: value})) if not c.holds]
        assert len(failed) == (6 if part == "accuracy" else 1), (part, failed)
    kept = values()
    kept["sequential"]["change"] = np.full(5, -0.24)
    assert not trial.hlop.check(kept)[0].holds, "where nothing is forgotten nothing can be shown"
