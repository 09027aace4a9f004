"""A connectome from one table of nodes and one of edges: what the views' ``from_*`` functions have in common."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.attributes import Attribute, attribute_name
from connectome.graph.connectome import Connectome, Provenance, RuleRecord
from connectome.graph.maps import Maps
from connectome.graph.parts import ENDS, NAME_RULE, EdgeKey, EdgeSet, Kind, Region, checked_key
from connectome.neurons.model import from_table, to_table

__all__ = [
    "Header",
    "connect",
    "entries",
    "header_of",
    "kind_between",
    "loose_attributes",
    "make_regions",
    "numbers",
    "read_header",
    "region_names",
    "roles_of_kinds",
    "types_of",
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
    states, in order, as ``attributes`` its attributes' types. ``edge_sets``: key -> names of its states.
    ``edge_attributes``: key -> name -> type.
    """

    dt_ms: float = DEFAULT_DT_MS
    regions: Mapping[str, Mapping[str, Any]] = {}
    edge_sets: Mapping[EdgeKey, Sequence[str]] = {}
    provenance: Provenance = Provenance()
    edge_attributes: Mapping[EdgeKey, Mapping[str, str]] = {}


def header_of(c: Connectome) -> dict[str, Any]:
    """The header as values that JSON knows."""
    p = c.provenance
    return {
        "dt_ms": c.dt_ms,
        "regions": [
            {
                "name": r.name, "role": r.role, "birth_stage": r.birth_stage, "neuron": to_table(r.neuron),
                **({"state": list(r.state)} if r.state else {}),
                **({"attributes": types_of(r)} if r.attributes else {}),
                **({"maps": asdict(r.maps)} if r.maps else {}), **({"area": r.area} if r.area else {}),
            } for r in c.regions.values()
        ],
        "edge_sets": [[*key, list(e.state), *([types_of(e)] if e.attributes else ())] for key, e in c.edges.items()],
        "provenance": {
            "seed": p.seed, "stage": p.stage, "stage_name": p.stage_name, "parents": list(p.parents),
            "versions": dict(p.versions), "rule_log": [list(record) for record in p.rule_log],
        },
    }  # fmt: skip


def types_of(part: Region | EdgeSet) -> dict[str, str]:
    """The types of its attributes."""
    return {name: attribute.type for name, attribute in part.attributes.items()}


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
                "state": [str(name) for name in r.get("state", ())], "attributes": dict(r.get("attributes", {})),
                **({"maps": Maps(**r["maps"])} if "maps" in r else {}),
                **({"area": r["area"]} if "area" in r else {}),
            } for r in regions
        }  # fmt: skip
        by_key = {EdgeKey(source, kind, target): states for source, kind, target, states, *_ in edge_sets}
        types = {EdgeKey(*row[:3]): dict(row[4]) for row in edge_sets if len(row) > 4}
        if provenance:
            log = tuple(RuleRecord(*record) for record in provenance["rule_log"])
            provenance = {**provenance, "parents": tuple(provenance["parents"]), "rule_log": log}
        found = _typed(Provenance(**provenance))
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        if isinstance(error, ConnectomeError):
            raise
        raise ConnectomeError(
            where, "must hold regions, edge_sets and provenance as the views write them",
            f"{type(error).__name__}: {error}", "Remove these attributes to go without them.",
        ) from None  # fmt: skip
    step = given.get("dt_ms", DEFAULT_DT_MS) if dt_ms is None else dt_ms
    return Header(step, by_name, by_key, found, types)


def _typed(p: Provenance) -> Provenance:
    """The same, if all of its values are of their types. Raises TypeError."""
    texts = [p.stage_name, *p.parents, *p.versions, *p.versions.values(), *(x for r in p.rule_log for x in r[2:6])]
    numbers = [p.stage, *([] if p.seed is None else [p.seed]), *(x for r in p.rule_log for x in (*r[:2], *r[6:]))]
    for values, kind in ((texts, str), (numbers, int)):
        for value in values:
            if not isinstance(value, kind):
                raise TypeError(f"provenance holds {value!r:.80} where {kind.__name__} belongs")
    return p


