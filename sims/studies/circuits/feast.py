"""FEAST on trial: is what is missed what theory says, are features used alike, is drift seen, and do features tell
digits apart?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

import numpy as np

from connectome.circuits import feast as circuit
from connectome.datasets.events import moving_events
from connectome.datasets.images import load_digits
from sims.studies.published import Check, Measure, Trial, Values

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["feast"]

_WIDTH: Final = 7
#: Features, and how far thresholds fall: the paper's last.
_TRIED: Final = ((9, circuit.FALL), (16, circuit.FALL), (16, 2 * circuit.FALL), (36, circuit.FALL))
_MOST: Final = 36


@cache
def _events(split: str, number: int, seed: int, drift: bool = False) -> tuple[circuit.Events, NDArray[np.int64]]:
    """Of digits that move, in an order of the seed's, and their labels. Drift: blobs that were never digits."""
    images = load_digits()
    pick = np.random.default_rng(seed).permutation(len(images.label[split]))[:number]
    image = images.look(split, pick)
    if drift:
        from scipy.ndimage import gaussian_filter

        noise = np.random.default_rng(seed).standard_normal(image.shape)
        image = np.clip(gaussian_filter(noise, (0, 0.7, 0.7)) * 2 + 0.2, 0, 1)
    return moving_events(image), images.label[split][pick]


def _learnt(
    n: int, fall: float, seed: int, train: circuit.Events, thresholds: bool
) -> tuple[circuit.Features, float, float]:
    """Features after two rounds, and of the second: what was missed, and the CV of wins."""
    found = circuit.random_features(n, _WIDTH, np.random.default_rng(seed))
    for _ in range(2):
        found, winner = circuit.follow(found, train, fall=fall, thresholds=thresholds)
    wins = np.bincount(winner[winner >= 0], minlength=n)
    return found, float((winner < 0).mean()), float(wins.std() / wins.mean())


def _accuracy(features: circuit.Features, seed: int, number: int, pool: int = 1) -> float:
    """Of a linear reading of how many events each feature won, on test digits."""
    from sklearn.linear_model import RidgeClassifierCV
    from sklearn.preprocessing import StandardScaler

    (train, label), (test, wanted) = _events("train", number, seed), _events("test", 397, seed)
    counts = [np.sqrt(circuit.counts(features, events, pool)) for events in (train, test)]
    scale = StandardScaler().fit(counts[0])
    reader = RidgeClassifierCV(10.0 ** np.arange(-3, 4)).fit(scale.transform(counts[0]), label)
    return float(reader.score(scale.transform(counts[1]), wanted))


def _drift(features: circuit.Features, seed: int, number: int) -> tuple[float, float, NDArray[np.float64]]:
    """How many times as much as usual is missed at most before, and after, the world has changed; and the course of
    what is missed, by 2,000 events."""
    course = []
    for drift in (False, True):
        features, winner = circuit.follow(features, _events("validation", number, seed, drift)[0])
        parts = (winner < 0)[: winner.size // 2000 * 2000].reshape(-1, 2000)
        course.append(parts.mean(1))
    usual = course[0].mean()
    return float(course[0].max() / usual), float(course[1].max() / usual), np.concatenate(course)


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    number = 150 if quick else 600
    train = _events("train", number, seed)[0]
    if condition == "random features":
        return {
            "accuracy": _accuracy(circuit.random_features(_MOST, _WIDTH, np.random.default_rng(seed)), seed, number)
        }
    if condition == "competitive learning":
        features, _, cv = _learnt(_MOST, circuit.FALL, seed, train, False)
        return {"CV of wins": cv, "accuracy": _accuracy(features, seed, number)}
    off = []
    for n, fall in _TRIED:
        features, missed, cv = _learnt(n, fall, seed, train, True)
        off.append(abs(missed / circuit.expected_missed(n, fall=fall) - 1))
    before, jump, course = _drift(features, seed, number // 3)
    wanted = circuit.expected_missed(_MOST)
    return {
        "CV of wins": cv, "off": max(off), "accuracy": _accuracy(features, seed, number), "before": before,
        "jump": jump,
        "returns to": float(course[-len(course) // 8 :].mean() / wanted),
    }  # fmt: skip


def _check(v: Values) -> Sequence[Check]:
    ours, plain, random = (v[name] for name in ("FEAST", "competitive learning", "random features"))
    cv, plain_cv, gain = ours["CV of wins"].max(), plain["CV of wins"].min(), ours["accuracy"] - random["accuracy"]
    back = ours["returns to"]
    found = [
        Check(
            "what is missed is within 10 % of 1 / (1 + n Delta_E / Delta_I), three n, two ratios",
            f"{100 * ours['off'].max():.1f} % at most", ours["off"].max() < 0.1,
        ),
        Check("features are used alike: CV of wins below 0.05", f"{cv:.3f} at most", cv < 0.05),
        Check("without thresholds it is above 0.4", f"{plain_cv:.2f} at least", plain_cv > 0.4),
        Check(
            "digits are told apart 15 points better than by random features", f"{100 * gain.mean():.0f} points",
            gain.mean() >= 0.15,
        ),
        Check(
            "when the world changes, more is missed than in any 2,000 events before",
            f"{ours['jump'].min():.1f} to {ours['jump'].max():.1f} times as much as usual",
            bool((ours["jump"] > ours["before"]).all()),
        ),
        Check(
            "and returns to within 20 %", f"{back.min():.2f} to {back.max():.2f} of it", np.abs(back - 1).max() < 0.2
        ),
    ]  # fmt: skip
    return [Check(claim, text, bool(holds)) for claim, text, holds in found]


@cache
def _draw(quick: bool) -> Mapping[str, Figure]:
    """The features, and what was missed when digits became blobs."""
    from matplotlib.figure import Figure

    number = 150 if quick else 600
    features, *_ = _learnt(_MOST, circuit.FALL, 0, _events("train", number, 0)[0], True)
    *_, course = _drift(features, 0, number // 3)
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.4))
    tiles = features.vector.reshape(6, 6, _WIDTH, _WIDTH)
    tiles = np.pad(tiles / tiles.max((2, 3), keepdims=True), ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=np.nan)
    left.imshow(tiles.transpose(0, 2, 1, 3).reshape(6 * (_WIDTH + 1), -1)[:-1, :-1], cmap="viridis")
    left.set(title="36 features of 7 x 7 pixels", xticks=[], yticks=[])
    right.plot(2 * np.arange(len(course)), 100 * course, lw=1.2, label="missed")
    right.axhline(100 * circuit.expected_missed(_MOST), color="0.4", ls=":", label="1 / (1 + n Delta_E / Delta_I)")
    before = len(_events("validation", number // 3, 0)[0]) // 2000
    right.axvline(2 * before, color="0.8", zorder=0)
    right.set(title="digits, then blobs", xlabel="thousand events", ylabel="missed (%)", ylim=(0, None))
    right.legend(fontsize=8, frameon=False)
    return {"features": figure}


feast = Trial(
    "FEAST", "Afshar et al. 2020, Sensors 20:1600, arXiv 1907.07853",
    "thresholds alone make features be used alike; what is missed tells convergence and drift",
    {
        "CV of wins": Measure(falls=True, digits=3), "off": Measure(" %", 100, 1), "accuracy": Measure(" %", 100, 1),
        "before": Measure(digits=1), "jump": Measure(digits=1), "returns to": Measure(),
    },
    ("FEAST", "competitive learning", "random features"), _run, _check, ("competitive learning",), _draw,
)  # fmt: skip
