"""Responses to the stimulation of each neuron in turn: predicted by spiking simulation, by the wiring alone, and by
graded cells.

Every prediction is a *score*, (N, N) with row = stimulated and column = responding neuron, larger where a larger
response is expected; :mod:`connectome.analysis.propagation` compares scores with measurements. Neurons are in the order
of :func:`~connectome.analysis.simple_graph.simple_graph`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectome.analysis.graded import dense, spread
from connectome.analysis.influence import effective_connectivity
from connectome.analysis.simple_graph import SimpleGraph
from connectome.errors import ConnectomeError
from connectome.experiment.animation import stimulate
from connectome.experiment.physiology import Physiology
from connectome.graph.connectome import Connectome
from connectome.graph.flat import starts
from connectome.graph.parts import EdgeSet
from connectome.simulate.runs import run

__all__ = ["GAP_JUNCTION", "WITH_JUNCTIONS", "evoked_rates", "graded_scores", "split_gap_junctions", "wiring_scores"]

Floats = NDArray[np.float64]
#: The state or attribute of edges that is 1 for gap junctions and 0 for chemical synapses.
GAP_JUNCTION: Final = "gap_junction"
#: In the name of a score, of chemical synapses otherwise.
WITH_JUNCTIONS: Final = ", with gap junctions"
#: Gains that are tried: of chemical synapses as shares of one over the spectral radius of |weights|, where excitation
#: alone would outweigh the leak; of a gap junction in leaks of a cell.
CHEMICAL_GAINS: Final = (0.1, 0.3, 0.9)
ELECTRICAL_GAINS: Final = (0.01, 0.1, 1.0, 10.0)


def split_gap_junctions(connectome: Connectome) -> tuple[Connectome, Connectome]:
    """The connectome with only its chemical synapses, and with only its gap junctions: the edges whose state or
    attribute :data:`GAP_JUNCTION` is not 0. Raises :class:`ConnectomeError` for an attribute that is neither a number
    nor a flag."""
    parts: tuple[dict[Any, EdgeSet], dict[Any, EdgeSet]] = {}, {}
    for key, e in connectome.edges.items():
        is_gap = np.zeros(len(e), bool)
        if GAP_JUNCTION in e.state:
            is_gap = e.state[GAP_JUNCTION] > 0
        elif GAP_JUNCTION in e.attributes:
            attribute = e.attributes[GAP_JUNCTION]
            if attribute.names is not None:
                raise ConnectomeError(f"edges[{key}].{GAP_JUNCTION}", "must be 0 or 1", attribute.type)
            is_gap = (attribute.values > 0) & ~attribute.is_missing
        parts[0][key], parts[1][key] = e.take(~is_gap), e.take(is_gap)
    return replace(connectome, edges=parts[0]), replace(connectome, edges=parts[1])


def evoked_rates(
    network: Connectome, physiology: Physiology, cells: Sequence[int], *, rate_hz: float = 150.0,
    duration_ms: float = 500.0, seed: int = 0, progress: Callable[[int], None] | None = None,
) -> Floats:  # fmt: skip
    """(S, N) Hz: the change in the rate of each of N neurons of a live network while one of S cells is stimulated, for
    each in turn: the rate in a run of ``duration_ms`` from rest, minus that in the same run without stimulation, with
    the same seed.

    ``cells`` are numbers among all neurons; ``progress`` is called with the number of cells done. Raises
    :class:`ConnectomeError`.
    """
    regions = [r for r in network.regions.values() if r.role == "neuron"]
    start, n = starts(regions), sum(r.size for r in regions)
    first = np.array([*start.values()], np.int64)
    offset = np.array([start.get(name, -1) for name in network.regions], np.int64)

    def rates(changed: Connectome, stimulus: Any) -> Floats:
        spikes = run(changed, duration_ms, stimulus, seed=seed, threads=1)
        at = offset[spikes.spike_region.values]
        fired = (at + spikes.spike_neuron.values)[at >= 0]
        return np.asarray(np.bincount(fired, minlength=n) * (1000.0 / duration_ms), np.float64)

    found = np.empty((len(cells), n))
    rest = rates(network, None)
    for row, cell in enumerate(cells):
        place = int(np.searchsorted(first, cell, "right")) - 1
        if not 0 <= cell < n:
            raise ConnectomeError("cells", f"must be neurons in 0 .. {n - 1}", cell)
        driven = stimulate(network, physiology, {regions[place].name: np.array([cell - first[place]])}, rate_hz)
        found[row] = rates(*driven) - rest
        if progress is not None:
            progress(row + 1)
    return found


def wiring_scores(chemical: SimpleGraph, electrical: SimpleGraph, hops: int = 3) -> dict[str, Floats]:
    """Scores from the wiring alone, for chemical synapses only, and with the weights of gap junctions added:

    the weight of the edge between two neurons; minus the number of edges on the shortest path; and the effective
    connectivity, without signs, summed over up to 1, 2, ... ``hops`` edges. Raises :class:`ConnectomeError`."""
    from scipy.sparse.csgraph import shortest_path

    both = SimpleGraph.from_arrays(
        chemical.n, np.concatenate([chemical.source, electrical.source]),
        np.concatenate([chemical.target, electrical.target]),
        np.concatenate([np.abs(chemical.weight), electrical.weight]),
    )  # fmt: skip
    found = {}
    for graph, synapses in ((chemical, ""), (both, WITH_JUNCTIONS)):
        weight = np.abs(dense(graph))
        found[f"direct synapses{synapses}"] = weight
        steps = shortest_path(weight != 0, unweighted=True)
        found[f"path length{synapses}"] = -np.where(np.isfinite(steps), steps, graph.n)
        reached = effective_connectivity(graph, [[k] for k in range(graph.n)], hops)
        for hop, total in enumerate(np.cumsum(reached, 0), 1):
            found[f"effective connectivity, {hop} step{'s' * (hop > 1)}{synapses}"] = total
    return found


def graded_scores(chemical: SimpleGraph, electrical: SimpleGraph) -> dict[str, list[Floats]]:
    """How far potentials spread over graded cells (:mod:`connectome.analysis.graded`), in magnitude: over signed
    chemical synapses, over gap junctions, and over both, each at every gain tried at which the cells settle. Raises
    :class:`ConnectomeError`."""
    from scipy.linalg import eigvals

    radius = float(np.abs(eigvals(np.abs(dense(chemical)))).max(initial=0.0))
    scale = 1.0 / radius if radius > 0 else 1.0
    tried = {
        "graded cells": [(scale * c, 0.0) for c in CHEMICAL_GAINS],
        "graded cells, gap junctions alone": [(0.0, g) for g in ELECTRICAL_GAINS],
        f"graded cells{WITH_JUNCTIONS}": [(scale * c, g) for c in CHEMICAL_GAINS for g in ELECTRICAL_GAINS],
    }  # fmt: skip
    found: dict[str, list[Floats]] = {}
    for name, gains in tried.items():
        found[name] = [score for c, g in gains if (score := _spread(chemical, electrical, c, g)) is not None]
        if not found[name]:
            raise ConnectomeError(name, "must settle at one of the gains that are tried", "at none")
    return found


def _spread(
    chemical: SimpleGraph, electrical: SimpleGraph, chemical_gain: float, electrical_gain: float
) -> Floats | None:
    """(N, N) how far a potential spreads, in magnitude; None if the cells do not settle."""
    try:
        every = np.arange(chemical.n)
        return np.abs(spread(chemical, electrical, every, chemical_gain=chemical_gain, electrical_gain=electrical_gain))
    except ConnectomeError as error:
        if error.field != "chemical_gain":
            raise
        return None
