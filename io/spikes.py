"""Spikes in SONATA's format: one population a region, ``/spikes/<region>/{timestamps,node_ids}``.

Layout after the SONATA developer guide (Dai et al. 2020, https://doi.org/10.1371/journal.pcbi.1007696), as libsonata's
``SpikeReader`` and bmtk's ``SpikeTrains`` open it: ``timestamps`` (float64, with the attribute ``units``), ``node_ids``
(uint64), and the population's attribute ``sorting``, an enumeration. A region that never fired is a population without
spikes. The text ``/run/attributes`` (JSON) is our own: the attributes that :func:`connectome.simulate.run` gives its
result.

Files of other programs are read too: any sorting, integers of any width, contiguous or compressed by deflate.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from connectome.errors import ConnectomeError
from connectome.io import hdf5
from connectome.io.sonata import MAGIC

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["load_spikes", "save_spikes"]

SORTING: Final = h5py.enum_dtype({"none": 0, "by_id": 1, "by_time": 2}, basetype=np.uint8)
BY_TIME: Final = 2
UNITS: Final = ("ms", "millisecond", "milliseconds")
MAX_ID: Final = np.iinfo(np.int32).max


def save_spikes(spikes: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """Write what :func:`connectome.simulate.run` returned: whole, or not at all. Equal spikes make equal bytes.

    Raises :class:`ConnectomeError` for a file that exists unless ``overwrite``, and for one that cannot be written; an
    existing file is then unchanged.
    """
    file = Path(path)
    if not overwrite and os.path.lexists(file):
        raise ConnectomeError(str(file), "must not exist", "a file", "Choose another name or ask to overwrite it.")
    times, region, neuron = (spikes[f"spike_{name}"].values for name in ("time_ms", "region", "neuron"))
    order = np.argsort(region, kind="stable")  # within a region they stay in order of time
    count = np.bincount(region, minlength=spikes.sizes["region"])
    try:
        with hdf5.atomic(file) as sink, hdf5.create(sink) as h5:
            h5.attrs["magic"] = np.uint32(MAGIC)
            h5.attrs["version"] = np.array([0, 1], np.uint32)
            hdf5.write_text(h5.create_group("run"), "attributes", json.dumps(spikes.attrs, sort_keys=True))
            populations = h5.create_group("spikes", track_order=True)  # the order of regions is part of the spikes
            for name, stop, n in zip(spikes.region.values, np.cumsum(count), count, strict=True):
                mine = order[stop - n : stop]
                group = populations.create_group(str(name))
                group.attrs.create("sorting", BY_TIME, dtype=SORTING)
                timestamps = hdf5.write_column(group, "timestamps", times[mine].astype(np.float64), shrink=False)
                timestamps.attrs["units"] = "ms"
                hdf5.write_column(group, "node_ids", neuron[mine].astype(np.uint64), shrink=False)
    except OSError as error:
        raise ConnectomeError(
            str(file), "must be writable", error.strerror or error,
            "Free some space or choose another folder. An earlier file of this name is as it was.",
        ) from None  # fmt: skip


def load_spikes(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read spikes, from our own or any other SONATA file: a Dataset as :func:`connectome.simulate.run` returns it.

    ``spike_time_ms``, ``spike_region`` and ``spike_neuron`` in order of time, then region, then neuron; ``n_spikes`` by
    ``region``; the run's attributes, of which files of other programs have none. Raises :class:`ConnectomeError` naming
    the file.
    """
    import xarray as xr

    with hdf5.reading(path) as reader:
        if not reader.has("spikes"):
            raise ConnectomeError("file", "must be to SONATA's spike format, with a group /spikes", "none")
        names = reader.members("spikes")
        found = [_population(reader, name) for name in names]
        attributes = _attributes(reader.text("run", "attributes")) if reader.has("run") else {}
    count = [times.size for times, _ in found]
    times = np.concatenate([np.zeros(0), *(times for times, _ in found)])
    neuron = np.concatenate([np.zeros(0, np.int32), *(neuron for _, neuron in found)])
    region = np.repeat(np.arange(len(names), dtype=np.int32), count)
    order = np.lexsort((neuron, region, times))
    return xr.Dataset(
        {
            "spike_time_ms": ("spike", times[order], {"units": "ms"}),
            "spike_region": ("spike", region[order], {"description": "place in the coordinate region"}),
            "spike_neuron": ("spike", neuron[order], {"description": "number in its region"}),
            "n_spikes": ("region", np.array(count, np.int64)),
        },
        {"region": ("region", np.array(names, str))}, attributes,
    )  # fmt: skip


def _population(reader: hdf5.Reader, name: str) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    where = f"/spikes/{name}"
    times, units = _vector(reader, where, "timestamps", "f")
    neuron, _ = _vector(reader, where, "node_ids", "iu")
    if times.size != neuron.size:
        raise ConnectomeError(where, "must have as many timestamps as node_ids", f"{times.size} and {neuron.size}")
    if not isinstance(units, str) or units not in UNITS:
        raise ConnectomeError(f"{where}/timestamps@units", f"must be one of {', '.join(UNITS)}", repr(units)[:80])
    bad = ~((times >= 0) & (times < np.inf))
    if bad.any():
        raise ConnectomeError(f"{where}/timestamps", "must be finite and >= 0", times[bad][0])
    bad = (neuron < 0) | (neuron > MAX_ID)
    if bad.any():
        raise ConnectomeError(f"{where}/node_ids", f"must be in 0 .. {MAX_ID}", neuron[bad][0])
    return times.astype(np.float64), neuron.astype(np.int32)


def _vector(reader: hdf5.Reader, where: str, name: str, kinds: str) -> tuple[NDArray[Any], Any]:
    """A dataset of any length with numbers of these kinds, and its units, "ms" if it names none."""
    found, attributes = reader.foreign(*where.split("/")[1:], name, kinds=kinds)
    units = attributes.get("units", "ms")
    return found, units.decode(errors="replace") if isinstance(units, bytes) else units


def _attributes(text: str) -> Mapping[str, Any]:
    attributes = json.loads(text)
    if not isinstance(attributes, dict) or not all(type(v) in (int, float, str) for v in attributes.values()):
        raise ConnectomeError("/run/attributes", "must be names with numbers or texts", repr(text)[:80])
    return attributes
