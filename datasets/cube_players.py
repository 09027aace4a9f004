"""Who goes to colour cubes: their play, an expert, and what it demonstrates to circuits of
:mod:`connectome.circuits.colour_cubes`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from connectome.circuits.colour_cubes import CUBES, SIZE, Array, Demonstrations, Play
from connectome.datasets.rewriting import ColourCubes, Level

__all__ = ["any_of", "demonstrations", "expert", "play"]

#: How often a cube teleports, a move.
_TELEPORTS: Final = 0.1
#: How often demonstrations stray from what the expert would do.
_STRAY: Final = 0.3


def demonstrations(rng: np.random.Generator, trials: int, moves: int, level: Level) -> Demonstrations:
    """What an expert meets and would do; of its moves 30 % are random, for who imitates it will err as well."""
    seen, nearer, nearest = [], [], expert(level)

    def stray(now: Array) -> Array:
        seen.append(now)
        nearer.append(good := nearest(now))
        return any_of(good & (rng.random((trials, 1)) >= _STRAY), rng)

    play(stray, rng, trials, moves, level)
    return Demonstrations(np.stack(seen, 1), np.stack(nearer, 1))


def expert(level: Level, *, rewrites: bool = True) -> Callable[[Array], NDArray[np.bool_]]:
    """(B, D) observations -> (B, 4) moves that lead nearer to where the target is; without ``rewrites``, to where it
    was at the first event: none, where that is here."""
    known: list[Array] = []

    def nearest(seen: Array) -> NDArray[np.bool_]:
        shown = seen[:, 2 + CUBES :].reshape(len(seen), CUBES, 3)
        if not known:
            known.extend(shown[:, :, :2].copy())
        elif rewrites:
            for b in np.flatnonzero(shown[:, 0, 2]):
                known[b] = _exchanged(known[b], shown[b, :, :2], level)
        goal = np.stack(known)[np.arange(len(seen)), seen[:, 2 : 2 + CUBES].argmax(1)]
        dx, dy = np.rint((goal - seen[:, :2]) * (SIZE - 1)).astype(int).T
        return np.stack([dy > 0, dy < 0, dx < 0, dx > 0], 1)

    return nearest


def any_of(moves: NDArray[np.bool_], rng: np.random.Generator) -> Array:
    """(B,) one of the moves (B, 4) by chance, or of all where there is none."""
    chosen: Array = (moves + 0.5 * rng.random(moves.shape)).argmax(1)
    return chosen


def _exchanged(known: Array, shown: Array, level: Level) -> Array:
    """Where cubes are: as shown, or, if their colours are not, with the one that has moved where none was."""
    if level != "extreme":
        return shown.copy()
    same = (np.abs(known[:, None] - shown) < 1e-9).all(2)
    found = known.copy()
    found[~same.any(1)] = shown[~same.any(0)]
    return found


def play(agent: Play, rng: np.random.Generator, trials: int, moves: int, level: Level) -> Array:
    """(B,) cubes that an agent finds in so many moves of so many trials."""
    made = [ColourCubes(level, size=SIZE, cubes=CUBES, targets=10**6, teleports=_TELEPORTS) for _ in range(trials)]
    seen = [env.reset(seed=int(rng.integers(2**31)))[0] for env in made]
    found = np.zeros(trials)
    for _ in range(moves):
        steps = [env.step(int(move)) for env, move in zip(made, agent(np.stack(seen)), strict=True)]
        seen, found = [step[0] for step in steps], found + [step[1] for step in steps]
    return found
