"""Colour cubes: who knows where cubes are, what is shown of it in spikes, what imitation learns, the trial."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from connectome import ConnectomeError
from connectome.circuits import colour_cubes as circuit
from connectome.datasets import cube_players as players
from connectome.learning.network import SpikingNetwork
from sims.studies.circuits import colour_cubes as trial

LEVELS: list[Any] = ["trivial", "medium", "extreme"]


def found(level: Any, *, rewrites: bool) -> float:
    rng = np.random.default_rng(0)
    nearest = players.expert(level, rewrites=rewrites)
    return float(players.play(lambda seen: players.any_of(nearest(seen), rng), rng, 60, 16, level).mean())


@pytest.mark.parametrize("level", LEVELS)
def test_an_expert_comes_nearer_with_each_move(level: Any) -> None:
    """As the environment itself knows where the target is."""
    from connectome.datasets.rewriting import ColourCubes

    for seed in range(8):
        env = ColourCubes(level, size=circuit.SIZE, cubes=circuit.CUBES, targets=10**6, teleports=0.5)
        nearest, seen = players.expert(level), env.reset(seed=seed)[0]
        for _ in range(30):
            away = np.abs(env._agent - env._at[env._target])
            good = nearest(seen[None])[0]
            assert good.any() == away.any()
            assert good.sum() == (away > 0).sum()
            if good.any():
                aim, before = env._at[env._target].copy(), np.abs(env._agent - env._at[env._target]).sum()
                seen, *_ = env.step(int(good.argmax()))
                assert np.abs(env._agent - aim).sum() == before - 1
            else:
                seen, *_ = env.step(0)


def test_whoever_keeps_what_was_seen_first_finds_less_where_cubes_teleport() -> None:
    assert found("trivial", rewrites=False) == found("trivial", rewrites=True)
    for level in ("medium", "extreme"):
        assert found(level, rewrites=False) < 0.8 * found(level, rewrites=True)


def test_demonstrations_are_the_experts_with_errors() -> None:
    shown = players.demonstrations(np.random.default_rng(1), 40, 12, "medium")
    assert shown.seen.shape == (40, 12, 2 + 4 * circuit.CUBES)
    moved = np.rint(np.diff(shown.seen[:, :, :2], axis=1) * (circuit.SIZE - 1)).astype(int)
    dx, dy = moved[..., 0], moved[..., 1]
    went: circuit.Array = np.stack([dy > 0, dy < 0, dx < 0, dx > 0], 2)
    asked = shown.nearer[:, :-1].any(2)
    right = np.asarray(np.logical_and(went, shown.nearer[:, :-1]).any(2))[asked].mean()
    assert 0.75 < right < 0.92, "30 % are any move, of which about four in ten lead nearer"


def test_units_fire_for_what_is_seen() -> None:
    """Four a thing, at a rate of a half; cubes at events alone."""
    event = np.array([0, 1, 0, 1, 1, 0.5, 1, 0, 0, 1])  # at (0, 2), for the second colour; cubes at (2, 1) and (0, 0)
    later = np.array([0.5, 0, 1, 0, *np.zeros(6)])
    spikes = circuit.spikes(np.repeat(np.stack([event, later])[None], 200, 0), np.random.default_rng(0))
    mean = {
        name: of.reshape(200, 2, circuit.MOVE_STEPS, -1, 4).double().mean((0, 2, 4)).numpy()
        for name, of in spikes.items()
    }
    on = np.array([[1, 0, 0, 0, 0, 1, 0, 1], [0, 1, 0, 1, 0, 0, 1, 0]])
    np.testing.assert_allclose(mean["self"], 0.5 * on, atol=0.03)
    cubes = np.array([[0, 0, 1, 0, 1, 0, 1, 0, 0, 1, 0, 0], [0] * 12])
    np.testing.assert_allclose(mean["cubes"], 0.5 * cubes, atol=0.03)


def test_the_loss_is_of_any_move_that_leads_nearer() -> None:
    potential = torch.zeros(1, 2 * circuit.MOVE_STEPS, 4)
    potential[0, circuit.MOVE_STEPS - circuit.READ_STEPS : circuit.MOVE_STEPS, 2] = 2 * math.log(3)
    lead = circuit.leads(potential)
    np.testing.assert_allclose(lead, np.array([[[0, 0, math.log(3), 0], [0, 0, 0, 0]]]), rtol=1e-6)
    nearer = torch.tensor([[[True, False, True, False], [False] * 4]])
    assert float(circuit.imitation_loss(lead, nearer)) == pytest.approx(-math.log(4 / 6))


def test_what_was_seen_in_a_move_goes_on_to_the_next() -> None:
    """A player sees a move at a time, and comes to what one pass over all of them gives."""
    network = SpikingNetwork(circuit.cube_memory(40, 30, seed=2), threads=1)
    seen = players.demonstrations(np.random.default_rng(0), 6, 5, "trivial").seen
    rng = np.random.default_rng(4)
    move = circuit.player(network, np.random.default_rng(4))
    chosen = np.stack([move(seen[:, m]) for m in range(5)], 1)
    parts = [circuit.spikes(seen[:, m : m + 1], rng) for m in range(5)]
    with torch.no_grad():
        whole = network({name: torch.cat([part[name] for part in parts], 1) for name in parts[0]})
    np.testing.assert_array_equal(chosen, circuit.leads(whole.potential["move"]).argmax(2))


def test_imitation_finds_more() -> None:
    rng = np.random.default_rng(0)
    shown = players.demonstrations(rng, 200, 8, "medium")
    network = SpikingNetwork(circuit.cube_memory(60, 60, seed=3), surrogate_width_mv=20.0, threads=1)

    def lead(seen: circuit.Array) -> torch.Tensor:
        return circuit.leads(network(circuit.spikes(seen, rng)).potential["move"])

    def loss() -> float:
        with torch.no_grad():
            return float(circuit.imitation_loss(lead(shown.seen), torch.from_numpy(shown.nearer)))

    before = loss()
    circuit.learn(network, lead, shown, 30, 8.0, rng)
    assert loss() < 0.8 * before


def test_the_trial_judges() -> None:
    values = {c: {m: np.full(5, 0.3) for m in trial.colour_cubes.measures} for c in trial.colour_cubes.conditions}
    values["ALIF: all stay"]["stay"] = values["GRU: all stay"]["stay"] = np.full(5, 0.95)
    values["never rewrites"]["teleports"] = values["never rewrites"]["no colours"] = np.full(5, 0.6)
    values["fixed thresholds"]["teleports"] = np.full(5, 0.2)
    assert [check.holds for check in trial.colour_cubes.check(values)] == [True] * 7
    values["GRU"]["teleports"] = values["GRU: no colours"]["no colours"] = np.full(5, 0.7)
    values["GRU: all stay"]["teleports"] = np.full(5, 0.61)
    values["fixed thresholds"]["teleports"] = np.array([0.2, 0.2, 0.3, 0.2, 0.2])
    holds = [check.holds for check in trial.colour_cubes.check(values)]
    assert [k for k, held in enumerate(holds) if not held] == [2, 3, 4, 5]


def test_numbers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ConnectomeError, match="memory"):
        circuit.cube_memory(0)
