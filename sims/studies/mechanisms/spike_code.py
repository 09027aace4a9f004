"""The adaptive-threshold spike code on trial: digits that reach a region by it, beside rate and latency codes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import torch

from connectome.datasets.encoding import latency_code, rate_code
from connectome.datasets.spike_codes import adaptive_code
from connectome.datasets.tasks import STEPS, Perception
from sims.studies.development import read_images
from sims.studies.mechanisms.one_region import matured
from sims.studies.published import Check, Measure, Trial, Values, no_worse

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["spike_code"]

_UPDATES = 300
#: Thresholds a mean of a picture. With as many spikes a pixel on average, as far as steps allow, go rate codes of these
#: peaks: spikes a step of a white pixel.
_PEAKS: Final = {1.5: 0.25, 3.0: 0.5}


@dataclass(frozen=True, eq=False)
class Coded(Perception):
    """Digits by a code, and a number that belongs to it."""

    code: str = "adaptive"
    number: float = 3.0

    def _spikes_of(self, image: Any, rng: np.random.Generator) -> Tensor:
        flat = image.reshape(len(image), -1)
        if self.code == "latency":
            return latency_code(flat, STEPS)
        make = adaptive_code if self.code == "adaptive" else rate_code
        return make(flat, STEPS, self.number)


class Way(NamedTuple):
    """A code, its number, and a learning rate."""

    code: str
    number: float
    rate: float = 0.08


#: The rate is that of the trial of devices, whose software was tuned with a rate code.
_WAYS: Final[Mapping[str, Way]] = {
    "adaptive (k = 3.0)": Way("adaptive", 3.0), "adaptive (k = 1.5)": Way("adaptive", 1.5),
    "rate (k = 1.5)": Way("rate", _PEAKS[1.5]), "rate (k = 3.0)": Way("rate", _PEAKS[3.0]),
    "latency": Way("latency", 0.0),
}  # fmt: skip


def learn(way: Way, seed: int, quick: bool, split: str = "test") -> dict[str, float]:
    """What is right of a split; spikes a pixel; the share of pixels without any."""
    task = Coded(read_images(""), code=way.code, number=way.number)
    act = matured(task, seed, _UPDATES // (10 if quick else 1), way.rate)
    shown, _ = task.batch(np.random.default_rng([seed, 2]), 500)
    spikes = shown["image"].double()
    right = task.score(act, split, 2000, np.random.default_rng([seed, 1])).value
    silent = float((spikes.sum(1) == 0).double().mean())
    return {"right": right, "spikes": float(spikes.sum(1).mean()), "silent": silent}


def _run(condition: str, seed: int, quick: bool) -> Mapping[str, float]:
    torch.set_num_threads(1)
    return learn(_WAYS[condition], seed, quick)


def _check(v: Values) -> Sequence[Check]:
    found = []
    for k in _PEAKS:
        ours, rate = v[f"adaptive (k = {k})"], v[f"rate (k = {k})"]
        check, more = (
            no_worse(f"k = {k}: no worse than a rate code", ours["right"], rate["right"]),
            ours["spikes"].mean(),
        )
        found.append(check._replace(found=f"{check.found}, {more / rate['spikes'].mean():.2f} times the spikes"))
    latency = no_worse("k = 1.5: no worse than a latency code", v["adaptive (k = 1.5)"]["right"], v["latency"]["right"])
    return [*found, latency]


spike_code = Trial(
    "Adaptive-threshold spike code", "Pan et al. 2025, arXiv 2509.05276",
    "numbers as counts of spikes, in units that follow their mean, lose little",
    {"right": Measure(" %", 100, 1), "spikes": Measure("", 1, 2), "silent": Measure(" %", 100, 0)},
    tuple(_WAYS), _run, _check, ("rate (k = 1.5)", "rate (k = 3.0)", "latency"),
)  # fmt: skip
