"""A given connectome as the initial wiring of a simulation and of a development."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, NeuronParameters, Region
from connectome.development.birth import NEURON, Anatomy, birth, scaled, weight_to_threshold_pa
from connectome.development.configuration import Configuration, plan_stages
from connectome.development.measured import measured_regions
from connectome.io.edge_tables import write_csv
from connectome.io.snapshot import load
from connectome.learning.task import Task
from connectome.simulate.runs import Stimulus, run
from connectome.wiring.edges import from_edge_list
from sims.develop import main
from tests.strategies import connectomes


def worm() -> Connectome:
    """24 named neurons in a ring in two regions, each with an edge to the next three."""
    names = [f"N{i:02}" for i in range(24)]
    source = [names[i] for i in range(24) for _ in range(3)]
    target = [names[(i + k) % 24] for i in range(24) for k in (1, 2, 5)]
    return from_edge_list(source, target, np.arange(72) % 4 + 1.0, region_of=dict(zip(names, "ab" * 12, strict=True)))


class _Task:
    """As little of a task as birth reads."""

    name, requires, sensors, effectors = "perception", (), {"eye": 5}, {"hand": 2}


TASK: Task = _Task()  # type: ignore[assignment]  # birth reads no more of it


def born(wiring: Connectome | None, anatomy: Anatomy = Anatomy()) -> Connectome:
    if wiring is not None:
        wiring = measured_regions(wiring, [TASK], {"perception": replace(anatomy, wiring="a file")})
    return birth(None, TASK, anatomy, 1, (), np.random.default_rng(3), wiring)


def test_a_region_begins_as_the_wiring() -> None:
    given_, c = worm(), born(worm())
    region, local = c.regions["perception"], c.edges[EdgeKey("perception", "local", "perception")]
    names = [name for r in given_.regions.values() for name in r.label.tolist()]  # type: ignore[union-attr]  # they have
    assert region.label is not None
    assert region.label.tolist() == names
    pairs = {(names[i], names[j]) for i, j in zip(local.source, local.target, strict=True)}
    assert pairs == {(f"N{i:02}", f"N{(i + k) % 24:02}") for i in range(24) for k in (1, 2, 5)}
    assert set(region.sign.tolist()) == {-1, 1}
    assert (np.sign(local.weight) == region.sign[local.source]).all()
    assert set(local.birth_stage.tolist()) == {1}
    # The ratios of an excitatory neuron's weights are those given, and the mean is that of a drawn wiring.
    strength = np.abs(local.weight) / np.where(region.sign[local.source] < 0, Anatomy().inhibitory_gain, 1)
    assert sorted(np.round(strength / strength.min(), 4)) == sorted((np.arange(72) % 4 + 1.0).tolist())
    mean = Anatomy().local_gain * weight_to_threshold_pa(NEURON) / math.sqrt(3) * math.sqrt(2 / math.pi)
    assert strength.mean() == pytest.approx(mean, rel=1e-5)
    assert {k.kind for k in c.edges} == {"local", "afferent", "efferent"}
    assert born(worm()).digest() == c.digest()


def test_without_a_wiring_nothing_changes() -> None:
    c = born(None)
    assert c.regions["perception"].size == Anatomy().neurons
    assert c.regions["perception"].label is None


@given(connectomes())
def test_any_connectome_will_do(given_: Connectome) -> None:
    n = sum(r.size for r in given_.regions.values() if r.role == "neuron")
    if not n:
        with pytest.raises(ConnectomeError, match=r"anatomy\.wiring must have neurons"):
            born(given_)
        return
    c = born(given_)
    local = c.edges[EdgeKey("perception", "local", "perception")]
    assert len(local) == given_.count("local") + given_.count("long_range")
    assert np.isfinite(local.weight).all()
    signs = np.concatenate([r.sign for r in given_.regions.values() if r.role == "neuron"])
    if signs.any():
        np.testing.assert_array_equal(c.regions["perception"].sign, signs)


def test_delays_and_places_are_kept() -> None:
    position = np.array([[0.0, 0, 0], [10, 0, 0]])
    edges = EdgeSet.from_arrays(
        ("x", "local", "x"), [0, 1], [1, 0], [1.0, -1.0], n_source=2, n_target=2, dt_ms=0.1, delay_ms=[0.2, 3.4]
    )
    c = born(Connectome.of([Region("x", 2, position_um=position)], [edges]))
    region, local = c.regions["perception"], c.edges[EdgeKey("perception", "local", "perception")]
    assert np.diff(region.position_um, axis=0).tolist() == [[10, 0, 0]]
    assert local.delay.tolist() == [1, 3]
    assert region.sign.tolist() == [0, 0]  # a wiring with negative weights keeps its own
    assert np.sign(local.weight).tolist() == [1, -1]


def test_a_plan_needs_the_file_that_it_names() -> None:
    with pytest.raises(ConnectomeError, match=r"^anatomy\.wiring must .* for perception; found nothing"):
        plan_stages(["perception"], {"perception": TASK}, Configuration(Anatomy(wiring="x.csv")))
    taken = measured_regions(worm(), [TASK], {"perception": Anatomy(wiring="x.csv")})
    with pytest.raises(ConnectomeError, match=r"^anatomy\.wiring must .* for no region; found perception\."):
        plan_stages(["perception"], {"perception": TASK}, Configuration(), taken)


CONFIGURATION = """
[anatomy]
wiring = "{}"
[training]
perception = 4
batch = 4
epoch_updates = 2
[data]
test_trials = 4
[rules.growth]
edges = 20
"""


def test_a_development_begins_with_a_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(worm(), tmp_path / "worm.csv")
    (tmp_path / "worm.toml").write_text(CONFIGURATION.format(tmp_path / "worm.csv"))
    arguments = ["--regions", "perception", "--config", str(tmp_path / "worm.toml"), "--quiet"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    birth_ = load(tmp_path / "out" / "00_birth.h5")
    region = birth_.regions["perception"]
    assert region.label is not None
    assert (region.size, region.label[0]) == (24, "N00")
    assert len(birth_.edges[EdgeKey("perception", "local", "perception")]) == 72
    end = load(tmp_path / "out" / "01_perception.h5").regions["perception"]
    assert end.label is not None
    assert (end.label == region.label).all()
    (tmp_path / "worm.toml").write_text(CONFIGURATION.format(tmp_path / "none.csv"))
    assert main([*arguments, "--out", str(tmp_path / "other")]) == 2
    error = capsys.readouterr().err
    assert "anatomy.wiring must be a file, a run's folder or the name of a measured connectome; found '" in error
    assert error.count("\n") == 1


# Simulation.


def test_equal_time_constants_are_the_limit() -> None:
    """Of the peak of a postsynaptic potential, and so of the weight that takes a neuron to its threshold."""
    equal = weight_to_threshold_pa(NeuronParameters(tau_m_ms=8.0, tau_syn_ex_ms=8.0))
    near = weight_to_threshold_pa(NeuronParameters(tau_m_ms=8.0, tau_syn_ex_ms=8.0001))
    assert equal == pytest.approx(near, rel=1e-4)
    assert equal == pytest.approx(15.0 * np.e * 250.0 / 8.0)  # 15 mV, 250 pF


@given(connectomes(borders=False))
def test_scaled(c: Connectome) -> None:
    if not any(e.weight.any() for e in c.edges.values()):
        with pytest.raises(ConnectomeError, match="weights must not all be 0"):
            scaled(c)
        return
    new = scaled(c, 0.5)
    matrix = np.zeros((c.n_neurons, c.n_neurons), bool)
    start = dict(zip(c.regions, np.cumsum([0, *(r.size for r in c.regions.values())]), strict=False))
    strength = np.zeros(c.n_neurons)
    for key, e in new.edges.items():
        matrix[start[key.source] + e.source, start[key.target] + e.target] = True
        unit = weight_to_threshold_pa(c.regions[key.target].neuron)
        np.add.at(strength, start[key.target] + e.target, np.abs(e.weight) / unit)
    assert strength[matrix.any(axis=0)].mean() == pytest.approx(0.5, rel=1e-4)
    ratio = {
        round(float(a / b), 5)
        for k, e in new.edges.items()
        for a, b in zip(e.weight, c.edges[k].weight, strict=True)
        if b
    }
    assert max(ratio) == pytest.approx(min(ratio), rel=1e-3)


def test_spikes_run_through_it() -> None:
    """All inputs of a mean neuron at once take it to the threshold at a gain of 1: a little more and it fires."""
    neuron = NeuronParameters()
    regions = [Region("a", 4, "sensor"), Region("b", 1, neuron=neuron)]
    edges = EdgeSet.from_arrays(
        ("a", "afferent", "b"), [0, 1, 2, 3], [0] * 4, [1.0, 2, 3, 4], n_source=4, n_target=1, dt_ms=0.1
    )
    c = Connectome.of(regions, [edges])
    spikes = {"a": (np.ones(4), np.arange(4))}
    for gain, n in ((0.99, 4), (1.01, 5)):
        assert run(scaled(c, gain), 30.0, Stimulus(spikes)).spike_time_ms.size == n


@pytest.mark.parametrize("gain", [0, -1, math.inf, math.nan, "1"])
def test_wrong_gains_are_refused(gain: float) -> None:
    with pytest.raises(ConnectomeError, match="gain must be finite and > 0"):
        scaled(worm(), gain)
