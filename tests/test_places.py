"""Places: what a module learns, modules side by side, removal as an edit, scores by hand."""

from __future__ import annotations

import numpy as np
import pytest

from connectome import ConnectomeError, plugins
from connectome.circuits import places as circuit
from connectome.datasets.places import patch_normalised, photographed_places
from connectome.graph.connectome import Connectome, Edit
from connectome.graph.parts import EdgeKey
from connectome.graph.selection import node_set

PIXELS = 294
VIEWS = np.stack([255.0 * (np.arange(PIXELS) % 3 == k) for k in range(3)])


@pytest.fixture(scope="module")
def learnt() -> Connectome:
    return circuit.learn(circuit.place_module("a", 9, pixels=PIXELS), VIEWS, [4, 5, 7], epochs=12)


def test_a_module_learns_its_views(learnt: Connectome) -> None:
    """Neurons come to belong to places, and weights lie where their place's view was bright."""
    into = learnt.edges[EdgeKey(circuit.VIEW, "afferent", "a")]
    sums = np.bincount(into.indices, into.weight, 9)
    np.testing.assert_allclose(sums, 78, rtol=1e-5)
    place = learnt.regions["a"].state["place"]
    assert set(place) == {4, 5, 7}
    for k, p in enumerate((4, 5, 7)):
        mine = (place[into.indices] == p) & (into.source % 3 == k)
        assert into.weight[mine].sum() > 0.42 * sums[place == p].sum()
    assert (learnt.regions["a"].neuron.v_th_mv > -52.0).all()
    score = circuit.scores(learnt, circuit.responses(learnt, VIEWS, seed=3))
    assert score.argmax(1).tolist() == [4, 5, 7]


def test_thresholds_rise_by_spikes() -> None:
    """0.05 mV a spike: those of the runs that learning is made of."""
    module = circuit.place_module("a", 9, pixels=PIXELS)
    once = circuit.learn(module, VIEWS[:1], [0], epochs=1, seed=5)
    raised = (once.regions["a"].neuron.v_th_mv + 52.0) / 0.05
    np.testing.assert_allclose(raised, np.rint(raised), atol=1e-6)
    assert raised.sum() > 0


def test_modules_side_by_side_do_what_they_did_alone(learnt: Connectome) -> None:
    other = circuit.place_module("b", 6, pixels=PIXELS, seed=1)
    both = circuit.responses(circuit.merged([learnt, other]), VIEWS, seed=3)
    np.testing.assert_array_equal(both["a"], circuit.responses(learnt, VIEWS, seed=3)["a"])
    np.testing.assert_array_equal(both["b"], circuit.responses(other, VIEWS, seed=3)["b"])
    assert both["a"].any()
    assert both["b"].any()


def test_hyperactive_neurons_are_removed_by_an_edit(learnt: Connectome) -> None:
    found = {"a": np.array([[1, 0, 2] + [0] * 6, [3, 0, 0] + [0] * 6, [1, 1, 0] + [0] * 6, [1, 0, 1] + [0] * 6])}
    assert circuit.hyperactive(learnt, found, 0.75).neurons["a"].tolist() == [0]
    nodes = circuit.hyperactive(learnt, found, 0.5)
    assert nodes.neurons["a"].tolist() == [0, 2]
    cut = learnt.apply(circuit.removed(learnt, nodes))
    for key, edges in cut.edges.items():
        for region, ends in ((key.source, edges.source), (key.target, edges.indices)):
            assert region != "a" or not set(ends.tolist()) & {0, 2}
    # Each of the two: from all pixels, to its interneuron, from the 8 others'.
    assert learnt.n_edges - cut.n_edges == 2 * (PIXELS + 1 + 8)
    assert sum(r.removed for r in cut.provenance.rule_log) == 2 * (PIXELS + 1 + 8)
    after = circuit.responses(cut, VIEWS, seed=3)["a"]
    assert not after[:, [0, 2]].any()
    assert after.any()
    assert learnt.apply(circuit.removed(learnt, node_set(learnt, {}))).digest() == learnt.digest()


