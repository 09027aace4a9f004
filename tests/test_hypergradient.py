"""Hypergradient descent: closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from connectome.graph.parts import EdgeKey
from connectome.learning.learning_rule import State, Update
from connectome.mechanisms.hypergradient import Hypergradient


def update(gradient: torch.Tensor) -> Update:
    none = torch.zeros(len(gradient))
    pair = np.arange(len(gradient), dtype=np.uint64)
    return Update(EdgeKey("a", "local", "b"), None, none, gradient, none.to(torch.int8), pair, 0.5, 1)


def fresh(n: int) -> State:
    return {"hyper_step": torch.zeros(n), "hyper_log": torch.zeros(())}


def test_steps_that_go_on_grow_and_those_that_turn_back_shrink() -> None:
    rule, state, gradient = Hypergradient(0.1), fresh(3), torch.tensor([3.0, 0.0, 4.0])
    step = -0.5 * gradient
    sizes = [float(rule(update(gradient), step, state).norm()) for _ in range(4)]
    assert sizes == pytest.approx([2.5 * math.exp(0.1 * k) for k in range(4)])
    after = rule(update(-gradient), -step, state)
    torch.testing.assert_close(after, -step * math.exp(0.2))
    aside = torch.tensor([-4.0, 0.0, 3.0])
    torch.testing.assert_close(rule(update(aside), -aside, state), -aside * math.exp(0.2))


def test_the_first_step_and_steps_of_nothing_change_no_rate() -> None:
    rule, state = Hypergradient(), fresh(2)
    for _ in range(3):
        assert not rule(update(torch.zeros(2)), torch.zeros(2), state).any()
    change = torch.tensor([1.0, 2.0])
    assert torch.equal(rule(update(torch.ones(2)), change, state), change)


def test_the_factor_is_bounded() -> None:
    rule, state, gradient = Hypergradient(0.5, most=3.0), fresh(1), torch.ones(1)
    for sign in (-1.0, 1.0):
        for number in range(20):
            size = float(rule(update(gradient), torch.full((1,), sign), state).abs()) if number else 1.0
        assert size == pytest.approx(3.0 if sign < 0 else 1 / 3, rel=1e-5)


def test_the_rate_goes_down_its_own_gradient() -> None:
    """Of a square the loss after the second step falls with m where m rises: by finite differences."""
    start, curvature = torch.tensor([1.0, -2.0]), torch.tensor([1.0, 3.0])

    def loss(weight: torch.Tensor) -> float:
        return float((curvature * weight.square()).sum() / 2)

    for rate in (0.1, 0.6):
        rule, state = Hypergradient(0.05), fresh(2)
        gradient = curvature * start
        weight = start + rule(update(gradient), -rate * gradient, state)
        slope = (loss(start - rate * 1.001 * gradient) - loss(start - rate * 0.999 * gradient)) / (0.002 * rate)
        rule(update(curvature * weight), -rate * curvature * weight, state)
        assert math.copysign(1, float(state["hyper_log"])) == -math.copysign(1, slope)
