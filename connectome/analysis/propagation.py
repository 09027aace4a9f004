"""Measured signal propagation: how every other neuron responds when one is stimulated, and how well that is predicted.

A :class:`FunctionalAtlas` holds, for pairs of a stimulated and a responding neuron, the size of the response, the
evidence that there is one, and the evidence that there is none. A *score* is a number for each pair, from a model or
from the wiring, that is larger where more is expected. :func:`agreement` compares scores with the atlas by two figures:

- *rank correlation*: Spearman's, between the score and the size of the response, ``|dF/F|``, over all measured pairs;
- *ROC area*: the probability that a connected pair has a higher score than one that is not connected, ties counting
  half. Connected: the q-value of a response, ``q``, is below ``level``; not connected: the q-value of its absence,
  ``q_equal``, is below ``level`` and ``q`` is not. Other pairs do not count.

Their 95 % intervals come from a bootstrap over *stimulated neurons*: all pairs of one are drawn together, as they share
its stimulus and its animals. Responding neurons are not resampled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from connectome.arrays import ReadOnly, freeze, integer, lock, read_only
from connectome.errors import ConnectomeError

__all__ = [
    "Agreement", "Figure", "FunctionalAtlas", "Pairs", "Strain", "agreement", "difference", "measured_pairs",
    "rank_correlation", "roc_area", "tuned",
]  # fmt: skip

Floats = NDArray[np.float64]
#: Scores of the same pairs, and of which stimulated neurons they count.
Judged = tuple[Floats, NDArray[np.bool_]]
_DRAWS: Final = 1000


@dataclass(frozen=True, eq=False)
class Strain(ReadOnly):
    """What was measured in animals of one strain, each (N, N): row = responding, column = stimulated.

    Parameters
    ----------
    dff : mean response, dF/F; nan where there is none
    q : q-value (false discovery rate) of the test for a response; nan where it is not known
    q_equal : the same, of the test for the absence of a response
    observed : number of times the pair was observed
    """

    dff: Floats
    q: Floats
    q_equal: Floats
    observed: NDArray[np.int64]

    def __post_init__(self) -> None:
        n = len(self.dff)
        for f in fields(self):
            kind = np.int64 if f.name == "observed" else np.float64
            object.__setattr__(self, f.name, freeze(f.name, getattr(self, f.name), kind, (n, n)))
        for name in ("q", "q_equal"):
            values = getattr(self, name)
            if ((values < 0) | (values > 1)).any():
                raise ConnectomeError(name, "must be in 0 .. 1, or nan", "others")
        if np.isinf(self.dff).any() or (self.observed < 0).any():
            raise ConnectomeError("dff, observed", "must be finite, and 0 or more", "others")
        # Whenever a pair is observed, its stimulated neuron is: so often, or more.
        own = np.diagonal(self.observed)
        if (self.observed > own).any() and not (self.observed > own[:, None]).any():
            raise ConnectomeError(
                "observed", "must have stimulated neurons in columns", "more of a pair than of its column's neuron",
                "Rows look like stimulated neurons: transpose the arrays.",
            )  # fmt: skip


@dataclass(frozen=True, eq=False)
class FunctionalAtlas(ReadOnly):
    """Signal propagation of some neurons, by their names, in animals of some strains. Raises
    :class:`ConnectomeError`."""

    neurons: tuple[str, ...]
    strains: Mapping[str, Strain]

    def __post_init__(self) -> None:
        if len(set(self.neurons)) != len(self.neurons):
            raise ConnectomeError("neurons", "must each have a name of its own", "one name twice")
        for name, strain in self.strains.items():
            if len(strain.dff) != len(self.neurons):
                rule = f"must have a row for each of {len(self.neurons)} neurons"
                raise ConnectomeError(f"strains[{name}]", rule, len(strain.dff))
        object.__setattr__(self, "strains", read_only(self.strains))


@dataclass(frozen=True, eq=False)
class Pairs(ReadOnly):
    """The measured pairs of a strain among the neurons of a graph; a neuron is never paired with itself.

    ``stimulated`` and ``responding`` (E,) are nodes, ``size`` (E,) is ``|dF/F|``, ``connected`` and ``unconnected``
    (E,) are defined at the head of this module. ``cells`` (S,) are the stimulated nodes, ``cell`` (E,) is each pair's
    place among them.
    """

    stimulated: NDArray[np.int64]
    responding: NDArray[np.int64]
    size: Floats
    connected: NDArray[np.bool_]
    unconnected: NDArray[np.bool_]
    cells: NDArray[np.int64]
    cell: NDArray[np.int64]

    def of(self, score: Floats) -> Floats:
        """(E,) values of an (N, N) score at these pairs, row = stimulated, column = responding."""
        found: Floats = score[self.stimulated, self.responding]
        return found


class Figure(NamedTuple):
    """A number with its 95 % interval; nan where it is not defined, as for a constant score."""

    value: float
    low: float
    high: float


class Agreement(NamedTuple):
    """Rank correlation and ROC area, and both for each resample of stimulated neurons, (draws, 2)."""

    rank: Figure
    area: Figure
    drawn: Floats


def measured_pairs(atlas: FunctionalAtlas, strain: str, labels: Sequence[str], level: float = 0.05) -> Pairs:
    """The pairs of a strain whose neurons have the names of a graph's nodes. Raises :class:`ConnectomeError` for an
    unknown strain, and if fewer than two stimulated neurons have a node."""
    if strain not in atlas.strains:
        raise ConnectomeError("strain", f"must be among {', '.join(atlas.strains)}", repr(strain))
    node = {name: k for k, name in enumerate(labels) if name}
    node_of = np.array([node.get(name, -1) for name in atlas.neurons], np.int64)
    s = atlas.strains[strain]
    there = (s.observed > 0) & np.isfinite(s.dff) & np.isfinite(s.q) & (node_of >= 0) & (node_of >= 0)[:, None]
    row, column = np.nonzero(there & ~np.eye(len(there), dtype=bool))
    cells, cell = np.unique(node_of[column], return_inverse=True)
    if cells.size < 2:
        found = f"{cells.size} of the atlas's {len(atlas.neurons)}"
        raise ConnectomeError(
            "labels", "must name two or more stimulated neurons", found, "Labels of neurons are names such as AVAL."
        )
    connected = s.q[row, column] < level
    return Pairs(
        lock(node_of[column]), lock(node_of[row]), lock(np.abs(s.dff[row, column])), lock(connected),
        lock(~connected & (s.q_equal[row, column] < level)), lock(cells), lock(cell.astype(np.int64)),
    )  # fmt: skip


def agreement(pairs: Pairs, judged: Sequence[Judged], draws: int = _DRAWS, seed: int = 0) -> Agreement:
    """Rank correlation and ROC area of scores (E,), each over the pairs of those stimulated neurons where its mask (S,)
    is true; for several scores, the means over scores. Equal ``draws`` and ``seed`` draw the same neurons."""
    draws = integer("draws", draws, 0, 10**6)
    rng, n = np.random.default_rng(seed), pairs.cells.size
    ranked = [_Ranked.of(pairs, score, mask[pairs.cell]) for score, mask in judged]

    def figures(times: NDArray[Any]) -> Floats:
        mean: Floats = np.mean([r.figures(times) for r in ranked], axis=0)
        return mean

    drawn = [figures(np.bincount(rng.integers(n, size=n), minlength=n)) for _ in range(draws)]
    return _agreement(figures(np.ones(n)), np.array(drawn).reshape(draws, 2))


def difference(one: Agreement, other: Agreement) -> Agreement:
    """One minus another, for the same pairs and draws."""
    value = [a.value - b.value for a, b in zip(one[:2], other[:2], strict=True)]
    return _agreement(np.array(value), one.drawn - other.drawn)


def _agreement(value: Floats, drawn: Floats) -> Agreement:
    def figure(which: int) -> Figure:
        known = drawn[~np.isnan(drawn[:, which]), which]
        ends = np.percentile(known, (2.5, 97.5)) if known.size else np.full(2, np.nan)
        return Figure(float(value[which]), float(ends[0]), float(ends[1]))

    return Agreement(figure(0), figure(1), lock(drawn))


def tuned(pairs: Pairs, scores: Sequence[Floats], splits: int = 10, seed: int = 0) -> tuple[list[Judged], list[int]]:
    """For each of ``splits`` random halvings of the stimulated neurons, the score (E,) with the highest rank
    correlation over one half, to be judged on the other; and which score it was. Constant scores are never chosen,
    unless all are; then the first is."""
    rng, n = np.random.default_rng(seed), pairs.cells.size
    judged, chosen = list[Judged](), list[int]()
    ranked = [_Ranked.of(pairs, score, np.ones(score.size, bool)) for score in scores]
    for _ in range(integer("splits", splits, 1, 10**4)):
        half = np.zeros(n, bool)
        half[rng.permutation(n)[: n // 2]] = True
        best = int(np.argmax([np.nan_to_num(r.figures(half)[0], nan=-2.0) for r in ranked]))
        judged.append((scores[best], ~half))
        chosen.append(best)
    return judged, chosen


def rank_correlation(one: ArrayLike, other: ArrayLike, times: ArrayLike | None = None) -> float:
    """Spearman's rank correlation, ties taking their mean rank, with each pair of numbers counted ``times`` (E,) over;
    nan if one of the two is constant."""
    x, y = (_Distinct.of(np.asarray(a, float)) for a in (one, other))
    return _correlation(x, y, np.ones(x.place.size) if times is None else np.asarray(times, float))


def roc_area(score: ArrayLike, positive: ArrayLike, times: ArrayLike | None = None) -> float:
    """The probability that a positive has a higher score than a negative, ties counting half; nan if there are no
    positives or no negatives. ``times``: how often each counts."""
    x, is_positive = _Distinct.of(np.asarray(score, float)), np.asarray(positive, bool)
    return _area(x, is_positive, np.ones(is_positive.size) if times is None else np.asarray(times, float))


class _Distinct(NamedTuple):
    """Numbers by their place among the distinct values, so that ranks of a resample need no sorting."""

    place: NDArray[np.int64]
    n: int

    @classmethod
    def of(cls, values: Floats) -> _Distinct:
        distinct, place = np.unique(values, return_inverse=True)
        return cls(place.astype(np.int64), distinct.size)

    def ranks(self, times: Floats) -> Floats:
        """(E,) mean ranks, from 1, with each number counted this many times."""
        count = np.bincount(self.place, times, self.n)
        found: Floats = (np.cumsum(count) - (count - 1) / 2)[self.place]
        return found


class _Ranked(NamedTuple):
    """A score and the response, ready to be ranked over some pairs, and over those of them that are known to be
    connected or not; and each pair's stimulated neuron."""

    score: _Distinct
    size: _Distinct
    cell: NDArray[np.int64]
    known: _Distinct
    connected: NDArray[np.bool_]
    known_cell: NDArray[np.int64]

    @classmethod
    def of(cls, pairs: Pairs, score: Floats, kept: NDArray[np.bool_]) -> _Ranked:
        known = (pairs.connected | pairs.unconnected) & kept
        return cls(
            _Distinct.of(score[kept]), _Distinct.of(pairs.size[kept]), pairs.cell[kept], _Distinct.of(score[known]),
            pairs.connected[known], pairs.cell[known],
        )  # fmt: skip

    def figures(self, times: NDArray[Any]) -> tuple[float, float]:
        """Rank correlation and ROC area, with each stimulated neuron counted so many times, (S,)."""
        times = times.astype(np.float64)
        return (
            _correlation(self.score, self.size, times[self.cell]),
            _area(self.known, self.connected, times[self.known_cell]),
        )


def _correlation(x: _Distinct, y: _Distinct, times: Floats) -> float:
    total = times.sum()
    if not total:
        return np.nan
    a, b = x.ranks(times), y.ranks(times)
    a, b = a - a @ times / total, b - b @ times / total
    spread = np.sqrt((times * a) @ a * ((times * b) @ b))
    return float((times * a) @ b / spread) if spread > 0 else np.nan


def _area(x: _Distinct, positive: NDArray[np.bool_], times: Floats) -> float:
    up = times * positive
    n_up, n_down = up.sum(), (times * ~positive).sum()
    if not (n_up and n_down):
        return np.nan
    return float((up @ x.ranks(times) - n_up * (n_up + 1) / 2) / (n_up * n_down))
