"""A connectome from one table of nodes and one of edges: what the views' ``from_*`` functions have in common."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome, Provenance, RuleRecord
from connectome.graph.parts import ENDS, EdgeKey, EdgeSet, Kind, Region
from connectome.neurons.model import from_table, to_table

__all__ = [
    "Header",
    "connect",
    "entries",
    "header_of",
    "kind_between",
    "make_regions",
    "numbers",
    "read_header",
    "roles_of_kinds",
]

#: The region that takes every node of a graph without regions.
DEFAULT_REGION: Final = "all"
DEFAULT_DT_MS: Final = 0.1
#: The weight, in pA, of an edge of a graph without weights (networkx's own default).
DEFAULT_WEIGHT_PA: Final = 1.0
#: State "memory" of edges or neurons is the attribute or column "state_memory".
STATE: Final = "state_"


class Header(NamedTuple):
    """What tables of nodes and edges do not say themselves.

    ``regions``: name -> the arguments role, birth_stage and neuron of its Region and, as ``state``, the names of its
    states, in order. ``edge_sets``: key -> names of its states.
    """

    dt_ms: float = DEFAULT_DT_MS
    regions: Mapping[str, Mapping[str, Any]] = {}
    edge_sets: Mapping[EdgeKey, Sequence[str]] = {}
    provenance: Provenance = Provenance()


def header_of(c: Connectome) -> dict[str, Any]:
    """The header as values that JSON knows."""
    p = c.provenance
    return {
        "dt_ms": c.dt_ms,
        "regions": [
            {
                "name": r.name, "role": r.role, "birth_stage": r.birth_stage, "neuron": to_table(r.neuron),
                **({"state": list(r.state)} if r.state else {}),
            } for r in c.regions.values()
        ],
        "edge_sets": [[*key, list(e.state)] for key, e in c.edges.items()],
        "provenance": {
            "seed": p.seed, "stage": p.stage, "stage_name": p.stage_name, "parents": list(p.parents),
            "versions": dict(p.versions), "rule_log": [list(record) for record in p.rule_log],
        },
    }  # fmt: skip


def read_header(given: Mapping[Any, Any], where: str, dt_ms: float | None = None) -> Header:
    """The header among these attributes, whose values may be JSON text; ``dt_ms`` overrides theirs."""
    try:
        regions, edge_sets, provenance = (
            json.loads(v) if isinstance(v, str) else v
            for v in (given.get("regions", []), given.get("edge_sets", []), given.get("provenance", {}))
        )
        by_name = {
            r["name"]: {
                "role": r["role"], "birth_stage": r["birth_stage"],
                "neuron": from_table(r["neuron"], f"regions[{r['name']}].neuron"),
                "state": [str(name) for name in r.get("state", ())],
            } for r in regions
        }  # fmt: skip
        by_key = {EdgeKey(source, kind, target): states for source, kind, target, states in edge_sets}
        if provenance:
            log = tuple(RuleRecord(*record) for record in provenance["rule_log"])
            provenance = {**provenance, "parents": tuple(provenance["parents"]), "rule_log": log}
        found = Provenance(**provenance)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        if isinstance(error, ConnectomeError):
            raise
        raise ConnectomeError(
            where, "must hold regions, edge_sets and provenance as the views write them",
            f"{type(error).__name__}: {error}", "Remove these attributes to go without them.",
        ) from None  # fmt: skip
    step = given.get("dt_ms", DEFAULT_DT_MS) if dt_ms is None else dt_ms
    return Header(step, by_name, by_key, found)


def kind_between(source: Region, target: Region) -> Kind:
    """The only kind of edge that can join these two regions: their roles and names decide it.

    Raises :class:`ConnectomeError` if none can, e.g. from an effector.
    """
    if (source.role, target.role) == ENDS["local"]:
        return "local" if source.name == target.name else "long_range"
    if (source.role, target.role) == ENDS["afferent"]:
        return "afferent"
    if (source.role, target.role) == ENDS["efferent"]:
        return "efferent"
    raise ConnectomeError(
        f"edges[{source.name} -> {target.name}]", "must go from sensor or neuron to neuron, or from neuron to effector",
        f"{source.role} to {target.role}",
    )  # fmt: skip


def roles_of_kinds(keys: Iterable[Sequence[str]]) -> dict[str, str]:
    """The roles, other than neuron, that edge sets with these keys ask of their regions."""
    return {
        name: role
        for source, kind, target in keys
        for name, role in zip((source, target), ENDS.get(kind, ()), strict=False)
        if role != "neuron"
    }


def numbers(where: str, values: Any, dtype: type = np.float64) -> NDArray[Any]:
    """An array of float64 or int64. Raises :class:`ConnectomeError` for what is no number or no integer."""
    try:
        array = np.asarray(values)
        array = array if array.dtype.kind in "biuf" else array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ConnectomeError(where, "must be numbers", str(error)) from None
    if dtype is np.int64 and array.dtype.kind == "f":
        bad = ~((np.abs(array) < 2**53) & (np.rint(array) == array))  # also true for nan
        if bad.any():
            raise ConnectomeError(where, "must be integers", array[bad].flat[0])
    return array.astype(dtype, copy=False)


def entries(name: str, matrix: Any) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], int]:
    """Rows, columns and values of the entries of a square matrix, sparse or dense, and its size."""
    import scipy.sparse

    given = matrix if scipy.sparse.issparse(matrix) else np.asarray(matrix)
    if given.ndim != 2 or given.shape[0] != given.shape[1]:
        raise ConnectomeError(name, "must be a square matrix", f"shape {given.shape}", "Row = source, column = target.")
    if given.dtype.kind not in "biuf":
        raise ConnectomeError(name, "must be numbers", given.dtype)
    found = scipy.sparse.coo_array(given)
    return *found.coords, found.data, given.shape[0]


def count_within(code: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each element, how many before it have the same code."""
    order = np.argsort(code, kind="stable")
    length = np.bincount(code)
    count = np.empty(code.size, np.int64)
    count[order] = np.arange(code.size) - np.repeat(np.cumsum(length) - length, length)
    return count


