"""Snapshots: a connectome in one HDF5 file, to the SONATA circuit format, with our own state in ``/development``.

``01_perception.h5`` holds everything. The folder ``01_perception.sonata`` beside it holds the other files that SONATA
needs (``circuit_config.json``, ``node_types.csv``, ``edge_types.csv``); nothing is ever read from there.

``/development`` has attributes ``format_version``, ``version``, ``digest``, ``dt_ms``; texts ``provenance`` (JSON) and
``config``; tables ``regions``, ``edge_sets`` (with each set's summary), ``attributes`` and ``rule_log``;
``nodes/<region>/sign`` and, where there are any, ``label`` and ``state/<name>``;
``edges/<source:kind:target>/birth_stage`` and ``.../state/<name>``. Targets, weights, delays, the index by source,
positions and attributes are read from the SONATA groups, the texts of attributes from ``texts/<name>`` in the groups of
regions and edge sets: UTF-8, one a line.

A region's neuron model is a text in the table ``regions``: JSON of its name and parameters; null for parameters with a
value for each neuron, which are in ``nodes/<region>/neuron/<parameter>``.

Mapped snapshots are of the same format: :mod:`connectome.io.mapped`. Earlier formats:
:mod:`connectome.io.snapshot_content`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

import connectome as package
from connectome.arrays import ReadOnly, index_type, is_constant
from connectome.errors import ConnectomeError
from connectome.graph import partition
from connectome.graph.columns import MAX_LABEL, delay_to_steps
from connectome.graph.connectome import Connectome, Provenance, RuleRecord
from connectome.graph.kernel_set import KernelSet, without_kernels
from connectome.graph.maps import Maps
from connectome.graph.parts import ROLES, EdgeKey, EdgeSet, Region, checked_key
from connectome.io import attribute_columns, hdf5, kernel_sets, neuron_columns, sonata, weight_codes
from connectome.io.mapped import place_edges
from connectome.io.snapshot_content import EDGE_KINDS, FORMAT_VERSION, PLAIN, REGION_KINDS, RULE_KINDS, SUMMARY, write

if TYPE_CHECKING:
    import xarray

__all__ = ["FORMAT_VERSION", "Snapshot", "list_stages", "load", "open_snapshot", "save", "save_parts"]

SUFFIX: Final = ".h5"
#: Columns that earlier formats do not have.
_SINCE: Final = {"maps": 5, "n_connections": 5, "stride": 5, "n_values": 6}
_OLD_REGION_KINDS: Final = {**PLAIN, **dict.fromkeys(neuron_columns.OLD, float)}  # of formats 1 and 2


def save(
    connectome: Connectome, path: str | os.PathLike[str], *, config: str = "", overwrite: bool = False,
    connections: bool = False, codebooks: bool = False, mapped: bool = False,
) -> None:  # fmt: skip
    """Write a snapshot: whole, or not at all. The same connectome and ``config`` make the same bytes. ``connections``:
    also write the connections of kernel sets, as SONATA edges, for other programs; they are not read back.
    ``codebooks``: store the weights of each set that has at most 256 different ones as codes, which other programs do
    not read. ``mapped``: so that :func:`load` maps the edges into memory in place of reading them; not with codebooks.

    ``path`` ends in ``.h5``; ``config`` is the configuration of the run that made it, any text (TOML, JSON). Raises
    :class:`ConnectomeError` for a file that exists unless ``overwrite``, and for one that cannot be written; an
    existing file is then unchanged.
    """
    if mapped and codebooks:
        raise ConnectomeError("mapped", "must not go with codebooks", "both", "Codes cannot be mapped.")
    circuit = connectome.expanded() if connections else replace(connectome, edges=without_kernels(connectome.edges))
    with _new_file(Path(path), overwrite) as (folder, sink):
        with hdf5.create(sink, aligned=mapped) as h5:
            placed = [e for e in connectome.edges.values() if mapped and not isinstance(e, KernelSet)]
            for edges in placed:
                place_edges(h5, sink, iter([edges]), Path(path).parent)
            write(h5, connectome, circuit, config, codebooks=codebooks, placed=[e.key for e in placed])
        _write_sidecars(circuit, Path(path), folder)


def save_parts(
    path: str | os.PathLike[str], regions: Iterable[Region], parts: Iterable[EdgeSet], *, dt_ms: float = 0.1,
    provenance: Provenance | None = None, config: str = "", overwrite: bool = False,
) -> None:  # fmt: skip
    """Write a snapshot of edge sets that are never in memory together, as :func:`save` does with ``mapped``: the same
    bytes, whole or not at all.

    Parameters
    ----------
    parts : edge sets, made one after the other, by a generator say. Several with one key, in succession, are parts of
        one set: each has the whole regions' sizes, and sources after those of the part before. A set in several parts
        has no attributes. A block of edges and the numbers of sources are in memory besides; on disk, a set in several
        parts takes another 8 to 10 bytes an edge until it is complete.

    Raises
    ------
    ConnectomeError : as :func:`save`, and for parts that do not fit together

    Examples
    --------
    Without the weakest edges of each set of a snapshot, of which one set is in memory at a time:

    >>> def pruned(path):
    ...     snapshot = open_snapshot(path)
    ...     for key in snapshot.edges:
    ...         edges = snapshot.edge_set(key)
    ...         yield edges.take(abs(edges.weight) > 1.0)
    """
    with _new_file(Path(path), overwrite) as (folder, sink):
        with hdf5.create(sink, aligned=True) as h5:
            placed: list[EdgeSet] = []
            for key, some in groupby(parts, lambda e: e.key):
                if key in [e.key for e in placed]:
                    raise ConnectomeError(f"edges[{key}]", "must have its parts in succession", "others between them")
                placed.append(place_edges(h5, sink, some, Path(path).parent))
            connectome = Connectome.of(regions, placed, dt_ms=dt_ms, provenance=provenance)
            write(h5, connectome, connectome, config, placed=[e.key for e in placed])
        _write_sidecars(connectome, Path(path), folder)


@contextmanager
def _new_file(file: Path, overwrite: bool) -> Iterator[tuple[Path, hdf5.Sink]]:
    """A snapshot to write in the block, and the folder beside it. Raises :class:`ConnectomeError`."""
    folder = file.with_suffix(".sonata")
    if file.suffix != SUFFIX:
        raise ConnectomeError(str(file), f"must end in {SUFFIX}", repr(file.suffix))
    if not file.parent.is_dir():
        raise ConnectomeError(str(file), "must be in a folder that exists", str(file.parent), "Make the folder first.")
    if not overwrite and os.path.lexists(file):
        raise ConnectomeError(str(file), "must not exist", "a file", "Choose another name or ask to overwrite it.")
    if file.is_dir() or folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ConnectomeError(
            str(file), "must be a file and have a real folder beside it", str(folder), "Move it away."
        )
    is_new = not folder.exists()
    try:
        with hdf5.atomic(file) as sink:
            yield folder, sink
    except BaseException as error:
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise ConnectomeError(
                str(file), "must be writable", error.strerror or error,
                "Free some space or choose another folder. An earlier file of this name is as it was.",
            ) from None  # fmt: skip
        raise


def _write_sidecars(circuit: Connectome, file: Path, folder: Path) -> None:
    hdf5.make_folder(folder)
    for name, text in sonata.sidecars(circuit, file.name).items():
        with hdf5.atomic(folder / name) as sidecar:
            sidecar.write(text.encode())


def load(path: str | os.PathLike[str], *, regions_from: str | None = None, mapped: bool = True) -> Connectome:
    """Read a whole snapshot and check it against its digest; with ``regions_from``, the name of an attribute of
    neurons, its values become the regions. Raises :class:`ConnectomeError` naming the file.

    Edges that were saved with ``mapped`` are not read but mapped: their columns are pages of the file, which the system
    keeps in memory while there is room, and shares between processes. The file may then be replaced or deleted, as
    :func:`save` does it, which leaves the old content to those who have it mapped. It must not be changed in place:
    what has been checked would change unseen, up to a run that ends in a crash; nor be cut short, which ends the
    process (SIGBUS). With ``mapped=False`` all is read."""
    with hdf5.reading(path, mapped=mapped) as reader:
        snapshot = _header(reader, path)
        connectome = Connectome.of(
            [_region(reader, snapshot, name) for name in snapshot.regions],
            [_edge_set(reader, snapshot, key) for key in snapshot.edges],
            dt_ms=snapshot.dt_ms, provenance=snapshot.provenance,
        )  # fmt: skip
        # A digest depends on the order of edges. Those of format 1 are put in order when they are read; their columns
        # have checksums of their own.
        ordered = snapshot.format_version > 1 or all(is_constant(e.delay_steps) for e in connectome.edges.values())
        if ordered and connectome.digest() != snapshot.digest:
            raise ConnectomeError(
                "/development@digest", "must be the digest of the content", snapshot.digest,
                "The file was changed after it was written. Take another copy.",
            )  # fmt: skip
    return connectome if regions_from is None else partition.regions_from(connectome, regions_from)


def open_snapshot(path: str | os.PathLike[str]) -> Snapshot:
    """Read a snapshot's description, without its edges. Raises :class:`ConnectomeError` naming the file."""
    with hdf5.reading(path) as reader:
        return _header(reader, path)


