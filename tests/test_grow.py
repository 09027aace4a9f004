"""sims.grow: the same nodes in whatever order, numbers that the library gives, mistakes that are explained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from connectome import Connectome, EdgeSet, Region
from connectome.analysis.generative import WiringLaw, evaluate, fit, grow
from connectome.analysis.simple_graph import SimpleGraph
from connectome.io.results import load_results
from connectome.io.snapshot import save
from sims.grow import main

NAMES = np.array([f"n{i:02d}" for i in range(24)])
PLACE = np.random.default_rng(5).random((24, 3)) * 100
BIRTH = SimpleGraph.from_arrays(24, *np.random.default_rng(6).integers(0, 24, (2, 30)), position_um=PLACE)
MIDDLE = grow(BIRTH, 60, WiringLaw("matching", -1.0, 0.4), 1)
ADULT = grow(BIRTH, 100, WiringLaw("matching", -1.0, 0.4), 2)
FEW = ["--etas=-2:0:3", "--gammas=0:1:2", "--rounds=1", "--search-runs=1", "--runs=3"]


def snapshot(path: Path, graph: SimpleGraph, order: np.ndarray, extra: int = 0, label: bool = True) -> Path:
    """The graph with its nodes in this order after ``extra`` nodes that no other graph has."""
    n = graph.n + extra
    number = np.argsort(order) + extra
    region = Region(
        "worm", n, position_um=np.concatenate([np.zeros((extra, 3)), PLACE[order]]),
        label=np.concatenate([[f"only {path.stem} {i}" for i in range(extra)], NAMES[order]]) if label else None,
    )  # fmt: skip
    source, target = number[graph.source], number[graph.target]
    if extra:
        source, target = np.append(source, 0), np.append(target, n - 1)
    edges = EdgeSet.from_arrays(("worm", "local", "worm"), source, target, 1.0, n_source=n, n_target=n, dt_ms=0.1)
    save(Connectome.of([region], [edges]), path)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    folder = tmp_path_factory.mktemp("worms")
    rng = np.random.default_rng(0)
    adult = snapshot(folder / "adult.h5", ADULT, np.arange(24), 2)
    birth = snapshot(folder / "birth.h5", BIRTH, rng.permutation(24), 1)
    return str(adult), str(birth), str(snapshot(folder / "middle.h5", MIDDLE, rng.permutation(24)))


def test_numbers_of_the_library(
    files: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order of the target's nodes; the table has every rule, best first."""
    out = tmp_path / "growth.nc"
    adult, birth, _ = files
    options = [adult, "--from", birth, "--rules", "matching,distance", "--out", str(out), "--seed", "3", *FEW]
    assert main(options) == 0
    found = load_results(out)
    assert found.rule.values.tolist() == ["random", "matching", "distance"]
    etas, gammas = np.linspace(-2, 0, 3), np.linspace(0, 1, 2)
    wanted = fit(ADULT, BIRTH, WiringLaw("matching"), etas, gammas, n_search=1, rounds=1, n_runs=3, seed=3)
    one = found.sel(rule="matching")
    for name in ("energy", "ks", "degree_correlation", "degree_gained_correlation", "hits", "searched_energy"):
        np.testing.assert_array_equal(one[name], wanted[name])
    assert (float(one.eta), float(one.gamma)) == (wanted.attrs["eta"], wanted.attrs["gamma"])
    chance = evaluate(ADULT, BIRTH, WiringLaw("distance", 0.0, 0.0), n_runs=3, seed=3)
    np.testing.assert_array_equal(found.energy.sel(rule="random"), chance.energy)
    assert float(found.by_chance.sel(rule="random")) == pytest.approx(chance.hits.attrs["by_chance"])
    assert int(np.isfinite(found.searched_energy.sel(rule="distance")).sum()) == 3
    assert found.attrs["nodes"] == 24
    text = capsys.readouterr().out
    assert "24 nodes that all graphs have (of 26 and 25)" in text
    assert "in-sample" in text
    energies = found.energy.mean("run").values
    place = [text.index(f"\n {name} ") if f"\n {name} " in text else text.index(f"\n{name} ") for name in
             found.rule.values[np.argsort(energies)]]  # fmt: skip
    assert place == sorted(place)


def test_fitted_elsewhere(files: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The parameters come from growth to the middle; the energies are those of the target."""
    out = tmp_path / "growth.nc"
    adult, birth, middle = files
    options = [adult, "--from", birth, "--fit-on", middle, "--rules", "neighbours", "--out", str(out), *FEW]
    assert main(options) == 0
    etas, gammas = np.linspace(-2, 0, 3), np.linspace(0, 1, 2)
    chosen = fit(MIDDLE, BIRTH, WiringLaw("neighbours"), etas, gammas, n_search=1, rounds=1, n_runs=1).attrs
    wanted = evaluate(ADULT, BIRTH, WiringLaw("neighbours", chosen["eta"], chosen["gamma"]), n_runs=3)
    found = load_results(out).sel(rule="neighbours")
    np.testing.assert_array_equal(found.energy, wanted.energy)
    assert float(found.eta) == chosen["eta"]
    assert "were chosen on" in capsys.readouterr().out


def test_mistakes(files: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adult, birth, _ = files
    stranger = snapshot(tmp_path / "stranger.h5", BIRTH, np.arange(24), 1, label=False)
    taken = tmp_path / "taken.nc"
    taken.write_text("")
    for options, said in (
        ([adult, "--from", birth, "--rules", "match"], "must be one of distance, neighbours"),
        ([adult, "--from", birth, "--etas=1:0:3"], "must be LOW:HIGH:COUNT"),
        ([adult, "--from", birth, "--etas=1"], "must be LOW:HIGH:COUNT"),
        ([adult, "--from", birth, "--runs", "0"], "--runs must be at least 1"),
        ([adult, "--from", str(stranger)], "must have nodes in common"),
        ([birth, "--from", adult, *FEW], "must have at least the seed graph's"),
        ([adult, "--from", birth, "--out", str(taken)], "must not exist already"),
        ([adult, "--from", str(tmp_path / "none.h5")], "none.h5"),
    ):
        assert main(options) == 2, options
        error = capsys.readouterr().err
        assert error.startswith("grow: ")
        assert said in error
        assert "Traceback" not in error
