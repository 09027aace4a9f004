"""Edge tables: CSV and parquet, our own and those of others.

``name.csv`` has one row for each edge. Beside it may lie ``name_nodes.csv``, one row for each node, and
``name_about.json``, for what has no row (dt_ms, parameters of regions, empty sets, provenance). What is written is read
back with the same digest. A parquet table holds the latter in its metadata.

A table of your own needs columns source and target (or pre and post, and other usual names: :data:`EDGE_COLUMNS`) and
may have weight, delay_ms, tract_length_um or _mm, source_region and target_region, kind, birth_stage and
``state_<name>``; other columns, of nodes too, are attributes: integers, numbers, flags or texts, with empty cells where
nothing is known. The entries of source and target identify the nodes:

- Without a nodes file the nodes are the names that occur, sorted, in the regions that the rows name (in order of first
  appearance), else in one region ``"all"``. A name is one node, so it has one region; numbers may start again in each
  region. Names become labels; so do numbers, unless they are 0 .. n - 1 in each region.
- With a nodes file (:mod:`connectome.io.node_tables`) its column id, else label or name, identifies the ends of edges.
  Its rows are the nodes, in order, and it alone gives their regions. A column index means, as in our own files, that
  source and target are numbers counted from 0 in each region. Columns ``state_<name>``, numbers or empty cells, are
  state of the neurons.

Regions' names lose what :data:`~connectome.graph.parts.NAME_RULE` does not allow. A weight is in pA, 1 if not given;
see :func:`connectome.development.birth.scaled` for synapse counts. A tract length gives the delay if no delay is given.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.attributes import EDGE_WORDS, NODE_WORDS, Attribute, attribute_name
from connectome.graph.columns import MAX_DELAY_STEPS
from connectome.graph.connectome import Connectome
from connectome.graph.parts import is_kind
from connectome.graph.tables import DEFAULT_DT_MS, DEFAULT_REGION, STATE, Header, count_within, region_names
from connectome.graph.tables import read_header as views_header
from connectome.graph.views import from_tables, to_pandas
from connectome.io.delimited import (
    Column,
    Columns,
    Texts,
    normal,
    read_columns,
)
from connectome.io.files import naming, read_bytes, unpacked, write_lines
from connectome.io.hdf5 import atomic
from connectome.io.matrices import may_be_matrix, read_matrix
from connectome.io.node_tables import (
    NODE_COLUMNS,
    End,
    categorical,
    node_attributes,
    node_table,
    read_nodes,
    signed_weights,
)
from connectome.io.parquet_files import ABOUT, columns_of, pyarrow_parquet, read_table
from connectome.io.parquet_files import read_columns as read_parquet_columns
from connectome.io.partitions import EDGES, FILES, NEURONS, refuse_no_partitions
from connectome.io.text_files import read_header, read_text
from connectome.memory import refuse_edges
from connectome.wiring.edges import TRACT_VELOCITY_MM_PER_MS, Conduction

if TYPE_CHECKING:
    import pandas

__all__ = ["EDGE_COLUMNS", "read_csv", "read_parquet", "read_partitions", "write_csv", "write_parquet"]

#: Columns of an edge table, and the other names that each goes by.
EDGE_COLUMNS: Final[Mapping[str, Column]] = {
    "source": Column(
        ("pre", "presynaptic", "source_name", "pre_name", "source_id", "pre_id", "pre_root_id", "bodyid_pre", "from"),
        is_key=True,
    ),
    "target": Column(
        (
            "post",
            "postsynaptic",
            "target_name",
            "post_name",
            "target_id",
            "post_id",
            "post_root_id",
            "bodyid_post",
            "to",
        ),
        is_key=True,
    ),
    "source_region": Column(("pre_region", "region_pre", "region_source")),
    "target_region": Column(("post_region", "region_post", "region_target")),
    "kind": Column(),
    "weight_pa": Column(("weight", "w", "n_synapses", "synapses", "synapse_count", "syn_count", "count"), True),
    "delay_ms": Column(("delay",), True),
    "tract_length_um": Column(("length_um",), True),
    "tract_length_mm": Column(("length_mm",), True),
    "birth_stage": Column((), True),
}
_TABLE_BYTES: Final = 200  # of an edge, while a folder of tables is read
_LENGTH: Final = STATE + "tract_length_um"


# CSV


def read_csv(
    path: str | os.PathLike[str], *, dt_ms: float | None = None,
    velocity_mm_per_ms: float = TRACT_VELOCITY_MM_PER_MS, unsigned: bool = False,
) -> Connectome:  # fmt: skip
    """Read an edge table as text in UTF-8, with commas, tabs or semicolons; a table without source and target is read
    as a matrix, by :func:`connectome.io.matrices.read_matrix`.

    ``dt_ms`` is the resolution of delays (default: the file's own, else 0.1 ms); ``velocity_mm_per_ms`` the conduction
    velocity along tracts. ``unsigned``: weights are magnitudes, such as synapse counts; those of neurons whose sign is
    -1 become negative. Raises :class:`ConnectomeError` with file, line and column.
    """
    file = Path(path)
    with naming(file, "a table of edges"):
        names = {normal(name) for name in read_header(file)}
        has = {end for end in ("source", "target") if names & {end, *EDGE_COLUMNS[end].aliases}}
        if not has and not may_be_matrix(read_text(file)):
            raise ConnectomeError(
                f"{file}: line 1", "must name columns source and target, or be a square matrix of numbers",
                ", ".join(read_header(file))[:200], "Other names for source: "
                f"{', '.join(EDGE_COLUMNS['source'].aliases)}.",
            )  # fmt: skip
    if not has and not unsigned:
        return read_matrix(file, dt_ms=dt_ms)
    with naming(file, "a table of edges"):
        about_file = _beside(file, "_about.json")
        about = json.loads(read_bytes(about_file)) if about_file.exists() else {}
        if not isinstance(about, dict):
            raise ConnectomeError(str(about_file), "must be a JSON object", type(about).__name__)
        of_nodes, of_edges = _types(views_header(about, str(about_file)))
        edges = read_columns(file, EDGE_COLUMNS, EDGE_WORDS, of_edges)
        nodes = read_nodes(_beside(file, f"_nodes{unpacked(file).suffix}"), of_nodes)
        return _connectome(edges, nodes, about, dt_ms, velocity_mm_per_ms, unsigned)


def _types(header: Header) -> tuple[dict[str, str], dict[str, str]]:
    """The types of the attributes of nodes and of edges, the widest where they differ."""
    wide = {"int8": "int64", "int16": "int64", "int32": "int64", "float32": "float64"}
    of_regions = (about.get("attributes", {}) for about in header.regions.values())
    return tuple(  # type: ignore[return-value]  # of two
        {name: wide.get(kind, kind) for attributes in parts for name, kind in attributes.items()}
        for parts in (of_regions, header.edge_attributes.values())
    )


def write_csv(connectome: Connectome, path: str | os.PathLike[str], *, formulas: bool = True) -> None:
    """Write ``name.csv``, ``name_nodes.csv`` and ``name_about.json`` (for ``.tsv`` likewise, with tabs): columns of
    :func:`connectome.graph.views.to_pandas`. Each is written whole or not at all. Without ``formulas``, texts that a
    spreadsheet would take for a formula (those that begin with ``= + - @``) get an apostrophe in front, which stays
    when they are read. Raises :class:`ConnectomeError`."""
    file = Path(path)
    nodes, edges = to_pandas(connectome) if formulas else map(_without_formulas, to_pandas(connectome))
    separator = "\t" if file.suffix.lower() in (".tsv", ".tab") else ","
    write_lines(_beside(file, "_about.json"), [json.dumps(nodes.attrs, indent=1, sort_keys=True)])
    write_lines(_beside(file, f"_nodes{unpacked(file).suffix}"), _lines(nodes, separator))
    write_lines(file, _lines(edges, separator))


def _without_formulas(frame: pandas.DataFrame) -> pandas.DataFrame:
    texts = frame.columns[[kind.kind not in "biuf" for kind in frame.dtypes]]
    safe = frame.copy()
    safe[texts] = frame[texts].astype(object).replace(r"^(?=[=+\-@])", "'", regex=True)
    return safe


def _lines(frame: pandas.DataFrame, separator: str, rows: int = 1 << 14) -> Iterator[str]:
    yield separator.join(frame.columns)
    for first in range(0, len(frame), rows):
        part = frame.iloc[first : first + rows]
        yield part.to_csv(index=False, header=False, sep=separator, lineterminator="\n").removesuffix("\n")


def _beside(path: Path, ending: str) -> Path:
    """The file with this ending beside a path; the compressed one if only that exists."""
    plain = unpacked(path)
    place = plain.with_name(f"{plain.stem}{ending}")
    packed = place.with_name(f"{place.name}.gz")
    return packed if packed.exists() and not place.exists() else place


# Parquet


def read_parquet(
    path: str | os.PathLike[str], *, dt_ms: float | None = None,
    velocity_mm_per_ms: float = TRACT_VELOCITY_MM_PER_MS, unsigned: bool = False,
) -> Connectome:  # fmt: skip
    """Read an edge table in parquet, with ``name_nodes.parquet`` if it is there. As :func:`read_csv`."""
    file = Path(path)
    with naming(file, "a table of edges"):
        edges, about = read_parquet_columns(file, EDGE_COLUMNS, EDGE_WORDS)
        beside = _beside(file, f"_nodes{unpacked(file).suffix}")
        nodes = read_parquet_columns(beside, NODE_COLUMNS, NODE_WORDS)[0] if beside.exists() else None
        return _connectome(edges, nodes, about, dt_ms, velocity_mm_per_ms, unsigned)


def read_partitions(
    path: str | os.PathLike[str], *, dt_ms: float | None = None,
    velocity_mm_per_ms: float = TRACT_VELOCITY_MM_PER_MS, unsigned: bool = False,
) -> Connectome:  # fmt: skip
    """Read a folder of tables (:mod:`connectome.io.partitions`), all of it into memory. As :func:`read_csv`."""
    arrow, parquet = pyarrow_parquet()
    folder = Path(path)
    refuse_no_partitions(folder)
    with naming(folder, "a folder of tables"):
        files = sorted(folder.glob(FILES))
        refuse_edges("one table", sum(parquet.read_metadata(file).num_rows for file in files), _TABLE_BYTES)
        parts = [
            arrow.table({name: arrow.array([], arrow.string()) for name in (*_ENDS, *map("{}_region".format, _ENDS))})
        ]
        for file in files:
            table = read_table(file)
            for place in file.relative_to(folder).parts[1:-1]:  # source_region=a
                name, _, value = place.partition("=")
                table = table.append_column(name, arrow.array([value] * len(table), arrow.string()))
            parts.append(table)
        nodes, about = read_parquet_columns(folder / NEURONS, NODE_COLUMNS, NODE_WORDS)
        table = arrow.concat_tables(parts[1:] or parts, promote_options="default")
        edges, _ = columns_of(str(folder / EDGES), table, EDGE_COLUMNS, EDGE_WORDS)
        return _connectome(edges, nodes, about, dt_ms, velocity_mm_per_ms, unsigned)


def write_parquet(connectome: Connectome, path: str | os.PathLike[str]) -> None:
    """Write ``name.parquet`` and ``name_nodes.parquet``: :func:`connectome.graph.views.to_pandas`, for pandas, Arrow,
    polars, DuckDB, R. Each is written whole or not at all. Raises :class:`ConnectomeError`."""
    arrow, parquet = pyarrow_parquet()
    file = Path(path)
    nodes, edges = to_pandas(connectome)
    about = {ABOUT: json.dumps(nodes.attrs, sort_keys=True).encode()}
    nodes.attrs.clear()
    for frame, place in ((nodes, _beside(file, f"_nodes{unpacked(file).suffix}")), (edges, file)):
        table = arrow.Table.from_pandas(frame, preserve_index=False)
        buffer = io.BytesIO()
        parquet.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), **about}), buffer)
        try:
            with atomic(place) as sink:
                sink.write(buffer.getbuffer())
        except OSError as error:
            raise ConnectomeError(str(place), "must be writable", error.strerror or error) from None


# Both


def _connectome(
    edges: Columns, nodes: Columns | None, about: Mapping[str, Any], dt_ms: float | None, velocity_mm_per_ms: float,
    unsigned: bool,
) -> Connectome:  # fmt: skip
    """A connectome from columns of edges and, if there is one, the table of nodes."""
    import pandas

    for name in ("source", "target"):
        if name not in edges.texts:
            others = ", ".join(EDGE_COLUMNS[name].aliases)
            raise ConnectomeError(edges.path, f"must have a column {name} (or {others})", "none")
    if ("source_region" in edges.texts) != ("target_region" in edges.texts):
        raise ConnectomeError(edges.path, "must have source_region and target_region, or neither", "one of them")
    for name, column in edges.texts.items():
        if name == "kind":
            continue
        empty = (column.code < 0) | np.isin(column.code, [i for i, text in enumerate(column.names) if not text])
        if empty.any():
            raise edges.refuse(name, int(np.argmax(empty)), "must be given", "nothing")
    step = dt_ms if dt_ms is not None else about.get("dt_ms", DEFAULT_DT_MS)
    if not (isinstance(step, (int, float)) and 0 < step < math.inf):
        raise ConnectomeError(f"{edges.path}: dt_ms", "must be finite and > 0", repr(step)[:80])
    frame = pandas.DataFrame({k: v for k, v in edges.numbers.items() if not k.startswith("tract_length")})
    of_edges = dict(edges.attributes)
    length_um = edges.numbers.get("tract_length_um")
    if length_um is None and "tract_length_mm" in edges.numbers:
        length_um = 1000 * edges.numbers["tract_length_mm"]
    if length_um is not None:
        if (length_um < 0).any():
            row = int(np.argmax(length_um < 0))
            raise edges.refuse("tract_length", row, "must be >= 0", length_um[row])
        frame[_LENGTH] = length_um
        if "delay_ms" not in frame:
            frame["delay_ms"] = Conduction(velocity_mm_per_ms).delay_ms(length_um / 1000, step)
    if "delay_ms" in frame:
        with np.errstate(over="ignore"):
            steps = np.rint(frame["delay_ms"].to_numpy() / step)
        bad = ~((steps >= 1) & (steps <= MAX_DELAY_STEPS))
        if bad.any():
            row = int(np.argmax(bad))
            raise edges.refuse(
                "delay_ms", row, f"must be {step:g} .. {MAX_DELAY_STEPS * step:g} ms (1 .. {MAX_DELAY_STEPS} steps)",
                frame["delay_ms"][row], "Choose another dt_ms.",
            )  # fmt: skip
    if "kind" in edges.texts:
        kind = Attribute.of_codes("kind", *edges.texts["kind"])
        if all(map(is_kind, kind.categories)):
            frame["kind"] = kind.to_pandas()
        else:  # the word means something else there
            of_edges[attribute_name("kind", EDGE_WORDS, of_edges)] = kind
    of_nodes: Mapping[str, Attribute] = {}
    if nodes is None:
        table, (source, target) = _nodes_that_occur(edges)
    elif "index" in nodes.numbers:
        table, (source, target) = _indexed_nodes(edges, nodes)
        of_nodes = node_attributes(nodes)
    else:
        table, (source, target), key = _named_nodes(edges, nodes)
        of_nodes = node_attributes(nodes, "" if "label" in nodes.texts else key)
    table.attrs.update(about)
    frame["source_region"], frame["source"] = source
    frame["target_region"], frame["target"] = target
    if "sign" in table and "weight_pa" in frame:
        frame["weight_pa"] = signed_weights(edges, table, source, unsigned)
    elif unsigned:
        raise ConnectomeError(edges.path, "must have weights, and a nodes file with a column sign", "none, or not both")
    return from_tables(table, frame, of_nodes, of_edges, dt_ms=step)


def _nodes_that_occur(edges: Columns) -> tuple[pandas.DataFrame, list[End]]:
    """The nodes of edges that come without a table of nodes."""
    import pandas

    ends = [edges.texts[name] for name in _ENDS]
    occurring = {name for end in ends for name in end.names}
    are_numbers = all(name.isdecimal() for name in occurring)
    names = sorted(occurring, key=int) if are_numbers else sorted(occurring)
    name = _joined(ends, names)
    regions, region = [DEFAULT_REGION], np.zeros(name.size, np.int64)
    if "source_region" in edges.texts:
        areas = [edges.texts[f"{end}_region"] for end in _ENDS]
        regions = list({area: None for end in areas for area in end.names})
        region = _joined(areas, regions)
        at = np.full(len(regions), name.size)
        np.minimum.at(at, region, np.arange(name.size).reshape(-1, 2).T.ravel())
        rank = np.argsort(at, kind="stable")
        regions, region = [regions[i] for i in rank], np.argsort(rank)[region]
        regions = region_names(edges.path, regions)
    node, first, here = np.unique(region * max(len(names), 1) + name, return_index=True, return_inverse=True)
    node_region, node_name = np.divmod(node, max(len(names), 1))
    again = np.flatnonzero(np.bincount(node_name, minlength=1) > 1)
    if again.size and not are_numbers:
        rows = np.sort(first[node_name == again[0]]) % max(edges.size, 1)
        where = [regions[i] for i in node_region[node_name == again[0]]]
        raise edges.refuse(
            "region", int(rows.max()), f"must be the same for {names[again[0]]!r} in every row", " and ".join(where)
        )
    index = count_within(node_region)
    labels = [names[i] for i in node_name]
    if are_numbers and labels == [str(i) for i in index.tolist()]:
        labels = [""] * len(labels)
    table = pandas.DataFrame({"region": categorical(node_region, regions), "label": labels})
    return table, _ends(edges, here, node_region, index, regions)


def _indexed_nodes(edges: Columns, nodes: Columns) -> tuple[pandas.DataFrame, list[End]]:
    """Nodes that are counted from 0 in each region, as in our own files."""
    table, _, regions = node_table(nodes)
    table["index"] = nodes.numbers["index"]
    found: list[End] = []
    for end in _ENDS:
        given = edges.texts[end]
        bad = np.array([not (name.isdecimal() and len(name) < 11) for name in given.names], bool)[given.code]
        if bad.any():
            row = int(np.argmax(bad))
            raise edges.refuse(
                end, row, "must be a number counted from 0 in its region", repr(given.names[given.code[row]]),
                "To go by names, take the column index out of the nodes file.",
            )  # fmt: skip
        index = np.array([int(name) for name in given.names], np.int64)[given.code]
        area = edges.texts.get(f"{end}_region")
        code = np.zeros(edges.size, np.int64)
        if area is not None:
            code = _places(edges, f"{end}_region", region_names(edges.path, area.names), regions, nodes.path)
        elif len(regions) != 1:
            raise ConnectomeError(edges.path, f"must have a column {end}_region", "none", "There are several regions.")
        found.append((categorical(code, regions), index))
    return table, found


def _named_nodes(edges: Columns, nodes: Columns) -> tuple[pandas.DataFrame, list[End], str]:
    """Nodes that edges name, and the column that has the names."""
    table, region, regions = node_table(nodes)
    if "region" not in nodes.texts and "source_region" in edges.texts:
        raise ConnectomeError(nodes.path, "must have a column region, as the edges have regions", "none")
    keys = [name for name in ("id", "label") if name in nodes.texts]
    if not keys:
        raise ConnectomeError(nodes.path, "must have a column id, label or name", "none of them")
    wanted = {name for end in _ENDS for name in edges.texts[end].names}
    key = next((k for k in keys if wanted <= set(nodes.texts[k].names)), keys[0])
    given = nodes.texts[key]
    first, count = np.unique(given.code, return_counts=True)
    if (count > 1).any():
        twice = int(first[np.argmax(count > 1)])
        row = int(np.flatnonzero(given.code == twice)[1])
        raise nodes.refuse(key, row, "must be given once", repr(given.names[twice]))
    row_of = np.full(len(given.names) + 1, -1)
    row_of[given.code] = np.arange(nodes.size)
    if "label" not in nodes.texts:
        table["label"] = [given.names[i] for i in given.code.tolist()]
    rows = [row_of[_places(edges, end, edges.texts[end].names, given.names, nodes.path)] for end in _ENDS]
    return table, _ends(edges, np.concatenate(rows), region, count_within(region), regions), key


_ENDS: Final = ("source", "target")


def _ends(
    edges: Columns, node: NDArray[np.int64], region: NDArray[np.int64], index: NDArray[np.int64], regions: list[str]
) -> list[End]:
    """Region and index of the sources and of the targets, from the nodes of both, one after the other."""
    return [(categorical(region[part], regions), index[part]) for part in (node[: edges.size], node[edges.size :])]


def _joined(ends: list[Texts], names: list[str]) -> NDArray[np.int64]:
    """Sources, then targets, as places in ``names``."""
    place = {name: i for i, name in enumerate(names)}
    return np.concatenate([np.array([place[n] for n in end.names], np.int64)[end.code] for end in ends])


def _places(edges: Columns, column: str, given: list[str], known: list[str], there: str) -> NDArray[np.int64]:
    """The texts of a column as places in ``known``. Raises :class:`ConnectomeError`."""
    place = {name: i for i, name in enumerate(known)}
    code = edges.texts[column].code
    found: NDArray[np.int64] = np.array([place.get(name, -1) for name in given], np.int64)[code]
    if (found < 0).any():
        row = int(np.argmax(found < 0))
        raise edges.refuse(column, row, f"must be in {there}", repr(given[code[row]]))
    return found
