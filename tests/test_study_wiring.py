"""The study of wiring: what the wirings that measured ones are held against keep, and what a cell says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from connectome import Connectome, ConnectomeError
from connectome.io.edge_tables import write_csv
from sims.studies.cells import Cell
from sims.studies.wiring import REGION, WAYS, _configuration, _taken, wiring
from sims.study import main
from tests.test_measured_regions import larva

TABLE = """
[anatomy]
wiring = "{}"
sensory = "class == 'sensory'"
output = "class == 'motor'"
signs = "fly"
[training]
batch = 4
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    write_csv(larva(), tmp_path / "larva.csv")
    (tmp_path / "larva.toml").write_text(TABLE.format(tmp_path / "larva.csv"))
    return tmp_path / "larva.toml"


def made(config: Path, name: str, seed: int = 0) -> Connectome:
    configuration = _configuration(config)
    taken, _ = _taken(configuration, "")
    if name == "shuffled within regions":  # as a file of three regions has it
        region = taken.regions[REGION]
        former = {**region.attributes, "former_region": region.attributes["class"]}
        taken = replace(taken, regions={REGION: replace(region, attributes=former)})
    return WAYS[name](taken, np.random.default_rng(seed), configuration)


@pytest.mark.parametrize("name", WAYS)
def test_every_wiring_has_the_same_cells_signs_and_number_of_edges(name: str, config: Path) -> None:
    measured, other = made(config, "measured"), made(config, name)
    (one,), (two,) = measured.edges.values(), other.edges.values()
    region = other.regions[REGION]
    assert region.sign.tolist() == measured.regions[REGION].sign.tolist()
    assert region.attributes["is_sensory"].tolist() == measured.regions[REGION].attributes["is_sensory"].tolist()
    assert len(two) == len(one) == np.unique(two.pair).size
    assert (two.source != two.target).all()
    assert (np.sign(two.weight) == region.sign[two.source]).all()
    shared = np.isin(two.pair, one.pair).mean()
    assert shared == 1 if name in ("measured", "half-normal") else shared < 0.6
    same_weights = np.sort(np.abs(one.weight)).tolist() == np.sort(np.abs(two.weight)).tolist()
    assert same_weights == (name not in ("half-normal", "by distance"))
    n = one.n_source
    for end in ("source", "target"):
        degree, kept = (np.bincount(getattr(e, end), minlength=n).tolist() for e in (one, two))
        assert (degree == kept) == (name not in ("random", "by distance"))
    if name == "shuffled within regions":
        (code,) = [measured.regions[REGION].attributes["class"].values.astype(int)]
        blocks = [np.bincount(code[e.source] * 9 + code[e.target], minlength=40).tolist() for e in (one, two)]
        assert blocks[0] == blocks[1]
    if name != "measured":
        assert made(config, name, 1).digest() != other.digest() == made(config, name).digest()


def test_a_cell_and_the_report(config: Path) -> None:
    study = wiring(True, "", config)
    assert study.conditions == tuple(name for name in WAYS if name != "shuffled within regions")
    assert "90 cells and 900 local edges of" in study.about
    options = {**study.options, "ways": [["development", 2], ["unpruned", 1]], "trials": 4}
    cells = [study.cell(Cell(name, 0), options).assign_coords(condition=name) for name in study.conditions[:2]]
    assert [str(way) for way in cells[0].way.values] == ["development, 2 updates", "unpruned, 1 updates"]
    assert int(cells[0].end_edges.sel(way="unpruned, 1 updates")) == int(
        cells[1].end_edges.sel(way="unpruned, 1 updates")
    )
    results = xr.concat(cells, "condition").expand_dims(seed=[0])
    scores, less, cost = study.tables(results)
    assert [row[0] for row in scores.rows] == ["measured", "shuffled"]
    (row,) = less.rows
    difference = results.final.sel(condition="measured") - results.final.sel(condition="shuffled")
    assert [float(text.split()[0]) for text in row[1:]] == pytest.approx(100 * difference.values.ravel(), abs=0.051)
    assert len(cost.rows[0]) == len(cost.columns)
    figure = study.figures(results)["wiring"]
    assert isinstance(figure, Figure)
    assert len(figure.axes) == 2


def test_what_cannot_be_tried(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none.toml").write_text("[anatomy]\nneurons = 9")
    with pytest.raises(ConnectomeError, match=r"none\.toml must name a wiring for perception; found none"):
        wiring(True, "", tmp_path / "none.toml")
    assert main(["claims", "--config", str(config), "--out", str(tmp_path / "out")]) == 2
    assert "--config must go with a study that takes one, such as wiring; found claims" in capsys.readouterr().err
