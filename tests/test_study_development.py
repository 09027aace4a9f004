"""Studies of developments: what a cell says of its run, and what the report says of the cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from matplotlib.figure import Figure

from connectome.development.birth import Anatomy
from connectome.development.stage import Progress
from connectome.development.stages import develop
from connectome.learning.task import Score
from connectome.mechanisms import comparators
from connectome.mechanisms.feedback_pruning import FeedbackPruning
from connectome.mechanisms.growth import LongRangeGrowth
from sims.studies.claims import ABLATIONS, CLAIMS, ablations, claims
from sims.studies.development import differences, draw_scores, energy, go_through, outcome_table
from sims.studies.streams import (
    METHODS,
    permuted_mnist,
    rotated_mnist,
    split_cifar10,
    split_cifar100,
    split_mnist,
)  # fmt: skip
from sims.studies.transfer import WAYS, transfer
from tests.test_development import ANATOMY, stages

PLAN = stages(LongRangeGrowth(edges=30, last_epoch=1), FeedbackPruning(keep=0.4), updates=10)


@pytest.fixture(scope="module")
def results() -> xr.Dataset:
    cells = [
        [
            go_through(PLAN, ANATOMY, method, seed, 16).assign_coords(condition=method)
            for method in ("development", "blind")
        ]
        for seed in (0, 1)
    ]
    rows = [xr.concat(row, "condition").assign_coords(seed=seed) for seed, row in enumerate(cells)]
    return xr.concat(rows, "seed").transpose("condition", "seed", ...)


def test_a_cell_is_the_development(results: xr.Dataset) -> None:
    cell = results.sel(condition="development", seed=1)
    one, two = develop(PLAN, ANATOMY, seed=1, test_trials=16)
    assert cell.score.values[0, 0] == one.scores["first"].value
    assert cell.score.values[1].tolist() == [two.scores["first"].value, two.scores["second"].value]
    assert np.isnan(cell.score.values[0, 1])
    assert cell.final.values.tolist() == cell.score.values[1].tolist()
    assert float(cell.lost.values[0]) == one.scores["first"].value - two.scores["first"].value
    assert float(cell.backward) == -float(cell.lost.values[0])
    assert float(cell.average) == cell.final.values.mean()
    kinds = [str(k) for k in cell.kind.values]
    assert cell.edges.values[1].tolist() == [two.connectome.count(k) for k in kinds]
    assert int(cell.end_edges) == two.connectome.n_edges
    assert 0.4 < float(cell.left) < 1
    assert float(cell.saved.values[0]) >= one.scores["first"].operations / two.scores["first"].operations
    assert cell.neuron_updates.values.tolist() == [24 * 30, 24 * 60]  # 24 steps
    dense = [10 * 30 + 30 * 30 + 30 * 2, 10 * 30 + 4 * 30 * 30 + 30 * 2]
    assert cell.dense_operations.values.tolist() == [24 * n for n in dense]


def test_what_is_lost_and_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """From made-up scores: a task that was known at 0.9 and then at 0.6 has lost 0.3, and the change since is -0.3. It
    took 500 operations at its most, which were in its own stage, and takes 100 at the end."""
    outcomes = list(develop(PLAN, ANATOMY, seed=1, test_trials=4))
    told = [
        {"first": Score(0.9, 400.0, 9.0, 0.8)},
        {"first": Score(0.6, 100.0, 5.0, 0.4), "second": Score(0.7, 300.0, 7.0, 0.5)},
    ]

    def learn(method: str, stages: object, anatomy: object, *, on_progress: Callable[[Progress], None], **rest: object):  # type: ignore[no-untyped-def]
        for number, (outcome, scores) in enumerate(zip(outcomes, told, strict=True), 1):
            on_progress(Progress(number, "", 1, 1, 0.0, 0.0, 500.0 if number == 1 else 200.0, 1, 1, 10**6))
            yield replace(outcome, scores=scores)

    monkeypatch.setattr(comparators, "learn", learn)
    cell = go_through(PLAN, ANATOMY, "development", 1, 4)
    assert cell.lost.values == pytest.approx([0.3, 0])
    assert float(cell.backward) == pytest.approx(-0.3)
    assert float(cell.average) == pytest.approx(0.65)
    assert cell.saved.values == pytest.approx([5.0, 1.0])
    assert cell.at_end.values.tolist() == [0.4, 0.5]
    assert cell.operations.values[1].tolist() == [100, 300]
    assert cell.spikes.values[1].tolist() == [5, 7]
    assert float(cell.left) == outcomes[1].connectome.n_edges / 10**6


def test_the_report_says_what_the_cells_say(results: xr.Dataset) -> None:
    table = outcome_table(results)
    assert [row[0] for row in table.rows] == ["development", "blind"]
    assert len(table.columns) == len(table.rows[0])
    final = results.final.sel(condition="blind", task="second").values
    assert table.rows[1][2].startswith(f"{final.mean():.1%}"[:-1])
    found = differences(results, [("development", "blind"), ("development", "nobody")])
    (row,) = found.rows
    assert found.columns == ["", "first", "second", "average"]  # neither has a stricter score
    stricter = results.assign(at_end=results.at_end - np.array([0, 0.25]))
    assert differences(stricter, []).columns == ["", "first", "second", "second, at end", "average"]
    gain = results.final.sel(condition="development") - results.final.sel(condition="blind")
    assert float(row[1].split()[0]) == pytest.approx(100 * float(gain.sel(task="first").mean()), abs=0.051)
    counted = energy(results, ("development",)).rows
    assert [row[1] for row in counted] == ["first", "second"]
    operations = results.operations.sel(condition="development", task="first").isel(stage=-1).values.mean()
    assert float(counted[0][2].split()[0]) == pytest.approx(operations / 1e3, abs=0.051)
    assert float(counted[0][6]) == pytest.approx(operations * 0.9e-6, abs=5e-4)
    assert len(draw_scores(results).axes) == 2


@pytest.mark.parametrize(
    "make", [claims, ablations, split_mnist, permuted_mnist, rotated_mnist, split_cifar10, split_cifar100]
)
def test_studies_are_whole(make: object) -> None:
    for quick in (True, False):
        study = make(quick, "")  # type: ignore[operator]  # a function of two
        assert study.conditions in (tuple(CLAIMS), tuple(ABLATIONS), METHODS)
        assert study.seeds == (2 if quick else 10 if make is claims else 5)


def test_a_cell_of_the_claims_and_of_a_stream() -> None:
    """The real tasks, for two updates each."""
    from sims.studies.cells import Cell

    small = {"images": "", "training": {"perception": 2, "motor": 2, "interaction": 2}, "trials": 4}
    study = ablations(True, "")
    cell = study.cell(Cell("motor before perception", 0), small)
    assert cell.stage.values.tolist() == ["motor", "perception", "interaction"]
    sparse = claims(True, "").cell(Cell("sequential", 0), small)
    pruned = claims(True, "").cell(Cell("feedback 80 %", 0), small)
    assert float(sparse.end_edges) == pytest.approx(float(pruned.end_edges), rel=0.05)
    options = {
        "kind": "split", "images": "", "tasks": 2, "updates": 2, "trials": 4, "afferent_density": 0.1, "without": [],
    }  # fmt: skip
    assert split_mnist(True, "").cell(Cell("frozen", 0), options).stage.values.tolist() == ["task1", "task2"]


def test_a_cell_of_the_transfer_study() -> None:
    """Every way on the real task, for an epoch each; what learns for longer has as many updates as the stages."""
    from sims.studies.cells import Cell

    study = transfer(True, "")
    few = {**study.options, "demonstrations": [30], "points": [20, 40], "trials": 4, "training": {"perception": 20}}
    found = []
    for way in WAYS:
        cell = study.cell(Cell(f"guided motor {way}", 0), few)
        assert cell.score.shape == (1, 2)
        assert np.isnan(cell.score.values[0]).tolist() == [way.endswith("longer"), False]
        found.append(cell.assign_coords(condition=f"guided motor {way}"))
    staged, whole, alone, longer, _ = found
    assert int(staged.edges[0]) < int(whole.edges[0]), "the stages prune"
    a, growth, n = Anatomy(), LongRangeGrowth(), 256
    region = n * n * (a.local_density * a.over_production + 2 * a.long_range_density) + growth.edges * growth.last_epoch
    assert int(alone.edges[0]) == pytest.approx(region + 4 * n, rel=0.02)
    assert int(longer.edges[0]) > int(whole.edges[0]), "grew for longer"
    results = xr.concat(found, "condition").expand_dims(seed=[0])
    figure = study.figures(results)["transfer"]
    assert isinstance(figure, Figure)
    (panel,) = figure.axes
    assert panel.lines[0].get_ydata() == pytest.approx(100 * staged.score.values[0])
    (table,) = study.tables(results)
    assert len(table.rows) == 2
    assert all(len(row) == len(table.columns) for row in table.rows)
    assert "" in table.rows[0]
    assert "" not in table.rows[1]
