"""Every preset of ``connectome/circuits``: kept in a file, read by the field's own reader and as any other circuit,
the same on both engines."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pytest

from connectome import Connectome, circuits, load, run, save
from connectome.circuits import (
    ca3_memory,
    cognitive_graph,
    colour_cubes,
    gain_control,
    liquid,
    ncap,
    places,
    pspm,
    reservoir,
    rewriting,
    sparse_recordings,
    structural_plasticity,
    timescales,
    what_and_when,
)
from connectome.graph.flat import Engine
from connectome.io.circuits import read_circuit
from connectome.simulate import Stimulus
from tests.sonata_readers import check_libsonata


class Case(NamedTuple):
    make: Callable[[], Connectome]
    stimulus: Stimulus


def _regular(units: int, every_ms: float = 1.0) -> tuple[Any, Any]:
    """Spikes of each unit in turn, for as long as a run of a test lasts."""
    times = np.arange(1.0, LASTS_MS, every_ms)
    return times, np.arange(times.size) % units


LASTS_MS: Final = 100.0
GOAL: Final = (np.arange(2.0, LASTS_MS, 2.0), np.arange(49) % 32)
RNG: Final = np.random.default_rng(6)
#: "module.function" -> how the preset is made for a test, and what makes it fire. No two currents are alike, so that an
#: edge that went elsewhere would show.
CASES: Final = {
    "ca3_memory.ca3_memory": Case(
        lambda: ca3_memory.ca3_memory(3, 5), ca3_memory.stimulus([ca3_memory.Operation(0, 0, (0, 2))])
    ),
    "cognitive_graph.cognitive_graph": Case(
        lambda: cognitive_graph.cognitive_graph(RNG.uniform(0, 3, (12, 2)), 3.0),
        Stimulus(spikes={"goal": ([1.0], [11])}),
    ),
    "colour_cubes.cube_memory": Case(
        lambda: colour_cubes.cube_memory(30, 20, seed=6),
        Stimulus(spikes={"self": _regular(32, 0.5), "cubes": _regular(48, 0.5)}),
    ),
    "gain_control.orientation_ring": Case(
        lambda: gain_control.orientation_ring(12),
        Stimulus(current_pa={gain_control.REGION: gain_control.UNIT_PA * RNG.uniform(1, 3, 12)}),
    ),
    "liquid.liquid": Case(
        lambda: liquid.liquid(2, 20, strength_ns=5.0, seed=6), Stimulus(spikes={"input": _regular(40)})
    ),
    "ncap.swimming_circuit": Case(
        lambda: ncap.swimming_circuit(2),
        Stimulus(spikes={"proprioception": _regular(10), "oscillator": ([3.0, 9.0], [4, 13])}),
    ),
    "places.place_module": Case(
        lambda: places.place_module("a", 12, pixels=200, seed=6), Stimulus(spikes={places.VIEW: _regular(200, 0.1)})
    ),
    "pspm.network": Case(
        lambda: pspm.network(12, np.random.default_rng(6)),
        Stimulus(current_pa={pspm.REGION: RNG.uniform(300, 600, 12)}),
    ),
    "reservoir.reservoir": Case(
        lambda: reservoir.reservoir(30, 8, seed=6), Stimulus(current_pa={reservoir.REGION: RNG.uniform(-200, 200, 30)})
    ),
    "rewriting.two_halves": Case(
        lambda: rewriting.two_halves(30, seed=6), Stimulus(spikes={"cue": _regular(20), "go": _regular(10, 7.0)})
    ),
    "sparse_recordings.student": Case(
        lambda: sparse_recordings.student(12, np.random.default_rng(6)), Stimulus(spikes={"goal": GOAL})
    ),
    "sparse_recordings.teacher": Case(
        lambda: sparse_recordings.teacher(12, np.random.default_rng(6)), Stimulus(spikes={"goal": GOAL})
    ),
    "structural_plasticity.growing_network": Case(
        lambda: structural_plasticity.growing_network(12, 4, seed=6), structural_plasticity.background()
    ),
    "timescales.bit_memory": Case(
        lambda: timescales.bit_memory(30, 3, seed=6), Stimulus(spikes={"bit": _regular(20)})
    ),
    "what_and_when.reservoir": Case(
        lambda: what_and_when.reservoir(60, 12, seed=6), Stimulus(spikes={"cue": ([5.0, 10.0], [0, 0])})
    ),
}  # fmt: skip


def _presets() -> Iterator[str]:
    """Public functions that make a connectome of none."""
    for module in pkgutil.iter_modules(circuits.__path__):
        of = import_module(f"{circuits.__name__}.{module.name}")
        for name in of.__all__:
            function = getattr(of, name)
            makes = inspect.isfunction(function) and function.__annotations__.get("return") == "Connectome"
            given = " ".join(p.annotation for p in inspect.signature(function).parameters.values()) if makes else ""
            if makes and "Connectome" not in given:
                yield f"{module.name}.{name}"


def test_every_preset_has_a_case() -> None:
    assert sorted(_presets()) == sorted(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_preset_is_the_same_in_files_and_on_both_engines(name: str, tmp_path: Path) -> None:
    made, stimulus = CASES[name].make(), CASES[name].stimulus
    path = tmp_path / "preset.h5"
    save(made, path)
    check_libsonata(made, path)
    kept, circuit = load(path), read_circuit(path.with_suffix(".sonata"), dt_ms=made.dt_ms)
    assert kept.digest() == made.digest()
    circuit = Connectome.of([circuit.regions[n] for n in made.regions], circuit.edges.values(), dt_ms=made.dt_ms)
    effectors = {n: np.arange(r.size) for n, r in made.regions.items() if r.role == "effector"}
    engines: tuple[Engine, ...] = ("numba", "numba", "torch", "numba")
    one, *others = (
        run(network, LASTS_MS, stimulus, engine=engine, dtype="float64", record_v=effectors, seed=4)
        for network, engine in zip((made, kept, kept, circuit), engines, strict=True)
    )
    assert one.n_spikes.values[[r.role == "neuron" for r in made.regions.values()]].sum() > 3
    for other in others:
        for what in ("spike_time_ms", "spike_region", "spike_neuron"):
            np.testing.assert_array_equal(one[what], other[what])
        if effectors:
            np.testing.assert_allclose(one.v_mv, other.v_mv, atol=1e-9)