def list_stages(folder: str | os.PathLike[str]) -> list[Snapshot]:
    """The snapshots in a run's folder, by stage and then by name; other HDF5 files are left out. Raises
    :class:`ConnectomeError` if the folder does not exist or cannot be listed, or if a snapshot cannot be read.
    """
    place = Path(folder)
    if not os.path.isdir(place):
        raise ConnectomeError(str(place), "must be a folder", "a file" if os.path.exists(place) else "no such folder")
    found = []
    try:  # a glob would take what it may not list for empty
        files = sorted(place / name for name in os.listdir(place) if name.endswith(SUFFIX))
    except OSError as error:
        raise ConnectomeError(str(place), "must be a folder that can be listed", str(error.strerror)) from error
    for file in files:
        with hdf5.reading(file) as reader:
            if reader.has("development"):
                found.append(_header(reader, file))
    return sorted(found, key=lambda snapshot: snapshot.provenance.stage)


@dataclass(frozen=True, eq=False)
class Snapshot(ReadOnly):
    """A snapshot's description. It holds no file open; each method opens the file and reads only what it returns, or
    maps it, as :func:`load` does.

    Parameters
    ----------
    path : the file
    format_version, version : of the file's format, and of the program that wrote it
    digest : :meth:`Connectome.digest` of the content
    dt_ms : resolution of the delays
    provenance : seed, stage, stage_name, parents, versions, rule log
    config : the configuration of the run, as it was given to :func:`save`
    regions : name -> size, in order
    edges : key -> number of edges, in order
    attributes : ``nodes/<region>`` or ``edges/<source:kind:target>`` -> name -> type
    """

    path: Path
    format_version: int
    version: str
    digest: str
    dt_ms: float
    provenance: Provenance
    config: str
    regions: Mapping[str, int]
    edges: Mapping[EdgeKey, int]
    attributes: Mapping[str, Mapping[str, str]]
    _texts: attribute_columns.Texts
    _regions: Mapping[str, Mapping[str, Any]]
    _summary: Mapping[EdgeKey, Mapping[str, Any]]

    def __repr__(self) -> str:
        stage = f"stage {self.provenance.stage} {self.provenance.stage_name}".rstrip()
        return f"Snapshot({self.path.name}, {stage}; {len(self.edges)} edge sets, {self.n_edges} edges)"

    @property
    def n_edges(self) -> int:
        """Number of all edges."""
        return sum(self.edges.values())

    @property
    def is_mapped(self) -> bool:
        """Whether its edges are mapped when it is loaded, and not read: see :func:`save`."""
        with self._reading() as reader:
            own = [
                ("development", "edges", sonata.population(k)) for k, row in self._summary.items() if not row["stride"]
            ]
            return bool(own) and all(reader.has(*place, "indices") for place in own)

    def region(self, name: str) -> Region:
        """Read one region. Raises :class:`ConnectomeError`."""
        if name not in self.regions:
            raise ConnectomeError("region", f"must be one of {list(self.regions)}", repr(name))
        with self._reading() as reader:
            return _region(reader, self, name)

    def edge_set(self, key: EdgeKey | tuple[str, str, str]) -> EdgeSet:
        """Read one edge set and none of the others. Raises :class:`ConnectomeError`."""
        found = next((known for known in self.edges if known == tuple(key)), None)
        if found is None:
            raise ConnectomeError("edge set", f"must be one of {[tuple(k) for k in self.edges]}", repr(tuple(key)))
        with self._reading() as reader:
            return _edge_set(reader, self, found)

    def region_connectivity(self) -> xarray.Dataset:
        """What :meth:`Connectome.to_xarray` gives, from the stored summary, without reading edges."""
        frame = Connectome.of(
            [Region(n, row["size"], row["role"], area=row.get("area", "")) for n, row in self._regions.items()],
            dt_ms=self.dt_ms, provenance=self.provenance,
        ).to_xarray()  # fmt: skip
        for key, row in self._summary.items():
            for name in (*SUMMARY, "n_connections"):
                frame[name].loc[{"source": key.source, "kind": key.kind, "target": key.target}] = row[name]
        return frame

    @contextmanager
    def _reading(self) -> Iterator[hdf5.Reader]:
        with hdf5.reading(self.path, mapped=True) as reader:
            digest = reader.attribute("development", "digest", str)
            if digest != self.digest:
                raise ConnectomeError("/development@digest", f"must still be {self.digest}", digest, "Open it again.")
            yield reader


