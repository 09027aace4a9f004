"""What a page shows about single cells: attributes, metrics and rates, as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from connectome.analysis.report.render import packed
from connectome.analysis.report.tables import Sample
from connectome.analysis.simple_graph import LABEL
from connectome.graph.attributes import Attribute, joined_attributes
from connectome.graph.parts import Region

__all__ = [
    "COLOURS", "METRICS", "Column", "attribute_columns", "metric_columns", "own_columns", "rate_columns",
    "shown_columns",
]  # fmt: skip

#: Categories with a colour of their own, at most: as many as the page's style has. If there are more, the largest but
#: one fewer have one.
COLOURS: Final = 8
#: Metrics of nodes that a cell has, each if it is quick on a graph of this size.
METRICS: Final = (
    "in_degree", "out_degree", "in_strength", "out_strength", "core_number", "community",
    "participation_coefficient_out", "clustering_binary_directed", "betweenness_binary",
)  # fmt: skip
_MOST_COLUMNS: Final = 40
_MOST_LETTERS: Final = 400_000  # of the texts of all columns together
_LONGEST: Final = 80  # letters of one text
_EXACT: Final = 2**24  # whole numbers up to here are exact in float32
_WHOLE: Final = 2**53  # and up to here in JavaScript
_OUTLIERS: Final = (0.02, 0.98)


class Column(NamedTuple):
    """One attribute of N cells.

    Parameters
    ----------
    name, group, about : its name, the group it is listed under, and what it means
    names : the categories; None if the column is of numbers
    values : (N,) int64, places in ``names``, -1 where missing; or (N,) float64, nan where missing
    """

    name: str
    group: str
    about: str
    names: tuple[str, ...] | None
    values: NDArray[Any]


def own_columns(regions: Sequence[Region]) -> list[Column]:
    """The region and the kind of each cell: the columns that every connectome has."""
    size = [r.size for r in regions]
    kinds = ("excitatory", "inhibitory", "neither or unknown", "sensor", "effector")
    codes = [
        np.choose(np.sign(r.sign) % 3, [2, 0, 1])
        if r.role == "neuron"
        else np.full(r.size, 3 if r.role == "sensor" else 4)
        for r in regions
    ]
    nothing = np.zeros(0, np.int64)
    return [
        Column("region", "cells", "", tuple(r.name for r in regions), np.repeat(np.arange(len(size)), size)),
        Column("kind of cell", "cells", "", kinds, np.concatenate([nothing, *codes]).astype(np.int64)),
    ]


def attribute_columns(regions: Sequence[Region]) -> list[Column]:
    """A column for each attribute, then for each state, that any region has; missing for cells of regions without
    it."""
    kinds: dict[str, str] = {}
    for r in regions:
        kinds |= {name: a.kind for name, a in r.attributes.items()}  # that of the last, where stages differ
    joined = joined_attributes(
        "report", [({k: a for k, a in r.attributes.items() if a.kind == kinds[k]}, r.size) for r in regions]
    )
    found = [_column(name, a) for name, a in joined.items()]
    for name in sorted({name for r in regions for name in r.state}):
        values = [r.state.get(name, np.full(r.size, np.nan)).astype(np.float64) for r in regions]
        found.append(Column(f"state {name}", "state", "kept by a mechanism", None, np.concatenate(values)))
    return found


def _column(name: str, a: Attribute) -> Column:
    lost = np.asarray(a.is_missing)
    if a.names is not None:
        code = a.values.astype(np.int64) - (a.names[:1] == ("",))
        return Column(name, "attributes", "", a.categories, np.where(lost, -1, code))
    if a.is_flag:
        return Column(name, "attributes", "", ("false", "true"), np.where(lost, -1, a.values.astype(np.int64)))
    known = a.values[~lost]
    if a.values.dtype.kind == "i" and known.size and max(int(known.max()), -int(known.min())) > _WHOLE:
        distinct, code = np.unique(a.values, return_inverse=True)  # a name, not a size
        return Column(name, "attributes", "", tuple(map(str, distinct.tolist())), np.where(lost, -1, code))
    values = a.values.astype(np.float64)
    return Column(name, "attributes", "", None, np.where(lost | ~np.isfinite(values), np.nan, values))


def metric_columns(measured: xr.Dataset, regions: Mapping[str, slice], n: int) -> list[Column]:
    """Columns of the node metrics that ``measure(..., nodes=True)`` gave for the last stage; nan for cells that are not
    neurons. ``regions`` gives the place of each region's cells among all n."""
    found = []
    coordinates = measured.coords
    for name, metric in measured.data_vars.items():
        if "node" not in metric.dims:
            continue
        values = np.full(n, np.nan)
        region = coordinates["node_region"].values
        for one in dict.fromkeys(region.tolist()):
            mine = np.flatnonzero(region == one)
            values[regions[one].start + coordinates["node_number"].values[mine]] = metric.values[-1, mine]
        title = str(name).removesuffix("_of_node").replace("_", " ")
        about = metric.attrs["definition"]
        if metric.attrs["units"] == LABEL:
            known = np.where(np.isnan(values), -1, values).astype(np.int64)
            names = tuple(str(k) for k in range(int(known.max(initial=-1)) + 1))
            found.append(Column(title, "metrics", about, names, known))
        else:
            units = "" if metric.attrs["units"] == "1" else f" ({metric.attrs['units']})"
            found.append(Column(title + units, "metrics", about, None, values))
    return found


