"""Trials of an experiment as the cells of a study: run in processes, kept in files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sims.studies.cells import Cell, Study, loaded

if TYPE_CHECKING:
    import xarray as xr

    from connectome.experiment.specification import Experiment
    from connectome.experiment.trials import Setup, Trial

__all__ = ["cells_of", "found", "plan_of", "study_of"]

#: Between a condition and its control in the name of a cell.
_ON: Final = "@"
#: What a trial does not depend on.
_AFTER: Final = ("title", "seeds", "test", "correction", "paths", "controls", "reference", "condition", "sweep")


def study_of(experiment: Experiment, graph: str) -> Study:
    """An experiment on the graph that the programs know by this path or name."""
    options = {"experiment": json.dumps(experiment.table()), "graph": graph}
    return Study("An experiment.", (), run_trial, lambda results: [], options=options)


def cells_of(setup: Setup) -> list[Cell]:
    """A cell for each trial, in their order."""
    return [Cell(f"{trial.condition}{_ON}{trial.control}", trial.seed) for trial in setup.trials()]


def plan_of(setup: Setup, version: str) -> dict[str, Any]:
    """What the trials depend on: each condition with all that it builds on, and everything else."""
    e = setup.experiment
    table = {k: v for k, v in e.table().items() if k not in _AFTER}
    conditions = {name: repr((e.whole(name), e.conditions[name])) for name in e.conditions}
    sweep = repr(e.whole(e.sweep.base or e.reference)) if e.sweep else ""
    return {
        "version": version, "wiring": setup.wiring.digest(), "experiment": table, "conditions": conditions,
        "sweep": sweep,
    }  # fmt: skip


def found(cells: Sequence[Cell], folder: Path) -> Iterator[tuple[Trial, xr.Dataset]]:
    """Each trial's results, from its file. Raises :class:`ConnectomeError`."""
    for cell, results in loaded(cells, folder):
        yield _trial(cell), results


def _trial(cell: Cell) -> Trial:
    from connectome.experiment.trials import Trial

    condition, _, control = cell.condition.partition(_ON)
    return Trial(condition, control, cell.seed)


def run_trial(cell: Cell, options: Mapping[str, Any]) -> xr.Dataset:
    """A cell: what its trial gives."""
    from connectome.experiment.trials import trial_of

    return trial_of(_setup(options["experiment"], options["graph"]), _trial(cell))


@lru_cache(maxsize=1)  # a process does many trials of one experiment
def _setup(table: str, graph: str) -> Setup:
    from connectome.experiment.specification import Experiment
    from connectome.experiment.trials import prepare
    from sims.inputs import open_graph

    return prepare(Experiment.of(json.loads(table)), open_graph(graph))
