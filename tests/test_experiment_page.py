"""The page about an experiment: what it says, and how it looks to who opens it, on a desk and on a phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectome.experiment import cell_table, effect_table, page, path_table, structure_table, sweep_table
from connectome.experiment.charts import changes
from connectome.experiment.specification import Experiment
from connectome.experiment.trials import perform, prepare
from tests.experiments import brain, experiment
from tests.test_report_browser import CHROMIUM, TEXTS, Visit, browser, contrast

__all__ = ["browser"]

HOSTILE = "</script><script>alert(1)</script>"


def html_of(e: Experiment) -> str:
    setup, results = prepare(e, brain()), perform(e, brain())
    tables = {"effects": effect_table(e, results), "cells": cell_table(e, results)}
    if e.sweep:
        tables["sweep"] = sweep_table(e, results)
    if e.paths:
        tables |= {"paths": path_table(setup, results), "structure": structure_table(setup)}
    return page(setup, results, tables, source="brain.h5")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    e = experiment(
        title=HOSTILE, sweep={"silence_each": "region == 'a' and class == 'LN'"},
        paths={"to": "region == 'hand'", "nulls": 3},
    )  # fmt: skip
    path = tmp_path_factory.mktemp("shown") / "page.html"
    path.write_text(html_of(e), "utf-8")
    return path


def test_effects_over_time_are_those_of_the_table() -> None:
    """Over all bins, the mean effect is that on the rate; of what loses cells there is none to compare."""
    e = experiment()
    setup, results = prepare(e, brain()), perform(e, brain())
    table = effect_table(e, results)
    table = table[(table.control == "measured") & (table.readout == "rate_hz")]
    every = np.arange(len(setup.populations))
    for condition, without in (("quiet", {"a", "LN"}), ("without", {"b", "PN"})):
        found = changes(setup, results, condition, every)
        values = [setup.populations[k].value for k in found]
        assert {p.value for p in setup.populations} - {*values} == without
        mine = table[table.condition == condition].set_index("value").effect
        for k, value in zip(found, values, strict=True):
            assert found[k].mean.mean() == pytest.approx(mine[value], abs=1e-4)
            here, base = (
                results.course_hz.sel(control="measured", condition=name).values[:, k] for name in (condition, "driven")
            )
            half = 4.30265 * (here - base).std(axis=0, ddof=1) / np.sqrt(3)  # Student's t of two degrees of freedom
            assert found[k].half == pytest.approx(half, rel=1e-4, abs=1e-5)


def test_it_says_what_was_done(shown: Path) -> None:
    html = shown.read_text("utf-8")
    assert HOSTILE not in html
    assert "stimulate 8 cells at 600 Hz, from 5 ms to 50 ms" in html
    assert "Effects of quiet against driven" in html
    assert "Effects of driven." in html or "Effects of driven;" in html, "beside what shuffled wiring gives"
    assert "beyond shuffled wiring (p)" in html
    assert "Each cell silenced in turn" in html
    assert "strongest 1" in html


def test_one_condition_without_controls_makes_a_page_too() -> None:
    still = {"still": {"stimulate": {"cells": "region == 'a'", "current_pa": 500.0}}}
    e = experiment(condition=still, seeds=1, controls={"shuffled": False, "random_targets": False})
    html = html_of(e)
    assert "With one seed there are no intervals and no p-values." in html
    assert "nothing is drawn at random" in html
    nothing = experiment(condition={"rest": {}}, seeds=2)
    assert "Conditions and what each does" in html_of(nothing)


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="no chromium to be found")
@pytest.mark.parametrize("how", [{}, {"color_scheme": "dark"}, {"viewport": {"width": 390, "height": 844}}])
def test_it_opens_and_can_be_read(browser: Any, shown: Path, how: dict[str, Any]) -> None:
    visit = Visit(browser, shown, **how)
    assert visit.wrong == []
    assert visit.asked == [shown.as_uri()]
    assert visit.do("[...document.querySelectorAll('.chart')].every(c => c.data.length > 0)")
    texts = visit.do(TEXTS)
    assert {(t["text"], t["size"]) for t in texts if t["size"] < 13} == set()
    assert {(t["text"], round(contrast(t), 2)) for t in texts if contrast(t) < 4.5} == set()
    assert visit.do("document.documentElement.scrollWidth <= innerWidth")
    visit.context.close()


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM, reason="no chromium to be found")
def test_a_condition_is_chosen_everywhere_at_once_and_it_prints(browser: Any, shown: Path) -> None:
    visit = Visit(browser, shown)
    y = "JSON.stringify(document.querySelector('[data-chart=change]').data.map(t => t.y))"
    names = "[...document.querySelectorAll('[data-name]')].map(e => e.textContent)"
    before = visit.do(y)
    assert visit.do(names) == ["without", "driven", "driven", "without"]
    visit.page.locator("#time input[data-stage]").first.check(force=True)
    assert visit.do(names) == ["quiet", "driven", "driven", "quiet"]
    assert visit.page.locator("#effects input[data-stage]").first.is_checked()
    assert visit.do(y) != before
    lines = "document.querySelector('[data-chart=course0]').data.map(t => t.name)"
    assert visit.do(lines) == ["b", "eye"], "of region a, a fifth is stimulated"
    visit.page.locator("#effects input[data-measure][value=class]").check(force=True)
    assert visit.do(lines) == ["KC", "LN"]
    same = "JSON.stringify(document.querySelector('[data-chart=course0]').layout.yaxis.range)"
    assert visit.do(same) == visit.do(same.replace("course0", "course2")), "all sides have one scale"
    titles = "[...document.querySelectorAll('.many h4')].map(e => e.textContent)"
    assert visit.do(titles) == ["driven", "quiet", "without"]
    visit.do("page.charts.raster1.all.forEach(c => { c.data[0].type = 'scattergl'; }); drawAll()")
    dots = "document.querySelectorAll('[data-chart=raster1] .points path').length"
    assert visit.do(dots) == 0
    visit.do("window.dispatchEvent(new Event('beforeprint'))")
    assert visit.do(dots) > 0, "what a graphics card draws is blank on paper"
    visit.page.emulate_media(media="print")
    assert len(visit.page.pdf(format="A4")) > 20_000
    assert visit.wrong == []
    visit.context.close()
