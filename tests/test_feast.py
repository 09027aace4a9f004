"""FEAST: its kernel against one written slowly, the closed form of what is missed, events by hand, a development."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from connectome import ConnectomeError
from connectome.circuits import feast as circuit
from connectome.circuits.feast import Events, Features
from connectome.datasets.event_task import EventPerception
from connectome.datasets.events import moving_events
from connectome.datasets.images import load_digits


@pytest.fixture(scope="module")
def digits() -> Events:
    return moving_events(load_digits().look("train", np.arange(60)))


def _slowly(
    features: Features, events: Events, eta: float, rise: float, fall: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[int]]:
    """As the paper has it, an event at a time."""
    w, theta = features.vector.copy(), features.threshold.copy()
    width = round(w.shape[1] ** 0.5)
    r = width // 2
    winners = []
    for begin, end in zip(events.begin, events.begin[1:], strict=False):
        last = np.full((2, events.height + 2 * r, events.width + 2 * r), -np.inf)
        for m in range(begin, end):
            sign, y, x = int(events.brighter[m]), events.row[m], events.column[m]
            last[sign, y + r, x + r] = events.time_ms[m]
            c = np.exp((last[sign, y : y + width, x : x + width] - events.time_ms[m]) / features.tau_ms).ravel()
            c /= np.linalg.norm(c)
            like = np.where(w @ c >= theta, w @ c, -np.inf)
            if np.isinf(like).all():
                theta -= fall
                winners.append(-1)
                continue
            i = int(like.argmax())
            w[i] = (1 - eta) * w[i] + eta * c
            w[i] /= np.linalg.norm(w[i])
            theta[i] += rise
            winners.append(i)
    return w, theta, winners


def test_the_kernel_is_the_paper(digits: Events) -> None:
    two = _recordings(digits, 2)
    features = replace(circuit.random_features(5, 5, np.random.default_rng(1), 20.0), threshold=np.full(5, 0.9))
    found, winner = circuit.follow(features, two, eta=0.02, rise=0.01, fall=0.02)
    w, theta, winners = _slowly(features, two, 0.02, 0.01, 0.02)
    np.testing.assert_allclose(found.vector, w, atol=1e-9)
    np.testing.assert_allclose(found.threshold, theta, atol=1e-9)
    np.testing.assert_array_equal(winner, winners)
    assert {-1, 0, 1, 2, 3, 4} == set(winners)


@pytest.mark.parametrize(("n", "fall"), [(4, 0.003), (9, 0.003), (9, 0.006), (20, 0.003)])
def test_what_is_missed_is_known_before_and_features_are_used_alike(digits: Events, n: int, fall: float) -> None:
    features = circuit.random_features(n, 5, np.random.default_rng(0))
    features, _ = circuit.follow(features, digits, fall=fall, eta=0.005)
    _, winner = circuit.follow(features, digits, fall=fall, eta=0.005)
    assert (winner < 0).mean() == pytest.approx(circuit.expected_missed(n, fall=fall), rel=0.1)
    wins = np.bincount(winner[winner >= 0])
    assert wins.std() / wins.mean() < 0.05
    _, plain = circuit.follow(features, digits, thresholds=False)
    assert (plain >= 0).all()
    assert circuit.expected_missed(16) == pytest.approx(1 / 49)


def test_reading_out_changes_nothing(digits: Events) -> None:
    features = circuit.random_features(6, 3, np.random.default_rng(2))
    found, _ = circuit.follow(features, digits, eta=0.0, thresholds=False)
    np.testing.assert_array_equal(found.vector, features.vector)
    np.testing.assert_array_equal(found.threshold, features.threshold)
    counts, spikes = circuit.counts(features, digits, 2), circuit.spikes(features, digits, 2, 20, 300.0)
    assert counts.shape == (60, 24)
    assert spikes.shape == (60, 20, 24)
    np.testing.assert_array_equal(counts.sum(1), np.diff(digits.begin))
    np.testing.assert_array_equal(spikes.any(1), counts > 0)
    first = _recordings(digits, 1)
    np.testing.assert_array_equal(circuit.counts(features, first, 2), counts[:1])
    left = first.column < first.width // 2
    halves = counts[0].reshape(2, 2, 6).sum((0, 2))
    assert halves.tolist() == [left.sum(), (~left).sum()]


def test_events_are_crossings_of_thresholds() -> None:
    """A bright pixel that moves to the next one: as it fades and the other lights up, evenly, at 15, 30, 45 ... %."""
    image = np.zeros((1, 3, 3))
    image[0, 1, 1] = 1.0
    found = moving_events(image, zoom=1, reach_pixels=1.0, steps=1, leg_ms=100.0, threshold=0.15)
    here = (found.time_ms <= 100) & (found.row == 1) & (found.column == 1)
    assert not found.brighter[here].any()
    np.testing.assert_allclose(found.time_ms[here], 100 * np.arange(1, 7) * 0.15)  # it is left dark: 6 of 0.15
    # It has moved by (1, 1/2): half of it is seen in each of two pixels.
    for column in (1, 2):
        lit = (found.time_ms <= 100) & (found.row == 2) & (found.column == column)
        assert found.brighter[lit].all()
        np.testing.assert_allclose(found.time_ms[lit], 100 * np.arange(1, 4) * 0.3)
    assert (np.diff(found.time_ms) >= 0).all()
    assert found.begin.tolist() == [0, len(found)]


def test_recordings_are_apart(digits: Events) -> None:
    assert (digits.height, digits.width) == (16, 16)
    for begin, end in zip(digits.begin, digits.begin[1:], strict=False):
        assert (np.diff(digits.time_ms[begin:end]) >= 0).all()
    alone = moving_events(load_digits().look("train", np.array([7])))
    here = slice(digits.begin[7], digits.begin[8])
    np.testing.assert_array_equal(alone.time_ms, digits.time_ms[here])
    np.testing.assert_array_equal(alone.row, digits.row[here])
    still = moving_events(np.full((1, 4, 4), 0.0))
    assert len(still) == 0


def test_a_region_learns_from_its_features() -> None:
    """As any task: its spikes, by name and size, tell classes apart."""
    task = EventPerception(load_digits(), 0.5, n_features=9, learnt_from=40)
    assert task.sensors == {"event_features": 144}
    assert task.recruits == ("event_features", "events", "event_class")
    rng = np.random.default_rng(0)
    spikes, label = task.batch(rng, 200)
    assert spikes["event_features"].shape == (200, 20, 144)
    assert 0.01 < spikes["event_features"].float().mean() < 0.5
    seen = spikes["event_features"].float().mean(1).numpy()
    centre = np.stack([seen[label.numpy() == k].mean(0) for k in range(10)])
    spikes, label = task.batch(rng, 200)
    seen = spikes["event_features"].float().mean(1).numpy()
    near = ((seen[:, None] - centre) ** 2).sum(2).argmin(1)
    assert (near == label.numpy()).mean() > 0.6


def _recordings(events: Events, number: int) -> Events:
    end = events.begin[number]
    part: dict[str, Any] = {name: getattr(events, name)[:end] for name in ("time_ms", "row", "column", "brighter")}
    return replace(events, begin=events.begin[: number + 1], **part)


@pytest.mark.parametrize(
    ("call", "field"),
    [
        (lambda: circuit.random_features(0, 5, np.random.default_rng(0)), "n must"),
        (lambda: circuit.random_features(3, 4, np.random.default_rng(0)), "w odd"),
        (lambda: Features(np.ones((2, 9)), np.zeros(2)), "length 1"),
        (lambda: Features(np.eye(9), np.zeros(2)), "threshold"),
        (lambda: Features(np.eye(9), np.zeros(9), 0.0), "tau_ms"),
        (lambda: circuit.follow(Features(np.eye(9), np.zeros(9)), moving_events(np.ones((1, 3, 3))), eta=1.0), "eta"),
        (lambda: circuit.counts(Features(np.eye(9), np.zeros(9)), moving_events(np.ones((1, 3, 3))), 7), "pool"),
        (lambda: moving_events(np.ones((3, 3))), "images"),
        (lambda: moving_events(np.ones((1, 3, 3)), zoom=0), "zoom"),
        (lambda: moving_events(np.ones((1, 3, 3)), threshold=0.0), "threshold"),
    ],
)
def test_what_does_not_fit_is_refused(call: object, field: str) -> None:
    with pytest.raises(ConnectomeError, match=field):
        call()  # type: ignore[operator]
