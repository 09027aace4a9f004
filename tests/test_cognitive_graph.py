"""The cognitive graph: waves are shortest paths, edits are Hebbian, and what the search promises, on any graph."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from connectome import ConnectomeError
from connectome.circuits import cognitive_graph as circuit
from connectome.graph.connectome import Connectome, Edit
from sims.studies.circuits import cognitive_graph as trial

SQUARE = np.stack(np.divmod(np.arange(25), 5), 1)


def lengths(c: Connectome) -> NDArray[np.float64]:
    """(E,) how far each move is, as the delays have it."""
    e, at = c.edges[circuit.KEY], c.regions["map"].position_um
    found: NDArray[np.float64] = np.maximum(np.linalg.norm(at[e.source] - at[e.target], axis=1), 0.2).round(1)
    return found


def shortest(c: Connectome, goal: int, there: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N,) distances to the goal over those edges of the map that are there (E,)."""
    e = c.edges[circuit.KEY]
    graph = csr_array((lengths(c)[there], (e.source[there], e.target[there])), (e.n_source,) * 2)
    return np.asarray(dijkstra(graph, indices=goal))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), radius=st.sampled_from([1.0, 1.5, 2.3]), silent=st.floats(0, 0.7))
def test_the_wave_is_dijkstra(seed: int, radius: float, silent: float) -> None:
    """On what is left of a map, whatever the strengths are, to the last place; at most one spike each."""
    rng = np.random.default_rng(seed)
    c = circuit.cognitive_graph(rng.uniform(0, 4, (18, 2)) if seed % 2 else SQUARE, radius)
    w = np.where(rng.random(len(c.edges[circuit.KEY])) < silent, 0, rng.integers(1, 4, len(c.edges[circuit.KEY])))
    c = c.apply(Edit(reweight={circuit.KEY: (w * c.edges[circuit.KEY].weight).astype(np.float32)}))
    np.testing.assert_array_equal(circuit.strength(c), w)
    goal = int(rng.integers(c.regions["map"].size))
    e, found = c.edges[circuit.KEY], circuit.wave(c, goal)
    np.testing.assert_allclose(found, shortest(c, goal, w > 0), atol=1e-6)
    for here in range(found.size):  # the edge that is tried is on a shortest way
        edge = circuit.tried(c, found, here)
        if here == goal or np.isinf(found[here]):
            assert edge == -1
        else:
            assert e.target[edge] == here
            assert w[edge] > 0
            assert found[e.source[edge]] + lengths(c)[edge] == pytest.approx(found[here])


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), there=st.floats(0.3, 1), radius=st.sampled_from([1.0, 1.5]))
def test_what_the_search_promises(seed: int, there: float, radius: float) -> None:
    """In any world whose moves can be taken back: it arrives, with a failure at most for each wrong edge; a journey
    without one is the shortest; and sooner or later all are."""
    rng = np.random.default_rng(seed)
    c = circuit.cognitive_graph(SQUARE, radius)
    e = c.edges[circuit.KEY]
    chance = rng.random((25, 25))
    world = np.minimum(chance, chance.T)[e.source, e.target] < there**2
    can = set(zip(e.target[world].tolist(), e.source[world].tolist(), strict=True))
    start, goal = (int(k) for k in rng.choice(25, 2, replace=False))
    best = shortest(c, goal, world)[start]
    if np.isinf(best):
        went = circuit.journey(c, start, goal, lambda a, b: (a, b) in can, limit=40)
        assert not went.arrived
        assert went.moves == 40
        return
    failures, known = 0, c
    for _ in range(60):
        went = circuit.journey(known, start, goal, lambda a, b: (a, b) in can)
        known, failures = went.map, failures + went.failures
        assert went.arrived
        assert went.lost == 0
        assert went.places[0] == start
        assert all(step in can for step in zip(went.places, went.places[1:], strict=False))
        at = c.regions["map"].position_um[list(went.places)]
        length = np.linalg.norm(np.diff(at, axis=0), axis=1).round(1).sum()
        if went.failures:
            assert length >= best - 1e-9
        else:
            assert length == pytest.approx(best)
            break
    else:
        pytest.fail("it never ceased to fail")
    assert failures <= (~world).sum()
    assert not (circuit.strength(known)[world] == 0).any()
    again = circuit.journey(known, start, goal, lambda a, b: (a, b) in can)
    assert again.places == went.places, "what has worked is the stronger of equals"


