"""Connections that become rarer with distance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, cast

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.parts import Region
from connectome.wiring.connection_rules import BLOCK_EDGES, Pairs, at_most_1, bernoulli, check, unflatten, width_of

__all__ = ["ByDistance", "distance_um"]

#: Pairs up to which the mean of a distance profile is summed in full, and the size of the sample beyond.
_SUMMED_PAIRS = 10**7
_SAMPLE = 2**20


@dataclass(frozen=True)
class ByDistance:
    """Each pair is joined, independently, with a probability that falls with its distance d.

    ``p0 * exp(-d / length_um)`` (exponential) or ``p0 * exp(-d^2 / (2 length_um^2))`` (gaussian). Give ``p0``, or the
    expected ``density``: the mean probability over the pairs allowed (exact up to 1e7 pairs; beyond, from a sample,
    good to some 0.2 %). Time and memory grow with the number of edges, not of pairs.
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
            return replace(self, p0=at_most_1("p0", self.p0 * factor))
        return replace(self, density=at_most_1("density", (self.density or 0) * factor))

    def pairs(self, source: Region, target: Region, rng: np.random.Generator) -> Pairs:
        """See :class:`ConnectionRule`."""
        width, skip = width_of(source, target, self.allow_autapses)
        if not source.size * width:
            return unflatten(np.zeros(0, np.int64), 1, skip)
        for r in (source, target):
            lost = np.isnan(r.position_um).any(axis=1)
            if lost.any():
                rule, found = "must be known to wire by distance", f"nan at index {int(np.argmax(lost))}"
                raise ConnectomeError(f"regions[{r.name}].position_um", rule, found)
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
        return unflatten(flat, target.size, False)

    def _profile(self, squared_um: NDArray[np.float64]) -> NDArray[np.float64]:
        """The profile of squared distances, which are overwritten."""
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
            step = max(1, int(BLOCK_EDGES / max((b.size * bound).sum(), 1)))
            for first in range(0, int(a.size[i]), step):
                block, slot = bernoulli(min(step, int(a.size[i]) - first) * b.size, bound, rng)
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
        """The p0 that gives the density: the density over the mean of the profile, taken over all pairs or, if they are
        many, over a sample."""
        if pairs <= _SUMMED_PAIRS:
            rows = max(1, BLOCK_EDGES // b.order.size)
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


def distance_um(source: Region, target: Region, s: NDArray[Any], t: NDArray[Any]) -> NDArray[np.float64]:
    """(E,) micrometres from neuron s[e] of the source to neuron t[e] of the target."""
    squared = np.zeros(s.size)
    for axis in range(3):
        step = target.position_um[t, axis]
        step -= source.position_um[s, axis]
        step *= step
        squared += step
    return np.sqrt(squared, out=squared)
