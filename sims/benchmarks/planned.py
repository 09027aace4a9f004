"""What ``sims.plan`` foretells beside what a run took: memory at the peak, and CPU seconds of one core."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from connectome import run
from connectome.io.snapshot import load, save
from connectome.models import brunel, cuba, potjans_diesmann
from connectome.simulate.costs import of_run
from connectome.simulate.stimulus import Stimulus
from sims.benchmarks.bench import Bench, Table, peak_gb
from sims.plan import size_of

__all__ = ["planned"]

_ROUNDS = 3


def planned(bench: Bench) -> Iterator[Table]:
    """Three networks; the constants are measured first, in the same minutes."""
    from sims.benchmarks.constants import measure  # brings torch, which the process of a run is to do without

    constants = measure(bench.say)
    networks: dict[str, Any] = {
        "cuba, 4,000 neurons": partial(cuba, 4000), "brunel, 12,500": partial(brunel, 12_500),
        "microcircuit at 0.15": partial(potjans_diesmann, 0.15),
    }  # fmt: skip
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, make in list(networks.items())[: 1 if bench.quick else None]:
            bench.say(name)
            model = make()
            file = Path(folder) / "net.h5"
            save(model.connectome, file, overwrite=True)
            with multiprocessing.get_context("spawn").Pool(1) as pool:  # whose memory is the run's alone
                cpu, peak, spikes_s = pool.apply(_trial, (file, model.stimulus, model.initial_v_mv))
            size = size_of(Namespace(network=str(file), neurons=None, edges=None, rate_hz=0.0, poisson=False, delays=1))
            driven = sum(model.connectome.regions[r].size for r in model.stimulus.poisson)
            told = of_run(replace(size, spikes_s=spikes_s, driven=driven), constants)
            rows.append({
                "network": name, "edges": model.connectome.n_edges, "CPU s": cpu, "foretold": told.seconds,
                "told / took": told.seconds / cpu, "peak GB": peak, "told GB": told.memory_bytes / 1e9,
                "told / took, GB": told.memory_bytes / 1e9 / peak,
            })  # fmt: skip
    yield Table(
        "what sims.plan foretells",
        "CPU seconds of one core for a second of model time, without what a run takes to begin; least of three. The "
        "rate is the one that the run had. Constants: "
        + ", ".join(f"{k} {v:.3g}" for k, v in asdict(constants).items() if k.endswith("ns")), rows,
    )  # fmt: skip


def _trial(file: Path, stimulus: Stimulus, v_mv: Any) -> tuple[float, float, float]:
    """CPU seconds a second of model time, GB at the peak, spikes a second."""
    connectome = load(file)

    def cpu(duration_ms: float) -> tuple[float, int]:
        began = time.process_time()
        found = run(connectome, duration_ms, stimulus, initial_v_mv=v_mv, threads=1)
        return time.process_time() - began, int(found.attrs["n_spikes"])

    cpu(10.0)
    taken, spikes = [], 0
    for _ in range(_ROUNDS):
        (short, few), (long, many) = cpu(100.0), cpu(600.0)
        taken.append((long - short) / 0.5)
        spikes = many - few
    return min(taken), peak_gb(), spikes / 0.5
