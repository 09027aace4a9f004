"""Tract connectomes as populations of spiking neurons: who is joined to whom, how strongly, when; what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectome import Connectome, ConnectomeError, Region
from connectome.analysis.shuffled import TractNull, shuffled_tracts
from connectome.analysis.simple_graph import simple_graph
from connectome.experiment.populations import NODE, NODE_LABEL, NODE_REGION, Populations, populate
from connectome.graph.parts import EdgeKey
from connectome.io.snapshot import load, save
from connectome.io.tvb import read_tvb, write_tvb
from connectome.wiring import Conduction, from_matrix

SMALL = Populations(size=20, delay_ms=10.0, probability=0.25)
WEIGHTS = np.array([[0, 4.0, 1], [2, 0, 0], [0.5, 3, 0]])


def tracts(weights: Any = WEIGHTS, **about: Any) -> Connectome:
    return from_matrix(weights, **about)


def into(network: Connectome, key: EdgeKey) -> np.ndarray:
    """Sums of weights into each neuron of the target."""
    e = network.edges[key]
    return np.bincount(e.target, e.weight, e.n_target)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(2, 5), st.integers(0, 99), st.just(0.0) | st.floats(0.01, 4),
    st.sampled_from(["mean_strength", "in_strength"]), st.sampled_from([0.0, 0.5, 1.0]),
)  # fmt: skip
def test_weights_of_tracts_are_in_proportion(
    n: int, seed: int, coupling: float, normalise: str, to_inhibitory: float
) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.lognormal(0, 2, (n, n)) * (rng.random((n, n)) < 0.7)
    matrix[0, 1] = 1.0
    np.fill_diagonal(matrix, 0)
    p = replace(SMALL, coupling=coupling, normalise=normalise, to_inhibitory=to_inhibitory)
    network, account = populate(tracts(matrix), p, seed)
    strength = matrix.sum(0)
    local = p.local_in_degree[0] * p.weight_pa
    for s, t in np.argwhere(matrix > 0):
        norm = strength[t] if normalise == "in_strength" else strength.mean()
        wanted = coupling * local * matrix[s, t] / norm
        key = EdgeKey(f"node_{s}", "long_range", f"node_{t}")
        found = into(network, key)
        np.testing.assert_allclose(found[: p.n_excitatory], wanted, rtol=1e-5)
        np.testing.assert_allclose(found[p.n_excitatory :], to_inhibitory * wanted, rtol=1e-5)
        assert (network.edges[key].source < p.n_excitatory).all()
        degree = np.bincount(network.edges[key].target, minlength=p.size)
        assert (degree[: p.n_excitatory] == p.tract_in_degree).all()
    assert len(network.edges) == n + int((matrix > 0).sum())
    assert account.tracts == int((matrix > 0).sum())
    if normalise == "mean_strength":
        sums = [into(network, k)[0] for k in network.edges if k.base == "long_range"]
        assert np.sum(sums) / n == pytest.approx(coupling * local, rel=1e-4)


def test_a_node_has_its_in_degrees_and_dales_signs() -> None:
    p = replace(SMALL, g=6.0, weight_pa=30.0)
    network, _ = populate(tracts(), p)
    for name, region in network.regions.items():
        assert region.sign.tolist() == [1] * 16 + [-1] * 4
        e = network.edges[EdgeKey(name, "local", name)]
        assert (e.source != e.target).all()
        excites = e.source < 16
        assert (np.bincount(e.target[excites], minlength=20) == 4).all()
        assert (np.bincount(e.target[~excites], minlength=20) == 1).all()
        assert set(e.weight[excites].tolist()) == {30.0}
        assert set(e.weight[~excites].tolist()) == {-180.0}
        assert set(e.delay.tolist()) == {1.0}


def test_where_all_are_joined_nobody_is_to_itself() -> None:
    network, _ = populate(tracts(), replace(SMALL, probability=1.0))
    assert {len(e) for k, e in network.edges.items() if k.base == "local"} == {20 * 19}


@settings(max_examples=25, deadline=None)
@given(st.floats(0.5, 60), st.sampled_from([0.1, 0.5, 1.0]), st.integers(0, 99))
def test_delays_are_lengths_over_speed(speed: float, dt_ms: float, seed: int) -> None:
    length = np.random.default_rng(seed).uniform(5, 150, (3, 3))
    c = tracts(tract_length_mm=length)
    p = replace(SMALL, speed_m_s=speed, dt_ms=dt_ms, delay_ms=None)
    network, account = populate(c, p)
    for s, t in np.argwhere(WEIGHTS > 0):
        (delay,) = set(network.edges[EdgeKey(f"node_{s}", "long_range", f"node_{t}")].delay.tolist())
        exact = length[s, t] / speed
        assert abs(delay - max(exact, dt_ms)) <= dt_ms / 2 + 1e-4 * exact
    assert account.lengths == "measured"
    assert account.length_mm[2] == pytest.approx(length[WEIGHTS > 0].max(), rel=1e-5)


def test_without_lengths_they_are_straight_lines() -> None:
    place = np.array([[0, 0, 0], [30_000, 40_000, 0], [0, 0, 20_000]])
    network, account = populate(tracts(position_um=place), replace(SMALL, delay_ms=None, speed_m_s=10.0))
    assert network.edges[EdgeKey("node_0", "long_range", "node_1")].delay[0] == 5.0
    assert "straight lines between positions" in str(account)
    assert network.regions["node_1"].position_um.tolist() == [[30_000, 40_000, 0]] * 20


def test_unknown_lengths_are_refused_or_have_the_delay_that_is_given() -> None:
    length = np.full((3, 3), 50.0)
    length[0, 1] = 0.0
    alone, some = tracts(), tracts(tract_length_mm=length)
    ask = replace(SMALL, delay_ms=None)
    with pytest.raises(ConnectomeError, match=r"tract lengths must be known.*none of them.*Give delay_ms"):
        populate(alone, ask)
    with pytest.raises(ConnectomeError, match=r"found 1 of 5 that are not \(nan, or 0\)"):
        populate(some, ask)
    network, account = populate(some, replace(ask, delay_ms=7.0))
    assert network.edges[EdgeKey("node_0", "long_range", "node_1")].delay[0] == 7.0
    assert network.edges[EdgeKey("node_1", "long_range", "node_0")].delay[0] == 10.0
    assert account.lacking == 1
    assert "The length of 1 tract is not known" in str(account)


@pytest.mark.parametrize("unit", [1e-3, 1e3])
def test_millimetres_or_micrometres_is_asked_where_in_doubt(unit: float) -> None:
    length = np.full((3, 3), 60.0)
    c = tracts(tract_length_mm=length * unit)
    ask = replace(SMALL, delay_ms=None)
    with pytest.raises(ConnectomeError, match=r"tract lengths must be 1 to 300 mm.*Give length_scale: 1000 if"):
        populate(c, ask)
    network, _ = populate(c, replace(ask, length_scale=1 / unit))
    assert network.edges[EdgeKey("node_0", "long_range", "node_1")].delay[0] == 12.0
    far = populate(c, replace(ask, length_scale=1.0))[1]  # taken at their word
    assert far.length_mm[1] == pytest.approx(60 * unit)


def test_what_is_odd_about_weights_is_said() -> None:
    same = populate(tracts(WEIGHTS + WEIGHTS.T), SMALL)[1]
    assert "in both directions alike" in str(same)
    odd = WEIGHTS.copy()
    odd[1, 1] = 3.0
    odd[0] = 0
    odd[:, 2] = 0
    account = populate(tracts(odd), SMALL)[1]
    assert "directed: weights differ" in str(account)
    assert "Left out: 1 weight from a node to itself" in str(account)
    assert "No tract reaches 1 node." in str(account)
    odd[2, 1] = -0.2
    with pytest.raises(ConnectomeError, match=r"weights must be 0 or more.*-0.2 from node 2 to node 1, 1 below 0"):
        populate(tracts(odd), SMALL)
    network, account = populate(tracts(odd), replace(SMALL, negative="drop"))
    assert EdgeKey("node_2", "long_range", "node_1") not in network.edges
    assert "Left out: 1 tract of negative weight" in str(account)


def test_a_graph_with_sensors_is_no_brain() -> None:
    with pytest.raises(ConnectomeError, match=r"regions\[eye\].role must be neuron"):
        populate(Connectome.of([Region("eye", 3, "sensor")]), SMALL)


def test_nodes_without_tracts_are_populations_all_the_same() -> None:
    network, account = populate(tracts(np.zeros((2, 2))), SMALL)
    assert list(network.regions) == ["node_0", "node_1"]
    assert account.tracts == 0
    assert str(account).endswith("No tract reaches 2 nodes.")
    assert populate(Connectome.of([]), SMALL)[0].n_neurons == 0


@pytest.mark.parametrize(
    ("labels", "node_labels", "names"),
    [
        (None, ["V1", "V2", "aréa 3"], ["V1", "V2", "area_3"]),
        (["left", "right", "right"], ["V1", "V1", "V2"], ["left_V1", "right_V1", "right_V2"]),
        (None, ["V1", "V1", "V2"], ["node_0", "node_1", "node_2"]), (None, None, ["node_0", "node_1", "node_2"]),
    ],
)  # fmt: skip
def test_neurons_know_their_node(labels: Any, node_labels: Any, names: list[str], tmp_path: Path) -> None:
    c = tracts(labels=labels, node_labels=node_labels, attributes={"lobe": ["o", "o", "p"]})
    network, _ = populate(c, SMALL)
    assert list(network.regions) == names
    save(network, tmp_path / "n.h5")
    again = load(tmp_path / "n.h5")
    assert again.digest() == network.digest()
    _, nodes = again.to_scipy(), again.to_pandas()[0]
    for k, (name, region) in enumerate(again.regions.items()):
        known = region.attributes
        assert set(known[NODE].values.tolist()) == {k}
        mine = nodes[nodes.region == name]
        assert set(mine["lobe"]) == {"oop"[k]}
        assert set(mine[NODE_REGION]) == {(labels or ["all"] * 3)[k]}
        if node_labels:
            assert set(mine[NODE_LABEL]) == {node_labels[k]}


def test_the_same_seed_makes_the_same_network() -> None:
    one, other, third = (populate(tracts(), SMALL, seed)[0] for seed in (3, 3, 4))
    assert one.digest() == other.digest() != third.digest()


def test_tvbs_zip_has_labels_hemispheres_and_delays(tmp_path: Path) -> None:
    length = np.full((3, 3), 35.0)
    c = tracts(
        labels=["left", "right", "right"], node_labels=["A", "A", "B"], tract_length_mm=length,
        position_um=np.eye(3) * 40_000, delay_ms=Conduction(3.0),
    )  # fmt: skip
    write_tvb(c, tmp_path / "brain.zip")
    network, account = populate(
        read_tvb(tmp_path / "brain.zip"), replace(SMALL, delay_ms=None, normalise="mean_strength")
    )
    assert list(network.regions) == ["left_A", "right_A", "right_B"]
    assert network.edges[EdgeKey("left_A", "long_range", "right_A")].delay[0] == 7.0
    assert into(network, EdgeKey("left_A", "long_range", "right_A"))[0] == pytest.approx(
        4 * into(network, EdgeKey("left_A", "long_range", "right_B"))[0], rel=1e-5
    )
    assert "of tract lengths, 35 mm" in str(account)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"size": 1}, "size must be at least 2|size must be in"), ({"excitatory": 0.0}, "excitatory must leave"),
        ({"normalise": "so"}, "normalise must be in_strength or mean_strength"), ({"negative": "so"}, "negative"),
        ({"tract_in_degree": 17}, "tract_in_degree must be at most 16"), ({"delay_ms": -1.0}, "delay_ms"),
        ({"length_scale": 0.0}, "length_scale"), ({"coupling": np.nan}, "coupling must be finite"),
        ({"neuron": None}, "neuron must be NeuronParameters"), ({"speed_m_s": 0.0}, "speed_m_s"),
    ],
)  # fmt: skip
def test_fields_that_make_no_sense_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConnectomeError, match=said):
        replace(SMALL, **changes)


def test_more_than_memory_has_is_refused() -> None:
    with pytest.raises(ConnectomeError, match="memory"):
        populate(tracts(), replace(SMALL, size=10**6))


# Null tracts


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["degree", "strength", "weights", "erdos_renyi"]), st.booleans(), st.integers(0, 99))
def test_null_tracts_have_the_same_weights_and_their_lengths(kind: TractNull, both_ways: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.lognormal(0, 1, (8, 8)).astype(np.float32) * (rng.random((8, 8)) < 0.5)
    if both_ways:
        matrix = np.triu(matrix, 1) + np.triu(matrix, 1).T
    np.fill_diagonal(matrix, 0)
    c = tracts(matrix, labels=list("aabbbccc"), tract_length_mm=10 * matrix + 5)
    found = shuffled_tracts(c, kind, seed)
    before, after = simple_graph(c), simple_graph(found)
    assert list(found.regions) == list(c.regions)
    assert np.sort(after.weight).tolist() == np.sort(before.weight).tolist()
    np.testing.assert_allclose(after.length_um, 1000 * (10 * after.weight + 5), rtol=1e-5)
    if both_ways:
        dense = after.partner
        assert (dense >= 0).all()
        assert (after.weight[dense] == after.weight).all()
    if kind == "weights":
        assert after.target.tolist() == before.target.tolist()
    if kind in ("degree", "weights"):
        assert np.diff(after.indptr).tolist() == np.diff(before.indptr).tolist()
    assert found.digest() == shuffled_tracts(c, kind, seed).digest()


def test_null_tracts_differ_by_seed_and_kind() -> None:
    matrix = np.random.default_rng(0).random((10, 10)) * (np.random.default_rng(1).random((10, 10)) < 0.5)
    c = tracts(matrix)
    digests = {shuffled_tracts(c, kind, seed).digest() for kind in ("degree", "weights") for seed in (0, 1)}
    assert len(digests) == 4
    with pytest.raises(ConnectomeError, match="null must be among"):
        shuffled_tracts(c, "hope")  # type: ignore[arg-type]
