"""What the trial of structural plasticity runs: ours, comparators that know what ours grew, and NEST."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from connectome.circuits import structural_plasticity as circuit
from connectome.graph.connectome import Connectome, Edit
from connectome.graph.parts import EdgeKey, EdgeSet
from connectome.simulate import StructuralPlasticity, run, run_structural
from connectome.simulate.structural import remembering
from connectome.wiring.distance_rule import distance_um

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from connectome.simulate.run_state import RunState

__all__ = ["SECONDS", "grown", "measured", "nest_example", "nest_python"]

#: Time to settle in; the last part, over which all is measured; time with a weaker drive. Seconds.
SECONDS: Final = 200
_LATE_S: Final = 50
_WEAK_S: Final = 100
_WEAKER: Final = 0.95
_NEST_SEEDS: Final = 3  # of five: it takes most of the time
#: Calcium of a neuron that fires at 1 Hz.
_PER_HZ: Final = 0.001 * 10.0
_SETS: Final = tuple(
    EdgeKey(a, "local" if a == b else "long_range", b) for a, b in ("ee", "ei", "ie", "ii")
)  # fmt: skip


def _size(quick: bool) -> tuple[int, int]:
    return (60, 15) if quick else (800, 200)


def _rule(condition: str) -> StructuralPlasticity:
    interval_ms = 10_000.0 if condition == "an update in 10 s" else 1000.0
    return circuit.homeostasis(interval_ms=interval_ms, length_um=150.0 if condition == "distance kernel" else None)


@cache
def grown(condition: str, seed: int, quick: bool) -> Any:
    """What is left after the time to settle in, the calcium of each neuron by its rate, and CPU seconds a second."""
    network = circuit.growing_network(*_size(quick), seed=seed)
    run(network, 10.0, circuit.background(), threads=1)  # compiled before it is timed
    began = time.process_time()
    found = run_structural(network, SECONDS * 1000.0, _rule(condition), circuit.background(), seed=seed, threads=1)
    cpu_s = (time.process_time() - began) / SECONDS
    spikes, late = found.result, found.result.spike_time_ms.values > (SECONDS - _LATE_S) * 1000
    calcium = _by_rate(spikes.spike_region.values[late], spikes.spike_neuron.values[late], quick, _LATE_S)
    return found._replace(result=spikes.drop_dims("spike")), calcium, cpu_s


def _by_rate(region: NDArray[Any], neuron: NDArray[Any], quick: bool, seconds: float) -> NDArray[np.float64]:
    e, i = _size(quick)
    counts: NDArray[np.int64] = np.bincount(neuron + region * e, minlength=e + i)
    return np.asarray(counts * (_PER_HZ / seconds), np.float64)


def _off(calcium: NDArray[np.float64], quick: bool) -> dict[str, float]:
    """How far neurons are from their set points, as a share of these; and both populations' means."""
    e, i = _size(quick)
    share = calcium / np.repeat([circuit.SET_POINT["e"], circuit.SET_POINT["i"]], [e, i])
    return {"off": float(np.abs(share - 1).mean()), "e": float(share[:e].mean()), "i": float(share[e:].mean())}


def _random(connectome: Connectome, counts: Mapping[EdgeKey, tuple[int, int]], rng: np.random.Generator) -> Connectome:
    """So many edges of each set removed and formed, whichever."""
    remove, add, synapse = {}, [], dict(zip("ei", _rule("").synapses, strict=True))
    for key, (removed, formed) in counts.items():
        a, b = (connectome.regions[name].size for name in (key.source, key.target))
        if removed:
            remove[key] = rng.permutation(len(connectome.edges[key])) < removed
        if formed:
            add.append(
                EdgeSet.from_arrays(
                    key, rng.integers(0, a, formed), rng.integers(0, b, formed), synapse[key.source].weight_pa,
                    n_source=a, n_target=b, dt_ms=connectome.dt_ms, delay_ms=synapse[key.source].delay_ms,
                )
            )  # fmt: skip
    return connectome.apply(Edit(remove=remove, add=tuple(add)))