def _header(reader: hdf5.Reader, path: str | os.PathLike[str]) -> Snapshot:
    if not (reader.has("nodes") and reader.has("edges")):
        raise ConnectomeError("file", "must be to the SONATA format, with groups /nodes and /edges", "none")
    if not reader.has("development"):
        raise ConnectomeError(
            "file", "must have a group /development", "a SONATA file without one", "Another program wrote it."
        )
    number = reader.attribute("development", "format_version", int)
    version = reader.attribute("development", "version", str)
    if not 1 <= number <= FORMAT_VERSION:
        raise ConnectomeError(
            "format", f"must be 1 .. {FORMAT_VERSION}, which connectome {package.__version__} reads",
            f"{number}, made by {version}", "Upgrade connectome." if number > FORMAT_VERSION else "",
        )  # fmt: skip
    tables = REGION_KINDS if number > 2 else _OLD_REGION_KINDS, EDGE_KINDS
    kinds, edge_kinds = ({k: v for k, v in table.items() if _SINCE.get(k, 1) <= number} for table in tables)
    regions = _rows(reader.table("development", "regions", kinds=kinds), ["name"])
    if reader.has("development", "areas"):
        areas = reader.texts("development", "areas", size=len(regions))
        regions = {key: row | {"area": area} for (key, row), area in zip(regions.items(), areas, strict=True)}
    edges = _rows(reader.table("development", "edge_sets", kinds=edge_kinds), list(EdgeKey._fields))
    reader.backs(sum(24 * row["size"] for row in regions.values()) + sum(4 * row["n_edges"] for row in edges.values()))
    for name, row in regions.items():
        if row["role"] not in ROLES:
            raise ConnectomeError(f"regions[{name[0]}].role", f"must be one of {', '.join(ROLES)}", repr(row["role"]))
    dt_ms = reader.attribute("development", "dt_ms", float)
    if not 0 < dt_ms < np.inf:
        raise ConnectomeError("/development@dt_ms", "must be finite and > 0", dt_ms)
    summary: dict[EdgeKey, dict[str, Any]] = {}
    for (source, kind, target), row in edges.items():
        where = f"edges[{source} -{kind}-> {target}]"
        try:
            key = checked_key((source, kind, target))
        except ConnectomeError as error:
            raise ConnectomeError(f"{where}.kind", error.rule, error.found) from None
        for end in (source, target):
            if (end,) not in regions:
                raise ConnectomeError(where, f"must join regions of {[name for (name,) in regions]}", repr(end))
        summary[key] = {"n_connections": row["n_edges"], "stride": 0, "n_values": 0} | row
    attributes, texts = attribute_columns.read_types(reader) if number > 3 else ({}, {})
    return Snapshot(
        path=Path(path), format_version=number, version=version,
        digest=reader.attribute("development", "digest", str), dt_ms=dt_ms, provenance=_provenance(reader),
        config=reader.text("development", "config"),
        regions=MappingProxyType({name: row["size"] for (name,), row in regions.items()}),
        edges=MappingProxyType({key: row["n_edges"] for key, row in summary.items()}),
        attributes=MappingProxyType(attributes), _texts=MappingProxyType(texts),
        _regions=MappingProxyType({name: row for (name,), row in regions.items()}), _summary=MappingProxyType(summary),
    )  # fmt: skip


