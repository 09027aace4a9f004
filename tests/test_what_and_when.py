"""What and when: readouts are linear in what was learnt; the rule, its fixed points, its gate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from connectome import Connectome, ConnectomeError, EdgeKey
from connectome.circuits import what_and_when as circuit
from connectome.graph.connectome import Edit
from connectome.io.snapshot import load, save

N = 200


def matrix(c: Connectome, key: EdgeKey) -> NDArray[np.float64]:
    """(N, 2) weights of a readout."""
    e = c.edges[key]
    found = np.zeros((N, 2))
    found[e.source, e.target] = e.weight
    return found


@pytest.fixture(scope="module")
def network() -> Connectome:
    return circuit.reservoir(N, seed=1)


def test_readouts_are_linear_in_the_states(network: Connectome, tmp_path: Path) -> None:
    """What the effectors do is w . x and v . xbar, of what was saved and loaded too."""
    rng = np.random.default_rng(0)
    weights = {key: rng.normal(size=2 * N).astype(np.float32) for key in (circuit.WHEN, circuit.WHAT)}
    made = network.apply(Edit(reweight=weights))
    path = tmp_path / "c.h5"
    save(made, path)
    for noise in (circuit.QUIET, circuit.Noise(50.0)):
        x, xbar = circuit.states(made, noise, 3)
        found = circuit.recall(load(path), noise, 3)
        assert np.abs(found.when).max() > 0.01
        np.testing.assert_allclose(found.when, x @ matrix(made, circuit.WHEN), atol=1e-4)
        np.testing.assert_allclose(found.what, xbar @ matrix(made, circuit.WHAT), atol=1e-4)
    assert (circuit.states(made, seed=1)[0] == circuit.states(made, seed=2)[0]).all()  # without noise
    assert (circuit.states(made, circuit.Noise(50.0), 1)[0] != x).any()


def test_a_trial_is_the_delta_rule(network: Connectome) -> None:
    """*What* moves along the mean state, by the share of its error that was asked for; *when* in its own channel alone,
    by the sum over the steps."""
    fast = circuit.speed(network, 0.05, 0.1)
    after = circuit.trial(network, 1, 200.0, fast)
    x, xbar = circuit.states(network)
    assert (matrix(after, circuit.WHEN)[:, 0] == 0).all()
    wanted = fast.when * 0.5 * circuit.bump(200.0) @ x  # of errors that are still those of z = 0
    got = matrix(after, circuit.WHEN)[:, 1]
    assert np.corrcoef(wanted, got)[0, 1] > 0.95
    assert 0.5 < np.linalg.norm(got) / np.linalg.norm(wanted) <= 1
    np.testing.assert_allclose(circuit.recall(after).what, [0, 0.1], atol=0.02)
    what = matrix(after, circuit.WHAT)
    assert (what[:, 0] == 0).all()
    assert np.corrcoef(what[:, 1], xbar)[0, 1] > 0.99
    gated, free = (circuit.trial(after, 0, 300.0, fast._replace(what=0.0), gated=gated) for gated in (True, False))
    assert (matrix(gated, circuit.WHEN)[:, 1] == got).all()  # the other event says nothing of when this one comes
    assert (matrix(free, circuit.WHEN)[:, 1] != got).any()
    assert (matrix(free, circuit.WHAT) == what).all()


def test_what_settles_at_the_probability(network: Connectome) -> None:
    fast = circuit.speed(network, what=0.1)._replace(when=0.0)
    made, met = network, np.zeros(2)
    for k in range(60):
        made = circuit.trial(made, k % 4 == 3, 200.0, fast)
        met = met + circuit.recall(made).what / 4 if k >= 56 else met
    np.testing.assert_allclose(met, [0.75, 0.25], atol=0.02)


def test_when_learns_the_time(network: Connectome) -> None:
    made, fast = network, circuit.speed(network)._replace(what=0.0)
    before = np.sqrt((circuit.bump(200.0) ** 2).mean())
    for _ in range(60):
        made = circuit.trial(made, 0, 200.0, fast)
    z = circuit.recall(made).when
    assert np.sqrt(((z[:, 0] - circuit.bump(200.0)) ** 2).mean()) < 0.8 * before
    assert (z[:, 1] == 0).all()


def test_the_profile_is_weighted_by_probability() -> None:
    found = circuit.profile((200.0, 400.0), 0.7)
    np.testing.assert_allclose(found.max(0), [0.7, 0.3])
    assert list(circuit.TIME_MS[found.argmax(0)]) == [200.0, 400.0]
    told = circuit.forecast(circuit.Recall(np.ones((3, 2)), np.array([0.2, 0.5])))
    np.testing.assert_allclose(told, [[0.2, 0.5]] * 3)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda c: circuit.reservoir(cued=0.0), "cued"),
        (lambda c: circuit.trial(c, 2, 1.0, circuit.Speed(1, 1)), "event"),
    ],
)
def test_what_does_not_fit_is_refused(call: object, field: str, network: Connectome) -> None:
    with pytest.raises(ConnectomeError, match=field):
        call(network)  # type: ignore[operator]