def test_edits_are_hebbian() -> None:
    """Only the edge that was tried changes; up to a bound, down to silence; what has worked outlives a failure."""
    c = circuit.cognitive_graph(SQUARE)
    edge = circuit.tried(c, circuit.wave(c, 24), 0)
    seen = [c]
    for worked in (True, True, True, False, False, False, False):
        seen.append(circuit.learn(seen[-1], edge, worked))
    assert [circuit.strength(k)[edge] for k in seen] == [1, 2, 3, 3, 2, 1, 0, 0]
    assert all((np.delete(circuit.strength(k), edge) == 1).all() for k in seen)
    e, time = c.edges[circuit.KEY], circuit.wave(c, 24)
    ties = [k for k in np.flatnonzero(e.indices == 0) if time[e.source[k]] < time[0]]
    assert len(ties) == 2
    assert [circuit.tried(circuit.learn(c, k, True), time, 0) for k in ties] == ties
    strong = circuit.learn(c, edge, True, potentiation=5, most=9)
    assert circuit.strength(strong)[edge] == 6
    assert circuit.strength(circuit.learn(strong, edge, True))[edge] == 6, "a lower bound takes nothing away"
    assert circuit.strength(circuit.learn(strong, edge, False, depression=4))[edge] == 2


def test_what_was_lost_is_believed_again() -> None:
    """A way out that failed by chance, the only one there was."""
    c = circuit.cognitive_graph([[0, 0], [1, 0], [2, 0]])
    fails = iter([False, True, True])
    went = circuit.journey(c, 0, 2, lambda a, b: next(fails))
    assert went.places == (0, 1, 2)
    assert (went.failures, went.lost, went.moves, went.arrived) == (1, 1, 3, True)
    apart = circuit.cognitive_graph([[0, 0], [9, 0]])
    assert circuit.journey(apart, 0, 1, lambda a, b: True)[1:] == ((0,), 0, 0, False)


def test_mazes_have_a_way_and_their_walls() -> None:
    for seed in range(20):
        free = circuit.maze(np.random.default_rng(seed), 8, 0.35)
        assert (~free).sum() == round(0.35 * 64)
        graph = np.array([[free[a] and free[b] and abs(a // 8 - b // 8) + abs(a % 8 - b % 8) == 1 for b in range(64)]
                          for a in range(64)])  # fmt: skip
        assert np.isfinite(dijkstra(csr_array(graph), indices=0)[63])


def test_comparators_find_their_way_and_the_trial_judges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody beats the limit; whoever unlearns what fails arrives."""
    monkeypatch.setattr(trial, "_JOURNEYS", 3)
    monkeypatch.setattr(trial, "_MAZES", (0, 2))
    conditions = trial.cognitive_graph.conditions
    found = {c: dict(trial.cognitive_graph.run(c, 0, True)) for c in conditions if c != "random walk"}
    found["random walk"] = dict.fromkeys(found["LRTA*"], 50.0)
    assert all(of["first"] >= 1 for of in found.values())
    for condition in ("Hebbian edits", "no potentiation", "LRTA*", "replanned breadth-first"):
        assert found[condition]["arrived"] == 1
        assert found[condition]["clean detour"] == 0
    assert found["no edits"]["arrived"] == 0
    values = {c: {m: np.array([of[m]]) for m in trial.cognitive_graph.measures} for c, of in found.items()}
    checks = [check.holds for check in trial.cognitive_graph.check(values)]
    assert checks[:3] == [True, True, True]
    values["LRTA*"] |= {"first": np.array([0.1])}
    assert not trial.cognitive_graph.check(values)[4].holds


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: circuit.cognitive_graph([[0.0, 0.0]]), "places"),
        (lambda: circuit.cognitive_graph(SQUARE, 0.1), "radius"),
        (lambda: circuit.cognitive_graph(np.ones((3, 3))), "position"),
        (lambda: circuit.wave(circuit.cognitive_graph(SQUARE), 25), "goal"),
        (lambda: circuit.journey(circuit.cognitive_graph(SQUARE), -1, 3, lambda a, b: True), "start"),
        (lambda: circuit.learn(circuit.cognitive_graph(SQUARE), 0, True, most=0), "most"),
        (lambda: circuit.maze(np.random.default_rng(0), walls=0.5), "walls"),
    ],
)
def test_what_does_not_fit_is_refused(call: object, field: str) -> None:
    with pytest.raises(ConnectomeError, match=field):
        call()  # type: ignore[operator]
