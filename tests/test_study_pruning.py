"""The studies of pruning and of sleep: training that carries its moments, cuts, nights, freezing, what is reported."""

from __future__ import annotations

from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from connectome import Connectome, Edit, plugins
from connectome.datasets.images import load_digits
from connectome.datasets.tasks import Perception
from connectome.development.birth import Anatomy, birth
from connectome.learning.network import SpikingNetwork
from connectome.learning.optimisers import Adam
from connectome.learning.task import Score
from sims import study as program
from sims.studies import pruning as study_pruning
from sims.studies import sleep as study_sleep
from sims.studies.cells import Cell
from sims.studies.pruning import FROZEN, fall, hold, matured, prune, score, train

SMALL: dict[str, Any] = {"images": "", "neurons": 12}


@cache
def start() -> study_pruning.Matured:
    return matured("", 12, 20, 8, 3)


def lessons(first: int = 0, last: int = 8) -> list[Any]:
    return list(zip(start().batches, fall(8), strict=True))[first:last]


def learn(connectome: Connectome, first: int = 0, last: int = 8) -> Connectome:
    return train(connectome, start().task, lessons(first, last), start().scale)


def test_training_in_parts_is_training_at_once() -> None:
    """So Adam's moments and its count go from one part to the next, and a night of one prune is no special case."""
    once, parts = learn(start().connectome), learn(learn(start().connectome, 0, 3), 3)
    for key, e in once.edges.items():
        assert (e.weight == parts.edges[key].weight).all()
        for name in Adam.keeps:
            assert (e.state[name] == parts.edges[key].state[name]).all()
        assert set(e.state["adam_step"]) == {28.0}
        assert (e.weight != start().connectome.edges[key].weight).any()


