"""Runs of populations at rest as the cells of a study: run in processes, kept in files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sims.studies.cells import Cell, Study, loaded

if TYPE_CHECKING:
    import xarray as xr

    from connectome.experiment.populations import Populations
    from connectome.graph.connectome import Connectome

__all__ = ["MEASURED", "cells_of", "found", "named", "run_cell", "study_of"]

#: The wiring that is no null.
MEASURED: Final = "measured"
#: Between a wiring and a coupling in the name of a cell.
_AT: Final = "@"


def study_of(graph: str, populations: Populations, background: Mapping[float, float], seen: Mapping[str, Any]) -> Study:
    """Runs on the tracts that the programs know by this path or name. ``background``: Hz at each coupling; ``seen``:
    arguments of :func:`connectome.experiment.resting.resting_state`."""
    from connectome.parameters import to_table

    options = {
        "graph": graph, "populations": json.dumps(to_table(populations)),
        "background": {named(k): v for k, v in background.items()}, "seen": dict(seen),
    }  # fmt: skip
    return Study("Populations at rest.", (), run_cell, lambda results: [], options=options)


def cells_of(couplings: Sequence[float], seeds: int, nulls: Mapping[str, int]) -> list[Cell]:
    """So many seeds on the measured wiring, and so many nulls of each kind, at each coupling."""
    return [
        Cell(f"{wiring}{_AT}{named(coupling)}", seed)
        for wiring, n in {MEASURED: seeds, **nulls}.items()
        for coupling in couplings
        for seed in range(n)
    ]


def found(cells: Sequence[Cell], folder: Path, coupling: float) -> dict[str, xr.Dataset]:
    """Wiring -> the runs on it at this coupling, along ``seed``, from their files. Raises :class:`ConnectomeError`."""
    import xarray as xr

    runs: dict[str, list[xr.Dataset]] = {}
    mine = [cell for cell in cells if cell.condition.endswith(f"{_AT}{named(coupling)}")]
    for cell, results in loaded(mine, folder):
        wiring = cell.condition.partition(_AT)[0]
        runs.setdefault(wiring, []).append(results.drop_attrs().assign_coords(seed=cell.seed))
    return {wiring: xr.concat(each, "seed") for wiring, each in runs.items()}


def run_cell(cell: Cell, options: Mapping[str, Any]) -> xr.Dataset:
    """One run: its BOLD signal, functional connectivity and rates, and the weights of the tracts it ran on."""
    from connectome.analysis.functional import dense
    from connectome.analysis.shuffled import shuffled_tracts
    from connectome.experiment.controls import generator
    from connectome.experiment.populations import Populations, populate
    from connectome.experiment.resting import background, resting_state
    from connectome.parameters import from_table

    wiring, _, coupling = cell.condition.partition(_AT)
    p = from_table(Populations, json.loads(options["populations"]), "populations")
    tracts: Any = _graph(options["graph"])
    seed = cell.seed
    if wiring != MEASURED:
        tracts = shuffled_tracts(tracts, wiring, seed)  # type: ignore[arg-type]  # checked by the program
        seed = int(generator(seed, wiring).integers(2**62))  # chance events of its own
    network, _ = populate(tracts, replace(p, coupling=float(coupling)), seed)
    stimulus = background(network, options["background"][coupling], p.background_pa)
    results = resting_state(network, stimulus, seed=seed, threads=1, **options["seen"])
    weights = dense("tracts", tracts)
    return results.assign(structural=(("node", "other"), (weights + weights.T) / 2))


@lru_cache(maxsize=1)  # a process does many runs on one graph
def _graph(graph: str) -> Connectome:
    from sims.inputs import open_graph

    return open_graph(graph)


def named(coupling: float) -> str:
    """A coupling as files and cells have it."""
    return f"{coupling:.12g}"
