"""The fly's eye as the package flyvis describes it: cell types on a hexagonal grid, and measured offsets between them.

``read("fib25-fib19_v2.2.json")`` is the network of Lappalainen et al. (2024), Nature 634, 1132-1140: 65 types, each a
region with one hexagonal map, and 605 kernel sets. The package (MIT) includes the file, but is not needed to read it.

The file is a JSON object. ``nodes``: ``name`` and ``pattern`` of each type, which is ``["stride", [u, v]]``, a cell in
each column whose coordinates are multiples of these; ``["tile", n]``, the same with n for both; or
``["single", null]``, one cell in the middle. ``edges``: ``src``, ``tar``, ``alpha`` (the sign, 1 or -1) and
``offsets``, a list of ``[[du, dv], synapses]``: a cell in column (u, v) makes that many synapses on the cell of the
target type in (u + du, v + dv). ``input_units``, ``output_units``: names of types.

The reconstruction has gaps. As in flyvis, offsets without a count that lie among those with one get ``fill`` synapses:
all integer coordinates in the convex hull of three or more offsets, except those in its lowest row, v being the row.
(The points inside are those that matplotlib's ``Path.contains_points`` counts, which leaves out only that side.) The
published file has 238 of these beside 2,140 that were measured; the edges' flag ``is_assumed`` marks them.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import integer
from connectome.errors import ConnectomeError
from connectome.graph.attributes import Attribute
from connectome.graph.connectome import Connectome, Provenance
from connectome.graph.kernel_set import KernelSet
from connectome.graph.maps import Maps
from connectome.graph.parts import Region
from connectome.graph.tables import DEFAULT_DT_MS, kind_between
from connectome.io.files import naming, read_bytes

__all__ = ["MOST_RADIUS", "PUBLISHED_MEAN", "read", "region_name", "within"]

#: Columns from the middle to the rim, and along an offset: 120,601 columns.
MOST_RADIUS: Final = 200
#: The mean weight of each pair of types at first, in the published model's unit of potential.
PUBLISHED_MEAN: Final = 0.01
_MAX_BYTES: Final = 1 << 26
_NO_NAME: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_PATTERNS: Final = "['stride', [u, v]], ['tile', n] or ['single', null]"

Offsets = NDArray[np.int64]


class _Pair(NamedTuple):
    """One pair of types: (n, 2) offsets from source to target, (n,) synapse counts."""

    source: str
    target: str
    sign: int
    offsets: Offsets
    synapses: NDArray[np.float64]


def read(
    path: str | os.PathLike[str], *, radius: int = 15, fill: float = 1.0, mean_weight_pa: float | None = None,
    dt_ms: float = DEFAULT_DT_MS,
) -> Connectome:  # fmt: skip
    """The eye with ``radius`` R columns from the middle to the rim: 3 R (R + 1) + 1 columns.

    Regions are named after the types, with ``_`` for characters other than letters, digits, ``_``, ``.`` and ``-``
    (``CT1_Lo1``), and have the type's sign, 0 if its sets have both. Attributes of neurons: ``cell_type``, as the file
    has it, ``u``, ``v``, and the flags ``is_sensory`` and ``is_output``.

    Parameters
    ----------
    fill : number of synapses in the reconstruction's gaps; 0 leaves them empty
    mean_weight_pa : None: weights are signed synapse counts. A number: the weights of each pair of types are scaled by
        one factor to this mean magnitude over the pair's connections, as at the published starting point with
        :data:`PUBLISHED_MEAN`. Then a pair's mean weight does not depend on its number of synapses; only the
        distribution over offsets does
    dt_ms : all delays are one step of this length

    Raises :class:`ConnectomeError` naming the file.
    """
    for name, value in (("fill", fill), ("mean_weight_pa", 0.0 if mean_weight_pa is None else mean_weight_pa)):
        if not 0 <= value < np.inf:
            raise ConnectomeError(name, "must be 0 or more, and finite", value)
    integer("radius", radius, 0, MOST_RADIUS)
    with naming(path, "cell types and offsets in flyvis' JSON"):
        given = json.loads(read_bytes(path, _MAX_BYTES))
        if not isinstance(given, dict):
            raise ConnectomeError("JSON", "must be an object", type(given).__name__)
        names = [_text(f"nodes[{i}].name", node, "name") for i, node in _items(given, "nodes")]
        flags = {key: {str(name) for name in _list(given, key)} for key in ("input_units", "output_units")}
        regions: dict[str, Region] = {}
        for i, node in _items(given, "nodes"):
            regions[names[i]] = _region(names[i], _maps(f"nodes[{i}].pattern", node.get("pattern"), radius), flags)
        if len({r.name for r in regions.values()}) != len(names):
            raise ConnectomeError("nodes", "must have names that differ", f"{len(names)} nodes")
        pairs = [_pair(f"edges[{i}]", edge, regions) for i, edge in _items(given, "edges")]
        sets = [_kernels(pair, regions, fill, mean_weight_pa, dt_ms) for pair in pairs]
        signs: dict[str, set[int]] = {}
        for pair in pairs:
            signs.setdefault(pair.source, set()).add(pair.sign)
        signed = [replace(r, sign=np.full(r.size, sum(signs.get(name, ())), np.int8)) for name, r in regions.items()]
        origin = Provenance(stage_name="flyvis", versions={"radius": str(radius), "fill": f"{fill:g}"})
        return Connectome.of(signed, sets, dt_ms=dt_ms, provenance=origin)


def region_name(cell_type: str) -> str:
    """The region of a type.

    >>> region_name("CT1(Lo1)"), region_name("T4a")
    ('CT1_Lo1', 'T4a')
    """
    return _NO_NAME.sub("_", cell_type).strip("_")


def within(offsets: Offsets) -> Offsets:
    """(m, 2) the gaps among (n, 2) offsets (u, v), in ascending order: integer coordinates in their convex hull that
    are not among them and not in its lowest row v; empty if all lie on a line.

    >>> within(np.array([[0, 0], [2, 0], [0, 2]])).tolist()
    [[0, 1], [1, 1]]
    """
    corners = _hull([(int(u), int(v)) for u, v in offsets])
    if len(corners) < 3:
        return np.zeros((0, 2), np.int64)
    low, high = offsets.min(0), offsets.max(0)
    u, v = (x.ravel() for x in np.mgrid[low[0] : high[0] + 1, low[1] + 1 : high[1] + 1])
    inside = np.ones(u.size, bool)
    for (a, b), (c, d) in zip(corners, corners[1:] + corners[:1], strict=True):
        inside &= (c - a) * (v - b) - (d - b) * (u - a) >= 0
    known = {(int(a), int(b)) for a, b in offsets}
    found = [(a, b) for a, b in zip(u[inside].tolist(), v[inside].tolist(), strict=True) if (a, b) not in known]
    return np.array(found, np.int64).reshape(-1, 2)


def _hull(points: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Corners of the convex hull, counterclockwise (Andrew's monotone chain)."""

    def half(ordered: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        for u, v in ordered:
            while len(found) > 1:
                (a, b), (c, d) = found[-2:]
                if (c - a) * (v - b) - (d - b) * (u - a) > 0:
                    break
                found.pop()
            found.append((u, v))
        return found[:-1]

    ordered = sorted(set(points))
    return half(ordered) + half(ordered[::-1])


def _kernels(
    pair: _Pair, regions: dict[str, Region], fill: float, mean_weight_pa: float | None, dt_ms: float
) -> KernelSet:
    source, target = regions[pair.source], regions[pair.target]
    gaps = within(pair.offsets) if fill > 0 else np.zeros((0, 2), np.int64)
    at = np.concatenate([pair.offsets, gaps])
    synapses = np.concatenate([pair.synapses, np.full(len(gaps), fill)])
    assert source.maps is not None
    assert target.maps is not None
    made = KernelSet.from_arrays(
        (source.name, kind_between(source, target), target.name), np.zeros(len(at), int), np.zeros(len(at), int),
        -at[:, 0], -at[:, 1], pair.sign * synapses, source_maps=source.maps, target_maps=target.maps, dt_ms=dt_ms,
        attributes={"is_assumed": np.arange(len(at)) >= len(pair.offsets)},
    )  # fmt: skip
    if mean_weight_pa is None:
        return made
    often = made.connections
    mean = np.average(np.abs(made.weight), weights=often if often.any() else None)
    return replace(made, weight=(made.weight * (mean_weight_pa / mean)).astype(np.float32))


def _region(name: str, maps: Maps, flags: dict[str, set[str]]) -> Region:
    known = {
        "cell_type": name, "u": maps.row - maps.origin[0], "v": maps.column - maps.origin[1],
        "is_sensory": name in flags["input_units"], "is_output": name in flags["output_units"],
    }  # fmt: skip
    attributes = {key: Attribute.of(key, value, maps.size) for key, value in known.items()}
    return Region(region_name(name), maps.size, maps=maps, attributes=attributes)


def _maps(where: str, given: Any, radius: int) -> Maps:
    match given:
        case ["stride", [int(u), int(v)]]:
            return Maps.hexagon(1, radius, (u, v))
        case ["tile", int(n)]:
            return Maps.hexagon(1, radius, (n, n))
        case ["single", None]:
            return Maps.hexagon(1, 0)
    raise ConnectomeError(where, f"must be {_PATTERNS}", repr(given))


def _pair(where: str, given: dict[str, Any], regions: dict[str, Region]) -> _Pair:
    source, target = (_text(f"{where}.{key}", given, key) for key in ("src", "tar"))
    for key, name in (("src", source), ("tar", target)):
        if name not in regions:
            raise ConnectomeError(f"{where}.{key}", "must be the name of a node", repr(name))
    sign = given.get("alpha")
    if sign not in (1, -1):
        raise ConnectomeError(f"{where}.alpha", "must be 1 or -1", repr(sign))
    offsets, synapses = [], []
    for row in _list(given, "offsets", where):
        match row:
            case [[int(u), int(v)], int() | float() as n] if max(abs(u), abs(v)) <= 2 * MOST_RADIUS and 0 < n < np.inf:
                offsets.append((u, v))
                synapses.append(float(n))
            case _:
                rule = f"must be [[du, dv], synapses], with offsets up to {2 * MOST_RADIUS} and more than 0 synapses"
                raise ConnectomeError(f"{where}.offsets", rule, repr(row))
    if not offsets:
        raise ConnectomeError(f"{where}.offsets", "must have one or more", "none")
    return _Pair(source, target, int(sign), np.array(offsets, np.int64), np.array(synapses))


def _items(given: dict[str, Any], key: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for i, item in enumerate(_list(given, key)):
        if not isinstance(item, dict):
            raise ConnectomeError(f"{key}[{i}]", "must be an object", repr(item))
        yield i, item


def _list(given: dict[str, Any], key: str, where: str = "") -> list[Any]:
    found = given.get(key)
    if not isinstance(found, list):
        raise ConnectomeError(f"{where}.{key}" if where else key, "must be a list", repr(found)[:80])
    return found


def _text(where: str, given: dict[str, Any], key: str) -> str:
    found = given.get(key)
    if not isinstance(found, str) or not region_name(found):
        raise ConnectomeError(where, "must be a name", repr(found)[:80])
    return found
