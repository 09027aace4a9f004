"""Synapses of memory devices: their curve, their pulses, their states."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from connectome.graph.parts import EdgeKey
from connectome.learning.learning_rule import State, Update
from connectome.mechanisms.devices import Devices

KEY = EdgeKey("a", "local", "b")
nus = st.sampled_from([0.0, 0.5, 3.0, 5.0])


def update(weight: Tensor, number: int = 1, name: str = "weight") -> Update:
    n = len(weight)
    pair, none = np.arange(n, dtype=np.uint64), torch.zeros(n)
    return Update(KEY, None, weight, none, none.to(torch.int8), pair, 1.0, number, (3,), name=name)


def empty(n: int, full: float = 0.0) -> State:
    return {"device_up": torch.zeros(n), "device_down": torch.zeros(n), "device_full": torch.tensor(full)}


def learn(rule: Devices, weight: Tensor, steps: Tensor, state: State) -> Tensor:
    for number, step in enumerate(steps, 1):
        weight = weight + rule(update(weight, number), step.expand_as(weight), state)
    return weight


@given(nus, st.integers(2, 300))
def test_the_curve_and_its_inverse(nu: float, states: int) -> None:
    rule = Devices(states, nu)
    p = torch.linspace(0, 1, states + 1, dtype=torch.float64)
    g = rule.conductance(p)
    expected = p if nu == 0 else (1 - (-nu * p).exp()) / (1 - np.exp(-nu))
    torch.testing.assert_close(g, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(rule.pulses(g), p, rtol=1e-9, atol=1e-9)
    assert (rule.conductance(p[1:]) > rule.conductance(p[:-1])).all()


@given(nus, st.integers(4, 200))
def test_as_many_pulses_as_states_lead_to_the_top(nu: float, states: int) -> None:
    """Each a step of one state; the last is at the top, from where the weight is written anew: it is the same."""
    rule, full = Devices(states, nu), 8.0
    state, weight = empty(1, full), torch.zeros(1)
    for number in range(1, states + 1):
        weight = weight + rule(update(weight, number), torch.full((1,), full / states), state)
        expected = full * rule.conductance(torch.tensor(number / states))
        assert float(weight) == pytest.approx(float(expected), rel=1e-5)
    assert float(state["device_up"]) == 1
    assert float(state["device_down"]) == 0


@pytest.mark.parametrize("one_way", [True, False])
def test_a_linear_device_takes_the_step_on_average(one_way: bool) -> None:
    rule, n, full = Devices(64, one_way=one_way, most=10), 20000, 6.4
    state = empty(n, full)
    state["device_up"] += 0.5
    weight = torch.full((n,), 3.2)
    if not one_way:
        state["device_down"] += 0.25
        weight -= 1.6
    for step in (0.37, -0.22):
        change = rule(update(weight), torch.full((n,), step), {k: v.clone() for k, v in state.items()})
        assert float(change.mean()) == pytest.approx(step, abs=4 * 0.1 / n**0.5)
        assert float(change.std()) > 0.01


@given(nus, st.integers(4, 64), st.integers(0, 10**6))
def test_weights_of_one_way_devices_are_differences_of_states(nu: float, states: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    rule = Devices(states, nu)
    weight, state = torch.randn(50, generator=rng), empty(50)
    for number in range(1, 30):
        weight = weight + rule(update(weight, number), torch.randn(50, generator=rng) * 0.3, state)
    for name in ("device_up", "device_down"):
        pulses = rule.pulses(state[name]) * states
        torch.testing.assert_close(pulses, pulses.round(), rtol=0, atol=1e-3)
    made = state["device_full"] * (state["device_up"] - state["device_down"])
    torch.testing.assert_close(weight, made, rtol=0, atol=1e-5)
    assert (weight.abs() <= state["device_full"] * (1 + 1e-6)).all()


def test_at_the_top_both_are_erased_and_the_difference_is_kept() -> None:
    rule, full = Devices(10), 10.0
    state = empty(2, full)
    state["device_up"] += torch.tensor([0.9, 0.9])
    state["device_down"] += torch.tensor([0.3, 0.3])
    weight = torch.tensor([6.0, 6.0])
    change = rule(update(weight), torch.tensor([1.0, -1.0]), state)
    torch.testing.assert_close(change, torch.tensor([1.0, -1.0]))
    torch.testing.assert_close(state["device_up"], torch.tensor([0.7, 0.9]))
    torch.testing.assert_close(state["device_down"], torch.tensor([0.0, 0.4]))


def test_an_update_has_so_many_pulses_at_most() -> None:
    rule = Devices(100, most=3)
    state = empty(1, 1.0)
    assert float(rule(update(torch.zeros(1)), torch.ones(1), state)) == pytest.approx(0.03)


def test_two_way_devices_move_both_by_half() -> None:
    rule, full = Devices(10, one_way=False), 10.0
    state = empty(1, full)
    state["device_up"] += 0.5
    state["device_down"] += 0.2
    assert float(rule(update(torch.tensor([3.0])), torch.tensor([2.0]), state)) == pytest.approx(2.0)
    assert float(state["device_up"]) == pytest.approx(0.6)
    assert float(state["device_down"]) == pytest.approx(0.1)


def test_two_way_devices_begin_about_the_middle() -> None:
    """So that both can rise and fall."""
    state = empty(2, 10.0)
    weight = torch.tensor([4.0, -2.0])
    assert Devices(10, one_way=False)(update(weight), torch.zeros(2), state).abs().max() < 1e-5
    torch.testing.assert_close(state["device_up"], torch.tensor([0.7, 0.4]))
    torch.testing.assert_close(state["device_down"], torch.tensor([0.3, 0.6]))


def test_curved_devices_fall_along_the_mirrored_curve() -> None:
    """A pulse down from G is one up from 1 - G: the first from the top is as long as the first from the bottom."""
    rule, full = Devices(10, 3.0, one_way=False), 1.0
    state = empty(1, full)
    state["device_up"] += 1.0
    first = float(rule.conductance(torch.tensor(0.1)))
    change = rule(update(torch.ones(1)), torch.full((1,), -0.2), state)
    assert float(state["device_up"]) == pytest.approx(1 - first, rel=1e-5)
    assert float(state["device_down"]) == pytest.approx(first, rel=1e-5)
    assert float(change) == pytest.approx(-2 * first, rel=1e-5)


def test_what_else_changes_a_weight_is_written_to_the_nearest_state() -> None:
    rule = Devices(10)
    state = empty(4, 1.0)
    state["device_up"] += 0.5  # only the first is what its device says
    state["device_down"] += 0.2
    weight = torch.tensor([0.3, 0.0, -0.44, 0.47])
    change = rule(update(weight), torch.zeros(4), state)
    torch.testing.assert_close(weight + change, torch.tensor([0.3, 0.0, -0.4, 0.5]))
    torch.testing.assert_close(state["device_up"], torch.tensor([0.5, 0.0, 0.0, 0.5]))
    torch.testing.assert_close(state["device_down"], torch.tensor([0.2, 0.0, 0.4, 0.0]))


def test_the_range_is_of_the_weights_at_first() -> None:
    state = empty(2)
    Devices(reach=3.0)(update(torch.tensor([3.0, -4.0])), torch.zeros(2), state)
    assert float(state["device_full"]) == pytest.approx(3 * 12.5**0.5)
    Devices(reach=3.0)(update(torch.tensor([30.0, -40.0])), torch.zeros(2), state)
    assert float(state["device_full"]) == pytest.approx(3 * 12.5**0.5)


def test_devices_differ_by_their_gain_and_always_by_the_same() -> None:
    n = 5000
    rule = Devices(100, spread=0.1, most=100)
    changes = [rule(update(torch.zeros(n), number), torch.full((n,), 0.5), empty(n, 1.0)) for number in (1, 2)]
    assert float(changes[0].std()) == pytest.approx(0.05, rel=0.05)
    assert torch.equal(*changes)
    assert not torch.equal(changes[0], rule(update(torch.zeros(n)), torch.full((n,), -0.5), empty(n, 1.0)).neg())


def test_what_is_no_weight_takes_its_step() -> None:
    change = torch.tensor([0.123])
    assert Devices()(update(torch.ones(1), name="log_gain"), change, empty(1)) is change
