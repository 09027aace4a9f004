"""What is read out of a trial: rates, shares of active cells and latencies, by cell and by population.

``rate_hz``: spikes per cell and second. ``active``: the share of cells with a spike. ``latency_ms``: the time from the
onset of stimulation to a cell's first spike; for a population the median over its cells, where a cell without a spike
counts as later than all others, so that the median is missing if half of the cells never fired. Cells that a condition
lesions, silences or holds have no value in that condition, and do not count in its populations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import ReadOnly
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.graph.flat import starts
from connectome.graph.parts import Region
from connectome.graph.selection import NodeSet

__all__ = [
    "READOUTS", "Cells", "Counted", "Population", "cells_of", "first_spikes", "populations", "read_out", "summarised",
]  # fmt: skip

#: Name -> units.
READOUTS: Final[Mapping[str, str]] = {"rate_hz": "Hz", "active": "1", "latency_ms": "ms"}
_MOST_VALUES: Final = 400


@dataclass(frozen=True, eq=False)
class Cells(ReadOnly):
    """The C cells that can fire, numbered region after region.

    Parameters
    ----------
    first : region -> number of its first cell
    region, number, label : (C,) each
    """

    first: Mapping[str, int]
    region: NDArray[np.str_]
    number: NDArray[np.int64]
    label: NDArray[np.str_]

    def __len__(self) -> int:
        return int(self.number.size)

    def name(self, cell: int) -> str:
        """The name of a cell."""
        return str(self.label[cell]) or f"{self.region[cell]} {self.number[cell]}"

    def mask(self, nodes: NodeSet) -> NDArray[np.bool_]:
        """(C,) which cells are in a set."""
        return np.concatenate([np.zeros(0, bool), *(nodes.masks[name] for name in self.first)])


class Population(NamedTuple):
    """The cells with one value of one attribute, or of one region: its name, and their numbers."""

    by: str
    value: str
    cells: NDArray[np.int64]


class Counted(NamedTuple):
    """The window of read-outs: spikes with from_ms < t <= to_ms, in bins of bin_ms; latencies are measured from
    onset_ms."""

    from_ms: float
    to_ms: float
    bin_ms: float
    onset_ms: float

    @property
    def seconds(self) -> float:
        """Length of the window, s."""
        return (self.to_ms - self.from_ms) / 1000

    @property
    def bins(self) -> NDArray[np.float64]:
        """(B + 1,) edges of the bins; the last may be shorter."""
        n = max(1, math.ceil((self.to_ms - self.from_ms) / self.bin_ms - 1e-9))
        return np.append(self.from_ms + self.bin_ms * np.arange(n), self.to_ms)


def cells_of(connectome: Connectome) -> Cells:
    """The cells of a connectome that can fire. Raises :class:`ConnectomeError` if there are none."""
    firing = [r for r in connectome.regions.values() if r.size and _fires(r)]
    if not firing:
        raise ConnectomeError("connectome", "must have neurons or sensors", "none")
    return Cells(
        starts(firing),
        np.repeat([r.name for r in firing], [r.size for r in firing]),
        np.concatenate([np.arange(r.size) for r in firing]),
        np.concatenate([r.labels for r in firing]),
    )


def _fires(r: Region) -> bool:
    return r.role == "sensor" or (r.role == "neuron" and r.neuron.fires)


def populations(connectome: Connectome, by: Sequence[str]) -> list[Population]:
    """The populations of each region or of each value of an attribute, in this order; cells for which the value is
    unknown are in none. Raises :class:`ConnectomeError` for an attribute that does not exist or has too many values."""
    firing = [r for r in connectome.regions.values() if r.size and _fires(r)]
    names = sorted({name for r in firing for name in r.attributes})
    found = []
    for attribute in by:
        if attribute != "region" and attribute not in names:
            raise ConnectomeError(
                "readouts.by", f"must be region, or attributes of the neurons: {', '.join(names) or 'there are none'}",
                repr(attribute),
            )  # fmt: skip
        values = _values(firing, attribute)
        there = sorted({v for v in values.tolist() if v}) if attribute != "region" else [r.name for r in firing]
        if len(there) > _MOST_VALUES:
            raise ConnectomeError(
                "readouts.by", f"must be an attribute of at most {_MOST_VALUES} values", f"{attribute}: {len(there):,}"
            )
        found += [Population(attribute, value, np.flatnonzero(values == value)) for value in there]
    return found


def _values(firing: Sequence[Region], attribute: str) -> NDArray[np.str_]:
    """(C,) an attribute's values as texts; "" where unknown."""
    columns: list[list[str]] = []
    for r in firing:
        if attribute == "region":
            columns.append([r.name] * r.size)
        elif attribute in r.attributes:
            columns.append(["" if v is None else str(v) for v in r.attributes[attribute].tolist()])
        else:
            columns.append([""] * r.size)
    return np.array([v for column in columns for v in column], str)