def _rows(table: Mapping[str, list[Any]], key: list[str]) -> dict[tuple[str, ...], dict[str, Any]]:
    """A table's rows by their key, in order."""
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for values in zip(*table.values(), strict=True):
        row = dict(zip(table, values, strict=True))
        name = tuple(row.pop(k) for k in key)
        if name in rows:
            raise ConnectomeError("/development", "must name each region and edge set once", f"{name} twice")
        for count in {"size", "n_edges"} & row.keys():
            if row[count] < 0:
                raise ConnectomeError("/development", f"must have {count} >= 0", row[count])
        rows[name] = row
    return rows


def _provenance(reader: hdf5.Reader) -> Provenance:
    where = "/development/provenance"
    origin = json.loads(reader.text("development", "provenance"))
    kinds: dict[str, tuple[type, ...]] = {
        "seed": (int, type(None)), "stage": (int,), "stage_name": (str,), "parents": (list,), "versions": (dict,),
    }  # fmt: skip
    if not isinstance(origin, dict) or origin.keys() != kinds.keys():
        raise ConnectomeError(where, f"must have {', '.join(kinds)}", origin)
    for name, allowed in kinds.items():
        if type(origin[name]) not in allowed:
            raise ConnectomeError(f"{where}.{name}", f"must be {allowed[0].__name__}", repr(origin[name]))
    for text in [*origin["parents"], *origin["versions"].values()]:
        if not isinstance(text, str):
            raise ConnectomeError(where, "must have parents and versions that are text", repr(text))
    log = reader.table("development", "rule_log", kinds=RULE_KINDS)
    records = tuple(RuleRecord(*row) for row in zip(*log.values(), strict=True))
    return Provenance(**{**origin, "parents": tuple(origin["parents"])}, rule_log=records)


