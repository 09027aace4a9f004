"""Which neurons are joined at birth: the connection rules that :func:`connectome.wiring.wire` takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol, Self, cast

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.parts import Region

__all__ = [
    "AllToAll",
    "Bernoulli",
    "ByDistance",
    "ConnectionRule",
    "FixedInDegree",
    "FixedOutDegree",
    "FixedTotalNumber",
    "OneToOne",
    "SmallWorld",
]

Pairs = tuple[NDArray[np.int32], NDArray[np.int32]]
#: Candidates that a rule draws at once, about: few enough for the cache, and memory is asked for once.
_BLOCK = 2**18
#: Pairs up to which the mean of a distance profile is summed in full, and the size of the sample beyond.
_SUMMED_PAIRS = 10**7
_SAMPLE = 2**20


class ConnectionRule(Protocol):
    """Which neurons are joined. A user's own rule needs these two methods."""

    def pairs(self, source: Region, target: Region, rng: np.random.Generator) -> Pairs:
        """The (E,) sources and (E,) targets of the edges. Raises :class:`ConnectomeError` for what cannot be."""

    def over_produced(self, factor: float) -> Self:
        """The same rule with ``factor`` times the edges. Raises :class:`ConnectomeError` if that cannot be."""


@dataclass(frozen=True)
class _Fixed:
    """A rule that has no density to multiply."""

    def over_produced(self, factor: float) -> Self:
        """Itself, for a factor of 1."""
        if factor != 1:
            raise ConnectomeError("over_production", f"must be 1 for {type(self).__name__}", factor)
        return self


@dataclass(frozen=True)
class AllToAll(_Fixed):
    """Every pair."""

    allow_autapses: bool = False

    def pairs(self, source: Region, target: Region, rng: np.random.Generator) -> Pairs:
        """See :class:`ConnectionRule`."""
        width, skip = _width(source, target, self.allow_autapses)
        return _unflatten(np.arange(source.size * width), width, skip)


@dataclass(frozen=True)
class OneToOne(_Fixed):
    """Neuron i to neuron i, of regions of one size (inside one region these are autapses)."""

    def pairs(self, source: Region, target: Region, rng: np.random.Generator) -> Pairs:
        """See :class:`ConnectionRule`."""
        if source.size != target.size:
            raise ConnectomeError("OneToOne", f"must join regions of one size, {source.size}", target.size)
        return np.arange(source.size, dtype=np.int32), np.arange(source.size, dtype=np.int32)


@dataclass(frozen=True)
class Bernoulli:
    """Every pair with probability p, independently (NEST's pairwise_bernoulli; p is the expected density)."""

    p: float
    allow_autapses: bool = False

    def __post_init__(self) -> None:
        check("Bernoulli.p", self.p, 0, 1)

    def over_produced(self, factor: float) -> Self:
        """See :class:`ConnectionRule`."""
        return replace(self, p=_at_most_1("p", self.p * factor))

    def pairs(self, source: Region, target: Region, rng: np.random.Generator) -> Pairs:
        """See :class:`ConnectionRule`."""
        width, skip = _width(source, target, self.allow_autapses)
        step = max(1, int(_BLOCK / max(self.p * width, 1)))
        return _joined(
            _unflatten(
                rows.start * width
                + _bernoulli(np.array([(rows.stop - rows.start) * width]), np.array([self.p]), rng)[1],
                width,
                skip,
            )
            for rows in blocks(source.size, step)
        )