def _fixed(condition: str, seed: int, quick: bool) -> tuple[Connectome, RunState, NDArray[np.float64], float]:
    """The same for comparators, which know how many edges ours had when."""
    network, rng = circuit.growing_network(*_size(quick), seed=seed), np.random.default_rng(seed)
    ours = None if condition == "no edges" else grown("homeostasis", seed, quick)[0].result
    named = [] if ours is None else [ours.sel(edge_set=":".join(k)) for k in _SETS]
    state, neurons, regions = None, [], []
    if condition == "static":
        network = _random(network, {k: (0, int(of.synapses[-1])) for k, of in zip(_SETS, named, strict=True)}, rng)
    run(network, 10.0, circuit.background(), threads=1)
    began = time.process_time()
    chunks = SECONDS if condition == "random rewiring" else SECONDS // _LATE_S
    for k in range(chunks):
        part, state = run(
            network,
            1000.0 * SECONDS / chunks,
            circuit.background(),
            seed=seed,
            threads=1,
            state=state,
            return_state=True,
        )
        state = remembering(state, part, round(1000 * SECONDS / chunks / network.dt_ms), 20)
        if condition == "random rewiring":
            counts = {key: (int(of.removed[k]), int(of.formed[k])) for key, of in zip(_SETS, named, strict=True)}
            network = _random(network, counts, rng)
        if k >= chunks * (SECONDS - _LATE_S) / SECONDS:
            regions.append(part.spike_region.values)
            neurons.append(part.spike_neuron.values)
    assert state is not None
    cpu_s = (time.process_time() - began) / SECONDS
    return network, state, _by_rate(np.concatenate(regions), np.concatenate(neurons), quick, _LATE_S), cpu_s


def nest_python() -> str | None:
    """The interpreter that has NEST, if there is one: the one that is named, or this one."""
    return os.environ.get("NEST_PYTHON") or (sys.executable if importlib.util.find_spec("nest") else None)


@cache
def nest_example(seed: int, quick: bool) -> dict[str, Any]:
    """What NEST's example gives; nothing where there is no NEST."""
    python, (e, i) = nest_python(), _size(quick)
    if python is None or seed >= (1 if quick else _NEST_SEEDS):
        return {}
    asked = {"e": e, "i": i, "seconds": SECONDS, "late_s": _LATE_S, "interval_ms": 1000.0, "seed": seed}
    script = Path(__file__).with_name("nest_structural.py")
    done = subprocess.run([python, str(script), json.dumps(asked)], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def measured(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    """Of one run of a condition."""
    if condition == "NEST":
        nest = nest_example(seed, quick)
        if not nest:
            return {}
        counts = {f"{name} synapses": np.array(nest[f"synapses_{name}"]) for name in "ei"}
        return _off(np.array(nest["late"]), quick) | _settled(counts) | {"cpu": nest["cpu_s"], "still": nest["still_s"]}
    if condition in ("static", "random rewiring", "no edges"):
        network, state, calcium, cpu_s = _fixed(condition, seed, quick)
        found = _off(calcium, quick) | {"cpu": cpu_s}
        weak = run(
            network,
            _WEAK_S * 1000.0,
            circuit.background(_WEAKER * circuit.BACKGROUND_HZ),
            seed=seed,
            threads=1,
            state=state,
        )
    else:
        left, calcium, cpu_s = grown(condition, seed, quick)
        network, state = left.connectome, left.state
        counts = {
            f"{name} synapses": left.result.synapses.sel(
                edge_set=[":".join(k) for k in _SETS if k[0] == name]
            ).values.sum(1)
            for name in "ei"
        }
        found = _off(calcium, quick) | _settled(counts) | {"cpu": cpu_s}
        weak = run_structural(
            network, _WEAK_S * 1000.0, _rule(condition), circuit.background(_WEAKER * circuit.BACKGROUND_HZ), seed=seed,
            threads=1, state=state,
        ).result  # fmt: skip
    late = weak.spike_time_ms.values > _WEAK_S * 500
    after = _by_rate(weak.spike_region.values[late], weak.spike_neuron.values[late], quick, _WEAK_S / 2)
    found |= {f"{name}, weak drive": value for name, value in _off(after, quick).items()}
    if network.n_edges:
        found["length"] = float(np.concatenate([_lengths(network, e) for e in network.edges.values()]).mean())
    return found


def _lengths(network: Connectome, edges: EdgeSet) -> NDArray[np.float64]:
    a, b = (network.regions[name] for name in (edges.key.source, edges.key.target))
    return distance_um(a, b, edges.source, edges.target)


def _settled(counts: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """Mean numbers over the last part, and by how much they change in it, half against half."""
    late = {name: of[len(of) - round(len(of) * _LATE_S / SECONDS) :] for name, of in counts.items()}
    drift = [abs(np.mean(of[len(of) // 2 :]) / np.mean(of[: len(of) // 2]) - 1) for of in late.values()]
    return {name: float(of.mean()) for name, of in late.items()} | {"drift": float(max(drift))}
