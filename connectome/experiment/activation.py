"""Paths of activation: how the wiring leads from stimulated cells to those that are read out, and when the cells on the
way fire.

Shares of input are those of the live network: |weight| over the sum of |weight| into a cell, including edges from
sensors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from connectome.analysis.between import paths_between, structure_between
from connectome.analysis.shuffled import shuffled_wiring
from connectome.analysis.simple_graph import simple_graph
from connectome.errors import ConnectomeError
from connectome.experiment.trials import Setup, alive
from connectome.graph.parts import KINDS
from connectome.graph.selection import NodeSet, node_set

if TYPE_CHECKING:
    import pandas

__all__ = ["path_ends", "path_table", "structure_table"]


def path_ends(setup: Setup) -> tuple[NodeSet, NodeSet]:
    """Where paths begin and end. Raises :class:`ConnectomeError` for a query that finds nothing, and if no start is
    given and nothing is stimulated."""
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
    """The rows of :func:`~connectome.analysis.between.paths_between`, with latency_ms, the cell's mean latency in the
    condition ``paths.condition`` on the measured wiring, over the seeds in which it fired, and n_fired, the number of
    these."""
    e, graph = setup.experiment, simple_graph(setup.network, kinds=KINDS)
    assert e.paths is not None
    start, end = (_mask(nodes) for nodes in path_ends(setup))
    table = paths_between(graph, start, end, e.paths.n)
    late = results.cell_latency_ms.sel(condition=e.paths.condition or e.reference, control="measured").values
    keys = zip(results.cell_region.values.tolist(), results.cell_number.values.tolist(), strict=True)
    column_of = {key: column for column, key in enumerate(keys)}
    cells = list(zip(table.region, table.number, strict=True))
    times = [late[:, column_of[cell]] if cell in column_of else np.zeros(0) for cell in cells]
    fired = [each[~np.isnan(each)] for each in times]
    mean = [float(each.mean()) if each.size else np.nan for each in fired]
    return table.assign(latency_ms=mean, n_fired=[each.size for each in fired])


def structure_table(setup: Setup) -> pandas.DataFrame:
    """:func:`~connectome.analysis.between.structure_between` for the ends of the paths. What is shuffled is the wiring
    that the network was made from."""
    paths = setup.experiment.paths
    assert paths is not None
    nulls = (
        simple_graph(alive(setup.experiment, shuffled_wiring(setup.wiring, seed))[0], kinds=KINDS)
        for seed in range(paths.nulls)
    )
    start, end = (_mask(nodes) for nodes in path_ends(setup))
    return structure_between(simple_graph(setup.network, kinds=KINDS), nulls, start, end, paths.hops)


def _mask(nodes: NodeSet) -> NDArray[np.bool_]:
    return np.concatenate([np.zeros(0, bool), *nodes.masks.values()])
