"""Measured connectomes as they are published: folders, archives and files, with their original names and columns.

``read("flywire", folder)``, or :func:`connectome.io.exchange.read` on the folder, which recognises it. A cell is a
neuron with its id as label, in one region; the entries of the tables (class, side, type, transmitter) are its
attributes, ``--regions-from class`` makes regions of them, and a :class:`~connectome.experiment.physiology.Physiology`
makes it live. Weights are synapse counts. Edges from or to cells that are not in the tables are left out, and the
provenance says how many.

Tables are recognised by their columns, not their names. Files may be compressed, in archives, and in subfolders.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.attributes import EDGE_WORDS, NODE_WORDS, Attribute, attribute_name
from connectome.graph.connectome import Connectome, Provenance
from connectome.graph.parts import EdgeSet, Region
from connectome.graph.tables import DEFAULT_DT_MS
from connectome.io import measured_matrices
from connectome.io.files import naming
from connectome.io.frames import TABLES, Member, is_archive, members, read_frame, titles_of

if TYPE_CHECKING:
    import pandas

__all__ = ["MEASURED", "Measured", "download", "read", "recognise"]

_NUMBERS: Final = re.compile(r"-?\d+(?:\.\d+)?")
#: Columns of edges that are texts, and those that say nothing more; columns of cells that are places, or no attributes.
_EDGE_TEXTS: Final = ("neuropil", "nt_type", "roi")
_UNUSED: Final = frozenset({"Presynaptic_Index", "Postsynaptic_Index", "Connectivity", "Excitatory", "id"})
_POSITIONS: Final = ("position", "somaLocation", "pt_position")
_NO_ATTRIBUTE: Final = re.compile(r"position|[lL]ocation|supervoxel")


@dataclass(frozen=True)
class Measured:
    """A measured connectome: what it is, whom to cite, and how its files are recognised and read.

    Parameters
    ----------
    pre, post : columns of ids in the table of edges
    count : the column of synapse counts; "" if each row is one synapse
    index : columns of edges with the row numbers of source and target in the table of cells, if there are any
    keys : columns that hold ids in tables of cells; "" is the first column, whatever its title
    not_with : a table with one of these columns is not this table of edges
    region : the name of the region
    sections : number of sections along z: if positions go beyond it, they are in nanometres
    voxel_um : voxel size of positions along x, y, z
    keep : a column of cells, and the values of those that are neurons
    doi : DOI of the files, if a repository has them with checksums, and which of them are wanted
    read : for data that are not a table of edges: a function of the members and of the file that was named, if any
    """

    description: str
    cite: str
    pre: str = ""
    post: str = ""
    count: str = ""
    keys: tuple[str, ...] = ()
    index: tuple[str, ...] = ()
    not_with: tuple[str, ...] = ()
    region: str = "brain"
    sections: int = 0
    voxel_um: tuple[float, float, float] = (0.001, 0.001, 0.001)
    keep: tuple[str, tuple[str, ...]] = ("", ())
    doi: str = ""
    files: tuple[str, ...] = ()
    read: Callable[[list[Member]], Connectome | None] | None = None

    def fits(self, titles: list[str]) -> bool:
        """Whether a table with these columns is the table of edges."""
        wanted = {self.pre, self.post, *([self.count] if self.count else [])}
        return bool(self.pre) and wanted <= set(titles) and not set(self.not_with) & set(titles)


_EM: Final = (0.004, 0.004, 0.04)
_FIB: Final = (0.008, 0.008, 0.008)
_FLYWIRE: Final = "Dorkenwald et al. (2024), Nature 634:124; Schlegel et al. (2024), Nature 634:139"
#: Name -> connectome, in the order in which files are tried.
MEASURED: Final[Mapping[str, Measured]] = MappingProxyType({
    "shiu2024": Measured(
        "FlyWire 783 as Shiu et al. simulate it: Connectivity_783.parquet and Completeness_783.csv; weights have signs",
        f"Shiu et al. (2024), Nature 634:210; {_FLYWIRE}", "Presynaptic_ID", "Postsynaptic_ID",
        "Excitatory x Connectivity", ("",), ("Presynaptic_Index", "Postsynaptic_Index"),
    ),
    "flywire": Measured(
        "FlyWire, tables of Codex: connections.csv.gz, and whatever lies beside it of neurons, classification, "
        "consolidated_cell_types, coordinates, cell_stats...", _FLYWIRE, "pre_root_id", "post_root_id", "syn_count",
        ("root_id",), sections=7062, voxel_um=_EM,
    ),
    "flywire783": Measured(
        "FlyWire 783, the repository's files: proofread_connections_783.feather, proofread_root_ids_783.npy", _FLYWIRE,
        "pre_pt_root_id", "post_pt_root_id", "syn_count", ("root_id",), doi="10.5281/zenodo.10676866",
        files=("proofread_connections_783.feather", "proofread_root_ids_783.npy"), voxel_um=_EM,
    ),
    "hemibrain": Measured(
        "hemibrain: traced-neurons.csv, traced-total-connections.csv, or exported-traced-adjacencies-v1.2.tar.gz",
        "Scheffer et al. (2020), eLife 9:e57443", "bodyId_pre", "bodyId_post", "weight", ("bodyId",),
        not_with=("roi",), voxel_um=_FIB,
    ),
    "manc": Measured(
        "MANC: traced-neurons.csv, traced-connections.csv, manc-v1.0-neuron-properties.feather",
        "Takemura et al. (2024), eLife 13:RP97769; Marin et al. (2024), eLife 13:RP97766", "bodyId_pre", "bodyId_post",
        "weight", ("bodyId",), not_with=("roi",), region="nerve_cord", voxel_um=_FIB,
    ),
    "malecns": Measured(
        "MaleCNS: body-annotations, connectome-weights and body-neurotransmitters, feather; the bodies that are Traced",
        "Berg et al. (2025), bioRxiv 2025.10.09.680999", "body_pre", "body_post", "weight", ("bodyId", "body"),
        not_with=("roi",), region="cns", voxel_um=_FIB, keep=("status", ("Traced",)),
    ),
    "microns": Measured(
        "MICrONS, tables of CAVE: synapses (pre_pt_root_id, post_pt_root_id, size; a row a synapse), and of cells, by "
        "pt_root_id", "MICrONS Consortium (2025), Nature 640:435", "pre_pt_root_id", "post_pt_root_id", "",
        ("pt_root_id",), not_with=("syn_count",), region="cortex", voxel_um=_EM,
    ),
    "larva": Measured(
        "brain of the fly's larva: all-all_connectivity_matrix.csv, or the four of axons and dendrites, and "
        "annotations.csv", "Winding et al. (2023), Science 379:eadd9330", read=measured_matrices.larva,
    ),
    "hcp": Measured(
        "human tracts of the HCP as the ENIGMA Toolbox has them: strucMatrix_*.csv with strucLabels_*.csv",
        "Lariviere et al. (2021), Nat. Methods 18:698", read=measured_matrices.enigma,
    ),
    "allen": Measured(
        "mouse, the voxel model of the Allen Institute: connection_density.csv, normalized_connection_strength.csv...",
        "Knox et al. (2018), Netw. Neurosci. 3:217", read=measured_matrices.allen,
    ),
})  # fmt: skip


def _is_table(name: str) -> bool:
    return name.lower().endswith((*TABLES, ".npy"))


def recognise(path: str | os.PathLike[str]) -> str:
    """Which of :data:`MEASURED` a folder, an archive or a file is; "" if none."""
    place = Path(path)
    if not (
        place.is_dir() or is_archive(place) or place.name.lower().endswith((".csv", ".csv.gz", ".feather", ".ftr"))
    ):
        return ""
    if place.is_file() and not is_archive(place):
        return measured_matrices.recognise([place.name])
    try:
        there = members(place, _is_table)
    except ConnectomeError:
        return ""
    found = measured_matrices.recognise([m.name for m in there])
    if found:
        return found
    titles = [_titles(m) for m in there]
    fitting = {name for name, known in MEASURED.items() if any(known.fits(t) for t in titles)}
    if {"hemibrain", "manc"} <= fitting:  # of the same columns
        names = [place.name, *(m.where.removeprefix(str(place)) for m in there)]
        fitting -= {"hemibrain" if any("manc" in name.lower() for name in names) else "manc"}
    return next((name for name in MEASURED if name in fitting), "")


def read(name: str, path: str | os.PathLike[str], *, dt_ms: float = DEFAULT_DT_MS) -> Connectome:
    """Read a measured connectome from its folder, its archive, or its table of edges with the other files beside it.
    Delays are one step of ``dt_ms``. Raises :class:`ConnectomeError` naming the file."""
    if name not in MEASURED:
        raise ConnectomeError("measured connectome", f"must be one of {', '.join(MEASURED)}", repr(name))
    known, place = MEASURED[name], Path(path)
    alone = place.is_file() and not is_archive(place)
    if not place.exists():
        raise ConnectomeError(str(place), "must be a folder, an archive or a file", "nothing there")
    there = members(place.parent if alone else place, _is_table)
    with naming(place, known.description):
        if known.read is not None:
            matrix = measured_matrices.recognise
            made = known.read([m for m in there if not alone or m.name == place.name or not matrix([m.name])])
            if made is None:
                raise ConnectomeError(str(place), f"must be {known.description}", ", ".join(m.name for m in there[:8]))
        else:
            made = _of_tables(known, there, place.name if alone else "", dt_ms)
    return replace(made, provenance=replace(made.provenance, stage_name=name))


def download(name: str, folder: str | os.PathLike[str]) -> list[Path]:
    """Fetch the files of a connectome that a repository holds under a DOI, check them against the repository's
    checksums, and put them into a folder; files already there are not fetched again. Raises
    :class:`ConnectomeError`."""
    known = MEASURED.get(name)
    if known is None or not known.doi:
        have = [n for n, k in MEASURED.items() if k.doi]
        raise ConnectomeError("download", f"must be of one that a repository has: {', '.join(have)}", repr(name))
    import pooch

    try:
        fetcher = pooch.create(path=os.fspath(folder), base_url=f"doi:{known.doi}/", registry=None)
        fetcher.load_registry_from_doi()
        return [Path(fetcher.fetch(file)) for file in known.files]
    except (OSError, ValueError) as error:  # no network, or a file that is not what it should be
        raise ConnectomeError(f"doi:{known.doi}", "must be there to be fetched", str(error).splitlines()[0]) from None


def _titles(member: Member) -> list[str]:
    try:
        return [] if member.name.lower().endswith(".npy") else titles_of(member)
    except ConnectomeError:
        return []


# Tables of edges and of cells


def _edges_of(known: Measured, there: list[Member], alone: str) -> Member:
    """The table of edges; ``alone`` is its name, if it was named."""
    found = [m for m in there if known.fits(_titles(m)) and (not alone or m.name == alone)]
    if len(found) == 1:
        return found[0]
    columns = ", ".join(c for c in (known.pre, known.post, known.count) if c)
    raise ConnectomeError(
        "tables", f"must have one table of edges, with the columns {columns}",
        ", ".join(m.name for m in found) or f"none among {', '.join(m.name for m in there[:8]) or 'no files'}",
        "Name the file instead of the folder." if found else "",
    )  # fmt: skip


def _of_tables(known: Measured, there: list[Member], alone: str, dt_ms: float) -> Connectome:
    edges = _edges_of(known, there, alone)
    titles = titles_of(edges)
    texts = [t for t in _EDGE_TEXTS if t in titles]
    ids, attributes, position = _cells(known, [m for m in there if m is not edges])
    by = known.index if ids is not None and set(known.index) <= set(titles) and known.index else (known.pre, known.post)
    columns = [*by, *(t for t in titles if t not in (*_UNUSED, known.pre, known.post) and "_position" not in t)]
    frame = read_frame(edges, columns, dict.fromkeys(by, "int64") | dict.fromkeys(texts, "category"))
    given = [frame[column].to_numpy() for column in by]
    if ids is None:
        ids = np.unique(np.concatenate(given))
        ids = ids[ids != 0]  # what belongs to no cell
    if by == known.index:
        ends = [np.where((end >= 0) & (end < ids.size), end, -1) for end in given]
    else:
        ends = [_places(ids, end) for end in given]
    inside = (ends[0] >= 0) & (ends[1] >= 0)
    said = {}
    if not inside.all():
        said["left out"] = f"{int((~inside).sum())} of {inside.size} edges, to or from no known cell"
        frame, ends = frame[inside], [end[inside] for end in ends]
    weight: Any = frame[known.count].to_numpy() if known.count else np.ones(len(frame), np.float32)
    if weight.dtype.kind not in "iuf" or not np.isfinite(weight).all():
        raise ConnectomeError(f"{edges.where}: {known.count}", "must be numbers", weight.dtype)
    of_edges: dict[str, Attribute] = {}
    for title in frame.columns:
        if title not in (*by, known.count):
            _add(of_edges, title, frame[title], EDGE_WORDS)
    n = ids.size
    region = Region(
        known.region, n, position_um=position, label=ids.astype(str), attributes=attributes,
        sign=_dale(ends[0], weight, n),
    )  # fmt: skip
    made = EdgeSet.from_arrays(
        (known.region, "local", known.region), ends[0], ends[1], weight, n_source=n, n_target=n, dt_ms=dt_ms,
        attributes=of_edges,
    )  # fmt: skip
    return Connectome.of([region], [made], dt_ms=dt_ms, provenance=Provenance(versions=said))


def _places(ids: NDArray[np.int64], given: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each of these is among the ids, -1 where it is not."""
    import pandas

    return pandas.Index(ids).get_indexer(pandas.Index(given))


