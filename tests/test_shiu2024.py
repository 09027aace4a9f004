"""``shiu2024`` against the model of Shiu et al. in Brian 2: the same spikes, at the same times.

It runs where Brian 2 is: here (the extra ``simulators``), or in the Python that ``BRIAN2_PYTHON`` names, with pandas
and pyarrow. Everywhere, what Brian does in a step is written down here a second time, and that is what we are held to.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from connectome import Connectome, EdgeSet, Region
from connectome.experiment import animate, preset, stimulate
from connectome.simulate import Stimulus, run
from sims.benchmarks.fly import LARVA, Fly, fly_like, write_files

BRIAN2 = os.environ.get("BRIAN2_PYTHON", sys.executable if importlib.util.find_spec("brian2") else "")
SCRIPT = Path(__file__).parents[1] / "sims" / "benchmarks" / "brian2_shiu2024.py"
PRESET = preset("shiu2024")
Spikes = NDArray[np.int64]  # (2, M): step and neuron, in this order


def kicks(n: int, cells: int, steps: int, seed: int = 0) -> tuple[NDArray[np.int64], Spikes]:
    """Cells that are stimulated, and the steps, from 1 on, in which an event reaches each: 150 Hz."""
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(n, cells, replace=False))
    step, cell = np.nonzero(rng.random((steps - 1, cells)) < 0.015)
    return chosen, np.array([step + 1, cell])


def ours(
    fly: Fly, cells: NDArray[np.int64], events: Spikes, duration_ms: float, reset_mv: float = -52.0, **options: Any
) -> Spikes:
    """The events are those of a sensor, a cell of it to each of ``cells``, one step before."""
    n, m = fly.id.size, cells.size
    nt_type: Any = np.where(fly.sign < 0, "GABA", "ACH")
    brain = Region("brain", n, attributes={"nt_type": nt_type})
    edges = EdgeSet.from_arrays(
        ("brain", "local", "brain"), fly.source, fly.target, fly.synapses, n_source=n, n_target=n, dt_ms=0.1
    )
    neuron: Any = PRESET.neuron
    physiology = replace(PRESET, neuron=replace(neuron, v_reset_mv=reset_mv))
    network, _ = animate(Connectome.of([brain], [edges]), physiology)
    network, _ = stimulate(network, PRESET, {"brain": cells}, 150.0)
    kick = EdgeSet.from_arrays(
        ("eye", "afferent", "brain"), np.arange(m), cells, PRESET.stimulus_weight, n_source=m, n_target=n, dt_ms=0.1
    )
    network = network.grow([Region("eye", m, "sensor")], [kick])
    result = run(network, duration_ms, Stimulus({"eye": (events[0] * 0.1, events[1])}), **options)
    brains = result.spike_region.values == 0
    step = np.rint(result.spike_time_ms.values[brains] / 0.1).astype(np.int64) - 1
    return np.array([step, result.spike_neuron.values[brains]])


def written_down(fly: Fly, cells: NDArray[np.int64], events: Spikes, steps: int, reset_mv: float) -> Spikes:
    """Brian's step: state update, threshold, synapses, reset. What is "unless refractory" is not written to either."""
    n, delay = fly.id.size, 18
    matrix = np.zeros((n, n))
    matrix[fly.source, fly.target] = 0.275 * fly.synapses * fly.sign[fly.source]
    v, g, last, pause = np.full(n, -52.0), np.zeros(n), np.full(n, -1000), np.full(n, 22)
    pause[cells] = 0
    a, b = np.exp(-0.1 / 20), np.exp(-0.1 / 5)
    gain = (a - b) * 5 / (20 - 5)
    kick = np.zeros((steps, n))
    kick[events[0], cells[events[1]]] = 68.75
    fired = np.zeros((steps, n), bool)
    for k in range(steps):
        awake = k - last >= pause
        v = np.where(awake, -52 + a * (v + 52) + gain * g, v)
        g = np.where(awake, b * g, g)
        fires = awake & (v > -45)
        fired[k], last = fires, np.where(fires, k, last)
        arrived = fired[k - delay] @ matrix if k >= delay else 0.0
        open_ = awake & ~fires
        g, v = np.where(open_, g + arrived, g), np.where(open_, v + kick[k], v)
        v, g = np.where(fires, reset_mv, v), np.where(fires, 0.0, g)
    return np.array(np.nonzero(fired))


@pytest.mark.parametrize(("engine", "reset_mv"), [("numba", -52.0), ("numba", -57.0), ("torch", -57.0)])
def test_steps_are_those_that_are_written_down(engine: Any, reset_mv: float) -> None:
    fly = fly_like(300, 20_000)
    cells, events = kicks(300, 60, 2000)
    found = ours(fly, cells, events, 200.0, reset_mv, engine=engine, dtype="float64")
    wanted = written_down(fly, cells, events, 2000, reset_mv)
    assert np.unique(wanted[1]).size > 80, "more than those that are stimulated"
    assert np.diff(np.sort(wanted[0][wanted[1] == cells[0]])).min() < 22, "which do not rest"
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.skipif(not BRIAN2, reason="no brian2 here, and BRIAN2_PYTHON names no interpreter that has it")
@pytest.mark.parametrize("n_cells", [20, 300])
def test_spikes_are_brian2s(n_cells: int, tmp_path: Path) -> None:
    """1 s of a graph of the larva's size."""
    fly = fly_like(*LARVA)
    cells, events = kicks(LARVA[0], n_cells, 10_000)
    write_files(fly, tmp_path)
    np.save(tmp_path / "kicks.npy", np.array([events[0], cells[events[1]]]))
    asked = {
        "folder": str(tmp_path), "duration_ms": 1000, "cells": cells.tolist(), "kicks": str(tmp_path / "kicks.npy"),
        "spikes": str(tmp_path / "spikes.npy"), "standalone": False,
    }  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": ""}
    subprocess.run([BRIAN2, str(SCRIPT), json.dumps(asked)], check=True, cwd=tmp_path, env=environment)
    theirs = np.load(tmp_path / "spikes.npy").astype(np.int64)
    np.testing.assert_array_equal(
        ours(fly, cells, events, 1000.0, dtype="float64"), theirs[:, np.lexsort((theirs[1], theirs[0]))]
    )


def test_made_graphs_are_what_they_say() -> None:
    fly = fly_like(*LARVA)
    pairs = fly.source.astype(np.int64) * LARVA[0] + fly.target
    assert pairs.size == LARVA[1]
    assert (np.diff(pairs) > 0).all()
    assert (fly.source != fly.target).all()
    degree = np.bincount(fly.source, minlength=LARVA[0])
    assert degree.max() > 10 * degree.mean()
    assert (np.diff(fly.id) > 0).all()
    assert 0.6 < (fly.sign > 0).mean() < 0.73
    again = fly_like(*LARVA)
    for a, b in zip(fly, again, strict=True):
        np.testing.assert_array_equal(a, b)
