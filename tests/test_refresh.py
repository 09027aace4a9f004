"""Refresh learning: the identity on a quadratic, whose turn it is, noise, the Fisher information."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from connectome.development.birth import birth
from connectome.graph.parts import EdgeKey
from connectome.learning.learning_rule import State, Update
from connectome.learning.optimisers import Adam
from connectome.mechanisms.ewc import Ewc
from connectome.mechanisms.refresh import Refresh
from tests.test_development import ANATOMY, toys

KEY = EdgeKey("a", "local", "a")


def update_of(weight: Tensor, gradient: Tensor, number: int = 1) -> Update:
    n = len(weight)
    sign, pair = torch.zeros(n, dtype=torch.int8), np.arange(n, dtype=np.uint64)
    return Update(KEY, None, weight, gradient, sign, pair, 0.1, number, (1, 2))


@given(st.integers(0, 2**32), st.integers(2, 9), st.floats(1e-4, 0.5), st.floats(1e-3, 1.0), st.booleans())
def test_a_step_descends_the_loss_and_half_the_squared_gradient(
    seed: int, n: int, delta: float, eta: float, known: bool
) -> None:
    """theta + gamma F^-1 g - eta grad(L + gamma / 2 g' F^-1 g), exactly on a quadratic."""
    rng = torch.Generator().manual_seed(seed)
    a, b, theta = (torch.randn(shape, generator=rng, dtype=torch.float64) for shape in ((n, n), (n,), (n,)))
    fisher = torch.rand(n, generator=rng, dtype=torch.float64) * known
    hessian = a @ a.T

    def gradient(w: Tensor) -> Tensor:
        return hessian @ w + b

    rule, g = Refresh(delta=delta), gradient(theta)
    moved = theta + rule.unlearning(update_of(theta, g), g, {"refresh_fisher": fisher})
    found = moved - eta * gradient(moved)
    gamma = delta * theta.norm() / g.norm()
    metric = 1 + fisher / fisher.mean() if known else torch.ones(n, dtype=torch.float64)

    w = theta.clone().requires_grad_()
    regularised = w @ hessian @ w / 2 + b @ w + gamma / 2 * (gradient(w).square() / metric).sum()
    expected = theta + gamma * g / metric - eta * torch.autograd.grad(regularised, w)[0]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_torch_has_one_thread_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no bit of its sums depends on how many there are; then it has as many as before."""
    metric, before, seen = Refresh.metric, torch.get_num_threads(), []

    def watched(rule: Refresh, state: State) -> Tensor:
        seen.append(torch.get_num_threads())
        return metric(rule, state)

    monkeypatch.setattr(Refresh, "metric", watched)
    torch.set_num_threads(2)
    Refresh().unlearning(update_of(torch.ones(3), torch.ones(3)), torch.ones(3), {"refresh_fisher": torch.ones(3)})
    after = torch.get_num_threads()
    torch.set_num_threads(before)
    assert seen == [1]
    assert after == 2


def state_of(rule: Refresh, n: int) -> State:
    return {name: torch.zeros(() if name in rule.one_each else n) for name in (*rule.keeps, *rule.remembers)}


def test_it_learns_as_adam_does_after_so_many_steps_that_unlearn() -> None:
    rule, adam, n = Refresh(delta=0.01, unlearn=2), Adam(), 5
    state, plain = state_of(rule, n), state_of(rule, n)
    rng = torch.Generator().manual_seed(0)
    for number in range(1, 10):
        weight, gradient = torch.randn(n, generator=rng), torch.randn(n, generator=rng)
        update = update_of(weight, gradient, number)
        change = rule(update, gradient, state)
        if number % 3:
            torch.testing.assert_close(change, 0.01 * weight.norm() * gradient / gradient.norm())
        else:
            assert torch.equal(change, adam(update, gradient, plain))
    assert float(state["adam_step"]) == 3
    always, alone = Refresh(unlearn=0)(update, gradient, state_of(rule, n)), adam(update, gradient, state_of(rule, n))
    assert torch.equal(always, alone)
    nothing = torch.zeros(n)
    assert not rule(update_of(weight, nothing), nothing, state).any()


def test_noise_has_the_temperature() -> None:
    n, rule = 20_000, Refresh(delta=0.01, temperature=0.5)
    weight, gradient = torch.ones(n), torch.full((n,), 2.0)
    fisher = torch.arange(n) % 2 * 2.0
    noise = rule.unlearning(update_of(weight, gradient), gradient, {"refresh_fisher": fisher})
    gamma = 0.01 * 1 / 2
    for part, metric in ((fisher == 0, 1.0), (fisher == 2, 3.0)):
        assert float(noise[part].mean()) == pytest.approx(gamma * 2 / metric, abs=4 * (gamma / metric / (n / 2)) ** 0.5)
        assert float(noise[part].var()) == pytest.approx(gamma / metric, rel=0.05)


def test_the_fisher_information_of_the_latest_task_counts_most() -> None:
    task = toys()[0]
    born = birth(None, task, ANATOMY, 1, (), np.random.default_rng(0))
    rule = Refresh(samples=5, decay=0.25)
    once = born.apply(rule.learnt(born, task, np.random.default_rng(1)))
    twice = once.apply(replace(rule, samples=4).learnt(once, task, np.random.default_rng(2)))
    first = Ewc(samples=5).learnt(born, task, np.random.default_rng(1)).state
    then = Ewc(samples=4).learnt(born, task, np.random.default_rng(2)).state
    for key, edges in twice.edges.items():
        assert first[key]["ewc_fisher"].any()
        np.testing.assert_array_equal(once.edges[key].state["refresh_fisher"], first[key]["ewc_fisher"])
        expected = 0.25 * first[key]["ewc_fisher"] + then[key]["ewc_fisher"]
        np.testing.assert_allclose(edges.state["refresh_fisher"], expected, rtol=1e-6)