def make_regions(
    where: str, n: int, nodes: Mapping[str, Sequence[Any]], header: Header
) -> tuple[list[Region], NDArray[np.int64], NDArray[np.int64]]:
    """Regions from the columns of n nodes, then the region (its place) and the index of each node.

    Columns: region, index, role, birth_stage, sign, x, y, z, label, ``state_<name>``; each may lack. The header's word
    on a region goes first. nan in all nodes of a region for which the header names no such state says that it has none,
    and a column ``state_<name>`` that holds no numbers is none of ours.
    """
    name_of = nodes.get("region", [DEFAULT_REGION] * n)
    place = {name: i for i, name in enumerate(header.regions)}
    try:
        code = np.array([place.setdefault(name, len(place)) for name in name_of], np.int64)
    except TypeError as error:
        raise ConnectomeError(f"{where}[region]", "must be names", str(error)) from None
    index = numbers(f"{where}[index]", nodes["index"], np.int64) if "index" in nodes else count_within(code)
    size = np.bincount(code, minlength=len(place))
    order = np.lexsort((index, code))
    last = np.cumsum(size)
    bad = index[order] != np.arange(n) - np.repeat(last - size, size)
    if bad.any():
        at = order[int(np.argmax(bad))]
        raise ConnectomeError(
            f"{where}[index]", f"must count 0 .. {size[code[at]] - 1} in region {name_of[at]!r}, each once", index[at],
            "Drop 'index' to number the nodes afresh.",
        )  # fmt: skip
    zero = np.zeros(n)
    position = np.stack([numbers(f"{where}[{axis}]", nodes.get(axis, zero)) for axis in "xyz"], axis=1)[order]
    sign = numbers(f"{where}[sign]", nodes.get("sign", zero), np.int64)[order]
    label = np.asarray(nodes["label"], object)[order] if "label" in nodes else None
    states = {k: v[order] for k, v in _states(where, nodes, header).items()}
    roles = roles_of_kinds(header.edge_sets)
    regions = []
    for name, end, length in zip(place, last.tolist(), size.tolist(), strict=True):
        here = slice(end - length, end)
        about: dict[str, Any] = {"role": roles.get(name, "neuron")}
        about |= {k: nodes[k][order[here][0]] for k in ("role", "birth_stage") if k in nodes and length}
        about |= header.regions.get(name, {})
        named = dict.fromkeys(about.pop("state", ()), np.broadcast_to(math.nan, length))
        found = {s: v[here] for s, v in states.items() if s in named or not np.isnan(v[here]).all()}
        about["state"] = named | found
        if label is not None:
            about["label"] = label[here]
        regions.append(Region(name, length, position_um=position[here], sign=sign[here], **about))
    return regions, code, index


