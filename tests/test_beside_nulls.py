"""Metrics beside nulls: the numbers of one metric at a time, corrected for how many there are."""

from __future__ import annotations

import math

import numpy as np
import pytest

from connectome import ConnectomeError
from connectome.analysis.beside_nulls import beside_nulls, false_discovery_rate, is_number
from connectome.analysis.measure import choose, known_metrics
from connectome.analysis.nulls import normalised
from connectome.analysis.simple_graph import SimpleGraph
from tests.test_nulls import near_ones_joined

NAMES = ["density", "reciprocity", "clustering_binary_directed", "motif_frequency"]


def test_the_numbers_are_those_of_one_metric_at_a_time() -> None:
    graphs = [near_ones_joined(40, 200, s, signed=False) for s in (0, 1)]
    told: list[str] = []
    found = beside_nulls(graphs, choose(NAMES), ["a", "b"], "degree", 19, 3, told.append)
    assert found.sizes == {"graph": 2, "metric": 1 + 1 + 1 + 13}
    for row, graph in enumerate(graphs):
        for name in ("reciprocity", "motif_frequency"):
            expected = normalised(graph, known_metrics()[name], "degree", 19, 3)
            cells = found.isel(graph=row).sel(metric=found.metric.str.startswith(name))
            for key, of in (("value", "value"), ("z", "z"), ("p", "p"), ("null_mean", "mean"), ("null_sd", "sd")):
                np.testing.assert_allclose(cells[key], np.atleast_1d(getattr(expected, of)), rtol=1e-9)
    assert found.sel(graph="a", metric="clustering_binary_directed (mean)").z > 5
    kept = found.sel(metric="density")
    assert kept.p.values.tolist() == [1, 1]  # every null has it
    assert np.isnan(kept.p_corrected).all()
    assert told[0] == "a"
    assert told[-1] == "b, null 19 of 19"


def test_p_is_corrected_as_benjamini_and_hochberg_do() -> None:
    """Their own example: the largest of p * n / rank from there on."""
    p = np.array([0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.324, math.nan, 0.4262])
    n = np.isfinite(p).sum()
    order = np.argsort(p)[:n]
    expected = np.full(p.size, math.nan)
    expected[order] = np.minimum.accumulate((p[order] * n / np.arange(1, n + 1))[::-1])[::-1]
    np.testing.assert_allclose(false_discovery_rate(p), expected)
    assert np.isnan(false_discovery_rate([math.nan])).all()


def test_what_is_a_number_of_every_graph() -> None:
    assert {m.name for m in known_metrics().values() if not is_number(m)} == {
        "community", "consensus_community", "rich_club_binary", "rich_club_weighted", "rich_club_normalised",
        "rich_club_p",
    }  # fmt: skip
    with pytest.raises(ConnectomeError, match="must be numbers, or curves of a fixed length"):
        beside_nulls([SimpleGraph.from_arrays(2, [0], [1])], choose(["rich_club_binary"]), ["a"])
