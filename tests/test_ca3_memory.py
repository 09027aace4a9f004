"""The memory after CA3: spike for spike what SpiNNaker's own step gives, pairs in closed form, files, both engines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from connectome import Connectome, ConnectomeError, EdgeSet, Region, run
from connectome.circuits import ca3_memory as circuit
from connectome.circuits.ca3_experiments import EXPERIMENTS, in_order, random_memories
from connectome.circuits.ca3_memory import PLASTICITY, Operation, Recall
from connectome.graph.parts import EdgeKey
from connectome.io.snapshot import load, save
from connectome.simulate import Stimulus, learnt

Spikes = set[tuple[str, int, int]]
SLOW, FAST, OUT = (270.0, 3.0, -57.0), (140.0, 0.5, -57.0), (270.0, 3.0, -57.5)  # pF, ms, mV


def _on_hardware(cues: int, bits: int, operations: Sequence[Operation]) -> Spikes:
    """(region, neuron, ms), in steps of 1 ms as SpiNNaker takes them: what arrives joins a current that decays with 0.3
    ms, its mean over the step moves the potential. For pair STDP the target's spikes are 1 ms late, and come first."""
    regions = {
        "cue_cue": (cues, SLOW), "content_cue": (bits, SLOW), "condition": (bits, FAST), "interneuron": (1, FAST),
        "cue_content": (cues, FAST), "content_content": (bits, SLOW), "cue_merged": (cues, SLOW),
        "content_merged": (bits, SLOW), "cue_out": (cues, OUT), "content_out": (bits, OUT),
    }  # fmt: skip
    edges = [
        ("cue_in", "cue_cue", 6 * np.eye(cues), 1), ("content_in", "content_cue", 6 * np.eye(bits), 1),
        ("cue_cue", "cue_content", 6 * np.eye(cues), 2), ("cue_cue", "cue_content", -6 * bits * (1 - np.eye(cues)), 3),
        ("cue_cue", "condition", np.full((cues, bits), -6), 2), ("content_cue", "condition", 9 * np.eye(bits), 1),
        ("condition", "content_content", 6 * np.eye(bits), 1), ("content_cue", "interneuron", np.full((bits, 1), 6), 1),
        ("interneuron", "condition", np.full((1, bits), 2), 1),
        ("cue_content", "cue_content", -6 * bits * (1 - np.eye(cues)), 2),
        ("cue_cue", "cue_merged", 6 * np.eye(cues), 3),
        ("cue_content", "cue_merged", 6 * np.eye(cues), 1), ("content_cue", "content_merged", 6 * np.eye(bits), 3),
        ("content_content", "content_merged", 6 * np.eye(bits), 1), ("cue_merged", "cue_out", 6 * np.eye(cues), 1),
        ("content_merged", "content_out", 6 * np.eye(bits), 1),
    ]  # fmt: skip
    plastic = {
        ("cue_cue", "content_cue"): np.zeros((cues, bits)),
        ("content_content", "cue_content"): np.zeros((bits, cues)),
    }
    steps = int(circuit.duration_ms(operations))
    fired = {name: np.zeros((steps, n), bool) for name, (n, _) in regions.items()}
    fired |= {"cue_in": np.zeros((steps, cues), bool), "content_in": np.zeros((steps, bits), bool)}
    for o in operations:
        here = slice(o.at_ms, o.at_ms + (3 if o.learns else 1))
        if o.cue is not None:
            fired["cue_in"][here, o.cue] = True
        fired["content_in"][here, list(o.content)] = True
    due = {name: np.zeros((steps + 3, n)) for name, (n, _) in regions.items()}
    v, current, wait, x, y = ({name: np.zeros(n) for name, (n, _) in regions.items()} for _ in range(5))
    fade = math.exp(-1 / 0.3)
    for t in range(steps):
        for name, (_, (c_m, tau_m, v_th)) in regions.items():
            current[name] = current[name] * fade + due[name][t] * 0.3 * (1 - fade)
            rest = wait[name] > 0
            after = v[name] * math.exp(-1 / tau_m) + current[name] * tau_m / c_m * 1000 * (1 - math.exp(-1 / tau_m))
            v[name] = np.where(rest, 0.0, after)
            fired[name][t] = ~rest & (v[name] >= v_th + 60)
            v[name][fired[name][t]] = 0.0
            wait[name] = np.where(fired[name][t], 1, 0)
        for (a, b), w in plastic.items():
            x[a], y[b] = x[a] * math.exp(-1 / 3), y[b] * math.exp(-1 / 3)
            back = fired[b][t - 1] if t else np.zeros(w.shape[1], bool)
            w[:, back] = np.minimum(w[:, back] + 6 * x[a][:, None], 6)
            y[b] += back
            w[fired[a][t]] = np.maximum(w[fired[a][t]] - 6 * y[b], 0)
            x[a] += fired[a][t]
        for a, b, weight, delay in [*edges, *((*key, w, 1) for key, w in plastic.items())]:
            due[b][t + delay] += fired[a][t] @ weight
    return {(name, int(n), int(t)) for name, s in fired.items() for t, n in zip(*np.nonzero(s), strict=True)}


