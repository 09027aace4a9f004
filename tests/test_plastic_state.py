"""Runs that learn and go on: a run of 2T is, bit for bit, one of T and another of T, whatever the rules."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet
from connectome.simulate import ErrorModulated, PairSTDP, RunState, SoFar, Stimulus, TripletSTDP, learnt, run
from connectome.simulate.run_rules import Memory
from connectome.simulate.target_rate import TargetRate
from tests.test_run_rules import HAND, STDP, played, reading, ruled
from tests.test_run_state import assert_one
from tests.test_stdp import EYE, PULSE_PA, RULE, balanced, learning, pair, told, weights

Rules = Mapping[EdgeKey, Any]


@dataclass(frozen=True)
class Drift:
    """Each weight moves by what its target has fired since the last call, and by how often this has been called."""

    name: ClassVar[str] = "drift"
    interval_ms: float

    def start(self, edges: EdgeSet) -> Memory:
        return {"calls": np.zeros(1), "total": np.zeros(edges.n_target)}

    def __call__(
        self, edges: EdgeSet, weight: NDArray[np.float64], so_far: SoFar, memory: Memory
    ) -> tuple[NDArray[np.float64], Memory]:
        counts = so_far.spikes[edges.key.target].counts
        lasted = so_far.time_ms - so_far.since_ms
        memory = {"calls": memory["calls"] + 1, "total": memory["total"] + counts}
        push = (counts / lasted - memory["total"] / so_far.time_ms) * memory["calls"] + 0.1
        return weight * (1 + 0.01 * np.sign(weight) * push[edges.indices]), memory


def reward(so_far: SoFar) -> float:
    """Of all that a modulator is told."""
    spikes = so_far.spikes["e"]
    return float(0.05 * (1.5 - spikes.counts.sum()) + 0.01 * so_far.time_ms + 0.1 * np.sum(spikes.time_ms % 0.7))


def later(rule: Any, first: int, last: int) -> Any:
    """A rule whose series begin with the step ``first``."""
    if isinstance(rule, PairSTDP) and np.ndim(rule.modulator_per_ms) == 1:  # type: ignore[arg-type]
        return replace(rule, modulator_per_ms=np.asarray(rule.modulator_per_ms)[first:last])
    if isinstance(rule, ErrorModulated):
        return replace(rule, target_mv=np.asarray(rule.target_mv)[first:last], gate=np.asarray(rule.gate)[first:last])
    return rule


def assert_goes_on(
    connectome: Connectome, rules: Rules, stimulus: Stimulus, cuts: list[int], threads: list[int],
    hand_on: Callable[[Connectome, xr.Dataset], Connectome] = lambda c, _: c, **options: Any,
) -> xr.Dataset:  # fmt: skip
    """Run as a whole, and from each cut to the next on so many threads; give the whole."""
    dt, n_steps = connectome.dt_ms, cuts[-1]
    record = {r.name: "all" for r in connectome.regions.values() if r.role != "sensor"}
    whole: xr.Dataset = run(connectome, n_steps * dt, stimulus, plasticity=rules, record_v=record, threads=1, **options)
    state: RunState | None = None
    parts, now = [], connectome
    for first, last, k in zip(cuts[:-1], cuts[1:], threads, strict=True):
        mine = {key: later(rule, first, last) for key, rule in rules.items()}
        part, state = run(
            now, (last - first) * dt, stimulus.part(first, last, n_steps, dt), plasticity=mine, record_v=record,
            threads=k, state=state, return_state=True, **options,
        )  # fmt: skip
        state = pickle.loads(pickle.dumps(state))
        parts.append(part)
        now = hand_on(now, part)
    assert_one(whole, parts, cuts[:-1])
    for key in rules:
        np.testing.assert_array_equal(weights(parts[-1], key), weights(whole, key), str(key))
    return whole


@st.composite
def any_rules(draw: st.DrawFn) -> tuple[Connectome, int, dict[tuple[int, int], int], dict[str, Any], Rules]:
    """Small networks whose sets learn by rules of all kinds, some with modulators, some in Python."""
    triplets = draw(st.booleans())
    connectome, n_steps, injected, current, given_rules = draw(ruled() if triplets else learning())
    rules: dict[EdgeKey, Any] = {}
    for key, rule in given_rules.items():
        rules[key] = rule
        steps = draw(st.integers(1, 9)) * connectome.dt_ms
        if draw(st.integers(0, 3)) == 0:
            rules[key] = TargetRate(20.0, 0.5, steps) if draw(st.booleans()) else Drift(steps)
        elif isinstance(rule, PairSTDP):
            where: Any = draw(st.sampled_from(["axonal", "dendritic"]))
            which: Any = draw(st.sampled_from(["none", "depress", "potentiate"]))
            rules[key] = replace(rule, delay=where, simultaneous=which)
            if draw(st.integers(0, 2)) == 0:
                rules[key] = replace(
                    rules[key], eligibility_tau_ms=draw(st.sampled_from([0.3, 20.0])), modulator_per_ms=reward,
                    modulator_interval_ms=steps,
                )  # fmt: skip
    return connectome, n_steps, injected, current, rules


@given(any_rules(), st.data())
def test_any_rules_in_any_parts(case: Any, data: st.DataObject) -> None:
    connectome, n_steps, injected, current, rules = case
    cuts = [0, *sorted(data.draw(st.sets(st.integers(1, n_steps - 1), max_size=3))), n_steps]
    threads = data.draw(st.lists(st.integers(1, 2), min_size=len(cuts) - 1, max_size=len(cuts) - 1))
    python = any(isinstance(r, (Drift, TargetRate)) for r in rules.values())
    hand_on = {"as it was": lambda c, _: c, "learnt": learnt}
    # A rule in Python may look at the weights that its edges began with; these of ours look at signs alone.
    how = data.draw(st.sampled_from(sorted(hand_on))) if rules and not python else "as it was"
    assert_goes_on(connectome, rules, told(connectome, injected, current), cuts, threads, hand_on[how])


@pytest.mark.parametrize("delay", ["axonal", "dendritic"])
def test_many_neurons_go_on(delay: Any) -> None:
    """Over several blocks of neurons, for longer than traces go without being brought up to date."""
    connectome, stimulus, pairs = balanced()
    keys = list(pairs)
    quick = PairSTDP(0.4, 0.3, 5.0, 4.0, 0.0, 250.0, delay=delay)
    rules: dict[EdgeKey, Any] = {
        keys[0]: TripletSTDP(15.0, 100.0, 25.0, 60.0, 0.5, 4.0, 3.0, 1.0, 0.0, 250.0, delay=delay),
        keys[1]: replace(pairs[keys[1]], delay=delay, eligibility_tau_ms=0.5),
        keys[2]: quick, keys[3]: TargetRate(20.0, 0.5, 7.0),
    }  # fmt: skip
    whole = assert_goes_on(connectome, rules, stimulus, [0, 237, 301, 600], [2, 1, 2])
    for key in rules:
        assert (weights(whole, key) != connectome.edges[key].weight).mean() > 0.2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_delta_rule_goes_on(dtype: Any) -> None:
    """Its responses, and the rows of its series, which count from the beginning of each run."""
    rng = np.random.default_rng(5)
    connectome, n_steps = reading(12, 20, weight=0.0), 90
    rule = ErrorModulated(
        rng.normal(0, 2, (n_steps, 20)), 0.02, gate=(rng.random((n_steps, 20)) < 0.7), ridge_mv2_per_pa2=1e-6
    )
    fired = rng.random((n_steps, 12)) < 0.2
    whole = assert_goes_on(connectome, {HAND: rule}, played(fired), [0, 31, 32, n_steps], [2, 1, 2], dtype=dtype)
    assert (weights(whole, HAND) != 0).mean() > 0.9


def test_an_end_within_an_interval_is_no_call_for_the_next_run() -> None:
    connectome, stimulus, _ = balanced()
    key = EdgeKey("i", "long_range", "e")
    first, state = run(connectome, 12.0, stimulus, plasticity={key: Drift(5.0)}, return_state=True)
    left = state.learning[key]
    assert left.memory is not None
    assert (left.called, left.memory["calls"][0]) == (100, 2)
    assert (weights(first, key) != left.weight.astype(np.float32)).any()
    kept = copy.deepcopy(left)
    for network in (connectome, learnt(connectome, first)):
        part = run(network, 18.0, stimulus, plasticity={key: Drift(5.0)}, state=state)
        whole = run(connectome, 30.0, stimulus, plasticity={key: Drift(5.0)})
        np.testing.assert_array_equal(weights(part, key), weights(whole, key))
        np.testing.assert_array_equal(left.weight, kept.weight)  # what a state holds, no run changes


# Into a run that learns from one that did not, and the reverse


def sent(*times_ms: float) -> Stimulus:
    return Stimulus(spikes={"eye": (np.array(times_ms), np.zeros(len(times_ms), int))})


@pytest.mark.parametrize("delay", ["axonal", "dendritic"])
def test_a_set_that_begins_to_learn_sees_what_is_on_its_way(delay: Any) -> None:
    """The sensor fires at 1 and 4 ms, the neuron at 1.5, 4.5 and 6.5; the edge takes 2 ms, and learns from 5 ms on.
    If the delay is axonal, the second arrival, at 6 ms, meets the neuron's last spike. If it is dendritic, what is felt
    from 5 ms on is what was at the synapse from 3 ms on: the neuron's first spike at 3.5, the sensor's second at 4, the
    neuron's second at 6.5, while the third has not come back by 8 ms."""
    connectome = pair(50.0, 2.0)
    pulses = np.zeros((100, 1))
    pulses[[14, 44, 64]] = PULSE_PA
    stimulus = Stimulus(spikes={"eye": (np.array([1.0, 4.0]), np.zeros(2, int))}, current_pa={"a": pulses})
    _, state = run(connectome, 5.0, stimulus.part(0, 50, 100, 0.1), return_state=True)
    rule = replace(RULE, delay=delay)
    result = run(connectome, 5.0, stimulus.part(50, 100, 100, 0.1), plasticity={EYE: rule}, state=state)
    if delay == "axonal":
        change = rule.a_plus_pa * np.exp(-0.5 / rule.tau_plus_ms)
    else:
        change = rule.a_plus_pa * np.exp(-2.5 / rule.tau_plus_ms) - rule.a_minus_pa * np.exp(-0.5 / rule.tau_minus_ms)
    assert weights(result)[0] == pytest.approx(50.0 + change, rel=1e-6)