def test_training_is_adam_as_torch_has_it_with_signs_kept() -> None:
    import torch

    from connectome.development.stage import LearningRates

    s, p = start(), LearningRates()
    network = SpikingNetwork(s.born, engine="torch", dtype=torch.float64)
    optimizers = {key: torch.optim.Adam([w]) for key, w in network.weight.items()}
    for (spikes, target), rate in lessons(0, 3):
        network.zero_grad()
        s.task.loss(network(spikes), target).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        for key, w in network.weight.items():
            optimizers[key].param_groups[0]["lr"] = p.rate * rate * p.factor(key, "perception") * s.scale[key]
            optimizers[key].step()
            sign = torch.from_numpy(s.born.regions[key.source].sign[s.born.edges[key].source])
            with torch.no_grad():
                w[w * sign < 0] = 0.0
    found = learn(s.born, 0, 3)
    for key, w in network.weight.items():
        expected = w.detach().numpy()
        np.testing.assert_allclose(found.edges[key].weight, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_a_cut_leaves_so_many_edges_with_the_moments_that_they_had() -> None:
    s = start()
    cut = prune(s.connectome, "magnitude", 100, s.task, s.batches, np.random.default_rng(0))
    assert cut.n_edges == 100
    assert sum(len(w) for w in SpikingNetwork(cut).weight.values()) == 100
    for key, e in cut.edges.items():
        whole = s.connectome.edges[key]
        place = {(i, j): k for k, (i, j) in enumerate(zip(whole.source, whole.target, strict=True))}
        was = [place[end] for end in zip(e.source, e.target, strict=True)]
        for name in Adam.keeps:
            assert (e.state[name] == whole.state[name][was]).all()


def test_frozen_weights_neither_change_nor_go() -> None:
    s = start()
    masks = {
        key: (np.random.default_rng(1).random(len(e)) < 0.3).astype(np.float32) for key, e in s.connectome.edges.items()
    }
    c = s.connectome.apply(Edit(state={key: {FROZEN: mask} for key, mask in masks.items()}))
    frozen = sum(int(m.sum()) for m in masks.values())
    after = study_sleep._night(c, 40, 3, lessons(), s.task, s.scale)
    assert after.n_edges == frozen + 40
    for key, e in after.edges.items():
        held = e.state[FROZEN] > 0
        assert held.sum() == masks[key].sum()
        assert (e.weight[held] == c.edges[key].weight[masks[key] > 0]).all()
    assert any((after.edges[k].weight[after.edges[k].state[FROZEN] == 0] != 0).any() for k in after.edges)


def test_a_night_prunes_the_same_fraction_each_time_within_its_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    s, seen = start(), []

    def note(c: Connectome, task: Perception, part: Any, scale: Any) -> Connectome:
        seen.append((c.n_edges, len(part)))
        return c

    monkeypatch.setattr(study_sleep, "train", note)
    n = s.connectome.n_edges
    study_sleep._night(s.connectome, n // 16, 4, lessons(), s.task, s.scale)
    assert [k for _, k in seen] == [2, 2, 2, 2]
    np.testing.assert_allclose([e for e, _ in seen], n / 2.0 ** np.arange(1, 5), rtol=0.02)
    seen.clear()
    study_sleep._night(s.connectome, n // 16, 3, lessons(), s.task, s.scale)
    assert sum(k for _, k in seen) == 8


def test_a_night_of_seconds_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on 0.1 s whenever it is looked at."""
    now = iter(np.arange(1000) / 10)
    monkeypatch.setattr("sims.studies.sleep.time.monotonic", lambda: float(next(now)))
    given = list(study_sleep._until(lessons(), 0.95))
    assert len(given) == 10, "lessons come round again"
    assert given[8] == lessons()[0]
    s = start()
    before, after = s.connectome, study_sleep._night(s.connectome, 200, 2, lessons(), s.task, s.scale, 1.0)
    assert after.n_edges == 200
    assert 2 <= study_sleep._updates(after) - study_sleep._updates(before) <= 10


def test_freed_weights_begin_as_at_birth() -> None:
    s = start()
    number = {key: {"number": np.arange(len(e), dtype=np.float32)} for key, e in s.born.edges.items()}
    asleep = prune(s.connectome.apply(Edit(state=number)), "magnitude", 90, s.task, s.batches, np.random.default_rng(0))
    free = study_sleep._freed(s.born, asleep, frozen=True)
    assert free.n_edges == s.born.n_edges
    assert sum(int(e.state[FROZEN].sum()) for e in free.edges.values()) == 90
    for key, e in free.edges.items():
        kept = e.state[FROZEN] > 0
        assert (e.weight[~kept] == s.born.edges[key].weight[~kept]).all()
        assert sorted(e.weight[kept]) == sorted(asleep.edges[key].weight)
    plastic = study_sleep._freed(s.born, asleep, frozen=False)
    assert not any(e.state for e in plastic.edges.values())


def test_seeds_are_other_regions_that_see_other_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_pruning, "train", lambda connectome, *_: connectome)
    one, two = (matured.__wrapped__("", 12, 1, 2, seed) for seed in (0, 1))
    assert one.born.digest() != two.born.digest()
    for (seen, label), (other, others) in zip(one.batches, two.batches, strict=True):
        assert not torch.equal(seen["image"], other["image"])
        assert not torch.equal(label, others)
    drawn: list[Any] = []

    def perform(connectome: Connectome, task: Perception, split: str, trials: int, seed: list[int]) -> Score:
        drawn.append(np.random.default_rng(seed).integers(2**62))
        return Score(0.5, 1.0, 1.0, 0.5)

    monkeypatch.setattr("connectome.development.stages.perform", perform)
    for seed in (0, 1, 1):
        assert score(one.connectome, one.task, "test", 9, seed) == (0.5, 1.0)
    assert drawn[0] != drawn[1] == drawn[2]


def test_half_a_mixed_batch_is_of_each_task() -> None:
    class Told:
        def __init__(self, number: int) -> None:
            self.number = number

        def batch(self, rng: np.random.Generator, size: int) -> Any:
            return {"image": torch.full((size, 2, 3), self.number)}, torch.full((size,), self.number)

    first: Any
    second: Any
    first, second = Told(1), Told(2)
    spikes, target = study_sleep._mixed(first, second, np.random.default_rng(0))
    assert target.tolist() == [1] * 32 + [2] * 32
    assert spikes["image"][:, 0, 0].tolist() == target.tolist()


def test_rates() -> None:
    rates = fall(100)
    assert rates[0] == pytest.approx(1.0)
    assert rates[50] == pytest.approx(0.51)
    assert rates[-1] == pytest.approx(0.02 + 0.98 * 0.5 * (1 + np.cos(0.99 * np.pi)))
    assert hold(10, 2.0) == pytest.approx([2.0] * 9 + [1.0])
    assert hold(20, 1.0)[15:] == pytest.approx([1.0, 1.0, 0.75, 0.5, 0.25])


def test_a_cell_of_pruning() -> None:
    options = {
        **study_pruning.pruning(True, "").options, **SMALL, "updates": 20, "fine_tuning": 8, "trials": 60,
        "removed": [0.5, 0.9],
    }  # fmt: skip
    found = study_pruning._cell(Cell("magnitude unstructured", 3), options)
    again = study_pruning._cell(Cell("magnitude unstructured", 3), options)
    assert found.identical(again), "a cell's results are its options' and its seed's"
    n = start().born.n_edges
    assert found.edges.sel(removed=0.9).values.tolist() == [round(0.1 * n)] * 3
    assert found.whole_edges == n
    # The first level of the iterative path is the one-shot one.
    assert found.accuracy[0, 0] == found.accuracy[2, 0]
    assert (found.operations < float(found.whole_operations)).all()
    s = start()
    cut = prune(s.connectome, "magnitude", round(0.5 * n), s.task, s.batches, np.random.default_rng(0))
    tuned = train(cut, s.task, zip(s.batches, hold(8, options["rate"]), strict=True), s.scale)
    assert found.accuracy[0, 0] == score(tuned, s.task, "test", 60, 3)[0]
    assert found.before[0] == score(cut, s.task, "test", 60, 3)[0]
    whole = study_pruning._cell(Cell("taylor structured", 3), options)
    assert (whole.edges <= found.edges).all()


def sleep_results(seeds: int = 3) -> xr.Dataset:
    """Made up: the best is 4 iterations by validation; frozen needs twice the weights that together does."""
    study = study_sleep.sleep(False, "")
    rows = []
    for seed in range(seeds):
        cells = []
        for name in study.conditions:
            c, w = (np.array(study.options[dim]) for dim in ("compression", "weights"))
            error = np.full(len(c), np.nan)
            pair = [np.full(len(w), np.nan)] * 2
            if name in study_sleep.WAYS:
                factor = 2.0 if name == "frozen" else 1.0
                pair = [0.01 * factor / w, 0.01 * factor / w]
            else:
                error = 0.05 + 0.01 * np.abs(np.log2(int(name.split()[0])) - 2) + 0.001 * seed + 0 * c
            data = {"validation_error": error, "error": error + 0.01, "updates": 0 * error}
            cells.append(
                xr.Dataset(
                    {k: ("compression", v) for k, v in data.items()}
                    | {"first_error": ("weights", pair[0]), "second_error": ("weights", pair[1]), "edges": 1000},
                    coords={"compression": c, "weights": w, "condition": name},
                )
            )
        rows.append(xr.concat(cells, "condition").assign_coords(seed=seed))
    return xr.concat(rows, "seed")


def test_what_sleep_reports() -> None:
    results = sleep_results()
    nights, both, equal = study_sleep._tables(results)
    row = dict(zip(nights.columns, nights.rows[0], strict=True))
    assert (row["best"], row["worst"]) == ("4", "32")
    assert row["worst - best"] == "3.00 ± 0.00"
    assert both.columns[1] == "frozen: first"
    assert dict(zip(equal.columns, equal.rows[0], strict=True))["mean of both: to together"] == "2.00 ± 0.00"
    assert equal.rows[-1][1] == "nan", "half of the fewest weights is out of range"
    assert set(study_sleep._figures(results)) == {"iterations", "freezing"}
    for some, tables, figures in (
        (["frozen", "1 iteration", "2 iterations"], 2, {"iterations", "freezing"}),
        (["together"], 1, {"freezing"}), (["8 iterations"], 0, {"iterations"}),
    ):  # fmt: skip
        part = results.sel(condition=some)
        assert len(study_sleep._tables(part)) == tables
        assert set(study_sleep._figures(part)) == figures
        for figure in study_sleep._figures(part).values():
            figure.savefig(BytesIO())


def test_both_studies_run_and_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, on a region that knows next to nothing."""
    for name in ("pruning", "sleep"):
        made = plugins.known("studies")[name].value.split(":")
        study = getattr({"pruning": study_pruning, "sleep": study_sleep}[name], made[1])(True, "")
        tiny = dict(study.options) | SMALL | {"trials": 40}
        tiny |= (
            {"updates": 20, "fine_tuning": 8, "removed": [0.5]}
            if name == "pruning"
            else {"day": 20, "night": 8, "second_day": 4, "short_night": 4, "short_iterations": 2, "weights": [0.5]}
        )
        conditions = {
            "pruning": ["magnitude unstructured", "feedback structured", "obd unstructured"],
            "sleep": ["1 iteration", "8 iterations", *study_sleep.WAYS],
        }[name]
        parts = [study.cell(Cell(c, 3), tiny).assign_coords(condition=c) for c in conditions]
        results = xr.concat([xr.concat(parts, "condition")], "seed").assign_coords(seed=[3])
        for table in study.tables(results):
            assert table.rows
            assert all(len(row) == len(table.columns) for row in table.rows)
        for figure in study.figures(results).values():
            figure.savefig(tmp_path / "figure.png")
    assert program.main(["pruning", "--images", "no/such/place", "--out", str(tmp_path / "out"), "--jobs", "1"]) == 2
    assert "images must be" in capsys.readouterr().err


def test_the_task_is_born_as_development_does() -> None:
    """The region is what :func:`connectome.development.birth.birth` makes, of the seed."""
    rng = np.random.default_rng([3, 1])
    born = birth(None, Perception(load_digits()), Anatomy(neurons=12), 1, (), rng)
    assert born.digest() == start().born.digest()