@dataclass(frozen=True)
class ByDistance:
    """Every pair with a probability that falls with its distance d, independently.

    ``p0 * exp(-d / length_um)`` (exponential) or ``p0 * exp(-d^2 / (2 length_um^2))`` (gaussian). Give ``p0``, or the
    expected ``density``: the mean probability over the pairs allowed (exact up to 1e7 pairs; beyond, from a sample,
    good to some 0.1 %). Work and memory follow the number of edges, not of pairs.
    """

    length_um: float
    p0: float | None = None
    density: float | None = None
    profile: Literal["exponential", "gaussian"] = "exponential"
    allow_autapses: bool = False

    def __post_init__(self) -> None:
        check("ByDistance.length_um", self.length_um, 5e-324)
        if (self.p0 is None) == (self.density is None):
            raise ConnectomeError("ByDistance", "must have either p0 or density", f"{self.p0} and {self.density}")
        check("ByDistance.p0", self.p0 or 0, 0, 1)
        check("ByDistance.density", self.density or 0, 0, 1)
        if self.profile not in ("exponential", "gaussian"):
            raise ConnectomeError("ByDistance.profile", "must be 'exponential' or 'gaussian'", repr(self.profile))

    def over_produced(self, factor: float) -> Self:
        """See :class:`ConnectionRule`."""
        if self.p0 is not None:
            return replace(self, p0=_at_most_1("p0", self.p0 * factor))
        return replace(self, density=_at_most_1("density", (self.density or 0) * factor))

    def pairs(self, source: Region, target: Region, rng: np.random.Generator) -> Pairs:
        """See :class:`ConnectionRule`."""
        width, skip = _width(source, target, self.allow_autapses)
        if not source.size * width:
            return _unflatten(np.zeros(0, np.int64), 1, skip)
        a, b = _Cells(source.position_um, self.length_um), _Cells(target.position_um, self.length_um)
        p0 = self.p0 if self.density is None else self._p0(a, b, source.size * width, skip, rng)
        chosen = [np.zeros(0, np.int64)]
        for row, column, p, bound in self._candidates(a, b, cast(float, p0), skip, rng):
            bound *= rng.random(p.size)
            keep = np.flatnonzero(bound < p)
            flat = a.order[row[keep]] * target.size
            flat += b.order[column[keep]]
            chosen.append(flat)
        flat = np.concatenate(chosen)
        flat.sort()
        return _unflatten(flat, target.size, False)

    def _profile(self, squared_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of squared distances, which it overwrites."""
        if self.profile == "exponential":
            np.sqrt(squared_um, out=squared_um)
            squared_um /= -self.length_um
        else:
            squared_um /= -2 * self.length_um**2
        return np.exp(squared_um, out=squared_um)

    def _bound(self, a: _Cells, i: int, b: _Cells) -> NDArray[np.float64]:
        """The highest value of the profile between cell i of a and each cell of b."""
        squared = np.zeros(b.size.size)
        for axis in range(3):
            gap = np.maximum(b.low[axis] - a.high[axis][i], a.low[axis][i] - b.high[axis])
            np.maximum(gap, 0, out=gap)
            gap *= gap
            squared += gap
        return self._profile(squared)

    def _candidates(
        self, a: _Cells, b: _Cells, p0: float, skip: bool, rng: np.random.Generator
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]]:
        """Cell by cell, pairs drawn at the highest probability between two cells: source and target as places in
        ``order``, the pair's own probability and the one that it was drawn with."""
        for i in range(a.size.size):
            bound = p0 * self._bound(a, i, b)
            step = max(1, int(_BLOCK / max((b.size * bound).sum(), 1)))
            for first in range(0, int(a.size[i]), step):
                block, slot = _bernoulli(min(step, int(a.size[i]) - first) * b.size, bound, rng)
                width = b.size[block]
                row = (slot / width).astype(np.int64)  # as exact as //, which is slow
                column = slot - row * width
                row += a.start[i] + first
                column += b.start[block]
                drawn_with = bound[block]
                if skip:
                    other = np.flatnonzero(a.order[row] != b.order[column])
                    row, column, drawn_with = row[other], column[other], drawn_with[other]
                squared = np.zeros(row.size)
                for x, y in zip(a.axes, b.axes, strict=True):
                    step_um = x[row]
                    step_um -= y[column]
                    step_um *= step_um
                    squared += step_um
                p = self._profile(squared)
                p *= p0
                yield row, column, p, drawn_with

    def _p0(self, a: _Cells, b: _Cells, pairs: int, skip: bool, rng: np.random.Generator) -> float:
        """What p0 gives the density: over the mean of the profile, summed in full or, for many pairs, over a sample."""
        if pairs <= _SUMMED_PAIRS:
            rows = max(1, _BLOCK // b.order.size)
            total = (
                -float(a.order.size) if skip else 0.0
            )  # a neuron is at distance 0 from itself, where the profile is 1
            for first in range(0, a.order.size, rows):
                squared = sum((x[first : first + rows, None] - y) ** 2 for x, y in zip(a.axes, b.axes, strict=True))
                total += float(self._profile(cast(NDArray[np.float64], squared)).sum())
        else:
            bounds = sum(float(n * (self._bound(a, i, b) * b.size).sum()) for i, n in enumerate(a.size))
            trial = min(1.0, _SAMPLE / bounds)
            total = sum(
                float((p / drawn_with).sum()) for _, _, p, drawn_with in self._candidates(a, b, trial, skip, rng)
            )
            total /= trial
        mean = total / pairs
        p0 = self.density / mean if self.density else 0.0
        if p0 > 1:
            raise ConnectomeError(
                "ByDistance.density", f"must be <= {mean:.4g}: there even neighbours are joined for sure", self.density,
                "Lower the density or raise length_um.",
            )  # fmt: skip
        return p0


@dataclass(frozen=True)
class FixedInDegree:
    """Every target neuron has exactly ``in_degree`` edges, from random sources."""

    in_degree: int
    allow_autapses: bool = False
    allow_multapses: bool = False

    def __post_init__(self) -> None:
        check("FixedInDegree.in_degree", self.in_degree, 0, whole=True)

    def over_produced(self, factor: float) -> Self:
        """See :class:`ConnectionRule`."""
        return replace(self, in_degree=round(self.in_degree * factor))

    def pairs(self, source: Region, target: Region, rng: np.random.Generator) -> Pairs:
        """See :class:`ConnectionRule`."""
        width, skip = _width(target, source, self.allow_autapses)
        chosen = _choose("FixedInDegree.in_degree", target.size, width, self.in_degree, self.allow_multapses, rng)
        flat = np.empty(target.size * self.in_degree, np.int64)
        end = 0
        for block in chosen:
            t, s = _unflatten(block, width, skip)
            flat[end : end + block.size] = s
            flat[end : end + block.size] *= target.size
            flat[end : end + block.size] += t
            end += block.size
        flat.sort()
        return _unflatten(flat, target.size, False)


@dataclass(frozen=True)
class FixedOutDegree:
    """Every source neuron has exactly ``out_degree`` edges, to random targets."""

    out_degree: int
    allow_autapses: bool = False
    allow_multapses: bool = False

    def __post_init__(self) -> None:
        check("FixedOutDegree.out_degree", self.out_degree, 0, whole=True)

    def over_produced(self, factor: float) -> Self:
        """See :class:`ConnectionRule`."""
        return replace(self, out_degree=round(self.out_degree * factor))

    def pairs(self, source: Region, target: Region, rng: np.random.Generator) -> Pairs:
        """See :class:`ConnectionRule`."""
        width, skip = _width(source, target, self.allow_autapses)
        chosen = _choose("FixedOutDegree.out_degree", source.size, width, self.out_degree, self.allow_multapses, rng)
        return _joined(_unflatten(flat, width, skip) for flat in chosen)


@dataclass(frozen=True)
class FixedTotalNumber:
    """Exactly ``n_edges`` edges between random pairs (with multapses: as in Potjans & Diesmann 2014)."""

    n_edges: int
    allow_autapses: bool = False
    allow_multapses: bool = False

    def __post_init__(self) -> None:
        check("FixedTotalNumber.n_edges", self.n_edges, 0, whole=True)

    def over_produced(self, factor: float) -> Self:
        """See :class:`ConnectionRule`."""
        return replace(self, n_edges=round(self.n_edges * factor))

    def pairs(self, source: Region, target: Region, rng: np.random.Generator) -> Pairs:
        """See :class:`ConnectionRule`."""
        width, skip = _width(source, target, self.allow_autapses)
        pairs = source.size * width
        chosen = _choose("FixedTotalNumber.n_edges", 1, pairs, self.n_edges, self.allow_multapses, rng)
        return _joined(_unflatten(flat, width, skip) for flat in chosen)


@dataclass(frozen=True)
class SmallWorld:
    """Watts & Strogatz (1998), directed: each neuron of a ring is joined to its k nearest, k/2 on either side; each
    edge is rewired with probability ``p_rewire`` to a random target, neither the neuron itself nor joined already.

    Every out-degree stays k. ``p_rewire`` = 0 is the ring lattice, 1 is :class:`FixedOutDegree`.
    """

    k: int
    p_rewire: float

    def __post_init__(self) -> None:
        check("SmallWorld.k", self.k, 0, whole=True)
        check("SmallWorld.p_rewire", self.p_rewire, 0, 1)
        if self.k % 2:
            raise ConnectomeError("SmallWorld.k", "must be even", self.k)

    def over_produced(self, factor: float) -> Self:
        """See :class:`ConnectionRule`; k stays even."""
        return replace(self, k=2 * round(self.k * factor / 2))

    def pairs(self, source: Region, target: Region, rng: np.random.Generator) -> Pairs:
        """See :class:`ConnectionRule`."""
        n = source.size
        if source.name != target.name:
            raise ConnectomeError("SmallWorld", "must be inside one region", f"{source.name} -> {target.name}")
        if self.k and self.k >= n:
            raise ConnectomeError("SmallWorld.k", f"must be < {n}, the size of {source.name!r}", self.k)
        half = np.arange(1, self.k // 2 + 1)
        row, column = np.nonzero(rng.random((n, self.k)) >= self.p_rewire)  # the edges that stay
        t = (row + np.concatenate([half, n - half])[column]) % n
        kept = row * (n - 1) + t - (t > row)
        kept.sort()
        chosen = _choose("SmallWorld.k", n, max(n - 1, 0), self.k, False, rng, kept)
        return _joined(_unflatten(flat, n - 1, True) for flat in chosen)


# What the rules share: pairs are numbered source * width + target, so that sorted numbers are sorted edges


def _width(source: Region, target: Region, allow_autapses: bool) -> tuple[int, bool]:
    """How many targets each source may have, and whether it itself is left out of them."""
    skip = source.name == target.name and not allow_autapses
    return max(target.size - skip, 0), skip


def _unflatten(flat: NDArray[np.int64], width: int, skip: bool) -> Pairs:
    source, target = np.empty(flat.size, np.int32), np.empty(flat.size, np.int32)
    for here in blocks(flat.size):
        s = flat[here] // max(width, 1)
        t = flat[here] - s * width
        if skip:
            t += t >= s
        source[here], target[here] = s, t
    return source, target


def _joined(parts: Iterable[Pairs]) -> Pairs:
    none = np.zeros(0, np.int32)
    sources, targets = zip((none, none), *parts, strict=True)
    return np.concatenate(sources), np.concatenate(targets)


def _at_most_1(name: str, value: float) -> float:
    if value > 1:
        raise ConnectomeError(f"over_production x {name}", "must be <= 1", f"{value:g}", "Over-produce less.")
    return value


def _bernoulli(
    slots: NDArray[np.int64], p: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """From block b with ``slots[b]`` slots, each slot with probability ``p[b]``: the (block, slot) chosen, in order.

    Instead of one number for each slot: points of a Poisson process along the slots, each as long as -log(1 - p), so
    that a slot has at least one point with probability p. Where p is near 1 every slot is tried.
    """
    dense = p > 0.9
    length = -np.log1p(-np.where(dense, 0, p))
    end = np.cumsum(slots * length)
    total = float(end[-1])
    # Given their number, sorted uniform points are partial sums of exponential gaps.
    at = np.cumsum(rng.standard_exponential(rng.poisson(total) + 1))
    at *= total / at[-1]
    at = np.minimum(at[:-1], np.nextafter(total, 0))
    count = np.diff(np.searchsorted(at, end), prepend=0)
    at -= np.repeat(end - slots * length, count)
    at /= np.repeat(length, count)
    slot = np.minimum(at.astype(np.int64), np.repeat(slots - 1, count))
    block = np.repeat(np.arange(slots.size), count)
    new = np.ones(slot.size, bool)
    np.not_equal(slot[1:], slot[:-1], out=new[1:])
    new[1:] |= block[1:] != block[:-1]
    if not new.all():
        block, slot = block[new], slot[new]
    if dense.any():
        every = np.repeat(np.flatnonzero(dense), slots[dense])
        start = np.cumsum(slots[dense]) - slots[dense]
        each = np.arange(every.size) - np.repeat(start, slots[dense])
        keep = rng.random(every.size) < p[every]
        block, slot = np.concatenate([block, every[keep]]), np.concatenate([slot, each[keep]])
    return block, slot


def _choose(
    where: str, n_rows: int, width: int, k: int, multapses: bool, rng: np.random.Generator,
    kept: NDArray[np.int64] | None = None,
) -> Iterator[NDArray[np.int64]]:  # fmt: skip
    """k of ``width`` columns for each row, uniformly: row * width + column, sorted, by blocks of rows. ``kept`` are
    chosen already."""
    if n_rows and ((k > width and not multapses) or (k and not width)):
        raise ConnectomeError(where, f"must be <= {width}, the number of possible partners", k)
    have = np.zeros(0, np.int64) if kept is None else kept
    dense = 2 * k > width and not multapses
    for rows in blocks(n_rows, max(1, _BLOCK // max(width if dense else k, 1))):
        first, n = rows.start, rows.stop - rows.start
        here = have[slice(*np.searchsorted(have, (first * width, (first + n) * width)))] - first * width
        if multapses:
            flat = np.repeat(np.arange(n) * width, k)
            flat += rng.integers(0, max(width, 1), flat.size)
            flat.sort()
        elif dense:  # the k smallest of random keys
            keys = rng.random((n, width))
            keys.reshape(-1)[here] = -1
            smallest = np.sort(np.argpartition(keys, k - 1, axis=1)[:, :k], axis=1)
            flat = (smallest + width * np.arange(n)[:, None]).ravel()
        else:
            flat = _fill(n, width, k, here, rng)
        yield flat + first * width


def _fill(
    n_rows: int, width: int, k: int, have: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:  # fmt: skip
    """Draw what each row lacks, again and again until no row lacks any: every set of k is as likely as any other."""
    done: list[NDArray[np.int64]] = []
    lacking = k - np.bincount(have // max(width, 1), minlength=n_rows)
    while True:
        complete = lacking[have // max(width, 1)] == 0
        done.append(have[complete])
        rows = np.flatnonzero(lacking)
        if not rows.size:
            break
        drawn = np.repeat(rows * width, lacking[rows])
        drawn += rng.integers(0, width, drawn.size)
        have = np.concatenate([have[~complete], drawn])
        have.sort()
        new = np.ones(have.size, bool)
        new[1:] = have[1:] != have[:-1]
        have = have[new]
        lacking[rows] = k - np.bincount(have // width, minlength=n_rows)[rows]
    flat = np.concatenate(done)
    if sum(part.size > 0 for part in done) > 1:
        flat.sort()
    return flat


class _Cells:
    """Neurons sorted into cubes: ``order[start[c]:start[c] + size[c]]`` are in cube c, between its low and high (3, C).

    ``axes`` are their x, y and z in this order.
    """

    def __init__(self, position: NDArray[np.float64], length_um: float) -> None:
        extent = np.ptp(position, axis=0)
        side = length_um / 2
        while np.prod(np.floor(extent / side) + 1) > min(4096, 1 + len(position) / 8):
            side *= 1.05
        count = np.floor(extent / side).astype(np.int64) + 1
        site = np.minimum(((position - position.min(axis=0)) / side).astype(np.int64), count - 1)
        cell = np.ravel_multi_index(tuple(site.T), tuple(count))
        self.order = np.argsort(cell, kind="stable")
        self.start = np.flatnonzero(np.diff(cell[self.order], prepend=-1))
        self.size = np.diff(self.start, append=len(position))
        self.axes = np.ascontiguousarray(position[self.order].T)
        self.low = np.minimum.reduceat(self.axes, self.start, axis=1)
        self.high = np.maximum.reduceat(self.axes, self.start, axis=1)


def blocks(n: int, step: int | None = None) -> Iterator[slice]:
    """0 .. n - 1 in blocks of up to ``step``. Most numbers about edges are made in blocks: temporary arrays as long as
    all edges would cost more time, in asking the system for memory, than the arithmetic."""
    step = _BLOCK if step is None else step
    return (slice(first, min(first + step, n)) for first in range(0, n, step))


def row_blocks(indptr: NDArray[np.int64]) -> Iterator[slice]:
    """The rows of a CSR in blocks with some ``_BLOCK`` edges each, or of one row."""
    first, n_rows = 0, indptr.size - 1
    while first < n_rows:
        last = int(np.searchsorted(indptr, indptr[first] + _BLOCK, "right")) - 1
        last = min(max(last, first + 1), n_rows)
        yield slice(first, last)
        first = last


def distance_um(source: Region, target: Region, s: NDArray[Any], t: NDArray[Any]) -> NDArray[np.float64]:
    squared = np.zeros(s.size)
    for axis in range(3):
        step = target.position_um[t, axis]
        step -= source.position_um[s, axis]
        step *= step
        squared += step
    return np.sqrt(squared, out=squared)


def check(where: str, value: float, low: float, high: float = math.inf, *, whole: bool = False) -> None:
    kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high or math.isinf(value):
        rule = f"must be {'an integer' if whole else 'a number'} in {low:g} .. {high:g}"
        raise ConnectomeError(where, rule, repr(value))