def _states(where: str, nodes: Mapping[str, Sequence[Any]], header: Header) -> dict[str, NDArray[np.float64]]:
    """State of nodes by name, nan where a node has none."""
    named = {name for about in header.regions.values() for name in about.get("state", ())}
    found = {}
    for column, values in nodes.items():
        name = column.removeprefix(STATE)
        if column.startswith(STATE) and (name in named or _are_numbers(values)):
            found[name] = numbers(f"{where}[{column}]", values)
    return found


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(v, (int, float, np.number)) and not isinstance(v, bool) for v in values)


def connect(
    where: str, regions: Sequence[Region], source: tuple[NDArray[np.int64], NDArray[np.int64]],
    target: tuple[NDArray[np.int64], NDArray[np.int64]], columns: Mapping[str, Any], header: Header,
) -> Connectome:  # fmt: skip
    """A connectome from these regions and one table of edges.

    ``source`` and ``target`` are, for each edge, the region (its place) and the index in it. Columns: weight (pA),
    delay (ms), birth_stage, ``state_<name>``, kind; each may lack or, except kind, be one number for all. nan in all
    edges of a set that the header does not name says that the set has no such state.
    """
    n_regions = max(len(regions), 1)
    pair = source[0] * n_regions + target[0]
    if n_regions < 256:
        pair = pair.astype(np.uint16)  # NumPy sorts 16 bits by radix, in one pass
    order = np.argsort(pair, kind="stable")
    found, start = np.unique(pair[order], return_index=True)
    table = {k: np.asarray(v, object) if k == "kind" else numbers(f"{where}[{k}]", v) for k, v in columns.items()}
    for name, values in table.items():
        if values.ndim and values.shape != pair.shape:
            raise ConnectomeError(f"{where}[{name}]", f"must have shape {pair.shape}, one for each edge", values.shape)
    edges_of: dict[EdgeKey, NDArray[np.int64]] = {key: np.zeros(0, np.int64) for key in header.edge_sets}
    for code, edge in zip(found.tolist(), np.split(order, start[1:]), strict=False):
        s, t = regions[code // n_regions], regions[code % n_regions]
        kind = kind_between(s, t)
        edges_of[EdgeKey(s.name, kind, t.name)] = edge
        wrong = table["kind"][edge] != kind if "kind" in table else np.zeros(1, bool)
        if wrong.any():
            raise ConnectomeError(
                f"{where}[kind]", f"must be {kind!r} from {s.name!r} to {t.name!r}", table["kind"][edge][wrong][0],
                "Drop 'kind': it follows from the regions.",
            )  # fmt: skip
    size = {r.name: r.size for r in regions}
    edge_sets = []
    for key, edge in edges_of.items():
        if key.source not in size or key.target not in size:
            raise ConnectomeError(where, f"must join regions of {list(size)}", str(key))
        here = {k: v[edge] if v.ndim else v for k, v in table.items()}
        known = [k for k, v in here.items() if k.startswith(STATE) and not np.isnan(v).all()]
        states = header.edge_sets.get(key, [k.removeprefix(STATE) for k in known])
        nothing = np.full(edge.size, math.nan)
        edge_sets.append(
            EdgeSet.from_arrays(
                key, source[1][edge], target[1][edge], here.get("weight", DEFAULT_WEIGHT_PA),
                n_source=size[key.source], n_target=size[key.target], dt_ms=header.dt_ms, delay_ms=here.get("delay"),
                birth_stage=here.get("birth_stage", 0), state={s: here.get(STATE + s, nothing) for s in states},
            )
        )  # fmt: skip
    return Connectome.of(regions, edge_sets, dt_ms=header.dt_ms, provenance=header.provenance)