def first_spikes(
    time_ms: NDArray[np.float64], cell: NDArray[np.int64], n: int, counted: Counted
) -> NDArray[np.float64]:
    """(C,) ms from the onset to each cell's first spike after it; nan without one."""
    first = np.full(n, np.inf)
    late = (time_ms > counted.onset_ms) & (time_ms <= counted.to_ms)
    np.minimum.at(first, cell[late], time_ms[late])
    return np.where(np.isinf(first), np.nan, first - counted.onset_ms)


def read_out(
    time_ms: NDArray[np.float64], cell: NDArray[np.int64], gone: NDArray[np.bool_], of: Sequence[Population],
    counted: Counted,
) -> dict[str, NDArray[Any]]:  # fmt: skip
    """Read-outs of M spikes, at times (M,) and of cells (M,), where the (C,) ``gone`` cells do not count:
    ``cell_spikes`` (C,) int32, -1 for the gone cells; ``cell_latency_ms`` (C,) float32; :data:`READOUTS` (P,);
    ``course_hz`` (P, B)."""
    inside = (time_ms > counted.from_ms) & (time_ms <= counted.to_ms)
    spikes = np.where(gone, -1, np.bincount(cell[inside], minlength=gone.size)).astype(np.int32)
    latency = np.where(gone, np.nan, first_spikes(time_ms, cell, gone.size, counted)).astype(np.float32)
    edges = counted.bins
    bin_ = np.searchsorted(edges, time_ms[inside], "left") - 1
    course = np.empty((len(of), edges.size - 1))
    for k, population in enumerate(of):
        member = np.zeros(gone.size, bool)
        member[population.cells[~gone[population.cells]]] = True
        n = np.bincount(bin_[member[cell[inside]]], minlength=edges.size - 1)
        there = int(member.sum())
        course[k] = n / there / (np.diff(edges) / 1000) if there else np.nan
    found = summarised(spikes, latency, of, counted.seconds)
    return {**found, "course_hz": course, "cell_spikes": spikes, "cell_latency_ms": latency}


def summarised(
    spikes: NDArray[np.int32], latency: NDArray[np.float32], of: Sequence[Population], seconds: float
) -> dict[str, NDArray[np.float64]]:
    """:data:`READOUTS` (P,) of populations, from what :func:`read_out` gives for each cell, over the cells that are not
    gone."""
    found = {name: np.full(len(of), np.nan) for name in READOUTS}
    for k, population in enumerate(of):
        mine = population.cells[spikes[population.cells] >= 0]
        if not mine.size:
            continue
        found["rate_hz"][k] = spikes[mine].sum() / mine.size / seconds
        found["active"][k] = (spikes[mine] > 0).mean()
        median = np.median(np.where(np.isnan(latency[mine]), np.inf, latency[mine].astype(np.float64)))
        found["latency_ms"][k] = median if np.isfinite(median) else np.nan
    return found
