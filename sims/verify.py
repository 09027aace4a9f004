"""Check a run: whether its files are whole and fit together, and whether the same run gives the same bytes here.

python -m sims.verify runs/seed0
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from connectome.errors import ConnectomeError
from sims import develop
from sims.program import add_loudness, ended, exit_codes
from sims.screen import progress
from sims.wirings import WIRING

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["first_difference", "main", "parser"]


def parser() -> argparse.ArgumentParser:
    """The options, and what ``--help`` says."""
    options = argparse.ArgumentParser(
        prog="python -m sims.verify",
        description="Check that every file of a run is whole and that they fit together; then run it again into a "
        "temporary folder and compare every dataset of every snapshot and of the results, bit for bit.",
        epilog=exit_codes("the rerun differs", "the run is as it was"),
    )
    options.add_argument("run", type=Path, metavar="RUN", help="the folder of a run that sims.develop finished")
    options.add_argument("--quick", action="store_true", help="check the files and do not run it again")
    add_loudness(options)
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    return ended("verify", lambda: _verify(options), lambda: "The run is as it was.")


def _verify(options: argparse.Namespace) -> int:
    run: Path = options.run

    def say(line: str) -> None:
        if not options.quiet:
            print(line, flush=True)

    with progress(options, f"Reading every file of {run}"):
        results, names, count = _check(run)
    say(f"{run}: {count} files are as the run wrote them, and fit together.")
    if options.quick:
        return 0
    attrs = results.attrs
    with TemporaryDirectory(prefix="verify_") as place:
        again = Path(place) / "run"
        (Path(place) / develop.CONFIGURATION).write_text(attrs["configuration"], "utf-8")
        say(f"Running it again: {attrs['regions']}, seed {attrs['seed']}.")
        command = [
            "--regions",
            attrs["regions"],
            "--seed",
            str(attrs["seed"]),
            "--engine",
            attrs["engine"],
            "--no-report",
            "--quiet",
        ]
        command += ["--config", str(Path(place) / develop.CONFIGURATION)]
        with progress(options, "Running it again"):
            develop.start(develop.parser().parse_args(command), again, run)
        for name in names:
            difference = first_difference(run / name, again / name)
            if difference is None:
                continue
            here = _ran_on(again / develop.RESULTS)
            print(f"{run / name} and its rerun differ. {difference}")
            print(f"It ran on:    {_ran_on(run / develop.RESULTS)}\nThe rerun on: {here}")
            return 1
    say(f"The rerun is bit-identical: every dataset of {', '.join(names)}.")
    return 0


def _check(run: Path) -> tuple[xr.Dataset, list[str], int]:
    """A finished run's results, the names of its files of data, and how many files it has. Raises
    :class:`ConnectomeError` for what is missing, damaged, or of another run."""
    from connectome.io.checkpoint import has_checkpoint, stage_file
    from connectome.io.results import load_development
    from connectome.io.seal import load_manifest
    from connectome.io.snapshot import load, open_snapshot

    if not run.is_dir():
        raise ConnectomeError("RUN", "must be the folder of a run", repr(str(run)))
    if has_checkpoint(run):
        raise ConnectomeError(
            str(run), "must be a finished run", "one with checkpoints", f"python -m sims.develop --resume {run}"
        )
    manifest = load_manifest(run)
    results = load_development(run / develop.RESULTS)
    text, configuration = results.attrs["configuration"], run / develop.CONFIGURATION
    try:
        written = configuration.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ConnectomeError(str(configuration), "must be a text that can be read", error) from None
    if written != text:
        raise ConnectomeError(str(configuration), "must be the configuration in the results", "another text")
    stages = ["birth", *results.attrs["regions"].split(",")]
    names = [stage_file(number, name) for number, name in enumerate(stages)]
    parents: tuple[str, ...] = ()
    for number, name in enumerate(names):
        snapshot = open_snapshot(run / name)
        if snapshot.config != text:
            raise ConnectomeError(str(run / name), "must have the configuration in the results", "another text")
        origin = snapshot.provenance
        if (origin.stage, origin.stage_name, origin.parents) != (number, stages[number], parents):
            raise ConnectomeError(
                str(run / name), f"must be stage {number}, {stages[number]}, and follow from the one before it",
                f"stage {origin.stage}, {origin.stage_name}, with parents {list(origin.parents)}",
            )  # fmt: skip
        digest = load(run / name).digest()
        parents = (digest,) if number else ()
    held = [WIRING.as_posix()] if WIRING.as_posix() in manifest.files else []
    return results, [*held, *names, develop.RESULTS], len(manifest.files)


def first_difference(path: Path, other: Path) -> str | None:
    """Where the datasets of two HDF5 files differ first; None if they do not. What one of them claims is read only
    where the other, which is believed, is as large. Raises :class:`ConnectomeError` if the first is damaged."""
    import h5py
    import numpy as np

    from connectome.io.hdf5 import reading

    if path.read_bytes() == other.read_bytes():
        return None

    def datasets(file: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        file.visititems(lambda name, item: found.update({name: item}) if isinstance(item, h5py.Dataset) else None)
        return found

    def differences(mine: dict[str, Any], theirs: dict[str, Any]) -> Iterator[str]:
        for name in sorted(mine.keys() ^ theirs.keys()):
            yield f"/{name} is only in {'the first' if name in mine else 'the second'}"
        for name in sorted(mine.keys() & theirs.keys()):
            a, b = mine[name], theirs[name]
            if a.dtype != b.dtype or a.shape != b.shape:
                yield f"/{name} is {a.dtype} of shape {a.shape} and {b.dtype} of shape {b.shape}"
                continue
            if not a.size:
                continue
            left, right = (np.atleast_1d(np.asarray(d[()])).reshape(-1) for d in (a, b))
            if left.dtype.hasobject:
                differ = np.array([x != y for x, y in zip(left, right, strict=True)], bool)
            else:
                bits = [np.ascontiguousarray(x).view(np.uint8).reshape(x.size, -1) for x in (left, right)]
                differ = (bits[0] != bits[1]).any(1)
            if differ.any():
                at = int(np.argmax(differ))
                count = f"{int(differ.sum()):,} of {differ.size:,} values"
                yield f"/{name}: {count}, the first at {at}: {left[at]!s} and {right[at]!s}"

    with reading(path), h5py.File(path, "r", locking=False) as mine, h5py.File(other, "r", locking=False) as theirs:
        return next(differences(datasets(mine), datasets(theirs)), None)


def _ran_on(results: Path) -> str:
    from connectome.io.results import load_development

    attrs = load_development(results).attrs
    return "; ".join(attrs[name] for name in ("versions", "machine"))


if __name__ == "__main__":
    sys.exit(main())