def _region(reader: hdf5.Reader, snapshot: Snapshot, name: str) -> Region:
    row = snapshot._regions[name]
    n, place = row["size"], ("nodes", name, "0")
    label, kept = (("development", "nodes", name, what) for what in ("label", "state"))
    names = reader.members(*kept) if reader.has(*kept) else ()
    axes = [reader.column(*place, axis, dtype=np.float64, shape=(n,), shrunk=False) for axis in "xyz"]
    return Region(
        name, n, row["role"], neuron_columns.read(reader, name, row), position_um=np.stack(axes, axis=1),
        sign=reader.column("development", "nodes", name, "sign", dtype=np.int8, shape=(n,)),
        birth_stage=row["birth_stage"],
        label=np.array(reader.texts(*label, size=n, longest=4 * MAX_LABEL), object) if reader.has(*label) else None,
        state={state: reader.column(*kept, state, dtype=np.float32, shape=(n,)) for state in names},
        attributes=attribute_columns.read(reader, "nodes", name, n, snapshot.attributes, snapshot._texts),
        maps=_maps(reader, snapshot, name), area=row.get("area", ""),
    )  # fmt: skip


def _maps(reader: hdf5.Reader, snapshot: Snapshot, name: str) -> Maps | None:
    return kernel_sets.maps_of(reader, f"regions[{name}]", snapshot._regions[name].get("maps", ""))