def settled() -> tuple[Connectome, Stimulus, Rules, xr.Dataset, RunState]:
    connectome, stimulus, pairs = balanced()
    rules = {key: rule for key, rule in pairs.items() if rule.modulator_per_ms is None}
    result, state = run(connectome, 40.0, stimulus, plasticity=rules, return_state=True)
    return connectome, stimulus, rules, result, state


def test_learning_stops_where_the_connectome_has_learnt() -> None:
    connectome, stimulus, rules, result, state = settled()
    with pytest.raises(ConnectomeError, match=r"plasticity must have a rule for .* has learnt") as caught:
        run(connectome, 40.0, stimulus, state=state)
    assert "learnt(connectome, result)" in str(caught.value)
    still = {key: replace(rule, a_plus_pa=0.0, a_minus_pa=0.0) for key, rule in rules.items()}
    wanted = run(connectome, 40.0, stimulus, state=state, plasticity=still)
    for engine in ("numba", "torch"):
        after = learnt(connectome, result)
        found = run(after, 40.0, stimulus, state=state, engine=engine, dtype="float32")
        if engine == "numba":
            np.testing.assert_array_equal(found.spike_time_ms.values, wanted.spike_time_ms.values)
            np.testing.assert_array_equal(found.spike_neuron.values, wanted.spike_neuron.values)
    with pytest.raises(ConnectomeError, match="plasticity must have a rule"):
        run(connectome, 40.0, stimulus, state=state, engine="torch")


