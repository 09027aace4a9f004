"""Clamps: neurons that are silent, fire when they are told to, or are held at a potential; on both engines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import xarray as xr

from connectome import Connectome, ConnectomeError, EdgeSet, NeuronParameters, Region
from connectome.graph.flat import Engine
from connectome.neurons import AeifPscExp, Izhikevich, LeakyIntegrator, NeuronModel
from connectome.simulate import Clamp, Stimulus, run
from tests.test_neurons import MODELS, network, same_spikes, unlike


@pytest.fixture(scope="module", params=["numba", "torch"])
def engine(request: pytest.FixtureRequest) -> Engine:
    return cast(Engine, request.param)


def spikes_of(result: xr.Dataset, name: str) -> tuple[Any, Any]:
    mine = result.region.values[result.spike_region.values] == name
    return result.spike_time_ms.values[mine], result.spike_neuron.values[mine]


@pytest.mark.parametrize("per_neuron", [False, True])
@pytest.mark.parametrize("model", [model for model in MODELS if model.fires])
def test_own_spikes_change_nothing(model: type[NeuronModel], per_neuron: bool, engine: Engine) -> None:
    """A region that is made to do what it would have done anyway: bit for bit the same run."""
    connectome, stimulus = network(unlike(model, 40) if per_neuron else model())
    free = run(connectome, 50.0, stimulus, engine=engine, record_v={"a": "all", "b": "all"})
    assert spikes_of(free, "a")[0].size > 20
    clamp = {name: Clamp(spikes=spikes_of(free, name)) for name in ("a", "b")}
    same = run(connectome, 50.0, stimulus, engine=engine, clamp=clamp, record_v={"a": "all", "b": "all"})
    assert same.identical(free)
    some = np.arange(0, 40, 3)
    mine = np.isin(spikes_of(free, "a")[1], some)
    times, who = (x[mine] for x in spikes_of(free, "a"))
    part = run(connectome, 50.0, stimulus, engine=engine, clamp={"a": Clamp(some, (times, who))})
    same_spikes(part, free)


@pytest.mark.parametrize("model", MODELS)
def test_engines_agree_on_clamps(model: type[NeuronModel]) -> None:
    connectome, stimulus = network(unlike(model, 40))
    rng = np.random.default_rng(5)
    told = (rng.uniform(0.1, 50, 80), rng.integers(20, 30, 80))
    parts = [Clamp(np.arange(10)), Clamp(np.arange(30, 40), v_mv=np.linspace(-60, -40, 10))]
    parts += [Clamp(np.arange(20, 30), told)] if model.fires else []
    both = [
        run(connectome, 50.0, stimulus, engine=e, dtype="float64", clamp={"a": parts}, record_v={"a": "all"})
        for e in ("numba", "torch")
    ]  # fmt: skip
    same_spikes(*both)
    np.testing.assert_allclose(both[0].v_mv.values, both[1].v_mv.values, atol=1e-6)
    times, who = spikes_of(both[0], "a")
    assert not np.isin(who, [*range(10), *range(30, 40)]).any()
    if model.fires:
        step = np.unique(np.stack([np.rint(told[0] / 0.1), told[1]]), axis=1)
        mine = who >= 20
        np.testing.assert_array_equal(np.sort(step[0]), np.rint(times[mine] / 0.1))
    np.testing.assert_allclose(both[0].v_mv.values[:, 30:], np.tile(np.linspace(-60, -40, 10), (500, 1)))
    three = run(connectome, 50.0, stimulus, threads=3, dtype="float64", clamp={"a": parts}, record_v={"a": "all"})
    assert three.identical(both[0])


def test_silent_neurons_stay_at_their_threshold(engine: Engine) -> None:
    connectome = Connectome.of([Region("a", 3)])
    stimulus = Stimulus(current_pa={"a": 500.0})
    found = run(connectome, 100.0, stimulus, engine=engine, clamp={"a": Clamp([1])}, record_v={"a": "all"})
    assert set(found.spike_neuron.values) == {0, 2}
    np.testing.assert_allclose(found.v_mv.values[500:, 1], -55.0, atol=1e-4)
    for neuron, top in ((AeifPscExp(), 0.0), (Izhikevich(), 30.0)):
        strong = Stimulus(current_pa={"a": 1500.0 if top == 0 else 15.0})
        one = Connectome.of([Region("a", 3, neuron=neuron)])
        found = run(one, 100.0, strong, engine=engine, clamp={"a": Clamp("all")}, record_v={"a": "all"})
        assert not found.spike_neuron.size
        np.testing.assert_allclose(found.v_mv.values.max(), top, atol=1e-4)


def test_a_silent_region_is_one_without_outgoing_edges(engine: Engine) -> None:
    """To all others, spike for spike (Singh and others 2024)."""
    connectome, stimulus = network(NeuronParameters())
    stimulus = replace(stimulus, current_pa={**stimulus.current_pa, "b": 420.0})
    silent = run(connectome, 50.0, stimulus, engine=engine, clamp={"a": Clamp("all")})
    kept = [edges for key, edges in connectome.edges.items() if key.source != "a"]
    cut = run(Connectome.of([*connectome.regions.values()], kept), 50.0, stimulus, engine=engine)
    assert not spikes_of(silent, "a")[0].size
    assert spikes_of(cut, "a")[0].size
    assert spikes_of(cut, "b")[0].size > 20
    for found, wanted in zip(spikes_of(silent, "b"), spikes_of(cut, "b"), strict=True):
        np.testing.assert_array_equal(found, wanted)
    free = run(connectome, 50.0, stimulus, engine=engine)
    assert not np.array_equal(spikes_of(free, "b")[0], spikes_of(cut, "b")[0])


def test_made_to_fire_while_refractory(engine: Engine) -> None:
    """The time begins anew, and the potential is the reset until it is over."""
    connectome = Connectome.of([Region("a", 1, neuron=NeuronParameters(t_ref_ms=2.0, v_reset_mv=-65.0))])
    clamp = {"a": Clamp(spikes=([1.0, 2.0], [0, 0]))}
    found = run(connectome, 10.0, engine=engine, clamp=clamp, record_v={"a": "all"}, dtype="float64")
    np.testing.assert_allclose(found.spike_time_ms.values, [1.0, 2.0])
    v = found.v_mv.values[:, 0]
    np.testing.assert_array_equal(v[9:40], -65.0)
    assert v[40] < -65.0


def test_held_potential_drives_nothing_but_current(engine: Engine) -> None:
    """An effector and a leaky integrator that are held; others of the region are as they were."""
    connectome = Connectome.of([Region("hand", 2, "effector"), Region("a", 2, neuron=LeakyIntegrator())])
    stimulus = Stimulus(current_pa={"hand": 100.0, "a": 100.0})
    plain = run(connectome, 20.0, stimulus, engine=engine, record_v={"hand": "all", "a": "all"})
    clamp = {name: Clamp([True, False], v_mv=-61.5) for name in ("hand", "a")}
    held = run(connectome, 20.0, stimulus, engine=engine, clamp=clamp, record_v={"hand": "all", "a": "all"})
    np.testing.assert_allclose(held.v_mv.values[:, [0, 2]], -61.5, atol=1e-5)
    np.testing.assert_array_equal(held.v_mv.values[:, [1, 3]], plain.v_mv.values[:, [1, 3]])


def test_told_spikes_travel(engine: Engine) -> None:
    edge = EdgeSet.from_arrays(("a", "long_range", "b"), [0], [0], 1e5, n_source=1, n_target=1, dt_ms=0.1, delay_ms=1.5)
    connectome = Connectome.of([Region("a", 1), Region("b", 1)], [edge])
    found = run(connectome, 10.0, engine=engine, clamp={"a": Clamp(spikes=([2.0], [0]))})
    np.testing.assert_allclose(found.spike_time_ms.values[:2], [2.0, 3.6])


@pytest.mark.parametrize(
    ("clamp", "field", "rule"),
    [
        ({"x": Clamp()}, "clamp", "must name regions"), ({"eye": Clamp()}, "clamp", "with the role"),
        ({"a": "silent"}, "clamp[a]", "must be a Clamp"), ({"a": Clamp("some")}, "clamp[a].neurons", "or 'all'"),
        ({"a": Clamp([40])}, "clamp[a].neurons", "must be in 0 .. 39"),
        ({"a": Clamp([1, 1])}, "clamp[a].neurons", "must name a neuron once"),
        ({"a": [Clamp([1]), Clamp([1])]}, "clamp[a].neurons", "must name a neuron once"),
        ({"a": Clamp(np.ones(3, bool))}, "clamp[a].neurons", "must be a mask of shape"),
        ({"a": Clamp(v_mv=np.nan)}, "clamp[a].v_mv", "must be finite"),
        ({"a": Clamp([0, 1], v_mv=[1.0, 2.0, 3.0])}, "clamp[a].v_mv", "must broadcast to"),
        ({"a": Clamp(v_mv=-70.0, spikes=([1.0], [0]))}, "clamp[a].v_mv", "must go without spikes"),
        ({"a": Clamp(spikes=cast(Any, [1.0]))}, "clamp[a].spikes", "must be a pair"),
        ({"a": Clamp(spikes=([1.0, 2.0], [0]))}, "clamp[a].spikes", "as many times"),
        ({"a": Clamp([0], ([1.0], [1]))}, "clamp[a].spikes neurons", "must be among the clamped"),
        ({"a": Clamp(spikes=([10.1], [0]))}, "clamp[a].spikes times_ms", "the run's steps"),
        ({"hand": Clamp()}, "clamp[hand].v_mv", "must be given for an effector"),
        ({"leaky": Clamp(spikes=([1.0], [0]))}, "clamp[leaky].spikes", "must be left out"),
    ],
)  # fmt: skip
def test_bad_clamps(clamp: Any, field: str, rule: str) -> None:
    regions = [
        Region("eye", 3, "sensor"), Region("a", 40), Region("hand", 2, "effector"),
        Region("leaky", 2, neuron=LeakyIntegrator()),
    ]  # fmt: skip
    with pytest.raises(ConnectomeError, match=rule) as caught:
        run(Connectome.of(regions), 10.0, clamp=clamp)
    assert caught.value.field == field
