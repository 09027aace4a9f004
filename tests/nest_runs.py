"""Whether NEST, given a folder of links to a snapshot, fires the spikes that ``run`` does in float64, every one.

    python -m tests.nest_runs [random microcircuit runs/seed0/03_interaction.h5 ...]

``random``: 100,000 neurons and 20 million edges, chaotic; ``microcircuit``: Potjans & Diesmann's at a tenth, with its
Poisson drive from sensors. A snapshot gets 60 Hz at its sensors and 100 pA. By ``run.py``, by bmtk and, where
``NEST_MPI_PYTHON`` names an interpreter whose NEST has MPI and HDF5, by two ranks and by ``nest.SonataNetwork``.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from connectome import Connectome, EdgeSet, Region
from connectome.io.nest_folder import write_folder
from connectome.io.snapshot import load, save
from connectome.io.spikes import load_spikes
from connectome.models import Model, potjans_diesmann, random_network
from connectome.simulate import Poisson, Stimulus, run

__all__ = ["WAYS", "main", "spikes_of", "there", "with_sensors"]

_BMTK = """from bmtk.simulator import pointnet
config = pointnet.Config.from_json("config.json")
config.build_env()
network = pointnet.PointNetwork.from_config(config)
pointnet.PointSimulator.from_config(config, network).run()
"""
_SONATA = """import h5py, nest, numpy
network = nest.SonataNetwork("config.json")
recorder = nest.Create("spike_recorder")
nodes = {k: v for k, v in network.BuildNetwork().items()}
neurons = {k: v for k, v in nodes.items() if v[0].model != "spike_train_injector"}
for v in neurons.values():
    nest.Connect(v, recorder)
network.Simulate()
e = recorder.events
with h5py.File("sonata.h5", "w") as file:
    for k, v in neurons.items():
        n = e["senders"] - v[0].global_id
        mine = (n >= 0) & (n < len(v))
        file[f"spikes/{k}/timestamps"] = e["times"][mine]
        file[f"spikes/{k}/node_ids"] = n[mine].astype("u8")
"""
#: What runs a folder: arguments, and the file of its spikes.
WAYS: Mapping[str, tuple[Sequence[str], str]] = {
    "run.py": (["{nest}", "run.py", "--out", "spikes.h5"], "spikes.h5"),
    "PointNet": (["{bmtk}", "-c", _BMTK], "output/spikes.h5"),
    "two ranks": (
        ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2", "{mpi}", "run.py", "--out", "ranks.h5"],
        "ranks.h5",
    ),
    "SonataNetwork": (["{mpi}", "-c", _SONATA], "sonata.h5"),
}


def there(folder: Path, way: str, *arguments: str) -> Any:
    """The spikes of a folder, run in one of the ways: by the interpreters that NEST_PYTHON, BMTK_PYTHON and
    NEST_MPI_PYTHON name, this one if they do not."""
    pythons = {name: os.environ.get(f"{variable}_PYTHON", sys.executable)
               for name, variable in (("nest", "NEST"), ("bmtk", "BMTK"), ("mpi", "NEST_MPI"))}  # fmt: skip
    command, out = WAYS[way]
    done = subprocess.run(
        [part.format(**pythons) if part.startswith("{") else part for part in command] + list(arguments), cwd=folder,
        capture_output=True, text=True, env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{way}: {done.stderr[-2000:]}")
    return load_spikes(folder / out)


def spikes_of(found: Any, duration_ms: float, dt_ms: float, without: Sequence[str] = ()) -> list[tuple[str, int, int]]:
    """(region, step, neuron) in order, up to the end of the run."""
    step = np.rint(found.spike_time_ms.values / dt_ms).astype(int)
    names = found.region.values[found.spike_region.values]
    kept = (step <= round(duration_ms / dt_ms)) & ~np.isin(names, list(without))
    return sorted(zip(names[kept].tolist(), step[kept].tolist(), found.spike_neuron.values[kept].tolist(), strict=True))


def with_sensors(model: Model) -> tuple[Connectome, Stimulus]:
    """The network with a sensor for each driven neuron in place of its Poisson drive: what sensors fire is the same
    in NEST, what its own generators draw is not."""
    regions, edges = list(model.connectome.regions.values()), list(model.connectome.edges.values())
    rates = {}
    for name, drive in model.stimulus.poisson.items():
        n, weight = model.connectome.regions[name].size, np.asarray(drive.weight_pa, np.float64)
        regions.append(Region(f"to_{name}", n, "sensor"))
        edges.append(EdgeSet.from_arrays(
            (f"to_{name}", "afferent", name), np.arange(n), np.arange(n), weight, n_source=n, n_target=n,
            dt_ms=model.connectome.dt_ms,
        ))  # fmt: skip
        rates[f"to_{name}"] = Poisson(drive.rate_hz)
    connectome = Connectome.of(regions, edges, dt_ms=model.connectome.dt_ms)
    return connectome, Stimulus(model.stimulus.spikes, model.stimulus.current_pa, rates)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script; 0 if all spikes are equal."""
    parser = argparse.ArgumentParser(prog="python -m tests.nest_runs", description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="*", default=["random", "microcircuit"], metavar="NETWORK")
    parser.add_argument("--duration-ms", type=float, default=200.0, metavar="MS", help="default: 200")
    parser.add_argument("--neurons", type=int, default=100_000, metavar="N", help="of random (default: 100,000)")
    options = parser.parse_args(argv)
    wrong = 0
    for name in options.networks:
        v_mv: Mapping[str, Any] = {}
        with tempfile.TemporaryDirectory() as place:
            file, folder = Path(place) / "net.h5", Path(place) / "net.nest"
            if name in ("random", "microcircuit"):
                model = random_network(options.neurons, 200) if name == "random" else potjans_diesmann(0.1)
                (connectome, stimulus), v_mv = with_sensors(model), model.initial_v_mv
                save(connectome, file)
            else:
                file, connectome = Path(name), load(name)
                roles = {n: r.role for n, r in connectome.regions.items()}
                stimulus = Stimulus(
                    poisson={n: Poisson(60.0) for n, role in roles.items() if role == "sensor"},
                    current_pa={n: 100.0 for n, role in roles.items() if role == "neuron"},
                )  # fmt: skip
            write_folder(file, folder, stimulus, duration_ms=options.duration_ms, initial_v_mv=v_mv)
            began = time.process_time()
            ours = run(connectome, options.duration_ms, stimulus, dtype="float64", initial_v_mv=v_mv, threads=1)
            cpu = time.process_time() - began
            sensors = [n for n, r in connectome.regions.items() if r.role == "sensor"]
            wanted = spikes_of(ours, options.duration_ms, connectome.dt_ms, sensors)
            n_edges, dt_ms = connectome.n_edges, connectome.dt_ms
            del connectome, ours
            sys.stdout.write(f"{name}: {n_edges:,} edges, {len(wanted):,} spikes, CPU {cpu:.1f} s\n")
            for way in WAYS:
                if "NEST_MPI_PYTHON" not in os.environ and "{mpi}" in WAYS[way][0]:
                    continue
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                found = spikes_of(there(folder, way), options.duration_ms, dt_ms, sensors)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                wrong += found != wanted
                same = "all equal" if found == wanted else "NOT EQUAL"
                cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
                sys.stdout.write(f"  {way}: {len(found):,} spikes, {same}; CPU {cpu:.0f} s with building it\n")
                sys.stdout.flush()
    return wrong


if __name__ == "__main__":
    sys.exit(main())
