"""How one set of neurons is joined to another, as tables: paths with shares of input, and statistics against shuffled
wiring. The numbers are defined in :mod:`connectome.analysis.influence`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from connectome.analysis.influence import (
    against_shuffled,
    effective_connectivity,
    shortest_paths,
    steps_between,
    strongest_paths,
)
from connectome.analysis.simple_graph import SimpleGraph
from connectome.graph.tables import count_within

if TYPE_CHECKING:
    import pandas

__all__ = ["paths_between", "structure_between"]

Mask = NDArray[np.bool_]


def paths_between(graph: SimpleGraph, sources: Mask, targets: Mask, n: int = 10) -> pandas.DataFrame:
    """A row for each cell on the n strongest paths from one set of cells, a mask (N,), to another, and on the n
    shortest paths that are not among them.

    Columns: kind (strongest, shortest), path (its rank), step, region, number, cell; input_share of the edge that leads
    to the cell (missing for a path's first cell); strength of the whole path. Raises :class:`ConnectomeError`.
    """
    import pandas

    region, number = np.array(graph.regions)[graph.region], count_within(graph.region.astype(np.int64))
    labels = np.full(graph.n, "") if graph.label is None else graph.label
    strongest = strongest_paths(graph, sources, targets, n)
    others = [path for path in shortest_paths(graph, sources, targets, n) if path not in strongest]
    rows: list[dict[str, Any]] = [
        {
            "kind": kind, "path": rank, "step": step, "region": str(region[node]), "number": int(number[node]),
            "cell": str(labels[node]) or f"{region[node]} {number[node]}",
            "input_share": path.fractions[step - 1] if step else np.nan, "strength": path.strength,
        }
        for kind, paths in (("strongest", strongest), ("shortest", others))
        for rank, path in enumerate(paths, 1)
        for step, node in enumerate(path.nodes)
    ]  # fmt: skip
    columns = ["kind", "path", "step", "region", "number", "cell", "input_share", "strength"]
    return pandas.DataFrame(rows, columns=columns)


def structure_between(
    graph: SimpleGraph, nulls: Iterable[SimpleGraph], sources: Mask, targets: Mask, hops: int
) -> pandas.DataFrame:
    """How two sets of cells, masks (N,), are joined, against graphs with shuffled wiring. One row each for the fewest
    steps between them, the strength of the strongest path, and the effective connectivity over each number of steps
    (the share of the targets' input that traces back to the sources, averaged over targets). Columns: what, value, and
    mean, sd, z, p and n of :class:`~connectome.analysis.influence.AgainstShuffled`; p is the chance of a value at least
    as large in shuffled wiring or, for steps, at least as small. Raises :class:`ConnectomeError`.
    """
    import pandas

    def measured(one: SimpleGraph) -> NDArray[np.float64]:
        best = strongest_paths(one, sources, targets, 1)
        reached = effective_connectivity(one, [sources], hops)[:, 0][:, targets].mean(1)
        return np.array([-steps_between(one, sources, targets), best[0].strength if best else 0.0, *reached])

    here, there = measured(graph), [measured(one) for one in nulls]
    what = ["fewest steps", "strength of the strongest path"]
    what += [f"effective connectivity over {hop} step{'s' * (hop > 1)}" for hop in range(1, hops + 1)]
    rows = []
    for k, name in enumerate(what):
        found = against_shuffled(float(here[k]), [float(null[k]) for null in there])
        sign = -1.0 if k == 0 else 1.0  # fewer steps are more
        rows.append({
            "what": name, "value": sign * found.value, "mean": sign * found.mean, "sd": found.sd, "z": sign * found.z,
            "p": found.p, "n": found.n,
        })  # fmt: skip
    return pandas.DataFrame(rows)
