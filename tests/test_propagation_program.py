"""The program that holds an atlas against forecasts: a made-up worm and atlas, going on, and mistakes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectome.io.results import load_results
from sims.propagation import main
from sims.studies.propagation import draw

N = 10
NAMES = [f"N{k}" for k in range(N)]


@pytest.fixture(scope="module")
def worm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ring of chemical synapses, two gap junctions, and an atlas in which the ring is what is connected."""
    place = tmp_path_factory.mktemp("worm")
    rows = [f"N{k},N{(k + 1) % N},{3 + k % 3},0" for k in range(N)]
    rows += [f"N{k},N{(k + 4) % N},1,0" for k in range(0, N, 2)]
    rows += ["N0,N5,2,1", "N5,N0,2,1", "N2,N7,1,1", "N7,N2,1,1"]
    (place / "worm.csv").write_text("source,target,weight,gap_junction\n" + "\n".join(rows) + "\n")
    nodes = [f"{name},{'gaba' if k % 4 == 3 else 'acetylcholine'}" for k, name in enumerate(NAMES)]
    (place / "worm_nodes.csv").write_text("name,transmitter\n" + "\n".join(nodes) + "\n")
    rng = np.random.default_rng(0)
    near = np.zeros((N, N))  # row responds, column is stimulated
    near[(np.arange(N) + 1) % N, np.arange(N)] = 1
    arrays: dict[str, Any] = {"neuron": np.array([*NAMES[:-1], "other"])}
    for strain in ("wt", "mutant"):
        observed = np.where(rng.random((N, N)) < 0.2 + 0.3 * (strain == "mutant"), 0, 1)
        np.fill_diagonal(observed, 1)
        arrays |= {
            f"{strain}_dFF": near + 0.1 * rng.normal(size=(N, N)), f"{strain}_q": np.where(near > 0, 0.01, 0.6),
            f"{strain}_q_eq": np.where(near > 0, 0.6, 0.01), f"{strain}_occ1": observed,
        }  # fmt: skip
    np.savez(place / "atlas.npz", **arrays)
    return place


QUICK = ["--seeds", "2", "--draws", "20", "--duration-ms", "60", "--gain", "20", "--jobs", "1"]


def test_a_made_up_worm(worm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(worm / "atlas.npz"), "--graph", str(worm / "worm.csv"), *QUICK, "--out", str(tmp_path / "out")]
    assert main([*command, "--nulls", "1"]) == 0
    shown = capsys.readouterr().out
    assert "10 neurons, 15 edges of chemical synapses, 4 of gap junctions. Gain 20." in " ".join(shown.split())
    results = load_results(tmp_path / "out" / "results.nc")
    assert results.strain.values.tolist() == ["wt", "mutant"]  # the most pairs first
    ring = results.area.sel(score="direct synapses, with gap junctions", strain="wt").values
    assert ring[0] > 0.9
    assert ring[1] <= ring[0] <= ring[2]
    assert results.area.sel(score="spiking network", strain="wt", way="value") > 0.7
    assert (results.rank_less_path.sel(score="path length, with gap junctions") == 0).all()
    assert results.rank_of_seed.shape == (2, 2)
    before = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out" / "cells").glob("*.nc")}
    assert main([*command, "--nulls", "2", "--quiet"]) == 0  # goes on: one more shuffled wiring
    after = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out" / "cells").glob("*.nc")}
    assert len(after) == 3
    assert before.items() <= after.items()
    outside = results.assign(rank=results["rank"].where(results.way != "value", 2))  # as a bootstrap's may be
    assert len(draw(outside).axes) == 4
    with open(tmp_path / "out" / "figures.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * results.sizes["score"]
    one = next(r for r in rows if (r["strain"], r["figure"], r["score"]) == ("wt", "ROC area", "spiking network"))
    assert one["n_shuffled"] == "2"
    assert float(one["value"]) == float(results.area.sel(score="spiking network", strain="wt", way="value"))
    report = (tmp_path / "out" / "report.md").read_text()
    assert "most of the worm's neurons are graded" in report
    assert "spiking network by seed" in report
    assert "Gain 20." in report
    assert (tmp_path / "out" / "propagation.png").stat().st_size > 10_000
    capsys.readouterr()
    assert main([*command, "--nulls", "2", "--rate-hz", "100"]) == 2  # other options make other cells
    assert "--out must hold no comparison with other options" in capsys.readouterr().err


def test_without_an_edge_of_activity_a_gain_is_asked_for(
    worm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A chain never goes on by itself."""
    (tmp_path / "two.csv").write_text("source,target,weight\nN0,N1,1\nN1,N2,1\nN2,N3,1\n")
    (tmp_path / "two_nodes.csv").write_text("name,transmitter\nN0,gaba\nN1,gaba\nN2,gaba\nN3,gaba\n")
    assert main([str(worm / "atlas.npz"), "--graph", str(tmp_path / "two.csv"), "--out", str(tmp_path / "out")]) == 2
    assert "--gain must be given" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
