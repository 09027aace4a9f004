"""Published systems on trial: one schema for all, verdicts that are computed, one row by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from connectome import ConnectomeError, plugins
from connectome.io.results import save_results
from sims import study as program
from sims.studies import published
from sims.studies.published import Check, Measure, Trial


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    if condition == "theirs":
        return {"score": 0.5 + seed / 10}
    return {"score": {"ours": 0.8, "worse": 0.1}[condition] + seed / 10, "steps": 7.0}


def _check(v: published.Values) -> list[Check]:
    return [
        Check("ours is best", "so", bool((v["ours"]["score"] > v["theirs"]["score"]).all())),
        Check("nobody else counts steps", "so", bool(np.isnan(v["theirs"]["steps"]).all())),
        Check("pigs fly", "none did", False),
    ]


TOY = Trial(
    "Toy", "Nobody 1900", "it works", {"score": Measure(" %", 100, 0), "steps": Measure(digits=0)},
    ("ours", "theirs", "worse"), _run, _check, ("theirs", "worse"),
)  # fmt: skip


def test_a_trial_is_run_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole way through the program: cells in processes, then the table."""
    monkeypatch.setattr(published, "_load", lambda group, name: TOY)
    study = published.circuits(True, "", ["gain_control"])
    assert study.conditions == ("gain_control: ours", "gain_control: theirs", "gain_control: worse")
    cells = [study.cell(cell, study.options) for cell in study.cells()]
    assert [c.value.sizes["measure"] for c in cells] == [2, 1, 2] * 2
    monkeypatch.setattr(
        "sims.studies.cells.run_cells", lambda study, cells, folder, *_: _inline(study, cells, folder.path)
    )
    out = tmp_path / "out"
    assert program.main(["circuits", "--quick", "--only", "gain_control", "--out", str(out)]) == 0
    report = (out / "report.md").read_text()
    assert "| Toy | Nobody 1900 | it works | score: 85 ± 64 % | theirs: 55 ± 64 % | partly (2 of 3) |" in report
    assert "No: pigs fly (none did)." in report
    assert "Options" in report


def _inline(study: object, cells: list[object], out: Path) -> list[object]:
    from sims.studies.cells import _work

    for cell in cells:
        results = _work(study.cell, cell, study.options)  # type: ignore[attr-defined, arg-type]
        save_results(results, out / "cells" / cell.file)  # type: ignore[attr-defined]
    return cells


def test_what_is_not_run_whole_has_no_verdict() -> None:
    study = published.circuits(True, "", ["gain_control"])
    assert len(study.conditions) > 2
    with pytest.raises(ConnectomeError, match="--only"):
        published.circuits(True, "", ["perpetuum"])


def test_a_system_whose_packages_are_missing_is_left_out_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = replace(TOY, needs=("json", "no_such_module"))
    monkeypatch.setattr(published, "_load", lambda group, name: lacking if name == "ncap" else TOY)
    study = published.circuits(True, "")
    assert "Without ncap: it needs no_such_module" in study.about
    assert "gain_control: ours" in study.conditions
    assert not any(condition.startswith("ncap") for condition in study.conditions)
    with pytest.raises(ConnectomeError, match="--only needs no_such_module for ncap"):
        published.circuits(True, "", ["ncap"])


def test_films_and_figures_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    from connectome.io.results import Film

    film = Film(np.zeros((2, 8, 8, 3), np.uint8), 50)
    drawn = replace(TOY, draw=lambda quick: {"swims": film, "curve": Figure()})
    monkeypatch.setattr(published, "_load", lambda group, name: drawn)
    monkeypatch.setattr(
        "sims.studies.cells.run_cells", lambda study, cells, folder, *_: _inline(study, cells, folder.path)
    )
    out = tmp_path / "out"
    assert program.main(["circuits", "--quick", "--quiet", "--only", "ncap", "--out", str(out)]) == 0
    assert (out / "ncap-swims.gif").read_bytes()[:3] == b"GIF"
    report = (out / "report.md").read_text()
    assert "![ncap-swims](ncap-swims.gif)" in report
    assert "![ncap-curve](ncap-curve.png)" in report


def test_every_trial_is_whole() -> None:
    """Its comparators are conditions, which ``--conditions A,B`` can name; its measures have a first one; its quick
    form is tried in its own test."""
    of_group = {name: group for group in ("circuits", "mechanisms") for name in plugins.known(group)}
    for name, group in of_group.items():
        trial = plugins.load(group, name, group)
        assert not any("," in condition for condition in trial.conditions), name
        values = {c: dict.fromkeys(trial.measures, np.array([0.4, 0.5, 0.6])) for c in trial.conditions}
        assert all(isinstance(check.holds, bool) for check in trial.check(values)), name
        assert set(trial.comparators) <= set(trial.conditions[1:]), name
        assert trial.measures, name
        assert trial.system, name