def kind_between(source: Region, target: Region) -> Kind:
    """The only kind of edge that can join these two regions: their roles and areas decide it.

    Raises :class:`ConnectomeError` if none can, e.g. from an effector.
    """
    if (source.role, target.role) == ENDS["local"]:
        return "local" if (source.area or source.name) == (target.area or target.name) else "long_range"
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
    where: str, n: int, nodes: Mapping[str, Sequence[Any]], header: Header,
    attributes: Mapping[str, Attribute] = MappingProxyType({}),
) -> tuple[list[Region], NDArray[np.int64], NDArray[np.int64]]:  # fmt: skip
    """Regions from the columns of n nodes, then the region (its place) and the index of each node.

    Columns: region, index, role, birth_stage, sign, x, y, z, label, ``state_<name>``; each may lack. ``attributes`` are
    the nodes' as well. The header's word on a region goes first. nan in all nodes of a region for which the header
    names no such state or attribute says that it has none, and a column ``state_<name>`` that holds no numbers is none
    of ours.
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
    nothing = np.full(n, math.nan)
    position = np.stack([numbers(f"{where}[{axis}]", nodes.get(axis, nothing)) for axis in "xyz"], axis=1)[order]
    sign = numbers(f"{where}[sign]", nodes.get("sign", np.zeros(n)), np.int64)[order]
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
        types = about.pop("attributes", {})
        about["attributes"] = _known(f"{where}[{name}]", attributes, order[here], length, types)
        if label is not None:
            about["label"] = label[here]
        regions.append(Region(name, length, position_um=position[here], sign=sign[here], **about))
    return regions, code, index


def _known(
    where: str, attributes: Mapping[str, Attribute], rows: NDArray[np.int64] | slice, n: int, types: Mapping[str, str]
) -> dict[str, Attribute]:
    """The attributes of these n rows: those that have a type, as it, and those of which anything is known."""
    found = {name: a if isinstance(rows, slice) else a.take(rows) for name, a in attributes.items()}
    found = {name: a for name, a in found.items() if name in types or not a.is_missing.all()}
    for name, kind in types.items():
        known = name in found and not found[name].is_missing.all()
        found[name] = found[name].astype(kind, f"{where}[{name}]") if known else Attribute.missing(kind, n)
    return found


def _states(where: str, nodes: Mapping[str, Sequence[Any]], header: Header) -> dict[str, NDArray[np.float64]]:
    """State of nodes by name, nan where a node has none."""
    named = {name for about in header.regions.values() for name in about.get("state", ())}
    found = {}
    for column, values in nodes.items():
        name = column.removeprefix(STATE)
        if column.startswith(STATE) and (name in named or _are_numbers(values)):
            found[name] = numbers(f"{where}[{column}]", values)
    return found


def loose_attributes(
    columns: Mapping[str, Sequence[Any]], known: Collection[str], words: frozenset[str]
) -> dict[str, Attribute]:
    """Attributes from columns of Python's values, None where there is none: all but those in ``known``, state, and
    what holds other things than numbers, flags and texts. Where there are several kinds, all are texts."""
    found: dict[str, Attribute] = {}
    for title, values in columns.items():
        if not isinstance(title, str) or title in known or title.startswith(STATE):
            continue
        kinds = {type(v) for v in values if v is not None}
        if not kinds or not all(issubclass(kind, (str, bool, int, float, np.generic)) for kind in kinds):
            continue
        try:
            attribute = Attribute.of(title, list(values), len(values))
        except ConnectomeError:
            attribute = Attribute.of(title, [None if v is None else str(v) for v in values], len(values))
        found[attribute_name(title, words, found)] = attribute
    return found


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(v, (int, float, np.number)) and not isinstance(v, bool) for v in values)


def connect(
    where: str, regions: Sequence[Region], source: tuple[NDArray[np.int64], NDArray[np.int64]],
    target: tuple[NDArray[np.int64], NDArray[np.int64]], columns: Mapping[str, Any], header: Header,
    attributes: Mapping[str, Attribute] = MappingProxyType({}),
) -> Connectome:  # fmt: skip
    """A connectome from these regions and one table of edges.

    ``source`` and ``target`` are, for each edge, the region (its place) and the index in it. Columns: weight (pA),
    delay (ms), birth_stage, ``state_<name>``, kind; each may lack or, except kind, be one number for all. nan in all
    edges of a set that the header does not name says that the set has no such state. ``attributes`` are the edges'. A
    kind that is empty follows from the regions.
    """
    n_regions = max(len(regions), 1)
    pair = source[0] * n_regions + target[0]
    kinds = Attribute.missing("text", pair.size)
    if "kind" in columns:
        kinds = Attribute.of(f"{where}[kind]", columns["kind"], pair.size)
    names = kinds.names or ("",)
    code = pair * len(names) + kinds.values
    if n_regions**2 * len(names) < 2**16:
        code = code.astype(np.uint16)  # NumPy sorts 16 bits by radix, in one pass
    order = np.argsort(code, kind="stable")
    found, start = np.unique(code[order], return_index=True)
    table = {k: numbers(f"{where}[{k}]", v) for k, v in columns.items() if k != "kind"}
    for name, values in table.items():
        if values.ndim and values.shape != pair.shape:
            raise ConnectomeError(f"{where}[{name}]", f"must have shape {pair.shape}, one for each edge", values.shape)
    edges_of: dict[EdgeKey, NDArray[np.int64]] = {key: np.zeros(0, np.int64) for key in header.edge_sets}
    for number, edge in zip(found.tolist(), np.split(order, start[1:]), strict=False):
        s, t = (regions[i] for i in divmod(number // len(names), n_regions))
        base = kind_between(s, t)
        kind = names[number % len(names)] or base
        if kind.partition("-")[0] != base:
            raise ConnectomeError(
                f"{where}[kind]", f"must be {base!r} from {s.name!r} to {t.name!r}", kind,
                "Drop 'kind': it follows from the regions.",
            )  # fmt: skip
        key = checked_key((s.name, kind, t.name))
        edges_of[key] = np.sort(np.concatenate([edges_of[key], edge])) if len(edges_of.get(key, ())) else edge
    size = {r.name: r.size for r in regions}
    edge_sets = []
    for key, edge in edges_of.items():
        if key.source not in size or key.target not in size:
            raise ConnectomeError(where, f"must join regions of {list(size)}", str(key))
        rows = slice(None) if edge.size == pair.size else edge  # all edges, in their order
        here = {k: v[rows] if v.ndim else v for k, v in table.items()}
        known = [k for k, v in here.items() if k.startswith(STATE) and not np.isnan(v).all()]
        states = header.edge_sets.get(key, [k.removeprefix(STATE) for k in known])
        nothing = np.full(edge.size, math.nan)
        edge_sets.append(
            EdgeSet.from_arrays(
                key, source[1][rows], target[1][rows], here.get("weight", DEFAULT_WEIGHT_PA),
                n_source=size[key.source], n_target=size[key.target], dt_ms=header.dt_ms, delay_ms=here.get("delay"),
                birth_stage=here.get("birth_stage", 0), state={s: here.get(STATE + s, nothing) for s in states},
                attributes=_known(f"{where}[{key}]", attributes, rows, edge.size, header.edge_attributes.get(key, {})),
            )
        )  # fmt: skip
    return Connectome.of(regions, edge_sets, dt_ms=header.dt_ms, provenance=header.provenance)


def region_names(where: str, names: list[str]) -> list[str]:
    """Names of regions as this project has them: accents go, and what else is not letter, digit, ``_ . -`` becomes
    ``_``. Raises :class:`ConnectomeError` for an empty name and for two that become one."""
    made: dict[str, str] = {}
    for name in names:
        plain = "".join(c for c in unicodedata.normalize("NFKD", name) if not unicodedata.combining(c))
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", plain).lstrip(".-")
        plain = name if plain == name else plain.strip("_")
        if not plain:
            raise ConnectomeError(f"{where}: region", f"must be {NAME_RULE}", repr(name), "Give every node a region.")
        if made.setdefault(plain, name) != name:
            raise ConnectomeError(
                f"{where}: region", f"must differ in {NAME_RULE}", f"{made[plain]!r} and {name!r}", "Rename one."
            )
    return list(made)
