"""Adaptive memory momentum: its step minimises its model of the loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from connectome import EdgeKey, EdgeSet
from connectome.learning.learning_rule import State, Update
from connectome.mechanisms.memory_momentum import MemoryMomentum, momentum

KEY = EdgeKey("a", "long_range", "b")


def update_of(gradient: torch.Tensor, rate_pa: float = 0.1, number: int = 1) -> Update:
    n = len(gradient)
    edges = EdgeSet.from_arrays(KEY, np.arange(n), np.zeros(n, int), 1.0, n_source=n, n_target=1, dt_ms=1.0)
    sign, pair = torch.zeros(n, dtype=torch.int8), np.arange(n, dtype=np.uint64)
    return Update(KEY, edges, torch.ones(n), gradient, sign, pair, rate_pa, number)


def begun(rule: MemoryMomentum, n: int) -> State:
    return {name: torch.zeros(() if name in rule.one_each else n) for name in rule.keeps}


def model(y: Any, d: Any, g: Any, unit: Any, eta: float, lam: float) -> float:
    """What the step is to minimise, f = 0."""
    m = eta * ((unit * g * d).sum() - (unit * d * d).sum())
    near = (y**2 / unit).sum() + lam * ((y + eta * unit * d) ** 2 / unit).sum()
    return float(max((g * y).sum(), m + (d * y).sum()) + near / (2 * eta))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6), eta=st.sampled_from([0.01, 0.3, 4.0]), lam=st.sampled_from([0.0, 0.1, 2.0]),
    size=st.sampled_from([0.2, 1.0, 5.0]),
)  # fmt: skip
def test_the_step_minimises_the_model(seed: int, eta: float, lam: float, size: float) -> None:
    """Against a solver that has the higher plane as a variable of its own."""
    rng = np.random.default_rng(seed)
    d, g, unit = rng.normal(size=4) * size, rng.normal(size=4), rng.uniform(0.5, 2, 4)
    beta = momentum(torch.from_numpy(d), torch.from_numpy(g), torch.from_numpy(unit), lam)
    ours = -eta * unit * ((beta + lam) * d + (1 - beta) * g) / (1 + lam)
    m = eta * ((unit * g * d).sum() - (unit * d * d).sum())

    def objective(x: Any) -> float:
        return float(
            x[0] + ((x[1:] ** 2 / unit).sum() + lam * ((x[1:] + eta * unit * d) ** 2 / unit).sum()) / (2 * eta)
        )

    above = [
        {"type": "ineq", "fun": lambda x: x[0] - (g * x[1:]).sum()},
        {"type": "ineq", "fun": lambda x: x[0] - m - (d * x[1:]).sum()},
    ]
    start = np.concatenate([[model(np.zeros(4), d, g, unit, eta, lam)], np.zeros(4)])
    best = minimize(objective, start, constraints=above, method="SLSQP", options={"ftol": 1e-14, "maxiter": 500}).fun
    value = model(ours, d, g, unit, eta, lam)
    assert value <= best + 1e-8 * max(1.0, abs(best))
    for _ in range(50):
        assert value <= model(ours + rng.normal(size=4) * 1e-3 * eta, d, g, unit, eta, lam) + 1e-12


def test_the_first_step_is_that_of_the_signs_and_a_direction_that_is_the_gradient_stays() -> None:
    rule, gradient = MemoryMomentum(), torch.tensor([3.0, -0.2, 1e-4])
    state = begun(rule, 3)
    torch.testing.assert_close(rule(update_of(gradient), gradient, state), -0.1 * gradient.sign(), rtol=1e-3, atol=0)
    rule(update_of(gradient, number=2), gradient, state)
    assert float(state["memory_beta"]) == 1
    torch.testing.assert_close(state["memory_direction"], gradient)
    assert float(state["memory_step"]) == 2


def test_what_is_remembered_is_mixed_by_beta_and_lam() -> None:
    """Where the memory is far longer than the gradient it counts for nothing but lam."""
    rule = MemoryMomentum(lam=0.5)
    state = begun(rule, 2)
    first, then = torch.tensor([5.0, 5.0]), torch.tensor([0.1, -0.1])
    rule(update_of(first), first, state)
    rule(update_of(then, number=2), then, state)
    assert float(state["memory_beta"]) == 0
    torch.testing.assert_close(state["memory_direction"], (0.5 * first + then) / 1.5)


@pytest.mark.parametrize("lam", [0.0, 0.1])
def test_it_comes_to_rest_on_a_quadratic_loss(lam: float) -> None:
    """Condition 100, with a rate that falls."""
    scale = torch.logspace(0, 2, 20)
    weight, rule = torch.ones(20), MemoryMomentum(lam=lam)
    state = begun(rule, 20)
    for number in range(1, 401):
        gradient = scale * weight
        weight = weight + rule(update_of(gradient, 0.05 * (1 - number / 401), number), gradient, state)
    assert float((scale * weight.square()).sum()) < 1e-4


def test_beta_does_not_depend_on_threads() -> None:
    """Where torch's sums on two threads have another last bit."""
    n, before = 100_000, torch.get_num_threads()
    first, then = (torch.randn(n, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in (1, 2))
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(momentum(0.3 * then, 0.2 * first + 0.3 * then, torch.ones(n), 0.1))
    torch.set_num_threads(before)
    assert found[0] == found[1] < 1
