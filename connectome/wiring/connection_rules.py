"""Which neurons are joined at birth: the connection rules that :func:`connectome.wiring.wire` takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.parts import Region

__all__ = [
    "AllToAll",
    "Bernoulli",
    "ConnectionRule",
    "FixedInDegree",
    "FixedOutDegree",
    "FixedTotalNumber",
    "OneToOne",
    "SmallWorld",
]

Pairs = tuple[NDArray[np.int32], NDArray[np.int32]]
#: Candidates that a rule draws at once, about: few enough for the cache, and memory is asked for once.
BLOCK_EDGES = 2**18


class ConnectionRule(Protocol):
    """Which neurons are joined. A rule of your own needs these two methods."""

    def pairs(self, source: Region, target: Region, rng: np.random.Generator) -> Pairs:
        """The (E,) sources and (E,) targets of the edges. Raises :class:`ConnectomeError` if the rule cannot be met."""

    def over_produced(self, factor: float) -> Self:
        """The same rule with ``factor`` times the edges. Raises :class:`ConnectomeError` if that is impossible."""


@dataclass(frozen=True)
class _Fixed:
    """A rule without a density that could be multiplied."""

    def over_produced(self, factor: float) -> Self:
        """The rule itself; only a factor of 1 is allowed."""
        if factor != 1:
            raise ConnectomeError("over_production", f"must be 1 for {type(self).__name__}", factor)
        return self


@dataclass(frozen=True)
class AllToAll(_Fixed):
    """Every pair."""

    allow_autapses: bool = False

    def pairs(self, source: Region, target: Region, rng: np.random.Generator) -> Pairs:
        """See :class:`ConnectionRule`."""
        width, skip = width_of(source, target, self.allow_autapses)
        return unflatten(np.arange(source.size * width), width, skip)


@dataclass(frozen=True)
class OneToOne(_Fixed):
    """Neuron i to neuron i, between regions of equal size (inside one region these are autapses)."""

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
        return replace(self, p=at_most_1("p", self.p * factor))

    def pairs(self, source: Region, target: Region, rng: np.random.Generator) -> Pairs:
        """See :class:`ConnectionRule`."""
        width, skip = width_of(source, target, self.allow_autapses)
        parts = []
        for rows in blocks(source.size, max(1, int(BLOCK_EDGES / max(self.p * width, 1)))):
            slots = np.array([(rows.stop - rows.start) * width])
            _, slot = bernoulli(slots, np.array([self.p]), rng)
            parts.append(unflatten(rows.start * width + slot, width, skip))
        return _joined(parts)


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
        width, skip = width_of(target, source, self.allow_autapses)
        chosen = _choose("FixedInDegree.in_degree", target.size, width, self.in_degree, self.allow_multapses, rng)
        flat = np.empty(target.size * self.in_degree, np.int64)
        end = 0
        for block in chosen:
            t, s = unflatten(block, width, skip)
            flat[end : end + block.size] = s
            flat[end : end + block.size] *= target.size
            flat[end : end + block.size] += t
            end += block.size
        flat.sort()
        return unflatten(flat, target.size, False)


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
        width, skip = width_of(source, target, self.allow_autapses)
        chosen = _choose("FixedOutDegree.out_degree", source.size, width, self.out_degree, self.allow_multapses, rng)
        return _joined(unflatten(flat, width, skip) for flat in chosen)


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
        width, skip = width_of(source, target, self.allow_autapses)
        pairs = source.size * width
        chosen = _choose("FixedTotalNumber.n_edges", 1, pairs, self.n_edges, self.allow_multapses, rng)
        return _joined(unflatten(flat, width, skip) for flat in chosen)


@dataclass(frozen=True)
class SmallWorld:
    """Watts & Strogatz (1998), directed: each neuron on a ring is joined to its k nearest neighbours, k/2 on either
    side; each edge is then rewired with probability ``p_rewire`` to a random target that is neither the neuron itself
    nor already joined to it.

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
        return _joined(unflatten(flat, n - 1, True) for flat in chosen)


# What the rules share: pairs are numbered source * width + target, so that sorted numbers are sorted edges


def width_of(source: Region, target: Region, allow_autapses: bool) -> tuple[int, bool]:
    """How many targets each source may have, and whether the source itself is excluded."""
    skip = source.name == target.name and not allow_autapses
    return max(target.size - skip, 0), skip


def unflatten(flat: NDArray[np.int64], width: int, skip: bool) -> Pairs:
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


def at_most_1(name: str, value: float) -> float:
    if value > 1:
        raise ConnectomeError(f"over_production x {name}", "must be <= 1", f"{value:g}", "Over-produce less.")
    return value


def bernoulli(
    slots: NDArray[np.int64], p: NDArray[np.float64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose each of the ``slots[b]`` slots of block b with probability ``p[b]``; returns (block, slot), in order.

    Rather than one random number for each slot, it draws points of a Poisson process along the slots, each of length
    -log(1 - p), so that a slot has at least one point with probability p. Where p is near 1 every slot is tried.
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
    already chosen."""
    if n_rows and ((k > width and not multapses) or (k and not width)):
        raise ConnectomeError(where, f"must be <= {width}, the number of possible partners", k)
    have = np.zeros(0, np.int64) if kept is None else kept
    dense = 2 * k > width and not multapses
    for rows in blocks(n_rows, max(1, BLOCK_EDGES // max(width if dense else k, 1))):
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


def blocks(n: int, step: int | None = None) -> Iterator[slice]:
    """0 .. n - 1 in blocks of up to ``step``. Most per-edge numbers are computed in blocks: for temporary arrays as
    long as all edges, allocating memory would take longer than the arithmetic."""
    step = BLOCK_EDGES if step is None else step
    return (slice(first, min(first + step, n)) for first in range(0, n, step))


def row_blocks(indptr: NDArray[np.int64]) -> Iterator[slice]:
    """The rows of a CSR matrix in blocks of about ``BLOCK_EDGES`` edges, at least one row each."""
    first, n_rows = 0, indptr.size - 1
    while first < n_rows:
        last = int(np.searchsorted(indptr, indptr[first] + BLOCK_EDGES, "right")) - 1
        last = min(max(last, first + 1), n_rows)
        yield slice(first, last)
        first = last


def check(where: str, value: float, low: float, high: float = math.inf, *, whole: bool = False) -> None:
    kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high or math.isinf(value):
        rule = f"must be {'an integer' if whole else 'a number'} in {low:g} .. {high:g}"
        raise ConnectomeError(where, rule, repr(value))
