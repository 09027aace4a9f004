"""Spikes over edges by sparse matrices: sums and gradients of any order are those of the dense matrix, and memory does
not grow with edges times samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from connectome import Connectome, EdgeSet, Region
from connectome.graph.flat import FlatNetwork, flatten
from connectome.simulate.torch_delivery import Delivery

N, E, DELAYS = 5, 60, (1, 3, 4)


@pytest.fixture(scope="module")
def flat() -> FlatNetwork:
    """Sixty edges between five neurons, so many of them parallel, at three delays."""
    rng = np.random.default_rng(0)
    edges = EdgeSet.from_arrays(
        ("a", "local", "a"), rng.integers(0, N, E), rng.integers(0, N, E), 1.0, n_source=N, n_target=N, dt_ms=1.0,
        delay_ms=rng.choice(DELAYS, E).astype(float),
    )  # fmt: skip
    return flatten(Connectome.of([Region("a", N)], [edges], dt_ms=1.0))


def drawn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def dense(flat: FlatNetwork, weight: Tensor, past: tuple[Tensor, ...], block: Tensor | None = None) -> Tensor:
    """(2 N, B), edge by edge."""
    source = np.repeat(np.arange(N), np.diff(flat.indptr))
    rows = [torch.zeros(past[0].shape[1], dtype=torch.float64)] * (2 * N)
    for e in range(E):
        sent = past[int(flat.delay[e]) - 1][int(source[e])]
        place = int(flat.target[e]) + N * int(weight[e] < 0)
        rows[place] = rows[place] + weight[e] * (sent.detach() if block is not None and block[e] else sent)
    return torch.stack(rows)


def case() -> tuple[Tensor, tuple[Tensor, ...]]:
    weight = drawn(E).requires_grad_()
    return weight, tuple(drawn(N, 3, seed=s).requires_grad_() for s in range(2, 2 + max(DELAYS)))


@pytest.mark.parametrize("blocked", [False, True])
def test_sums_and_gradients_are_the_dense_matrix_s(flat: FlatNetwork, blocked: bool) -> None:
    """The second derivatives, too, of what weights and spikes do together."""
    block = drawn(E, seed=9) > 0 if blocked else None
    found = []
    for make in (lambda w, past: Delivery(flat, w, block)(past), lambda w, past: dense(flat, w, past, block)):
        weight, past = case()
        leaves = [weight, *(past[k - 1] for k in DELAYS)]
        arrived = make(weight, past)
        first = torch.autograd.grad(arrived.pow(3).sum(), leaves, create_graph=True)
        second = torch.autograd.grad(sum((g.sin().sum() for g in first), torch.zeros(())), leaves)
        found.append([arrived, *first, *second])
    for ours, wanted in zip(*found, strict=True):
        assert float(wanted.detach().abs().max()) > 0.1
        torch.testing.assert_close(ours, wanted, rtol=1e-10, atol=1e-10)


def test_frozen_weights_and_spikes_have_no_gradient(flat: FlatNetwork) -> None:
    weight, past = case()
    frozen = tuple(x.detach() for x in past)
    Delivery(flat, weight)(frozen).sum().backward()
    Delivery(flat, weight.detach())(past).sum().backward()
    assert weight.grad is not None
    assert all(x.grad is None for x in frozen)
    assert [x.grad is not None for x in past] == [k in DELAYS for k in range(1, 5)]


def test_what_is_kept_for_the_gradient_does_not_grow_with_edges_times_samples(flat: FlatNetwork) -> None:
    """Nor does a later step keep the edges again."""
    for batch in (1, 50):
        kept: list[int] = []

        def note(x: Tensor, kept: list[int] = kept) -> Tensor:
            kept.append(x.numel())
            return x

        weight, past = drawn(E).requires_grad_(), tuple(drawn(N, batch, seed=s).requires_grad_() for s in range(4))
        deliver = Delivery(flat, weight)
        with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
            deliver(past).sum()
        assert sum(kept) == E + len(DELAYS) * N * batch


def test_no_samples(flat: FlatNetwork) -> None:
    arrived: Any = Delivery(flat, drawn(E))(tuple(drawn(N, 0) for _ in range(4)))
    assert arrived.shape == (2 * N, 0)
