"""Search on a cognitive graph on trial: mazes whose walls are felt only by running into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from connectome.circuits import cognitive_graph as circuit
from sims.studies.circuits.maze_agents import SIDE, XY, agent, around, shortest
from sims.studies.published import Check, Measure, Trial, Values

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["cognitive_graph"]

_JOURNEYS: Final = 10
_SLIP: Final = 0.1  # how often a move fails by chance, in the noisy journeys
_MOVED: Final = 1 / 3  # of the walls
_MAZES: Final = (20, 5)  # a seed, and with --quick


def _changed(free: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.bool_]:
    """With some walls elsewhere, and still a way."""
    while True:
        now = free.copy()
        gone = rng.permutation(np.flatnonzero(~free))[: round(_MOVED * (~free).sum())]
        now[gone] = True
        now[rng.permutation(np.flatnonzero(free)[1:-1])[: gone.size]] = False
        if np.isfinite(shortest(now)):
            return now


def _maze(condition: str, rng: np.random.Generator) -> dict[str, float]:
    free = circuit.maze(rng, SIDE)
    now, least = _changed(free, rng), shortest(free)
    calm, noisy = agent(condition, rng), agent(condition, rng)
    still = [calm(lambda a, b: bool(free[b])) for _ in range(_JOURNEYS)]
    moved = calm(lambda a, b: bool(now[b]))
    slipping = [noisy(lambda a, b: bool(free[b]) and rng.random() >= _SLIP) for _ in range(_JOURNEYS)]
    return {
        "first": still[0].moves, "ten": sum(went.moves for went in still) / _JOURNEYS, "tenth": still[-1].moves,
        "moved": moved.moves * least / shortest(now), "noisy": sum(went.moves for went in slipping) / _JOURNEYS,
        "least": least, "arrived": float(np.mean([went.arrived for went in (*still, moved, *slipping)])),
        "second clean": float(not still[1].failures),
        "clean detour": max([went.moves / least - 1 for went in still if not went.failures], default=0.0),
        "failures": sum(went.failures for went in still) / around(~free),
    }  # fmt: skip


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    of = [_maze(condition, np.random.default_rng([seed, number])) for number in range(_MAZES[quick])]
    mean = {name: float(np.mean([one[name] for one in of])) for name in of[0]}
    most = {name: max(one[name] for one in of) for name in ("clean detour", "failures")}
    least = mean.pop("least")
    return mean | most | {name: mean[name] / least for name in ("first", "ten", "tenth", "moved", "noisy")}


def _check(v: Values) -> Sequence[Check]:
    ours, lrta, weak = v["Hebbian edits"], v["LRTA*"], v["no potentiation"]
    twice = [ours[m] / lrta[m] for m in ("first", "ten")]
    return [
        Check(
            "it arrives: in every maze, on every journey, also when walls have moved or moves fail by chance",
            f"{100 * ours['arrived'].min():g} %", bool((ours["arrived"] == 1).all()),
        ),
        Check(
            "moves fail at most once for each move that was wrongly believed",
            f"{100 * ours['failures'].max():.0f} % of them at most", bool((ours["failures"] <= 1).all()),
        ),
        Check(
            "a journey without a failure is as short as breadth-first search that knows the walls",
            f"{100 * ours['clean detour'].max():g} % longer at most", bool((ours["clean detour"] == 0).all()),
        ),
        Check(
            "the second journey has no failure", f"{100 * ours['second clean'].mean():.0f} % of them",
            bool((ours["second clean"] == 1).all()),
        ),
        Check(
            "at most twice the moves of learning real-time A*, on the first journey and over ten",
            " and ".join(f"{ratio.max():.2f} times at most" for ratio in twice),
            bool(max(ratio.max() for ratio in twice) <= 2),
        ),
        Check(
            "what has worked is worth keeping: where moves fail by chance, fewer moves than without potentiation",
            f"{ours['noisy'].mean():.2f} against {weak['noisy'].mean():.2f} times the shortest way",
            bool((ours["noisy"] < weak["noisy"]).all()),
        ),
    ]  # fmt: skip


@cache
def _draw(quick: bool) -> Mapping[str, Figure]:
    """The first, second and tenth journey through a maze, over the times of the wave that is believed."""
    from matplotlib.figure import Figure

    free, known = circuit.maze(np.random.default_rng([0, 0]), SIDE), circuit.cognitive_graph(XY)
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    panels = iter(figure.subplots(1, 3))
    for number in range(1, _JOURNEYS + 1):
        went = circuit.journey(known, 0, len(XY) - 1, lambda a, b: bool(free[b]))
        known = went.map
        if number not in (1, 2, _JOURNEYS):
            continue
        ax, time = next(panels), circuit.wave(known, len(XY) - 1)
        shown = ax.imshow(np.where(free, time, np.nan).reshape(SIDE, SIDE), cmap="viridis")
        ax.imshow(np.where(free, np.nan, 1).reshape(SIDE, SIDE), cmap="gray", vmin=0, vmax=3)
        ax.plot(*XY[list(went.places)].T[::-1], "w-", lw=2)
        ax.plot(*XY[[0, -1]].T[::-1], "wo")
        ax.set(title=f"journey {number}: {went.moves} moves, {went.failures} failed", xticks=[], yticks=[])
    figure.colorbar(shown, label="the wave's time (distances of 1)")
    return {"journeys": figure}


cognitive_graph = Trial(
    "Search on a cognitive graph", "Baranski & Tani 2024, arXiv 2410.01349",
    "search by a graph that is changed while it is used always finds a way, and soon a short one",
    {
        "first": Measure(falls=True), "ten": Measure(falls=True), "tenth": Measure(falls=True),
        "moved": Measure(falls=True), "noisy": Measure(falls=True), "arrived": Measure(" %", 100, 0),
        "second clean": Measure(" %", 100, 0), "clean detour": Measure(" %", 100, 0), "failures": Measure(" %", 100, 0),
    },
    ("Hebbian edits", "no potentiation", "no edits", "LRTA*", "replanned breadth-first", "random walk"),
    _run, _check, ("LRTA*", "replanned breadth-first", "random walk"), _draw,
)  # fmt: skip
