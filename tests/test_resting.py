"""Populations at rest: rates counted, the background found, runs gathered; the program from one end to the other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
import xarray as xr

from connectome import Connectome, ConnectomeError
from connectome.analysis.figures import draw_functional_connectivity
from connectome.analysis.functional import agreement, fisher_z
from connectome.experiment.populations import Populations, populate
from connectome.experiment.resting import (
    agreement_table,
    background,
    calibrate_background,
    gather_runs,
    population_rates,
    resting_state,
)
from connectome.io.results import load_results
from connectome.simulate import run
from connectome.wiring import from_matrix
from sims.populations import main

P = Populations(size=20, delay_ms=3.0, coupling=1.0)
WEIGHTS = np.array([[0, 4.0, 1, 0], [4, 0, 2, 1], [1, 2, 0, 5], [0, 1, 5, 0]])


@pytest.fixture(scope="module")
def network() -> Connectome:
    return populate(from_matrix(WEIGHTS), P)[0]


def test_rates_are_those_of_excitatory_spikes(network: Connectome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in pieces of a run as in the whole of it."""
    drive = background(network, 3500.0, P.background_pa)
    monkeypatch.setattr("connectome.experiment.resting._CHUNK_MS", 130.0)
    found = population_rates(network, drive, 0.4, bin_ms=20.0, seed=5)
    spikes = run(network, 400.0, drive, seed=5)
    edges = np.arange(0, 401, 20.0)
    for node in range(4):
        mine = (spikes.spike_region.values == node) & (spikes.spike_neuron.values < 16)
        count = np.histogram(spikes.spike_time_ms.values[mine] - 0.5, edges)[0]
        np.testing.assert_allclose(found.values[:, node], count / 16 / 0.02)
    assert found.values.sum() > 0
    assert found.time_s.values[[0, -1]].tolist() == pytest.approx([0.02, 0.4])
    for duration, bins, said in ((0.41, 20.0, "duration_s"), (1.0, 1.5, "bin_ms"), (1.0, 0.0, "bin_ms")):
        with pytest.raises(ConnectomeError, match=said):
            population_rates(network, drive, duration, bin_ms=bins)


def test_the_background_gives_the_rate(network: Connectome) -> None:
    hz, rate = calibrate_background(network, P.background_pa, 5.0, trial_s=1.0)
    assert rate == pytest.approx(5.0, rel=0.2)
    again = population_rates(network, background(network, hz, P.background_pa), 2.0, seed=9)
    assert float(again[again.time_s > 0.5].mean()) == pytest.approx(5.0, rel=0.3)


def test_a_rate_that_no_background_gives_is_refused(network: Connectome) -> None:
    strong = populate(from_matrix(WEIGHTS), Populations(size=20, delay_ms=3.0, coupling=12.0))[0]
    with pytest.raises(ConnectomeError, match=r"coupling must allow.*a jump from .* beyond the edge"):
        calibrate_background(strong, P.background_pa, 5.0, trial_s=0.6)
    with pytest.raises(ConnectomeError, match="background_pa must let neurons fire"):
        calibrate_background(network, 0.0, 5.0, trial_s=0.1)
    with pytest.raises(ConnectomeError, match="target_hz"):
        calibrate_background(network, P.background_pa, 0.0)


def test_a_resting_state_is_the_same_for_a_seed(network: Connectome) -> None:
    drive = background(network, 3300.0, P.background_pa)
    one, other = (resting_state(network, drive, 4.0, skip_s=1.0, tr_s=0.5, seed=1) for _ in range(2))
    xr.testing.assert_identical(one, other)
    assert one.bold.shape == (6, 4)
    np.testing.assert_allclose(one.fc.values, np.corrcoef(one.bold.values.T), atol=1e-12)
    with pytest.raises(ConnectomeError, match="skip_s"):
        resting_state(network, drive, 4.0, skip_s=4.0)


