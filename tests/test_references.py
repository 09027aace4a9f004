"""Measured connectomes by name. The numbers are those of the papers and of their authors' own tables."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from connectome import Connectome, ConnectomeError
from connectome.datasets import references
from connectome.development.birth import scaled, weight_to_threshold_pa
from connectome.experiment import animate, preset

needs_cect = pytest.mark.skipif(not references.is_installed(), reason="needs cect, of the extra `references`")

#: Chemical edges and synapses of each age, in the authors' tables.
WITVLIET = [
    (775, 1296), (986, 1895), (1012, 2128), (1136, 2777), (1515, 4116), (1525, 4456), (2202, 7467), (2186, 7970),
]  # fmt: skip


def weight_between(c: Connectome, source: str, target: str) -> float:
    place = {
        str(name): (r.name, i) for r in c.regions.values() if r.label is not None for i, name in enumerate(r.label)
    }
    (s, i), (t, j) = place[source], place[target]
    return sum(
        float(e.weight[(e.source == i) & (e.target == j)].sum())
        for key, e in c.edges.items()
        if (key.source, key.target) == (s, t)
    )


def total(c: Connectome) -> float:
    return float(sum(e.weight.sum(dtype=np.float64) for e in c.edges.values()))


def test_names_and_papers() -> None:
    assert references.names()[:2] == ["celegans_witvliet2021_1", "celegans_witvliet2021_2"]
    assert len(references.names()) == 11
    assert all("doi 10." in references.about(name).cite for name in references.names())
    assert "about 16 hours" in references.about("celegans_witvliet2021_4").description


@pytest.mark.parametrize("name", ["", "celegans", "../x", "celegans_witvliet2021_9"])
def test_no_such_reference(name: str) -> None:
    with pytest.raises(ConnectomeError, match="must be one of celegans_witvliet2021_1"):
        references.load(name)


def test_without_cect_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(references, "is_installed", lambda package="cect": False)
    with pytest.raises(ConnectomeError, match=r"needs the package cect.*connectome-engine\[references\]"):
        references.load("celegans_witvliet2021_1")


@needs_cect
@pytest.mark.parametrize(("age", "counts"), list(enumerate(WITVLIET, 1)))
def test_the_worms_ages(age: int, counts: tuple[int, int]) -> None:
    everything = references.load(f"celegans_witvliet2021_{age}", cells="all")
    assert [everything.n_edges, total(everything)] == list(counts)
    c = references.load(f"celegans_witvliet2021_{age}")
    assert set(c.regions) - {"other"} == {"sensory", "inter", "motor"}  # CANL and CANR are neither
    assert set(everything.regions) == {*c.regions, "muscle", "other"}
    position = np.concatenate([r.position_um for r in c.regions.values()])
    assert position.any(axis=1).all()
    assert np.ptp(position, axis=0).max() < 1000  # the adult's length, micrometres


@needs_cect
def test_directions_and_classes() -> None:
    c = references.load("celegans_witvliet2021_8")
    assert weight_between(c, "ADFL", "AIZL") > 0
    assert weight_between(c, "AIZL", "ADFL") == 0
    where = {str(name): r.name for r in c.regions.values() if r.label is not None for name in r.label}
    assert (where["ADFL"], where["AIZL"], where["RMED"]) == ("sensory", "inter", "motor")
    assert all(list(r.label) == sorted(r.label) for r in c.regions.values() if r.label is not None)
    assert c.provenance.stage_name == "celegans_witvliet2021_8"


@needs_cect
def test_what_cells_release_and_the_signs_of_it() -> None:
    """Transmitters that are known of old (White et al.'s GABA neurons, ASH's glutamate), and their signs."""
    c = references.load("celegans_witvliet2021_8")
    released = {
        str(cell): text for r in c.regions.values() if r.label is not None
        for cell, text in zip(r.label, r.attributes["transmitter"].tolist(), strict=True)
    }  # fmt: skip
    expected = {"AVAL": "acetylcholine", "ASHL": "glutamate", "RMED": "gaba", "CEPDL": "dopamine", "RMGL": None}
    assert {cell: released[cell] for cell in expected} == expected
    assert released["SMDDL"] == "acetylcholine + gaba"
    live, account = animate(c, preset("worm"))
    assert weight_between(live, "RMED", "RMDVL") < 0 < weight_between(live, "ASHL", "AVAL")
    assert account.unknown.keys() == {"", "acetylcholine + gaba", "betaine"}  # and excite, as the preset has it
    male = references.load("celegans_cook2019_male")
    assert any("acetylcholine" in (text or "") for text in male.regions["motor"].attributes["transmitter"].tolist())


@needs_cect
def test_gap_junctions_go_both_ways() -> None:
    gap = references.load("celegans_white1986", synapses="electrical", cells="all")
    matrix = gap.to_scipy().toarray()
    np.testing.assert_array_equal(matrix, matrix.T)
    both = references.load("celegans_white1986", synapses="both", cells="all", weight_pa=2.0)
    chemical = references.load("celegans_white1986", cells="all")
    assert both.n_edges == gap.n_edges + chemical.n_edges
    assert total(both) == 2 * (total(gap) + total(chemical))
    assert sum(e.state["gap_junction"].sum() for e in both.edges.values()) == gap.n_edges


@needs_cect
def test_cook() -> None:
    herm = references.load("celegans_cook2019_hermaphrodite")
    assert herm.n_neurons == 302
    other = herm.regions["other"].label
    assert other is not None
    assert other.tolist() == ["CANL", "CANR"]
    assert references.load("celegans_cook2019_male").n_neurons == 381


@needs_cect
def test_wrong_options_are_refused() -> None:
    for options in ({"synapses": "all"}, {"cells": "some"}, {"dt_ms": 0.0}, {"weight_pa": float("nan")}):
        with pytest.raises(ConnectomeError):
            references.load("celegans_witvliet2021_1", **options)


@needs_cect
def test_it_prints_nothing_and_loads_little() -> None:
    code = (
        "import sys; from connectome.datasets.references import load; load('celegans_witvliet2021_1')\n"
        "assert not {'plotly', 'torch', 'pyneuroml', 'networkx'} & set(sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (found.stdout, found.stderr) == ("", "")


@needs_cect
def test_scaled_for_a_simulation() -> None:
    c = scaled(references.load("celegans_witvliet2021_8"), 0.5)
    matrix = c.to_scipy().toarray()
    strength = matrix.sum(axis=0)
    assert strength[strength > 0].mean() == pytest.approx(
        0.5 * weight_to_threshold_pa(c.regions["inter"].neuron), rel=1e-5
    )
