"""The network that wires itself: what grows first, both engines, files, the trial's verdicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from connectome import load, run, save
from connectome.circuits import structural_plasticity as circuit
from connectome.graph.flat import Engine
from connectome.io.circuits import read_circuit
from connectome.simulate import run_structural
from sims.studies.circuits import structural_runs
from sims.studies.circuits.structural_plasticity import structural_plasticity as trial


def test_it_wires_itself_and_stays_itself_in_files(tmp_path: Path) -> None:
    """Noise alone makes E neurons grow; in ten seconds they have edges, which run on either engine and in any file."""
    network, rule = circuit.growing_network(60, 15, seed=1), circuit.homeostasis(interval_ms=2000.0, length_um=150.0)
    assert network.n_edges == 0
    grown = run_structural(network, 16_000.0, rule, circuit.background(), seed=1).connectome
    kinds = {key[0] for key in grown.edges}
    assert "e" in kinds
    assert all((e.weight == (585.0 if key.source == "e" else -585.0)).all() for key, e in grown.edges.items())
    assert 0.02 < grown.regions["e"].state["calcium"].mean() < 0.09
    assert (grown.regions["i"].state["den_ex"] > grown.regions["i"].state["den_in"]).mean() > 0.7
    save(grown, tmp_path / "grown.h5")
    assert load(tmp_path / "grown.h5").digest() == grown.digest()
    other = read_circuit(tmp_path / "grown.sonata")
    assert other.n_edges == grown.n_edges
    assert other.regions["e"].neuron == grown.regions["e"].neuron
    engines: tuple[Engine, ...] = ("numba", "torch", "numba")
    spikes = [
        run(c, 60.0, circuit.background(), engine=engine, dtype="float64", seed=4)
        for c, engine in zip((grown, grown, other), engines, strict=True)
    ]  # fmt: skip
    assert spikes[0].attrs["n_spikes"] > 10
    for one in spikes[1:]:
        np.testing.assert_array_equal(one.spike_time_ms.values, spikes[0].spike_time_ms.values)


def test_set_points_are_rates() -> None:
    """beta tau_Ca times the rate: 5 and 20 Hz; and elements cease to grow there."""
    rule = circuit.homeostasis()
    for name, rate_hz in (("e", 5.0), ("i", 20.0)):
        assert circuit.SET_POINT[name] == pytest.approx(rule.beta * rule.tau_ms / 1000 * rate_hz)
        for of in rule.elements[name].values():
            np.testing.assert_allclose(of.curve(np.array([0, circuit.SET_POINT[name]])), 0, atol=1e-12)


def test_comparators_have_the_edges_that_ours_grew(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the trial judges what it measured; without NEST it says so."""
    for name, value in (("SECONDS", 40), ("_LATE_S", 20), ("_WEAK_S", 10)):
        monkeypatch.setattr(structural_runs, name, value)
    monkeypatch.setattr(structural_runs, "_size", lambda quick: (60, 15))
    monkeypatch.setattr(structural_runs, "nest_python", lambda: None)
    structural_runs.grown.cache_clear()
    structural_runs.nest_example.cache_clear()
    ours = structural_runs.grown("homeostasis", 0, True)[0].connectome
    for condition in ("random rewiring", "static"):
        theirs = structural_runs._fixed(condition, 0, True)[0]
        assert {k: len(e) for k, e in theirs.edges.items() if len(e)} == {
            k: len(e) for k, e in ours.edges.items() if len(e)
        }
    found = {c: dict(trial.run(c, 0, True)) for c in trial.conditions}
    assert found["NEST"] == {}
    values = {
        c: {m: np.array([of.get(m, np.nan)]) for m in trial.measures} for c, of in found.items()
    }  # fmt: skip
    checks = {check.claim: check for check in trial.check(values)}
    assert sum("no NEST here" in check.found and not check.holds for check in checks.values()) == 2
    perfect = {c: {m: np.array([1.0]) for m in trial.measures} for c in trial.conditions}
    perfect["static"] |= {"off": np.array([2.0]), "e, weak drive": np.array([0.5]), "i, weak drive": np.array([0.5])}
    perfect["random rewiring"]["off"] = np.array([2.0])
    perfect["homeostasis"]["drift"], perfect["distance kernel"]["length"] = np.array([0.0]), np.array([0.4])
    assert all(check.holds for check in trial.check(perfect))
    structural_runs.grown.cache_clear()
    structural_runs.nest_example.cache_clear()
