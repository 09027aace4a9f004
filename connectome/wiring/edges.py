"""Wiring at birth: positions, Dale's signs, connection rules, weights and delays.

Pure functions of a :class:`numpy.random.Generator`: the same state of the generator gives the same edges. Rules have
the names they have in NEST and PyNN and, as in NEST, a rule that cannot be met is refused rather than giving fewer
edges.

>>> rng = np.random.default_rng(1)
>>> region = Region("a", 100, position_um=positions_in_sphere(100, 50.0, rng), sign=dale_signs(100, 0.8, rng))
>>> local = wire(region, region, ByDistance(40.0, density=0.1), weight_pa=LogNormal(20.0, 5.0), g=4.0,
...              delay_ms=Conduction(0.3), over_production=2.0, rng=rng)
>>> Connectome.of([region], [local])
Connectome(a[100]; 1 edge sets, 1981 edges)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import checked_ids, finite_step, lock
from connectome.errors import ConnectomeError
from connectome.graph.attributes import NODE_WORDS, checked_attributes
from connectome.graph.connectome import Connectome
from connectome.graph.parts import EdgeKey, EdgeSet, Region
from connectome.graph.tables import (
    DEFAULT_DT_MS,
    DEFAULT_WEIGHT_PA,
    Header,
    connect,
    entries,
    kind_between,
    make_regions,
    numbers,
)
from connectome.wiring.connection_rules import (
    AllToAll,
    Bernoulli,
    ConnectionRule,
    FixedInDegree,
    FixedOutDegree,
    FixedTotalNumber,
    OneToOne,
    SmallWorld,
    blocks,
    check,
    row_blocks,
)
from connectome.wiring.distance_rule import ByDistance, distance_um

__all__ = [
    "TRACT_VELOCITY_MM_PER_MS",
    "AllToAll",
    "Bernoulli",
    "ByDistance",
    "Conduction",
    "ConnectionRule",
    "Distribution",
    "FixedInDegree",
    "FixedOutDegree",
    "FixedTotalNumber",
    "LogNormal",
    "Normal",
    "OneToOne",
    "SmallWorld",
    "dale_signs",
    "from_edge_list",
    "from_matrix",
    "positions_in_box",
    "positions_in_sphere",
    "positions_on_grid",
    "wire",
]

#: The default of The Virtual Brain for long-range fibres, mm/ms.
TRACT_VELOCITY_MM_PER_MS: Final = 3.0

# Positions and signs


def positions_in_sphere(n: int, radius_um: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(n, 3) micrometres, uniform in a ball around the origin."""
    check("n", n, 0, whole=True)
    check("radius_um", radius_um, 0)
    direction = rng.standard_normal((n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction * (radius_um * np.cbrt(rng.random((n, 1))))


def positions_in_box(n: int, size_um: Sequence[float], rng: np.random.Generator) -> NDArray[np.float64]:
    """(n, 3) micrometres, uniform in a box with sides ``size_um`` (x, y, z) around the origin; a side may be 0, which
    makes the box flat."""
    check("n", n, 0, whole=True)
    if len(size_um) != 3:
        raise ConnectomeError("size_um", "must be three lengths", size_um)
    for length in size_um:
        check("size_um", length, 0)
    return (rng.random((n, 3)) - 0.5) * np.asarray(size_um, np.float64)


def positions_on_grid(
    n: int, spacing_um: float, rng: np.random.Generator, *, dimensions: Literal[2, 3] = 3, jitter_um: float = 0.0
) -> NDArray[np.float64]:
    """(n, 3) micrometres on a square (z = 0) or cubic lattice around the origin, row by row; each coordinate is moved
    by up to ``jitter_um`` either way."""
    check("n", n, 0, whole=True)
    check("spacing_um", spacing_um, 0)
    check("jitter_um", jitter_um, 0)
    check("dimensions", dimensions, 2, 3, whole=True)
    side = math.ceil(round(n ** (1 / dimensions), 9))
    site = np.stack(np.unravel_index(np.arange(n), (side,) * dimensions), axis=1)[:, ::-1] if n else np.zeros((0, 3))
    position = np.zeros((n, 3))
    position[:, :dimensions] = ((site - (side - 1) / 2) * spacing_um)[:, :dimensions]
    position[:, :dimensions] += rng.uniform(-jitter_um, jitter_um, (n, dimensions))
    return position


def dale_signs(n: int, fraction_excitatory: float, rng: np.random.Generator) -> NDArray[np.int8]:
    """(n,) +1 and -1: ``round(n * fraction_excitatory)`` excitatory neurons at random places."""
    check("n", n, 0, whole=True)
    check("fraction_excitatory", fraction_excitatory, 0, 1)
    return rng.permutation(np.where(np.arange(n) < round(n * fraction_excitatory), 1, -1)).astype(np.int8)


# Weights and delays


class Distribution(Protocol):
    """Random values: weights in pA or delays in ms."""

    def draw(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """(n,) values."""


@dataclass(frozen=True)
class Normal:
    """Normal with this mean and sd, truncated to ``low .. high`` (NEST's redraw, exact however little is left)."""

    mean: float
    sd: float
    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        check("Normal.mean", self.mean, -math.inf)
        check("Normal.sd", self.sd, 0)
        if not self.low <= self.high or (self.sd == 0 and not self.low <= self.mean <= self.high):
            raise ConnectomeError("Normal.low", "must leave some values up to high", f"{self.low} .. {self.high}")

    def draw(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """(n,) values."""
        if self.sd == 0 or (math.isinf(self.low) and math.isinf(self.high)):
            return rng.normal(self.mean, self.sd, n)
        from scipy.special import ndtr, ndtri

        low, high = (self.low - self.mean) / self.sd, (self.high - self.mean) / self.sd
        side = -1.0 if low > 0 else 1.0  # in the lower tail, where the distribution function keeps its digits
        first, last = sorted((ndtr(side * low), ndtr(side * high)))
        if last - first > 0.5:
            return self._redrawn(n, rng)
        if last == 0:
            raise ConnectomeError("Normal.low", "must be within 37 sd of the mean", f"{self.low} .. {self.high}")
        drawn = self.mean + self.sd * side * ndtri(rng.uniform(first, last, n))
        clipped: NDArray[np.float64] = np.clip(drawn, self.low, self.high)
        return clipped

    def _redrawn(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Values drawn again until they are in range: where most are kept, several times faster than inverting the
        distribution function."""
        drawn = rng.normal(self.mean, self.sd, n)
        bad = np.flatnonzero((drawn < self.low) | (drawn > self.high))
        while bad.size:
            again = rng.normal(self.mean, self.sd, bad.size)
            drawn[bad] = again
            bad = bad[(again < self.low) | (again > self.high)]
        return drawn


@dataclass(frozen=True)
class LogNormal:
    """Lognormal; mean and sd are those of the values themselves, not of their logarithms."""

    mean: float
    sd: float

    def __post_init__(self) -> None:
        check("LogNormal.mean", self.mean, 5e-324)
        check("LogNormal.sd", self.sd, 0)

    def draw(self, n: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """(n,) values."""
        variance = math.log1p((self.sd / self.mean) ** 2)
        return rng.lognormal(math.log(self.mean) - variance / 2, math.sqrt(variance), n)


@dataclass(frozen=True)
class Conduction:
    """Delay = distance / velocity (mm/ms, that is m/s), at least ``minimum_ms`` and at least one step."""

    velocity_mm_per_ms: float
    minimum_ms: float = 0.0

    def __post_init__(self) -> None:
        check("Conduction.velocity_mm_per_ms", self.velocity_mm_per_ms, 5e-324)
        check("Conduction.minimum_ms", self.minimum_ms, 0)

    def delay_ms(self, distance_mm: NDArray[np.float64], dt_ms: float) -> NDArray[np.float64]:
        """(E,) ms."""
        return np.maximum(distance_mm / self.velocity_mm_per_ms, max(self.minimum_ms, dt_ms))


def wire(
    source: Region, target: Region, pairs: ConnectionRule | tuple[ArrayLike, ArrayLike], *,
    weight_pa: float | ArrayLike | Distribution, g: float = 1.0, rng: np.random.Generator,
    delay_ms: float | ArrayLike | Distribution | Conduction | None = None, dt_ms: float = DEFAULT_DT_MS,
    birth_stage: int = 0, over_production: float = 1.0,
) -> EdgeSet:  # fmt: skip
    """The edge set from one region to another; its kind follows from the two regions' roles.

    Parameters
    ----------
    pairs : a connection rule, or the (E,) sources and (E,) targets themselves
    weight_pa : pA. A number or a distribution is a strength where the source neuron has a sign (Dale's law): it is
        clipped at 0 (use a truncated :class:`Normal` to avoid weights of 0) and takes the neuron's sign. An (E,) array
        is taken as it is.
    g : inhibitory over excitatory strength (Brunel 2000); not used for an array of weights
    delay_ms : a number, an (E,) array, a distribution (clipped below at one step) or :class:`Conduction` over the
        straight line; default one step. Rounded to steps of ``dt_ms``
    birth_stage : the stage that makes these edges
    over_production : >= 1, multiplies the rule's density, degree or number

    Raises :class:`ConnectomeError`.
    """
    kind = kind_between(source, target)
    check("over_production", over_production, 1)
    check("g", g, 0)
    if isinstance(pairs, tuple):
        if over_production != 1:
            raise ConnectomeError("over_production", "must be 1 for edges that are given", over_production)
        s, t = (np.asarray(end) for end in pairs)
    else:
        rule = pairs if over_production == 1 else pairs.over_produced(float(over_production))
        s, t = rule.pairs(source, target, rng)
    where = f"edges[{EdgeKey(source.name, kind, target.name)}]"
    delay: Any = delay_ms
    if isinstance(delay_ms, Conduction) or hasattr(delay_ms, "draw"):  # first: they decide about the order of the edges
        s = checked_ids(f"{where}.source", s, source.size, "the source region's size")
        t = checked_ids(f"{where}.target", t, target.size, "the target region's size")
        dt_ms = finite_step(f"{where}.dt_ms", dt_ms)
        delay = np.empty(min(s.size, t.size))
        for here in blocks(delay.size):
            if isinstance(delay_ms, Conduction):
                delay[here] = delay_ms.delay_ms(distance_um(source, target, s[here], t[here]) / 1000, dt_ms)
            else:
                drawn = cast(Distribution, delay_ms).draw(here.stop - here.start, rng)
                np.maximum(drawn, dt_ms, out=delay[here])
    drawn_weight = isinstance(weight_pa, (int, float)) or hasattr(weight_pa, "draw")
    edges = EdgeSet.from_arrays(
        (source.name, kind, target.name), s, t, 0.0 if drawn_weight else cast(ArrayLike, weight_pa),
        n_source=source.size, n_target=target.size, dt_ms=dt_ms, delay_ms=delay, birth_stage=birth_stage,
    )  # fmt: skip
    if not drawn_weight:
        return edges
    return replace(edges, weight=_signed(where, cast(Any, weight_pa), source.sign, g, edges.indptr, rng))


# From data


def from_matrix(
    matrix: Any, labels: Sequence[str] | None = None, *, node_labels: Sequence[str] | None = None,
    delay_ms: float | Conduction | None = None, tract_length_mm: ArrayLike | None = None,
    position_um: ArrayLike | None = None, sign: ArrayLike | None = None, dt_ms: float = DEFAULT_DT_MS,
    attributes: Mapping[str, Any] = MappingProxyType({}),
) -> Connectome:  # fmt: skip
    """A connectome from an (N, N) matrix of weights in pA; row = source (where row = target, give ``.T``).

    Every stored entry of a sparse matrix and every non-zero entry of a dense one is an edge. The names of a pandas
    DataFrame become those of the nodes; rows and columns must have the same. Names may be numbers.

    Parameters
    ----------
    labels : (N,) the name of each node's region: nodes with the same name share a region, regions in order of first
        appearance. Default: one region ``"all"``
    node_labels : (N,) the name of each node
    delay_ms : a number, or :class:`Conduction` along ``tract_length_mm``, else along the straight line between
        positions; default one step
    tract_length_mm : (N, N) dense, mm; read where there is an edge, and kept as the state ``tract_length_um``
    position_um : (N, 3) micrometres
    sign : (N,) Dale's signs; the weights must agree
    attributes : name -> (N,) further attributes of the nodes

    Raises :class:`ConnectomeError`.
    """
    row, column, weight, n = entries("matrix", matrix)
    if node_labels is None and hasattr(matrix, "columns"):
        names, columns_of = list(matrix.index), list(matrix.columns)
        if names != columns_of:
            raise ConnectomeError(
                "matrix", "must name its rows and its columns alike", f"{names[:3]} and {columns_of[:3]}"
            )
        node_labels = None if names == list(range(n)) else names
    nodes: dict[str, Any] = {}
    for name, given, shape in (
        ("labels", labels, (n,)), ("node_labels", node_labels, (n,)), ("position_um", position_um, (n, 3)),
        ("sign", sign, (n,)),
    ):  # fmt: skip
        if given is None:
            continue
        array = np.asarray(given, object if "labels" in name else None)
        if array.shape != shape:
            raise ConnectomeError(name, f"must have shape {shape}, as the matrix has {n} rows", array.shape)
        if "labels" in name:
            array = np.array([str(v) if isinstance(v, (int, np.integer)) else v for v in array], object)
        nodes |= dict(zip("xyz", array.T, strict=True)) if name == "position_um" else {name: array.tolist()}
    if "labels" in nodes:
        nodes["region"] = nodes.pop("labels")
    if "node_labels" in nodes:
        nodes["label"] = nodes.pop("node_labels")
    columns: dict[str, Any] = {"weight": weight}
    if tract_length_mm is not None:
        length = np.asarray(tract_length_mm)
        if length.shape != (n, n) or length.dtype.kind not in "biuf":
            raise ConnectomeError("tract_length_mm", f"must be numbers of shape {(n, n)}", length.shape)
        length_mm = length[row, column].astype(np.float64)
        bad = ~(np.isfinite(length_mm) & (length_mm >= 0))
        if bad.any():
            raise ConnectomeError(
                "tract_length_mm", "must be finite and >= 0 where there is an edge",
                f"{length_mm[bad][0]} at {row[bad][0]}, {column[bad][0]}",
            )  # fmt: skip
        columns["state_tract_length_um"] = 1000 * length_mm
    if isinstance(delay_ms, Conduction):
        if tract_length_mm is not None:
            distance_mm = length_mm
        elif position_um is not None:
            position = np.stack([numbers("position_um", nodes[axis]) for axis in "xyz"], axis=1)
            distance_mm = np.linalg.norm(position[column] - position[row], axis=1) / 1000
            if np.isnan(distance_mm).any():
                raise ConnectomeError("position_um", "must be known for delays by Conduction", "one that is not")
        else:
            raise ConnectomeError("delay_ms", "as Conduction needs tract_length_mm or position_um", "neither")
        columns["delay"] = delay_ms.delay_ms(distance_mm, dt_ms)
    elif delay_ms is not None:
        columns["delay"] = delay_ms
    header = Header(dt_ms)
    known = checked_attributes("matrix", attributes, n, NODE_WORDS)
    regions, code, index = make_regions("matrix", n, nodes, header, known)
    return connect("matrix", regions, (code[row], index[row]), (code[column], index[column]), columns, header)


def from_edge_list(
    source: Sequence[Any], target: Sequence[Any], weight_pa: ArrayLike = DEFAULT_WEIGHT_PA, *,
    region_of: Mapping[Any, str] | None = None, delay_ms: ArrayLike | None = None, dt_ms: float = DEFAULT_DT_MS,
) -> Connectome:  # fmt: skip
    """A connectome from edges between labelled nodes, e.g. names of cells: ``source[i] -> target[i]``.

    Nodes are the labels that occur, in sorted order (:func:`numpy.unique`), in one region ``"all"``, or in the regions
    that ``region_of`` gives for the labels; within a region they are numbered in that order. Names are kept as labels.
    For tables with region columns see :func:`connectome.graph.views.from_pandas`. Raises :class:`ConnectomeError`.
    """
    ends = [np.asarray(end) for end in (source, target)]
    for name, end in zip(("source", "target"), ends, strict=True):
        if end.ndim != 1 or end.size != ends[0].size or (end.size and end.dtype.kind not in "iuUS"):
            raise ConnectomeError(
                name, f"must be {ends[0].size} names or integers", f"{end.dtype} of shape {end.shape}"
            )
    if ends[0].size and (ends[0].dtype.kind in "iu") != (ends[1].dtype.kind in "iu"):
        raise ConnectomeError("target", f"must be labels of source's type, {ends[0].dtype}", ends[1].dtype)
    labels, node = np.unique(np.concatenate(ends), return_inverse=True)
    nodes: dict[str, Any] = {}
    if labels.dtype.kind == "U":
        nodes["label"] = labels.tolist()
    if region_of is not None:
        lost = [label for label in labels.tolist() if label not in region_of]
        if lost:
            raise ConnectomeError("region_of", "must name a region for every label", f"none for {lost[0]!r}")
        nodes["region"] = [region_of[label] for label in labels.tolist()]
    columns: dict[str, Any] = {"weight": weight_pa}
    if delay_ms is not None:
        columns["delay"] = delay_ms
    header = Header(dt_ms)
    regions, code, index = make_regions("edges", labels.size, nodes, header)
    s, t = node[: ends[0].size], node[ends[0].size :]
    return connect("edges", regions, (code[s], index[s]), (code[t], index[t]), columns, header)


def _signed(
    where: str, weight: float | Distribution, sign: NDArray[np.int8], g: float, indptr: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[Any]:  # fmt: skip
    """(E,) pA: strengths with the sign of their source neuron."""
    n_edges, degree = int(indptr[-1]), np.diff(indptr)
    factor = np.where(sign < 0, -g, 1.0)
    if isinstance(weight, (int, float)):
        if weight < 0 and sign.any():
            raise ConnectomeError(
                f"{where}.weight_pa", "must be >= 0: a strength, whose sign is the source neuron's", weight,
                "Set the region's sign to 0 to give signed weights.",
            )  # fmt: skip
        if (factor == factor[:1]).all():
            return np.broadcast_to(weight * (factor[0] if factor.size else 1.0), n_edges)
        with np.errstate(over="ignore"):  # what is infinite is refused by EdgeSet
            return lock(np.repeat((weight * factor).astype(np.float32), degree))
    values = np.empty(n_edges, np.float32)
    for rows in row_blocks(indptr):
        here = slice(indptr[rows.start], indptr[rows.stop])
        drawn = weight.draw(int(here.stop - here.start), rng)
        if sign.any():
            np.maximum(drawn, 0.0, out=drawn, where=np.repeat(sign[rows] != 0, degree[rows]))
            drawn *= np.repeat(factor[rows], degree[rows])
        with np.errstate(over="ignore"):
            values[here] = drawn
    return lock(values)
