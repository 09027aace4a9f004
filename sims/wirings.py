"""The measured connectome that regions of a development are taken from: the options, and what a run holds of it.

A run keeps what it took in a folder of its own, ``RUN/wiring/wiring.h5``: going on with it and running it again read
that file, and never the one that the configuration names.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from connectome.errors import ConnectomeError

if TYPE_CHECKING:
    from connectome.development.configuration import Configuration
    from connectome.graph.connectome import Connectome
    from connectome.learning.task import Task

__all__ = ["WIRING", "add_options", "claim", "keep", "told", "wired"]

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
        "--signs", metavar="SPECIES",
        help="signs by what cells of the fly, mammal or worm release (default: the file's or, if it has none, drawn)",
    )  # fmt: skip
    parser.add_argument(
        "--wiring-shuffled", action="store_true",
        help="a control: at birth, other targets for the same edges; each neuron keeps its degrees, sign and weights",
    )  # fmt: skip


def told(options: argparse.Namespace) -> tuple[tuple[str, ...], Configuration]:
    """The regions in order, and the configuration with what the options say of a wiring: its regions by
    ``NAME=REGION``, as queries for their cells; the control, as the first rule. Raises :class:`ConnectomeError`."""
    from connectome import plugins
    from connectome.development.configuration import read_configuration

    if options.wiring == "":
        raise ConnectomeError("--wiring", "must be a file or the name of a measured connectome", "nothing")
    given = "perception,motor,interaction" if options.regions is None else options.regions
    pairs = [text.partition("=") for text in given.split(",")]
    names = {name: getattr(options, name) for name in ("wiring", "sensory", "output", "signs")}
    changes = [f"anatomy.{name}={json.dumps(value)}" for name, value in names.items() if value is not None]
    for name, is_one, own in pairs:
        if is_one:
            query = f"{options.regions_from or 'region'} == {json.dumps(own.strip())}"
            changes.append(f"regions.{name.strip()}.cells={json.dumps(query)}")
    if options.regions_from and not any(is_one for _, is_one, _ in pairs):
        raise ConnectomeError("--regions-from", "must go with --regions NAME=REGION", repr(options.regions_from))
    configuration = read_configuration(options.config, [*changes, *options.set])
    if options.wiring_shuffled:
        control = plugins.load("rules", "shuffled", "rules")()
        configuration = replace(configuration, rules={"shuffled": control, **configuration.rules})
    return tuple(name.strip() for name, _, _ in pairs), configuration


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


def keep(out: Path, wiring: Connectome | None) -> dict[str, str]:
    """Write what a run took into its folder; the files' digests by name. Raises :class:`OSError`."""
    from connectome.io.hdf5 import make_folder
    from connectome.io.seal import digests
    from connectome.io.snapshot import save

    if wiring is None:
        return {}
    make_folder((out / WIRING).parent)
    save(wiring, out / WIRING, overwrite=True)
    beside = (out / WIRING).with_suffix(".sonata").iterdir()
    return digests(out, [path.relative_to(out).as_posix() for path in (out / WIRING, *beside)])


def _check_there(run: Path) -> None:
    """Refuse a run that lost its wiring. Raises :class:`ConnectomeError`."""
    if not (run / WIRING).is_file():
        raise ConnectomeError(str(run / WIRING), "must be the wiring that the run took", "none", "Start the run again.")
