"""Published systems on trial: a row each, beside comparators, with a verdict that is computed from what was measured.

A :class:`Trial` is registered by its name in the group of its study. Its conditions are cells, as of any study, so that
``python -m sims.study circuits --only gain_control`` runs one row, and a study that was killed goes on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from connectome import plugins
from connectome.analysis.intervals import mean_of, paired
from connectome.errors import ConnectomeError
from sims.studies.cells import Cell, Study, StudyTable

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from connectome.io.results import Film

__all__ = ["Check", "Measure", "Trial", "Values", "better", "circuits", "mechanisms", "no_worse"]

_EXTRA: Final = "Install it with one of the extras of pyproject.toml."

#: condition -> measure -> (seeds,); nan where a condition does not have it.
Values = Mapping[str, Mapping[str, "NDArray[np.float64]"]]


class Measure(NamedTuple):
    """How a figure is written: times ``scale``, with ``digits`` after the point, its unit behind it."""

    unit: str = ""
    scale: float = 1.0
    digits: int = 2
    falls: bool = False  # less is better


class Check(NamedTuple):
    """A part of the claim, with the threshold that it is judged by, and whether it held."""

    claim: str
    found: str
    holds: bool


def better(claim: str, ours: NDArray[np.float64], other: NDArray[np.float64]) -> Check:
    """A part of the claim that holds if ours is above the other, seed by seed, by more than its interval; in points."""
    gain = paired(ours, other)
    return Check(claim, gain.text(100, 1, " points"), gain.mean > gain.half)


def no_worse(claim: str, ours: NDArray[np.float64], other: NDArray[np.float64]) -> Check:
    """A part of the claim that holds unless ours is below the other, seed by seed, by more than its interval; in
    points."""
    gain = paired(ours, other)
    return Check(claim, gain.text(100, 1, " points"), bool(gain.mean >= -gain.half))


@dataclass(frozen=True)
class Trial:
    """A published system on trial.

    Parameters
    ----------
    system, paper, claim : what the table says of it. Authors, year, where it appeared; what was claimed, in a line
    measures : name -> how it is written. The first one is the table's, and chooses the best comparator
    conditions : the first is ours; the others are comparators and controls
    comparators : which of them compete with ours: as well tuned, at the same budget
    run : (condition, seed, quick) -> measures of one run; those that it does not have are left out
    check : what was measured -> the parts of the claim
    draw : (quick) -> pictures and films, made anew from the first seed
    needs : modules of packages that not everybody has: without them the study leaves the system out
    """

    system: str
    paper: str
    claim: str
    measures: Mapping[str, Measure]
    conditions: tuple[str, ...]
    run: Callable[[str, int, bool], Mapping[str, float]]
    check: Callable[[Values], Sequence[Check]]
    comparators: tuple[str, ...] = ()
    draw: Callable[[bool], Mapping[str, Figure | Film]] = field(default=lambda quick: {})
    needs: tuple[str, ...] = ()


def circuits(quick: bool, images: str, only: Sequence[str] = ()) -> Study:
    """Circuits that remember, predict, adapt and move, as published, beside tuned comparators."""
    return _study("circuits", "Published circuits on this engine, beside tuned comparators.", quick, only)


def mechanisms(quick: bool, images: str, only: Sequence[str] = ()) -> Study:
    """Mechanisms of development and of learning that lasts, beside tuned comparators."""
    return _study("mechanisms", "Mechanisms of development and learning, beside tuned comparators.", quick, only)


def _study(group: str, about: str, quick: bool, only: Sequence[str]) -> Study:
    names = list(plugins.known(group))
    for name in only:
        if name not in names:
            raise ConnectomeError("--only", f"must be among {', '.join(names)}", repr(name))
    chosen = {name: _load(group, name) for name in names if name in only or not only}
    lacking = {name: [m for m in trial.needs if find_spec(m) is None] for name, trial in chosen.items()}
    for name, modules in lacking.items():
        if modules and name in only:
            raise ConnectomeError("--only", f"needs {', '.join(modules)} for {name}", "not installed", _EXTRA)
        if modules:
            del chosen[name]
            about += f" Without {name}: it needs {', '.join(modules)}. {_EXTRA}"
    return Study(
        about, tuple(f"{name}: {condition}" for name, trial in chosen.items() for condition in trial.conditions),
        partial(_cell, group), partial(_tables, group), partial(_figures, group, quick),
        seeds=2 if quick else 5, options={"quick": quick},
    )  # fmt: skip


def _load(group: str, name: str) -> Trial:
    trial: Trial = plugins.load(group, name, group)
    return trial


def _cell(group: str, cell: Cell, options: Mapping[str, Any]) -> xr.Dataset:
    import xarray as xr

    name, condition = cell.condition.split(": ", 1)
    began = time.process_time()
    found = _load(group, name).run(condition, cell.seed, options["quick"])
    cpu_s = time.process_time() - began
    return xr.Dataset(
        {"value": ("measure", np.array(list(found.values()), float)), "cpu_s": ((), cpu_s, {"units": "s"})},
        coords={"measure": list(found)},
    )


def _values(results: xr.Dataset, name: str, trial: Trial) -> Values:
    """What was measured of the conditions of a trial that were run."""
    ran = {c: f"{name}: {c}" for c in trial.conditions if f"{name}: {c}" in results.condition}
    value = results.value.reindex(measure=list(trial.measures))  # nan for what no condition has
    return {c: {m: value.sel(condition=cell, measure=m).values for m in trial.measures} for c, cell in ran.items()}


def _ran(results: xr.Dataset, group: str) -> dict[str, Trial]:
    names = dict.fromkeys(str(c).split(": ")[0] for c in results.condition.values)
    return {name: _load(group, name) for name in names}


def _text(values: NDArray[np.float64], measure: Measure) -> str:
    return mean_of(values).text(measure.scale, measure.digits, measure.unit) if np.isfinite(values).any() else ""


def _best(values: Values, trial: Trial) -> str:
    """The best comparator by the mean of the first measure, and what it reached."""
    name, measure = next(iter(trial.measures.items()))
    means = {c: mean_of(values[c][name]).mean for c in trial.comparators if c in values}
    if not means:
        return ""
    best = (min if measure.falls else max)(means, key=means.__getitem__)
    return f"{best}: {_text(values[best][name], measure)}"


def _tables(group: str, results: xr.Dataset) -> list[StudyTable]:
    rows, details = [], []
    for name, trial in _ran(results, group).items():
        values = _values(results, name, trial)
        checks = list(trial.check(values)) if set(values) == set(trial.conditions) else []
        held = sum(check.holds for check in checks)
        verdict = "" if not checks else "holds" if held == len(checks) else "partly" if held else "no"
        first, measure = next(iter(trial.measures.items()))
        ours = trial.conditions[0]
        cpu_s = float(sum(results.cpu_s.sel(condition=f"{name}: {c}").sum() for c in values))
        rows.append(
            [
                trial.system, trial.paper, trial.claim,
                f"{first}: {_text(values[ours][first], measure)}" if ours in values else "", _best(values, trial),
                f"{verdict} ({held} of {len(checks)})" if checks else "not run whole",
                f"`python -m sims.study {group} --only {name}`", f"{cpu_s:.0f} s",
            ]
        )  # fmt: skip
        details.append(
            StudyTable(
                trial.system, " ".join(f"{'Yes' if c.holds else 'No'}: {c.claim} ({c.found})." for c in checks),
                ["", *trial.measures],
                [[c, *(_text(of[m], how) for m, how in trial.measures.items())] for c, of in values.items()],
            )
        )  # fmt: skip
    text = (
        "Ours and the best of its comparators by the first figure; the verdict counts the parts of the claim that held."
    )
    columns = ["system", "paper", "claim", "ours", "best comparator", "verdict", "command", "CPU time"]
    return [StudyTable("Systems", text, columns, rows), *details]


def _figures(group: str, quick: bool, results: xr.Dataset) -> dict[str, Figure | Film]:
    found: dict[str, Figure | Film] = {}
    for name, trial in _ran(results, group).items():
        found |= {f"{name}-{title}": figure for title, figure in trial.draw(quick).items()}
    return found
