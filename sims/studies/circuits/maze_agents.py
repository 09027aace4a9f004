"""Who goes through mazes whose walls are felt only by running into them: the circuit and its comparators."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from connectome.circuits import cognitive_graph as circuit

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SIDE", "XY", "Agent", "N", "Went", "agent", "around", "shortest"]

SIDE: Final = 10
N: Final = SIDE * SIDE
XY: Final = np.stack(np.divmod(np.arange(N), SIDE), 1).astype(float)
#: Who is beside whom; the last place is the goal.
_NEIGHBOURS: Final = np.abs(XY[:, None] - XY).sum(2) == 1
_BESIDE: Final = [np.flatnonzero(of) for of in _NEIGHBOURS]
_LIMIT: Final = 10_000

Works = Callable[[int, int], bool]


class Went(NamedTuple):
    """How a journey went."""

    moves: int
    failures: int
    arrived: bool


#: (works) -> how a journey from the first place to the last went; it remembers what it has learnt.
Agent = Callable[[Works], Went]


def agent(condition: str, rng: np.random.Generator) -> Agent:
    """Of a condition of the trial, before its first journey."""
    if condition == "random walk":
        return lambda works: _walk(works, lambda here: int(rng.choice(_BESIDE[here])), lambda here, there, worked: None)
    return {"LRTA*": _lrta, "replanned breadth-first": _replanned}.get(condition, lambda: _mapping(condition))()


#: What the Hebbian rule does in each form of the circuit.
_EDITS: Final[Mapping[str, Mapping[str, int]]] = {
    "Hebbian edits": {}, "no potentiation": {"potentiation": 0}, "no edits": {"potentiation": 0, "depression": 0},
}  # fmt: skip


def _mapping(condition: str) -> Agent:
    known = circuit.cognitive_graph(XY)

    def travel(works: Works) -> Went:
        nonlocal known
        limit = 100 if condition == "no edits" else _LIMIT  # it runs into the same wall for ever
        went = circuit.journey(known, 0, N - 1, works, limit=limit, **_EDITS[condition])
        known = went.map
        return Went(went.moves, went.failures, went.arrived)

    return travel


def _walk(works: Works, choose: Callable[[int], int], told: Callable[[int, int, bool], None]) -> Went:
    here = moves = failures = 0
    while here != N - 1 and moves < _LIMIT:
        there, moves = choose(here), moves + 1
        worked = works(here, there)
        told(here, there, worked)
        failures += not worked
        here = there if worked else here
    return Went(moves, failures, here == N - 1)


def _lrta() -> Agent:
    """Learning real-time A* (Korf 1990), a step ahead, from the city-block distance; it remembers what failed, and
    forgets everything where that leaves no way: no way is longer than there are places."""
    h, ahead = np.zeros(N), [set[int]()] * N

    def forget() -> None:
        h[:] = np.abs(XY - XY[-1]).sum(1)
        ahead[:] = [set(of.tolist()) for of in _BESIDE]

    def choose(here: int) -> int:
        if not ahead[here] or h[here] > N:
            forget()
        there = min(ahead[here], key=lambda b: (h[b], b))
        h[here] = max(h[here], 1 + h[there])
        return there

    def told(here: int, there: int, worked: bool) -> None:
        if not worked:
            ahead[here].discard(there)

    forget()
    return lambda works: _walk(works, choose, told)


def _replanned() -> Agent:
    """The circuit's search in symbols: distances by breadth-first search, anew after each failure."""
    believed = _NEIGHBOURS.copy()
    distance = _breadth_first(believed)

    def choose(here: int) -> int:
        nonlocal distance
        if np.isinf(distance[here]):
            believed[:] = _NEIGHBOURS
            distance = _breadth_first(believed)
        ahead = np.flatnonzero(believed[here])
        return int(ahead[distance[ahead].argmin()])

    def told(here: int, there: int, worked: bool) -> None:
        nonlocal distance
        if not worked:
            believed[here, there] = False
            distance = _breadth_first(believed)

    return lambda works: _walk(works, choose, told)


def _breadth_first(moves: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N,) steps to the goal, of (N, N) moves from each place to each."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    return np.asarray(dijkstra(csr_array(moves.T), indices=N - 1, unweighted=True))


def around(there: NDArray[np.bool_]) -> int:
    """Moves that lead to these places (N,)."""
    return int((_NEIGHBOURS & there).sum())


def shortest(free: NDArray[np.bool_]) -> float:
    """Steps from the first place to the goal, over places that are free (N,)."""
    return float(_breadth_first(_NEIGHBOURS & free)[0])
