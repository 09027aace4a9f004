"""Spikes as Neurodata Without Borders (NWB 2), for the tools of electrophysiology: a unit for each neuron.

``/units`` has spike_times (seconds), and the columns region, neuron (its number in the region) and, if the connectome
is given, label, x, y, z (micrometres) and its attributes: numbers and flags as they are; a missing number is nan; flags
and integers with missing values become texts, empty where missing. An attribute whose name units use for something else
gets a ``_`` at its end. The state of neurons is not included. The run's attributes are the session's notes, as JSON.
The file holds the time at which it was written and random ids: the format asks for them. Needs ``pynwb``, an optional
package.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.graph.attributes import Attribute, joined_attributes
from connectome.graph.connectome import Connectome
from connectome.io import hdf5
from connectome.io.files import writing

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["write_nwb"]


def write_nwb(spikes: xr.Dataset, path: str | os.PathLike[str], connectome: Connectome | None = None) -> None:
    """Write what :func:`connectome.simulate.run` or :func:`connectome.io.spikes.load_spikes` gave.

    With the connectome there is a unit for every neuron, without it one for each neuron that fired. Raises
    :class:`ConnectomeError` if ``pynwb`` is not installed, if the connectome lacks neurons that fired, and if the file
    cannot be written; an existing file is then unchanged.
    """
    try:
        from hdmf.common import VectorData, VectorIndex
        from pynwb import NWBHDF5IO, NWBFile
        from pynwb.misc import Units
    except ImportError:
        raise ConnectomeError(
            "nwb", "must have the package pynwb", "none", "pip install 'connectome-engine[exchange]'"
        ) from None
    region, neuron, seconds = (spikes[f"spike_{k}"].values for k in ("region", "neuron", "time_ms"))
    order = np.lexsort((spikes["spike_time_ms"].values, neuron, region))
    region, neuron, seconds = region[order], neuron[order], seconds[order].astype(np.float64) / 1000
    names = [str(name) for name in spikes.region.values]
    of_unit, number, stop = _units(region, neuron, names, connectome)
    columns = [
        _column(VectorData, "region", "region of the neuron", [names[r] for r in of_unit]),
        _column(VectorData, "neuron", "number of the neuron in its region", number),
    ]
    if connectome is not None:
        regions = [connectome.regions[name] for name in names]
        labels = [label for r in regions for label in r.labels.tolist()]
        columns.append(_column(VectorData, "label", "name of the neuron", labels))
        for axis, values in zip(
            "xyz", np.concatenate([np.zeros((0, 3)), *(r.position_um for r in regions)]).T, strict=True
        ):
            columns.append(_column(VectorData, axis, "position, micrometres", values))
        taken = {c["name"] for c in Units.__columns__} | {c.name for c in columns}
        for name, known in joined_attributes("nodes", [(r.attributes, r.size) for r in regions]).items():
            column = f"{name}_" if name in taken else name
            columns.append(_column(VectorData, column, f"attribute {name}", _values(known)))
    times = VectorData(name="spike_times", description="spike times, seconds", data=seconds)
    index = VectorIndex(name="spike_times_index", data=stop.astype(np.uint64), target=times)
    units = Units(
        name="units", description="one for each neuron", columns=[times, index, *columns],
        colnames=["spike_times", *(c.name for c in columns)], id=np.arange(number.size),
    )  # fmt: skip
    about = json.dumps(spikes.attrs, sort_keys=True)
    file = NWBFile(
        session_description="spikes of a simulated connectome",
        identifier=f"connectome {json.dumps(spikes.attrs.get('seed', 0))}",  # quoted, if it is no number
        session_start_time=datetime(1970, 1, 1, tzinfo=UTC), notes=about,
        units=units if number.size else None,  # it stores no column of no texts
    )  # fmt: skip
    with writing(path) as sink, hdf5.create(sink) as h5, NWBHDF5IO(file=h5, mode="w") as out:
        out.write(file)


def _units(
    region: NDArray[Any], neuron: NDArray[Any], names: list[str], connectome: Connectome | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """For each unit its region (place), its number there, and the index at which its spikes end."""
    if connectome is None:
        new = np.ones(region.size, bool)
        new[1:] = (region[1:] != region[:-1]) | (neuron[1:] != neuron[:-1])
        first = np.flatnonzero(new)
        return region[first], neuron[first], np.append(first[1:], region.size)[: first.size]
    for name in names:
        if name not in connectome.regions:
            raise ConnectomeError("spikes", f"must be of the regions {list(connectome.regions)}", repr(name))
    sizes = np.array([connectome.regions[name].size for name in names], np.int64)
    bad = neuron >= sizes[region]
    if bad.any():
        name = names[region[bad][0]]
        raise ConnectomeError(
            f"spikes of {name!r}", f"must be of neurons 0 .. {sizes[region[bad][0]] - 1}", neuron[bad][0]
        )
    start = np.cumsum(sizes) - sizes
    stop = np.cumsum(np.bincount(start[region] + neuron, minlength=int(sizes.sum())))
    of_unit = np.repeat(np.arange(len(names)), sizes)
    return of_unit, np.arange(of_unit.size) - start[of_unit], stop


def _values(known: Attribute) -> Any:
    """An attribute as numbers, flags or texts; texts also of integers and flags of which some are missing."""
    if known.values.dtype.kind == "f" or (known.names is None and not known.is_missing.any()):
        return known.values == 1 if known.is_flag else known.values
    return ["" if value is None else str(value) for value in known.tolist()]


def _column(kind: Any, name: str, description: str, data: Any) -> Any:
    return kind(name=name, description=description, data=data)
