"""FEAST: features learnt from events by adaptive selection thresholds (Afshar, Ralph, Xu, Tapson, van Schaik & Cohen
2020, "Event-based feature extraction using adaptive selection thresholds", Sensors 20:1600, arXiv 1907.07853).

An event has a pixel and a sign. Its context c is the time surface ``exp((t_last - t) / tau)`` of that sign over the w x
w pixels around it, normalised. Of the features w_i (unit vectors) with ``w_i . c >= theta_i`` the most similar wins:
``w <- normalise((1 - eta) w + eta c)``, ``theta <- theta + Delta_I``. If there is none the event is *missed*, and all
thresholds fall by Delta_E.

In the steady state each threshold rises as much as it falls: if a share m of the events is missed, each feature wins a
share ``m Delta_E / Delta_I``. So all features are used equally, and m is known in advance (our derivation; n features):

    ``m = 1 / (1 + n Delta_E / Delta_I)``

More is missed where the world has changed. Without thresholds (``thresholds=False``) this is competitive learning, in
which the most similar feature wins; learnt features are read out in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from connectome.arrays import ReadOnly, freeze, integer
from connectome.circuits import feast_kernels
from connectome.errors import ConnectomeError
from connectome.simulate.run_rules import finite

__all__ = [
    "ETA",
    "FALL",
    "RISE",
    "Events",
    "Features",
    "counts",
    "expected_missed",
    "follow",
    "random_features",
    "spikes",
]

#: Delta_I, Delta_E and eta of the paper.
RISE: Final = 0.001
FALL: Final = 0.003
ETA: Final = 0.001


@dataclass(frozen=True, eq=False)
class Events(ReadOnly):
    """M events of several recordings, one after the other, each in the order of time.

    Parameters
    ----------
    height, width : of the camera, pixels
    time_ms : (M,) time since the beginning of the recording
    row, column : (M,) int32, the pixel
    brighter : (M,) whether the pixel became brighter (else darker)
    begin : (B + 1,) where each recording begins, and where the last one ends
    """

    height: int
    width: int
    time_ms: NDArray[np.float64]
    row: NDArray[np.int32]
    column: NDArray[np.int32]
    brighter: NDArray[np.bool_]
    begin: NDArray[np.int64]

    def __len__(self) -> int:
        return int(self.time_ms.size)


@dataclass(frozen=True, eq=False)
class Features(ReadOnly):
    """n features of w x w pixels.

    Parameters
    ----------
    vector : (n, w * w) unit vectors, row by row
    threshold : (n,) theta
    tau_ms : time constant of the time surface
    """

    vector: NDArray[np.float64]
    threshold: NDArray[np.float64]
    tau_ms: float = 30.0

    def __post_init__(self) -> None:
        vector = freeze("features.vector", self.vector, np.float64, (None, None))
        width = round(vector.shape[1] ** 0.5)
        if not len(vector) or width**2 != vector.shape[1] or width % 2 == 0:
            raise ConnectomeError("features.vector", "must be (n, w * w), w odd, n >= 1", vector.shape)
        if np.abs(np.linalg.norm(vector, axis=1) - 1).max() > 1e-6:
            raise ConnectomeError("features.vector", "must have rows of length 1", np.linalg.norm(vector, axis=1))
        object.__setattr__(self, "vector", vector)
        object.__setattr__(self, "threshold", freeze("features.threshold", self.threshold, np.float64, (len(vector),)))
        object.__setattr__(self, "tau_ms", finite("features.tau_ms", self.tau_ms, above_0=True))


def random_features(n: int, width: int, rng: np.random.Generator, tau_ms: float = 30.0) -> Features:
    """n features that have learnt nothing: random vectors with no entry below 0, thresholds of 0. Raises
    :class:`ConnectomeError`."""
    integer("n", n, 1, 10_000)
    integer("width", width, 1, 99)
    vector = rng.random((n, width**2))
    return Features(vector / np.linalg.norm(vector, axis=1, keepdims=True), np.zeros(n), tau_ms)


def follow(
    features: Features, events: Events, *, eta: float = ETA, rise: float = RISE, fall: float = FALL,
    thresholds: bool = True,
) -> tuple[Features, NDArray[np.int64]]:  # fmt: skip
    """The features after these events, and (M,) which feature won each event, -1 where it was missed. Time surfaces
    start afresh with each recording.

    ``thresholds=False``: the most similar feature always wins. With ``eta=0`` as well nothing is learnt: this is how
    features are read out. Raises :class:`ConnectomeError`.
    """
    for name, value in (("eta", eta), ("rise", rise), ("fall", fall)):
        if not 0 <= value < 1:
            raise ConnectomeError(name, "must be >= 0 and below 1", value)
    vector, threshold = features.vector.copy(), features.threshold.copy()
    width = round(vector.shape[1] ** 0.5)
    last = np.empty((2, events.height + width - 1, events.width + width - 1))
    winner = np.empty(len(events), np.int64)
    feast_kernels.follow(
        events.time_ms, events.row, events.column, events.brighter, events.begin, last, features.tau_ms, vector,
        threshold, np.empty(width**2), winner, float(eta), float(rise if thresholds else 0.0), float(fall), thresholds,
    )  # fmt: skip
    return Features(vector, threshold, features.tau_ms), winner


def expected_missed(n: int, rise: float = RISE, fall: float = FALL) -> float:
    """The share of events that n features miss in the steady state."""
    return 1 / (1 + n * fall / rise)


def counts(features: Features, events: Events, pool: int) -> NDArray[np.float64]:
    """(B, pool * pool * n) the number of events that each feature won in each of pool x pool fields of a recording,
    read out without thresholds. Raises :class:`ConnectomeError`."""
    place, size = _fields(features, events, pool)
    recording = np.repeat(np.arange(events.begin.size - 1), np.diff(events.begin))
    found = np.bincount(recording * size + place, minlength=(events.begin.size - 1) * size)
    return found.reshape(-1, size).astype(np.float64)


def spikes(features: Features, events: Events, pool: int, steps: int, duration_ms: float) -> NDArray[np.bool_]:
    """(B, steps, pool * pool * n) the same as spikes for a sensor: whether a feature won an event in a field, for each
    step of recordings of length ``duration_ms``. Raises :class:`ConnectomeError`."""
    place, size = _fields(features, events, pool)
    recording = np.repeat(np.arange(events.begin.size - 1), np.diff(events.begin))
    found = np.zeros((events.begin.size - 1, integer("steps", steps, 1, 100_000), size), bool)
    step = np.minimum((events.time_ms * steps / duration_ms).astype(int), steps - 1)
    found[recording, step, place] = True
    return found


def _fields(features: Features, events: Events, pool: int) -> tuple[NDArray[np.int64], int]:
    """(M,) which feature won in which field, as one number, and how many there are."""
    integer("pool", pool, 1, min(events.height, events.width))
    _, winner = follow(features, events, eta=0.0, thresholds=False)
    field = events.row * pool // events.height * pool + events.column * pool // events.width
    n = len(features.vector)
    return field * n + winner, pool * pool * n