def test_coupled_nodes_correlate() -> None:
    """Two nodes that a strong tract joins, and one alone."""
    weights = np.zeros((3, 3))
    weights[0, 1] = weights[1, 0] = 1.0
    p = Populations(size=40, delay_ms=2.0, coupling=2.0)
    network = populate(from_matrix(weights), p)[0]
    rate = population_rates(network, background(network, 2900.0, p.background_pa), 40.0, bin_ms=100.0)
    r = np.corrcoef(rate.values[10:].T)
    assert r[0, 1] > 0.25
    assert abs(r[0, 2]) < 0.2
    assert abs(r[1, 2]) < 0.2


def made_up(seed: int, n: int = 6) -> tuple[xr.Dataset, dict[str, xr.Dataset], np.ndarray]:
    rng = np.random.default_rng(seed)
    wiring = np.abs(rng.normal(size=(n, n)))
    wiring = wiring + wiring.T
    empirical = np.tanh(wiring / 4)

    def runs(mix: float, k: int) -> xr.Dataset:
        found, on = [], wiring if mix == 1 else wiring[:, ::-1] + wiring[::-1]
        for _ in range(k):
            noise = rng.normal(size=(n, n)) * 0.1
            z = mix * np.arctanh(empirical) + noise + noise.T
            found.append(np.where(np.eye(n, dtype=bool), 1, np.tanh(z)))
        dims = ("seed", "node", "other")
        return xr.Dataset(
            {"fc": (dims, found), "structural": (dims, [on] * k), "rate_hz": (("seed", "node"), np.ones((k, n)))}
        )

    return runs(1.0, 3), {"degree": runs(0.0, 4), "weights": runs(0.2, 2)}, empirical


def test_runs_are_gathered_beside_nulls() -> None:
    measured, nulls, empirical = made_up(0)
    found = gather_runs(measured, nulls, empirical)
    z = fisher_z(empirical)
    r = [agreement(fisher_z(one), z) for one in measured.fc.values]
    np.testing.assert_allclose(found.r.sel(against="empirical"), r)
    null = [agreement(fisher_z(one), z) for one in nulls["weights"].fc.values]
    np.testing.assert_allclose(found.null_r.sel(null="weights", against="empirical")[:2], null)
    assert np.isnan(found.null_r.sel(null="weights", against="empirical")[2:]).all()
    each = [fisher_z(one) for one in measured.fc.values]
    pairs = [agreement(each[i], each[k]) for i, k in ((0, 1), (0, 2), (1, 2))]
    assert float(found.between_seeds) == pytest.approx(np.mean(pairs))
    runs = nulls["degree"]  # each against what it ran on
    null = [agreement(fisher_z(one), w) for one, w in zip(runs.fc.values, runs.structural.values, strict=True)]
    np.testing.assert_allclose(found.null_r.sel(null="degree", against="structural"), null)
    np.testing.assert_allclose(
        found.null_structural_r.sel(null="degree"), [agreement(w, z) for w in runs.structural.values]
    )
    mean = np.mean([fisher_z(one) for one in measured.fc.values], axis=0)
    assert float(found.mean_r.sel(against="empirical")) == pytest.approx(agreement(mean, z))
    assert float(found.structural_r) == pytest.approx(agreement(measured.structural[0], z))
    table = agreement_table(found)
    row = table[(table.what == "FC of a run") & (table.against == "empirical") & (table.null == "degree")].iloc[0]
    assert row.r == pytest.approx(np.mean(r))
    assert row.p == pytest.approx(1 / 5)
    assert (row.runs, row.nulls) == (3, 4)
    assert row.r_low < row.r < row.r_high
    assert draw_functional_connectivity(found).axes


def test_runs_are_gathered_without_nulls_and_without_a_measured_matrix() -> None:
    measured, _, _ = made_up(1)
    found = gather_runs(measured, {})
    assert found.against.values.tolist() == ["structural"]
    table = agreement_table(found)
    assert table.what.tolist() == ["FC of a run", "mean FC of 3"]
    assert table.p.isna().all()
    assert draw_functional_connectivity(found).axes


# The program


def matrices(folder: Path) -> None:
    np.savetxt(folder / "sc.csv", WEIGHTS, delimiter=",", fmt="%g")
    np.savetxt(folder / "fc.csv", np.clip(WEIGHTS / 6, 0, 0.9) + np.eye(4), delimiter=",", fmt="%g")


