"""What a program is given as a graph: a file of any format, a run's folder, the name of a measured connectome."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from connectome.errors import ConnectomeError

if TYPE_CHECKING:
    from connectome.graph.connectome import Connectome

__all__ = ["open_graph", "open_graphs"]


def open_graph(text: str, stage: str | None = None, *, unsigned: bool = False) -> Connectome:
    """Open a path or a name of :func:`connectome.datasets.references.names`. A run's folder gives the stage of this
    name or number, its last one by default. ``unsigned``: a table's weights are sizes. Raises
    :class:`ConnectomeError`."""
    from connectome.datasets import references
    from connectome.io.exchange import read
    from connectome.io.snapshot import list_stages, load

    place = Path(text)
    if stage is not None:
        if not place.is_dir():
            raise ConnectomeError("--stage", "must go with a run's folder", repr(text))
        stages = {str(s.provenance.stage): s for s in list_stages(place)}
        by_name = {s.provenance.stage_name: s for s in stages.values()} | stages
        if stage not in by_name:
            names = [s.provenance.stage_name or number for number, s in stages.items()]
            raise ConnectomeError("--stage", f"must be one of {', '.join(names) or 'the stages'}", repr(stage))
        return load(by_name[stage].path)
    if not place.exists() and text in references.names():
        return references.load(text)
    if not place.exists():
        raise ConnectomeError(
            "graph", "must be a file, a run's folder or the name of a measured connectome", repr(text),
            f"Names: {', '.join(references.names())}.",
        )  # fmt: skip
    return read(place, unsigned=unsigned)


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