def rate_columns(
    samples: Sequence[Sample], regions: Mapping[str, slice], roles: Mapping[str, str], n: int
) -> list[Column]:
    """The rate of each cell in each sample, Hz; missing where a cell took no part, or is an effector, which never
    fires."""
    found = []
    for sample in samples:
        spikes, values = sample.spikes, np.full(n, np.nan)
        for i, name in enumerate(map(str, spikes.region.values)):
            if roles.get(name) in ("neuron", "sensor"):
                mine = spikes.spike_neuron.values[spikes.spike_region.values == i]
                place = regions[name]
                count = np.bincount(mine, minlength=place.stop - place.start)
                values[place] = 1000 * count / spikes.attrs["duration_ms"]
        found.append(Column(f"rate, {sample.title} (Hz)", "activity", "in the sample below", None, values))
    return found


def shown_columns(columns: Sequence[Column], cells: NDArray[np.int64]) -> tuple[list[dict[str, Any]], list[str]]:
    """The columns for the page's script, of these cells alone, and the names of those for which there is no room.

    Categories are sorted by the number of cells that have them; 0 is missing, 1 the first. ``low`` and ``high`` are the
    ends of a scale: the least and the greatest value or, if there are a few outliers, quantiles that exclude them.
    """
    found: list[dict[str, Any]] = []
    left_out, letters = [], 0
    for column in columns:
        values = column.values[cells]
        lost = values < 0 if column.names is not None else np.isnan(values)
        if lost.all():
            continue
        one: dict[str, Any] = {"name": column.name, "group": column.group, "about": column.about}
        if column.names is not None:
            code, count = np.unique(values[~lost], return_counts=True)
            texts = [_cut(column.names[i]) for i in code.tolist()]
            order = sorted(range(len(texts)), key=lambda i: (-count[i], texts[i]))
            place = np.zeros(len(column.names) + 1, np.int64)
            place[code[order]] = np.arange(1, len(order) + 1)
            one |= {
                "names": [texts[i] for i in order], "counts": count[order].tolist(),
                "coloured": len(order) if len(order) <= COLOURS else COLOURS - 1, "values": packed(place[values]),
            }  # fmt: skip
            size = sum(len(text) + 12 for text in texts)
        else:
            low, high = _ends(values[~lost])
            is_wide = bool((np.abs(values[~lost]) > _EXACT).any())
            one |= {
                "low": low, "high": high, "least": float(values[~lost].min()), "most": float(values[~lost].max()),
                "values": packed(values, np.float64 if is_wide else np.float32),
            }  # fmt: skip
            size = 0
        if len(found) == _MOST_COLUMNS or letters + size > _MOST_LETTERS:
            left_out.append(column.name)
            continue
        letters += size
        found.append(one | {"missing": int(lost.sum())})
    return found, left_out


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _ends(values: NDArray[np.float64]) -> tuple[float, float]:
    least, most = float(values.min()), float(values.max())
    low, high = np.quantile(values, _OUTLIERS).tolist()
    span = high - low
    return (low if low - least > span > 0 else least), (high if most - high > span > 0 else most)
