"""List the runs that there are, set some side by side, or remove them: developments, studies, experiments.

python -m sims.runs --compare runs/seed0 runs/seed1
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from connectome.errors import ConnectomeError
from connectome.texts import listed, percent, plural
from sims.program import add_json, add_loudness, ended, exit_codes, locked
from sims.screen import console_of, print_table, progress

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Run", "main", "parser", "runs_in"]

#: What a run's folder holds, of a development and of a program that goes on from its cells. Whatever else is in one is
#: somebody's own.
_DEVELOPMENT: Final = (
    r"\d\d_\w[\w.-]*\.(h5|sonata)|results\.nc|configuration\.toml|manifest\.json|development\.png|report\.html|"
    r"checkpoints|wiring|tensorboard|wandb"
)
_CELLS: Final = (
    r"(study|plan|background)\.json|cells|[\w-]+\.(png|gif|csv)|results\.nc|report\.md|experiment\.(toml|html)"
)
_TEMPORARY: Final = r"\..*\.tmp"


class Run(NamedTuple):
    """A folder that a program wrote: what it is, whether it is finished, when it was last written to (seconds since
    1970), its seed or how many, test scores at the end by task, and bytes."""

    path: Path
    what: str
    state: str
    when: float
    seed: str
    scores: dict[str, float]
    size: int


def parser() -> argparse.ArgumentParser:
    """The options, and what ``--help`` says."""
    parser = argparse.ArgumentParser(
        prog="python -m sims.runs",
        description="List the runs in a folder: what each is, when it was last written to, its seeds, scores and size. "
        "Or set runs of sims.develop side by side, with what differs in their configurations; or remove runs.",
        epilog=exit_codes(),
    )
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="where runs are (default: runs)")
    doing = parser.add_mutually_exclusive_group()
    doing.add_argument("--compare", action="store_true", help="set these runs side by side")
    doing.add_argument("--remove", action="store_true", help="remove these runs, after asking")
    parser.add_argument("--yes", action="store_true", help="with --remove: do not ask")
    add_json(parser)
    add_loudness(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    return ended("runs", lambda: _runs(options), lambda: "")


def _runs(options: argparse.Namespace) -> int:
    if options.yes and not options.remove:
        raise ConnectomeError("--yes", "must go with --remove", "no --remove")
    if (options.compare or options.remove) and not options.folders:
        raise ConnectomeError("FOLDER", "must be given", "none", "python -m sims.runs lists what there is.")
    if options.compare:
        return _compare(options)
    if options.remove:
        for folder in options.folders:
            _check_removable(folder)
        return max(_remove(folder, options) for folder in options.folders)
    with progress(options, "Looking"):
        found = [run for folder in options.folders or [Path("runs")] for run in runs_in(folder)]
    if options.json:
        print(json.dumps([run._asdict() | {"path": str(run.path)} for run in found]))
        return 0
    console = console_of(options)
    rows = [
        [
            str(run.path), run.what, run.state, time.strftime("%Y-%m-%d %H:%M", time.localtime(run.when)), run.seed,
            ", ".join(percent(score, 0) for score in run.scores.values()) or "-", f"{run.size / 1e6:,.1f} MB",
        ]
        for run in found
    ]  # fmt: skip
    if rows:
        print_table(console, "", ["run", "what", "state", "last written", "seed", "scores", "size"], rows)
    else:
        where = ", ".join(map(str, options.folders)) or "runs"
        console.print(f"No runs in {where}. Begin one: python -m sims.develop", highlight=False, markup=False)
    return 0


def runs_in(folder: Path) -> Iterator[Run]:
    """The run that a folder is, or those right in it, the last written to first. Links are not followed. Raises
    :class:`ConnectomeError` for what is no folder; :class:`OSError` for one that cannot be listed."""
    if not folder.is_dir():
        if folder == Path("runs") and not os.path.lexists(folder):
            return
        raise ConnectomeError("FOLDER", "must be a folder", repr(str(folder)))
    own = _run(folder)
    places = [folder / name for name in sorted(os.listdir(folder))]
    inside = [run for place in places if place.is_dir() and not place.is_symlink() for run in [_run(place)] if run]
    yield from [own] if own else sorted(inside, key=lambda run: -run.when)


def _run(folder: Path) -> Run | None:
    kind = _kind(folder)
    if kind is None:
        return None
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    when = max((path.stat().st_mtime for path in files), default=folder.stat().st_mtime)
    size = sum(path.stat().st_size for path in files)
    results = _results(folder)
    seed, scores, what = "-", {}, kind
    if kind == "development":
        what = _regions(folder, results)
        if results is not None:
            seed = str(results.attrs["seed"])
            scores = {
                str(task): float(v) for task, v in zip(results.task.values, results.score.values[-1], strict=True)
            }
            scores = {task: score for task, score in scores.items() if score == score}
        finished = (folder / "manifest.json").exists()
    else:
        if results is not None and "seed" in results.sizes:
            seed = plural(results.sizes["seed"], "seed")
        what = f"study {results.attrs['study']}" if results is not None and "study" in results.attrs else kind
        finished = results is not None
    state = "under way" if _is_in_use(folder) else "finished" if finished else "stopped"
    return Run(folder, what, state, when, seed, scores, size)


def _kind(folder: Path) -> str | None:
    """What a folder says that it is; None if it is no run."""
    if (folder / "study.json").is_file():
        return "study"
    if (folder / "plan.json").is_file():
        return "experiment" if (folder / "experiment.toml").is_file() else "study of cells"
    if (folder / "configuration.toml").is_file() and any(
        (folder / name).exists() for name in ("manifest.json", "results.nc", "checkpoints", "00_birth.h5")
    ):
        return "development"
    return None


def _results(folder: Path) -> xr.Dataset | None:
    """None for results that are not there yet, or damaged: a list still has the run."""
    from connectome.io.results import load_development, load_results

    path = folder / "results.nc"
    try:
        load = load_development if _kind(folder) == "development" else load_results
        return load(path) if path.is_file() else None
    except ConnectomeError:
        return None


def _regions(folder: Path, results: xr.Dataset | None) -> str:
    if results is not None:
        return str(results.attrs["regions"]).replace(",", ", ")
    stages = sorted(path.stem.partition("_")[2] for path in folder.glob("[0-9][0-9]_*.h5"))
    return f"development, {', '.join(stages) or 'nothing yet'}"


def _is_in_use(folder: Path) -> bool:
    try:
        with locked("FOLDER", folder):
            return False
    except ConnectomeError:
        return True


def _compare(options: argparse.Namespace) -> int:
    from connectome.development.results import of_kind
    from connectome.io.results import load_development
    from connectome.parameters import parse_toml

    table: dict[str, dict[str, str | float]] = {}
    for folder in options.folders:
        if _kind(folder) != "development" or not (folder / "results.nc").is_file():
            hint = "python -m sims.runs lists them."
            raise ConnectomeError("FOLDER", "must be a run of sims.develop, with results", repr(str(folder)), hint)
        results = load_development(folder / "results.nc")
        told: dict[str, str | float] = {"regions": results.attrs["regions"], "seed": int(results.attrs["seed"])}
        for task, score, cost in zip(
            results.task.values, results.score.values[-1], results.synaptic_operations.values[-1], strict=True
        ):
            told |= {f"score, {task}": float(score), f"operations a sample, {task}": float(cost)}
        told |= {f"{kind} edges": int(of_kind(results, kind).edges[-1]) for kind in ("local", "long_range")}
        table[str(folder)] = told | dict(_settings(parse_toml(results.attrs["configuration"], str(folder))))
    names = list(dict.fromkeys(name for told in table.values() for name in told))
    differ = {name for name in names if len({told.get(name) for told in table.values()}) > 1}
    shown = [name for name in names if name in differ or ("." not in name and name != "regions")]
    if options.json:
        print(json.dumps({run: {name: _known(told.get(name)) for name in shown} for run, told in table.items()}))
        return 0
    rows = [[name, *(_cell(name, told.get(name)) for told in table.values())] for name in shown]
    print_table(console_of(options), "At the end; of their configurations what differs", ["", *table], rows)
    return 0


def _settings(table: dict[str, Any], where: str = "") -> Iterator[tuple[str, str | float]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _settings(value, f"{where}{name}.")
        else:
            yield f"{where}{name}", value if isinstance(value, (str, int, float)) else str(value)


def _known(value: str | float | None) -> str | float | None:
    return None if value != value else value


def _cell(name: str, value: str | float | None) -> str:
    if value is None or value != value:
        return "-"
    if name.startswith("score, ") and isinstance(value, float):
        return percent(value)
    return f"{value:,.0f}" if name.endswith("edges") or name.startswith("operations") else str(value)


def _check_removable(folder: Path) -> None:
    """Refuse what is no run, or holds more than one. Raises :class:`ConnectomeError`."""
    if folder.is_symlink():
        raise ConnectomeError("FOLDER", "must be no link", repr(str(folder)), "Name the folder that it leads to.")
    kind = _kind(folder) if folder.is_dir() else None
    if kind is None:
        hint = "python -m sims.runs lists them."
        raise ConnectomeError("FOLDER", "must be the folder of a run", repr(str(folder)), hint)
    pattern = _DEVELOPMENT if kind == "development" else _CELLS
    own = [n for n in sorted(os.listdir(folder)) if not re.fullmatch(f"{pattern}|{_TEMPORARY}", n)]
    if own:
        raise ConnectomeError(str(folder), "must hold nothing but a run", listed(own), "Move that elsewhere first.")


def _remove(folder: Path, options: argparse.Namespace) -> int:
    run = _run(folder)
    assert run is not None
    if not options.yes:
        if not sys.stdin.isatty():
            raise ConnectomeError("--remove", "must be confirmed", "no terminal to ask at", "Add --yes.")
        if input(f"Remove {folder} ({run.what}, {run.state}, {run.size / 1e6:,.1f} MB)? [y/N] ").lower() != "y":
            print(f"{folder} stays.")
            return 0
    with locked("FOLDER", folder):
        _check_removable(folder)
        for name in ("manifest.json", "results.nc"):  # so that half of it passes for nothing whole
            (folder / name).unlink(missing_ok=True)
        shutil.rmtree(folder)
    if not options.quiet:
        print(f"Removed: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
