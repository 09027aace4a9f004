"""The measured connectome that regions of a development are taken from: the options, and what a run holds of it.

A run keeps what it took in a folder of its own, ``RUN/wiring/wiring.h5``: going on with it and running it again read
that file, and never the one that the configuration names.
"""

from __future__ import annotations

import argparse
import json
import os
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from connectome.errors import ConnectomeError

if TYPE_CHECKING:
    from connectome.development.configuration import Configuration
    from connectome.graph.connectome import Connectome
    from connectome.learning.task import Task

__all__ = ["WIRING", "add_options", "changes", "check_held", "claim", "keep", "named_regions", "shuffled", "wired"]

#: Where a run keeps what it took: in a folder, so that it is no stage of the run.
WIRING: Final = Path("wiring") / "wiring.h5"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument(
        "--wiring", metavar="FILE",
        help="take the regions from this connectome: a file of any format that is read, or the name of a measured one",
    )  # fmt: skip
    parser.add_argument(
        "--regions-from", metavar="NAME",
        help="an attribute of its neurons (class, neuropil...), whose values are the regions that --regions names "
        "(default: its own regions)",
    )  # fmt: skip
    parser.add_argument(
        "--sensory", metavar="QUERY", help="""the cells that sensors project to, e.g. "class == 'sensory'" """
    )
    parser.add_argument("--output", metavar="QUERY", help="the cells that effectors hear (default of both: all)")
    parser.add_argument(
        "--signs", choices=["fly", "mammal"],
        help="signs by what cells release (default: those of the file or, where it has none, drawn)",
    )  # fmt: skip
    parser.add_argument(
        "--wiring-shuffled", action="store_true",
        help="a control: at birth, other targets for the same edges; each neuron keeps its degrees, sign and weights",
    )  # fmt: skip


def named_regions(options: argparse.Namespace) -> tuple[tuple[str, ...], dict[str, str]]:
    """The regions in order, and those of the wiring that they are by ``NAME=REGION``, as queries for their cells."""
    given = "perception,motor,interaction" if options.regions is None else options.regions
    pairs = [text.partition("=") for text in given.split(",")]
    column = options.regions_from or "region"
    cells = {name.strip(): f"{column} == {json.dumps(own.strip())}" for name, is_one, own in pairs if is_one}
    if options.regions_from and not cells:
        raise ConnectomeError("--regions-from", "must go with --regions NAME=REGION", repr(options.regions_from))
    return tuple(name.strip() for name, _, _ in pairs), cells


def changes(options: argparse.Namespace, cells: dict[str, str]) -> list[str]:
    """What the options change in a configuration, as ``--set`` has it."""
    if options.wiring == "":
        raise ConnectomeError("--wiring", "must be a file or the name of a measured connectome", "nothing")
    names = {"wiring": options.wiring, "sensory": options.sensory, "output": options.output, "signs": options.signs}
    told = [f"anatomy.{name}={json.dumps(value)}" for name, value in names.items() if value is not None]
    return told + [f"regions.{name}.cells={json.dumps(query)}" for name, query in cells.items()]


def shuffled(configuration: Configuration) -> Configuration:
    """The control: wiring that is shuffled at each birth."""
    from connectome import plugins

    return replace(
        configuration, rules={"shuffled": plugins.load("rules", "shuffled", "rules")(), **configuration.rules}
    )


def wired(
    configuration: Configuration, tasks: Sequence[Task], held: Path | None = None
) -> tuple[Configuration, Connectome | None]:
    """What is taken from the wiring that a configuration names, None if it names none, and the configuration with its
    digest. ``held``: the run that took it, whose own file is read instead. Raises :class:`ConnectomeError`, also for a
    digest that is not the configuration's."""
    from connectome.development.measured import measured_regions
    from connectome.io.snapshot import load

    anatomy = configuration.anatomy
    if not anatomy.wiring:
        return configuration, None
    if held is not None:
        _check_there(held)
        wiring = load(held / WIRING)
    else:
        anatomies = {task.name: configuration.anatomy_of(task.name) for task in tasks}
        wiring = measured_regions(_opened(configuration), tasks, anatomies)
    digest = wiring.digest()
    if anatomy.wiring_digest not in ("", digest):
        where = anatomy.wiring if held is None else str(held / WIRING)
        rule = f"must give the wiring that the run took, with the digest {anatomy.wiring_digest[:16]}"
        raise ConnectomeError(where, rule, digest[:16], "Take what it was, or leave anatomy.wiring_digest out.")
    return replace(configuration, anatomy=replace(anatomy, wiring_digest=digest)), wiring


def _opened(configuration: Configuration) -> Connectome:
    """The file that a configuration names, with signs."""
    from connectome.experiment import animate, physiology_from
    from sims.inputs import open_graph

    anatomy = configuration.anatomy
    try:
        wiring = open_graph(anatomy.wiring)
    except ConnectomeError as error:
        raise ConnectomeError(
            error.field.replace("graph", "anatomy.wiring"), error.rule, error.found, error.hint
        ) from None
    if not anatomy.signs:
        return wiring
    try:
        return animate(wiring, physiology_from({"signs": anatomy.signs, "unknown": anatomy.unknown_signs}))[0]
    except ConnectomeError as error:
        hint = "Leave anatomy.signs out: signs are then the file's or drawn."
        if error.field.startswith("physiology.signs by"):
            hint = 'Or anatomy.unknown_signs = "excitatory", "inhibitory" or "drop".'
        field = error.field.replace("physiology.unknown", "anatomy.unknown_signs").replace("physiology.", "anatomy.")
        raise ConnectomeError(field, error.rule, error.found, hint) from None


# What a run holds


def claim(out: Path, wiring: Connectome | None) -> list[Path]:
    """What a folder holds of another run's wiring. The same wiring is none: a run was killed just when it began."""
    from connectome.io.snapshot import load

    path = out / WIRING
    if not os.path.lexists(path) or (wiring is not None and load(path).digest() == wiring.digest()):
        return []
    return [path]


def keep(out: Path, wiring: Connectome | None) -> None:
    """Write what a run took into its folder."""
    from connectome.io.snapshot import save

    if wiring is not None:
        (out / WIRING).parent.mkdir(exist_ok=True)
        save(wiring, out / WIRING, overwrite=True)


def _check_there(run: Path) -> None:
    """Refuse a run that lost its wiring. Raises :class:`ConnectomeError`."""
    if not (run / WIRING).is_file():
        raise ConnectomeError(str(run / WIRING), "must be the wiring that the run took", "none", "Start the run again.")


def check_held(run: Path, configuration: str) -> list[str]:
    """The names of the files of wiring of a finished run, by the text of its configuration: one or none. Raises
    :class:`ConnectomeError` where it is not what the run took."""
    from connectome.io.snapshot import load

    anatomy = tomllib.loads(configuration).get("anatomy", {})
    if not anatomy.get("wiring"):
        return []
    _check_there(run)
    digest = load(run / WIRING).digest()
    if digest != anatomy.get("wiring_digest"):
        raise ConnectomeError(
            str(run / WIRING), f"must have the digest in the configuration, {anatomy.get('wiring_digest')}", digest
        )
    return [WIRING.as_posix()]
