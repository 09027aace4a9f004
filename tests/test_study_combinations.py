"""The search over combinations of mechanisms: its settings, and whose scores it sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from connectome.development.configuration import Configuration, read_configuration
from sims.studies import combinations as study
from sims.studies.cells import Cell
from sims.studies.combinations import CHOSEN, COMBINATIONS
from sims.studies.development import go_through, planned

TINY: dict[str, Any] = {
    "images": "", "trials": 4,
    "changes": ["anatomy.neurons=20", "training.perception=2", "training.motor=2", "training.interaction=2"],
}  # fmt: skip


def test_no_more_combinations_than_were_allowed_each_of_its_own_and_the_chosen_among_them() -> None:
    assert len(COMBINATIONS) <= 30
    configurations = [read_configuration(None, settings) for settings in COMBINATIONS.values()]
    assert configurations[0] == Configuration()
    assert len({repr(c.table()) for c in configurations}) == len(COMBINATIONS)
    assert CHOSEN in COMBINATIONS


@pytest.mark.parametrize(("which", "seed", "scores"), [("combinations", 101, "validation"), ("candidate", 1, "score")])
def test_the_search_sees_validation_data_and_seeds_that_the_test_does_not(which: str, seed: int, scores: str) -> None:
    made = getattr(study, which)(True, "")
    cell = made.cell(Cell("default", 1), TINY)
    _, stages = planned(read_configuration(None, TINY["changes"]), "")
    whole = go_through(stages, read_configuration(None, TINY["changes"]).anatomy, "development", seed, 4)
    np.testing.assert_array_equal(cell.final, whole[scores][-1])
    assert float(cell.average) == pytest.approx(float(whole[scores][-1].mean()))
    lost = whole[scores].values.diagonal() - whole[scores].values[-1]
    assert float(cell.backward) == pytest.approx(-lost[:2].mean())


def test_the_table_sets_each_beside_the_default() -> None:
    made = study.candidate(True, "")
    cells = [
        made.cell(Cell(name, seed), TINY).expand_dims(condition=[name], seed=[seed])
        for name in ("default", CHOSEN)
        for seed in (0, 1)
    ]  # fmt: skip
    results = xr.combine_by_coords(cells)
    assert isinstance(results, xr.Dataset)
    (table,) = made.tables(results)
    assert [row[0] for row in table.rows] == results.condition.values.tolist()
    assert all(len(row) == len(table.columns) for row in table.rows)
    own = next(row for row in table.rows if row[0] == "default")
    assert own[5].startswith("0.0")
