"""Structural plasticity in a run: calcium and growth in closed form, elements bound one by one, runs that go on."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad

from connectome import Connectome, ConnectomeError, EdgeSet, NeuronParameters, Region
from connectome.graph.parts import EdgeKey
from connectome.io.snapshot import load, save
from connectome.simulate import (
    Elements,
    Gaussian,
    Linear,
    Poisson,
    Sigmoid,
    Stimulus,
    StructuralPlasticity,
    Synapse,
    run,
    run_structural,
)
from connectome.simulate.growth_curves import GrowthCurve
from connectome.simulate.rewiring import bound_elements, rewire
from connectome.simulate.structural import calcium_after
from sims.studies.circuits.structural_runs import nest_python

CURVES: list[GrowthCurve] = [Linear(0.05), Gaussian(0.0, 0.05), Gaussian(0.01, 0.3), Sigmoid(0.05, 0.01)]


# Curves


@pytest.mark.parametrize(("eta", "eps"), [(0.0, 0.05), (0.1, 0.7), (-0.2, 0.3)])
def test_gaussian_growth_is_0_at_eta_and_eps_and_most_midway(eta: float, eps: float) -> None:
    curve, between = Gaussian(eta, eps), np.linspace(eta, eps, 1001)
    np.testing.assert_allclose(curve(np.array([eta, eps])), 0, atol=1e-14)
    assert curve(between).argmax() == 500
    assert curve(between)[500] == 1
    np.testing.assert_allclose(curve(np.array([1e9])), -1)


def test_other_curves_cross_0_at_eps() -> None:
    at = np.array([0.0, 0.05, 1e9])
    np.testing.assert_allclose(Linear(0.05)(at[:2]), [1, 0])
    np.testing.assert_allclose(Sigmoid(0.05, 0.01)(at), [2 / (1 + np.exp(-5)) - 1, 0, -1])


@pytest.mark.parametrize("curve", CURVES)
@settings(max_examples=20, deadline=None)
@given(calcium=st.floats(0, 1), gap_ms=st.floats(0.1, 50_000), tau_ms=st.floats(1000, 20_000))
def test_growth_in_a_gap_is_the_integral(curve: GrowthCurve, calcium: float, gap_ms: float, tau_ms: float) -> None:
    """Also beside a neuron that needs few panels."""

    def rate(t: float) -> float:
        return float(curve(np.array([calcium * np.exp(-t / tau_ms)]))[0])

    crossing = [tau_ms * np.log(max(calcium, 1e-9) / c) for c in (0.3, 0.2, 0.15, 0.1, 0.05, 0.025, 0.01)]
    exact = quad(rate, 0, gap_ms, epsabs=1e-9, limit=400, points=[t for t in crossing if 0 < t < gap_ms] or None)[0]
    found = curve.grown(np.array([calcium, 0.03]), np.array([gap_ms, 10.0]), tau_ms)
    assert found[0] == pytest.approx(exact, rel=1e-9, abs=1e-6)


# Calcium


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_calcium_is_a_sum_of_decays(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m, end, tau, beta = 5, int(rng.integers(0, 60)), 3000.0, 900.0, 0.01
    time, who, first = np.sort(rng.uniform(0, end, m)), rng.integers(0, n, m), rng.uniform(0, 0.1, n)
    exact = first * np.exp(-end / tau)
    np.add.at(exact, who, beta * np.exp(-(end - time) / tau))
    seen = np.zeros(n)
    found = calcium_after(first, time, who, end, tau, beta, lambda k, calcium, gap: np.add.at(seen, k, gap))
    np.testing.assert_allclose(found, exact, rtol=1e-12)
    np.testing.assert_allclose(seen, end)


# Elements


def three(z: dict[str, NDArray[np.float64]]) -> tuple[Connectome, StructuralPlasticity, dict[str, Any]]:
    """Regions a and b, three neurons each, edges of a; elements of both."""
    regions = [Region(r, 3, position_um=np.c_[np.arange(3) + 3.0 * k, np.zeros((3, 2))]) for k, r in enumerate("ab")]
    edges = EdgeSet.from_arrays(
        ("a", "local", "a"), [0, 0, 0, 1, 2], [0, 1, 1, 2, 0], 5.0, n_source=3, n_target=3, dt_ms=0.1, delay_ms=1.0
    )
    kind = Elements(Linear(), 1e-4, vacant_loss=0.5)
    rule = StructuralPlasticity(
        {"a": {"bouton": kind, "spine": kind}, "b": {"spine": kind}}, (Synapse("bouton", "spine", 5.0),), 100.0
    )
    elements = {"a": {"bouton": z["bouton"], "spine": z["spine"][:3]}, "b": {"spine": z["spine"][3:]}}
    return Connectome.of(regions, [edges]), rule, elements


def test_what_is_in_excess_goes_and_its_partner_is_vacant() -> None:
    """Neuron 0 has three boutons bound and one left; no spine is in excess, and none is free but those let go."""
    connectome, rule, elements = three(
        {"bouton": np.array([1.9, 1.0, 1.0]), "spine": np.array([2.2, 2.0, 1.0, 0, 0, 0])}
    )
    seen = set()
    for seed in range(20):
        edit = rewire(connectome, rule, elements, 7, np.random.default_rng(seed))
        after = connectome.apply(edit)
        edges = after.edges[EdgeKey("a", "local", "a")]
        assert len(edges) == 3
        assert edges.source.tolist() == [0, 1, 2]
        seen.add(int(edges.target[0]))
        log = after.provenance.rule_log
        assert [(r.rule, r.step, r.added, r.removed) for r in log] == [("structural_plasticity", 7, 0, 2)]
        spines = after.regions["a"].state["spine"]
        lost = np.bincount(edges.target, minlength=3)
        np.testing.assert_allclose(spines, [2.2, 2.0, 1.0] - 0.5 * ([2, 2, 1] - lost), rtol=1e-6)
    assert seen == {0, 1}


def test_vacant_elements_pair_over_regions() -> None:
    connectome, rule, elements = three(
        {"bouton": np.array([5.0, 1.5, 1.0]), "spine": np.array([2.0, 2.0, 1.0, 0.9, 0, 3.0])}
    )
    after = connectome.apply(rewire(connectome, rule, elements, 1, np.random.default_rng(0)))
    far = after.edges[EdgeKey("a", "long_range", "b")]
    assert (far.source.tolist(), far.target.tolist(), far.weight.tolist()) == ([0, 0], [2, 2], [5.0, 5.0])
    assert far.delay.tolist() == [1.0, 1.0]
    assert after.regions["b"].state["spine"].tolist() == pytest.approx([0.9, 0, 2.5])
    assert len(after.edges[EdgeKey("a", "local", "a")]) == 5


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), near=st.booleans(), autapses=st.booleans())
def test_bound_elements_are_the_synapses(seed: int, near: bool, autapses: bool) -> None:
    """Whatever elements there are: as many bound boutons as spines, as edges; none bound that is not there; and no more
    pairs could have formed."""
    rng = np.random.default_rng(seed)
    connectome, rule, elements = three({"bouton": rng.uniform(0, 6, 3), "spine": rng.uniform(0, 5, 6)})
    rule = StructuralPlasticity(
        rule.elements, (Synapse("bouton", "spine", 5.0, 1.0, 2.0 if near else None, autapses),), 100.0
    )
    for update in range(3):
        connectome = connectome.apply(rewire(connectome, rule, elements, update, rng))
        bound = bound_elements(connectome, rule)
        assert bound["bouton"].sum() == bound["spine"].sum() == connectome.n_edges
        whole = {
            "bouton": np.floor(np.append(elements["a"]["bouton"], [0.0] * 3)),
            "spine": np.floor(np.concatenate([elements[r]["spine"] for r in "ab"])),
        }
        assert all((bound[name] <= whole[name]).all() for name in bound)
        if autapses:
            assert min((whole[name] - bound[name]).sum() for name in bound) == 0
        elements["a"]["bouton"] = rng.uniform(0, 6, 3)


def test_near_neurons_pair_the_more_often() -> None:
    """In proportion to the kernel; and with a wide one as without."""
    regions = [
        Region("a", 1, position_um=np.zeros((1, 3))),
        Region("b", 3, position_um=np.array([[0.0, 0, 0], [1, 0, 0], [0, 2, 0]])),
    ]
    kind, wanted = Elements(Linear(), 1e-4), np.exp(-np.array([0.0, 1, 4]) / 1.5**2)
    for length, expected in ((1.5, wanted / wanted.sum()), (1e6, np.full(3, 1 / 3))):
        rule = StructuralPlasticity(
            {"a": {"bouton": kind}, "b": {"spine": kind}}, (Synapse("bouton", "spine", 5.0, length_um=length),), 100.0
        )
        elements = {"a": {"bouton": np.array([3000.0])}, "b": {"spine": np.full(3, 1e6)}}
        c = Connectome.of(regions)
        after = c.apply(rewire(c, rule, elements, 0, np.random.default_rng(0)))
        share = np.bincount(after.edges[EdgeKey("a", "long_range", "b")].target, minlength=3) / 3000
        np.testing.assert_allclose(share, expected, atol=0.03)


# Runs


def small(interval_ms: float = 100.0, length_um: float | None = 80.0) -> tuple[Connectome, StructuralPlasticity]:
    """Two regions that wire themselves within a second."""
    rng = np.random.default_rng(0)
    regions = [
        Region(name, n, position_um=np.c_[rng.uniform(0, 200, (n, 2)), np.zeros(n)], sign=np.full(n, sign))
        for name, n, sign in (("e", 20, 1), ("i", 10, -1))
    ]
    fast = Elements(Gaussian(0.0, 0.08), 0.02, 0.1)
    rule = StructuralPlasticity(
        {"e": {"bouton": fast, "spine": fast, "shaft": fast}, "i": {"shaft_bouton": fast, "spine": fast}},
        (
            Synapse("bouton", "spine", 150.0, 2.0, length_um, False),
            Synapse("shaft_bouton", "shaft", -150.0, 1.0, length_um, False, "slow"),
        ),
        interval_ms, tau_ms=300.0, beta=0.01,
    )  # fmt: skip
    return Connectome.of(regions), rule


DRIVE = Stimulus(
    current_pa={"e": np.linspace(0, 150, 8000)[:, None]},
    poisson={"e": Poisson(3000.0, 60.0), "i": Poisson(3000.0, 60.0)},
)


def test_two_runs_are_one_and_threads_give_the_same_bits(tmp_path: Path) -> None:
    """Also if the connectome was saved in between."""
    connectome, rule = small()
    whole = run_structural(connectome, 800.0, rule, DRIVE, seed=3, threads=1)
    assert whole.result.removed.values.sum() > 20
    assert whole.connectome.n_edges > 0
    two = run_structural(connectome, 800.0, rule, DRIVE, seed=3, threads=2)
    assert two.result.identical(whole.result)
    assert two.connectome.digest() == whole.connectome.digest()
    first = run_structural(connectome, 300.0, rule, DRIVE.part(0, 3000, 8000, 0.1), seed=3)
    save(first.connectome, tmp_path / "half.h5")
    second = run_structural(
        load(tmp_path / "half.h5"), 500.0, rule, DRIVE.part(3000, 8000, 8000, 0.1), seed=3, state=first.state
    )
    assert second.connectome.digest() == whole.connectome.digest()
    assert second.connectome.provenance.rule_log == whole.connectome.provenance.rule_log
    for name in ("calcium", "elements", "synapses", "n_spikes"):
        both = np.concatenate([first.result[name].values, second.result[name].values])
        np.testing.assert_array_equal(both, whole.result[name].values)
    for name, shift in (("spike_neuron", 0), ("spike_time_ms", 300)):
        both = np.concatenate([first.result[name].values, second.result[name].values + shift])
        np.testing.assert_allclose(both, whole.result[name].values, rtol=1e-12)


def test_states_and_tables_say_what_happened() -> None:
    """Calcium of the last spikes, edges of the last update."""
    connectome, rule = small(length_um=None)
    after, result, state = run_structural(connectome, 600.0, rule, DRIVE.part(0, 6000, 8000, 0.1), seed=1)
    assert state.step == 6000
    spikes = (result.spike_region == 0).values
    exact = np.zeros(20)
    np.add.at(
        exact, result.spike_neuron.values[spikes], 0.01 * np.exp((result.spike_time_ms.values[spikes] - 600) / 300)
    )
    np.testing.assert_allclose(after.regions["e"].state["calcium"], exact, rtol=1e-5)
    assert float(result.calcium.sel(plastic_region="e")[-1]) == pytest.approx(exact.mean(), rel=1e-5)
    assert result.formed.values.sum() - result.removed.values.sum() == after.n_edges == result.synapses[-1].sum()
    assert {r.rule for r in after.provenance.rule_log} == {"structural_plasticity"}
    assert sum(r.added - r.removed for r in after.provenance.rule_log) == after.n_edges
    assert ("i", "long_range-slow", "e") in after.edges
    total = np.bincount(result.spike_region.values, minlength=2)
    np.testing.assert_array_equal(result.n_spikes.values.sum(0), total)
    told: list[float] = []
    bare = run_structural(
        connectome, 600.0, rule, DRIVE.part(0, 6000, 8000, 0.1), seed=1, spikes=False, progress=told.append
    )
    assert bare.connectome.digest() == after.digest()
    assert "spike" not in bare.result.dims
    assert told == [100, 200, 300, 400, 500, 600]


def test_nothing_changes_in_a_run_whose_elements_are_bound() -> None:
    """Without an update that does anything it is the run that it would be, to the bit."""
    connectome, rule = small()
    grown = run_structural(connectome, 300.0, rule, DRIVE.part(0, 3000, 8000, 0.1)).connectome
    still = StructuralPlasticity(
        {r: {k: Elements(Linear(1e9), 1e-12, 0.0) for k in of} for r, of in rule.elements.items()}, rule.synapses, 100.0
    )
    drive = DRIVE.part(3000, 8000, 8000, 0.1)
    found = run_structural(grown, 500.0, still, drive, seed=2)
    assert found.result.removed.sum() == found.result.formed.sum() == 0 != grown.n_edges
    plain = run(grown, 500.0, drive, seed=2)
    for name in ("spike_region", "spike_neuron"):
        np.testing.assert_array_equal(found.result[name].values, plain[name].values)
    np.testing.assert_allclose(found.result.spike_time_ms.values, plain.spike_time_ms.values, rtol=1e-12)


ELEMENTS = {"e": {"bouton": Elements(Linear(), 1e-4)}}


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: Gaussian(0.3, 0.2), "Gaussian.eta"),
        (lambda: Linear(0.0), "Linear.eps"),
        (lambda: Sigmoid(0.1, -1.0), "Sigmoid.psi"),
        (lambda: Elements(Linear(), 0.0), "growth_per_ms"),
        (lambda: Elements(Linear(), 1.0, 1.5), "vacant_loss"),
        (lambda: StructuralPlasticity(ELEMENTS, (Synapse("bouton", "spine", 1.0),)), "synapses.0.*spine"),
        (lambda: StructuralPlasticity({"e": {"calcium": Elements(Linear(), 1.0)}}, ()), "elements.*calcium"),
        (lambda: StructuralPlasticity(ELEMENTS, (Synapse("bouton", "bouton", 1.0),) * 2), "edge sets of their own"),
        (lambda: run_structural(small()[0], 250.0, small()[1]), "duration_ms"),
        (lambda: run_structural(Connectome.of([Region("e", 1)]), 100.0, small()[1]), "elements"),
        (lambda: run_structural(small()[0], 3.0, small(3.0)[1]), "delay_ms"),
        (
            lambda: run_structural(Connectome.of([Region("e", 2), Region("i", 2)]), 100.0, small()[1]),
            "position_um",
        ),
        (
            lambda: run_structural(small()[0], 100.0, small()[1], state=run(small()[0], 50.0, return_state=True)[1]),
            "state",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call: Any, field: str) -> None:
    with pytest.raises(ConnectomeError, match=field):
        call()


def test_delays_longer_than_any_before_are_remembered() -> None:
    """A spike that was fired before its edge was there arrives over it."""
    regions = [Region("a", 1, neuron=NeuronParameters(i_e_pa=3000.0, t_ref_ms=0.5)), Region("b", 1)]
    kind = Elements(Linear(1e9), 0.21, 0.0)
    rule = StructuralPlasticity(
        {"a": {"bouton": kind}, "b": {"spine": kind}}, (Synapse("bouton", "spine", 1e5, 5.0),), 10.0
    )
    result = run_structural(Connectome.of(regions), 20.0, rule).result
    target = result.spike_time_ms.values[result.spike_region.values == 1]
    source = result.spike_time_ms.values[result.spike_region.values == 0]
    early = source[(source > 5) & (source <= 10)][0]
    assert result.formed.values[0].sum() == 2
    assert 0 < target[0] - (early + 5) <= 0.2


# NEST

_NEST = """
import json, sys, nest
nest.verbosity = nest.VerbosityLevel.ERROR
nest.resolution, nest.structural_plasticity_update_interval = 0.1, 10_000.0
curves = json.loads(sys.argv[1])
cells = nest.Create("iaf_psc_exp", 3, {"synaptic_elements": {k: v | {"growth_rate": 1e-3} for k, v in curves.items()}})
cells.I_e = [390.0, 450.0, 700.0]
nest.EnableStructuralPlasticity()
nest.Simulate(5000.0)
print(json.dumps([[cell.Ca for cell in cells], [[cell.synaptic_elements[k]["z"] for cell in cells] for k in curves]]))
"""


def test_calcium_and_elements_are_those_of_nest() -> None:
    """Their elements take Euler steps of 0.1 ms."""
    python = nest_python()
    if python is None:
        pytest.skip("no interpreter that has NEST: let NEST_PYTHON name one")
    curves: dict[str, GrowthCurve] = {
        "linear": Linear(0.05),
        "gaussian": Gaussian(0.0, 0.05),
        "sigmoid": Sigmoid(0.05, 0.01),
    }
    asked = {
        "linear": {"growth_curve": "linear", "eps": 0.05},
        "gaussian": {"growth_curve": "gaussian", "eta": 0.0, "eps": 0.05},
        "sigmoid": {"growth_curve": "sigmoid", "eps": 0.05, "psi": 0.01},
    }  # fmt: skip
    out = subprocess.run([python, "-c", _NEST, json.dumps(asked)], capture_output=True, text=True, check=True).stdout
    calcium, elements = json.loads(out.strip().splitlines()[-1])
    cells = Region("a", 3, neuron=NeuronParameters(i_e_pa=np.array([390.0, 450.0, 700.0])))
    spikes = run(Connectome.of([cells]), 5000.0, dtype="float64")
    time, who = spikes.spike_time_ms.values, spikes.spike_neuron.values
    for k in range(3):
        mine = time[who == k]
        assert mine.size > 20
        ours = dict.fromkeys(curves, 0.0)

        def grow(who: NDArray[Any], calcium: NDArray[Any], gap: NDArray[Any], ours: dict[str, float] = ours) -> None:
            for name, curve in curves.items():
                ours[name] = max(0.0, ours[name] + 1e-3 * float(curve.grown(calcium, gap, 1e4)[0]))

        last = calcium_after(np.zeros(1), mine, np.zeros(mine.size, int), 5000.0, 1e4, 0.001, grow)
        assert calcium[k] == pytest.approx(float(last[0]), rel=1e-12)
        np.testing.assert_allclose([z[k] for z in elements], list(ours.values()), rtol=2e-4)