def _dale(source: NDArray[np.int64], weight: NDArray[Any], n: int) -> NDArray[np.int8]:
    """Signs of n neurons from their outgoing weights: all 0 if no weight is negative, and 0 for a neuron with weights
    of both signs."""
    sign = np.zeros(n, np.int8)
    if (weight < 0).any():
        sign[source] = np.sign(weight)
        sign[np.unique(source[sign[source] * weight < 0])] = 0
    return sign


def _cells(
    known: Measured, others: list[Member]
) -> tuple[NDArray[np.int64] | None, dict[str, Attribute], NDArray[np.float64]]:
    """Ids, in the order of the table that lists the cells, or of the one that has most of them, None without a table;
    the attributes of cells; (n, 3) positions."""
    tables = [table for member in others if (table := _cell_table(known, member)) is not None]
    if not tables:
        return None, {}, None  # type: ignore[return-value]  # a region's default
    ids = max((own for own, _ in tables), key=lambda own: own.size)
    column, values = known.keep
    for own, frame in tables:
        if column in frame:
            ids = own[frame[column].isin(values).to_numpy()]
            break
    attributes: dict[str, Attribute] = {}
    position = np.full((ids.size, 3), np.nan)
    for own, frame in tables:
        if not own.size:
            continue
        at = _places(own, ids)
        here = at >= 0
        for title in frame.columns:
            if title in _POSITIONS:
                place = _position(frame[title], known)
                fresh = here & np.isnan(position).any(axis=1)
                position[fresh] = place[at[fresh]]
            elif title not in attributes and not _NO_ATTRIBUTE.search(title):
                _add(attributes, title, frame[title].iloc[at].where(here), NODE_WORDS)
    return ids, attributes, position


