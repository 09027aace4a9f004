"""Runs that go on: two of 50 ms are one of 100 ms, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome import Connectome, ConnectomeError, EdgeSet, NeuronParameters, Region
from connectome.graph.flat import Engine
from connectome.neurons import NeuronModel
from connectome.simulate import Clamp, RunState, Stimulus, run
from tests.test_neurons import MODELS, network, unlike
from tests.test_simulate import driven


@pytest.fixture(scope="module", params=["numba", "torch"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return cast(Engine, request.param)


def in_parts(
    connectome: Connectome, cuts: list[int], stimulus: Stimulus, engines: list[Engine], **options: Any
) -> list[xr.Dataset]:
    """Runs from each cut to the next."""
    state: RunState | None = None
    parts, dt = [], connectome.dt_ms
    for first, last, engine in zip(cuts[:-1], cuts[1:], engines, strict=True):
        part, state = run(
            connectome, (last - first) * dt, stimulus.part(first, last, cuts[-1], dt), engine=engine, state=state,
            return_state=True, **options,
        )  # fmt: skip
        assert state.step == last
        parts.append(part)
    return parts


def assert_one(whole: xr.Dataset, parts: list[xr.Dataset], cuts: list[int]) -> None:
    dt = whole.attrs["dt_ms"]
    steps = [np.rint(p.spike_time_ms.values / dt) + c for p, c in zip(parts, cuts, strict=False)]
    np.testing.assert_array_equal(np.concatenate(steps), np.rint(whole.spike_time_ms.values / dt))
    for name in ("spike_region", "spike_neuron"):
        np.testing.assert_array_equal(np.concatenate([p[name].values for p in parts]), whole[name].values)
    assert sum(p.attrs["synaptic_operations"] for p in parts) == whole.attrs["synaptic_operations"]
    if "v_mv" in whole:
        np.testing.assert_array_equal(np.concatenate([p.v_mv.values for p in parts]), whole.v_mv.values)


@pytest.mark.parametrize(("engine", "threads"), [("numba", 1), ("numba", 3), ("torch", 1)])
@pytest.mark.parametrize("per_neuron", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_two_halves_are_the_whole(model: type[NeuronModel], per_neuron: bool, threads: int, engine: Engine) -> None:
    connectome, stimulus = network(unlike(model, 40) if per_neuron else model())
    options: dict[str, Any] = {"seed": 5, "record_v": {"a": "all", "b": "all"}, "threads": threads}
    whole = run(connectome, 50.0, stimulus, engine=engine, **options)
    parts = in_parts(connectome, [0, 253, 500], stimulus, [engine] * 2, **options)
    assert_one(whole, parts, [0, 253])
    assert parts[1].attrs["start_ms"] == pytest.approx(25.3)


@settings(max_examples=30)
@given(driven(), st.data())
def test_any_network_in_any_parts(case: Any, data: st.DataObject) -> None:
    connectome, stimulus, n_steps, seed = case
    inner = data.draw(st.sets(st.integers(1, n_steps - 1), max_size=3)) if n_steps > 1 else set()
    cuts = [0, *sorted(inner), n_steps]
    record = {r.name: "all" for r in connectome.regions.values() if r.role != "sensor"}
    for engine in ("numba", "torch"):
        whole = run(connectome, n_steps * connectome.dt_ms, stimulus, engine=engine, seed=seed, record_v=record)
        parts = in_parts(connectome, cuts, stimulus, [engine] * (len(cuts) - 1), seed=seed, record_v=record)
        assert_one(whole, parts, cuts)


@pytest.mark.parametrize("model", MODELS)
def test_one_engine_goes_on_from_the_other(model: type[NeuronModel]) -> None:
    connectome, stimulus = network(unlike(model, 40))
    whole = run(connectome, 50.0, stimulus, dtype="float64")
    parts = in_parts(connectome, [0, 200, 350, 500], stimulus, ["numba", "torch", "numba"], dtype="float64")
    assert_one(whole, parts, [0, 200, 350])


def test_long_refractory_times_go_on(engine: Engine) -> None:
    """Over several cuts, and for neurons that a clamp has made to fire again."""
    neuron = NeuronParameters(t_ref_ms=20.0, i_e_pa=800.0, v_reset_mv=-66.0)
    connectome = Connectome.of([Region("a", 4, neuron=neuron)])
    whole = run(connectome, 100.0, engine=engine, record_v={"a": "all"})
    parts = in_parts(connectome, [0, 60, 70, 71, 180, 260, 1000], Stimulus(), [engine] * 6, record_v={"a": "all"})
    assert_one(whole, parts, [0, 60, 70, 71, 180, 260])
    clamp = {"a": Clamp([1], ([5.0, 12.0], [1, 1]))}
    told, state = run(connectome, 15.0, engine=engine, clamp=clamp, return_state=True)
    after = run(connectome, 30.0, engine=engine, state=state, record_v={"a": "all"})
    assert told.n_spikes.values[0] == 5
    np.testing.assert_array_equal(after.v_mv.values[:170, 1], np.float32(-66.0))
    assert after.v_mv.values[170, 1] > -66.0


def test_spikes_on_their_way_arrive_over_the_edges_of_now(engine: Engine) -> None:
    edge = EdgeSet.from_arrays(("a", "long_range", "b"), [0], [0], 1e5, n_source=1, n_target=1, dt_ms=0.1, delay_ms=5.0)
    connectome = Connectome.of([Region("a", 1), Region("b", 1)], [edge])
    _, state = run(connectome, 3.0, engine=engine, clamp={"a": Clamp(spikes=([2.0], [0]))}, return_state=True)
    found = run(connectome, 6.0, engine=engine, state=state)
    np.testing.assert_allclose(found.spike_time_ms.values[0], 4.1)
    cut_off = replace(connectome, edges={edge.key: edge.take(np.array([False]))})
    assert not run(cut_off, 6.0, engine=engine, state=state).spike_neuron.size


def test_states_that_do_not_fit(engine: Engine) -> None:
    connectome, _ = network(NeuronParameters())
    _, state = run(connectome, 1.0, engine=engine, return_state=True)
    other, _ = network(NeuronParameters(), 41)
    longer = Connectome.of(
        connectome.regions.values(),
        [EdgeSet.from_arrays(("a", "local", "a"), [0], [0], 1.0, n_source=40, n_target=40, dt_ms=0.1, delay_ms=50.0)],
    )
    alif, _ = network(MODELS[2]())
    for field, wrong in (
        ("state.size", lambda: run(other, 1.0, engine=engine, state=state)),
        ("state.models", lambda: run(alif, 1.0, engine=engine, state=state)),
        ("state.dtype", lambda: run(connectome, 1.0, engine=engine, state=state, dtype="float64")),
        ("state", lambda: run(longer, 1.0, engine=engine, state=state)),
        ("state", lambda: run(connectome, 1.0, engine=engine, state={})),  # type: ignore[call-overload]
        ("initial_v_mv", lambda: run(connectome, 1.0, engine=engine, state=state, initial_v_mv={"a": -60.0})),
        ("state.size", lambda: run(connectome, 1.0, engine=engine, state=state, recruit=["a", "eye"])),
    ):
        with pytest.raises(ConnectomeError) as caught:
            wrong()
        assert caught.value.field == field
    assert "at 1 ms; eye[10], a[40], b[20]" in repr(state)
