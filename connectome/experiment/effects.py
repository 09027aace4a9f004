"""What conditions change: differences paired by seed, with 95 % intervals and corrected p-values.

The *effect* of a condition is its read-out minus that of the condition it builds on, on the same wiring and with the
same seed, over the cells that count in both (for the reference, which builds on none, the read-out itself). A control
is compared with it twice: by its own effect, and by how far the effect on the measured wiring is *beyond* that effect,
again seed by seed. With random targets, only the condition's own targets are random; the condition it builds on stays
as it is.

Intervals are Student's t. P-values are two-sided: Student's paired t by default; ``permutation`` flips the signs of the
differences, in all 2**n ways up to n = 12 and in 10,000 random ways beyond; ``wilcoxon`` is SciPy's signed-rank test.
If all differences are equal, t is not defined, and the permutation p-value is used. P-values are corrected for the
number of populations (or cells) of one read-out, condition and control. A p-value is missing where nothing is drawn at
random, as every seed then repeats the same trial.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from connectome.analysis.beside_nulls import false_discovery_rate
from connectome.experiment.readouts import READOUTS
from connectome.experiment.specification import Correction, Experiment, Test

if TYPE_CHECKING:
    import pandas

__all__ = ["Differences", "cell_table", "corrected", "differences", "effect_table", "rows_of", "sweep_table"]

_EXACT: Final = 12
_DRAWN: Final = 10_000
_ROUNDING: Final = 1e-12


class Differences(NamedTuple):
    """For each row: the mean of n differences, half the width of its 95 % interval, and the p-value; nan where
    undefined."""

    mean: NDArray[np.float64]
    half: NDArray[np.float64]
    n: NDArray[np.int64]
    p: NDArray[np.float64]


def differences(values: NDArray[Any], test: Test = "t") -> Differences:
    """Mean, interval and p-value of (..., seeds) differences, some of which may be nan."""
    from scipy.stats import t as student

    x = np.asarray(values, np.float64)
    there = ~np.isnan(x)
    n = there.sum(-1)
    total = np.where(there, x, 0.0).sum(-1)
    mean = np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)
    square = np.where(there, (x - mean[..., None]) ** 2, 0.0).sum(-1)
    sd = np.sqrt(np.divide(square, n - 1, out=np.full(n.shape, np.nan), where=n > 1))
    half = student.ppf(0.975, np.maximum(n - 1, 1)) * sd / np.sqrt(np.maximum(n, 1))
    p = np.full(n.shape, np.nan)
    if x.size:
        flat, each = x.reshape(-1, x.shape[-1]), p.reshape(-1)
        if test == "t":
            with np.errstate(divide="ignore", invalid="ignore"):
                score = np.abs(mean) / (sd / np.sqrt(n))
            each[:] = np.where(n > 1, 2 * student.sf(score, np.maximum(n - 1, 1)), np.nan).ravel()
            alike = (sd <= _ROUNDING * np.abs(mean)).ravel() | (square == 0).ravel()
            each[alike] = _sign_permutation(flat[alike])
        elif test == "permutation":
            each[:] = _sign_permutation(flat)
        else:
            each[:] = [_wilcoxon(row[~np.isnan(row)]) for row in flat]
    return Differences(mean, half, n, p)


def _sign_permutation(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(R,) two-sided p-values of (R, n) differences, whose signs are flipped in all ways or in randomly drawn ones."""
    n = rows.shape[-1]
    if n <= _EXACT:
        turned = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        turned = np.random.default_rng(0).choice([-1.0, 1.0], (_DRAWN, n))
        turned[0] = 1.0  # as it is
    there = ~np.isnan(rows)
    x = np.where(there, rows, 0.0)
    size = np.abs(x.sum(-1)) - 1e-9 * np.abs(x).sum(-1)
    p = np.array([(np.abs(turned @ row) >= least).mean() for row, least in zip(x, size, strict=True)])
    return np.where(there.sum(-1) > 1, p.reshape(len(rows)), np.nan)


def _wilcoxon(row: NDArray[np.float64]) -> float:
    from scipy.stats import wilcoxon

    if row.size < 2:
        return math.nan
    return float(wilcoxon(row).pvalue) if row.any() else 1.0


def corrected(p: NDArray[np.float64], correction: Correction) -> NDArray[np.float64]:
    """P-values of one family corrected for multiple comparisons (Holm 1979; Benjamini & Hochberg 1995); missing ones do
    not count."""
    if correction == "none":
        return p
    if correction == "fdr_bh":
        return false_discovery_rate(p)
    found = np.full(p.shape, np.nan)
    there = np.flatnonzero(~np.isnan(p))
    order = there[np.argsort(p[there], kind="stable")]
    found[order] = np.minimum(np.maximum.accumulate((order.size - np.arange(order.size)) * p[order]), 1.0)
    return found


def _is_random(e: Experiment, condition: str, control: str) -> bool:
    base = e.against(condition)
    return control != "measured" or e.whole(condition).is_random or bool(base and e.whole(base).is_random)