@pytest.mark.parametrize("name", [*EXPERIMENTS, "random"])
def test_it_is_the_hardware_spike_for_spike(name: str) -> None:
    """And every recall is what set algebra says, in the published order."""
    rng = np.random.default_rng(3)
    cues, bits, operations = EXPERIMENTS.get(name) or (7, 12, random_memories(7, 12, rng))
    result = run(
        circuit.ca3_memory(cues, bits),
        circuit.duration_ms(operations),
        circuit.stimulus(operations),
        plasticity=PLASTICITY,
    )
    ms = result.spike_time_ms.values - circuit.DT_MS
    assert (ms % 1 == 0).all()
    names = result.region.values[result.spike_region.values].tolist()
    found = set(zip(names, result.spike_neuron.values.tolist(), ms.astype(int).tolist(), strict=True))
    assert found == _on_hardware(cues, bits, operations)
    for o, brought, wanted in zip(
        operations, circuit.recalled(result, operations), circuit.expected(operations), strict=True
    ):
        assert o.learns or brought == wanted  # what is learnt anew brings its old content too
    assert all(in_order(result, operations))


def test_there_are_54_recalls() -> None:
    """By set algebra written down by hand where it can be checked by eye."""
    recalls = {name: sum(not o.learns for o in operations) for name, (_, _, operations) in EXPERIMENTS.items()}
    assert recalls == {"mixed": 5, "numbers": 45, "map": 4}
    found = circuit.expected(EXPERIMENTS["mixed"][2])
    assert found[4] == Recall(frozenset({3, 4}), frozenset({6}))
    assert found[5] == Recall(frozenset({0, 3}), frozenset({0, 4}))
    assert found[7] == Recall(frozenset({3}), frozenset({1, 3, 4, 8}))  # what was learnt anew
    assert found[8] == Recall(frozenset({4}), frozenset({6}))  # 3 has forgotten it
    assert circuit.expected(EXPERIMENTS["map"][2])[-1].cues == {0, 4, 8}


@pytest.mark.parametrize(
    ("late", "change_na"),
    [(0, 6 * math.exp(-1 / 3)), (-1, -6.0), (-2, -6 * math.exp(-1 / 3)), (1, 6 * math.exp(-2 / 3))],
)
def test_a_pair_changes_its_weight_as_on_the_hardware(late: int, change_na: float) -> None:
    """A target that fires ``late`` ms after its source reaches the synapse a millisecond later; together is -A."""
    key = EdgeKey("a", "local", "a")
    neuron = circuit.ca3_memory(1, 1).regions["cue_cue"].neuron
    teach = EdgeSet.from_arrays(("in", "afferent", "a"), [0, 1], [0, 1], 6000.0, n_source=2, n_target=2, dt_ms=0.5)
    # Half way, so that a change to either side shows; too weak to make its target fire.
    edge = EdgeSet.from_arrays(key, [0], [1], 3000.0, n_source=2, n_target=2, dt_ms=0.5)
    pair = Connectome.of([Region("in", 2, "sensor"), Region("a", 2, "neuron", neuron)], [teach, edge], dt_ms=0.5)
    rule = PLASTICITY[EdgeKey("cue_cue", "long_range", "content_cue")]
    told = Stimulus(spikes={"in": ([5.5, 5.5 + late], [0, 1])})
    after = run(pair, 12.0, told, plasticity={key: rule})[f"weight_pa {key.source}:{key.kind}:{key.target}"].values[0]
    assert after / 1000 == pytest.approx(np.clip(3 + change_na, 0, 6), abs=1e-6)


def test_what_was_learnt_is_kept_in_a_file_and_recalled_on_both_engines(tmp_path: Path) -> None:
    cues, bits, operations = 3, 5, [Operation(0, 0, (0, 2)), Operation(14, 2, (2, 3))]
    empty = circuit.ca3_memory(cues, bits)
    full = learnt(
        empty, run(empty, circuit.duration_ms(operations), circuit.stimulus(operations), plasticity=PLASTICITY)
    )
    save(full, tmp_path / "ca3.h5")
    kept = load(tmp_path / "ca3.h5")
    asked = [Operation(0, cue=2), Operation(14, content=(2,)), Operation(28, cue=1)]
    wanted = [
        Recall(frozenset({2}), frozenset({2, 3})), Recall(frozenset({0, 2}), frozenset({2})),
        Recall(frozenset({1}), frozenset()),
    ]  # fmt: skip
    for engine in ("numba", "torch"):
        result = run(kept, circuit.duration_ms(asked), circuit.stimulus(asked), engine=engine)
        assert circuit.recalled(result, asked) == wanted


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConnectomeError, match="cues"):
        circuit.ca3_memory(0, 5)
    with pytest.raises(ConnectomeError, match="bits"):
        circuit.ca3_memory(5, 0)
    with pytest.raises(ConnectomeError, match="operation"):
        Operation(0)
    with pytest.raises(ConnectomeError, match="neurons"):
        run(circuit.ca3_memory(2, 3), 20.0, circuit.stimulus([Operation(0, 2)]))