def test_weights_that_were_changed_in_between_count() -> None:
    connectome, stimulus, rules, result, state = settled()
    still = {key: replace(rule, a_plus_pa=0.0, a_minus_pa=0.0) for key, rule in rules.items()}
    key = next(iter(rules))
    after = learnt(connectome, result)
    halved = replace(after.edges[key], weight=after.edges[key].weight / np.float32(2))
    changed = replace(after, edges={**after.edges, key: halved})
    found = run(changed, 5.0, stimulus, state=state, plasticity=still)
    for k in rules:
        np.testing.assert_array_equal(weights(found, k), changed.edges[k].weight)


def test_rules_that_do_not_fit() -> None:
    connectome, stimulus, rules, _, state = settled()
    key = EdgeKey("e", "long_range", "i")
    rule, edges = rules[key], connectome.edges[key]
    triplet = TripletSTDP(15.0, 100.0, 25.0, 60.0, 0.5, 4.0, 3.0, 1.0, 0.0, 250.0)
    fewer = edges.take(np.arange(len(edges)) > 0)
    moved = EdgeSet.from_arrays(
        key, edges.source, edges.target, edges.weight, n_source=edges.n_source, n_target=edges.n_target, dt_ms=0.1,
        delay_ms=0.2,
    )  # fmt: skip
    slower = replace(rule, tau_plus_ms=16.0)
    for field, with_rule, with_edges in (
        ("fixed", slower, edges), ("fixed", replace(rule, delay="dendritic"), edges), ("rule", triplet, edges),
        ("rule", TargetRate(20.0, 0.5, 7.0), edges), ("edges", rule, fewer), ("edges", rule, moved),
    ):  # fmt: skip
        with pytest.raises(ConnectomeError) as caught:
            run(
                replace(connectome, edges={**connectome.edges, key: with_edges}), 1.0, stimulus, state=state,
                plasticity={**rules, key: with_rule},
            )  # fmt: skip
        assert caught.value.field == f"state.learning[{key}].{field}"
    bounds = replace(rule, w_max_pa=1.0)
    with pytest.raises(ConnectomeError, match="must have bounds that its weights lie within"):
        run(connectome, 1.0, stimulus, state=state, plasticity={**rules, key: bounds})
    other: STDP = replace(rule, a_plus_pa=0.1, w_max_pa=300.0, simultaneous="depress")
    run(connectome, 1.0, stimulus, state=state, plasticity={**rules, key: other})  # these may change