def _effect(e: Experiment, results: xr.Dataset, name: str, condition: str, control: str) -> NDArray[np.float64]:
    """(seed, population) the effect of a condition on a control, over the cells that it and its base have."""
    at = {"condition": condition, "control": control}
    value: NDArray[np.float64] = results[name].sel(at).values
    return value - results[f"base_{name}"].sel(at).values if e.against(condition) else value


def effect_table(e: Experiment, results: xr.Dataset) -> pandas.DataFrame:
    """A row for each condition, control, read-out and population.

    Columns: condition, against, control, readout, units, by, value, n_cells, mean (of the read-out), effect and its
    interval (effect_low, effect_high), n (seeds), p, p_corrected; and, for a control, beyond, beyond_low, beyond_high,
    p_beyond and p_beyond_corrected: how much larger the effect on the measured wiring is than the control's. Missing
    where undefined.
    """
    import pandas

    parts = []
    n = results.sizes["population"]
    for condition in e.conditions:
        for control in results.control.values.tolist():
            if np.isnan(results.rate_hz.sel(condition=condition, control=control)).all():
                continue  # not tried
            for name, units in READOUTS.items():
                effect = _effect(e, results, name, condition, control)
                columns: dict[str, Any] = {
                    "condition": condition, "against": e.against(condition), "control": control, "readout": name,
                    "units": units, "by": results.by.values, "value": results.value.values,
                    "n_cells": results.n_cells.values,
                    "mean": differences(results[name].sel(condition=condition, control=control).values.T).mean,
                }  # fmt: skip
                random = _is_random(e, condition, control)
                columns |= _columns(e, effect.T, "effect", tested=random and bool(e.against(condition)))
                beyond = np.full((n, e.seeds), np.nan)
                if control != "measured":
                    beyond = (_effect(e, results, name, condition, "measured") - effect).T
                columns |= _columns(e, beyond, "beyond", tested=True)
                parts.append(pandas.DataFrame(columns))
    return pandas.concat(parts, ignore_index=True)


def _columns(e: Experiment, values: NDArray[np.float64], name: str, *, tested: bool) -> dict[str, Any]:
    d = differences(values, e.test)
    p = d.p if tested else np.full(d.p.shape, np.nan)
    suffix = "" if name == "effect" else f"_{name}"
    found: dict[str, Any] = {name: d.mean, f"{name}_low": d.mean - d.half, f"{name}_high": d.mean + d.half}
    found |= {"n": d.n} if name == "effect" else {}
    return {**found, f"p{suffix}": p, f"p{suffix}_corrected": corrected(p, e.correction)}


def cell_table(e: Experiment, results: xr.Dataset) -> pandas.DataFrame:
    """A row for each condition and cell whose rate is not always 0: on the measured wiring, its rate, the effect on it
    with interval and p-values, and its latency: the mean over the seeds in which it fired, and their number."""
    import pandas

    parts = []
    for condition in e.conditions:
        rate = results.cell_rate_hz.sel(condition=condition, control="measured").values
        late = differences(results.cell_latency_ms.sel(condition=condition, control="measured").values.T)
        base = e.against(condition)
        effect = rate - results.cell_rate_hz.sel(condition=base, control="measured").values if base else rate
        tested = _is_random(e, condition, "measured") and bool(e.against(condition))
        columns: dict[str, Any] = {
            "condition": condition, "against": e.against(condition), "region": results.cell_region.values,
            "number": results.cell_number.values, "label": results.cell_label.values,
            "rate_hz": differences(rate.T).mean, "latency_ms": late.mean, "n_fired": late.n,
        }  # fmt: skip
        loud = (np.nan_to_num(rate) != 0).any(0) | (np.nan_to_num(effect) != 0).any(0)  # the others are not tested
        columns = {k: v[loud] if isinstance(v, np.ndarray) else v for k, v in columns.items()}
        columns |= _columns(e, effect.T[loud], "effect", tested=tested)
        parts.append(pandas.DataFrame(columns))
    return pandas.concat(parts, ignore_index=True)


def sweep_table(e: Experiment, results: xr.Dataset) -> pandas.DataFrame:
    """A row for each cell that a sweep silences, read-out and population: the effect relative to the same condition
    without the silencing, corrected for the number of cells."""
    import pandas

    assert e.sweep is not None
    base = e.sweep.base or e.reference
    parts = []
    for name, units in READOUTS.items():
        effect = results[f"swept_{name}"].values - results[f"swept_base_{name}"].values  # (swept, seed, population)
        for k in range(results.sizes["population"]):
            columns: dict[str, Any] = {
                "region": results.swept_region.values, "number": results.swept_number.values,
                "cell": results.swept_cell.values, "against": base, "readout": name, "units": units,
                "by": str(results.by.values[k]), "value": str(results.value.values[k]),
            }  # fmt: skip
            columns |= _columns(e, effect[:, :, k], "effect", tested=e.whole(base).is_random)
            parts.append(pandas.DataFrame(columns))
    return pandas.concat(parts, ignore_index=True)


def rows_of(table: pandas.DataFrame) -> list[Any]:
    """The rows of a table, as tuples with names."""
    return list(table.itertuples())
