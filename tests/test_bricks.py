"""Neurons by what they are for: scores, bricks, which is which."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectome import ConnectomeError, EdgeKey
from connectome.analysis.bricks import bricks, functional_scores, matching_neurons
from connectome.graph.region_edits import average_regions, copy_region, remove_regions, split_region
from tests.test_region_edits import network, spikes


def test_functional_scores_are_in_units_of_the_spread_over_tasks() -> None:
    rates = np.array([[1.0, 5.0, 2.0], [3.0, 5.0, 2.0], [5.0, 5.0, 8.0]])
    expected = np.array([[-(1.5**0.5), 0, -(0.5**0.5)], [0, 0, -(0.5**0.5)], [1.5**0.5, 0, 2**0.5]])
    np.testing.assert_allclose(functional_scores(rates), expected)


@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 1000))
def test_bricks_are_of_equal_size(k: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    found = bricks(rng.normal(size=(20, k * size)), k, rng)
    assert np.bincount(found, minlength=k).tolist() == [size] * k


def test_groups_that_fire_together_are_bricks() -> None:
    """Loud and quiet neurons alike."""
    rng = np.random.default_rng(2)
    signal, group = rng.normal(size=(200, 3)), rng.permutation(np.repeat(np.arange(3), 7))
    found = bricks(signal[:, group] * rng.uniform(0.5, 9, 21) + rng.normal(size=(200, 21)) * 0.01 + 3, 3, rng)
    assert len({*zip(group, found, strict=True)}) == 3
    assert np.bincount(bricks(rng.random((9, 11)), 3, rng)).tolist() == [4, 4, 3]


def test_a_permuted_copy_is_matched_and_merged_to_the_same_spikes() -> None:
    """By what each neuron receives; without matching, the mean of the two is another network."""
    before = network()
    lone = before.apply(remove_regions(before, ["b", "c"]))
    order = np.random.default_rng(3).permutation(20)
    two = lone.apply(copy_region(lone, "a", "d"))
    two = two.apply(split_region(two, "d", {"e": order}))

    def received(name: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        edges, table = two.edges[EdgeKey("eye", "afferent", name)], np.zeros((20, 20))
        np.add.at(table, (edges.source, edges.target), edges.weight.astype(np.float64))
        return table

    matched = matching_neurons(received("a"), received("e"))
    assert (order[matched] == np.arange(20)).all()
    was = spikes(lone)["a"]
    assert len(was) > 20
    found = {}
    for name, which in (("matched", matched), ("as it is", np.arange(20))):
        put = two.apply(split_region(two, "e", {"f": which}))
        found[name] = spikes(put.apply(average_regions(put, ["a", "f"], "one")))["one"]
    assert found["matched"] == was
    assert found["as it is"] != was


def test_only_neurons_of_one_kind_are_matched() -> None:
    table, order = np.random.default_rng(0).normal(size=(30, 6)), np.array([3, 1, 2, 0, 5, 4])
    kinds = np.array([1, 1, -1, -1, 1, -1])
    assert matching_neurons(table, table[:, order]).tolist() == np.argsort(order).tolist()
    assert matching_neurons(table, table[:, order], (kinds, kinds[order])).tolist() == np.argsort(order).tolist()
    found = matching_neurons(table, table[:, order], (kinds, kinds))
    assert (kinds[found] == kinds).all()


def test_what_cannot_be_is_refused() -> None:
    table = np.ones((3, 4))
    for call, message in (
        (lambda: bricks(table, 5, np.random.default_rng(0)), "k must be 1 .. 4, the number of neurons; found 5"),
        (lambda: functional_scores(table[0]), "rates must be a table of finite numbers"),
        (lambda: functional_scores(table * np.nan), "rates must be a table of finite numbers"),
        (
            lambda: matching_neurons(table, table, ([1, 1, 1, 1], [1, 1, 1, -1])),
            "kinds must be as many of each in both",
        ),
        (lambda: matching_neurons(table, table[:, :3]), r"other must have the shape \(3, 4\).*found \(3, 3\)"),
    ):
        with pytest.raises(ConnectomeError, match=message):
            call()
