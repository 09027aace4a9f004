"""What a program is given as a graph: a file of any format, a run's folder, the name of a measured connectome."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connectome.errors import ConnectomeError
from sims.program import split_names

if TYPE_CHECKING:
    from connectome.analysis.simple_graph import SimpleGraph
    from connectome.graph.connectome import Connectome

__all__ = [
    "add_graph_options", "add_shape", "check_graph_options", "open_graph", "open_graphs", "prepared", "shaped",
    "stage_path",
]  # fmt: skip


def add_shape(parser: argparse.ArgumentParser) -> None:
    """The options that say what the regions and the edge sets of a graph are."""
    parser.add_argument(
        "--regions-from", metavar="NAME", help="an attribute of neurons (class, side...): its values are the regions"
    )
    parser.add_argument(
        "--kinds-from", metavar="NAME", help="an attribute of edges: its values are edge sets (local-chemical...)"
    )
    parser.add_argument(
        "--merge-edges", action="store_true", help="one edge for each pair and delay, weights summed; says what it did"
    )


def shaped(connectome: Connectome, options: argparse.Namespace) -> Connectome:
    """The graph as the options of :func:`add_shape` want it. Raises :class:`ConnectomeError`."""
    from connectome.graph import partition

    try:
        if options.regions_from is not None:
            connectome = partition.regions_from(connectome, options.regions_from)
        if options.kinds_from is not None:
            connectome = partition.split_edges(connectome, options.kinds_from)
        if options.merge_edges:
            connectome, merged = partition.merge_edges(connectome)
            if not options.quiet and not getattr(options, "json", False):
                print(f"{merged}.")
    except ConnectomeError as error:
        field = error.field.replace("regions_from", "--regions-from").replace("kinds_from", "--kinds-from")
        raise ConnectomeError(field, error.rule, error.found, error.hint) from None
    return connectome


def add_graph_options(parser: argparse.ArgumentParser) -> None:
    """The options that say which edges of a connectome a program measures."""
    parser.add_argument(
        "--kinds", default="local,long_range", metavar="A,B,...",
        help="the edges that count, of local, long_range, afferent, efferent (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--signs",
        choices=["positive", "negative"],
        help="only the edges whose weight has this sign (default: all; metrics take |weight|)",
    )
    parser.add_argument(
        "--undirected",
        action="store_true",
        help="both directions wherever there is one, each with half the sum of the two weights (default: as they are)",
    )
    parser.add_argument(
        "--threshold",
        metavar="KIND=NUMBER",
        help="only the edges that are strong enough, after --signs and --undirected: absolute=PA, |weight| in pA; "
        "density=SHARE, the strongest, as a share of all pairs of nodes; backbone=ALPHA, the disparity filter of "
        "Serrano et al. 2009 at this level of significance, such as 0.05 (default: all)",
    )


def check_graph_options(options: argparse.Namespace) -> None:
    """Refuse what they cannot be. Raises :class:`ConnectomeError`."""
    from connectome.graph.parts import KINDS

    for kind in split_names(options.kinds):
        if kind not in KINDS:
            raise ConnectomeError("--kinds", f"must be among {', '.join(KINDS)}", repr(kind))
    if options.threshold is not None:
        _threshold(options.threshold)


def prepared(connectome: Connectome, options: argparse.Namespace) -> SimpleGraph:
    """The graph that the options of :func:`add_graph_options` ask for. Raises :class:`ConnectomeError`."""
    from connectome.analysis.simple_graph import region_graph, simple_graph
    from connectome.analysis.thresholds import of_sign, threshold

    make = region_graph if getattr(options, "of_regions", False) else simple_graph
    graph = make(connectome, kinds=split_names(options.kinds))
    graph = of_sign(graph, options.signs) if options.signs else graph
    graph = graph.undirected if options.undirected else graph
    return threshold(graph, *_threshold(options.threshold)) if options.threshold is not None else graph


def _threshold(text: str) -> tuple[Any, float]:
    name, _, number = text.partition("=")
    try:
        if name in ("absolute", "density", "backbone"):
            return name, float(number)
    except ValueError:
        pass
    raise ConnectomeError(
        "--threshold", "must be absolute=PA, density=SHARE or backbone=ALPHA", repr(text), "For example density=0.1."
    )


def open_graph(text: str, stage: str | None = None, *, unsigned: bool = False) -> Connectome:
    """Open a path or a name of :func:`connectome.datasets.references.names`. A run's folder gives the stage of this
    name or number, its last one by default. ``unsigned``: a table's weights are sizes. Raises
    :class:`ConnectomeError`."""
    from connectome.datasets import references
    from connectome.io.exchange import read
    from connectome.io.snapshot import load

    if stage is not None:
        return load(stage_path(text, stage))
    place = Path(text)
    if not place.exists() and text in references.names():
        return references.load(text)
    if not place.exists():
        raise ConnectomeError(
            "graph", "must be a file, a run's folder or the name of a measured connectome", repr(text),
            f"Names: {', '.join(references.names())}.",
        )  # fmt: skip
    return read(place, unsigned=unsigned)


def stage_path(text: str, stage: str | None = None) -> Path:
    """The snapshot that a path stands for: of a run's folder the stage of this name or number, its last one by default.
    Raises :class:`ConnectomeError`."""
    from connectome.io.snapshot import list_stages

    place = Path(text)
    if not place.is_dir():
        if stage is not None:
            raise ConnectomeError("--stage", "must go with a run's folder", repr(text))
        return place
    found = list_stages(place)
    by_name = {s.provenance.stage_name: s for s in found} | {str(s.provenance.stage): s for s in found}
    if stage is None and found:
        return found[-1].path
    if stage not in by_name:
        names = [s.provenance.stage_name or str(s.provenance.stage) for s in found]
        raise ConnectomeError("--stage", f"must be one of {', '.join(names) or 'the stages'}", repr(stage))
    return by_name[stage].path


def open_graphs(path: str, *, many: bool = False) -> Iterator[tuple[str, Connectome]]:
    """A name and a connectome for each stage of a run's folder, or the one graph of a file. ``many``: other paths are
    given too, so that names say which. Raises :class:`ConnectomeError`."""
    from connectome.io.snapshot import list_stages, load

    place = Path(path)
    stages = list_stages(place) if place.is_dir() else []
    if not stages:
        yield (path if many else place.stem or path), open_graph(path)
        return
    seen: set[str] = set()
    for stage in stages:
        name = stage.provenance.stage_name or stage.path.stem
        name = stage.path.stem if name in seen else name
        seen.add(name)
        yield (f"{path}: {name}" if many else name), load(stage.path)
