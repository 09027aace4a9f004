"""Take a graph, or spikes, to another tool: GraphML, GEXF, GML, Cytoscape, MATLAB, tables, The Virtual Brain, NWB, or
to NEST, Brian 2, PyNN or GeNN, as a script (to NEST also as a folder of links).

python -m sims.export runs/seed0 --stage motor --format graphml --out motor.graphml
python -m sims.export runs/seed0 --format nest --drive image:poisson=60 --out motor.nest.py
python -m sims.export large.h5 --format nest --drive '*:current=100' --out large.nest
python -m sims.export large.h5 --format parquet --out tables
"""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from connectome.errors import ConnectomeError
from connectome.graph.parts import KINDS
from sims.inputs import add_shape, open_graph, shaped, stage_path
from sims.program import add_common, ended, exit_codes, refuse_seed, refuse_taken, split_names
from sims.screen import progress
from sims.simulate import stimulus_of

if TYPE_CHECKING:
    from connectome.graph.connectome import Connectome
    from connectome.io.exchange import Format

__all__ = ["main", "parser", "selected"]

_NWB = "Neurodata Without Borders: pynwb, spikes (PATH is a SONATA spike file, such as sims.simulate writes)"


def parser() -> argparse.ArgumentParser:
    """The options, and what ``--help`` says."""
    from connectome.io.exchange import FORMATS

    formats = {f.name: f"{f.description} ({', '.join(f.suffixes)})" for f in FORMATS.values() if f.write} | {
        "nwb": f"{_NWB} (.nwb)"
    }
    lines = (textwrap.fill(f"{name:10} {text}", 80, initial_indent="  ", subsequent_indent=" " * 13)
             for name, text in formats.items())  # fmt: skip
    parser = argparse.ArgumentParser(
        prog="python -m sims.export",
        description="Write what can be read, or a part of it, in another format.",
        epilog="\n".join(["Formats:", *lines, "", textwrap.fill(exit_codes(), 80)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "path", metavar="PATH", help="a snapshot, a run's folder, any file that can be read, a measured connectome"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="where to write; without an ending a folder: for NEST of links, for parquet of a table for each edge set",
    )
    parser.add_argument(
        "--format", choices=list(formats), metavar="NAME", help="see below (default: by the ending of --out)"
    )
    parser.add_argument("--stage", metavar="NAME", help="of a run's folder, a name or a number (default: the last)")
    add_shape(parser)
    parser.add_argument("--kinds", metavar="A,B,...", help=f"only these edges, of {', '.join(KINDS)} (default: all)")
    parser.add_argument("--regions", metavar="A,B,...", help="only these regions, and the edges between them")
    parser.add_argument(
        "--unsigned", action="store_true",
        help="a table's weights are sizes, such as numbers of synapses: those of neurons of sign -1 become negative",
    )  # fmt: skip
    parser.add_argument(
        "--no-formulas", action="store_true",
        help="of CSV for a spreadsheet: texts that begin with = + - @ begin with an apostrophe, and are no formulas",
    )  # fmt: skip
    parser.add_argument(
        "--connections", action="store_true",
        help="of a snapshot: the connections of kernel sets besides, for programs that read SONATA",
    )  # fmt: skip
    parser.add_argument(
        "--mapped", action="store_true",
        help="of a snapshot: to be mapped into memory, not read: for graphs larger than memory",
    )  # fmt: skip
    run = parser.add_argument_group("what a script for a simulator does, unless its own command line says otherwise")
    run.add_argument(
        "--drive", action="append", metavar="REGION:KIND=...", help="as sims.simulate has it, several times if needed"
    )
    run.add_argument("--spikes", type=Path, metavar="FILE", help="spikes of the sensors, a SONATA file")
    run.add_argument("--duration-ms", type=float, metavar="MS", help="how long, in model time (default: 1000)")
    run.add_argument("--seed", type=int, metavar="N", help="of the Poisson drive (default: 0)")
    add_common(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    options = parser().parse_args(argv)
    return ended("export", lambda: _export(options))


def selected(connectome: Connectome, kinds: str | None, regions: str | None) -> Connectome:
    """The named regions and the edges of the named kinds between them; None for all. Raises
    :class:`ConnectomeError` for a name that is none."""
    from connectome.graph.connectome import Connectome

    chosen = []
    for option, given, known in (("--kinds", kinds, list(KINDS)), ("--regions", regions, list(connectome.regions))):
        names = known if given is None else split_names(given)
        for name in names:
            if name not in known:
                raise ConnectomeError(option, f"must be among {', '.join(known)}", repr(name))
        chosen.append(set(names))
    return Connectome.of(
        [r for r in connectome.regions.values() if r.name in chosen[1]],
        [e for k, e in connectome.edges.items() if k.base in chosen[0] and {k.source, k.target} <= chosen[1]],
        dt_ms=connectome.dt_ms, provenance=connectome.provenance,
    )  # fmt: skip


def _export(options: argparse.Namespace) -> int:
    from connectome.io.exchange import FORMATS, format_of
    from connectome.io.partitions import refuse_place
    from connectome.io.scripts import SIMULATORS

    out: Path = options.out
    if _is_tables(options):
        refuse_place(out, overwrite=options.overwrite)
    elif not (options.format == "nest" and out.suffix != ".py"):
        refuse_taken("--out", out, overwrite=options.overwrite)
    if os.path.exists(out) and os.path.exists(options.path) and os.path.samefile(out, options.path):
        raise ConnectomeError("--out", "must not be PATH", repr(str(out)))
    if options.format == "nwb" or (options.format is None and out.suffix.lower() == ".nwb"):
        return _export_spikes(options)
    chosen = FORMATS[options.format] if options.format else format_of(out, writing=True)
    if chosen.name == "nest" and out.suffix != ".py":
        return _export_folder(options)
    for name in ("drive", "spikes", "duration_ms", "seed"):
        if getattr(options, name) is not None and chosen.name not in SIMULATORS:
            option = f"--{name.replace('_', '-')}"
            raise ConnectomeError(option, f"must go with one of {', '.join(SIMULATORS)}", chosen.name)
    refuse_seed(options.seed or 0)
    if options.no_formulas and chosen.name != "csv":
        raise ConnectomeError("--no-formulas", "must go with csv", chosen.name)
    if options.connections and chosen.name != "snapshot":
        raise ConnectomeError("--connections", "must go with snapshot", chosen.name, "Others have them in any case.")
    if options.mapped and chosen.name != "snapshot":
        raise ConnectomeError("--mapped", "must go with snapshot", chosen.name)
    for beside in [] if _is_tables(options) else chosen.beside(out):
        refuse_taken("--out", beside, overwrite=options.overwrite)
    with progress(options, f"Reading {options.path}") as say:
        connectome = shaped(open_graph(options.path, options.stage, unsigned=options.unsigned), options)
        connectome = selected(connectome, options.kinds, options.regions)
        say(f"Writing {out}")
        _write(connectome, chosen, options)
    if not options.quiet:
        neurons, edges = connectome.n_neurons, connectome.n_connections
        print(f"{options.path}: {neurons:,} neurons, {edges:,} edges\nWritten as {chosen.name}: {out}")
    return 0


def _write(connectome: Connectome, chosen: Format, options: argparse.Namespace) -> None:
    from connectome.io.edge_tables import write_csv
    from connectome.io.partitions import write_partitions
    from connectome.io.scripts import SIMULATORS, write_script
    from connectome.io.snapshot import save

    out: Path = options.out
    if chosen.name in SIMULATORS:
        stimulus, _ = stimulus_of(options.drive or [], options.spikes, connectome.regions)
        duration_ms = 1000.0 if options.duration_ms is None else options.duration_ms
        write_script(connectome, out, chosen.name, stimulus, duration_ms=duration_ms, seed=options.seed or 0)
    elif options.no_formulas:
        write_csv(connectome, out, formulas=False)
    elif _is_tables(options):
        write_partitions(connectome, out, overwrite=options.overwrite)
    elif chosen.name == "snapshot":
        save(connectome, out, overwrite=True, connections=options.connections, mapped=options.mapped)
    else:
        assert chosen.write is not None
        chosen.write(connectome, out)


def _is_tables(options: argparse.Namespace) -> bool:
    """Whether a folder of tables is asked for."""
    return options.format == "parquet" and not options.out.suffix


def _export_folder(options: argparse.Namespace) -> int:
    from connectome.io.nest_folder import write_folder
    from connectome.io.snapshot import open_snapshot

    out: Path = options.out
    _refuse_given(options, "a folder for NEST", "kinds", "regions", "regions_from", "kinds_from", "merge_edges")
    refuse_seed(options.seed or 0)
    if os.path.lexists(out) and not (options.overwrite and out.is_dir()):
        raise ConnectomeError(
            "--out", "must not exist already", repr(str(out)), "Choose another name, or add --overwrite to a folder."
        )
    place = stage_path(options.path, options.stage)
    found = open_snapshot(place)
    regions = {name: found.region(name) for name in found.regions}
    stimulus, _ = stimulus_of(options.drive or [], options.spikes, regions)
    duration_ms = 1000.0 if options.duration_ms is None else options.duration_ms
    write_folder(place, out, stimulus, duration_ms=duration_ms, seed=options.seed or 0)
    if not options.quiet:
        neurons = sum(found.regions.values())
        print(f"{place}: {neurons:,} neurons, {found.n_edges:,} edges\nLinked by a folder for NEST: {out}")
    return 0


def _export_spikes(options: argparse.Namespace) -> int:
    from connectome.io.nwb import write_nwb
    from connectome.io.spikes import load_spikes

    _refuse_given(options, "spikes", "stage", "kinds", "regions", "regions_from", "kinds_from")
    spikes = load_spikes(options.path)
    write_nwb(spikes, options.out)
    if not options.quiet:
        print(f"{options.path}: {spikes.sizes['spike']:,} spikes\nWritten as nwb: {options.out}")
    return 0


def _refuse_given(options: argparse.Namespace, what: str, *names: str) -> None:
    for name in names:
        if getattr(options, name):
            option = f"--{name.replace('_', '-')}"
            raise ConnectomeError(option, f"must not go with {what}", repr(getattr(options, name)))


if __name__ == "__main__":
    sys.exit(main())
