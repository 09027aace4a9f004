"""How strong synapses must be: a scan over a physiology's gain, and the gain that gives a target rate or lies at the
edge of self-sustained activity.

A gain is tried in two runs of the network: driven, and then, continuing from that state, undriven. Activity in the
second half of the undriven run has outlived the drive.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
import xarray as xr

from connectome.errors import ConnectomeError
from connectome.experiment.animation import animate
from connectome.experiment.physiology import Physiology
from connectome.graph.connectome import Connectome
from connectome.simulate.runs import run
from connectome.simulate.stimulus import Stimulus
from connectome.texts import readable

__all__ = ["GAINS", "Drive", "Trial", "calibrate", "gain_scan"]

#: What drives a network: the network, perhaps with other parameters of those that are stimulated, and the stimulus. For
#: example ``lambda network: stimulate(network, physiology, cells, 150.0)``.
Drive: TypeAlias = Callable[[Connectome], tuple[Connectome, Stimulus]]
#: The gains that are tried first: two a decade.
GAINS: Final = tuple(float(f"{10 ** (k / 2):.3g}") for k in range(-3, 4))
_HALVINGS: Final = 6


@dataclass(frozen=True)
class Trial:
    """How a gain is tried: how long the network is driven, and then left undriven, ms; the seed of the drive; threads
    as in :func:`connectome.simulate.run`; and a function called after each gain."""

    drive_ms: float = 500.0
    after_ms: float = 500.0
    seed: int = 0
    threads: int | None = None
    progress: Callable[[float], None] | None = None


def gain_scan(
    connectome: Connectome, physiology: Physiology, drive: Drive, gains: Iterable[float] = GAINS, trial: Trial = Trial()
) -> xr.Dataset:
    """Activity at each gain.

    ``rate_hz`` (gain, region): mean rate while driven; ``after_hz``: in the second half of the undriven time;
    ``active_share``: the share of neurons that fired while driven. Only regions of neurons count; ``mean_hz`` and
    ``mean_after_hz`` (gain) are means over all their neurons. Raises :class:`ConnectomeError`.
    """
    tried = sorted({float(g) for g in gains})
    names = [r.name for r in connectome.regions.values() if r.role == "neuron" and r.size]
    if not tried or not names:
        raise ConnectomeError("gains", "must be some, of a network with neurons", f"{len(tried)}, {len(names)} regions")
    found = [_tried(connectome, replace(physiology, gain=gain), drive, trial, names) for gain in tried]
    rate, after, active = (np.array(x) for x in zip(*found, strict=True))
    size = np.array([connectome.regions[name].size for name in names])
    axes = ("gain", "region")
    return xr.Dataset(
        {
            "rate_hz": (axes, rate, {"units": "Hz"}), "after_hz": (axes, after, {"units": "Hz"}),
            "active_share": (axes, active), "mean_hz": ("gain", rate @ size / size.sum(), {"units": "Hz"}),
            "mean_after_hz": ("gain", after @ size / size.sum(), {"units": "Hz"}),
        },
        {"gain": tried, "region": names, "neurons": ("region", size)},
        {
            "physiology": physiology.name, "drive_ms": trial.drive_ms, "after_ms": trial.after_ms, "seed": trial.seed,
            "unit": physiology.neuron.weight_unit,
        },
    )  # fmt: skip


def calibrate(
    connectome: Connectome, physiology: Physiology, drive: Drive, *, target_hz: float | None = None,
    region: str | None = None, gains: Iterable[float] = GAINS, trial: Trial = Trial(),
) -> tuple[Physiology, xr.Dataset]:  # fmt: skip
    """The physiology with the gain at which its neurons, or those of a ``region``, fire at ``target_hz`` on average
    while driven or, without a target, the largest gain at which activity dies out after the drive. Also returns the
    scan, with every gain that was tried.

    Starts from the first pair of neighbouring ``gains`` with the answer between them and halves the interval six times,
    assuming that rates rise with the gain there. Raises :class:`ConnectomeError` if no pair brackets the answer.
    """
    if target_hz is not None and not 0 < target_hz < math.inf:
        raise ConnectomeError("target_hz", "must be finite and > 0", target_hz)
    scan = gain_scan(connectome, physiology, drive, gains, trial)
    if region is not None and region not in scan.region.values:
        raise ConnectomeError("region", f"must be one of {', '.join(map(str, scan.region.values))}", repr(region))

    def above(one: xr.Dataset) -> bool:
        if target_hz is None:
            return bool(one.after_hz.sum() > 0)
        return bool(_rate(one, region) >= target_hz)

    is_above = [above(scan.isel(gain=k)) for k in range(scan.gain.size)]
    if is_above[0] or not any(is_above):
        raise _not_between(scan, target_hz, region, is_above[0])
    first = is_above.index(True)
    low, high = (float(scan.gain[k]) for k in (first - 1, first))
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        one = gain_scan(connectome, physiology, drive, [middle], trial)
        scan = xr.concat([scan, one], "gain", data_vars="minimal", combine_attrs="override").sortby("gain")
        low, high = (low, middle) if above(one.isel(gain=0)) else (middle, high)
    chosen = low
    if target_hz is not None:
        off = {g: abs(_rate(scan.sel(gain=g), region) - target_hz) for g in (low, high)}
        chosen = min(off, key=lambda g: off[g])
    aim = "edge" if target_hz is None else f"{target_hz:g} Hz"
    scan = scan.assign_attrs(chosen_gain=chosen, aim=aim if region is None else f"{aim} of {region}")
    return replace(physiology, gain=chosen), scan


def _tried(
    connectome: Connectome, physiology: Physiology, drive: Drive, trial: Trial, names: list[str]
) -> tuple[list[float], list[float], list[float]]:
    network, stimulus = drive(animate(connectome, physiology)[0])
    driven, state = run(
        network, trial.drive_ms, stimulus, seed=trial.seed, threads=trial.threads, return_state=True
    )  # fmt: skip
    after = run(network, trial.after_ms, seed=trial.seed, threads=trial.threads, state=state)
    late = after.spike_time_ms.values > trial.after_ms / 2
    rate, left, active = [], [], []
    for name in names:
        place, size = list(network.regions).index(name), network.regions[name].size
        mine = driven.spike_region.values == place
        rate.append(1000 * mine.sum() / size / trial.drive_ms)
        active.append(np.unique(driven.spike_neuron.values[mine]).size / size)
        left.append(1000 * (late & (after.spike_region.values == place)).sum() / size / (trial.after_ms / 2))
    if trial.progress is not None:
        trial.progress(physiology.gain)
    return rate, left, active


def _rate(one: xr.Dataset, region: str | None) -> float:
    return float(one.mean_hz if region is None else one.rate_hz.sel(region=region))


def _not_between(scan: xr.Dataset, target_hz: float | None, region: str | None, at_once: bool) -> ConnectomeError:
    low, high = (float(scan.gain[k]) for k in (0, -1))
    if target_hz is None:
        found = f"it outlives the drive at the least gain, {low:g}" if at_once else f"it dies out even at {high:g}"
        return ConnectomeError("gains", "must have the edge of activity between them", found, "Take other gains.")
    rates = (readable(_rate(scan.sel(gain=g), region)) for g in (low, high))
    found = f"{next(rates)} Hz at {low:g} and {next(rates)} Hz at {high:g}"
    return ConnectomeError("target_hz", f"must be between what the gains give, {target_hz:g} Hz", found)
