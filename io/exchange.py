"""All formats that connectomes are read from and written to, by name and by file ending.

A file's format follows from its ending and, where two formats share one, from its content. The folder of a run stands
for its last stage.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from connectome.errors import ConnectomeError
from connectome.graph import partition
from connectome.graph.connectome import Connectome
from connectome.io import (
    circuits,
    edge_tables,
    flyvis,
    graph_files,
    graph_readers,
    hdf5,
    mat_files,
    matrices,
    measured,
    partitions,
    pyg_files,
    scripts,
    snapshot,
    tvb,
)
from connectome.io.files import read_bytes, unpacked

__all__ = ["FORMATS", "Format", "format_of", "read", "write"]


def _nothing(path: Path) -> list[Path]:
    return []


class Format(NamedTuple):
    """One format. ``suffixes`` are endings in lower case; ``read(path)`` and ``write(connectome, path)`` are None for a
    format that is only written or only read; ``beside(path)`` gives the other files that ``write`` writes."""

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[Path], Connectome] | None
    write: Callable[[Connectome, Path], None] | None
    description: str
    beside: Callable[[Path], list[Path]] = _nothing


def _by_name(formats: Iterable[Format]) -> Mapping[str, Format]:
    return MappingProxyType({f.name: f for f in formats})


def _beside_csv(path: Path) -> list[Path]:
    return [path.with_name(f"{path.stem}_nodes{path.suffix}"), path.with_name(f"{path.stem}_about.json")]


def _script(simulator: str) -> Format:
    about = scripts.SIMULATORS[simulator]
    return Format(
        simulator, (f".{simulator}.py",), None, partial(scripts.write_script, simulator=simulator),
        f"a script that builds and runs it in {about.title}, and its data beside it (.npz)",
        lambda path: [scripts.data_file(path)],
    )  # fmt: skip


def _write_snapshot(connectome: Connectome, path: Path) -> None:
    snapshot.save(connectome, path, overwrite=True)


#: In the order in which endings are looked up.
FORMATS: Final = _by_name(
    [
        Format(
            "snapshot", (".h5",), snapshot.load, _write_snapshot,
            "this project's own, HDF5 to the SONATA circuit format: everything, bit for bit",
        ),
        Format(
            "sonata", (".h5", ".hdf5", ".json"), circuits.read_circuit, None,
            "a SONATA circuit of another program: its configuration, or one HDF5 file",
        ),
        Format(
            "graphml", (".graphml",), graph_readers.read_graphml, graph_files.write_graphml,
            "GraphML: igraph, networkx, Gephi, Cytoscape, R",
        ),
        Format("gexf", (".gexf",), graph_readers.read_gexf, graph_files.write_gexf, "GEXF 1.2: Gephi, networkx"),
        Format("gml", (".gml",), graph_readers.read_gml, graph_files.write_gml, "GML: networkx, igraph, Gephi"),
        Format(
            "cytoscape", (".cyjs", ".json"), graph_readers.read_cytoscape, graph_files.write_cytoscape,
            "Cytoscape JSON: Cytoscape, Cytoscape.js",
        ),
        Format(
            "flyvis", (".json",), flyvis.read, None,
            "cell types of the fly's eye and the offsets between them, as the package flyvis has them",
        ),
        Format(
            "mat", (".mat",), mat_files.read_mat, mat_files.write_mat,
            "MATLAB: Brain Connectivity Toolbox, bctpy; row = source, parallel edges summed",
        ),
        Format(
            "pyg", (".pt",), None, pyg_files.write_pyg,
            "tensors: PyTorch Geometric's HeteroData.from_dict(torch.load(...))",
        ),
        Format(
            "csv", (".csv", ".tsv", ".tab"), edge_tables.read_csv, edge_tables.write_csv,
            "a table of edges as text, and one of nodes beside it: pandas, R, spreadsheets",
            _beside_csv,
        ),
        Format(
            "parquet", (".parquet",), edge_tables.read_parquet, edge_tables.write_parquet,
            "a table of edges, and one of nodes beside it: pandas, Arrow, R",
            lambda path: [path.with_name(f"{path.stem}_nodes.parquet")],
        ),
        Format("matrix", (".npy", ".npz", ".txt"), matrices.read_matrix, None, "a matrix of weights; row = source"),
        Format("tvb", (".zip",), tvb.read_tvb, tvb.write_tvb, "The Virtual Brain's connectivity: regions or neurons"),
        *map(_script, scripts.SIMULATORS),
    ]
)  # fmt: skip


#: What reads weights that have no signs.
_UNSIGNED: Final = {"csv": edge_tables.read_csv, "parquet": edge_tables.read_parquet}


def format_of(path: str | os.PathLike[str], *, writing: bool = False) -> Format:
    """The format of a path: by its ending or, for reading where two formats share one, by its content. Raises
    :class:`ConnectomeError` for an unknown ending."""
    name = (Path(path) if writing else unpacked(path)).name.lower()
    able = [f for f in FORMATS.values() if (f.write if writing else f.read)]
    found = [f for f in able if name.endswith(f.suffixes)]
    if name != Path(path).name.lower():
        found = [f for f in found if f.read not in (snapshot.load, circuits.read_circuit)]  # HDF5 is opened in place
    if not found:
        endings = ", ".join(sorted({suffix for f in able for suffix in f.suffixes}))
        raise ConnectomeError(
            os.fspath(path), f"must end in one of {endings}", repr(Path(path).suffix), "Or name the format."
        )
    if len(found) == 1 or writing:
        return found[0]
    return FORMATS[_json(path) if name.endswith(".json") else _h5(path)]


def _h5(path: str | os.PathLike[str]) -> str:
    with hdf5.reading(path) as reader:
        return "snapshot" if reader.has("development") or not reader.has("nodes") else "sonata"


def _json(path: str | os.PathLike[str]) -> str:
    text = read_bytes(path)
    return "cytoscape" if b'"elements"' in text else "flyvis" if b'"offsets"' in text else "sonata"


def read(
    path: str | os.PathLike[str], format: str | None = None, *, unsigned: bool = False,
    regions_from: str | None = None, kinds_from: str | None = None,
) -> Connectome:  # fmt: skip
    """Read a connectome from a file of any format in :data:`FORMATS`, or from a folder: the last stage of a run, a
    SONATA circuit, tables in parquet (:mod:`connectome.io.partitions`), or a measured connectome as it is published
    (:mod:`connectome.io.measured`).

    Parameters
    ----------
    format : a name in :data:`FORMATS` or in :data:`connectome.io.measured.MEASURED`; default: recognised from the path
    unsigned : a table's weights are magnitudes, see :func:`connectome.io.edge_tables.read_csv`
    regions_from : the attribute of neurons whose values become the regions: see
        :func:`connectome.graph.partition.regions_from`
    kinds_from : the attribute of edges whose values become separate edge sets: see
        :func:`connectome.graph.partition.split_edges`

    Raises :class:`ConnectomeError` naming the file.
    """
    found = _read(path, format, unsigned)
    found = found if regions_from is None else partition.regions_from(found, regions_from)
    return found if kinds_from is None else partition.split_edges(found, kinds_from)


def _read(path: str | os.PathLike[str], format: str | None, unsigned: bool) -> Connectome:
    place = Path(path)
    measured_as = measured.recognise(place) if format is None else format if format in measured.MEASURED else ""
    if measured_as:
        return measured.read(measured_as, place)
    if format in (None, "parquet") and partitions.is_partitions(place):
        return edge_tables.read_partitions(place, unsigned=unsigned)
    if format is None and os.path.isdir(place) and not (place / "circuit_config.json").exists():
        stages = snapshot.list_stages(place)
        if not stages:
            raise ConnectomeError(str(place), "must be a folder with snapshots or a circuit_config.json", "none in it")
        return snapshot.load(stages[-1].path)
    chosen = _named(format) if format is not None else FORMATS["sonata"] if os.path.isdir(place) else format_of(place)
    if chosen.read is None:
        raise ConnectomeError("format", "must be one that can be read", repr(chosen.name))
    if unsigned:
        if chosen.name not in _UNSIGNED:
            raise ConnectomeError("unsigned", f"must go with one of {', '.join(_UNSIGNED)}", chosen.name)
        return _UNSIGNED[chosen.name](place, unsigned=True)
    return chosen.read(place)


def write(connectome: Connectome, path: str | os.PathLike[str], format: str | None = None) -> None:
    """Write a connectome in a format of :data:`FORMATS`, whole or not at all; a file that exists is replaced.

    ``format`` is a name in :data:`FORMATS`; default: by the ending. Raises :class:`ConnectomeError`.
    """
    chosen = _named(format) if format is not None else format_of(path, writing=True)
    if chosen.write is None:
        raise ConnectomeError("format", "must be one that can be written", repr(chosen.name))
    chosen.write(connectome, Path(path))


def _named(name: str) -> Format:
    if name not in FORMATS:
        raise ConnectomeError("format", f"must be one of {', '.join(FORMATS)}", repr(name))
    return FORMATS[name]
