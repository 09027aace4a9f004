"""Forecasts of what follows a stimulation: gap junctions apart, rates evoked by the engine, wiring, graded cells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from connectome import Connectome, ConnectomeError, EdgeSet, Region
from connectome.analysis.graded import spread
from connectome.analysis.simple_graph import SimpleGraph, simple_graph
from connectome.experiment import preset
from connectome.experiment.propagation import evoked_rates, graded_scores, split_gap_junctions, wiring_scores
from connectome.neurons.shiu2024 import Shiu2024


def chain(**about: Any) -> Connectome:
    """0 and 1 in a, 2 and 3 in b: 0 -> 1 -> 2 strongly; the last edge set leads from 2 to 3."""
    neuron = preset("shiu2024").neuron
    regions = [Region("a", 2, neuron=neuron), Region("b", 2, neuron=neuron)]
    rows = [
        (("a", "local", "a"), 0, 1, 300.0), (("a", "long_range", "b"), 1, 0, 300.0),
        (("b", "local", "b"), 0, 1, -300.0),
    ]  # fmt: skip
    edges = [
        EdgeSet.from_arrays(key, [i], [j], [w], n_source=2, n_target=2, dt_ms=0.1, delay_ms=1.8, **about)
        for key, i, j, w in rows
    ]
    return Connectome.of(regions, edges, dt_ms=0.1)


@pytest.mark.parametrize("as_state", [True, False])
def test_gap_junctions_are_told_apart(as_state: bool) -> None:
    flags = {"gap_junction": np.array([1.0, 0.0, 1.0])}
    about: Any = {"state": flags} if as_state else {"attributes": {"gap_junction": [1, 0, 1]}}
    edges = EdgeSet.from_arrays(
        ("a", "local", "a"), [0, 0, 1], [1, 2, 0], [1.0, 2.0, 3.0], n_source=3, n_target=3, dt_ms=0.1, **about
    )
    chemical, electrical = split_gap_junctions(Connectome.of([Region("a", 3)], [edges]))
    assert simple_graph(chemical).weight.tolist() == [2.0]
    assert simple_graph(electrical).weight.tolist() == [1.0, 3.0]
    whole, none = split_gap_junctions(chain())
    assert (whole.n_edges, none.n_edges) == (3, 0)
    words = EdgeSet.from_arrays(
        ("a", "local", "a"), [0], [1], n_source=3, n_target=3, dt_ms=0.1, attributes={"gap_junction": ["yes"]}
    )
    with pytest.raises(ConnectomeError, match="gap_junction must be 0 or 1"):
        split_gap_junctions(Connectome.of([Region("a", 3)], [words]))


def test_what_the_engine_evokes_follows_the_wiring() -> None:
    p = preset("shiu2024")
    found = evoked_rates(chain(), p, [0, 1, 3], rate_hz=100.0, duration_ms=300.0, seed=3)
    assert found.shape == (3, 4)
    assert (found > 5).tolist() == [[True, True, True, False], [False, True, True, False], [False, False, False, True]]
    again = evoked_rates(chain(), p, [1], rate_hz=100.0, duration_ms=300.0, seed=3)
    np.testing.assert_array_equal(again[0], found[1])
    assert not np.array_equal(evoked_rates(chain(), p, [0], rate_hz=100.0, duration_ms=300.0, seed=4)[0], found[0])
    with pytest.raises(ConnectomeError, match=r"cells must be neurons in 0 \.\. 3"):
        evoked_rates(chain(), p, [4])


def test_what_fires_at_rest_is_taken_off() -> None:
    """Cell 3 fires by itself; 2, stimulated, inhibits it."""
    network, p = chain(), preset("shiu2024")
    b = network.regions["b"]
    busy = replace(b, neuron=Shiu2024(i_e_pa=np.array([0.0, 9.0])))
    network = replace(network, regions={**network.regions, "b": busy})
    found = evoked_rates(network, p, [0, 2], rate_hz=100.0, duration_ms=500.0)
    assert found[1, 2] > 20
    assert found[1, 3] < -5
    assert found[0, 0] > 20


def test_what_the_wiring_says() -> None:
    chemical = SimpleGraph.from_arrays(4, [0, 1, 3], [1, 2, 2], [2.0, -3.0, 1.0])
    electrical = SimpleGraph.from_arrays(4, [2, 3], [3, 2], [4.0, 4.0])
    found = wiring_scores(chemical, electrical, 2)
    assert found["direct synapses"][1, 2] == 3.0
    assert found["direct synapses, with gap junctions"][3].tolist() == [0, 0, 5, 0]
    assert found["path length"][0].tolist() == [0, -1, -2, -4]  # 3 is not reached
    assert found["path length, with gap junctions"][0].tolist() == [0, -1, -2, -3]
    assert found["effective connectivity, 1 step"][:, 2].tolist() == [0, 0.75, 0, 0.25]
    assert found["effective connectivity, 2 steps"][:, 2].tolist() == [0.75, 0.75, 0, 0.25]
    assert found["effective connectivity, 2 steps, with gap junctions"][0, 3] == 0.0
    assert found["effective connectivity, 2 steps, with gap junctions"][1, 3] == 3 / 8


def test_graded_cells_at_gains_with_a_rest() -> None:
    chemical = simple_graph(chain())
    electrical = SimpleGraph.from_arrays(4, [2, 3], [3, 2], [1.0, 1.0])
    found = graded_scores(chemical, electrical)
    assert [len(each) for each in found.values()] == [3, 4, 12]  # a chain has no loop: each gain has a rest
    np.testing.assert_allclose(found["graded cells, gap junctions alone"][1], spread(SimpleGraph.from_arrays(
        4, [], []), electrical, range(4), electrical_gain=0.1))  # fmt: skip
    loop = SimpleGraph.from_arrays(4, [0, 1], [1, 0], [5.0, 5.0])
    one = graded_scores(loop, electrical)["graded cells"]
    np.testing.assert_allclose([each[0, 1] for each in one], [0.1, 0.3, 0.9])  # shares of what has no rest
