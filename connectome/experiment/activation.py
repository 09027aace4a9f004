"""Paths of activation: how the wiring leads from stimulated cells to those that are read out, and who fires when.

Shares of input are of the living network: |weight| over the sum of all into a cell, sensors' among them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from connectome.analysis.influence import (
    Path,
    against_shuffled,
    effective_connectivity,
    shortest_paths,
    steps_between,
    strongest_paths,
)
from connectome.analysis.shuffled import shuffled_wiring
from connectome.analysis.simple_graph import SimpleGraph, simple_graph
from connectome.errors import ConnectomeError
from connectome.experiment.trials import Setup, alive
from connectome.graph.parts import KINDS
from connectome.graph.selection import NodeSet, node_set
from connectome.graph.tables import count_within

if TYPE_CHECKING:
    import pandas

__all__ = ["path_ends", "path_table", "structure_table"]


def path_ends(setup: Setup) -> tuple[NodeSet, NodeSet]:
    """Where paths begin and end. Raises :class:`ConnectomeError` for a query that finds nothing, and where it is not
    said where they begin and nothing is stimulated."""
    paths = setup.experiment.paths
    assert paths is not None
    target = setup.found(paths.to, "paths.to")
    if paths.start:
        return setup.found(paths.start, "paths.from"), target
    name = paths.condition or setup.experiment.reference
    sets = [nodes for _, nodes in setup.manipulation(setup.network, name).stimulate]
    if not sets:
        raise ConnectomeError("paths.from", "must say where paths begin, as nothing is stimulated", f"in {name!r}")
    start = node_set(setup.network, {})
    for nodes in sets:
        start = start | nodes
    return start, target


def path_table(setup: Setup, results: xr.Dataset) -> pandas.DataFrame:
    """A row for each cell of each of the strongest paths, and of the shortest that are not among these.

    Columns: kind (strongest, shortest), path (its rank), step, region, number, cell; input_share of the edge that
    leads to the cell (missing at the first); strength of the whole path; latency_ms, the mean over the seeds in which
    the cell fired in the condition ``paths.condition``, on the measured wiring, and n_fired.
    """
    import pandas

    e, graph = setup.experiment, simple_graph(setup.network, kinds=KINDS)
    assert e.paths is not None
    start, end = (_mask(nodes) for nodes in path_ends(setup))
    region, number = np.array(graph.regions)[graph.region], count_within(graph.region.astype(np.int64))
    late = results.cell_latency_ms.sel(condition=e.paths.condition or e.reference, control="measured").values
    keys = zip(results.cell_region.values.tolist(), results.cell_number.values.tolist(), strict=True)
    column_of = {key: column for column, key in enumerate(keys)}
    labels = np.full(graph.n, "") if graph.label is None else graph.label
    rows: list[dict[str, Any]] = []
    strongest = strongest_paths(graph, start, end, e.paths.n)
    others = [path for path in shortest_paths(graph, start, end, e.paths.n) if path not in strongest]
    for kind, paths in (("strongest", strongest), ("shortest", others)):
        for rank, path in enumerate(paths, 1):
            rows += _rows(kind, rank, path, region, number, labels, late, column_of)
    columns = [
        "kind", "path", "step", "region", "number", "cell", "input_share", "strength", "latency_ms", "n_fired",
    ]  # fmt: skip
    return pandas.DataFrame(rows, columns=columns)


def _rows(
    kind: str, rank: int, path: Path, region: NDArray[np.str_], number: NDArray[np.int64], labels: NDArray[np.str_],
    late: NDArray[np.float32], column_of: dict[tuple[str, int], int],
) -> list[dict[str, Any]]:  # fmt: skip
    rows = []
    for step, node in enumerate(path.nodes):
        who = str(region[node]), int(number[node])
        times = late[:, column_of[who]] if who in column_of else np.zeros(0)
        fired = times[~np.isnan(times)]
        rows.append({
            "kind": kind, "path": rank, "step": step, "region": who[0], "number": who[1],
            "cell": str(labels[node]) or f"{who[0]} {who[1]}",
            "input_share": path.fractions[step - 1] if step else np.nan, "strength": path.strength,
            "latency_ms": float(fired.mean()) if fired.size else np.nan, "n_fired": fired.size,
        })  # fmt: skip
    return rows


def structure_table(setup: Setup) -> pandas.DataFrame:
    """How the ends of the paths are joined, against shuffled wiring: a row for the fewest steps between them, the
    strength of the strongest path, and the effective connectivity over each number of steps (the share of the targets'
    input that traces back to where paths begin, on average). Columns: what, value, and mean, sd, z, p and n of
    :class:`~connectome.analysis.influence.AgainstShuffled`; p is that of as much in shuffled wiring, of steps as few.
    """
    import pandas

    paths = setup.experiment.paths
    assert paths is not None
    start, end = (_mask(nodes) for nodes in path_ends(setup))

    def measured(graph: SimpleGraph) -> NDArray[np.float64]:
        best = strongest_paths(graph, start, end, 1)
        reached = effective_connectivity(graph, [start], paths.hops)[:, 0][:, end].mean(1)
        return np.array([-steps_between(graph, start, end), best[0].strength if best else 0.0, *reached])

    here = measured(simple_graph(setup.network, kinds=KINDS))
    nulls = [
        measured(simple_graph(alive(setup.experiment, shuffled_wiring(setup.wiring, seed))[0], kinds=KINDS))
        for seed in range(paths.nulls)
    ]
    what = ["fewest steps", "strength of the strongest path"]
    what += [f"effective connectivity over {hop} step{'s' * (hop > 1)}" for hop in range(1, paths.hops + 1)]
    rows = []
    for k, name in enumerate(what):
        found = against_shuffled(float(here[k]), [float(null[k]) for null in nulls])
        sign = -1.0 if k == 0 else 1.0  # fewer steps are more
        rows.append({
            "what": name, "value": sign * found.value, "mean": sign * found.mean, "sd": found.sd, "z": sign * found.z,
            "p": found.p, "n": found.n,
        })  # fmt: skip
    return pandas.DataFrame(rows)


def _mask(nodes: NodeSet) -> NDArray[np.bool_]:
    return np.concatenate([np.zeros(0, bool), *nodes.masks.values()])