SHORT = ["--size", "20", "--delay-ms", "3", "--duration", "8", "--skip", "2", "--tr", "1", "--background", "3300",
         "--seeds", "2", "--nulls", "2", "--coupling", "1", "--jobs", "1", "--quiet"]  # fmt: skip


def test_the_program_writes_tables_a_picture_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    matrices(tmp_path)
    command = ["sc.csv", "--compare", "fc.csv", "--null", "weights", "--out", "out", *SHORT]
    assert main(command) == 0
    cells = sorted(path.name for path in Path("out/cells").glob("*.nc"))
    assert cells == [f"{name}-1_seed{seed}.nc" for name in ("measured", "weights") for seed in (0, 1)]
    results = load_results(Path("out/results.nc"))
    assert results.fc.shape == (1, 2, 4, 4)
    assert results.null_r.dims == ("coupling", "null", "run", "against")
    table = pandas.read_csv("out/agreement.csv")
    assert set(table.what) == {"FC of a run", "weights of tracts", "mean FC of 2"}
    assert Path("out/functional.png").stat().st_size > 10_000
    before = Path("out/results.nc").read_bytes()
    Path("out/cells", cells[1]).unlink()
    kept = Path("out/cells", cells[0]).stat().st_mtime_ns
    assert main(command) == 0
    assert Path("out/results.nc").read_bytes() == before
    assert Path("out/cells", cells[0]).stat().st_mtime_ns == kept
    assert main([*command, "--rate", "9", "--background", "3000"]) == 2
    assert "must hold no run with other options" in capsys.readouterr().err


def test_the_program_says_what_it_makes_and_writes_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    matrices(tmp_path)
    assert main(["sc.csv", "--dry-run", "--delay-ms", "3", "--network", "n.h5", "--set", "g=6"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "4 nodes of 100 neurons each, 80 of them excitatory. 10 tracts, in both directions alike." in said
    assert "400 neurons" in said
    from connectome.io.snapshot import load

    assert list(load(Path("n.h5")).regions) == [f"node_{k}" for k in range(4)]
    assert not Path("runs").exists()


def test_a_found_background_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    matrices(tmp_path)
    here = [*SHORT]
    at = here.index("--background")
    here[at : at + 2] = ["--rate", "5"]
    here[here.index("--nulls") + 1] = "0"
    here[here.index("--seeds") + 1] = "1"
    assert main(["sc.csv", "--out", "out", *here]) == 0
    (hz,) = json.loads(Path("out/background.json").read_text()).values()
    assert 2000 < hz < 5000
    Path("out/background.json").write_text(json.dumps({"1": hz}))
    monkeypatch.setattr("connectome.experiment.resting.calibrate_background", lambda *_: pytest.fail("again"))
    assert main(["sc.csv", "--out", "out", *here]) == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "Give --delay-ms for tracts whose length is not known, such as --delay-ms 10"),
        (["--coupling", "much"], "--coupling must be numbers"), (["--set", "g=-1"], "--set g must be at least 0"),
        (["--delay-ms", "3", "--compare", "three.csv"], "--compare must have 4 nodes, as GRAPH has; found 3"),
        (["--delay-ms", "3", "--compare", "odd.csv"], "--compare must be symmetric"),
        (["--delay-ms", "3", "--compare", "none.csv"], "none.csv"), (["--null", "hope"], "--null must be among degree"),
        (["--skip", "600"], "--skip must be 0 or more and less than --duration"), (["--seeds", "0"], "--seeds"),
        (["--rate", "nan"], "--rate must be > 0"), (["--network", "n.csv"], "--network must end in .h5"),
        (["--network", "sc.h5"], "--network must not exist already"),
    ],
)  # fmt: skip
def test_the_program_refuses_in_one_line(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    matrices(tmp_path)
    np.savetxt("three.csv", np.ones((3, 3)), delimiter=",")
    np.savetxt("odd.csv", np.arange(16.0).reshape(4, 4), delimiter=",")
    Path("sc.h5").write_text("")
    assert main(["sc.csv", "--dry-run", *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
