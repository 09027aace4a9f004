"""Edits of whole regions: what they leave alone, what they say, what they refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, Edit, Region
from connectome.graph.region_edits import (
    average_regions,
    copy_region,
    insert_region,
    merge_regions,
    remove_regions,
    route_edges,
    split_region,
)
from connectome.simulate import Stimulus, run

DT = 0.1


def edges(key: tuple[str, str, str], n: int, seed: int, mean: float = 0.0) -> EdgeSet:
    rng = np.random.default_rng(seed)
    return EdgeSet.from_arrays(
        key, rng.integers(0, n, 120), rng.integers(0, n, 120), rng.normal(mean, 250, 120), n_source=n, n_target=n,
        dt_ms=DT, delay_ms=rng.integers(1, 30, 120) * DT, birth_stage=rng.integers(0, 3, 120),
        state={"memory": rng.random(120)},
    )  # fmt: skip


def network(n: int = 20) -> Connectome:
    regions = [Region("eye", n, "sensor"), *(Region(name, n) for name in "abc"), Region("hand", n, "effector")]
    keys = [
        ("eye", "afferent", "a"), ("eye", "afferent", "b"), ("a", "local", "a"), ("a", "long_range", "b"),
        ("b", "long_range", "c"), ("b", "long_range", "a"), ("c", "efferent", "hand"),
    ]  # fmt: skip
    made = [edges(key, n, seed, 120.0 if key[1] == "afferent" else 60.0) for seed, key in enumerate(keys)]
    return Connectome.of(regions, made, dt_ms=DT)


def spikes(connectome: Connectome) -> dict[str, set[tuple[float, int]]]:
    rng = np.random.default_rng(5)
    given = (np.sort(rng.integers(1, 900, 4000)) * DT, rng.integers(0, 20, 4000))
    found = run(connectome, 100.0, Stimulus(spikes={"eye": given}), dtype="float64")
    names = found.region.values
    fired: dict[str, set[tuple[float, int]]] = {str(name): set() for name in names}
    for time, region, neuron in zip(
        found.spike_time_ms.values, found.spike_region.values, found.spike_neuron.values, strict=True
    ):
        fired[str(names[region])].add((round(float(time), 6), int(neuron)))
    return fired


def test_a_merged_network_does_what_it_did() -> None:
    before = network()
    after = before.apply(merge_regions(before, ["b", "a"], "ba"))
    assert list(after.regions) == ["eye", "c", "hand", "ba"]
    assert after.n_edges == before.n_edges
    assert set(map(tuple, after.edges)) == {
        ("eye", "afferent", "ba"), ("ba", "local", "ba"), ("ba", "long_range", "c"), ("c", "efferent", "hand"),
    }  # fmt: skip
    was, now = spikes(before), spikes(after)
    assert len(was["a"]) > 20
    assert len(was["c"]) > 20
    assert now["ba"] == was["b"] | {(time, neuron + 20) for time, neuron in was["a"]}
    assert now["c"] == was["c"]
    assert [r.rule for r in after.provenance.rule_log] == ["merge_regions"] * 3
    assert sum(r.added for r in after.provenance.rule_log) == before.n_edges - len(
        before.edges[EdgeKey(*("c", "efferent", "hand"))]
    )


def test_a_copy_does_what_the_original_does() -> None:
    before = network()
    after = before.apply(copy_region(before, "a", "d"))
    lone = after.apply(remove_regions(after, ["b", "c"]))
    found = spikes(lone)
    assert len(found["a"]) > 20
    assert found["a"] == found["d"]
    assert after.edges[EdgeKey("d", "local", "d")].state["memory"].tolist() == (
        before.edges[EdgeKey("a", "local", "a")].state["memory"].tolist()
    )


def test_the_mean_of_a_region_and_its_copy_is_the_region() -> None:
    before = network()
    lone = before.apply(remove_regions(before, ["b", "c"]))
    two = lone.apply(copy_region(lone, "a", "d"))
    one = two.apply(average_regions(two, ["a", "d"], "a2"))
    local, was = one.edges[EdgeKey("a2", "local", "a2")], lone.edges[EdgeKey("a", "local", "a")]

    def dense(e: EdgeSet) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        out = np.zeros((20, 20, 40))
        np.add.at(out, (e.source, e.target, e.delay_steps), e.weight.astype(np.float64))
        return out

    np.testing.assert_allclose(dense(local), dense(was), rtol=1e-6)
    assert spikes(one)["a2"] == spikes(lone)["a"]


def test_routed_edges_drive_another_region() -> None:
    before = network()
    key = EdgeKey("eye", "afferent", "a")
    after = before.apply(route_edges(before, key, "c"))
    assert len(after.edges[key]) == 0
    assert (after.edges[EdgeKey("eye", "afferent", "c")].weight == before.edges[key].weight).all()
    assert [(r.removed, r.added) for r in after.provenance.rule_log] == [(120, 0), (0, 120)]


def test_parameters_of_neurons_go_along() -> None:
    """One for each neuron where regions differ; a mean of them where regions are averaged; and they run."""
    before = network()
    neuron: Any = before.regions["a"].neuron
    thresholds = np.linspace(-56, -54, 20)
    own = replace(before.regions["a"], neuron=replace(neuron, v_th_mv=thresholds))
    before = replace(before, regions={**before.regions, "a": own})
    after = before.apply(merge_regions(before, ["b", "a"], "ba"))
    merged: Any = after.regions["ba"].neuron
    assert merged.v_th_mv.tolist() == [neuron.v_th_mv] * 20 + thresholds.tolist()
    assert merged.tau_m_ms == neuron.tau_m_ms
    was, now = spikes(before), spikes(after)
    assert now["ba"] == was["b"] | {(time, neuron + 20) for time, neuron in was["a"]}
    two = before.apply(remove_regions(before, ["b", "c"]))
    two = two.apply(copy_region(two, "a", "d"))
    copied: Any = two.regions["d"].neuron
    assert copied == own.neuron
    other = replace(two.regions["d"], neuron=replace(copied, v_th_mv=thresholds[::-1], tau_m_ms=20.0))
    two = replace(two, regions={**two.regions, "d": other})
    mean: Any = two.apply(average_regions(two, ["a", "d"], "x")).regions["x"].neuron
    np.testing.assert_allclose(mean.v_th_mv, -55)
    np.testing.assert_allclose(mean.tau_m_ms, (neuron.tau_m_ms + 20) / 2)


def test_state_of_regions_goes_along() -> None:
    before = network()
    before = before.apply(type(merge_regions(before, ["a", "b"], "x"))(region_state={"a": {"gain": np.arange(20.0)}}))
    after = before.apply(merge_regions(before, ["a", "b"], "x"))
    assert after.regions["x"].state["gain"].tolist() == [*range(20), *[0] * 20]
    assert before.digest() != network().digest(), "state of a region is not in the digest"


def test_what_cannot_be_is_refused() -> None:
    c = network()
    for edit, message in (
        (lambda: remove_regions(c, ["x"]), r"region must be one of .*; found 'x'"),
        (lambda: copy_region(c, "x", "y"), r"region must be one of .*; found 'x'"),
        (lambda: c.apply(copy_region(c, "a", "b")), r"add_regions must have new names; found 'b'"),
        (lambda: merge_regions(c, ["a"], "x"), r"must have two regions or more, each once"),
        (lambda: merge_regions(c, ["a", "a"], "x"), r"must have two regions or more, each once"),
        (lambda: merge_regions(c, ["a", "eye"], "x"), r"must have regions of one role and one kind of neuron"),
        (lambda: average_regions(c, ["a", "hand"], "x"), r"must have two regions or more of one size, role and sign"),
        (lambda: route_edges(c, EdgeKey("eye", "afferent", "a"), "hand"), r"must lead to another neuron region of 20"),
        (lambda: split_region(c, "a", {"x": [0, 1]}), r"must have each of 20 neurons in one part"),
        (lambda: split_region(c, "a", {"x": range(20), "y": [3]}), r"must have each of 20 neurons in one part"),
        (lambda: insert_region(c, EdgeKey("a", "local", "c"), Region("x", 20), 1.0, 1.0), r"edge set that exists"),
        (
            lambda: insert_region(c, EdgeKey("a", "local", "a"), Region("x", 3), 1.0, 1.0),
            r"must have a region of 20 neurons; found x, a neuron of 3",
        ),
        (lambda: route_edges(c, EdgeKey("eye", "afferent", "c"), "a"), r"must name an edge set that exists"),
    ):
        with pytest.raises(ConnectomeError, match=message):
            edit()


def test_a_split_network_does_what_it_did_and_merging_gives_it_back() -> None:
    before = network()
    order = np.random.default_rng(1).permutation(20)
    parts = {"x": order[:7], "y": order[7:]}
    after = before.apply(split_region(before, "a", parts))
    was, now = spikes(before), spikes(after)
    assert min(len(now["x"]), len(now["y"])) > 5
    for part, which in parts.items():
        assert {(time, int(which[neuron])) for time, neuron in now[part]} == {s for s in was["a"] if s[1] in which}
    assert now["c"] == was["c"]
    assert EdgeKey("x", "long_range", "y") in after.edges
    assert EdgeKey("x", "local", "x") in after.edges
    back = after.apply(merge_regions(after, ["x", "y"], "xy"))
    back = back.apply(split_region(back, "xy", {"a": np.argsort(order)}))
    assert back.edges[EdgeKey("a", "local", "a")].state["memory"].tolist() == (
        before.edges[EdgeKey("a", "local", "a")].state["memory"].tolist()
    )
    for key, e in before.edges.items():
        assert (back.edges[key].weight == e.weight).all()
    assert sum(r.added for r in after.provenance.rule_log if r.rule == "split_region") == 120 * 4


def test_an_inserted_region_hears_what_its_target_heard() -> None:
    before = network()
    key = EdgeKey("b", "long_range", "c")
    after = before.apply(insert_region(before, key, Region("relay", 20), 20000.0, 1.5))
    was, now = spikes(before), spikes(after)
    assert len(was["c"]) > 20
    assert now["relay"] == was["c"]
    assert {neuron for _, neuron in now["c"]} == {neuron for _, neuron in was["c"]}
    onward = after.edges[EdgeKey("relay", "long_range", "c")]
    assert (onward.source == onward.target).all()
    assert {*onward.weight.tolist()} == {20000.0}
    assert {*onward.delay.tolist()} == {1.5}
    assert [(r.target, r.removed, r.added) for r in after.provenance.rule_log] == [
        ("c", 120, 0), ("relay", 0, 120), ("c", 0, 20),
    ]  # fmt: skip


def test_kinds_keep_their_own_names() -> None:
    before = network()
    key = EdgeKey("a", "local", "a")
    slow = replace(before.edges[key], key=EdgeKey("a", "local-slow", "a"))
    before = before.apply(Edit(add=(slow,)))
    after = before.apply(split_region(before, "a", {"x": range(10), "y": range(10, 20)}))
    assert {k.kind for k in after.edges if {k.source, k.target} == {"x", "y"}} == {"long_range", "long_range-slow"}