def _cell_table(known: Measured, member: Member) -> tuple[NDArray[np.int64], pandas.DataFrame] | None:
    """Ids and columns of a table of cells, each cell once; None for another table."""
    import pandas

    if member.name.lower().endswith(".npy"):
        array = measured_matrices.load_npy(member)
        is_ids = array.ndim == 1 and array.dtype.kind in "iu"
        return (array.astype(np.int64), pandas.DataFrame(index=range(array.size))) if is_ids else None
    titles = _titles(member)
    if not titles or any(t.endswith(("_pre", "_post")) or t in (known.pre, known.post) for t in titles):
        return None
    key = next((k or titles[0] for k in known.keys if not k or k in titles), None)
    if key is None:
        return None
    key = key or "Unnamed: 0"  # as pandas calls a column without a title
    frame = read_frame(member, kinds={key: "int64"})
    once = (frame[key] != 0) & ~frame[key].duplicated()
    if known.index and not once.all():  # places would shift
        row = int(np.argmin(once))
        raise ConnectomeError(f"{member.where}: row {row}", "must have each cell once", frame[key].iloc[row])
    frame = frame[once]
    return frame[key].to_numpy(np.int64), frame.drop(columns=key)


def _add(found: dict[str, Attribute], title: str, column: Any, words: frozenset[str]) -> None:
    """Add a column as an attribute, if it can be one and is not empty."""
    name = attribute_name(str(title), words, found)
    try:
        attribute = Attribute.of(name, column, len(column))
    except ConnectomeError:
        return  # lists, say
    if not attribute.is_missing.all():
        found[name] = attribute


def _position(column: Any, known: Measured) -> NDArray[np.float64]:
    """(n, 3) micrometres from a column of positions, ``[x y z]`` in voxels."""
    found = np.full((len(column), 3), np.nan)
    for row, value in enumerate(column):
        numbers = _NUMBERS.findall(value) if isinstance(value, str) else value if np.ndim(value) == 1 else ()
        if len(numbers) == 3:
            found[row] = [float(v) for v in numbers]
    deepest = np.nanmax(found[:, 2], initial=0.0)
    return found * (0.001 if known.sections and deepest > known.sections else np.array(known.voxel_um))
