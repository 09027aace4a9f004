"""The cortical microcircuit of Potjans & Diesmann: at full scale, against what was published, and against NEST."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np

from sims.benchmarks.bench import Bench, Ours, Peer, PeerFailed, Spread, Table, forget_peak, peak_gb
from sims.benchmarks.models import Drive
from sims.benchmarks.peers import Network

if TYPE_CHECKING:
    from connectome.models import Model

__all__ = ["description", "microcircuit"]

_FULL_SYNAPSES: Final = 3e8
_NEST_BYTES: Final = 80  # a synapse, while NEST builds
_MEMORY: Final = 0.6  # of what is free, for NEST
_SKIP_MS: Final = 100.0
_DELAY_MS: Final = (1.5, 0.75)  # of excitatory and of inhibitory neurons


def microcircuit(bench: Bench) -> Iterator[Table]:
    """Cost and activity at full scale, with either drive; then, with less of it, ours and NEST in turns."""
    scale, duration_ms = (0.02, 200.0) if bench.quick else (1.0, 1000.0)
    for drive in get_args(Drive):
        yield from _alone(bench, scale, duration_ms, drive)
        gc.collect()
    if "nest" not in bench.peers:
        return
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    most = (_MEMORY * free / _NEST_BYTES / _FULL_SYNAPSES) ** 0.5
    yield _against_nest(bench, min(1.0, max(0.1, int(most * 10) / 10)), duration_ms)


def _alone(bench: Bench, scale: float, duration_ms: float, drive: Drive) -> Iterator[Table]:
    from connectome.models import potjans_diesmann

    bench.say(f"building at scale {scale:g}")
    forget_peak()
    began = time.perf_counter()
    model = potjans_diesmann(scale, drive=drive)
    build_s, build_gb = time.perf_counter() - began, peak_gb()
    forget_peak()
    bench.say(f"running at scale {scale:g}, drive {drive}")
    ours = Ours(model, duration_ms, bench, bench.threads)
    trials = [ours.trial() for _ in range(bench.repeats)]
    yield Table(
        f"scale {scale:g}, drive {drive}, {duration_ms:g} ms",
        "real_time_factor: wall seconds for a second; the first run merges edge sets, too. Memory at its peak.",
        [{
            "neurons": model.connectome.n_neurons, "synapses": model.connectome.n_edges, "threads": bench.threads,
            "build_s": build_s, "build_peak_gb": build_gb, "run_peak_gb": peak_gb(),
            "real_time_factor": Spread.of([t.wall_s / duration_ms * 1000 for t in trials]),
            "events": int(ours.last.attrs["synaptic_operations"]),
        }],
    )  # fmt: skip
    yield _activity(model, ours, duration_ms)


def _activity(model: Model, ours: Ours, duration_ms: float) -> Table:
    from connectome.analysis.activity import activity
    from connectome.models import POTJANS_DIESMANN_ACTIVITY

    found = activity(ours.last, model.connectome.regions, skip_ms=min(_SKIP_MS, duration_ms / 2))
    rate, cv, rows = found.neuron_rate_hz.values, found.neuron_cv_isi.values, []
    for name, (region, part) in model.populations.items():
        mine = np.flatnonzero(found.neuron_region.values == region)[part]
        published = POTJANS_DIESMANN_ACTIVITY[name]
        rows.append({
            "population": name, "rate_hz": float(rate[mine].mean()),
            "published_hz": ", ".join(f"{r:g}" for r in published.rate_hz),
            "cv": float(np.nanmean(cv[mine])) if np.isfinite(cv[mine]).any() else float("nan"),
            "published_cv": published.cv,
        })  # fmt: skip
    return Table(
        "Activity", "CV of the intervals of neurons with three spikes or more, in so short a run too low.", rows
    )


def _against_nest(bench: Bench, scale: float, duration_ms: float) -> Table:
    from connectome.models import potjans_diesmann

    bench.say(f"building at scale {scale:g}")
    model = potjans_diesmann(scale)
    network = Network("microcircuit", model.connectome.n_neurons, 0.0, "poisson", duration_ms, *description(model))
    ours_trials, trials, version, synapses, failed = [], [], "NEST", 0, ""
    with ExitStack() as stack:
        nest = Peer("nest", bench.peers["nest"], network, bench.core)
        stack.callback(nest.close)
        ours = Ours(model, duration_ms, bench)
        try:
            bench.say(f"NEST builds at scale {scale:g}")
            built = nest.built()
            version, synapses = built["version"], built["synapses"]
            for k in range(bench.repeats):
                bench.say(f"scale {scale:g}, round {k + 1} of {bench.repeats}: ours")
                ours_trials.append(ours.trial())
                bench.say(f"scale {scale:g}, round {k + 1} of {bench.repeats}: NEST")
                trials.append(nest.trial())
        except PeerFailed as error:
            failed = str(error)
    rows = []
    n, edges = model.connectome.n_neurons, model.connectome.n_edges
    for name, mine, number in (("ours", ours_trials, edges), (version, trials, synapses)):
        if trials:
            rows.append({
                "simulator": name, "seconds": Spread.of([t.cpu_s for t in mine]),
                "ratio": Spread.of([t.cpu_s / o.cpu_s for t, o in zip(mine, ours_trials, strict=False)]),
                "rate_hz": float(np.median([t.spikes for t in mine])) / n / duration_ms * 1000, "synapses": number,
            })  # fmt: skip
    return Table(
        f"scale {scale:g}, {duration_ms:g} ms, one thread each", f"The most that NEST has room for. {failed}", rows
    )


def description(model: Model) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Populations and projections in figures, from which NEST draws a network of the same statistics."""
    ends = {name: (region, part) for name, (region, part) in model.populations.items()}
    populations, projections = [], []
    for region, part in ends.values():
        drive, v = model.stimulus.poisson[region], model.initial_v_mv[region][part]
        current = model.stimulus.current_pa.get(region)
        populations.append({
            "n": part.stop - part.start, "rate_hz": float(np.asarray(drive.rate_hz)[part.start]),
            "weight_pa": float(np.max(np.asarray(drive.weight_pa))), "v_mean_mv": float(v.mean()),
            "v_sd_mv": float(v.std()), "current_pa": 0.0 if current is None else float(np.asarray(current)[part.start]),
        })  # fmt: skip
    for key, e in model.connectome.edges.items():
        for s, (region, part) in enumerate(ends.values()):
            if region != key.source:
                continue
            here = slice(int(e.indptr[part.start]), int(e.indptr[part.stop]))
            targets = [(t, p) for t, (r, p) in enumerate(ends.values()) if r == key.target]
            place = np.searchsorted([p.stop for _, p in targets], np.arange(e.n_target), side="right")[e.indices[here]]
            number = np.bincount(place, minlength=2)
            total = np.bincount(place, e.weight[here], minlength=2)
            for (t, _), count, weight in zip(targets, number.tolist(), total.tolist(), strict=True):
                if count:
                    projections.append({
                        "source": s, "target": t, "number": count, "weight_pa": weight / count,
                        "delay_ms": _DELAY_MS[0 if weight > 0 else 1],
                    })  # fmt: skip
    return populations, projections
