"""What every study is made of: cells, one for each condition and seed, run in processes and kept in files."""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from connectome.errors import ConnectomeError

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from rich.console import Console

    from connectome.io.results import Film

__all__ = ["Cell", "Study", "StudyTable", "gather", "keep_plan", "loaded", "make_folder", "run_cells", "run_shown"]

CELLS, DIGEST = "cells", "digest"


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
    conditions, seeds : its cells are each of the one with each of the other
    cell : (cell, options) -> its results: scalars and small arrays. A function that another process can import
    tables, figures : what the report says of all cells together, a dataset with dims ``condition`` and ``seed``
    options : what the cells are told besides; a change of it makes other cells
    """

    about: str
    conditions: tuple[str, ...]
    cell: Callable[[Cell, Mapping[str, Any]], xr.Dataset]
    tables: Callable[[xr.Dataset], Sequence[StudyTable]]
    figures: Callable[[xr.Dataset], Mapping[str, Figure | Film]] = lambda results: {}
    seeds: int = 5
    options: Mapping[str, Any] = field(default_factory=dict)

    def cells(self) -> list[Cell]:
        """Seed by seed, so that what is finished first can be compared."""
        return [Cell(condition, seed) for seed in range(self.seeds) for condition in self.conditions]


def run_cells(study: Study, cells: Sequence[Cell], folder: Path, jobs: int) -> Iterator[Cell]:
    """Run the cells that have no file yet, ``jobs`` at a time, each in a process with its share of the cores; yield
    each cell as it is finished, those that were finished before first.

    A cell's results do not depend on ``jobs``. Files are written whole or not at all: a killed study goes on from them.
    """
    from connectome.graph.flat import cores

    todo = []
    for cell in cells:
        if (folder / CELLS / cell.file).exists():
            yield cell
        else:
            todo.append(cell)
    if not todo:
        return
    (folder / CELLS).mkdir(parents=True, exist_ok=True)
    share = multiprocessing.get_context("spawn").Queue()
    for k in range(jobs):
        share.put((k, jobs, cores()))
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _take_share, (share,))
    try:
        waiting: dict[Future[None], Cell] = {
            pool.submit(_work, study.cell, cell, dict(study.options), folder / CELLS / cell.file): cell for cell in todo
        }
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                cell = waiting.pop(future)
                future.result()
                yield cell
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()  # what is half done is done again
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _take_share(share: Any) -> None:
    """Bind a worker to its share of the cores, so that workers do not crowd each other; it ends when its parent does,
    also if that is killed."""
    import signal

    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the workers
    k, jobs, n = share.get()
    if hasattr(os, "sched_setaffinity"):
        mine = sorted(os.sched_getaffinity(0))[k % n :: jobs]
        os.sched_setaffinity(0, mine)
    os.environ["OMP_NUM_THREADS"] = str(max(1, n // jobs))  # torch, once it is imported


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # what is half done is done again


def _work(
    function: Callable[[Cell, Mapping[str, Any]], xr.Dataset], cell: Cell, options: Mapping[str, Any], path: Path
) -> None:
    from connectome.io.results import save_results

    results = function(cell, options).assign_attrs(condition=cell.condition, seed=cell.seed)
    save_results(results.assign_attrs({DIGEST: _digest(results)}), path)


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


def make_folder(out: Path) -> None:
    """The folder of a study. Raises :class:`ConnectomeError`."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConnectomeError("--out", "must be a folder that can be written", f"{out}: {error.strerror}") from error


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


def run_shown(study: Study, cells: Sequence[Cell], out: Path, options: argparse.Namespace, console: Console) -> None:
    """:func:`run_cells` in as many processes as ``--jobs`` says, with a line that says how far it is; with
    ``--verbose`` one that stays for each cell."""
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
    jobs, say = min(options.jobs or cores(), len(cells)), teller() if options.verbose else lambda text: None
    with Progress(*columns, console=console, disable=options.verbose) as progress:
        bar = progress.add_task("", total=len(cells))
        for cell in run_cells(study, cells, out, jobs):
            progress.update(bar, advance=1, description=f"{cell.condition}, seed {cell.seed}")
            say(f"{cell.condition}, seed {cell.seed}")


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