def test_scores_are_means_over_a_place_s_neurons() -> None:
    module = circuit.place_module("a", 4, pixels=PIXELS)
    module = module.apply(Edit(region_state={"a": {"place": np.array([0, 0, 2, -1], np.float32)}}))
    found = {"a": np.array([[2, 5, 1, 9], [0, 0, 4, 9]])}
    assert circuit.scores(module, found).tolist() == [[3.5, 0, 1], [0, 0, 4]]
    without = module.apply(circuit.removed(module, node_set(module, {"a": [1, 2]})))
    assert circuit.scores(without, found).tolist() == [[2, 0, 0], [0, 0, 0]]
    unheard = module.apply(circuit.ignored(module, node_set(module, {"a": [1]})))
    assert circuit.scores(unheard, found).tolist() == [[2, 0, 1], [0, 0, 4]]
    assert unheard.n_edges == module.n_edges


def test_places_differ_more_than_traverses_do() -> None:
    views = photographed_places(40, 2, shift=0, noise=0.0, seed=1)
    assert views.shape == (2, 40, 28, 28)
    assert 0 <= views.min() <= views.max() <= 1
    first, second = (patch_normalised(v) for v in views)
    off = np.abs(first[:, None] - second[None]).mean(2)
    assert off.argmin(1).tolist() == list(range(40))
    assert np.diag(off).min() > 0
    np.testing.assert_array_equal(views, photographed_places(40, 2, shift=0, noise=0.0, seed=1))


def test_patches_are_normalised() -> None:
    image = np.random.default_rng(0).random((2, 14, 21))
    found = patch_normalised(image)
    patch = image[1, 7:14, 14:21]
    wanted = 127.5 * (1 + np.clip((patch - patch.mean()) / patch.std(), -1, 1))
    np.testing.assert_allclose(found.reshape(2, 14, 21)[1, 7:14, 14:21], wanted)
    np.testing.assert_allclose(patch_normalised(np.full((1, 7, 7), 0.3)), 127.5)


def test_the_trial_is_judged_by_its_thresholds() -> None:
    trial = plugins.load("circuits", "places", "circuits")

    def held(recalls: list[float]) -> list[bool]:
        return [
            c.holds
            for c in trial.check({c: {"recall": np.array([r])} for c, r in zip(trial.conditions, recalls, strict=True)})
        ]

    assert held([0.65, 0.65, 0.5, 0.7, 0.4, 0.6]) == [True] * 4
    assert held([0.59, 0.59, 0.5, 0.7, 0.5, 0.6]) == [True, False, False, False]
    assert held([0.6, 0.65, 0.5, 0.6, 0.4, 0.6]) == [False, True, True, True]


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: circuit.place_module("a", 1), "n must"),
        (lambda: circuit.merged([]), "modules"),
        (lambda: circuit.learn(circuit.place_module("a", 4, pixels=PIXELS), VIEWS, [0, 1]), "place"),
        (lambda: circuit.learn(circuit.place_module("a", 4, pixels=PIXELS), VIEWS, [0, 1, -1]), "place"),
        (lambda: circuit.responses(circuit.place_module("a", 4, pixels=PIXELS), VIEWS * 2), "views"),
        (lambda: circuit.responses(circuit.place_module("a", 4, pixels=200), VIEWS), "views"),
        (lambda: circuit.hyperactive(circuit.place_module("a", 4), {}, 0.0), "theta"),
        (lambda: photographed_places(0, 1), "places"),
        (lambda: photographed_places(20, 1, shift=20), "places"),
        (lambda: patch_normalised(np.zeros((1, 8, 7))), "images"),
    ],
)
def test_what_does_not_fit_is_refused(call: object, field: str) -> None:
    with pytest.raises(ConnectomeError, match=field):
        call()  # type: ignore[operator]
