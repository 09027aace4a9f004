"""Populations at rest: a background of random events, rates by node, BOLD, functional connectivity."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from connectome.analysis.bold import FRISTON_2003, Balloon, bold, synaptic_gating
from connectome.analysis.functional import BesideNulls, agreement, beside, fisher_z, functional_connectivity
from connectome.analysis.intervals import mean_of
from connectome.errors import ConnectomeError
from connectome.graph.connectome import Connectome
from connectome.simulate.runs import run
from connectome.simulate.stimulus import Poisson, Stimulus

if TYPE_CHECKING:
    import pandas

__all__ = [
    "agreement_table", "background", "calibrate_background", "gather_runs", "population_rates", "resting_state",
]  # fmt: skip

#: Of one run, so that the spikes of minutes need not be kept.
_CHUNK_MS: Final = 10_000.0
_LOWEST_HZ, _HIGHEST_HZ = 64.0, 2.0**20
_HALVINGS: Final = 10
#: How far from its target a rate may end, as a share of it.
_NEAR: Final = 0.2


def background(network: Connectome, rate_hz: float, weight_pa: float) -> Stimulus:
    """Poisson events of this rate for every neuron."""
    return Stimulus(poisson={name: Poisson(rate_hz, weight_pa) for name in network.regions})


def population_rates(
    network: Connectome, stimulus: Stimulus, duration_s: float, *, bin_ms: float = 20.0, seed: int = 0,
    threads: int | None = None, progress: Callable[[float], None] | None = None,
) -> xr.DataArray:  # fmt: skip
    """Rates of the excitatory neurons of each region, (time_s, node), Hz; ``time_s`` is the end of each bin.

    ``progress`` is called with the seconds done. Raises :class:`ConnectomeError` if a bin is not a whole number of
    steps, or the duration not a whole number of bins.
    """
    steps = bin_ms / network.dt_ms
    if not (math.isfinite(steps) and steps >= 1 - 1e-6 and abs(steps - round(steps)) < 1e-6):
        raise ConnectomeError("bin_ms", f"must be a whole number of steps of {network.dt_ms:g} ms", bin_ms)
    bins = 1000 * duration_s / bin_ms
    if not (math.isfinite(bins) and bins >= 1 - 1e-6 and abs(bins - round(bins)) < 1e-6):
        raise ConnectomeError("duration_s", f"must be a whole number of bins of {bin_ms:g} ms", duration_s)
    excitatory = [r.sign > 0 for r in network.regions.values()]
    first = np.cumsum([0, *(mask.size for mask in excitatory)])
    counted, n = np.concatenate([np.zeros(0, bool), *excitatory]), len(excitatory)
    per_step, per_bin, left, state = round(steps), max(1, round(_CHUNK_MS / bin_ms)), round(bins), None
    found = []
    while left:
        here = min(per_bin, left)
        spikes, state = run(
            network, here * per_step * network.dt_ms, stimulus, seed=seed, threads=threads, state=state,
            return_state=True,
        )  # fmt: skip
        region = spikes.spike_region.values.astype(np.int64)
        mine = counted[first[region] + spikes.spike_neuron.values]
        step = np.rint(spikes.spike_time_ms.values[mine] / network.dt_ms).astype(np.int64) - 1
        found.append(np.bincount(step // per_step * n + region[mine], minlength=here * n).reshape(here, n))
        left -= here
        if progress is not None:
            progress((round(bins) - left) * bin_ms / 1000)
    size = np.array([mask.sum() for mask in excitatory])
    rate = np.concatenate(found) * (1000 / bin_ms) / np.maximum(size, 1)
    return xr.DataArray(
        rate, {"time_s": np.arange(1, len(rate) + 1) * bin_ms / 1000, "node": list(network.regions)},
        ("time_s", "node"), "rate_hz", {"units": "Hz"},
    )  # fmt: skip


def calibrate_background(
    network: Connectome, weight_pa: float, target_hz: float, *, trial_s: float = 2.0, seed: int = 0,
    threads: int | None = None,
) -> tuple[float, float]:  # fmt: skip
    """The background rate at which excitatory neurons fire at ``target_hz`` on average, and the rate they then have,
    both in Hz: found by bisection, in trials of ``trial_s`` whose first quarter does not count.

    Raises :class:`ConnectomeError` if no background comes near the target: then activity jumps, as the network is
    beyond the edge of stability.
    """
    if not 0 < target_hz < math.inf:
        raise ConnectomeError("target_hz", "must be finite and > 0", target_hz)

    def rate(hz: float) -> float:
        found = population_rates(network, background(network, hz, weight_pa), trial_s, seed=seed, threads=threads)
        return float(found[found.time_s > trial_s / 4].mean())

    high = _LOWEST_HZ
    while rate(high) < target_hz:
        high *= 2
        if high > _HIGHEST_HZ:
            raise ConnectomeError(
                "background_pa", f"must let neurons fire at {target_hz:g} Hz", f"{weight_pa:g} pA at {high / 2:g} Hz"
            )
    tried = {hz: rate(hz) for hz in (high / 2, high)}
    low = high / 2
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        tried[middle] = rate(middle)
        low, high = (low, middle) if tried[middle] >= target_hz else (middle, high)
    best = min(tried, key=lambda hz: abs(tried[hz] - target_hz))
    if abs(tried[best] - target_hz) > _NEAR * target_hz:
        raise ConnectomeError(
            "coupling", f"must allow a background at which excitatory neurons fire at {target_hz:g} Hz",
            f"a jump from {tried[low]:.3g} to {tried[high]:.3g} Hz at {low:.4g} Hz of it",
            "The network is beyond the edge of its stability: take a lower coupling, or a higher g.",
        )  # fmt: skip
    return best, tried[best]


def resting_state(
    network: Connectome, stimulus: Stimulus, duration_s: float, *, skip_s: float = 30.0, tr_s: float = 2.0,
    bin_ms: float = 20.0, balloon: Balloon = FRISTON_2003, seed: int = 0, threads: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> xr.Dataset:  # fmt: skip
    """A run of this length, and what a scanner would measure.

    ``bold`` (time_s, node): the BOLD signal that results from the synaptic gating by excitatory neurons
    (:func:`~connectome.analysis.bold.synaptic_gating`), every ``tr_s`` after the first ``skip_s``; ``fc`` (node,
    other): its correlations; ``rate_hz`` (node): mean rate after ``skip_s``. Raises :class:`ConnectomeError`.
    """
    if not 0 <= skip_s < duration_s:
        raise ConnectomeError("skip_s", f"must be >= 0 and less than the run's {duration_s:g} s", skip_s)
    rate = population_rates(network, stimulus, duration_s, bin_ms=bin_ms, seed=seed, threads=threads, progress=progress)
    seen = bold(synaptic_gating(rate), tr_s, skip_s=skip_s, balloon=balloon)
    return xr.Dataset(
        {
            "bold": seen,
            "fc": functional_connectivity(seen),
            "rate_hz": rate[rate.time_s > skip_s].mean("time_s", keep_attrs=True),
        },
        attrs={"duration_s": duration_s, "skip_s": skip_s, "tr_s": tr_s, "bin_ms": bin_ms, "seed": seed},
    )


def gather_runs(
    measured: xr.Dataset, nulls: Mapping[str, xr.Dataset], empirical: NDArray[np.float64] | None = None
) -> xr.Dataset:
    """Runs on the measured tracts beside runs on null ones, and how their functional connectivity agrees with the
    wiring and with measured functional connectivity.

    ``measured`` and each of ``nulls``, by kind of null: what :func:`resting_state` gives, along ``seed``, and
    ``structural`` (seed, node, other), the weights of the tracts. ``empirical`` (N, N): correlations, or Fisher's z of
    them.

    Gives ``fc`` (seed, node, other), ``rate_hz`` (seed, node), ``structural`` (node, other), ``mean_fc`` (node, other),
    the mean over seeds of Fisher's z as correlations; ``r`` and ``rank_r`` (seed, against), by Pearson and Spearman, of
    Fisher's z; ``mean_r``, ``mean_rank_r`` (against), of ``mean_fc``; ``structural_r``, ``structural_rank_r``, of the
    weights themselves with ``empirical``; ``between_seeds``, the mean agreement of two runs, which is low if they are
    too short; and of nulls, (null, run), ``null_r`` (.., against) and ``null_structural_r``. Raises
    :class:`ConnectomeError`.
    """
    structural = measured.structural.values[0]
    against = {"structural": structural}
    made: dict[str, Any] = {
        "fc": measured.fc, "rate_hz": measured.rate_hz, "structural": (("node", "other"), structural),
    }  # fmt: skip
    if empirical is not None:
        made["empirical"] = (("node", "other"), empirical)
        against = {"empirical": fisher_z(empirical), **against}
    z = np.stack([fisher_z(one) for one in measured.fc.values])
    mean = z.mean(0)
    made["mean_fc"] = (("node", "other"), np.where(np.eye(len(mean), dtype=bool), 1.0, np.tanh(mean)))
    for ranks, name in ((False, "r"), (True, "rank_r")):
        made[name] = (("seed", "against"), [[agreement(one, m, ranks=ranks) for m in against.values()] for one in z])
        made[f"mean_{name}"] = ("against", [agreement(mean, m, ranks=ranks) for m in against.values()])
        if empirical is not None:
            made[f"structural_{name}"] = agreement(structural, against["empirical"], ranks=ranks)
    made["between_seeds"] = mean_of([agreement(one, other) for one, other in combinations(z, 2)]).mean
    if nulls:
        most = max(one.sizes["seed"] for one in nulls.values())
        null_r = np.full((len(nulls), most, len(against)), np.nan)
        of_wiring = np.full((len(nulls), most), np.nan)
        for row, runs in enumerate(nulls.values()):
            for run_, (fc, wiring) in enumerate(zip(runs.fc.values, runs.structural.values, strict=True)):
                own = {**against, "structural": wiring}  # each against what it ran on
                null_r[row, run_] = [agreement(fisher_z(fc), m) for m in own.values()]
                if empirical is not None:
                    of_wiring[row, run_] = agreement(wiring, against["empirical"])
        made["null_r"], made["null_structural_r"] = (("null", "run", "against"), null_r), (("null", "run"), of_wiring)
    return xr.Dataset(made, {"against": list(against), **({"null": list(nulls)} if nulls else {})})


def agreement_table(results: xr.Dataset) -> pandas.DataFrame:
    """The result of :func:`gather_runs` as a table: a row for each agreement and each kind of null, with a 95 %
    interval over seeds if there are several, and the one-sided p against the nulls."""
    import pandas

    kinds = [str(k) for k in results.null.values] if "null" in results.dims else [""]
    rows = []
    for against in map(str, results.against.values):
        for kind in kinds:
            here = results.sel(against=against)
            own = here.null_r.sel(null=kind).values if kind else np.zeros(0)
            one = beside(here.r, own[np.isfinite(own)])
            n = one.measured.n
            rows.append(_row("FC of a run", against, one, float(here.rank_r.mean()), kind))
            if against != "empirical":
                continue
            wiring = results.null_structural_r.sel(null=kind).values if kind else np.zeros(0)
            alone = beside(results.structural_r, wiring[np.isfinite(wiring)])
            rows.append(_row("weights of tracts", against, alone, float(results.structural_rank_r), kind))
        whole = beside(results.mean_r.sel(against=against), [])
        rows.append(_row(f"mean FC of {n}", against, whole, float(results.mean_rank_r.sel(against=against)), ""))
    return pandas.DataFrame(rows)


def _row(what: str, against: str, beside_nulls: BesideNulls, rank_r: float, null: str) -> dict[str, Any]:
    of, nulls, sd, p = beside_nulls
    return {
        "what": what, "against": against, "r": of.mean, "r_low": of.mean - of.half, "r_high": of.mean + of.half,
        "runs": of.n, "rank_r": rank_r, "null": null, "nulls": nulls.n, "null_r": nulls.mean, "null_sd": sd, "p": p,
    }  # fmt: skip
