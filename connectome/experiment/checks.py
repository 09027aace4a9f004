"""Warnings about a run's activity or weights: a line for each region that is silent or saturated, and one for weights
that look like synapse counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import xarray as xr

from connectome.arrays import in_blocks
from connectome.graph.connectome import Connectome
from connectome.texts import percent, plural

__all__ = ["activity_warnings", "weight_warnings"]

#: A neuron is near its limit where it fires at more than this part of the rate that its refractory time allows, and a
#: region is, where more than this part of its neurons are.
_NEAR: Final = 0.5
_PART: Final = 0.01
#: The refractory time of models that have none, ms.
_DEFAULT_REF_MS: Final = 2.0
#: Weights that are whole numbers are taken for counts where at least so many are, and half of them are no larger.
_FEW: Final = 10
_MEDIAN_COUNT: Final = 50.0


def activity_warnings(spikes: xr.Dataset, connectome: Connectome) -> Iterator[str]:
    """A line for each region of neurons that stayed silent, and for each whose neurons fire near their limit.
    ``spikes`` is what :func:`connectome.simulate.run` gives for this connectome."""
    duration_ms, names = spikes.attrs["duration_ms"], [str(name) for name in spikes.region.values]
    for name, region in connectome.regions.items():
        if region.role != "neuron" or not region.size or name not in names:
            continue
        mine = spikes.spike_neuron.values[spikes.spike_region.values == names.index(name)]
        if not mine.size:
            yield f"{name} is silent: none of its {plural(region.size, 'neuron')} fired in {duration_ms:,g} ms."
            continue
        # The time of those without a refractory time, as stimulated cells are, counts as 2 ms.
        ref_ms = np.asarray(region.neuron.parameters().get("t_ref_ms", _DEFAULT_REF_MS), float)
        limit = 1000 / np.where(ref_ms > 0, ref_ms, _DEFAULT_REF_MS)
        rate = 1000 * np.bincount(mine, minlength=region.size) / duration_ms
        near = rate > _NEAR * limit
        if near.sum() > _PART * region.size:
            yield (
                f"{name} is saturated: {percent(near.mean())} of its {plural(region.size, 'neuron')} fire at more than "
                f"half of what their refractory time allows; the mean rate is {rate.mean():.3g} Hz."
            )


def weight_warnings(connectome: Connectome) -> Iterator[str]:
    """A line if weights look like numbers of synapses, taken for pA."""
    regions = connectome.regions
    weights = [
        e.weight for e in connectome.edges.values()
        if len(e) and regions[e.key.target].role == "neuron" and regions[e.key.target].neuron.weight_unit == "pA"
    ]  # fmt: skip
    n = sum(w.size for w in weights)
    if n < _FEW or not all(np.array_equal(w[b], np.rint(w[b])) for w in weights for b in in_blocks(w.size)):
        return
    size = float(np.median(np.abs(np.concatenate(weights))))
    if size <= _MEDIAN_COUNT:
        yield (
            f"All {n:,} weights are whole numbers, half of them {size:g} or less: they look like numbers of synapses, "
            "but are taken as pA. A physiology says how to convert them."
        )
