"""Scripts for other simulators: run there, they give our spikes. Each runs in the interpreter that has the simulator:
this one, or the one that ``NEST_PYTHON``, ``BRIAN2_PYTHON``, ``PYNN_PYTHON`` or ``GENN_PYTHON`` names; without one it
is skipped."""

from __future__ import annotations

import csv
import importlib.util
import os
import runpy
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from connectome import Connectome, ConnectomeError, EdgeSet, NeuronParameters, Region
from connectome.io.scripts import SIMULATORS, data_file, write_script
from connectome.io.snapshot import save
from connectome.io.spikes import save_spikes
from connectome.neurons import AeifPscExp, Alif, IafCondExp, IafPscAlpha, Izhikevich, LeakyIntegrator, NeuronModel
from connectome.simulate import Poisson, Stimulus, run
from sims.export import main

DT_MS, DURATION_MS, N, SENSORS = 0.1, 200.0, 24, 30
MODELS = (NeuronParameters, IafCondExp, Izhikevich, AeifPscExp, Alif, LeakyIntegrator, IafPscAlpha)
EXACT = {"iaf_psc_exp", "iaf_psc_alpha", "alif", "leaky_integrator", "hand"}
#: Whose spikes and potentials are ours to the last step, in each simulator.
SAME = {simulator: EXACT | {"iaf_cond_exp"} for simulator in SIMULATORS}
SAME["brian2"] |= {"izhikevich"}
SAME["genn"] |= {"izhikevich"}
ARGUMENTS = {
    "nest": [], "brian2": ["--target", "numpy"], "pynn": ["nest"],
    "genn": ["--backend", "single_threaded_cpu", "--precision", "double"],
}  # fmt: skip
simulators = pytest.mark.parametrize("simulator", SIMULATORS)


def interpreter(simulator: str) -> str:
    modules = {"nest": ["nest"], "brian2": ["brian2"], "pynn": ["pyNN", "nest"], "genn": ["pygenn"]}[simulator]
    named = os.environ.get(f"{simulator.upper()}_PYTHON")
    if named is None and None in map(importlib.util.find_spec, modules):
        pytest.skip(f"no {simulator} here, and {simulator.upper()}_PYTHON names no interpreter that has it")
    return named or sys.executable


def neurons(model: type[NeuronModel], rng: np.random.Generator) -> NeuronModel:
    """Parameters of their own for each neuron, and currents that bring it near its threshold."""

    def u(low: float, high: float) -> NDArray[np.float64]:
        return rng.uniform(low, high, N)

    if model is NeuronParameters:  # for some neurons the membrane is as slow as its synapses
        return NeuronParameters(
            np.where(np.arange(N) % 3, u(8, 20), 5.0), u(150, 300), rng.integers(0, 30, N) * 0.1, u(-58, -50),
            u(-72, -62), u(-75, -68), 5.0, u(1, 10), u(100, 400),
        )  # fmt: skip
    if model is IafPscAlpha:
        return IafPscAlpha(t_ref_ms=rng.integers(0, 30, N) * 0.1, v_th_mv=u(-58, -50), i_e_pa=u(200, 400))
    if model is IafCondExp:
        return IafCondExp(t_ref_ms=rng.integers(0, 30, N) * 0.1, v_th_mv=u(-58, -52), i_e_pa=u(100, 300))
    if model is Izhikevich:
        return Izhikevich(i_e_pa=u(4, 9))
    if model is AeifPscExp:
        return AeifPscExp(i_e_pa=u(400, 700), tau_syn_ex_ms=2.0, t_ref_ms=1.0)
    if model is Alif:
        return Alif(u(10, 30), i_e_pa=u(100, 300), adapt_beta_mv=u(0, 3), adapt_tau_ms=u(50, 200))
    return LeakyIntegrator(i_e_pa=u(0, 200))


def network(simulator: str) -> Connectome:
    """A region of each model that the simulator has, driven by a sensor over edges of either sign, parallel ones among
    them, and joined to itself; and an effector."""
    rng = np.random.default_rng(4)
    regions, edges = [Region("eye", SENSORS, "sensor")], []
    for model in MODELS:
        if model.model in SIMULATORS[simulator].cells:
            regions.append(Region(model.model, N, neuron=neurons(model, rng)))
            unit = {"pA": 60.0, "nS": 2.0, "mV": 0.2}[model.weight_unit]
            n = 20 * N
            edges.append(EdgeSet.from_arrays(
                ("eye", "afferent", model.model), rng.integers(0, SENSORS, n), rng.integers(0, N, n),
                unit * rng.uniform(0.5, 1, n) * rng.choice([-1, 1, 1], n), n_source=SENSORS, n_target=N, dt_ms=DT_MS,
                delay_ms=rng.integers(1, 30, n) * DT_MS,
            ))  # fmt: skip
            edges.append(EdgeSet.from_arrays(
                (model.model, "local", model.model), rng.integers(0, N, 3 * N), rng.integers(0, N, 3 * N), -unit,
                n_source=N, n_target=N, dt_ms=DT_MS, delay_ms=1.5,
            ))  # fmt: skip
    regions += [Region("hand", 3, "effector", neuron=Alif() if simulator != "pynn" else NeuronParameters())]
    regions += [Region("empty", 0)]
    edges.append(EdgeSet.from_arrays(
        ("iaf_psc_exp", "efferent", "hand"), np.arange(N), np.arange(N) % 3, 2000.0, n_source=N, n_target=3,
        dt_ms=DT_MS,
    ))  # fmt: skip
    return Connectome.of(regions, edges, dt_ms=DT_MS)


