"""What programs print: tables that fit the terminal, the same numbers as JSON, and how far the work is."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas
    import xarray as xr
    from rich.console import Console

    from connectome.development.stage import Progress as Stand
    from connectome.development.stage import Stage

__all__ = ["StageLines", "console_of", "print_json", "print_table", "progress", "teller"]

#: The least that the screen leaves to names; what headings may take.
_NAME, _HEADING = 22, 12


def console_of(options: argparse.Namespace) -> Console:
    """Where a program prints its tables and what is said of them: nowhere with ``--quiet``, nor with ``--json``."""
    from rich.console import Console

    return Console(quiet=options.quiet or getattr(options, "json", False))


@contextmanager
def progress(options: argparse.Namespace, first: str = "") -> Iterator[Callable[[str], None]]:
    """In the block, a line on the standard error that says what is being done and for how long; what it gives is told
    so, ``first`` at once. With ``--verbose`` each is a line that stays; nothing with ``--quiet``, or where there is no
    terminal."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    if options.verbose:
        say = teller()
        say(first)
        yield say
        return
    console = Console(stderr=True, quiet=options.quiet)
    columns = SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False)
    with Progress(*columns, console=console, transient=True, disable=options.quiet or not console.is_terminal) as bar:
        line = bar.add_task(first, total=None)
        yield lambda text: bar.update(line, description=text)


def teller() -> Callable[[str], None]:
    """What prints lines to the standard error, each with the seconds since now."""
    began = time.monotonic()

    def say(text: str) -> None:
        if text:
            print(f"{time.monotonic() - began:8.1f} s  {text}", file=sys.stderr, flush=True)

    return say


def print_json(results: xr.Dataset | Mapping[str, pandas.DataFrame]) -> None:
    """Print a dataset as ``xarray.Dataset.from_dict`` reads it, or tables as lists of rows; null for what is not
    known."""
    tables: Any = results
    is_one = hasattr(results, "data_vars")
    plain = tables.to_dict() if is_one else {k: table.to_dict("records") for k, table in tables.items()}
    print(json.dumps(_plain(plain), allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(of) for key, of in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(of) for of in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


class StageLines:
    """Live progress: one line a stage, with its update, loss, validation score and edges; ``verbose``: one that stays
    for each epoch."""

    def __init__(self, console: Console, stages: Sequence[Stage], verbose: bool = False) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description:11}"), BarColumn(bar_width=4),
            TextColumn("{task.completed:>4.0f}/{task.total:.0f}"), TextColumn("{task.fields[seen]}"),
            TimeElapsedColumn(),
        )  # fmt: skip
        self._progress = Progress(*columns, console=console, disable=console.quiet or verbose)  # else a thread
        self._say = teller() if verbose else lambda text: None
        self._lines = [
            self._progress.add_task(stage.task.name, total=stage.updates, seen="", start=False) for stage in stages
        ]

    def __enter__(self) -> StageLines:
        self._progress.start()
        self._progress.start_task(self._lines[0])
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, p: Stand) -> None:
        """Update the line of a stage."""
        line = self._lines[p.stage - 1]
        if not self._progress.tasks[p.stage - 1].started:
            self._progress.start_task(line)
        score = "-" if p.score != p.score else f"{p.score:.0%}"
        edges = f"local {p.local_edges / 1e3:.1f}k long {p.long_range_edges / 1e3:.1f}k"
        seen = f"loss {p.loss:.3f} val {score:>4} {edges}"
        self._progress.update(line, completed=p.update, seen=seen)
        self._say(f"{p.region} {p.update}/{p.updates}: {seen}")


def print_table(console: Console, title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under their columns: the first, and a last one of units, to the left, numbers to the right.

    Nothing is cut: long names go on in the next line, and columns for which the screen is too narrow follow below.
    """
    from rich.box import SIMPLE_HEAD
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    cells = [[_folded(name, _HEADING) for name in columns], *(list(row) for row in rows)]
    width = [
        max(cell_len(line) for cell in column for line in cell.split("\n")) + 2 for column in zip(*cells, strict=True)
    ]
    units = [len(columns) - 1] if columns[-1] == "units" else []
    numbers = [i for i in range(1, len(columns)) if i not in units]
    room = console.width - 2 - sum(width[i] for i in units)
    first = max(min(width[0], _NAME), min(width[0], room - sum(width[i] for i in numbers)))
    for row in cells[1:]:
        row[0] = _folded(row[0], first - 2)
    parts: list[list[int]] = [[]]
    for i in numbers:
        if parts[-1] and first + sum(width[k] for k in [*parts[-1], i]) > room:
            parts.append([])
        parts[-1].append(i)
    if title:
        console.print(title, highlight=False, markup=False)
    for part in parts:
        table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
        shown = [0, *part, *units]
        for i in shown:
            table.add_column(Text(cells[0][i]), justify="right" if i in numbers else "left", no_wrap=True)
        for row in cells[1:]:
            table.add_row(*(Text(row[i]) for i in shown))
        console.print(table)


def _folded(text: str, width: int) -> str:
    """In lines of at most this width, broken after a space, a line below or a slash, if there is one."""
    lines = [""]
    for piece in re.findall(r"[^ _/]*[ _/]?", text):
        if lines[-1] and len(lines[-1] + piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)
