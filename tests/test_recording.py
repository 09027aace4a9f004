"""What a run records of the neurons' state: on both engines, against the models' own steps, and without a trace."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar, cast

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, NeuronParameters, Region, memory
from connectome.graph.flat import Engine
from connectome.neurons import AeifPscExp, Alif, Arrivals, Izhikevich, NeuronModel, Shiu2024, register
from connectome.neurons.model import spiking
from connectome.simulate import Clamp, PairSTDP, Poisson, RunState, Stimulus, run
from tests.test_neurons import MODELS, network, same_spikes, unlike
from tests.test_plastic_state import Drift
from tests.test_simulate import driven

Wanted = Mapping[str, Mapping[str, Any]]
ENGINES: tuple[Engine, Engine] = ("numba", "torch")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return cast(Engine, request.param)


def all_of(connectome: Connectome) -> dict[str, dict[str, Any]]:
    """Every state of every neuron."""
    found: dict[str, dict[str, Any]] = {}
    for r in connectome.regions.values():
        for name in r.neuron.state if r.role != "sensor" else ():
            found.setdefault(name, {})[r.name] = "all"
    return found


def name_of(state: str) -> str:
    return "v_mv" if state == "v" else state


def recorded(result: xr.Dataset, state: str, region: str) -> Any:
    """(steps, K)."""
    along = "recorded" if state == "v" else f"recorded_{state}"
    return result[name_of(state)].values[:, result[f"{along}_region"].values == region]


@pytest.mark.parametrize("per_neuron", [False, True])
@pytest.mark.parametrize("model", [m for m in MODELS if m is not Shiu2024])
def test_engines_agree_and_runs_are_what_they_were(model: type[NeuronModel], per_neuron: bool) -> None:
    connectome, stimulus = network(unlike(model, 40) if per_neuron else model())
    wanted = all_of(connectome)
    ours = [run(connectome, 50.0, stimulus, engine=e, dtype="float64", record=wanted) for e in ENGINES]
    same_spikes(*ours)
    for name, regions in wanted.items():
        found, other = (x[name_of(name)] for x in ours)
        scale = max(1.0, float(np.abs(other).max()))
        np.testing.assert_allclose(found, other, rtol=0, atol=1e-8 * scale, err_msg=name)
        assert found.sizes[found.dims[1]] == sum(connectome.regions[r].size for r in regions)
        assert name == "refractory" or np.ptp(found.values) > 0, name
    one = run(connectome, 50.0, stimulus, threads=1, record=wanted)
    for threads in (1, 2):
        plain = run(connectome, 50.0, stimulus, threads=threads, record_v={"a": "all"})
        with_all = run(connectome, 50.0, stimulus, threads=threads, record=wanted)
        same_spikes(plain, with_all)
        np.testing.assert_array_equal(recorded(with_all, "v", "a"), plain.v_mv.values)
        assert plain.attrs == with_all.attrs
        assert with_all.identical(one)


def test_a_sum_that_nothing_is_known_of_is_refused() -> None:
    connectome, stimulus = network(Shiu2024())
    with pytest.raises(ConnectomeError, match=r"record\[g\]\[a\] must be left out for this engine"):
        run(connectome, 50.0, stimulus, record={"g": {"a": "all"}})
    assert run(connectome, 50.0, stimulus, engine="torch", record={"g": {"a": "all"}}).g.values.any()


@pytest.mark.parametrize("model", [NeuronParameters(t_ref_ms=1.0), Alif(), Izhikevich(), AeifPscExp(t_ref_ms=1.0)])
def test_records_equal_the_models_own_steps(model: NeuronModel, engine: Engine) -> None:
    """One neuron, which both kinds of spikes reach, stepped by hand."""
    sensor = Region("eye", 2, "sensor")
    w = 2.0 if model.weight_unit == "mV" else 400.0
    edges = EdgeSet.from_arrays(
        ("eye", "afferent", "a"), [0, 1], [0, 0], [w, -w / 2], n_source=2, n_target=1, dt_ms=0.1, delay_ms=[0.3, 0.5]
    )
    connectome = Connectome.of([sensor, Region("a", 1, neuron=model)], [edges])
    rng = np.random.default_rng(2)
    fired = rng.random((400, 2)) < 0.1
    pa = 20.0 if w == 2.0 else 900.0
    step, neuron = np.nonzero(fired)
    stimulus = Stimulus({"eye": ((step + 1) * 0.1, neuron)}, {"a": pa})
    result = run(
        connectome, 40.0, stimulus, engine=engine, dtype="float64", record={n: {"a": [0]} for n in model.state}
    )
    assert result.n_spikes.sel(region="a") > 0

    def column(x: float) -> torch.Tensor:
        return torch.full((1, 1), float(x), dtype=torch.float64)

    constants = {k: column(float(x)) for k, x in model.constants(0.1).items()}
    state = {n: column(float(model.rest().get(n, 0.0))) for n in model.state}
    for t in range(400):
        came = [w * fired[t - 3, 0] if t >= 3 else 0.0, -w / 2 * fired[t - 5, 1] if t >= 5 else 0.0]
        state, _ = model.step(constants, state, Arrivals(column(came[0]), column(came[1]), column(pa)), spiking)
        for n in model.state:
            expected = float(state[n]) + (float(model.reference_mv) if n == "v" else 0.0)
            assert result[name_of(n)].values[t, 0] == pytest.approx(expected, rel=1e-9, abs=1e-9), (n, t)


def test_names_units_and_places(engine: Engine) -> None:
    regions = [Region("a", 5, neuron=Izhikevich()), Region("b", 3, neuron=AeifPscExp()), Region("hand", 2, "effector")]
    connectome = Connectome.of(regions)
    wanted: Wanted = {"u": {"a": [3, 0]}, "v": {"hand": "all", "a": [1]}, "i_ex": {"hand": [1], "b": [2, 2]}}
    found = run(connectome, 2.0, engine=engine, record=wanted)
    assert found.u.dims == ("time_ms", "recorded_u")
    assert found.u.shape == (20, 2)
    assert found.recorded_u_neuron.values.tolist() == [3, 0]
    assert found.recorded_region.values.tolist() == ["hand", "hand", "a"]
    assert found.recorded_i_ex_region.values.tolist() == ["hand", "b", "b"]
    assert found.recorded_i_ex_neuron.values.tolist() == [1, 2, 2]
    assert [found[n].attrs["units"] for n in ("u", "v_mv", "i_ex", "time_ms")] == ["mV/ms", "mV", "pA", "ms"]
    short = run(connectome, 2.0, engine=engine, record_v=wanted["v"], record={"w": {"b": []}})
    np.testing.assert_array_equal(short.v_mv, found.v_mv)
    assert short.w.shape == (20, 0)
    units = {m.model: {n: m().unit(n) for n in m.state if n != "v"} for m in MODELS}
    assert units["iaf_cond_exp"] == {"g_ex": "nS", "g_in": "nS", "refractory": "steps"}
    assert units["izhikevich"] == {"jump_ex": "mV", "jump_in": "mV", "u": "mV/ms"}
    assert units["alif"]["a"] == "spikes"
    assert all(unit for of_model in units.values() for unit in of_model.values())


@settings(max_examples=25)
@given(driven(), st.data())
def test_what_is_recorded_goes_on(case: Any, data: st.DataObject) -> None:
    """In any parts, on any engine after the other where the numbers are of the same kind."""
    connectome, stimulus, n_steps, seed = case
    places = {r.name: "all" for r in connectome.regions.values() if r.role != "sensor"}
    names = data.draw(st.sets(st.sampled_from(["v", "i_ex", "i_in", "refractory"]), min_size=1)) if places else set()
    wanted = dict.fromkeys(names, places)
    cuts = [0, *sorted(data.draw(st.sets(st.integers(1, n_steps - 1), max_size=2)) if n_steps > 1 else []), n_steps]
    for engine in ENGINES:
        whole = run(connectome, n_steps * connectome.dt_ms, stimulus, engine=engine, seed=seed, record=wanted)
        parts, state = [], None
        for first, last in pairwise(cuts):
            part, state = run(
                connectome, (last - first) * connectome.dt_ms, stimulus.part(first, last, n_steps, connectome.dt_ms),
                engine=engine, seed=seed, record=wanted, state=state, return_state=True,
                threads=data.draw(st.integers(1, 2)),
            )  # fmt: skip
            parts.append(part)
        for name in names:
            np.testing.assert_array_equal(np.concatenate([p[name_of(name)] for p in parts]), whole[name_of(name)])


def test_sums_are_known_as_sums() -> None:
    """A state of a run that did not record i_ex and i_in has their sum; on either engine nobody makes them up."""
    connectome, stimulus = network(NeuronParameters())
    wanted: Wanted = {"i_in": {"a": "all"}}
    early, more = stimulus.part(0, 100, 500, 0.1), stimulus.part(100, 500, 500, 0.1)
    whole, state = run(connectome, 10.0, early, record=wanted, return_state=True)
    _, plain = run(connectome, 10.0, early, return_state=True)
    values, of_plain = state.values["a"], plain.values["a"]
    assert set(of_plain) == {"v", "i_ex"}
    np.testing.assert_array_equal(values["i_ex+i_in"], of_plain["i_ex"])
    np.testing.assert_allclose(values["i_ex"] + values["i_in"], of_plain["i_ex"], rtol=1e-4, atol=1e-3)
    np.testing.assert_array_equal(values["i_in"], whole.i_in.values[-1])
    for engine in ENGINES:
        with pytest.raises(ConnectomeError, match=r"must be left out where the state knows i_ex \+ i_in alone"):
            run(connectome, 40.0, more, record=wanted, state=plain, engine=engine)
    after = [run(connectome, 40.0, more, state=s) for s in (state, plain)]
    assert after[0].identical(after[1])
    both = [run(connectome, 40.0, more, state=state, engine=e, record=wanted) for e in ENGINES]
    np.testing.assert_allclose(both[0].i_in.values[:50], both[1].i_in.values[:50], rtol=1e-3, atol=1e-3)


def test_a_region_whose_own_kernel_is_asked_for_stays_refractory() -> None:
    """A state of neurons that were updated side by side, of which the next run clamps one, or records how long."""
    neuron = NeuronParameters(t_ref_ms=5.0, i_e_pa=800.0)
    connectome = Connectome.of([Region("a", 3, neuron=neuron)])
    whole = run(connectome, 30.0, record_v={"a": "all"})
    spike = whole.spike_time_ms.values[0]
    options: list[dict[str, Any]] = [{"clamp": {"a": Clamp([2])}}, {"record": {"refractory": {"a": "all"}}}]
    _, state = run(connectome, float(np.round(spike + 1.0, 1)), return_state=True)
    for option in options:
        found = run(connectome, 6.0, state=state, record_v={"a": [0]}, **option)
        begin = round(spike / 0.1) + 10
        np.testing.assert_array_equal(found.v_mv.values[:, 0], whole.v_mv.values[begin : begin + 60, 0])
    assert found.refractory.values[0, 0] == 39


def test_learning_and_recording() -> None:
    connectome, stimulus = network(NeuronParameters())
    stimulus = replace(stimulus, poisson={})  # of which the kernels for learning need no further kind
    key = EdgeKey("eye", "afferent", "a")
    rule = PairSTDP(20, 20, 0.5, 0.5, 0, 1e4)
    edges = connectome.edges[key]
    positive = EdgeSet.from_arrays(
        key, edges.source, edges.target, np.abs(edges.weight), n_source=10, n_target=40, dt_ms=0.1, delay_ms=edges.delay
    )
    connectome = replace(connectome, edges={**connectome.edges, key: positive})
    with pytest.raises(
        ConnectomeError, match=r"record\[i_ex\]\[a\] must be left out where edges into the region learn"
    ):
        run(connectome, 50.0, stimulus, plasticity={key: rule}, record={"i_ex": {"a": [0]}})
    run(connectome, 50.0, stimulus, plasticity={key: rule}, record={"i_ex": {"b": [0]}})
    apart, _ = network(NeuronParameters(tau_syn_in_ms=2.5))
    apart = replace(apart, edges={**apart.edges, key: positive})
    run(apart, 50.0, stimulus, plasticity={key: rule}, record={"i_ex": {"a": [0]}})
    # A rule in Python: the currents that its weights bring, and their sum, which is what moves v.
    drift = {key: Drift(1.0)}
    found = run(connectome, 50.0, stimulus, plasticity=drift, record={"i_ex": {"a": "all"}, "i_in": {"a": "all"}})
    _, state = run(connectome, 50.0, stimulus, plasticity=drift, return_state=True)
    total = found.i_ex.values[-1] + found.i_in.values[-1]
    np.testing.assert_allclose(total, state.values["a"]["i_ex"], rtol=1e-4, atol=1e-3)


@dataclass(frozen=True, eq=False, repr=False)
class Unnamed(NeuronModel):
    """A model that tells no units, and has no kernel."""

    model: ClassVar[str] = "unnamed_for_recording"
    state: ClassVar[tuple[str, ...]] = ("v", "i_ex", "i_in", "mood")
    gain: Any = field(default=1.0)

    def constants(self, dt_ms: float) -> dict[str, Any]:
        return {"gain": self.gain}

    def step(self, constants: Any, state: Any, arrivals: Any, threshold: Any) -> Any:
        spikes = threshold(state["v"] - 1e3)
        return {**state, "mood": state["mood"] + constants["gain"]}, spikes


def test_what_nobody_says_is_not_made_up() -> None:
    register(Unnamed)
    connectome = Connectome.of([Region("a", 2, neuron=Unnamed())])
    found = run(connectome, 1.0, engine="torch", record={"mood": {"a": [1]}})
    np.testing.assert_array_equal(found.mood.values[:, 0], np.arange(1, 11))
    assert "units" not in found.mood.attrs


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no such state": (
        {"record": {"w": {"a": "all"}}}, r"record\[w\]\[a\] must be a state of izhikevich: v, jump_ex, jump_in, u",
    ),
    "no such region": ({"record": {"u": {"c": "all"}}}, r"record\[u\] must name regions of"),
    "a sensor": ({"record": {"v": {"eye": "all"}}}, r"record\[v\] must name regions with the role"),
    "no such neuron": ({"record": {"u": {"a": [40]}}}, r"record\[u\]\[a\] must be in 0 .. 39"),
    "no neurons": ({"record": {"u": {"a": "some"}}}, r"record\[u\]\[a\] must be one-dimensional integers"),
    "turned round": ({"record": {"a": {"u": "all"}}}, r"record\[a\] must name regions of"),
    "a list": ({"record": ["u"]}, "record must be a mapping from names of states"),
    "names of states": ({"record": {"u": ["a"]}}, r"record\[u\] must be a mapping from names of regions"),
    "twice": ({"record": {"v": {"a": [0]}}, "record_v": {"a": [1]}}, "record_v must be left out where record has 'v'"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_are_refused_by_name(case: str, engine: Engine) -> None:
    options, message = BAD[case]
    connectome, stimulus = network(Izhikevich())
    with pytest.raises(ConnectomeError, match=message) as caught:
        run(connectome, 50.0, stimulus, engine=engine, **options)
    assert "\n" not in str(caught.value)


def test_what_would_not_fit_is_refused_before_the_run(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    connectome = Connectome.of([Region("a", 100)])
    monkeypatch.setattr(memory, "free_bytes", lambda: 1e6)
    seen: list[float] = []
    with pytest.raises(
        ConnectomeError, match=r"memory must have about .* GB free for 200 numbers in each of 2,000 steps"
    ):
        run(connectome, 200.0, engine=engine, record={n: {"a": "all"} for n in ("v", "i_ex")}, progress=seen.append)
    assert not seen
    run(connectome, 20.0, engine=engine, record_v={"a": "all"})


def test_poisson_reaches_what_is_recorded() -> None:
    """Where both signs are added up otherwise: the mean of each is rate times weight times time constant."""
    neuron = NeuronParameters(v_th_mv=1e4)
    connectome = Connectome.of([Region("a", 400, neuron=neuron), Region("b", 400, neuron=neuron)])
    drive = {"a": Poisson(2000.0, 10.0), "b": Poisson(1000.0, -30.0)}
    wanted: Wanted = {n: {"a": "all", "b": "all"} for n in ("i_ex", "i_in")}
    found = run(connectome, 100.0, Stimulus(poisson=drive), record=wanted)
    for name, region, mean in (("i_ex", "a", 40.0), ("i_in", "b", -60.0), ("i_in", "a", 0.0), ("i_ex", "b", 0.0)):
        assert recorded(found, name, region)[300:].mean() == pytest.approx(mean, rel=0.03)


def test_states_are_pickled_with_what_was_recorded() -> None:
    connectome, stimulus = network(Izhikevich())
    _, state = run(connectome, 5.0, stimulus.part(0, 50, 500, 0.1), record={"jump_in": {"a": [0]}}, return_state=True)
    again: RunState = pickle.loads(pickle.dumps(state))
    assert list(again.values["a"]) == list(state.values["a"])