def _edge_set(reader: hdf5.Reader, snapshot: Snapshot, key: EdgeKey) -> EdgeSet:
    n, name = snapshot.edges[key], sonata.population(key)
    row = snapshot._summary[key]
    if row["stride"]:
        maps = _maps(reader, snapshot, key.source), _maps(reader, snapshot, key.target)
        return kernel_sets.read(reader, key, name, row, maps, snapshot.dt_ms, snapshot.attributes, snapshot._texts)
    theirs, ours = ("edges", name), ("development", "edges", name)
    index = reader.column(
        *theirs, "indices", "source_to_target", "range_to_edge_id", dtype=np.int64,
        shape=(snapshot.regions[key.source], 2), shrunk=False,
    )  # fmt: skip
    indptr = np.concatenate([np.zeros(1, np.int64), index[:, 1]])
    if (index[:, 0] != indptr[:-1]).any():
        raise ConnectomeError(f"edges[{key}].indices", "must give each source the edges after the last one's", "others")

    def column(*place: str, dtype: type) -> NDArray[Any]:
        return reader.column(*place, dtype=dtype, shape=(n,))

    weight = weight_codes.read(reader, key, name, row, indptr)
    birth = column(*ours, "birth_stage", dtype=np.int16)
    state = {name: column(*ours, "state", name, dtype=np.float32) for name in reader.members(*ours, "state")}
    attributes = attribute_columns.read(reader, "edges", name, n, snapshot.attributes, snapshot._texts)
    n_source, n_target = snapshot.regions[key.source], snapshot.regions[key.target]
    if reader.has(*ours, "indices"):  # saved to be mapped, in the simulator's types or others of the same bytes
        kind = index_type(n_target)
        stored = np.uint32 if kind is np.int32 else kind
        target: NDArray[Any] = reader.column(*ours, "indices", dtype=stored, shape=(n,), shrunk=False).view(kind)
        steps = column(*ours, "delay_steps", dtype=np.uint16)
    else:
        target = reader.column(*theirs, "target_node_id", dtype=np.uint32, shape=(n,), shrunk=False)
        delay_ms = column(*theirs, "0", "delay", dtype=np.float64)
        if snapshot.format_version == 1 and not is_constant(delay_ms):
            source = np.repeat(np.arange(n_source), sonata.edges_each(key, indptr, n))
            return EdgeSet.from_arrays(
                key, source, target, weight, n_source=n_source, n_target=n_target, dt_ms=snapshot.dt_ms,
                delay_ms=delay_ms, birth_stage=birth, state=state,
            )  # fmt: skip
        steps = delay_to_steps(delay_ms, snapshot.dt_ms, f"edges[{key}]")
    return EdgeSet(
        key, n_target, indptr, target, weight=weight, delay_steps=steps, dt_ms=snapshot.dt_ms, birth_stage=birth,
        state=state, attributes=attributes,
    )  # fmt: skip
