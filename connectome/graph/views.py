"""The connectome in the shapes that other libraries know, and back.

``from_x(*to_x(c))`` gives the same graph, digest for digest, for networkx, PyG and pandas; provenance travels along.
A scipy matrix holds weights only, and an xarray summary holds no single edge. What a user made elsewhere comes in by
the same doors: whatever such a graph or table does not say has the default that the function's docstring gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import in_blocks
from connectome.errors import ConnectomeError
from connectome.graph.attributes import EDGE_WORDS, NODE_WORDS, Attribute, attribute_name, joined_attributes
from connectome.graph.connectome import Connectome
from connectome.graph.flat import flatten
from connectome.graph.kernel_set import KernelSet
from connectome.graph.networkx_view import from_networkx, to_networkx
from connectome.graph.parts import ENDS, KINDS, ROLES, EdgeSet, Region
from connectome.graph.pyg_view import from_pyg, to_pyg
from connectome.graph.tables import (
    DEFAULT_DT_MS,
    DEFAULT_REGION,
    STATE,
    Header,
    connect,
    entries,
    header_of,
    kind_between,
    loose_attributes,
    make_regions,
    numbers,
    read_header,
    roles_of_kinds,
)
from connectome.memory import refuse_edges

if TYPE_CHECKING:
    import pandas
    import scipy.sparse
    import xarray

__all__ = [
    "edge_set_to_scipy",
    "from_networkx",
    "from_pandas",
    "from_pyg",
    "from_scipy",
    "to_networkx",
    "to_pandas",
    "to_pyg",
    "to_scipy",
    "to_xarray",
]


_NODE_COLUMNS: Final = ("region", "index", "role", "birth_stage", "sign", "x", "y", "z", "label")
_EDGE_COLUMNS: Final = {"weight_pa": "weight", "delay_ms": "delay", "birth_stage": "birth_stage", "kind": "kind"}
_EDGE_ENDS: Final = ("source", "target", "source_region", "target_region")


# scipy


def to_scipy(connectome: Connectome) -> scipy.sparse.csr_array:
    """(N, N) float32 weights in pA over all neurons, region after region; row = source.

    Each edge is one stored entry: several edges of one pair stay several (scipy adds them up when it converts to dense,
    or at ``sum_duplicates()``), and an edge of weight 0 stays stored. Columns are not sorted within a row. Of neurons
    it says nothing but their number.
    """
    import scipy.sparse

    flat = flatten(connectome.expanded())
    return scipy.sparse.csr_array((flat.weight, flat.target, flat.indptr), shape=(flat.n_neurons,) * 2)


def edge_set_to_scipy(edge_set: EdgeSet) -> scipy.sparse.csr_array:
    """(n_source, n_target) float32 weights in pA of one edge set; row = source, one stored entry for each edge."""
    import scipy.sparse

    shape = (edge_set.n_source, edge_set.n_target)
    columns = (edge_set.weight, edge_set.target, edge_set.indptr)
    return scipy.sparse.csr_array(columns, shape=shape, copy=True)  # scipy's own methods write to its arrays


def from_scipy(matrix: Any, regions: Sequence[Region] | None = None, *, dt_ms: float = DEFAULT_DT_MS) -> Connectome:
    """A connectome from one (N, N) matrix of weights in pA, sparse or dense; row = source. Delays are one step.

    ``regions`` have sizes that add up to N, in the order of the rows; default one region ``"all"``. With the regions of
    the connectome that :func:`to_scipy` was given, this gives its edges and weights back. For region labels, positions
    and tract lengths see :func:`connectome.wiring.from_matrix`. Raises :class:`ConnectomeError`.
    """
    row, column, weight, n = entries("matrix", matrix)
    regions = [Region(DEFAULT_REGION, n)] if regions is None else list(regions)
    sizes = [r.size for r in regions]
    if sum(sizes) != n:
        raise ConnectomeError("regions", f"must have sizes that add up to the matrix's {n}", sum(sizes))
    code = np.repeat(np.arange(len(regions)), sizes)
    index = np.arange(n) - np.repeat(np.cumsum(sizes, dtype=np.int64) - sizes, sizes)
    ends = [(code[end], index[end]) for end in (row, column)]
    return connect("matrix", regions, ends[0], ends[1], {"weight": weight}, Header(dt_ms))


# pandas


def to_pandas(connectome: Connectome) -> tuple[pandas.DataFrame, pandas.DataFrame]:
    """A table of nodes and a table of edges.

    Nodes: region and role (categorical), index int32, birth_stage int64, sign int8, x, y, z float64 (micrometres),
    ``state_<name>`` float32 (nan for regions without that state) and, if any neuron has a name, label; then attributes.
    Edges: source_region, kind, target_region (categorical), source and target int32 (counted in their regions),
    weight_pa float32, delay_ms float64, birth_stage int16, ``state_<name>`` float32 (nan for sets without that state);
    then attributes, as :meth:`~connectome.graph.attributes.Attribute.to_pandas` gives them. What has no row (dt_ms,
    region parameters, empty sets, provenance) is in ``nodes.attrs``, as values that JSON knows: parquet keeps them, CSV
    does not.
    """
    import pandas

    refuse_edges("tables", connectome.n_connections, 60)
    connectome = connectome.expanded()
    names = list(connectome.regions)
    regions, sets = list(connectome.regions.values()), list(connectome.edges.values())
    sizes, lengths = [r.size for r in regions], [len(e) for e in sets]

    def repeated(values: Sequence[str], among: Sequence[str], times: Sequence[int]) -> pandas.Categorical[str]:
        codes = np.repeat(np.array([among.index(v) for v in values], np.int64), times)
        return pandas.Categorical.from_codes(codes, categories=pandas.Index(list(among)))

    def joined(dtype: type, arrays: Iterable[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate([np.zeros(0, dtype), *arrays], dtype=dtype)

    def of_sets(dtype: type, column: Callable[[EdgeSet], NDArray[Any]]) -> NDArray[Any]:
        return joined(dtype, (column(e) for e in sets))

    position = np.concatenate([np.zeros((0, 3)), *(r.position_um for r in regions)])
    nodes = pandas.DataFrame(
        {
            "region": repeated(names, names, sizes),
            "index": joined(np.int32, (np.arange(n, dtype=np.int32) for n in sizes)),
            "role": repeated([r.role for r in regions], ROLES, sizes),
            "birth_stage": np.repeat(np.array([r.birth_stage for r in regions], np.int64), sizes),
            "sign": joined(np.int8, (r.sign for r in regions)),
            **dict(zip("xyz", position.T, strict=True)),
        }
    )
    if any(r.label is not None for r in regions):
        nodes["label"] = pandas.Series(np.concatenate([r.labels.astype(object) for r in regions]), dtype=object)
    for name in sorted({name for r in regions for name in r.state}):
        of_neurons = (r.state.get(name, np.full(r.size, math.nan, np.float32)) for r in regions)
        nodes[STATE + name] = joined(np.float32, of_neurons)
    for name, attribute in joined_attributes("nodes", [(r.attributes, r.size) for r in regions]).items():
        nodes[name] = attribute.to_pandas()
    nodes.attrs.update(header_of(connectome))
    edges = pandas.DataFrame(
        {
            "source_region": repeated([e.key.source for e in sets], names, lengths),
            "source": of_sets(np.int32, lambda e: e.source),
            "kind": repeated([e.key.kind for e in sets], [*KINDS, *_named(connectome)], lengths),
            "target_region": repeated([e.key.target for e in sets], names, lengths),
            "target": of_sets(np.int32, lambda e: e.target),
            "weight_pa": of_sets(np.float32, lambda e: e.weight),
            "delay_ms": of_sets(np.float64, lambda e: e.delay),
            "birth_stage": of_sets(np.int16, lambda e: e.birth_stage),
        }
    )
    for name in sorted({name for e in sets for name in e.state}):
        values = (e.state.get(name, np.full(len(e), math.nan, np.float32)) for e in sets)
        edges[STATE + name] = joined(np.float32, values)
    for name, attribute in joined_attributes("edges", [(e.attributes, len(e)) for e in sets]).items():
        edges[name] = attribute.to_pandas()
    return nodes, edges


def from_pandas(nodes: pandas.DataFrame | None, edges: pandas.DataFrame, *, dt_ms: float | None = None) -> Connectome:
    """A connectome from :func:`to_pandas`, from tables read from a file, or from a user's own edge table.

    ``edges`` needs the integer columns source and target, counted from 0 in each region; all else may lack. Defaults:
    one region ``"all"``; kind and roles as they follow from each other; weight 1 pA; delay one step; birth_stage 0; no
    state. Without ``nodes`` a region ends at the last neuron that has an edge, and regions come in order of first
    appearance. ``nodes`` needs region; index (else rows are numbered in order), role, sign, x, y, z, birth_stage, label
    and ``state_<name>`` may lack. Other columns of either that are numbers, flags or texts are attributes. ``dt_ms``
    defaults to that of ``nodes.attrs``, else 0.1 ms. Raises
    :class:`ConnectomeError`.
    """
    import pandas

    for name, table, needed in (("nodes", nodes, {"region"}), ("edges", edges, {"source", "target"})):
        if table is None and name == "nodes":
            continue
        if not isinstance(table, pandas.DataFrame):
            raise ConnectomeError(name, "must be a pandas DataFrame", type(table).__name__)
        if not needed.issubset(table.columns):
            raise ConnectomeError(name, f"must have the columns {sorted(needed)}", list(table.columns))
    of_nodes = {} if nodes is None else _attributes(nodes, _NODE_COLUMNS, NODE_WORDS)
    of_edges = _attributes(edges, [*_EDGE_COLUMNS, *_EDGE_ENDS], EDGE_WORDS)
    return from_tables(nodes, edges, of_nodes, of_edges, dt_ms=dt_ms)


def from_tables(
    nodes: pandas.DataFrame | None, edges: pandas.DataFrame, of_nodes: Mapping[str, Attribute],
    of_edges: Mapping[str, Attribute], *, dt_ms: float | None = None,
) -> Connectome:  # fmt: skip
    """As :func:`from_pandas`, with the attributes of nodes and edges beside the tables, of which other columns are not
    read."""
    import pandas

    header = read_header({} if nodes is None else nodes.attrs, "nodes.attrs", dt_ms)

    def names_in(column: str) -> tuple[NDArray[np.int64], list[Any]]:
        if column not in edges:
            return np.zeros(len(edges), np.int64), [DEFAULT_REGION]
        code, names = pandas.factorize(edges[column], use_na_sentinel=False)
        return code, names.tolist()

    index = {end: numbers(f"edges[{end}]", edges[end].to_numpy(), np.int64) for end in ("source", "target")}
    region = {end: names_in(f"{end}_region") for end in index}
    if nodes is not None:
        given = {str(k): nodes[k].tolist() for k in nodes if k in _NODE_COLUMNS or str(k).startswith(STATE)}
        if "label" in given:  # an empty cell of a file
            given["label"] = nodes["label"].astype(object).where(nodes["label"].notna(), "").tolist()
        regions, _, _ = make_regions("nodes", len(nodes), given, header, of_nodes)
    else:
        size: dict[Any, int] = {}
        for end, (code, names) in region.items():
            last = np.full(len(names), -1)
            np.maximum.at(last, code, index[end])
            for name, n in zip(names, last.tolist(), strict=True):
                size[name] = max(size.get(name, 0), n + 1)
        keys = [k for k in ("source_region", "kind", "target_region") if k in edges]
        roles = roles_of_kinds(edges[keys].drop_duplicates().itertuples(index=False)) if len(keys) == 3 else {}
        regions = [Region(name, n, roles.get(name, "neuron")) for name, n in size.items()]  # type: ignore[arg-type]
    place = {r.name: i for i, r in enumerate(regions)}
    ends = []
    for end, (code, names) in region.items():
        for name in names:
            if name not in place:
                raise ConnectomeError(f"edges[{end}_region]", f"must name regions of {list(place)}", repr(name))
        ends.append((np.array([place[name] for name in names], np.int64)[code], index[end]))
    columns = {
        _EDGE_COLUMNS.get(k, k): edges[k] if k == "kind" else edges[k].to_numpy()
        for k in map(str, edges.columns)
        if k in _EDGE_COLUMNS or k.startswith(STATE)
    }
    return connect("edges", regions, ends[0], ends[1], columns, header, of_edges)


def _attributes(table: pandas.DataFrame, known: Collection[str], words: frozenset[str]) -> dict[str, Attribute]:
    """The other columns of a table."""
    found: dict[str, Attribute] = {}
    for title in table.columns:
        column = table[title]
        if str(title) in known or str(title).startswith(STATE) or not column.notna().any():
            continue
        if column.dtype == object:
            values = column.astype(object).where(column.notna(), None).tolist()
            found |= loose_attributes({attribute_name(str(title), words, found): values}, (), words)
        elif getattr(column.dtype, "kind", "O") in "biufOU":
            found[attribute_name(str(title), words, found)] = Attribute.of(f"column {title}", column, len(column))
    return found


# xarray


def to_xarray(connectome: Connectome) -> xarray.Dataset:
    """Region-level connectivity, dims (source, kind, target), with the stage as a scalar coordinate.

    ``n_edges``; ``n_connections``, which differ in kernel sets, whose free weights are shared; all else is of
    connections: ``density`` (over pairs of neurons; nan where this kind cannot join these regions);
    ``mean_abs_weight_pa`` and ``mean_delay_ms`` (nan where there is no edge); ``total_weight_pa``. No set is expanded.

    Stages join along the stage. Regions that a stage has not yet are filled:

    >>> from connectome.graph.connectome import Connectome, Provenance, Region
    >>> import xarray
    >>> birth = Connectome.of([Region("a", 3)])
    >>> later = Connectome.of([Region("a", 3), Region("b", 2)], provenance=Provenance(stage=1))
    >>> stages = [c.to_xarray() for c in (birth, later)]
    >>> both = xarray.concat(stages, "stage", join="outer", fill_value={"n_edges": 0, "total_weight_pa": 0.0})
    >>> dict(both.n_edges.sizes)
    {'stage': 2, 'source': 2, 'kind': 4, 'target': 2}
    """
    import xarray

    regions = list(connectome.regions.values())
    place = {r.name: i for i, r in enumerate(regions)}
    kinds = [*KINDS, *_named(connectome)]
    shape = (len(regions), len(kinds), len(regions))
    n_edges, n_connections = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    total, density = np.zeros(shape), np.full(shape, np.nan)
    mean_abs, mean_delay = np.full(shape, np.nan), np.full(shape, np.nan)
    for s in regions:
        for t in regions:
            if (s.role, t.role) in ENDS.values() and s.size * t.size:
                density[place[s.name], kinds.index(kind_between(s, t)), place[t.name]] = 0.0
    for key, e in connectome.edges.items():
        at = (place[key.source], kinds.index(key.kind), place[key.target])
        n_edges[at], n_connections[at], density[at] = len(e), e.n_connections, e.density
        if isinstance(e, KernelSet):
            shared = e.connections.astype(np.float64)
            total[at] = e.weight @ shared
            mean_abs[at] = np.abs(e.weight) @ shared / shared.sum() if shared.any() else np.nan
            mean_delay[at] = e.delay_steps[0] * connectome.dt_ms if shared.any() else np.nan
        elif len(e):
            total[at] = e.weight.sum(dtype=np.float64)
            size = sum(np.abs(e.weight[block]).sum(dtype=np.float64) for block in in_blocks(len(e)))
            mean_abs[at] = size / len(e)
            mean_delay[at] = e.delay_steps.mean(dtype=np.float64) * connectome.dt_ms
    dims = ("source", "kind", "target")
    return xarray.Dataset(
        {
            "n_edges": (dims, n_edges, {"long_name": "number of edges", "units": "1"}),
            "n_connections": (dims, n_connections, {"long_name": "number of connections", "units": "1"}),
            "density": (dims, density, {"long_name": "connections / pairs of neurons", "units": "1"}),
            "mean_abs_weight_pa": (dims, mean_abs, {"long_name": "mean of |weight| over edges", "units": "pA"}),
            "total_weight_pa": (dims, total, {"long_name": "sum of the weights", "units": "pA"}),
            "mean_delay_ms": (dims, mean_delay, {"long_name": "mean delay over edges", "units": "ms"}),
        },
        coords={
            "source": np.array(list(place), dtype=str),
            "kind": np.array(kinds),
            "target": np.array(list(place), dtype=str),
            "stage": connectome.provenance.stage,
        },
    )


def _named(connectome: Connectome) -> list[str]:
    """The kinds of edge that have names of their own."""
    return sorted({key.kind for key in connectome.edges} - {*KINDS})
