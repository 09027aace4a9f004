"""Search on a cognitive graph by Hebbian edits: what does not work is unlearnt as it is tried (Baranski & Tani 2024,
"Life, uh, Finds a Way", arXiv 2410.01349, of which only the abstract was read: behaviour is a search, and a graph that
guides action and is changed by it keeps its order). The circuit, its equations and all numbers are ours.

A place is a neuron of the region ``map``; an edge b -> a says that one can go from a to b, and its delay is the
distance. The goal's neuron is made to fire, and a wave of single spikes runs out from it: with d(b, a) the distance,
place a fires after

    ``T(a) = min over edges b -> a of T(b) + d(b, a)``,  ``T(goal) = 0``

which is Dijkstra's distance on the believed graph. From its place a the agent tries the edge that brought the wave
there: the pair has fired in order, pre before post, and the outcome of the move is the third factor,

    ``w <- min(w + A+, w_max)`` if it works,  ``w <- max(w - A-, 0)`` if it does not;

Initially w = 1; an edge of w >= 1 makes its target fire, one of w = 0 does not. If several edges brought the wave at
the same time, the agent takes the strongest. A failure starts a new wave. If no wave reaches the agent, edges of w = 0
are believed again.

In a world whose moves do not change, can all be reversed and are all among the believed edges, a failure silences a
wrong edge, whose w has never risen: the agent arrives after no more failures than there are wrong edges, and a journey
without a failure is a shortest one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import freeze, integer
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, Edit
from connectome.graph.parts import EdgeKey, EdgeSet, Region
from connectome.neurons.iaf_psc_exp import NeuronParameters, propagators
from connectome.simulate.runs import Stimulus, run

__all__ = [
    "KEY", "REGION", "UNIT_MS", "Journey", "cognitive_graph", "journey", "learn", "maze", "strength", "tried", "wave",
]  # fmt: skip

REGION: Final = "map"
KEY: Final = EdgeKey(REGION, "local", REGION)
#: A distance of 1, ms.
UNIT_MS: Final = 10.0
_DT_MS: Final = 1.0
_NEURON: Final = NeuronParameters()
#: A strength of 1, pA: twice what makes a neuron at rest fire in the step after.
_STRENGTH_PA: Final = 2 * float((_NEURON.v_th_mv - _NEURON.e_l_mv) / propagators(_NEURON, _DT_MS).p21_ex)


class Journey(NamedTuple):
    """The map after the journey, the places that were visited, including the first, how many moves failed, how often no
    wave came, and whether it ended at the goal."""

    map: Connectome
    places: tuple[int, ...]
    failures: int
    lost: int
    arrived: bool

    @property
    def moves(self) -> int:
        """Number of moves, failed ones included."""
        return len(self.places) - 1 + self.failures


def cognitive_graph(position: ArrayLike, radius: float = 1.0) -> Connectome:
    """The map of N places at (N, 2) positions, in which one can go from each place to all within the radius, and a
    sensor ``goal`` with a unit for each place. Distances are rounded to 0.1. Raises :class:`ConnectomeError`."""
    at = freeze("position", position, np.float64, (None, 2))
    if not radius >= 2 * _DT_MS / UNIT_MS:
        raise ConnectomeError("radius", f"must be at least {2 * _DT_MS / UNIT_MS:g}", radius)
    n = integer("places", len(at), 2, 10**4)
    apart = np.linalg.norm(at[:, None] - at[None], axis=2)
    source, target = np.nonzero((apart <= radius + 1e-9) & ~np.eye(n, dtype=bool))
    # The membrane is above threshold a step after the spike has come.
    delay = np.maximum(np.rint(apart[source, target] * UNIT_MS / _DT_MS) - 1, 1) * _DT_MS
    longest = float(delay.max(initial=0.0)) + _DT_MS
    region = Region(  # each fires once a wave
        REGION, n, "neuron", NeuronParameters(t_ref_ms=n * longest + UNIT_MS), np.column_stack([at, np.zeros(n)])
    )
    every = np.arange(n)
    edges = [
        EdgeSet.from_arrays(key, s, t, _STRENGTH_PA, delay_ms=d, n_source=n, n_target=n, dt_ms=_DT_MS)
        for key, s, t, d in (
            (EdgeKey("goal", "afferent", REGION), every, every, _DT_MS), (KEY, source, target, delay),
        )
    ]  # fmt: skip
    return Connectome.of([Region("goal", n, "sensor"), region], edges, dt_ms=_DT_MS)


def strength(connectome: Connectome) -> NDArray[np.float64]:
    """(E,) w of each edge of the map."""
    found: NDArray[np.float64] = np.rint(np.asarray(connectome.edges[KEY].weight, float) / _STRENGTH_PA)
    return found


def wave(connectome: Connectome, goal: int) -> NDArray[np.float64]:
    """(N,) T in units of distance, infinite where no wave comes. Raises :class:`ConnectomeError`."""
    region = connectome.regions[REGION]
    begun = Stimulus(spikes={"goal": ([_DT_MS], [integer("goal", goal, 0, region.size - 1)])})
    result = run(connectome, float(np.max(region.neuron.parameters()["t_ref_ms"])), begun, threads=1)
    mine = result.spike_region.values == list(result.region.values).index(REGION)
    found = np.full(region.size, np.inf)
    found[result.spike_neuron.values[mine]] = result.spike_time_ms.values[mine]
    since: NDArray[np.float64] = (found - found[goal]) / UNIT_MS
    return since


def tried(connectome: Connectome, time: NDArray[np.float64], here: int) -> int:
    """The edge that the agent at place ``here`` tries: the strongest of those that brought the wave, whose arrival
    times (N,) are ``time``, and the first of equally strong ones; -1 if none did."""
    if not 0 < time[here] < np.inf:  # the goal, which no edge made fire, or no wave
        return -1
    e = connectome.edges[KEY]
    late = time[e.source] + (e.delay_steps + 1) * _DT_MS / UNIT_MS - time[here]
    brought = (e.indices == here) & (strength(connectome) >= 1) & (np.abs(late) < 0.5 * _DT_MS / UNIT_MS)
    return int(np.where(brought, e.weight, -1).argmax())


def learn(
    connectome: Connectome, edge: int, worked: bool, *, potentiation: int = 1, depression: int = 1, most: int = 3
) -> Connectome:  # fmt: skip
    """The map after a move along an edge. ``potentiation``, ``depression`` and ``most`` are A+, A- and w_max, whole
    numbers, so that strengths are too. Raises :class:`ConnectomeError`."""
    gain = integer("potentiation", potentiation, 0, 1000)
    loss, top = integer("depression", depression, 0, 1000), integer("most", most, 1, 1000)
    w = strength(connectome)
    w[edge] = max(w[edge], min(w[edge] + gain, top)) if worked else max(w[edge] - loss, 0)
    return _with(connectome, w)


def journey(
    connectome: Connectome, start: int, goal: int, works: Callable[[int, int], bool], *, limit: int = 10_000,
    potentiation: int = 1, depression: int = 1, most: int = 3,
) -> Journey:  # fmt: skip
    """From start to goal, in a world where ``works`` says whether a move from one place to another succeeds. It ends
    when the goal is reached, after ``limit`` moves, or if no wave comes although everything is believed. Raises
    :class:`ConnectomeError`."""
    here = integer("start", start, 0, connectome.regions[REGION].size - 1)
    time, places, failures, lost = wave(connectome, goal), [here], 0, 0
    while here != goal and len(places) - 1 + failures < limit:
        edge = tried(connectome, time, here)
        if edge < 0:
            w = strength(connectome)
            if w.all():
                break
            connectome, lost = _with(connectome, np.maximum(w, 1)), lost + 1
            time = wave(connectome, goal)
            continue
        there = int(connectome.edges[KEY].source[edge])
        worked = works(here, there)
        connectome = learn(connectome, edge, worked, potentiation=potentiation, depression=depression, most=most)
        if worked:
            here = there
            places.append(here)
        else:
            failures += 1
            if not strength(connectome)[edge]:
                time = wave(connectome, goal)
    return Journey(connectome, tuple(places), failures, lost, here == goal)


def maze(rng: np.random.Generator, side: int = 10, walls: float = 0.3) -> NDArray[np.bool_]:
    """(side^2,) which places of a square are free, row by row: all but the share ``walls``, redrawn until steps between
    the four neighbours lead from the first place to the last. Raises :class:`ConnectomeError`."""
    from scipy.ndimage import label

    n = integer("side", side, 2, 1000)
    if not 0 <= walls < 0.5:
        raise ConnectomeError("walls", "must be at least 0 and below 0.5", walls)
    while True:
        free = rng.permutation(n * n) >= round(walls * n * n)
        part, _ = label(free.reshape(n, n))
        if free[0] and part[0, 0] == part[-1, -1]:
            return free


def _with(connectome: Connectome, w: NDArray[np.float64]) -> Connectome:
    return connectome.apply(Edit(reweight={KEY: (w * _STRENGTH_PA).astype(np.float32)}))
