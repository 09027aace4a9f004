"""Environments in which memory must be overwritten: against oracles that know the rules alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from connectome import ConnectomeError
from connectome.datasets.rewriting import FORWARD, LEFT, RIGHT, ColourCubes, EndlessTMaze


@pytest.mark.parametrize(
    "env", [EndlessTMaze(), EndlessTMaze(2, 4, varies=True), ColourCubes("trivial"), ColourCubes("extreme")]
)
def test_they_are_gymnasium_environments(env: Any) -> None:
    check_env(env, skip_render_check=True)


def test_the_maze_against_an_oracle() -> None:
    """200 trials of random moves: rewards and ends as a second writing of the rules from what is seen."""
    rng = np.random.default_rng(0)
    ends = set()
    for trial in range(200):
        varies = bool(trial % 2)
        n, length = int(rng.integers(1, 4)), int(rng.integers(1, 5))
        env = EndlessTMaze(n, length, varies=varies)
        seen, _ = env.reset(seed=trial)
        cue, place, passed, moves = LEFT if seen[1] else RIGHT, 0, 0, 0
        over = late = False
        while not (over or late):
            forward = 1.0 if trial % 10 > 7 else 0.6  # at the junction nobody comes further by it
            action = int(rng.choice([FORWARD, LEFT, RIGHT], p=[forward, *[(1 - forward) / 2] * 2]))
            seen, reward, over, late, info = env.step(action)
            moves += 1
            if reward == 0:  # it moved
                assert action == FORWARD
                place += 1
                assert seen.tolist() == [place / length, 0, 0]
            elif reward == 1:
                assert action == cue
                assert 1 <= place <= length if varies else place == length
                passed += 1
                place = 0
                if passed < n:
                    assert sorted(seen.tolist()) == [0, 0, 1]
                    cue = LEFT if seen[1] else RIGHT
            elif reward == -1:
                assert action == LEFT + RIGHT - cue
                assert over
            else:
                assert reward == pytest.approx(-0.01)
                assert varies or (action == FORWARD) == (place == length)
            assert info == {"corridors": passed, "is_success": passed == n}
            assert late == (moves >= 6 * (length + 1) * n and not over)
        ends.add((over, passed == n))
    assert ends == {(True, True), (True, False), (False, False)}


def test_whoever_remembers_passes_every_corridor() -> None:
    for varies in (False, True):
        env = EndlessTMaze(7, 6, varies=varies)
        seen, _ = env.reset(seed=3)
        over, total, cue = False, 0.0, FORWARD
        place = -1.0
        while not over:
            if seen[1:].any():
                cue = LEFT if seen[1] else RIGHT
            stuck, place = seen[0] == place, seen[0]
            seen, reward, over, _, info = env.step(cue if stuck and not seen[1:].any() else FORWARD)
            total += max(reward, 0)
        assert info["is_success"]
        assert total == 7


def _walk(env: ColourCubes, seed: int, *, rewrite: bool) -> bool:
    """Go to where the target was last seen; ``rewrite``: as of the last event, or of the first."""
    seen, info = env.reset(seed=seed)
    known = seen[2 + env.cubes :].reshape(-1, 3)[:, :2].copy()
    over = late = False
    side = env.size - 1
    while not (over or late):
        goal = known[np.argmax(seen[2 : 2 + env.cubes])]
        dx, dy = np.rint((goal - seen[:2]) * side).astype(int)
        action = (0 if dy > 0 else 1) if dy else (3 if dx > 0 else 2)
        if not dx and not dy:  # it is not there
            action = int(env.np_random.integers(4))
        seen, _, over, late, info = env.step(action)
        cubes = seen[2 + env.cubes :].reshape(-1, 3)
        if rewrite and cubes[:, 2].all():
            if env.level == "extreme":  # the one that is gone has moved to the place that is new
                gone = [k for k, p in enumerate(known) if not (np.abs(cubes[:, :2] - p).sum(1) < 1e-9).any()]
                new = [p for p in cubes[:, :2] if not (np.abs(known - p).sum(1) < 1e-9).any()]
                known[gone] = new
            else:
                known = cubes[:, :2].copy()
    return bool(info["is_success"])


@pytest.mark.parametrize("level", ["trivial", "medium", "extreme"])
def test_cubes_are_found_by_whoever_rewrites(level: Any) -> None:
    env = ColourCubes(level, teleports=0.3)
    assert all(_walk(env, seed, rewrite=True) for seed in range(20))
    assert all(_walk(env, seed, rewrite=False) for seed in range(5)) == (level == "trivial")


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: EndlessTMaze(0), "corridors"), (lambda: EndlessTMaze(1, 0), "length"),
        (lambda: ColourCubes("hard"), "level"),  # type: ignore[arg-type]
        (lambda: ColourCubes(size=3, cubes=9), "cubes"), (lambda: ColourCubes(teleports=2), "teleports"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make: Any, field: str) -> None:
    with pytest.raises(ConnectomeError, match=field):
        make()
