"""A task that is seen by an event camera: features of its events, learnt without labels, are the sensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from connectome.circuits import feast
from connectome.datasets.events import moving_events
from connectome.datasets.tasks import STEPS, Perception

__all__ = ["EventPerception"]

_LEG_MS = 100.0


@dataclass(frozen=True, eq=False)
class EventPerception(Perception):
    """Recognise an image that moves before an event camera: each of its features, by FEAST, has a unit in each of
    ``pool x pool`` fields, which fires in the steps in which the feature won an event there.

    Parameters
    ----------
    n_features, width : how many, of so many pixels across
    pool : fields along each side
    zoom : pixels of the camera a pixel of the image is wide
    learnt_from : training images whose events the features are learnt from, without their labels
    """

    name: str = "events"
    effector: str = "event_class"
    n_features: int = 16
    width: int = 7
    pool: int = 4
    zoom: int = 2
    learnt_from: int = 200
    _sensor: ClassVar[str] = "event_features"

    @property
    def sensors(self) -> Mapping[str, int]:
        """One unit a feature and field."""
        return {self._sensor: self.n_features * self.pool**2}

    @cached_property
    def features(self) -> feast.Features:
        """What was learnt from training images, always the same."""
        rng = np.random.default_rng(0)
        number = len(self.images.label["train"])
        pick = rng.permutation(number)[: self.learnt_from]
        start = feast.random_features(self.n_features, self.width, rng)
        return feast.follow(start, self._events(self.images.look("train", pick)))[0]

    def _events(self, image: NDArray[Any]) -> feast.Events:
        grey = image.mean(-1) if image.ndim == 4 else image
        return moving_events(grey, zoom=self.zoom, leg_ms=_LEG_MS)

    def _spikes_of(self, image: NDArray[Any], rng: np.random.Generator) -> Tensor:
        return torch.from_numpy(feast.spikes(self.features, self._events(image), self.pool, STEPS, 3 * _LEG_MS))
