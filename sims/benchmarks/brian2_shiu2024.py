"""The model of Shiu et al. (2024) in Brian 2, from its own two files: a process in Brian's interpreter.

``python brian2_shiu2024.py '{"folder": ..., "duration_ms": 1000, "cells": [...], "rate_hz": 150}'`` reads, builds and
runs the network, and prints one line of JSON: seconds of each phase, and the number of spikes. For each line that it is
given it then simulates once more, and prints the seconds of that. ``kicks`` instead of ``rate_hz``: a file of NumPy's,
(2, M) step and cell, of events that make a cell fire, in place of random ones. ``spikes``: where to write (2, M) step
and neuron. ``standalone`` false: without C++, and slower, for a small network.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

__all__ = ["main"]

_DT_MS = 0.1
_EQUATIONS = """dv/dt = (v_0 - v + g) / tau_m : volt (unless refractory)
                dg/dt = -g / tau_g : volt (unless refractory)
                pause : second"""


def _network(b: Any, asked: dict[str, Any], files: tuple[int, Any, Any, Any]) -> tuple[Any, Any]:
    import numpy as np

    mv, ms = b.mV, b.ms
    names = {"v_0": -52 * mv, "v_r": -52 * mv, "v_th": -45 * mv, "tau_m": 20 * ms, "tau_g": 5 * ms, "kick": 68.75 * mv}
    n, source, target, weight = files
    neurons = b.NeuronGroup(
        n, _EQUATIONS, threshold="v > v_th", reset="v = v_r; g = 0*mV", refractory="pause", method="linear",
        namespace=names,
    )  # fmt: skip
    pause = np.full(n, 2.2)
    pause[asked["cells"]] = 0.0
    neurons.v, neurons.g, neurons.pause = names["v_0"], 0 * mv, pause * ms
    edges = b.Synapses(neurons, neurons, "w : volt", on_pre="g += w", delay=1.8 * ms)
    edges.connect(i=source, j=target)
    edges.w = weight * 0.275 * mv
    monitor = b.SpikeMonitor(neurons)
    parts = [neurons, edges, monitor]
    if "kicks" in asked:
        step, cell = np.load(asked["kicks"])
        drive = b.SpikeGeneratorGroup(n, cell, step * _DT_MS * ms)
        kicks = b.Synapses(drive, neurons, on_pre="v_post += kick", namespace=names)
        kicks.connect(i=np.unique(cell), j=np.unique(cell))
        parts += [drive, kicks]
    else:
        for cell in asked["cells"]:
            parts.append(b.PoissonInput(neurons[cell : cell + 1], "v", 1, asked["rate_hz"] * b.Hz, names["kick"]))
    return b.Network(*parts), monitor


def _read(folder: Path) -> tuple[int, Any, Any, Any]:
    import pandas as pd

    n = len(pd.read_csv(folder / "Completeness_783.csv", index_col=0))
    columns = ["Presynaptic_Index", "Postsynaptic_Index", "Excitatory x Connectivity"]
    table = pd.read_parquet(folder / "Connectivity_783.parquet", columns=columns)
    source, target, weight = (table[name].to_numpy() for name in columns)
    return n, source, target, weight


def main(argument: str) -> None:
    """Do what was asked."""
    asked = json.loads(argument)
    marks = [_cpu_s()]
    import numpy as np

    b: Any = import_module("brian2")
    standalone = asked.get("standalone", True)
    if standalone:
        b.prefs.devices.cpp_standalone.openmp_threads = 0
        b.set_device("cpp_standalone", build_on_run=False)
    else:
        b.prefs.codegen.target = "numpy"
    b.defaultclock.dt = _DT_MS * b.ms
    b.seed(1)
    marks.append(_cpu_s())
    files = _read(Path(asked["folder"]))
    marks.append(_cpu_s())
    network, monitor = _network(b, asked, files)
    said: dict[str, Any] = {}
    if standalone:
        b.device.insert_code("before_network_run", "const std::clock_t began = std::clock();")
        b.device.insert_code(
            "after_network_run",
            'std::ofstream("cpu_s.txt") << double(std::clock() - began) / CLOCKS_PER_SEC << std::endl;',
        )
    network.run(asked["duration_ms"] * b.ms)
    if standalone:
        marks.append(_cpu_s())
        b.device.build(directory="brian2", compile=True, run=False)
        marks.append(_cpu_s())
        b.device.run("brian2", with_output=False, run_args=[])
        said |= _last_run()
    marks.append(_cpu_s())
    phases = ("import_s", "read_s", "build_s", "compile_s", "run_s") if standalone else ("import_s", "read_s", "run_s")
    said |= {name: after - before for name, before, after in zip(phases, marks, marks[1:], strict=False)}
    if "spikes" in asked:
        np.save(asked["spikes"], np.array([np.rint(np.asarray(monitor.t) / (_DT_MS / 1000)), np.asarray(monitor.i)]))
    said |= {"spikes": int(np.asarray(monitor.i).size), "version": f"Brian {b.__version__}"}
    said["first_result_s"] = _cpu_s()
    print(json.dumps(said), flush=True)
    for _ in sys.stdin if standalone else ():
        subprocess.run(["./main"], cwd="brian2", capture_output=True, check=True)
        print(json.dumps(_last_run()), flush=True)


def _cpu_s() -> float:
    """Seconds of this process and of those that it waited for, compilers among them."""
    return sum(os.times()[:4])


def _last_run() -> dict[str, float]:
    """Seconds of the simulation alone."""
    return {
        "simulate_cpu_s": float(Path("brian2/cpu_s.txt").read_text()),
        "simulate_wall_s": float(Path("brian2/results/last_run_info.txt").read_text().split()[0]),
    }


if __name__ == "__main__":
    main(sys.argv[1])
