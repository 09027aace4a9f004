"""Physiology: signs, weights and delays of counts of synapses, by name and by TOML."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from connectome import Connectome, ConnectomeError, EdgeSet, Region
from connectome.experiment import PRESETS, Physiology, animate, physiology_from, preset, read_physiology, stimulate
from connectome.experiment.physiology import FLY, MAMMAL, table_of
from connectome.neurons import Alif, Shiu2024
from connectome.simulate import run

N = 6
TRANSMITTER = ["ACH", "GABA", " glutamate ", "DA", None, "mystery"]


def counts(attributes: Any = None, weight: Any = None, **region: Any) -> Connectome:
    """Every neuron to the next two, by 1, 2, ... synapses."""
    source, target = np.repeat(np.arange(N), 2), np.add.outer(np.arange(N), [1, 2]).ravel() % N
    weight = np.arange(1, 2 * N + 1) if weight is None else weight
    brain = Region("brain", N, attributes=attributes or {}, **region)
    edges = EdgeSet.from_arrays(
        ("brain", "local", "brain"), source, target, weight, n_source=N, n_target=N, dt_ms=0.1,
        attributes={"neuropil": ["MB", "AL"] * N},
    )  # fmt: skip
    return Connectome.of([brain, Region("eye", 2, "sensor")], [edges])


def weights(connectome: Connectome) -> Any:
    """(N, N): row = source."""
    (e,) = connectome.edges.values()
    found = np.zeros((N, N))
    found[e.source, e.target] = e.weight
    return found


SIGN = np.array([1, -1, -1, 1, 0, 0])


@pytest.mark.parametrize(("unknown", "other"), [("excitatory", 1), ("inhibitory", -1), ("drop", 0)])
def test_signs_by_transmitter(unknown: Any, other: int) -> None:
    given = counts({"nt_type": TRANSMITTER})
    network, account = animate(given, replace(preset("shiu2024"), unknown=unknown))
    sign = np.where(SIGN == 0, other, SIGN)
    np.testing.assert_array_equal(weights(network), weights(given) * sign[:, None])
    assert (network.n_edges, account.dropped) == ((8, 4) if unknown == "drop" else (12, 0))
    assert account.unknown == {"": 2, "mystery": 2}
    np.testing.assert_array_equal(network.regions["brain"].sign, sign)
    assert account.excitatory + account.inhibitory == network.n_edges
    assert (account.excitatory, account.inhibitory) == (4 + 4 * (other > 0), 4 + 4 * (other < 0))
    assert network.regions["brain"].neuron == Shiu2024()
    (e,) = network.edges.values()
    assert set(e.delay_steps) == {18}
    assert e.attributes["neuropil"].categories == ("AL", "MB")
    assert "4 edges" in str(account)
    assert "mystery 2" in str(account)


def test_unknown_signs_are_refused_unless_told() -> None:
    with pytest.raises(ConnectomeError, match=r"4 edges of 12 without \(nothing said 2, mystery 2\).*unknown ="):
        animate(counts({"transmitter": TRANSMITTER}), Physiology())
    told = physiology_from({"signs": {"mystery": -1, "": 1}})
    network, account = animate(counts({"transmitter": TRANSMITTER}), told)
    assert not account.unknown
    np.testing.assert_array_equal(network.regions["brain"].sign, [1, -1, -1, 1, 1, -1])


def test_signs_by_edges() -> None:
    given = counts()
    (e,) = given.edges.values()
    nt_type: Any = ["GABA" if k % 3 else "ACH" for k in range(12)]
    typed = replace(e, attributes={"nt_type": nt_type})
    network, account = animate(replace(given, edges={e.key: typed}), preset("shiu2024"))
    (found,) = network.edges.values()
    np.testing.assert_array_equal(np.sign(found.weight), [-1 if k % 3 else 1 for k in range(12)])
    assert account.sign_by == "nt_type of edges"
    assert not network.regions["brain"].sign.any()


def test_signs_of_weights_where_nothing_else_says() -> None:
    weight = np.arange(1, 13) * np.repeat([1, -1, 1, 1, -1, 1], 2)
    network, account = animate(counts(weight=weight), preset("shiu2024"))
    np.testing.assert_array_equal(weights(network), weights(counts(weight=weight)))
    assert account.sign_by == "their weights"
    with pytest.raises(ConnectomeError, match=r"sign_by must name an attribute of neurons or edges \(neuropil\)"):
        animate(counts(), preset("shiu2024"))
    network, account = animate(counts(), replace(preset("shiu2024"), sign_by=""))
    assert (account.excitatory, account.inhibitory) == (12, 0)
    with pytest.raises(ConnectomeError, match=r"must be counts, 0 or more.*-3 at edge 2"):
        animate(counts({"nt": TRANSMITTER}, weight), preset("shiu2024"))
    with pytest.raises(ConnectomeError, match="must name an attribute that is texts; found int64"):
        animate(counts({"nt": np.arange(N)}), preset("shiu2024"))


def test_species_differ_in_glutamate() -> None:
    assert FLY["glutamate"] == -MAMMAL["glutamate"] == -1
    assert physiology_from({"signs": "mammal"}).signs["glut"] == 1
    one = physiology_from({"preset": "shiu2024", "signs": {"Dopamine": -1}})
    assert (one.signs["dopamine"], one.signs["gaba"]) == (-1, -1)


@given(st.floats(0.01, 100), st.floats(0.01, 100), st.sampled_from(["", "in_degree", "in_strength"]))
def test_weights_in_closed_form(weight: float, gain: float, normalise: Any) -> None:
    given = counts()
    p = Physiology(sign_by="", weight=weight, gain=gain, normalise=normalise)
    count = weights(given)
    total = {"": np.ones(N), "in_degree": (count > 0).sum(0), "in_strength": count.sum(0)}[normalise]
    np.testing.assert_allclose(weights(animate(given, p)[0]), weight * gain * count / total, rtol=1e-6)
    logs = animate(given, replace(p, count="log"))[0]
    np.testing.assert_allclose(weights(logs), weight * gain * np.log1p(count) / total, rtol=1e-6)


@pytest.mark.parametrize("normalise", ["", "in_strength"])
def test_weights_beyond_bounds_are_refused_without_a_warning(normalise: Any) -> None:
    with pytest.raises(ConnectomeError, match="weight"):
        animate(counts(), Physiology(sign_by="", weight=1e20, gain=1e20, normalise=normalise))


def test_weights_by_area() -> None:
    area = np.arange(1.0, N + 1)
    network, _ = animate(counts({"area": area}), Physiology(sign_by="", size_by="area"))
    np.testing.assert_allclose(weights(network), weights(counts()) * (area.mean() / area), rtol=1e-6)
    for bad, found in (([1, 2, 3, None, 5, 6], "nothing of neuron 3"), ([1, 2, 0, 4, 5, 6], "0.0 of neuron 2")):
        with pytest.raises(ConnectomeError, match=rf"\[area\] must be numbers > 0, none missing; found {found}"):
            animate(counts({"area": bad}), Physiology(sign_by="", size_by="area"))
    with pytest.raises(ConnectomeError, match="size_by must be an attribute of brain: area"):
        animate(counts({"area": area}), Physiology(sign_by="", size_by="volume"))


def test_delays_by_length() -> None:
    """Edges are put into the order that their new delays ask for, with weight and attributes."""
    position = np.random.default_rng(0).uniform(0, 1000, (N, 3))
    p = Physiology(sign_by="", delay_ms=0.5, velocity_um_per_ms=200.0)
    network, _ = animate(counts(position_um=position), p)
    (e,) = network.edges.values()
    length = np.linalg.norm(position[e.source] - position[e.target], axis=1)
    np.testing.assert_array_equal(e.delay_steps, np.rint((0.5 + length / 200) / 0.1))
    np.testing.assert_array_equal(weights(network), weights(counts()))
    assert e.attributes["neuropil"].tolist() == ["MB" if w % 2 else "AL" for w in e.weight]
    with pytest.raises(ConnectomeError, match="position of every neuron; found 12 edges of"):
        animate(counts(), p)
    with pytest.raises(ConnectomeError, match=r"6553\.5 ms"):
        animate(counts(position_um=1e6 * position), p)


def test_tables_there_and_back(tmp_path: Path) -> None:
    given = physiology_from({
        "preset": "shiu2024", "gain": 2.0, "neuron": {"t_ref_ms": 3.0}, "signs": {"da": -1}, "sign_by": "nt",
        "velocity_um_per_ms": 100.0,
    })  # fmt: skip
    assert given.neuron == Shiu2024(t_ref_ms=3.0)
    file = tmp_path / "one.toml"
    file.write_text(tomli_w.dumps({"physiology": table_of(given)}))
    found = read_physiology(str(file))
    assert table_of(found) == table_of(given)
    other = physiology_from({"preset": "shiu2024", "neuron": {"model": "alif", "t_ref_ms": 1.0}})
    assert other.neuron == Alif(t_ref_ms=1.0)
    for name in PRESETS:
        assert table_of(physiology_from(table_of(preset(name)))) == table_of(preset(name))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"gain": 0}, "physiology.gain must be a finite number > 0; found 0"),
        ({"gain": 10**400}, "physiology.gain must be a finite number > 0; found 1000"),
        ({"weight": math.inf}, "physiology.weight must be a finite number > 0"),
        ({"gains": 1}, "physiology must have no keys but preset, .*'gains'"),
        ({"preset": "shiu"}, "physiology must be among shiu2024, mammal, worm; found 'shiu'"),
        ({"unknown": "maybe"}, "physiology.unknown must be one of 'refuse'"),
        ({"signs": {"ach": 2}}, r"physiology.signs\[ach\] must be 1 or -1; found 2"),
        ({"signs": "fish"}, "physiology.signs must be a table, or one of fly, mammal, worm"),
        ({"signs": 3}, "physiology.signs must be a table"),
        ({"neuron": {"tau": 1.0}}, "physiology.neuron must be parameters of iaf_psc_exp: .*'tau'"),
        ({"neuron": {"model": "none"}}, "physiology.neuron.model must be among"),
        ({"neuron": 3}, "physiology.neuron must be a table"),
        ({"stimulated": {"v_peak_mv": 1.0}}, "physiology.stimulated must be parameters of iaf_psc_exp"),
        ({"sign_by": [3]}, "physiology.sign_by must be names of attributes"),
        ({"sign_by": 3}, "physiology.sign_by must be names of attributes"),
        ({"size_by": 3}, "physiology.size_by must be a text"),
    ],
)
def test_bad_tables_are_refused(table: Any, said: str) -> None:
    with pytest.raises(ConnectomeError, match=said):
        physiology_from(table)


def test_bad_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    for text, said in (("[physiology", "a readable TOML file"), ("[other]", r"must have a table \[physiology\]")):
        file.write_text(text)
        with pytest.raises(ConnectomeError, match=said):
            read_physiology(str(file))
    with pytest.raises(ConnectomeError, match="must be a readable TOML file; found No such file"):
        read_physiology(str(tmp_path / "none.toml"))


def test_stimulated_cells_fire_at_each_event() -> None:
    """150 Hz, without a refractory time; nobody else fires by himself."""
    network, _ = animate(counts({"nt": ["GABA"] * N}, position_um=np.zeros((N, 3))), preset("shiu2024"))
    network, stimulus = stimulate(network, preset("shiu2024"), {"brain": [1, 4]}, 150.0)
    np.testing.assert_array_equal(network.regions["brain"].neuron.t_ref_ms, [2.2, 0, 2.2, 2.2, 0, 2.2])
    spikes = run(network, 4000.0, stimulus, seed=3)
    n = np.bincount(spikes.spike_neuron.values, minlength=N)
    assert (np.abs(n[[1, 4]] - 600) < 4 * 600**0.5).all()
    assert not n[[0, 2, 3, 5]].any()
    _, poisson = stimulate(network, preset("shiu2024"), {"eye": [0]}, 10.0)
    np.testing.assert_array_equal(poisson.poisson["eye"].rate_hz, [10.0, 0.0])
    with pytest.raises(ConnectomeError, match=r"numbers in 0 \.\. 5"):
        stimulate(network, preset("shiu2024"), {"brain": [6]}, 150.0)
