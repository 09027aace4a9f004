"""A folder of links for NEST: run there, directly, by bmtk and under MPI, it gives our spikes, every one. MPI, and
``nest.SonataNetwork``, where ``NEST_MPI_PYTHON`` names an interpreter whose NEST has them; the wheel's has neither."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from connectome import Connectome, ConnectomeError, EdgeKey, EdgeSet, NeuronParameters, Region
from connectome.io.nest_folder import synapse, write_folder
from connectome.io.snapshot import save
from connectome.models import random_network
from connectome.neurons import Alif, Shiu2024
from connectome.simulate import PairSTDP, Poisson, Stimulus, TripletSTDP, run
from sims.export import main
from tests.nest_runs import WAYS, spikes_of, there
from tests.test_kernel_set import connectome as of_kernels
from tests.test_kernel_set import simple
from tests.test_scripts import EXACT, interpreter, network, stimulus

LEARNS, INSIDE = EdgeKey("eye", "afferent", "a"), EdgeKey("a", "local", "a")
PAIRS = PairSTDP(20.0, 15.0, 5.0, 6.0, 0.0, 900.0, "multiplicative", delay="dendritic")
TRIPLETS = TripletSTDP(16.8, 101.0, 15.0, 125.0, 4.0, 3.0, 5.0, 2.0, 0.0, 900.0, delay="dendritic")
ways = pytest.mark.parametrize("way", WAYS)


def need(way: str) -> None:
    """Skip what is not here."""
    if "{mpi}" in WAYS[way][0]:
        if "NEST_MPI_PYTHON" not in os.environ or shutil.which("mpirun") is None:
            pytest.skip("NEST_MPI_PYTHON names no interpreter whose NEST has MPI")
    elif way == "PointNet":
        if "BMTK_PYTHON" not in os.environ and None in map(importlib.util.find_spec, ("bmtk", "nest")):
            pytest.skip("no bmtk with NEST here, and BMTK_PYTHON names no interpreter that has them")
    else:
        interpreter("nest")


@pytest.fixture(scope="module")
def chaotic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """100,000 edges: a folder for 200 ms, and our spikes."""
    place = tmp_path_factory.mktemp("chaotic")
    model = random_network(1000, 100)
    save(model.connectome, place / "net.h5")
    write_folder(
        place / "net.h5", place / "net.nest", model.stimulus, duration_ms=200.0, initial_v_mv=model.initial_v_mv
    )
    ours = run(model.connectome, 200.0, model.stimulus, dtype="float64", initial_v_mv=model.initial_v_mv)
    return place / "net.nest", spikes_of(ours, 200.0, 0.1)


@ways
def test_a_chaotic_network_fires_our_spikes(way: str, chaotic: tuple[Path, list[Any]]) -> None:
    need(way)
    folder, ours = chaotic
    assert len(ours) > 1000
    assert spikes_of(there(folder, way), 200.0, 0.1) == ours
    assert not list(folder.glob("*.rank*"))  # what ranks tell each other


def learning(rule: Any) -> tuple[Connectome, Stimulus]:
    """Sensors that fire at random, over edges that learn, and an effector. Potentials tell weights."""
    rng = np.random.default_rng(2)
    n, t_ref = 30, np.where(np.arange(30) % 2, 2.0, 3.0)
    regions = [
        Region("eye", 20, "sensor"), Region("ear", 5, "sensor"),
        Region("a", n, neuron=NeuronParameters(t_ref_ms=t_ref, i_e_pa=120.0)), Region("hand", 2, "effector"),
        Region("empty", 0),
    ]  # fmt: skip
    edges = [
        EdgeSet.from_arrays(
            LEARNS, rng.integers(0, 20, 300), rng.integers(0, n, 300), rng.uniform(100, 500, 300), n_source=20,
            n_target=n, dt_ms=0.1, delay_ms=rng.integers(1, 20, 300) * 0.1,
        ),
        EdgeSet.from_arrays(
            ("a", "local", "a"), rng.integers(0, n, 200), rng.integers(0, n, 200), rng.uniform(20, 200, 200),
            n_source=n, n_target=n, dt_ms=0.1, delay_ms=1.5,
        ),
        EdgeSet.from_arrays(("ear", "afferent", "a"), np.arange(20) % 5, np.arange(20), 300.0, n_source=5, n_target=n,
                            dt_ms=0.1),
        EdgeSet.from_arrays(("a", "efferent", "hand"), np.arange(n), np.arange(n) % 2, 5e3, n_source=n, n_target=2,
                            dt_ms=0.1),
    ]  # fmt: skip
    rates = {"eye": Poisson(30.0), "ear": Poisson(20.0)}
    return Connectome.of(regions, edges), Stimulus(poisson=rates, current_pa={"a": np.arange(n) * 5.0})


@ways
@pytest.mark.parametrize("rule", [PAIRS, TRIPLETS], ids=["pairs", "triplets"])
def test_sensors_currents_and_plasticity_go_along(way: str, rule: Any, tmp_path: Path) -> None:
    """Sensors that fire at random fire as here, two ranks or one; parameters are one a neuron. bmtk's sensors are
    devices, whose edges cannot learn."""
    need(way)
    learns = INSIDE if way == "PointNet" else LEARNS
    connectome, given = learning(rule)
    save(connectome, tmp_path / "net.h5")
    v_mv = {"a": np.linspace(-69, -60, 30)}
    write_folder(
        tmp_path / "net.h5", tmp_path / "nest", given, duration_ms=500.0, seed=5, initial_v_mv=v_mv,
        plasticity={learns: rule},
    )  # fmt: skip
    ours = run(
        connectome, 500.0, given, dtype="float64", seed=5, initial_v_mv=v_mv, plasticity={learns: rule}
    )  # fmt: skip
    plain = run(connectome, 500.0, given, dtype="float64", seed=5, initial_v_mv=v_mv)
    sensors = ["eye", "ear"] if way in ("PointNet", "SonataNetwork") else []
    wanted = spikes_of(ours, 500.0, 0.1, sensors)
    assert wanted != spikes_of(plain, 500.0, 0.1, sensors)
    assert len(wanted) > 400
    assert spikes_of(there(tmp_path / "nest", way), 500.0, 0.1, sensors) == wanted


@pytest.mark.parametrize("way", ["run.py", "two ranks"])
def test_every_model_runs(way: str, tmp_path: Path) -> None:
    """Those that are exact there fire our spikes, and their potentials are ours."""
    need(way)
    connectome = network("nest")
    save(connectome, tmp_path / "net.h5")
    write_folder(tmp_path / "net.h5", tmp_path / "nest", stimulus(), duration_ms=200.0)
    assert "gif_psc_exp of alif" in (tmp_path / "nest" / "run.py").read_text("utf-8")
    assert not (tmp_path / "nest" / "config.json").exists()
    ours = run(connectome, 200.0, stimulus(), dtype="float64", record_v={"leaky_integrator": "all"})
    inexact = set(connectome.regions) - EXACT
    theirs = there(tmp_path / "nest", way, "--record-v", "leaky_integrator")
    assert spikes_of(theirs, 200.0, 0.1, list(inexact)) == spikes_of(ours, 200.0, 0.1, list(inexact))
    v_mv = np.load(tmp_path / "nest" / WAYS[way][1].replace(".h5", ".npz"))["leaky_integrator"]
    np.testing.assert_allclose(v_mv, ours.v_mv.values, rtol=0, atol=1e-9)


def test_nothing_is_copied(tmp_path: Path) -> None:
    """But for what is one a neuron; links lead to the snapshot, wherever both have moved to."""
    model = random_network(1000, 100)
    save(model.connectome, tmp_path / "net.h5")
    write_folder(tmp_path / "net.h5", tmp_path / "deep" / "nest", initial_v_mv=model.initial_v_mv)
    folder = tmp_path.rename(f"{tmp_path}-moved") / "deep" / "nest"
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) < 60_000
    with h5py.File(folder / "edges.h5") as file:
        weight = file["edges/all:local:all/0/syn_weight"][:]
    np.testing.assert_array_equal(weight, next(iter(model.connectome.edges.values())).weight)


def test_what_nest_has_not_is_refused_by_name(tmp_path: Path) -> None:
    connectome, _ = learning(PAIRS)
    save(connectome, tmp_path / "net.h5")
    save(Connectome.of([Region("fly", 2, neuron=Shiu2024())]), tmp_path / "fly.h5")
    for name, arguments, said in (
        ("fly", {}, r"regions\[fly\].neuron must be of a model that NEST has.*shiu2024"),
        ("net", {"stimulus": Stimulus(current_pa={"a": np.ones((10, 30))}), "duration_ms": 1.0}, "constant in time"),
        ("net", {"plasticity": {LEARNS: replace(PAIRS, delay="axonal")}}, r"eye.*delay must be dendritic for NEST"),
        ("net", {"plasticity": {LEARNS: replace(PAIRS, simultaneous="depress")}}, "simultaneous must be none"),
        ("net", {"plasticity": {LEARNS: replace(PAIRS, w_min_pa=1.0)}}, "w_min_pa must be 0"),
        ("net", {"plasticity": {LEARNS: replace(PAIRS, a_plus_pa=0.0)}}, "a_plus_pa must be > 0"),
        ("net", {"plasticity": {LEARNS: replace(TRIPLETS, pairing="nearest")}}, "pairing must be all"),
        ("net", {"plasticity": {LEARNS: object()}}, "PairSTDP, TripletSTDP.*object"),
        ("net", {"plasticity": {EdgeKey("a", "local", "b"): PAIRS}}, "must name edge sets"),
        ("net", {"plasticity": {LEARNS: PAIRS, INSIDE: replace(PAIRS, tau_minus_ms=9.0)}}, "one for all rules into a"),
        ("net", {"initial_v_mv": {"eye": 1.0}}, "initial_v_mv"),
    ):  # fmt: skip
        with pytest.raises(ConnectomeError, match=said) as error:
            write_folder(tmp_path / f"{name}.h5", tmp_path / "nest", **arguments)
        assert "\n" not in str(error.value)
        assert not (tmp_path / "nest").exists()
    with pytest.raises(ConnectomeError, match="must be a folder that can be written"):
        write_folder(tmp_path / "net.h5", tmp_path / "net.h5" / "nest")


def test_kernel_sets_are_linked_where_their_connections_are(tmp_path: Path) -> None:
    connectome = of_kernels(simple())
    save(connectome, tmp_path / "net.h5")
    with pytest.raises(ConnectomeError, match=r"must be edges, not a kernel set.*--connections"):
        write_folder(tmp_path / "net.h5", tmp_path / "nest")
    save(connectome, tmp_path / "net.h5", overwrite=True, connections=True)
    write_folder(tmp_path / "net.h5", tmp_path / "nest")
    with h5py.File(tmp_path / "nest" / "edges.h5") as file:
        (linked,) = file["edges"].values()
        assert linked["0/syn_weight"].shape == (connectome.n_connections,)


def test_a_rule_is_its_synapse() -> None:
    model, neuron = synapse(LEARNS, replace(PAIRS, dependence="additive"))
    assert (model["lambda"] * model["Wmax"], model["alpha"]) == (pytest.approx(5.0), pytest.approx(1.2))
    assert (model["mu_plus"], model["mu_minus"], neuron) == (0.0, 0.0, {"tau_minus": 15.0})


def test_the_program_writes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    connectome, _ = learning(PAIRS)
    run_folder, out = tmp_path / "run", str(tmp_path / "nest")
    run_folder.mkdir()
    for stage, name in enumerate(("birth", "motor")):
        provenance = replace(connectome.provenance, stage=stage, stage_name=name)
        save(replace(connectome, provenance=provenance), run_folder / f"0{stage}_{name}.h5")
    arguments = [str(run_folder), "--format", "nest", "--out", out, "--duration-ms", "50"]
    assert main([*arguments, "--drive", "eye:poisson=20", "--drive", "*:current=7", "--stage", "birth"]) == 0
    assert "00_birth.h5: 57 neurons, 550 edges" in capsys.readouterr().out
    config = json.loads((tmp_path / "nest" / "config.json").read_text("utf-8"))
    assert config["run"] == {"tstop": 50.2, "dt": 0.1, "precise_times": False, "overwrite_output_dir": True}
    assert json.loads((tmp_path / "nest" / "models" / "a.json").read_text("utf-8"))["I_e"] == 127.0
    with h5py.File(tmp_path / "nest" / "edges.h5") as file:
        assert file["edges"].get("eye:afferent:a", getlink=True).filename == "../run/00_birth.h5"
    assert main([*arguments, "--overwrite", "--drive", "a:poisson=20,5", "--quiet"]) == 0
    assert not (tmp_path / "nest" / "config.json").exists()
    assert "no Poisson drive of neurons, such as that of a" in (tmp_path / "nest" / "run.py").read_text("utf-8")
    capsys.readouterr()
    for more, said in (
        ([], "--out must not exist"), (["--overwrite", "--kinds", "local"], "--kinds must not go with a folder"),
        (["--overwrite", "--drive", "x:current=1"], "--drive"), (["--overwrite", "--stage", "dream"], "--stage"),
    ):  # fmt: skip
        assert main([*arguments, *more]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1


def test_alif_may_not_be_where_links_lead(tmp_path: Path) -> None:
    save(Connectome.of([Region("a", 2, neuron=Alif())]), tmp_path / "a.h5")
    write_folder(tmp_path / "a.h5", tmp_path / "nest")
    assert not (tmp_path / "nest" / "config.json").exists()