def stimulus() -> Stimulus:
    """Spikes, two of one neuron in one step among them, and currents."""
    rng = np.random.default_rng(5)
    step, neuron = np.sort(rng.integers(2, round(DURATION_MS / DT_MS) + 1, 400)), rng.integers(0, SENSORS, 400)
    step[:2], neuron[:2] = 2, 7
    return Stimulus(
        {"eye": (step * DT_MS, neuron)}, {"iaf_psc_exp": np.linspace(0, 50, N), "leaky_integrator": 80.0, "hand": 20.0}
    )


def there(simulator: str, script: Path, *arguments: str) -> tuple[dict[str, Counter[Any]], Any, str]:
    """Run a script: spikes by region, as steps and neurons; potentials; what it said."""
    python, out = interpreter(simulator), script.with_name("out.csv")
    found = subprocess.run(
        [python, str(script), *ARGUMENTS[simulator], "--out", str(out), *arguments], capture_output=True, text=True,
        cwd=script.parent, env={k: v for k, v in os.environ.items() if k != "PYTHONPATH"}, timeout=600,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    spikes: dict[str, Counter[Any]] = {}
    with open(out, newline="") as file:
        for row in csv.DictReader(file):
            at = round(float(row["time_ms"]) / DT_MS), int(row["neuron"])
            spikes.setdefault(row["region"], Counter())[at] += 1
    potentials = out.with_suffix(".npz")
    return spikes, np.load(potentials) if potentials.exists() else {}, found.stdout


def here(spikes: xr.Dataset) -> dict[str, Counter[Any]]:
    found: dict[str, Counter[Any]] = {}
    step = np.rint(spikes.spike_time_ms.values / spikes.attrs["dt_ms"]).astype(int)
    names = spikes.region.values[spikes.spike_region.values]
    for s, name, k in zip(step.tolist(), names.tolist(), spikes.spike_neuron.values.tolist(), strict=True):
        found.setdefault(name, Counter())[s, k] += 1
    return found


@simulators
def test_its_spikes_and_potentials_are_ours(simulator: str, tmp_path: Path) -> None:
    """Of models that are not integrated alike there: nearly."""
    interpreter(simulator)
    connectome, script = network(simulator), tmp_path / "net.py"
    v_mv = {"iaf_psc_exp": np.linspace(-72, -62, N)}
    write_script(connectome, script, simulator, stimulus(), duration_ms=DURATION_MS, initial_v_mv=v_mv)
    regions = [r.name for r in connectome.regions.values() if r.role != "sensor" and r.size]
    ours = run(
        connectome, DURATION_MS, stimulus(), dtype="float64", record_v=dict.fromkeys(regions, "all"),
        initial_v_mv=v_mv,
    )  # fmt: skip
    theirs, potentials, _ = there(simulator, script, *(x for name in regions for x in ("--record-v", name)))
    mine = here(ours)
    assert theirs["eye"] == mine["eye"]
    assert max(mine["eye"].values()) == 2
    for name in regions:
        spikes, others = mine.get(name, Counter()), theirs.get(name, Counter())
        assert spikes.total() > 20 or name in ("leaky_integrator", "hand")
        if name in SAME[simulator]:
            assert others == spikes, name
        else:
            assert others.total() == pytest.approx(spikes.total(), abs=2), name
        if name in EXACT:
            v = ours.v_mv.values[:, ours.recorded_region.values == name]
            apart = np.sort(np.abs(v - potentials[name]), axis=None)
            assert np.ptp(v) > 2
            # gif_psc_exp shows v before its reset.
            assert apart[-1 - spikes.total() * (simulator == "nest" and name == "alif")] < 1e-9, name


@simulators
def test_its_poisson_drive_has_our_rates_and_weights(simulator: str, tmp_path: Path) -> None:
    """By the mean potential of a membrane that never fires, in a drive of either sign: what the script begins with,
    one for each neuron, and what its command line says instead."""
    interpreter(simulator)
    n, sensor_hz, rate_hz, script = 200, 200.0, 5000.0, tmp_path / "net.py"
    weight = np.where(np.arange(n) < n // 2, 10.0, -5.0)
    cells, dot = Region("cells", n, neuron=LeakyIntegrator(tau_syn_in_ms=4.0)), Region("dot", 1, "sensor")
    other = replace(cells, name="other")
    drive = Stimulus(poisson={
        "cells": Poisson(rate_hz, weight), "other": Poisson(rate_hz, 1.0), "eye": Poisson(sensor_hz)
    })  # fmt: skip
    connectome = Connectome.of([Region("eye", n, "sensor"), dot, cells, other])
    write_script(connectome, script, simulator, drive, duration_ms=300.0, seed=3)
    (tmp_path / "dot.csv").write_text("time_ms,region,neuron\n12.3,dot,0\n12.3,eye,1\n4,nowhere,0\n")
    spikes, v_mv, said = there(
        simulator, script, "--record-v", "cells", "--record-v", "other", "--drive", "other:poisson=2000,-7",
        "--drive", "other:current=20", "--spikes", str(tmp_path / "dot.csv"),
    )  # fmt: skip
    assert spikes["dot"] == {(123, 0): 1}
    assert spikes["eye"][123, 1] >= 1
    expected = n * sensor_hz * 0.3
    assert abs(spikes["eye"].total() - expected) < 5 * expected**0.5
    assert f"eye: 200 neurons, {spikes['eye'].total():,} spikes" in said
    # C dv/dt: rate x weight x tau_syn is the mean current, tau_m / C what it lifts the membrane by.
    lift = 10.0 / 250.0
    for name, sign, mean_pa in (
        ("cells", 1, rate_hz / 1000 * 10 * 2), ("cells", -1, rate_hz / 1000 * -5 * 4), ("other", 0, 2 * -7 * 4 + 20)
    ):  # fmt: skip
        mine = v_mv[name][1000:] if not sign else v_mv[name][1000:, np.sign(weight) == sign]
        assert mine.mean() + 70 == pytest.approx(lift * mean_pa, rel=0.05), (name, sign)


@pytest.fixture
def unrun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """The names in a script, as if NEST were there."""
    monkeypatch.setitem(sys.modules, "nest", ModuleType("nest"))
    script = tmp_path / "net.py"
    write_script(network("nest"), script, "nest", stimulus(), duration_ms=DURATION_MS)
    return runpy.run_path(str(script))


def test_its_data_are_the_edges(unrun: Any) -> None:
    sets = [e for e in network("nest").edges.values() if len(e)]
    assert len(unrun["EDGES"]) == len(sets)
    for number, (e, about) in enumerate(zip(sets, unrun["EDGES"], strict=True)):
        assert (about["source_region"], about["target_region"], about["edges"]) == (e.key[0], e.key[2], len(e))
        for name in ("source", "target", "weight", "delay_steps"):
            read = list(unrun["chunks"](f"edges{number}:{name}", len(e), about.get(name), 7))
            assert {part.size for part in read[:-1]} <= {7}
            np.testing.assert_array_equal(np.concatenate(read), getattr(e, name))
    assert unrun["EDGES"][-1]["weight"] == -60.0


def test_sensors_fire_what_they_are_given_and_what_is_drawn(unrun: Any) -> None:
    given = {"eye": (np.array([0.3, 0.1, 0.3, 50.0]), np.array([2, 5, 2, 1]))}
    rng = np.random.default_rng(0)
    step, neuron = unrun["sensor_spikes"]({}, given, 100, rng)["eye"]
    assert list(zip(step.tolist(), neuron.tolist(), strict=True)) == [(1, 5), (3, 2), (3, 2)]
    step, neuron = unrun["sensor_spikes"]({"eye": (np.linspace(0, 2000, SENSORS), None)}, given, 20000, rng)["eye"]
    assert (np.diff(step) >= 0).all()
    assert step.min() >= 1 and step.max() <= 20000  # noqa: PT018
    expected = np.linspace(0, 2000, SENSORS) * 2
    np.testing.assert_allclose(np.bincount(neuron, minlength=SENSORS), expected, atol=5 * 4000**0.5)
    assert Counter(zip(step.tolist(), neuron.tolist(), strict=True)).most_common(1)[0][1] > 1


def test_its_command_line_refuses_what_it_cannot_use(
    unrun: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("time_ms,region,neuron\n1.0,eye,30\n")
    for arguments, said in (
        (["--drive", "ear:current=1"], "REGION one of"), (["--drive", "eye:current=1"], "a sensor fires"),
        (["--drive", "eye:poisson=1,2"], "a sensor fires"), (["--drive", "alif:poisson=5"], "a sensor fires"),
        (["--drive", "alif:current=much"], "RATE_HZ"), (["--drive", "alif"], "RATE_HZ"),
        (["--spikes", "none.csv"], "none.csv"), (["--spikes", str(bad)], "0 .. 29"),
        (["--spikes", str(tmp_path / "net.py")], "columns"), (["--duration-ms", "0.05"], "whole number"),
        (["--record-v", "eye"], "region of neurons"),
    ):  # fmt: skip
        monkeypatch.setattr(sys, "argv", ["net.py", *arguments])
        with pytest.raises(SystemExit) as end:
            unrun["main"]()
        assert end.value.code == 2
        assert said in capsys.readouterr().err


@simulators
def test_equal_networks_make_equal_files(simulator: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_script(network(simulator), tmp_path / name / "net.py", simulator, stimulus(), duration_ms=DURATION_MS)
    for name in ("net.py", "net.npz"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    text = (tmp_path / "a" / "net.py").read_text("utf-8")
    assert "import connectome" not in text and "from connectome" not in text  # noqa: PT018
    assert max(map(len, text.splitlines())) <= 120
    for model in SIMULATORS[simulator].cells:
        assert SIMULATORS[simulator].differs.get(model, "")[:40] in text


def test_what_cannot_be_written_is_refused_in_one_line(tmp_path: Path) -> None:
    def cells(neuron: NeuronModel) -> Connectome:
        return Connectome.of([Region("cells", 2, neuron=neuron)])

    plain, rows = cells(NeuronParameters()), Stimulus(current_pa={"cells": np.arange(20.0).reshape(10, 2)})
    for simulator, connectome, name, given, said in (
        ("pynn", cells(AeifPscExp()), "a.py", None, r"cells\].neuron must be of a model that PyNN has.*aeif_psc_exp"),
        ("pynn", cells(Alif()), "a.py", None, "alif"), ("nest", cells(Alif(t_ref_ms=0.0)), "a.py", None, "t_ref_ms"),
        ("pynn", cells(Izhikevich(v_th_mv=[30, 20])), "a.py", None, "v_th_mv must be 30.*20"),
        ("nest", plain, "nest.py", None, "not be nest.py"), ("pynn", plain, "pynn.py", None, "not be pyNN.py"),
        ("nest", plain, "a.npz", None, "end in .py"), ("nest", plain, "a.py", rows, "constant in time"),
        ("nest", plain, "a.py", Stimulus(current_pa={"x": 1.0}), "regions"),
    ):  # fmt: skip
        with pytest.raises(ConnectomeError, match=said) as error:
            write_script(connectome, tmp_path / name, simulator, given, duration_ms=1.0)
        assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_the_program_writes_a_script_with_its_drive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connectome = network("nest")
    save(connectome, tmp_path / "net.h5")
    save_spikes(run(connectome, DURATION_MS, Stimulus(stimulus().spikes)), tmp_path / "spikes.h5")
    out = tmp_path / "net.nest.py"
    drive = ["--drive", "iaf_psc_exp:poisson=900,30", "--drive", "*:current=5", "--drive", "eye:poisson=7"]
    arguments = [str(tmp_path / "net.h5"), "--out", str(out), "--quiet", "--duration-ms", "200", "--seed", "9"]
    assert main([*arguments, *drive, "--spikes", str(tmp_path / "spikes.h5")]) == 0
    monkeypatch.setitem(sys.modules, "nest", ModuleType("nest"))
    names = runpy.run_path(str(out))
    assert (names["SEED"], names["DURATION_MS"]) == (9, 200.0)
    assert names["POISSON"] == {"iaf_psc_exp": (900.0, 30.0), "eye": (7.0, None)}
    assert names["CURRENT_PA"] == dict.fromkeys([m.model for m in MODELS], 5.0)
    times, neuron = names["SPIKES"]["eye"]
    given = stimulus().spikes["eye"]
    assert Counter(zip(np.rint(times / DT_MS), neuron, strict=True)) == Counter(
        zip(np.rint(np.asarray(given[0]) / DT_MS), given[1], strict=True)  # type: ignore[arg-type]
    )
    assert data_file(out).exists()
    for more, said in (
        ([], "must not exist"), (["--overwrite", "--drive", "ear:current=5"], "--drive"),
        (["--overwrite", "--format", "gml"], "must go with"), (["--overwrite", "--regions", "eye", *drive], "--drive"),
        (["--overwrite", "--format", "pynn"], "aeif_psc_exp"),
        (["--overwrite", "--duration-ms", "0.05"], "duration_ms"),
    ):  # fmt: skip
        assert main([*arguments, *more]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
