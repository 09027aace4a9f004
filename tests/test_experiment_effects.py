"""Intervals and p-values, against SciPy and by hand."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.stats

from connectome.analysis.intervals import mean_of
from connectome.experiment.activation import path_table, structure_table
from connectome.experiment.effects import cell_table, corrected, differences, effect_table, sweep_table
from connectome.experiment.trials import perform, prepare
from tests.experiments import brain, experiment


@pytest.fixture(name="rows")
def _rows() -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    rng = np.random.default_rng(0)
    rows = rng.normal(0.5, 1.0, (20, 8))
    rows[3, 2] = np.nan
    rows[4, :7] = np.nan
    return rows


def test_t_is_scipy_s(rows: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    found = differences(rows)
    for row, mean, half, n, p in zip(rows, *found, strict=True):
        there = row[~np.isnan(row)]
        expected = mean_of(there)
        assert (mean, n) == (pytest.approx(expected.mean), expected.n)
        assert half == pytest.approx(expected.half, nan_ok=True)
        wanted = scipy.stats.ttest_1samp(there, 0).pvalue if there.size > 1 else np.nan
        assert p == pytest.approx(wanted, nan_ok=True)


def test_where_all_seeds_differ_by_the_same_signs_decide() -> None:
    found = differences(np.array([[1.0] * 6, [0.0] * 6, [0.1 + 0.2 - 0.3] * 6]))
    assert found.p.tolist() == [2 / 64, 1.0, 2 / 64]


@pytest.mark.parametrize("test", ["permutation", "wilcoxon"])
def test_other_tests_are_scipy_s(test: str, rows: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    found = differences(rows[:3], test)  # type: ignore[arg-type]
    for row, p in zip(rows[:3], found.p, strict=True):
        if test == "wilcoxon":
            assert p == pytest.approx(scipy.stats.wilcoxon(row).pvalue)
        else:
            sums = [abs(np.dot(signs, row)) for signs in itertools.product([1, -1], repeat=row.size)]
            assert p == pytest.approx(np.mean(np.array(sums) >= abs(row.sum()) - 1e-12))
    many = differences(np.random.default_rng(1).normal(0.3, 1.0, (4, 30)), "permutation").p
    exact = differences(np.random.default_rng(1).normal(0.3, 1.0, (4, 30)), "t").p
    assert np.abs(many - exact).max() < 0.03


def test_corrections() -> None:
    p = np.array([0.01, np.nan, 0.04, 0.03, 0.005, 0.6])
    there = p[~np.isnan(p)]
    found = corrected(p, "fdr_bh")
    np.testing.assert_allclose(found[~np.isnan(p)], scipy.stats.false_discovery_control(there))
    assert np.isnan(found[1])
    assert corrected(p, "holm").tolist() == pytest.approx([0.04, np.nan, 0.09, 0.09, 0.025, 0.6], nan_ok=True)
    assert corrected(p, "none").tolist() == pytest.approx(p.tolist(), nan_ok=True)


def test_tables_of_an_experiment() -> None:
    e = experiment(
        sweep={"silence_each": "region == 'a' and class == 'LN'"}, seeds=4,
        paths={"to": "region == 'hand'", "n": 3, "nulls": 4, "hops": 3},
    )  # fmt: skip
    setup = prepare(e, brain())
    results = perform(e, brain())
    flat = effect_table(e, results)
    table: Any = flat.set_index(["condition", "control", "readout", "by", "value"]).sort_index()
    row = table.loc["quiet", "shuffled", "rate_hz", "class", "KC"]
    at = {"condition": "quiet", "control": "shuffled"}
    k = int(np.flatnonzero(results.value.values == "KC")[0])
    effect = (results.rate_hz - results.base_rate_hz).sel(at).values[:, k]
    assert (row.effect, row.n) == (pytest.approx(effect.mean()), 4)
    assert row.effect_high - row.effect == pytest.approx(mean_of(effect).half)
    here = (results.rate_hz - results.base_rate_hz).sel(condition="quiet", control="measured").values[:, k]
    assert row.beyond == pytest.approx((here - effect).mean())
    assert row.p_beyond == pytest.approx(scipy.stats.ttest_1samp(here - effect, 0).pvalue)
    family = flat[(flat.condition == "quiet") & (flat.control == "shuffled") & (flat.readout == "rate_hz")].p
    assert row.p_corrected == pytest.approx(corrected(family.to_numpy(), "holm")[k])
    assert np.isnan(table.loc["driven", "measured", "rate_hz", "class", "KC"].p), "nothing to compare it with"
    cells = cell_table(e, results)
    assert (cells.rate_hz.notna() | cells.effect.isna()).all()
    assert not cells[(cells.condition == "quiet")].label.isin([f"a{i}" for i in range(3, 40, 4)]).any()
    sweep = sweep_table(e, results)
    assert len(sweep) == 10 * 3 * len(setup.populations)
    paths = path_table(setup, results)
    first = paths[(paths.kind == "strongest") & (paths.path == 1)]
    assert first.region.iloc[-1] == "hand"
    assert first.strength.iloc[0] == pytest.approx(np.prod(first.input_share.dropna()))
    structure = structure_table(setup)
    assert structure.what[0] == "fewest steps"
    assert len(structure) == 2 + 3
    assert structure.p.between(1 / 5, 1).all()
