"""What every study is made of: cells, one for each condition and seed, run in processes and kept in files."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from connectome.errors import ConnectomeError
from sims.program import numbers
from sims.studies.sharing import CELLS, Shared
from sims.studies.workers import on_cluster, on_this_machine

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from rich.console import Console

    from connectome.io.results import Film

__all__ = ["Cell", "Study", "StudyTable", "chosen_cells", "gather", "keep_plan", "loaded", "run_cells", "run_shown"]

DIGEST = "digest"
#: Seconds between two looks at what other processes have done.
_LOOK_S = 0.5


class Cell(NamedTuple):
    """One run of a study."""

    condition: str
    seed: int

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{re.sub('[^A-Za-z0-9.]+', '-', self.condition)}_seed{self.seed}.nc"


class StudyTable(NamedTuple):
    """A table of the report: a heading, what it says, the columns, the rows."""

    heading: str
    text: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """As Markdown, under its heading."""
        head = f"| {' | '.join(self.columns)} |\n|{' --- |' * len(self.columns)}"
        rows = "\n".join(f"| {' | '.join(row)} |" for row in self.rows)
        return f"## {self.heading}\n\n{self.text}\n\n{head}\n{rows}"


@dataclass(frozen=True)
class Study:
    """A named study.

    Parameters
    ----------
    about : one sentence
    conditions, seeds : its cells are each of the one with each of the other; so many seeds
    cell : (cell, options) -> its results: scalars and small arrays. A function that another process can import
    tables, figures : what the report says of all cells together, a dataset with dims ``condition`` and ``seed``
    options : what the cells are told besides; a change of it makes other cells
    first_seed : the others follow it
    """

    about: str
    conditions: tuple[str, ...]
    cell: Callable[[Cell, Mapping[str, Any]], xr.Dataset]
    tables: Callable[[xr.Dataset], Sequence[StudyTable]]
    figures: Callable[[xr.Dataset], Mapping[str, Figure | Film]] = lambda results: {}
    seeds: int = 5
    options: Mapping[str, Any] = field(default_factory=dict)
    first_seed: int = 0

    def cells(self) -> list[Cell]:
        """Seed by seed, so that what is finished first can be compared."""
        seeds = range(self.first_seed, self.first_seed + self.seeds)
        return [Cell(condition, seed) for seed in seeds for condition in self.conditions]


def run_cells(
    study: Study, cells: Sequence[Cell], folder: Shared, jobs: int, scheduler: str | None = None
) -> Iterator[Cell]:
    """Run the cells that have no file yet, ``jobs`` at a time, or all of them on the cluster of a ``scheduler``; yield
    each cell as it is finished, those that were finished before first.

    A cell's results do not depend on who runs it. Files are written whole or not at all: a killed study goes on from
    them. Cells that another process has claimed are waited for, and run here if it ends without them. Raises
    :class:`ConnectomeError` for a cluster that cannot be used.
    """
    from connectome.io.results import save_results

    todo = []
    for cell in cells:
        if (folder.path / CELLS / cell.file).exists():
            yield cell
        else:
            todo.append(cell)
    if not todo:
        return
    room = len(todo) if scheduler else jobs
    with on_cluster(scheduler) if scheduler else on_this_machine(jobs) as pool:
        waiting: dict[Future[xr.Dataset], Cell] = {}
        while todo or waiting:
            for cell in list(todo):
                if len(waiting) == room:
                    break
                if folder.take(cell.file):
                    todo.remove(cell)
                    if (folder.path / CELLS / cell.file).exists():  # by another process, meanwhile
                        folder.give_back(cell.file)
                        yield cell
                    else:
                        waiting[pool.submit(_work, study.cell, cell, dict(study.options))] = cell
            is_full = not todo or len(waiting) == room
            done, _ = wait(waiting, None if is_full else _LOOK_S, FIRST_COMPLETED)
            if not waiting:
                time.sleep(_LOOK_S)
            for future in done:
                cell = waiting.pop(future)
                save_results(future.result(), folder.path / CELLS / cell.file)
                folder.give_back(cell.file)
                yield cell


def _work(
    function: Callable[[Cell, Mapping[str, Any]], xr.Dataset], cell: Cell, options: Mapping[str, Any]
) -> xr.Dataset:
    results = function(cell, options).assign_attrs(condition=cell.condition, seed=cell.seed)
    return results.assign_attrs({DIGEST: _digest(results)})


def _digest(results: xr.Dataset) -> str:
    """SHA-256 of all that is in it, the same when it has been written and read."""
    sha = hashlib.sha256()
    for name in sorted(map(str, results.variables)):
        variable = results.variables[name]
        values = np.ascontiguousarray(variable.values)
        is_text = values.dtype.kind in "OSTU"
        data = repr(values.tolist()).encode() if is_text else values.tobytes()
        about = (name, variable.dims, values.shape, is_text or values.dtype.str, name in results.coords)
        sha.update(repr((about, len(data))).encode() + data)
    attributes = {k: np.ravel(v).tolist() for k, v in results.attrs.items() if k != DIGEST}
    sha.update(repr(sorted(attributes.items())).encode())
    return sha.hexdigest()


def keep_plan(plan: Mapping[str, Any], path: Path, what: str, grows: str = "") -> None:
    """Write down what the cells in this folder depend on, or check that it is the same: cells of other options must not
    be taken for these. ``grows``: the key of a table to which entries may be added. Raises
    :class:`ConnectomeError`."""
    from connectome.io.results import save_text

    new: dict[str, Any] = json.loads(json.dumps(plan))
    if path.exists():
        try:
            before = json.loads(path.read_bytes())
            if grows:  # what is new to either is kept
                new[grows] = {**before[grows], **new[grows]}
                agrees = {**new, grows: {k: new[grows][k] for k in before[grows]}} == before
            else:
                agrees = new == before
        except (OSError, ValueError, RecursionError, LookupError, TypeError) as error:
            raise ConnectomeError(str(path), f"must be as the {what} wrote it", str(error)) from error
        if not agrees:
            raise ConnectomeError(
                "--out", f"must hold no {what} with other options or of another version", str(path),
                "Choose another folder, or remove this one.",
            )  # fmt: skip
        if new == before:
            return
    save_text(json.dumps(new, indent=1), path)


def run_shown(
    study: Study, cells: Sequence[Cell], folder: Shared, options: argparse.Namespace, console: Console
) -> bool:
    """:func:`run_cells` as ``--jobs``, ``--scheduler`` and ``--cells`` say, with a line that says how far it is; with
    ``--verbose`` one that stays for each cell. Returns whether all cells are there now."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from connectome.graph.flat import cores
    from sims.screen import teller

    columns = (
        TextColumn("cells"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
        TextColumn("{task.description}", markup=False),
    )  # fmt: skip
    mine = chosen_cells(cells, options)
    jobs, say = min(options.jobs or cores(), len(mine)), teller() if options.verbose else lambda text: None
    with Progress(*columns, console=console, disable=options.verbose) as progress:
        bar = progress.add_task("", total=len(mine))
        for cell in run_cells(study, mine, folder, jobs, options.scheduler):
            progress.update(bar, advance=1, description=f"{cell.condition}, seed {cell.seed}")
            say(f"{cell.condition}, seed {cell.seed}")
    there = sum((folder.path / CELLS / cell.file).exists() for cell in cells)
    if there < len(cells):
        console.print(f"{there} of {len(cells)} cells are there; what they say together comes with the last one.")
    return there == len(cells)


def chosen_cells(cells: Sequence[Cell], options: argparse.Namespace) -> Sequence[Cell]:
    """Those that ``--cells`` names. Raises :class:`ConnectomeError`: programs ask before they write anything."""
    return cells if options.cells is None else [cells[k] for k in numbers("--cells", options.cells, len(cells))]


def loaded(cells: Sequence[Cell], folder: Path) -> Iterator[tuple[Cell, xr.Dataset]]:
    """Each cell's results, from its file. Raises :class:`ConnectomeError` for one that is damaged or another cell's."""
    from connectome.io.results import load_results

    for cell in cells:
        path = folder / CELLS / cell.file
        results = load_results(path)
        if str(results.attrs.get(DIGEST)) != _digest(results):
            raise ConnectomeError(
                str(path), "must be as it was written", "another content", "Remove it: it is computed again."
            )
        if (results.attrs["condition"], results.attrs["seed"]) != tuple(cell):
            raise ConnectomeError(
                str(path), f"must be of {cell.condition!r}, seed {cell.seed}", "another cell's", "Remove it."
            )
        yield cell, results


def gather(study: Study, cells: Sequence[Cell], folder: Path) -> xr.Dataset:
    """The results of these cells as one dataset, dims ``condition`` and ``seed`` first. Raises
    :class:`ConnectomeError` for a cell's file that is damaged or is another cell's."""
    import xarray as xr

    found: dict[int, list[xr.Dataset]] = {}
    for cell, results in loaded(cells, folder):
        results.attrs = {}
        found.setdefault(cell.seed, []).append(results.assign_coords(condition=cell.condition))
    rows = [xr.concat(each, "condition", join="outer").assign_coords(seed=seed) for seed, each in found.items()]
    results = xr.concat(rows, "seed", join="outer").transpose("condition", "seed", ...)
    # Where cells differ in the order of a coordinate, joining has sorted it: the first cell's order is what is meant.
    first = next(iter(found.values()))[0].indexes
    orders = {name: index for name, index in first.items() if set(index) == set(results.indexes[name])}
    return results.reindex(orders | {"condition": [c for c in study.conditions if c in results.condition]})
